# 64 KiB and a bit: no multiple of any block.
my $x = 1;
print pack('V*', map { $x = ($x * 1103515245 + 12345) & 0x7fffffff } 1 .. 16411), 'tail';
