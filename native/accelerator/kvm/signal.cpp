#include "accelerator/kvm/signal.h"

#include <signal.h>
#include <time.h>

#include <cstring>

namespace lodge::kvm {
namespace {

sigset_t threadMask() {
  sigset_t mask;
  sigfillset(&mask);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&mask, fault);
  return mask;
}

}  // namespace

// A real-time signal: other parts of a program use the ordinary ones, also from outside.
int kickSignal() noexcept { return SIGRTMIN + 7; }

void takeKicks() noexcept {
  sigset_t kick;
  sigemptyset(&kick);
  sigaddset(&kick, kickSignal());
  const timespec now{0, 0};
  while (sigtimedwait(&kick, nullptr, &now) > 0) {
  }
}

int allowKicks(const Descriptor& vcpu) noexcept {
  sigset_t mask = threadMask();
  sigdelset(&mask, kickSignal());
  SignalMask argument;
  std::memcpy(argument.set, &mask, sizeof argument.set);
  return call(vcpu, kSetSignalMask, &argument);
}

bool startThread(pthread_t& thread, void* (*main)(void*), void* argument) noexcept {
  const sigset_t mask = threadMask();
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, &mask, &before);
  const bool started = pthread_create(&thread, nullptr, main, argument) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

}  // namespace lodge::kvm
