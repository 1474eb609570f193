# Numbers, text, sorting, packing and big integers; every double is shown with its bits.
use strict; use warnings;
use Math::BigInt; use Digest::SHA qw(sha256_hex); use Digest::MD5 qw(md5_hex); use List::Util qw(sum0 reduce); use POSIX qw(floor fmod strtod);
my $seed = 12345;
sub next_value { $seed = ($seed * 1664525 + 1013904223) & 0xffffffff; return $seed }
sub bits { return unpack('H*', pack('d>', $_[0])) }
for my $n (1 .. 60) {
  my $x = (next_value() - 2147483648) / (1 << (next_value() % 40));
  my $y = next_value() / 4294967296;
  print join(' ', map { bits($_) } $x * $y, $x / ($y + 1e-9), sqrt(abs $x), fmod($x, $y + 0.5), floor($x), int($x), $x ** 2), sprintf(" %.17g %e %a\n", $x, $y, $x);
}
print join(' ', map { bits($_) } sin($_ / 7), cos($_ / 7), exp($_ / 11), log($_ + 0.5), atan2($_, 9), $_ ** 0.3), "\n" for 1 .. 200;
print bits(strtod($_) + 0), "\n" for '1e308', '4.9e-324', '2.2250738585072014e-308', '0.1', '123456789012345678901234567890', '1e-400', '-1e400';
my @words = map { join '', map { chr(97 + next_value() % 26) } 1 .. 3 + next_value() % 9 } 1 .. 4000;
my %count; $count{substr $_, 0, 2}++ for @words;
print join(' ', map { "$_=$count{$_}" } sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count), "\n";
my $text = join ' ', sort @words;
print md5_hex($text), ' ', sha256_hex($text), "\n";
(my $changed = $text) =~ s/\b(\w)(\w*?)([aeiou]+)(\w*)\b/\U$3\E-$4$2$1/g;
print sha256_hex($changed), ' ', scalar(() = $changed =~ /(?<=[A-Z])-(?=\w{3,}\b)/g), ' ', ($text =~ tr/a-m//), "\n";
my $f = Math::BigInt->new(1); $f *= $_ for 1 .. 120;
print "$f\n", Math::BigInt->new(2)->bpow(521)->bdec->bmod(1000000007), ' ', Math::BigInt->new(3)->bmodpow('123456789123456789', '1000000000000000003'), "\n";
my @n = map { next_value() } 1 .. 500;
print sum0(@n), ' ', (reduce { $a ^ $b } @n), ' ', join(',', map { $_ % 97 } @n[0 .. 40]), ' ', unpack('%32C*', $text), "\n";
print unpack('H*', pack('w n N v V q> Q< f d A5 Z5 b9 h5', 300000, @n[0 .. 3], -5, 1 << 62, 1.5, -2.25, 'abc', 'xyz', '101100111', '12345')), "\n";
