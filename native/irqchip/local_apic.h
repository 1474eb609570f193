// Local APIC (Intel SDM vol. 3 ch. 11): xAPIC registers, x2APIC MSRs, the timer in its three modes, the priority logic.
// Offered: timer, LINT0, LINT1, error, thermal and performance LVTs (the last two keep what is written). Not offered: CMCI,
// EOI-broadcast suppression, SMI, a writable APIC ID. Deviation: a processor starts with LINT0 = ExtINT and LINT1 = NMI on the
// bootstrap processor, which is what the MP specification has firmware set up.
// Not thread-safe: IrqChip's lock. Times are the machine's nanoseconds.
#pragma once

#include <cstdint>

#include "irqchip/ioapic.h"
#include "irqchip/tick_backlog.h"

namespace lodge {

class LocalApic {
 public:
  class Bus {
   public:
    virtual uint64_t now() const noexcept = 0;
    virtual uint64_t tsc(unsigned apic) const noexcept = 0;
    virtual uint64_t tscHz() const noexcept = 0;
    /** ICR write: shorthand 0 none, 1 self, 2 all, 3 all but self. */
    virtual void sendIpi(unsigned from, const ApicMessage& message, unsigned shorthand) noexcept = 0;
    virtual void levelEoi(uint8_t vector) noexcept = 0;

   protected:
    ~Bus() = default;
  };

  LocalApic(unsigned id, Bus& bus) : id_(id), bus_(bus) { reset(); }

  void reset() noexcept;  ///< power-up: also the base MSR
  void init() noexcept;   ///< INIT: everything but the base MSR (and the ID)

  // Registers. MMIO only in xAPIC mode; a 32-bit write at a multiple of 16.
  uint32_t readMmio(uint32_t offset) noexcept;
  void writeMmio(uint32_t offset, uint32_t value) noexcept;
  bool readMsr(uint32_t msr, uint64_t& value) noexcept;
  bool writeMsr(uint32_t msr, uint64_t value) noexcept;

  bool hardwareEnabled() const noexcept { return base_ & kBaseEnable; }
  bool x2apic() const noexcept { return (base_ & kBaseX2) != 0; }
  bool softwareEnabled() const noexcept { return hardwareEnabled() && (svr_ & 0x100); }
  uint64_t basePage() const noexcept { return base_ & ~0xfffull; }

  bool matches(const ApicMessage& message) const noexcept;
  uint8_t processorPriority() const noexcept;
  /** Fixed or lowest-priority arrival. */
  void accept(uint8_t vector, bool level) noexcept;
  bool requested(uint8_t vector) const noexcept { return irr_[vector / 32] >> (vector % 32) & 1; }
  /** Highest vector the processor would take now, or -1. */
  int deliverable() const noexcept;
  void acknowledge(uint8_t vector) noexcept;
  /** `vector` is in service, it is edge-triggered, and nothing waits behind it. */
  bool deferEoi(int vector) noexcept;
  void finishEoi(bool ended) noexcept;
  bool eoiDeferred() const noexcept { return eoiDeferred_; }
  uint8_t tpr() const noexcept { return tpr_; }
  void setTpr(uint8_t value) noexcept { tpr_ = value; }

  uint32_t lint(unsigned pin) const noexcept { return lvt_[pin == 0 ? kLint0 : kLint1]; }

  uint64_t nextDeadline() const noexcept;
  void advance() noexcept;
  /** The guest's TSC was written: a TSC deadline means another moment now. */
  void tscChanged() noexcept;

  static constexpr uint64_t kBaseEnable = 1u << 11, kBaseX2 = 1u << 10, kBaseBsp = 1u << 8;
  static constexpr uint64_t kDefaultBase = 0xfee00000;
  /** The timer's input clock: one count a nanosecond at divisor 1. */
  static constexpr uint64_t kBusHz = 1'000'000'000;
  static constexpr uint32_t kLvtMasked = 1u << 16;

 private:
  enum Lvt : unsigned { kTimer, kThermal, kPerformance, kLint0, kLint1, kError, kLvtCount };
  enum TimerMode : unsigned { kOneShot = 0, kPeriodic = 1, kTscDeadline = 2 };

  TimerMode timerMode() const noexcept;
  uint64_t divisor() const noexcept;
  uint32_t currentCount() const noexcept;
  void startTimer(uint32_t count) noexcept;
  void armTscDeadline() noexcept;
  void fireTimer(uint64_t passed, uint64_t period) noexcept;

  uint32_t read(uint32_t reg) noexcept;
  void write(uint32_t reg, uint32_t value) noexcept;
  void writeLvt(Lvt which, uint32_t value) noexcept;
  void writeIcr(uint64_t value) noexcept;
  void endOfInterrupt() noexcept;
  void error(uint32_t bit) noexcept;
  int highest(const uint32_t (&bits)[8]) const noexcept;
  uint32_t logicalIdX2() const noexcept { return (id_ >> 4) << 16 | 1u << (id_ & 15); }

  const unsigned id_;
  Bus& bus_;
  uint64_t base_ = 0;
  uint32_t irr_[8], isr_[8], tmr_[8];
  uint32_t lvt_[kLvtCount];
  uint32_t ldr_, dfr_, svr_, esr_, esrPending_;
  uint64_t icr_;
  uint8_t tpr_;
  bool eoiDeferred_ = false;  // the guest ends the interrupt in service by a bit in memory

  uint32_t divide_, initial_;
  uint64_t timerStart_;            // when `initial_` was loaded
  uint64_t deadline_ = ~0ull;
  uint64_t tscDeadline_ = 0;
  TickBacklog backlog_;
};

}  // namespace lodge
