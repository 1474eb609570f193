#include "accelerator/vcpu_thread.h"

#include <time.h>

#include <cstdio>

namespace lodge {

sigset_t machineSignalMask() noexcept {
  sigset_t mask;
  sigfillset(&mask);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&mask, fault);
  return mask;
}

bool startMachineThread(pthread_t& thread, void* (*main)(void*), void* argument) noexcept {
  // Signals belong to the program's main thread.
  const sigset_t mask = machineSignalMask();
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, &mask, &before);
  const bool started = pthread_create(&thread, nullptr, main, argument) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

bool VcpuThread::start() {
  const auto main = [](void* self) -> void* {
    static_cast<VcpuThread*>(self)->run();
    return nullptr;
  };
  started_ = startMachineThread(thread_, main, this);
  if (started_) {
    char name[16];
    std::snprintf(name, sizeof name, "vcpu%u", index_);
    pthread_setname_np(thread_, name);
  }
  return started_;
}

void VcpuThread::join() {
  if (!started_) return;
  started_ = false;
  pthread_join(thread_, nullptr);
}

VcpuStats VcpuThread::commonStats() const noexcept {
  VcpuStats out;
  out.cpuSeconds = cpuSeconds();
  for (unsigned kind = 0; kind < 4; ++kind) out.exits[kind] = exits_[kind].value();
  out.doorbells = doorbells_.value();
  out.quick = quick_.value();
  return out;
}

uint64_t VcpuThread::cpuNanoseconds() const noexcept {
  clockid_t clock;
  timespec spent;
  if (!started_ || pthread_getcpuclockid(thread_, &clock) != 0 || clock_gettime(clock, &spent) != 0) return 0;
  return static_cast<uint64_t>(spent.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(spent.tv_nsec);
}

}  // namespace lodge
