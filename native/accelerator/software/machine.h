// A machine of software vCPUs: a thread each, one timer thread, the interrupt controllers, and the exits to the owner.
//
// Threads and locks: threaded_machine.h, and the timer. Lock order, outermost first:
//   runLock_ (who runs, pause, stop)  →  IrqChip's lock  →  nothing
//   PhysicalMemory's lock             →  the observers' own queues (x86 core)
// IrqChip calls out only to atomics and futexes (Vcpu::request, the timer's word).
#pragma once

#include <pthread.h>

#include <memory>
#include <vector>

#include "accelerator/clock.h"
#include "accelerator/software/vcpu.h"
#include "accelerator/threaded_machine.h"
#include "irqchip/irqchip.h"

namespace lodge::software {

using CpuFactory =
    std::function<std::unique_ptr<x86::Cpu>(const x86::CpuConfig&, PhysicalMemory&, x86::Environment&)>;

class SoftwareMachine final : public ThreadedMachine, private IrqChip::Outside {
 public:
  static std::unique_ptr<Machine> create(const MachineConfig& config, const CpuFactory& factory, Error& error);
  ~SoftwareMachine() override;

  // Machine.
  void setIrq(unsigned gsi, bool level) override { chip_.setIrq(gsi, level); }
  void sendMsi(uint64_t address, uint32_t data) override { chip_.sendMsi(address, data); }
  void nmi() override { chip_.nmi(); }

  // The vCPUs.
  IrqChip& chip() { return chip_; }
  void kick(uint32_t apicId) noexcept {
    if (apicId < vcpus_.size()) vcpu(apicId).request(x86::kRequestKick);
  }
  const MachineClock& clock() const { return clock_; }
  /** Halted vCPUs that look for what wakes them, so that one processor of the host at least does what they wait for. */
  std::atomic<unsigned> polling{0};
  using ThreadedMachine::capped;

 private:
  explicit SoftwareMachine(const MachineConfig& config);

  // ThreadedMachine.
  Error mapped(RegionId region, uint64_t offset, Gpa gpa, uint64_t bytes) override;
  Error unmapped(Gpa gpa, uint64_t bytes) override;
  bool startHelpers() override;
  void joinHelpers() override;
  void runStateChanged() noexcept override { timerSooner(); }
  void freeze() noexcept override { clock_.freeze(); }
  void thaw() noexcept override { clock_.thaw(); }
  Error resetParts() override;
  Error applyDebugPoints(const x86::DebugPoints& points) override;
  Error readState(VcpuThread& vcpu, CpuSnapshot& out) noexcept override;
  Error writeState(VcpuThread& vcpu, const CpuSnapshot& in) override;

  // IrqChip::Outside: any thread, with the chip's lock held.
  uint64_t now() const noexcept override { return clock_.now(); }
  uint64_t tsc(unsigned index) const noexcept override { return vcpu(index).tsc(); }
  uint64_t tscHz() const noexcept override { return hostTscHz(); }
  void interrupt(unsigned index) noexcept override { vcpu(index).request(x86::kRequestInterrupt); }
  void nmi(unsigned index) noexcept override { vcpu(index).request(x86::kRequestNmi); }
  void init(unsigned index) noexcept override;
  void startup(unsigned index, uint8_t vector) noexcept override;
  void timerSooner() noexcept override;

  void runTimers() noexcept;
  Vcpu& vcpu(size_t index) const noexcept { return static_cast<Vcpu&>(*vcpus_[index]); }

  MachineClock clock_;
  IrqChip chip_;
  pthread_t timer_{};
  bool timerStarted_ = false;
  std::atomic<uint32_t> timerWord_{0};
};

}  // namespace lodge::software
