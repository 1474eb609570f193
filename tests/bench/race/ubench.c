/*
 * The workloads of the race that are written in C, and the reporter around all of them (`run`, `mark`). Every workload prints a
 * checksum that depends on nothing but its code, so that a processor that is wrong is caught and not only one that is slow.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}
static uint32_t rs = 0x12345678u;
static inline uint32_t rnd(void) {
  rs ^= rs << 13;
  rs ^= rs >> 17;
  rs ^= rs << 5;
  return rs;
}
static void die(const char* m) {
  perror(m);
  exit(2);
}

/* write a whole line in one write(), then wait until the UART has sent it */
static void line(const char* s) {
  size_t n = strlen(s);
  while (n) {
    ssize_t w = write(1, s, n);
    if (w <= 0) break;
    s += w;
    n -= w;
  }
  tcdrain(1);
}

/* ---- run NAME CMD ARGS: START marker, run, END marker -------------------- */
static int cmd_run(int argc, char** argv) {
  if (argc < 2) return 2;
  char buf[4096], msg[256];
  int p[2];
  if (pipe(p)) die("pipe");
  snprintf(msg, sizeof msg, "RACE-START %s\n", argv[0]);
  line(msg);
  double t0 = now();
  pid_t c = fork();
  if (c < 0) die("fork");
  if (!c) {
    dup2(p[1], 1);
    close(p[0]);
    close(p[1]);
    execvp(argv[1], argv + 1);
    _exit(127);
  }
  close(p[1]);
  uint64_t h = 1469598103934665603ull;
  ssize_t n;
  while ((n = read(p[0], buf, sizeof buf)) > 0)
    for (ssize_t i = 0; i < n; i++) {
      h ^= (unsigned char)buf[i];
      h *= 1099511628211ull;
    }
  int st = 0;
  waitpid(c, &st, 0);
  double t1 = now();
  snprintf(msg, sizeof msg, "RACE %s %.6f rc=%d sum=%016llx\n", argv[0], t1 - t0,
           WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st), (unsigned long long)h);
  line(msg);
  return 0;
}

/* ---- generators (not timed) ---------------------------------------------- */
static int cmd_gen(const char* kind, const char* path, long n) {
  FILE* f = fopen(path, "w");
  if (!f) die(path);
  if (!strcmp(kind, "bytes")) { /* n MiB of xorshift bytes, one random MiB with a counter stamped per block */
    static uint32_t b[262144];
    for (int i = 0; i < 262144; i++) b[i] = rnd();
    for (long m = 0; m < n; m++) {
      for (int i = 0; i < 262144; i += 1024) b[i] = rnd();
      fwrite(b, 1, sizeof b, f);
    }
  } else if (!strcmp(kind, "text")) { /* n MiB, compressible */
    static char b[1 << 20];
    static const char* w[] = {"the ",    "kernel ", "page ", "of ",    "a ",     "trap ",     "frame ",     "0x",
                              "return ", "if (",    ") {\n", "block ", "while ", "register ", "translate ", "cache\n"};
    for (long m = 0; m < n; m++) {
      size_t o = 0;
      while (o < sizeof b - 32) {
        uint32_t r = rnd();
        const char* s = w[r & 15];
        size_t l = strlen(s);
        memcpy(b + o, s, l);
        o += l;
        if ((r >> 4 & 7) == 0) {
          for (int k = 0; k < 6; k++) b[o++] = "0123456789abcdef"[(r >> (8 + 4 * k)) & 15];
        }
      }
      while (o < sizeof b) b[o++] = '\n';
      fwrite(b, 1, sizeof b, f);
    }
  } else if (!strcmp(kind, "lines")) {
    for (long i = 0; i < n; i++) {
      uint32_t a = rnd(), b = rnd();
      fprintf(f, "%08x key-%u line\n", (unsigned)a, (unsigned)(b % 1000000));
    }
  } else
    return 2;
  if (fclose(f)) die("close");
  return 0;
}

/* ---- integer -------------------------------------------------------------- */
static uint32_t sieve_once(uint8_t* a, int N) {
  memset(a, 1, N);
  uint32_t c = 0;
  for (int i = 2; i < N; i++)
    if (a[i]) {
      c++;
      for (long long j = (long long)i * i; j < N; j += i) a[j] = 0;
    }
  return c;
}
static void b_sieve(void) {
  int N = 4000000;
  uint8_t* a = malloc(N);
  uint32_t s = 0;
  for (int r = 0; r < 8; r++) s += sieve_once(a, N);
  printf("%u\n", s);
}

