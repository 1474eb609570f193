/*
 * Inside a guest: reads of a block device past the page cache. Prints one line a device:
 * LODGE-RATE <device> sequential=<MiB/s> random=<reads/s>, each the median of many short stretches, which a host that is busy with
 * other things now and then disturbs less than a sum. No libc: system calls only, so that it needs no more than the kernel.
 */
#define _GNU_SOURCE
#include <asm/unistd.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { PIECE = 1 << 20, SMALL = 4096, PIECES = 8, READS = 100, STRETCHES = 1024 };
static char buffer[PIECE] __attribute__((aligned(4096)));

static long call4(long number, long a, long b, long c, long d) {
  register long r10 __asm__("r10") = d;
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
  return result;
}

static uint64_t microseconds(void) {
  struct timespec now;
  call4(__NR_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void text(const char *words) {
  size_t length = 0;
  while (words[length]) ++length;
  call4(__NR_write, 1, (long)words, (long)length, 0);
}

static void number(uint64_t value) {
  char digits[24];
  int at = sizeof digits;
  digits[--at] = 0;
  do digits[--at] = (char)('0' + value % 10); while (value /= 10);
  text(digits + at);
}

static uint64_t parse(const char *words) {
  uint64_t value = 0;
  while (*words >= '0' && *words <= '9') value = value * 10 + (uint64_t)(*words++ - '0');
  return value;
}

/* What the stretches took, in microseconds. */
static uint64_t taken[STRETCHES];

static uint64_t median(uint64_t count) {
  for (uint64_t i = 1; i < count; ++i) {
    const uint64_t one = taken[i];
    uint64_t at = i;
    for (; at > 0 && taken[at - 1] > one; --at) taken[at] = taken[at - 1];
    taken[at] = one;
  }
  return taken[count / 2] ? taken[count / 2] : 1;
}

/* Arguments: device, MiB to read in order, reads of 4 KiB in no order. */
__attribute__((used)) static int run(long count, char **words) {
  if (count < 4) return 2;
  const long device = call4(__NR_open, (long)words[1], O_RDONLY | O_DIRECT, 0, 0);
  if (device < 0) return 1;
  const uint64_t pieces = parse(words[2]), reads = parse(words[3]);
  const uint64_t stretches = pieces / PIECES, stretchesOfSmall = reads / READS;
  if (stretches < 1 || stretches > STRETCHES || stretchesOfSmall < 1 || stretchesOfSmall > STRETCHES) return 2;
  for (uint64_t i = 0, at = 0; i < stretches; ++i) {
    const uint64_t start = microseconds();
    for (unsigned n = 0; n < PIECES; ++n, at += PIECE) {
      if (call4(__NR_pread64, device, (long)buffer, PIECE, (long)at) != PIECE) return 1;
    }
    taken[i] = microseconds() - start;
  }
  const uint64_t inOrder = PIECES * 1000000 / median(stretches);
  uint64_t state = 88172645463325252u;
  for (uint64_t i = 0; i < stretchesOfSmall; ++i) {
    const uint64_t start = microseconds();
    for (unsigned n = 0; n < READS; ++n) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      const uint64_t block = state % (pieces * (PIECE / SMALL));
      if (call4(__NR_pread64, device, (long)buffer, SMALL, (long)(block * SMALL)) != SMALL) return 1;
    }
    taken[i] = microseconds() - start;
  }
  const uint64_t inNone = READS * 1000000 / median(stretchesOfSmall);
  text("LODGE-RATE "), text(words[1]), text(" sequential="), number(inOrder);
  text(" random="), number(inNone), text("\n");
  return 0;
}

__asm__(".globl _start\n_start: mov (%rsp), %rdi\n lea 8(%rsp), %rsi\n and $-16, %rsp\n call run\n mov %eax, %edi\n mov $60, %eax\n syscall\n");
