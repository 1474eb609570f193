// One virtual processor of KVM: its thread, its exits, and its time while it is stopped.
#pragma once

#include <atomic>

#include "accelerator/kvm/host.h"
#include "accelerator/kvm/state.h"
#include "accelerator/vcpu_thread.h"

namespace lodge::kvm {

class KvmMachine;

class Vcpu final : public VcpuThread {
 public:
  Vcpu(KvmMachine& machine, unsigned index) : VcpuThread(index), machine_(machine), index_(index) {}
  ~Vcpu() override;

  Error open(const Descriptor& device, const Descriptor& vm, unsigned count, const x86::CpuModel* model);

  // VcpuThread. Stopping: KVM_RUN returns soon, and its every call from now on at once.
  void stopRunning() noexcept override;
  void mayRun() noexcept override;
  bool stopWanted() const noexcept override;
  bool unfinished() const noexcept override { return unfinished_; }
  void goOn(Go how) noexcept override;
  VcpuStats stats() noexcept override;
  void sampleTick(uint32_t ticks) noexcept override;

  /** Any thread: an NMI, taken by its own thread, as only that one may speak to a processor that runs. */
  void nmi() noexcept;

  // The rest only while no thread is in KVM_RUN with this processor.
  /** Its TSC and timers stand still from host TSC `now`; thaw() lets them go on as if no time had passed. New ones are frozen. */
  void freeze(uint64_t now) noexcept;
  void thaw(uint64_t now) noexcept;
  /** Frozen: back to power-on. */
  Error reset();
  Error get(CpuSnapshot& out) const noexcept;
  /** Frozen. */
  Error set(const CpuSnapshot& in);
  /** The processor has four debug registers, and a watchpoint takes one for every 8 aligned bytes it touches. */
  Error setDebugPoints(const x86::DebugPoints& points) noexcept;

 private:
  struct Timers {
    uint64_t tsc = 0, deadline = 0;
    uint32_t initialCount = 0, currentCount = 0;
  };

  void run() noexcept override;
  void handleExit() noexcept;
  void portExit() noexcept;
  void mmioExit() noexcept;
  void debugExit() noexcept;
  Error applyDebug() noexcept;
  bool exchange(ExitKind kind, uint64_t address, unsigned width, unsigned count, void* data) noexcept;
  std::string failure() const;
  void recordSample(bool device) noexcept;
  bool tscOffset(unsigned long request, uint64_t& offset) const noexcept;

  KvmMachine& machine_;
  const unsigned index_;
  Descriptor fd_;
  kvm_run* run_ = nullptr;
  size_t runBytes_ = 0;
  PowerOnState powerOn_;
  bool frozen_ = true;
  Timers timers_;
  uint64_t debugRegisters_[8] = {};  ///< what the debugger has in DR0–DR3 and DR7
  uint64_t watchStarts_[4] = {};     ///< and the addresses of its watchpoints, as it named them
  bool step_ = false;
  bool unfinished_ = false;
  std::atomic<bool> nmiWanted_{false};
};

}  // namespace lodge::kvm
