// One virtual processor of KVM: its thread, its exits, and its time while it is stopped.
#pragma once

#include <pthread.h>

#include <atomic>

#include "accelerator/kvm/host.h"
#include "accelerator/kvm/state.h"

namespace lodge::kvm {

class KvmMachine;

class Vcpu {
 public:
  Vcpu(KvmMachine& machine, unsigned index) : machine_(machine), index_(index) {}
  ~Vcpu();

  Error open(const Descriptor& device, const Descriptor& vm, unsigned count);
  unsigned index() const { return index_; }
  bool start();
  void join();

  /** What the thread is doing: only Running touches guest memory or the doorbells. */
  enum class Mode : uint8_t { Idle, Running, Waiting };
  std::atomic<Mode> mode{Mode::Idle};

  /** Any thread: KVM_RUN returns soon, and its every call from now on at once, until unkick() on the vCPU's own. */
  void kick() noexcept;
  void unkick() noexcept;
  bool kicked() const noexcept;
  /** On its thread or while parked: an access the guest began is not complete until the next KVM_RUN. */
  bool unfinished() const { return unfinished_; }
  VcpuStats stats() noexcept;

  // The rest only while no thread is in KVM_RUN with this processor.
  /** Its TSC and timers stand still from host TSC `now`; thaw() lets them go on as if no time had passed. New ones are frozen. */
  void freeze(uint64_t now) noexcept;
  void thaw(uint64_t now) noexcept;
  /** Frozen: back to power-on. */
  Error reset();
  Error get(CpuSnapshot& out) const;
  /** Frozen. */
  Error set(const CpuSnapshot& in);

 private:
  struct Timers {
    uint64_t tsc = 0, deadline = 0;
    uint32_t initialCount = 0, currentCount = 0;
  };

  void run() noexcept;
  void handleExit() noexcept;
  void portExit() noexcept;
  void mmioExit() noexcept;
  bool exchange(ExitKind kind, uint64_t address, unsigned width, unsigned count, void* data) noexcept;
  std::string failure() const;
  bool tscOffset(unsigned long request, uint64_t& offset) const noexcept;

  KvmMachine& machine_;
  const unsigned index_;
  Descriptor fd_;
  kvm_run* run_ = nullptr;
  size_t runBytes_ = 0;
  PowerOnState powerOn_;
  bool frozen_ = true;
  Timers timers_;
  pthread_t thread_{};
  bool started_ = false;
  bool unfinished_ = false;
  std::atomic<uint64_t> exits_{0};
};

}  // namespace lodge::kvm
