#include "accelerator/vcpu_thread.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

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
    auto* const vcpu = static_cast<VcpuThread*>(self);
    vcpu->id_.store(gettid(), std::memory_order_relaxed);
    vcpu->run();
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
  out.withheldSeconds = static_cast<double>(withheld.load(std::memory_order_relaxed)) / 1e9;
  if (const auto waited = waitedNanoseconds()) out.waitedSeconds = static_cast<double>(*waited) / 1e9;
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

std::optional<uint64_t> VcpuThread::waitedNanoseconds() const noexcept {
  const int id = id_.load(std::memory_order_relaxed);
  if (!started_ || id == 0) return {};
  // “run time, time waited for a processor, …” in nanoseconds.
  char text[64];
  std::snprintf(text, sizeof text, "/proc/self/task/%d/schedstat", id);
  const int file = open(text, O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  const ssize_t bytes = read(file, text, sizeof text - 1);
  close(file);
  if (bytes <= 0) return {};
  text[bytes] = 0;
  unsigned long long ran = 0, waited = 0;
  if (std::sscanf(text, "%llu %llu", &ran, &waited) != 2) return {};
  return waited;
}

}  // namespace lodge
