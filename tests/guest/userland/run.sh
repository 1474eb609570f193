#!/bin/sh
# What Debian's programs compute, part by part: the same files run on the host in a chroot, and the text must be the same.
# Only what does not depend on time, process ids, or which processor extensions a library finds may be printed.
export PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/tmp LC_ALL=C TZ=UTC0 PERL_HASH_SEED=0 PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
unset LD_LIBRARY_PATH GLIBC_TUNABLES
cd /userland || exit 1
work=/tmp/userland
mkdir -p $work

digests() {
  for name in md5 sha1 sha224 sha256 sha384 sha512 sha3-256 shake128 blake2b512 blake2s256 sm3 ripemd160; do
    openssl dgst -provider default -provider legacy -r "-$name" "$1"
  done
}
ciphers() {
  key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
  iv=f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff
  for name in aes-128-cbc aes-256-cbc aes-128-ctr aes-256-ctr aes-256-ofb aes-256-cfb aes-128-ecb camellia-256-cbc aria-256-ctr sm4-cbc chacha20 des-ede3-cbc; do
    size=64
    case $name in *128*|sm4*) size=32;; des*) size=48;; esac
    short=$(echo $key | cut -c1-$size)
    v="-iv $(echo $iv | cut -c1-32)"
    case $name in *ecb) v=;; des*) v="-iv $(echo $iv | cut -c1-16)";; esac
    openssl enc "-$name" -K "$short" $v -in "$1" -out $work/enc
    openssl enc -d "-$name" -K "$short" $v -in $work/enc -out $work/dec
    echo "$name $(openssl dgst -r -sha256 <$work/enc | cut -c1-64) $(openssl dgst -r -md5 <$work/dec)"
  done
  openssl mac -cipher AES-256-GCM -macopt "hexkey:$key" -macopt "hexiv:$(echo $iv | cut -c1-24)" -in "$1" GMAC
  openssl mac -cipher AES-128-CBC -macopt "hexkey:$(echo $key | cut -c1-32)" -in "$1" CMAC
  openssl mac -macopt "hexkey:$key" -in "$1" Poly1305
  openssl mac -digest SHA512 -macopt "hexkey:$key" -in "$1" HMAC
}
# Keys and the host's signatures are in keys/; RSA PKCS#1 and Ed25519 signatures have no random part.
signatures() {
  for kind in rsa p256 p384; do
    openssl dgst -sha256 -verify keys/$kind.pub -signature keys/$kind.sig "$1"
    openssl dgst -sha256 -sign keys/$kind.pem -out $work/sig "$1"
    openssl dgst -sha256 -verify keys/$kind.pub -signature $work/sig "$1"
    [ $kind != rsa ] || openssl dgst -r -sha256 <$work/sig
    openssl dgst -sha256 -verify keys/$kind.pub -signature $work/sig compute.pl 2>/dev/null
  done
  openssl pkeyutl -sign -rawin -inkey keys/ed25519.pem -in compute.pl -out $work/sig && openssl dgst -r -sha256 <$work/sig
  openssl pkeyutl -derive -inkey keys/x25519.pem -peerkey keys/x25519.pub | openssl dgst -r -sha256
  openssl pkeyutl -derive -inkey keys/p384.pem -peerkey keys/p384.pub | openssl dgst -r -sha256
}

run() {
  case "$1" in
    # Modules of Python's behind a colon, between commas.
    python:*) python3 -X utf8 -W ignore suites.py $(echo "${1#*:}" | tr , ' ') ;;
    perl) perl compute.pl ;;
    gcm) python3 -X utf8 compute.py ;;
    openssl) perl data.pl >$work/data
      digests $work/data; ciphers $work/data; signatures $work/data ;;
    sqlite) rm -f $work/db; sqlite3 $work/db <workload.sql; openssl dgst -r -sha256 <$work/db ;;
    gcc)
      for flags in '-O0' '-O2 -msse4.2' '-O3 -mavx2 -mbmi -mbmi2 -mlzcnt' '-O3 -march=haswell -ffp-contract=fast' '-O3 -mfpmath=387'; do
        echo "flags $flags"
        # The assembly is what the compiler thinks; the program what comes of it.
        gcc -std=c17 -ffp-contract=off $flags -S -o $work/v.s vectors.c && openssl dgst -r -sha256 <$work/v.s
        gcc -o $work/v $work/v.s -lm && $work/v
      done ;;
  esac
}

for part in "$@"; do
  echo "LODGE-BEGIN $part"
  run "$part" 2>&1
  echo "LODGE-END $part"
done
