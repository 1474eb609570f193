// A machine of KVM: a thread a virtual processor, the interrupt controllers and timers inside the kernel, exits to the owner.
// Threads and locks: threaded_machine.h.
#pragma once

#include <array>
#include <memory>

#include "accelerator/kvm/host.h"
#include "accelerator/kvm/slots.h"
#include "accelerator/kvm/vcpu.h"
#include "accelerator/threaded_machine.h"

namespace lodge::kvm {

class KvmMachine final : public ThreadedMachine {
 public:
  static std::unique_ptr<Machine> create(const MachineConfig& config, Error& error);
  ~KvmMachine() override;

  // Machine.
  bool takeDirty(RegionId region, uint8_t* bitmap, uint64_t bitmapBytes) override;
  void setIrq(unsigned gsi, bool level) override;
  void sendMsi(uint64_t address, uint32_t data) override;
  void nmi() override;

 private:
  explicit KvmMachine(const MachineConfig& config) : ThreadedMachine(config) {}
  Error build(unsigned cpus, const x86::CpuModel* model);
  Error routeInterrupts();

  // ThreadedMachine.
  Error mapped(RegionId region, uint64_t offset, Gpa gpa, uint64_t bytes) override;
  Error unmapped(Gpa gpa, uint64_t bytes) override;
  void joinHelpers() override;
  void freeze() noexcept override;
  void thaw() noexcept override;
  Error resetParts() override;
  Error applyDebugPoints(const x86::DebugPoints& points) override;
  Error readState(VcpuThread& vcpu, CpuSnapshot& out) noexcept override;
  Error writeState(VcpuThread& vcpu, const CpuSnapshot& in) override;

  Vcpu& vcpu(size_t index) const noexcept { return static_cast<Vcpu&>(*vcpus_[index]); }

  Descriptor device_, vm_;
  std::unique_ptr<Slots> slots_;

  // Power-on state of the 8259s and the I/O APIC, and of the 8254; the latter's present state while the machine stands still.
  std::array<kvm_irqchip, 3> chips_{};
  kvm_pit_state2 pitAtPowerOn_{}, pit_{};
  kvm_clock_data clock_{};
  bool frozen_ = true;
};

}  // namespace lodge::kvm
