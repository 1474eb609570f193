/*
 * Inside a guest: reads of a block device past the page cache. Prints one line a device:
 * LODGE-RATE <device> sequential=<MiB/s> random=<reads/s>. No libc: system calls only, so that it needs no more than the kernel.
 */
#define _GNU_SOURCE
#include <asm/unistd.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { PIECE = 1 << 20, SMALL = 4096 };
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

/* Arguments: device, MiB to read in order, reads of 4 KiB in no order. */
__attribute__((used)) static int run(long count, char **words) {
  if (count < 4) return 2;
  const long device = call4(__NR_open, (long)words[1], O_RDONLY | O_DIRECT, 0, 0);
  if (device < 0) return 1;
  const uint64_t pieces = parse(words[2]), reads = parse(words[3]);
  uint64_t start = microseconds();
  for (uint64_t i = 0; i < pieces; ++i) {
    if (call4(__NR_pread64, device, (long)buffer, PIECE, (long)(i * PIECE)) != PIECE) return 1;
  }
  const uint64_t inOrder = microseconds() - start;
  uint64_t state = 88172645463325252u;
  start = microseconds();
  for (uint64_t i = 0; i < reads; ++i) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    const uint64_t block = state % (pieces * (PIECE / SMALL));
    if (call4(__NR_pread64, device, (long)buffer, SMALL, (long)(block * SMALL)) != SMALL) return 1;
  }
  const uint64_t inNone = microseconds() - start;
  text("LODGE-RATE "), text(words[1]), text(" sequential="), number(pieces * 1000000 / (inOrder ? inOrder : 1));
  text(" random="), number(reads * 1000000 / (inNone ? inNone : 1)), text("\n");
  return 0;
}

__asm__(".globl _start\n_start: mov (%rsp), %rdi\n lea 8(%rsp), %rsi\n and $-16, %rsp\n call run\n mov %eax, %edi\n mov $60, %eax\n syscall\n");
