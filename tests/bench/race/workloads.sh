#!/bin/sh
# The workloads, the same list in every guest and natively. RACE_ONLY: names with commas between them, all if empty;
# RACE_DISK: what the disk rows read and write. Input files are made outside the time that is taken.
export PATH=/bin LC_ALL=C
cd /tmp
wanted() { case ",${RACE_ONLY:-$1}," in *",$1,"*) ;; *) return 1 ;; esac; }
row() { name=$1; shift; if wanted "$name"; then /race/ubench run "$name" "$@"; fi; }
row_on() { # what is generated, how much of it, name, command
  wanted "$3" || return 0
  /race/ubench gen "$1" input "$2"
  shift 2
  row "$@"
  rm -f input
}

row sh-loop-200k sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo $i'
row fork-exec-500 sh -c 'i=0; while [ $i -lt 500 ]; do /bin/true; i=$((i+1)); done; echo $i'
row_on bytes 64 sha256-64m sha256sum input
row_on text 16 gzip9-16m sh -c 'gzip -9 -c input | wc -c'
row_on lines 200000 sort-200k sort input
row awk-fp awk 'BEGIN { s = 1; for (i = 1; i <= 250000; i++) { s = 0.5 * (s + i / s); x += s * 1.000123 / (1 + i * 0.5) } printf "%.6f\n", x }'
for name in sieve qsort chase strmem aes matmul nbody nbodyx87 getpid mmap pipe par2 jit; do row "c-$name" /race/ubench "$name"; done
for name in seqwrite seqread randread randwrite; do row "blk-$name" /race/ubench blk "$name" "$RACE_DISK"; done
row blk-dd-read dd if="$RACE_DISK" of=/dev/null bs=64k count=1024
/race/ubench mark RACE-DONE
