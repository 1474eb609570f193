// How a thread is called out of KVM_RUN. Its kick signal is blocked always, except that KVM unblocks it inside KVM_RUN
// (KVM_SET_SIGNAL_MASK): the call then returns EINTR at once or as soon as the signal comes, and no handler ever runs, so that
// nothing in the process has to be arranged for it.
#pragma once

#include "accelerator/kvm/host.h"

namespace lodge::kvm {

int kickSignal() noexcept;
/** After KVM_RUN said EINTR: takes the signals that caused it. */
void takeKicks() noexcept;
/** KVM_RUN of this virtual processor returns when its thread is kicked. 0 or -errno. */
int allowKicks(const Descriptor& vcpu) noexcept;

/** Three pages and one that Intel's processors need below 4 GiB: between the local APIC's page and where ROMs of up to 16 MiB begin. */
constexpr uint64_t kIdentityMapPage = 0xfeffc000, kTssPages = 0xfeffd000;

}  // namespace lodge::kvm
