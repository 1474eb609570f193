#include "testing/conformance/sandbox.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <iterator>

namespace lodge::x86::conformance {

void enterSandbox() {
  static constexpr unsigned kAllowed[] = {SYS_rt_sigreturn, SYS_write, SYS_exit_group, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise, SYS_brk,
                                          SYS_futex, SYS_getrandom, SYS_memfd_create, SYS_ftruncate, SYS_close, SYS_mremap, SYS_clock_gettime,
                                          SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_sigaltstack, SYS_exit, SYS_fallocate};
  sock_filter program[2 + 2 * std::size(kAllowed) + 1];
  unsigned n = 0;
  program[n++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
  for (unsigned call : kAllowed) {
    program[n++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1);
    program[n++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  }
  program[n++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  sock_fprog filter{static_cast<unsigned short>(n), program};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
    std::perror("conformance: no sandbox");
}

int runInChild(void (*body)(void*), void* context, const uint64_t* progress) {
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) return -1;
  if (pid == 0) {
    body(context);
    ::_exit(0);
  }
  int status = 0;
  uint64_t seen = ~0ull;
  for (unsigned idle = 0;;) {
    const pid_t ended = ::waitpid(pid, &status, WNOHANG);
    if (ended == pid) return status;
    if (ended < 0) return -1;
    ::usleep(10'000);
    const uint64_t now = __atomic_load_n(progress, __ATOMIC_RELAXED);
    idle = now == seen ? idle + 1 : 0;
    seen = now;
    if (idle == 2000) ::kill(pid, SIGKILL);
  }
}

void* sharedMemory(uint64_t bytes) {
  void* const p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}
void freeShared(void* memory, uint64_t bytes) { ::munmap(memory, bytes); }

}  // namespace lodge::x86::conformance
