// A machine of KVM: a thread a virtual processor, the interrupt controllers and timers inside the kernel, exits to the owner.
//
// Threads: the owner (JS) and the vCPUs. runLock_ is held around who runs, pause and stop, and around KVM calls about processors
// that stand still; inside it only ExitChannel's event lock is taken. The owner never waits for a vCPU with runLock_ held. Memory
// slots and doorbells change only with the world stopped: every vCPU parked, or waiting for the owner's answer.
#pragma once

#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "accelerator/accelerator.h"
#include "accelerator/doorbells.h"
#include "accelerator/exit_channel.h"
#include "accelerator/kvm/host.h"
#include "accelerator/kvm/slots.h"
#include "accelerator/kvm/vcpu.h"

namespace lodge::kvm {

class KvmMachine final : public Machine {
 public:
  static std::unique_ptr<Machine> create(const MachineConfig& config, Error& error);
  ~KvmMachine() override;

  // Machine.
  Error map(RegionId region, uint64_t offset, Gpa gpa, uint64_t bytes) override;
  Error unmap(Gpa gpa, uint64_t bytes) override;
  bool takeDirty(RegionId region, uint8_t* bitmap, uint64_t bitmapBytes) override;
  void setIrq(unsigned gsi, bool level) override;
  void sendMsi(uint64_t address, uint32_t data) override;
  void nmi() override;
  Error addDoorbell(DoorbellKind kind, uint64_t address, unsigned width, uint32_t id) override;
  void removeDoorbell(uint32_t id) override;
  Error start() override;
  void pause() override;
  void resume() override;
  Error reset() override;
  void destroy() override;
  Error getState(unsigned vcpu, CpuSnapshot& out) override;
  Error setState(unsigned vcpu, const CpuSnapshot& in) override;
  int serve(int completed, unsigned spinMicros) override { return destroyed_ ? kServeIdle : exits_.serve(completed, spinMicros); }
  std::vector<Event> takeEvents() override { return exits_.takeEvents(); }
  std::vector<VcpuStats> stats() override;

  // The vCPUs.
  /** Before each KVM_RUN: parks while the machine is paused or stopped; false when the thread has to end. */
  bool enter(Vcpu& vcpu) noexcept;
  /** This vCPU cannot go on: everybody parks, then the owner hears of it. */
  void stopped(Vcpu& vcpu, bool tripleFault, const std::string& message) noexcept;
  bool ring(DoorbellKind kind, uint64_t address, unsigned width, const void* data) noexcept;
  ExitChannel& exits() { return exits_; }

 private:
  enum StopFlag : uint32_t { kPause = 1, kWorld = 2, kEnd = 4 };

  explicit KvmMachine(const MachineConfig& config) : exits_(config.cpus, config.exitRecords, config.wake) {}
  Error build(unsigned cpus);
  Error routeInterrupts();

  bool settled() const { return !started_ || parked_ == vcpus_.size(); }
  bool atRest() const { return settled() && (stop_.load(std::memory_order_relaxed) & kPause); }
  void requestStop(uint32_t flag);
  void reportIfSettled();
  void freeze() noexcept;
  void thaw() noexcept;
  template <class Change>
  void withWorldStopped(Change change);

  Descriptor device_, vm_;
  std::unique_ptr<Slots> slots_;
  std::vector<std::unique_ptr<Vcpu>> vcpus_;
  ExitChannel exits_;
  Doorbells doorbells_;

  // Power-on state of the 8259s and the I/O APIC, and of the 8254; the latter's present state while the machine stands still.
  std::array<kvm_irqchip, 3> chips_{};
  kvm_pit_state2 pitAtPowerOn_{}, pit_{};
  kvm_clock_data clock_{};
  bool frozen_ = true;

  std::mutex runLock_;
  std::condition_variable parkChanged_, allParked_;
  std::atomic<uint32_t> stop_{kPause};
  unsigned parked_ = 0;
  bool pauseWanted_ = false;       // a 'paused' event is owed
  std::vector<Event> stopEvents_;  // 'stopped' events, until everybody is parked
  bool started_ = false, destroyed_ = false;
};

}  // namespace lodge::kvm
