// Loops that a compiler turns into vector, bit and x87 instructions. Results are printed as bits, hashed where there are many.
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#define N 1021

static uint64_t state = 88172645463325252u;
static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}
static uint64_t hash(const void *data, size_t size) {
  uint64_t value = 14695981039346656037u;
  for (const uint8_t *p = data; size--; p++) value = (value ^ *p) * 1099511628211u;
  return value;
}
#define SHOW(array) printf("%s %016" PRIx64 "\n", #array, hash(array, sizeof array))

static int8_t b[N], b2[N];
static int16_t w[N], w2[N];
static int32_t d[N], d2[N];
static int64_t q[N], q2[N];
static uint8_t ub[N];
static uint16_t uw[N];
static float f[N], f2[N];
static double e[N], e2[N];

__attribute__((noinline)) static void fill(void) {
  for (int i = 0; i < N; i++) {
    b[i] = next(), w[i] = next(), d[i] = next(), q[i] = next(), ub[i] = next(), uw[i] = next();
    f[i] = (int32_t)next() / 65536.0f, e[i] = (int64_t)next() / 4294967296.0;
  }
}
__attribute__((noinline)) static void integers(void) {
  for (int i = 0; i < N; i++) b2[i] = b[i] > b[N - 1 - i] ? b[i] - 3 : b[N - 1 - i] + (ub[i] >> 3);
  for (int i = 0; i < N; i++) ub[i] = (ub[i] + ub[(i * 7) % N] + 1) >> 1;
  for (int i = 0; i < N; i++) w2[i] = w[i] * w[N - 1 - i] >> 16;
  for (int i = 0; i < N; i++) uw[i] = uw[i] + ub[i] > 65535 ? 65535 : uw[i] + ub[i];
  for (int i = 0; i < N; i++) d2[i] = d[i] * d[N - 1 - i] + (d[i] >> (w[i] & 31));
  for (int i = 0; i < N; i++) d2[i] = d2[i] < 0 ? -(uint32_t)d2[i] : d2[i] ^ b[i];
  for (int i = 0; i < N; i++) q2[i] = (q[i] << (ub[i] & 63)) + (int64_t)d[i] * d2[i] + w[i];
  for (int i = 0; i < N; i++) q2[i] ^= q[(uint32_t)d[i] % N] > q2[i] ? q[i] : ~q2[i];
  SHOW(b2), SHOW(ub), SHOW(w2), SHOW(uw), SHOW(d2), SHOW(q2);
}
__attribute__((noinline)) static void floats(void) {
  for (int i = 0; i < N; i++) f2[i] = f[i] * f[N - 1 - i] + 0.25f;
  for (int i = 0; i < N; i++) f2[i] = f2[i] > 0 ? sqrtf(f2[i]) : f2[i] / 3.0f;
  for (int i = 0; i < N; i++) e2[i] = e[i] < e[N - 1 - i] ? e[i] / (e[N - 1 - i] + 0.5) : (double)f[i] * e[i];
  for (int i = 0; i < N; i++) e2[i] += floor(e[i]) - ceil(f[i]) + trunc(e[i] * 0.001) + rint(e[i]);
  for (int i = 0; i < N; i++) d2[i] = (int32_t)f[i] + (int32_t)(e[i] / 7);
  for (int i = 0; i < N; i++) q2[i] = (int64_t)e[i] + (int64_t)f[i] + (e[i] >= 0 ? (uint64_t)(e[i] * 4e9) : 0);
  SHOW(f2), SHOW(e2), SHOW(d2), SHOW(q2);
  double sum = 0;
  for (int i = 0; i < N; i++) sum += e2[i];
  for (int i = 0; i < N; i++) f[i] = q[i], e[i] = (double)(uint64_t)q[i] - d[i];
  SHOW(f), SHOW(e);
  printf("sum %a\n", sum);
}
/** The upper half of a product. */
static uint64_t high(uint64_t x, uint64_t y) {
#ifdef __SIZEOF_INT128__
  return (uint64_t)((unsigned __int128)x * y >> 64);
#else
  uint64_t low = (x & 0xffffffff) * (y & 0xffffffff), a = (x >> 32) * (y & 0xffffffff) + (low >> 32), b = (x & 0xffffffff) * (y >> 32) + (a & 0xffffffff);
  return (x >> 32) * (y >> 32) + (a >> 32) + (b >> 32);
#endif
}
__attribute__((noinline)) static void bits(void) {
  uint64_t all = 0;
  for (int i = 0; i < N; i++) {
    uint64_t x = q[i] >> (i & 31), y = (uint64_t)q[N - 1 - i] | 1;
    all = all * 31 + __builtin_popcountll(x) + __builtin_clzll(y) + __builtin_ctzll(y) + (x & (x - 1)) + (x & -x) + (~x & y);
    all += (x << (y & 63)) ^ (x >> (i & 63)) ^ (uint64_t)((int64_t)x >> (y >> 58)) ^ (x << 13 | x >> 51);
    all ^= high(x, y) + x / y + x % (y >> 40 | 1) + __builtin_bswap64(x) + (x & ((1ull << (i & 63)) - 1));
  }
  printf("bits %016" PRIx64 "\n", all);
}
__attribute__((noinline)) static void extended(void) {
  long double x = 1, sum = 0;
  for (int i = 1; i < 400; i++) {
    x = x * (1 + 1.0L / i) - (long double)q[i] / 9e18L;
    sum += sqrtl(fabsl(x)) + fmodl(x, 3.25L) + rintl(x * 17) + (int64_t)(x * 1000) + ldexpl(x, i % 9 - 4);
  }
  printf("extended %La %La\n", x, sum);
  printf("%.15Le %.15Le %.15Le\n", sinl(x), expl(1.25L), logl(fabsl(x) + 2));
}
static int compare(const void *l, const void *r) { return (*(int64_t *)l > *(int64_t *)r) - (*(int64_t *)l < *(int64_t *)r); }
void qsort(void *, size_t, size_t, int (*)(const void *, const void *));

// Comes in between anywhere, and uses every register that a loop may be using.
static float noise[64];
static void interrupt(int number) {
  long double deep = number;
  for (int i = 0; i < 64; i++) noise[i] = noise[i] * 1.5f + sqrtf(i);
  for (int i = 0; i < 64; i++) noise[i] = noise[i] > 1e9f ? -noise[63 - i] : noise[i];
  for (int i = 0; i < 6; i++) deep = deep * 1.25L + noise[i];
  noise[0] = deep;
}

int main(void) {
  sigaction(SIGALRM, &(struct sigaction){.sa_handler = interrupt, .sa_flags = SA_RESTART}, NULL);
  setitimer(ITIMER_REAL, &(struct itimerval){.it_interval.tv_usec = 1000, .it_value.tv_usec = 1000}, NULL);
  for (int round = 0; round < 8; round++) {
    fill(), integers(), floats(), bits();
    char text[4096], copy[4096];
    int length = 0;
    for (int i = 0; length < 3800; i++) length += sprintf(text + length, "%d %g %" PRIx64 ";", d[i], e[i], (uint64_t)q[i]);
    memset(copy, round, sizeof copy);
    memmove(copy + round * 5, text, length - 3), memcpy(text + 11, copy + 40 - round, 1500 + round);
    printf("text %d %016" PRIx64 " %zu %d\n", length, hash(copy, sizeof copy), strspn(text, "0123456789- "), strcmp(text, copy) > 0);
    qsort(q, N, sizeof *q, compare);
    SHOW(q);
  }
  extended();
}