static void qs(uint32_t* a, int lo, int hi) {
  while (lo < hi) {
    uint32_t p = a[(lo + hi) >> 1];
    int i = lo, j = hi;
    while (i <= j) {
      while (a[i] < p) i++;
      while (a[j] > p) j--;
      if (i <= j) {
        uint32_t t = a[i];
        a[i] = a[j];
        a[j] = t;
        i++;
        j--;
      }
    }
    if (j - lo < hi - i) {
      qs(a, lo, j);
      lo = i;
    } else {
      qs(a, i, hi);
      hi = j;
    }
  }
}
static void b_qsort(void) {
  int N = 2000000;
  uint32_t* a = malloc(N * 4u);
  for (int i = 0; i < N; i++) a[i] = rnd();
  qs(a, 0, N - 1);
  uint32_t h = 0;
  for (int i = 0; i < N; i++) {
    h = h * 31 + a[i];
    if (i && a[i] < a[i - 1]) {
      puts("UNSORTED");
      exit(1);
    }
  }
  printf("%u\n", h);
}

static void b_chase(void) { /* 16 MiB random cycle: softmmu/TLB + cache misses */
  uint32_t n = 4u << 20, *a = malloc(n * 4u);
  for (uint32_t i = 0; i < n; i++) a[i] = i;
  for (uint32_t i = n - 1; i > 0; i--) {
    uint32_t j = rnd() % i;
    uint32_t t = a[i];
    a[i] = a[j];
    a[j] = t;
  } /* Sattolo */
  uint32_t x = 0;
  for (uint32_t k = 0; k < 6000000; k++) x = a[x];
  printf("%u\n", x);
}
static void b_strmem(void) {
  size_t n = 1 << 20;
  char *a = malloc(n + 64), *b = malloc(n + 64);
  uint64_t h = 0;
  for (size_t i = 0; i < n; i++) a[i] = 'a' + (rnd() % 25);
  a[n - 1] = 0;
  for (int r = 0; r < 400; r++) {
    memcpy(b + (r & 15), a, n);
    h += strlen(b + (r & 15));
    h += (uint64_t)(uintptr_t)(memchr(a, 'z', n) != 0);
    h += (memcmp(a, b + (r & 15), n) == 0);
    memmove(b + 7, b, n - 7);
    memset(b, r, 4096);
  }
  for (int r = 0; r < 300000; r++) {
    char t[64];
    size_t o = (rnd() & 0xffff);
    memcpy(t, a + o, 40);
    t[40] = 0;
    h += strlen(t + (r & 7)) + (strchr(t, 'q') != 0) + (strcmp(t, a + o) < 0);
  }
  printf("%llu\n", (unsigned long long)h);
}
/* ---- FP ------------------------------------------------------------------- */
static void b_matmul(void) {
  int N = 256;
  double *a = malloc(N * N * 8), *b = malloc(N * N * 8), *c = calloc(N * N, 8);
  for (int i = 0; i < N * N; i++) {
    a[i] = (rnd() % 1000) / 997.0;
    b[i] = (rnd() % 1000) / 991.0;
  }
  for (int r = 0; r < 12; r++)
    for (int i = 0; i < N; i++)
      for (int k = 0; k < N; k++) {
        double x = a[i * N + k];
        for (int j = 0; j < N; j++) c[i * N + j] += x * b[k * N + j];
      }
  double s = 0;
  for (int i = 0; i < N * N; i++) s += c[i];
  printf("%.6f\n", s);
}
#define NBODY(NAME, T, SQRT)                                                                                                    \
  static void NAME(int steps) {                                                                                                 \
    static T p[5][7] = {{0, 0, 0, 0, 0, 0, 39.47841760435743},                                                                  \
                        {4.84143144246472090, -1.16032004402742839, -0.103622044471123109, 0.606326392995832, 2.81198684491626, \
                         -0.0252183616598876, 0.0376936749096657},                                                              \
                        {8.34336671824457987, 4.12479856412430479, -0.403523417114321381, -1.01077434617879, 1.82566237123041,  \
                         0.00841576137658415, 0.0112863261319688},                                                              \
                        {12.8943695621391310, -15.1111514016986312, -0.223307578892655734, 1.08279100644154, 0.868713018169608, \
                         -0.0108326374013636, 0.00172372405705971},                                                             \
                        {15.3796971148509165, -25.9193146099879641, 0.179258772950371181, 0.979090732243898, 0.594698998647676, \
                         -0.0347559555040781, 0.00203368686992463}};                                                            \
    T dt = 0.01;                                                                                                                \
    for (int s = 0; s < steps; s++) {                                                                                           \
      for (int i = 0; i < 5; i++)                                                                                               \
        for (int j = i + 1; j < 5; j++) {                                                                                       \
          T dx = p[i][0] - p[j][0], dy = p[i][1] - p[j][1], dz = p[i][2] - p[j][2];                                             \
          T d2 = dx * dx + dy * dy + dz * dz, m = dt / (d2 * SQRT(d2));                                                         \
          for (int k = 0; k < 3; k++) {                                                                                         \
            T d = k == 0 ? dx : k == 1 ? dy : dz;                                                                               \
            p[i][3 + k] -= d * p[j][6] * m;                                                                                     \
            p[j][3 + k] += d * p[i][6] * m;                                                                                     \
          }                                                                                                                     \
        }                                                                                                                       \
      for (int i = 0; i < 5; i++)                                                                                               \
        for (int k = 0; k < 3; k++) p[i][k] += dt * p[i][3 + k];                                                                \
    }                                                                                                                           \
    printf("%.9f %.9f\n", (double)p[1][0], (double)p[4][1]);                                                                    \
  }
