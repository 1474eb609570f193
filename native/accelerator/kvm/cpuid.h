// What CPUID shows to guests of KVM: the policy of x86/cpuid.h, less what this host's KVM does not offer.
#pragma once

#include "accelerator/kvm/host.h"
#include "x86/cpuid.h"

namespace lodge::kvm {

/** KVM_SET_CPUID2 of processor `index` of `count`. Without a model: the default one. */
Error setCpuid(const Descriptor& device, const Descriptor& vcpu, unsigned index, unsigned count, uint64_t tscHz, const x86::CpuModel* chosen);

}  // namespace lodge::kvm
