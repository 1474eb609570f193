#!/bin/sh
# Keys for one run, and signatures by the host's processor for the guest's to verify.
export PATH=/usr/bin:/bin HOME=/tmp
set -e
mkdir /userland/keys
cd /userland/keys
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem
for bits in 256 384; do openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-$bits -out p$bits.pem; done
for kind in ed25519 x25519; do openssl genpkey -algorithm $kind -out $kind.pem; done
perl ../data.pl >/tmp/data
for kind in rsa p256 p384; do openssl dgst -sha256 -sign $kind.pem -out $kind.sig /tmp/data; done
for kind in rsa p256 p384 x25519; do openssl pkey -in $kind.pem -pubout -out $kind.pub; done