NBODY(nbody_d, double, sqrt)
NBODY(nbody_l, long double, sqrtl)
static void b_nbody(void) { nbody_d(600000); }
static void b_nbodyx87(void) { nbody_l(150000); }

/* ---- AES-like: 4 x 1 KiB T-tables, 10 rounds ------------------------------ */
static uint32_t T[4][256];
static void b_aes(void) {
  for (int t = 0; t < 4; t++)
    for (int i = 0; i < 256; i++) T[t][i] = rnd();
  uint32_t rk[44];
  for (int i = 0; i < 44; i++) rk[i] = rnd();
  uint32_t s0 = 1, s1 = 2, s2 = 3, s3 = 4;
  for (int blk = 0; blk < 1500000; blk++) {
    for (int r = 0; r < 10; r++) {
      uint32_t a = T[0][s0 >> 24] ^ T[1][s1 >> 16 & 255] ^ T[2][s2 >> 8 & 255] ^ T[3][s3 & 255] ^ rk[r * 4];
      uint32_t b = T[0][s1 >> 24] ^ T[1][s2 >> 16 & 255] ^ T[2][s3 >> 8 & 255] ^ T[3][s0 & 255] ^ rk[r * 4 + 1];
      uint32_t c = T[0][s2 >> 24] ^ T[1][s3 >> 16 & 255] ^ T[2][s0 >> 8 & 255] ^ T[3][s1 & 255] ^ rk[r * 4 + 2];
      uint32_t d = T[0][s3 >> 24] ^ T[1][s0 >> 16 & 255] ^ T[2][s1 >> 8 & 255] ^ T[3][s2 & 255] ^ rk[r * 4 + 3];
      s0 = a;
      s1 = b;
      s2 = c;
      s3 = d;
    }
    s0 ^= blk;
  }
  printf("%08x%08x%08x%08x\n", s0, s1, s2, s3);
}
/* ---- kernel crossings ------------------------------------------------------ */
static void b_getpid(void) {
  long s = 0;
  for (int i = 0; i < 100000; i++) s += syscall(SYS_getpid) > 0;
  printf("%ld\n", s);
}
static void b_mmap(void) { /* 150 x (map 1 MiB, touch 256 pages, mprotect, unmap) = 38400 faults */
  uint32_t s = 0;
  for (int r = 0; r < 150; r++) {
    uint8_t* p = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) die("mmap");
    madvise(p, 1 << 20, MADV_NOHUGEPAGE);
    for (int i = 0; i < 256; i++) {
      p[i << 12] = r + i;
    }
    mprotect(p, 1 << 20, PROT_READ);
    for (int i = 0; i < 256; i++) s += p[i << 12];
    munmap(p, 1 << 20);
  }
  printf("%u\n", s);
}
static void b_pipe(void) { /* 10000 round trips between two processes */
  int a[2], b[2];
  if (pipe(a) || pipe(b)) die("pipe");
  uint32_t v = 0;
  int N = 10000;
  pid_t c = fork();
  if (!c) {
    for (int i = 0; i < N; i++) {
      if (read(a[0], &v, 4) != 4) _exit(1);
      v++;
      if (write(b[1], &v, 4) != 4) _exit(1);
    }
    _exit(0);
  }
  for (int i = 0; i < N; i++) {
    if (write(a[1], &v, 4) != 4 || read(b[0], &v, 4) != 4) die("pingpong");
    v++;
  }
  waitpid(c, 0, 0);
  printf("%u\n", v);
}
static void b_par2(void) { /* two processes, CPU-bound: shows SMP scaling */
  for (int k = 0; k < 2; k++)
    if (!fork()) {
      int N = 4000000;
      uint8_t* a = malloc(N);
      uint32_t s = 0;
      for (int r = 0; r < 8; r++) s += sieve_once(a, N);
      _exit(s == 8 * 283146u ? 0 : 1);
    }
  int st, bad = 0;
  for (int k = 0; k < 2; k++) {
    wait(&st);
    bad |= st;
  }
  printf("%d\n", bad);
}
static void b_jit(void) { /* guest JIT: emit code, run it, patch it in place, run again */
  uint8_t* p = mmap(0, 1 << 16, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) die("mmap rwx");
  uint32_t s = 0;
  for (uint32_t i = 0; i < 40000; i++) {
    uint8_t* q = p + ((i * 64) & 0xffc0);
    q[0] = 0xb8;
    memcpy(q + 1, &i, 4);
    q[5] = 0xc3; /* mov eax,imm32; ret */
    s += ((uint32_t(*)(void))q)() * 3u;
  }
  printf("%u\n", s);
}
/* ---- block ------------------------------------------------------------------ */
static int b_blk(const char* op, const char* dev) {
  int nodirect = getenv("RACE_NODIRECT") != 0, wr = strstr(op, "write") != 0;
  int fd = open(dev, (wr ? O_RDWR : O_RDONLY) | (nodirect ? 0 : O_DIRECT));
  if (fd < 0) die(dev);
  void* m;
  if (posix_memalign(&m, 4096, 1 << 20)) return 2;
  uint8_t* b = m;
  uint64_t h = 0;
  const long long total = 64ll << 20;
  if (!strncmp(op, "seq", 3)) {
    for (long long o = 0; o < total; o += 1 << 20) {
      if (wr) {
        for (int i = 0; i < 1 << 20; i += 512) {
          uint64_t s = o + i;
          memcpy(b + i, &s, 8);
        }
        if (pwrite(fd, b, 1 << 20, o) != 1 << 20) die("pwrite");
      } else {
        if (pread(fd, b, 1 << 20, o) != 1 << 20) die("pread");
        for (int i = 0; i < 1 << 20; i += 512) {
          uint64_t s;
          memcpy(&s, b + i, 8);
          h = h * 31 + s;
        }
      }
    }
  } else
    for (int k = 0; k < 2000; k++) {
      long long o = (long long)(rnd() % (total >> 12)) << 12;
      if (wr) {
        memset(b, 0, 8);
        uint64_t s = o;
        memcpy(b, &s, 8);
        if (pwrite(fd, b, 4096, o) != 4096) die("pwrite");
      } else {
        if (pread(fd, b, 4096, o) != 4096) die("pread");
        uint64_t s;
        memcpy(&s, b, 8);
        h = h * 31 + s;
      }
    }
  close(fd);
  printf("%llu\n", (unsigned long long)h);
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: ubench run NAME CMD.. | mark TEXT | gen KIND PATH N | blk OP DEV | TEST\n");
    return 2;
  }
  const char* c = argv[1];
  if (!strcmp(c, "run")) return cmd_run(argc - 2, argv + 2);
  if (!strcmp(c, "mark")) {
    char m[128];
    snprintf(m, sizeof m, "%s mono=%.6f\n", argc > 2 ? argv[2] : "MARK", now());
    line(m);
    return 0;
  }
  if (!strcmp(c, "gen") && argc == 5) return cmd_gen(argv[2], argv[3], atol(argv[4]));
  if (!strcmp(c, "blk") && argc == 4) return b_blk(argv[2], argv[3]);
  static const struct {
    const char* n;
    void (*f)(void);
  } t[] = {{"sieve", b_sieve}, {"qsort", b_qsort},       {"chase", b_chase}, {"strmem", b_strmem}, {"matmul", b_matmul},
           {"nbody", b_nbody}, {"nbodyx87", b_nbodyx87}, {"aes", b_aes},     {"getpid", b_getpid}, {"mmap", b_mmap},
           {"pipe", b_pipe},   {"par2", b_par2},         {"jit", b_jit}};
  for (size_t i = 0; i < sizeof t / sizeof *t; i++)
    if (!strcmp(c, t[i].n)) {
      t[i].f();
      return 0;
    }
  return 2;
}
