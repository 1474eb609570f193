// One software vCPU: its thread, its sleep while halted, and everything outside the CPU core as the core sees it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "accelerator/vcpu_thread.h"
#include "x86/cpu.h"

namespace lodge::software {

class SoftwareMachine;

/**
 * How long a halted vCPU looks for what wakes it before it sleeps. To be woken costs tens of microseconds, which is most of the time that
 * a request to a disk takes; a guest that is idle must cost nothing. So the time grows while sleeps turn out to be short, and shrinks
 * while they are long.
 */
class HaltPoll {
 public:
  static constexpr uint64_t kLeastMicros = 10, kMostMicros = 200;

  uint64_t micros() const noexcept { return micros_; }
  /** The vCPU was halted for so long. */
  void halted(uint64_t micros) noexcept {
    if (micros > kMostMicros) micros_ = micros_ <= kLeastMicros ? 0 : micros_ / 2;
    else if (micros > micros_) micros_ = micros_ == 0 ? kLeastMicros : micros_ * 2 < kMostMicros ? micros_ * 2 : kMostMicros;
  }

 private:
  uint64_t micros_ = 0;
};

class Vcpu final : public VcpuThread, public x86::Environment {
 public:
  Vcpu(SoftwareMachine& machine, unsigned index) : VcpuThread(index), machine_(machine), index_(index) {}
  ~Vcpu() override;

  void setCpu(std::unique_ptr<x86::Cpu> cpu) { cpu_ = std::move(cpu); }
  x86::Cpu& cpu() { return *cpu_; }

  // VcpuThread.
  void stopRunning() noexcept override { request(x86::kRequestStop); }
  void mayRun() noexcept override { cpu_->clearRequest(x86::kRequestStop); }
  bool stopWanted() const noexcept override { return cpu_->requests() & x86::kRequestStop; }
  void goOn(Go how) noexcept override { cpu_->setStep(how == Go::Step); }
  VcpuStats stats() noexcept override;
  void sampleTick(uint32_t ticks) noexcept override;

  // Any thread.
  void request(uint32_t requests) noexcept;
  void wake() noexcept;

  void resetTsc(uint64_t clockTsc) noexcept { tscOffset_.store(0 - clockTsc, std::memory_order_relaxed); }
  uint64_t tsc() const noexcept;
  void setTsc(uint64_t value) noexcept;

  // x86::Environment, on the vCPU's thread.
  x86::IoStatus portIn(uint16_t port, unsigned width, unsigned count, void* data) noexcept override;
  x86::IoStatus portOut(uint16_t port, unsigned width, unsigned count, const void* data) noexcept override;
  x86::IoStatus mmioRead(Gpa gpa, unsigned width, void* data) noexcept override;
  x86::IoStatus mmioWrite(Gpa gpa, unsigned width, const void* data) noexcept override;
  bool interruptPending() noexcept override;
  int acknowledgeInterrupt() noexcept override;
  void sample() noexcept override { samples.record(cpu_->place(), false); }
  uint64_t readTsc() noexcept override { return tsc(); }
  void writeTsc(uint64_t value) noexcept override;
  uint64_t readTpr() noexcept override;
  void writeTpr(uint64_t cr8) noexcept override;
  bool readApicMsr(uint32_t msr, uint64_t& value) noexcept override;
  bool writeApicMsr(uint32_t msr, uint64_t value) noexcept override;
  void kick(uint32_t apicId) noexcept override;
  void setPvEoi(uint64_t msr) noexcept override;
  uint64_t stolenTime() noexcept override;

 private:
  void takePvEoi() noexcept;
  void run() noexcept override;
  void sleep(bool waitForSipi) noexcept;
  bool awaited(uint32_t seen) noexcept;
  x86::IoStatus exit(ExitKind kind, uint64_t address, unsigned width, unsigned count, void* data) noexcept;

  SoftwareMachine& machine_;
  const unsigned index_;
  std::unique_ptr<x86::Cpu> cpu_;

  std::atomic<uint32_t> wakes_{0};  // futex word: counts wake()
  std::atomic<bool> asleep_{false};    // in the futex, or nearly
  std::atomic<uint64_t> tscOffset_{0};
  x86::Counter haltedNs_;
  std::atomic<uint64_t> haltedSince_{0};  // 0: it is not halted

  HaltPoll poll_;

  // On the vCPU's thread, or while it stands still.
  uint64_t pvEoi_ = 0;            // guest-physical address | enabled
  bool pvEoiOffered_ = false;     // bit 0 at that address was set, and the guest clears it instead of an EOI
  int schedstat_ = -1;            // the thread's /proc file, once it was asked for
};

}  // namespace lodge::software
