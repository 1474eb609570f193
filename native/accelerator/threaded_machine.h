// The life cycle of a machine whose processors are threads, whatever executes the guest: who runs, how everybody is parked, how the
// world is stopped for a change of the physical map, and how it all ends.
//
// Threads: the owner (JS), the vCPUs, the one that ticks while the guest is profiled, and what a derived machine adds. runLock_ is held around who runs, pause and stop, and around
// the hooks that say so; inside it the derived machine's own locks and ExitChannel's event lock may be taken, never the other way
// round. The owner never waits for a vCPU with runLock_ held. The physical map, the doorbells and the quick ports change only with the world stopped:
// every vCPU idle, parked, or waiting for the owner's answer, so they need no lock.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "accelerator/accelerator.h"
#include "accelerator/doorbells.h"
#include "accelerator/exit_channel.h"
#include "accelerator/governor.h"
#include "accelerator/quick_ports.h"
#include "accelerator/vcpu_thread.h"

namespace lodge {

class ThreadedMachine : public Machine {
 public:
  // Machine.
  Error map(RegionId region, uint64_t offset, Gpa gpa, uint64_t bytes) final;
  Error unmap(Gpa gpa, uint64_t bytes) final;
  Error addDoorbell(DoorbellKind kind, uint64_t address, unsigned width, uint32_t id) final;
  void removeDoorbell(uint32_t id) final;
  Error addQuickPort(uint16_t port, unsigned width, unsigned number) final;
  void removeQuickPort(unsigned number) final;
  Error start() final;
  void pause() final;
  using Machine::resume;
  void resume(const std::vector<Go>& how) final;
  Error reset() final;
  void destroy() final;
  Error setDebugPoints(const x86::DebugPoints& points) final;
  Error setCpuCap(unsigned percent) final;
  Error setCpuQuota(double processors) final;
  Error getState(unsigned vcpu, CpuSnapshot& out) final;
  Error setState(unsigned vcpu, const CpuSnapshot& in) final;
  int serve(int completed, unsigned spinMicros) final { return destroyed_ ? kServeIdle : exits_.serve(completed, spinMicros); }
  std::vector<Event> takeEvents() final { return exits_.takeEvents(); }
  std::vector<VcpuStats> stats() final;
  Error startSampling(unsigned hertz) final;
  void stopSampling() final;
  Samples takeSamples() final;

  // The vCPUs, each on its own thread.
  /** Before the guest runs: parks while the machine is paused or stopped; false when the thread has to end. */
  bool enter(VcpuThread& vcpu) noexcept;
  /** This vCPU cannot go on: everybody parks, then the owner hears of it. */
  void stopped(VcpuThread& vcpu, bool tripleFault, const std::string& message) noexcept;
  /** This vCPU came to something a debugger waits for: as stopped(). */
  void debugStopped(VcpuThread& vcpu, const x86::DebugStop& stop) noexcept;
  bool ring(DoorbellKind kind, uint64_t address, unsigned width, const void* data) noexcept;
  /** False: the access has to wait for the owner. */
  bool quickIn(uint16_t port, unsigned width, void* data) noexcept;
  bool quickOut(uint16_t port, unsigned width, const void* data) noexcept;
  ExitChannel& exits() { return exits_; }

 protected:
  explicit ThreadedMachine(const MachineConfig& config) : exits_(config.cpus, config.exitRecords, config.wake), governor_(config.cpus) {}
  /** Empty, or why a machine cannot have so many processors. */
  static Error checkCpus(unsigned cpus);

  // The derived machine's part. Its destructor calls destroy().
  virtual Error mapped(RegionId region, uint64_t offset, Gpa gpa, uint64_t bytes) = 0;
  virtual Error unmapped(Gpa gpa, uint64_t bytes) = 0;
  /** Threads besides the vCPUs'; false: the host has none to give. */
  virtual bool startHelpers() { return true; }
  /** No vCPU runs any more: helpers, too, end. */
  virtual void joinHelpers() {}
  /** With runLock_: stop_ or the clock changed. */
  virtual void runStateChanged() noexcept {}
  /** With runLock_, everybody parked: the guest's time stands still from here; both are idempotent. */
  virtual void freeze() noexcept = 0;
  virtual void thaw() noexcept = 0;
  /** With runLock_, everybody parked. */
  virtual Error resetParts() = 0;
  virtual Error applyDebugPoints(const x86::DebugPoints& points) = 0;
  /** While this vCPU stands still. */
  virtual Error readState(VcpuThread& vcpu, CpuSnapshot& out) noexcept = 0;
  /** With runLock_, everybody parked; `in` is possible. May fail half-way: the caller puts back what was there before. */
  virtual Error writeState(VcpuThread& vcpu, const CpuSnapshot& in) = 0;

  /** There is a cap: time spent looking for work is time that the guest does not get. */
  bool capped() const noexcept { return capped_.load(std::memory_order_relaxed); }
  bool ending() const noexcept { return stop_.load(std::memory_order_seq_cst) & kEnd; }
  bool destroyed() const noexcept { return destroyed_; }

  std::vector<std::unique_ptr<VcpuThread>> vcpus_;
  ExitChannel exits_;

 private:
  enum StopFlag : uint32_t { kPause = 1, kWorld = 2, kEnd = 4 };

  bool settled() const { return !started_ || parked_ == vcpus_.size(); }
  bool atRest() const { return settled() && (stop_.load(std::memory_order_relaxed) & kPause); }
  bool held(const VcpuThread& vcpu) const { return (held_ | waiting_) >> vcpu.index() & 1; }
  Error governed(std::unique_lock<std::mutex> hold);
  void govern() noexcept;
  void requestStop(uint32_t flag);
  void sampleLoop() noexcept;
  void reportIfSettled();
  void stopWith(VcpuThread& vcpu, Event event) noexcept;
  template <class Change>
  void withWorldStopped(Change change);

  Doorbells doorbells_;
  QuickPorts quickPorts_;
  std::mutex runLock_;
  std::condition_variable parkChanged_, allParked_;
  std::atomic<uint32_t> stop_{kPause};
  unsigned parked_ = 0;
  uint64_t held_ = 0;              // vCPUs that stay parked while others run, a bit each
  uint64_t waiting_ = 0;           // and those that have used up what the cap or the quota gives them
  bool pauseWanted_ = false;       // a 'paused' event is owed
  std::vector<Event> stopEvents_;  // 'stopped' and 'debug' events, until everybody is parked
  bool started_ = false, destroyed_ = false;

  // The governor's thread exists while there is a cap or a quota, and changes only with the owner.
  Governor governor_;
  pthread_t governorThread_{};
  bool governing_ = false, governorEnds_ = false;
  std::atomic<bool> capped_{false};
  std::condition_variable governorChanged_;

  pthread_t sampler_{};
  bool sampling_ = false;
  uint64_t samplePeriodNs_ = 0;
  std::atomic<uint32_t> samplerEnds_{0};  // futex word
};

}  // namespace lodge
