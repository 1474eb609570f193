// Architectural state of a virtual processor that is not in KVM_RUN, to and from Lodge's own schema; and its power-on state.
#pragma once

#include <vector>

#include "accelerator/kvm/host.h"

namespace lodge::kvm {

bool readMsr(const Descriptor& vcpu, uint32_t msr, uint64_t& value) noexcept;
bool writeMsr(const Descriptor& vcpu, uint32_t msr, uint64_t value) noexcept;

/** All but the TSC and its deadline. */
Error getState(const Descriptor& vcpu, CpuSnapshot& out);
/** All but the TSC, its deadline and the vector registers' upper halves. After an Error the state is a mixture. */
Error setState(const Descriptor& vcpu, const CpuSnapshot& in);

/** Everything KVM keeps of a new virtual processor, so that a reset is to put it back. */
class PowerOnState {
 public:
  Error read(const Descriptor& device, const Descriptor& vcpu);
  Error write(const Descriptor& vcpu) const;

 private:
  kvm_regs regs_{};
  kvm_sregs sregs_{};
  Xsave fpu_;
  kvm_debugregs debug_{};
  kvm_vcpu_events events_{};
  kvm_mp_state activity_{};
  kvm_lapic_state apic_{};
  std::vector<std::pair<uint32_t, uint64_t>> msrs_;
};

}  // namespace lodge::kvm
