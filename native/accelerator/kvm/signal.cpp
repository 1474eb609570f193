#include "accelerator/kvm/signal.h"

#include <signal.h>
#include <time.h>

#include <cstring>

#include "accelerator/vcpu_thread.h"

namespace lodge::kvm {

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
  sigset_t mask = machineSignalMask();
  sigdelset(&mask, kickSignal());
  SignalMask argument;
  std::memcpy(argument.set, &mask, sizeof argument.set);
  return call(vcpu, kSetSignalMask, &argument);
}

}  // namespace lodge::kvm
