// A machine of software vCPUs: a thread each, one timer thread, the interrupt controllers, and the exits to the owner.
//
// Threads: the owner (JS), the vCPUs, the timer. Lock order, outermost first:
//   runLock_ (who runs, pause, stop)  →  IrqChip's lock  →  nothing
//   runLock_                          →  ExitChannel's event lock (innermost)
//   PhysicalMemory's lock             →  the observers' own queues (x86 core)
// IrqChip calls out only to atomics and futexes (Vcpu::request, the timer's word). The owner never waits for a vCPU with
// runLock_ held. The physical map and the doorbells change only with the world stopped: every vCPU idle, parked, or waiting
// for the owner's answer, so they need no lock.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "accelerator/accelerator.h"
#include "accelerator/clock.h"
#include "accelerator/doorbells.h"
#include "accelerator/exit_channel.h"
#include "accelerator/software/vcpu.h"
#include "irqchip/irqchip.h"

namespace lodge::software {

using CpuFactory =
    std::function<std::unique_ptr<x86::Cpu>(const x86::CpuConfig&, PhysicalMemory&, x86::Environment&)>;

class SoftwareMachine final : public Machine, private IrqChip::Outside {
 public:
  static std::unique_ptr<Machine> create(const MachineConfig& config, const CpuFactory& factory, Error& error);
  ~SoftwareMachine() override;

  // Machine.
  Error map(RegionId region, uint64_t offset, Gpa gpa, uint64_t bytes) override;
  Error unmap(Gpa gpa, uint64_t bytes) override;
  void setIrq(unsigned gsi, bool level) override { chip_.setIrq(gsi, level); }
  void sendMsi(uint64_t address, uint32_t data) override { chip_.sendMsi(address, data); }
  void nmi() override { chip_.nmi(); }
  Error addDoorbell(DoorbellKind kind, uint64_t address, unsigned width, uint32_t id) override;
  void removeDoorbell(uint32_t id) override;
  Error start() override;
  void pause() override;
  void resume() override;
  Error reset() override;
  void destroy() override;
  Error getState(unsigned vcpu, CpuSnapshot& out) override;
  Error setState(unsigned vcpu, const CpuSnapshot& in) override;
  int serve(int completed, unsigned spinMicros) override;
  std::vector<Event> takeEvents() override { return exits_.takeEvents(); }
  std::vector<VcpuStats> stats() override;

  // The vCPUs.
  /** Before each run(): parks while the machine is paused or stopped; false when the thread has to end. */
  bool enter(Vcpu& vcpu) noexcept;
  /** This vCPU cannot go on: everybody parks, then the owner hears of it. */
  void stopped(Vcpu& vcpu, bool tripleFault, const std::string& message) noexcept;
  bool ring(DoorbellKind kind, uint64_t address, unsigned width, const void* data) noexcept;
  IrqChip& chip() { return chip_; }
  ExitChannel& exits() { return exits_; }
  const MachineClock& clock() const { return clock_; }

 private:
  enum StopFlag : uint32_t { kPause = 1, kWorld = 2, kEnd = 4 };

  explicit SoftwareMachine(const MachineConfig& config);

  // IrqChip::Outside: any thread, with the chip's lock held.
  uint64_t now() const noexcept override { return clock_.now(); }
  uint64_t tsc(unsigned vcpu) const noexcept override { return vcpus_[vcpu]->tsc(); }
  uint64_t tscHz() const noexcept override { return hostTscHz(); }
  void interrupt(unsigned vcpu) noexcept override { vcpus_[vcpu]->request(x86::kRequestInterrupt); }
  void nmi(unsigned vcpu) noexcept override { vcpus_[vcpu]->request(x86::kRequestNmi); }
  void init(unsigned vcpu) noexcept override { vcpus_[vcpu]->request(x86::kRequestInit); }
  void startup(unsigned vcpu, uint8_t vector) noexcept override;
  void timerSooner() noexcept override;

  void runTimers() noexcept;
  bool settled() const { return !started_ || parked_ == vcpus_.size(); }
  void requestStop(uint32_t flag);
  void reportIfSettled();
  template <class Change>
  void withWorldStopped(Change change);
  CpuSnapshot snapshot(Vcpu& vcpu) noexcept;

  MachineClock clock_;
  std::vector<std::unique_ptr<Vcpu>> vcpus_;  // outlives nothing below that calls into it: see the destructor
  IrqChip chip_;
  ExitChannel exits_;
  Doorbells doorbells_;

  std::mutex runLock_;
  std::condition_variable parkChanged_, allParked_;
  std::atomic<uint32_t> stop_{kPause};
  unsigned parked_ = 0;
  bool pauseWanted_ = false;          // a 'paused' event is owed
  std::vector<Event> stopEvents_;     // 'stopped' events, until everybody is parked
  bool started_ = false, destroyed_ = false;

  pthread_t timer_{};
  bool timerStarted_ = false;
  std::atomic<uint32_t> timerWord_{0};
};

}  // namespace lodge::software
