// The interrupt controllers and timers of one machine, behind one lock: 8259 pair, 8254, I/O APIC, local APICs, and the wiring
// between them (ISA IRQ n → 8259 and I/O APIC pin n; the timer → IRQ 0 and pin 2; 8259 INTR → LINT0 of every processor and,
// as ExtINT, I/O APIC pin 0).
//
// Any thread. `Outside` is called with the lock held: it must not come back in, and only atomics and innermost locks are
// allowed there. Lock order of the machine: accelerator/software/machine.h.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "irqchip/i8254.h"
#include "irqchip/i8259.h"
#include "irqchip/ioapic.h"
#include "irqchip/local_apic.h"

namespace lodge {

class IrqChip final : private IoApic::Bus, private LocalApic::Bus {
 public:
  class Outside {
   public:
    /** Nanoseconds that stand still while the machine is paused. */
    virtual uint64_t now() const noexcept = 0;
    virtual uint64_t tsc(unsigned vcpu) const noexcept = 0;
    virtual uint64_t tscHz() const noexcept = 0;
    virtual void interrupt(unsigned vcpu) noexcept = 0;
    virtual void nmi(unsigned vcpu) noexcept = 0;
    virtual void init(unsigned vcpu) noexcept = 0;
    virtual void startup(unsigned vcpu, uint8_t vector) noexcept = 0;
    /** A timer is due earlier than what runTimers() returned last. */
    virtual void timerSooner() noexcept = 0;

   protected:
    ~Outside() = default;
  };

  IrqChip(unsigned vcpus, Outside& outside);

  void reset() noexcept;

  static bool ownsPort(uint16_t port) noexcept {
    return (port >= 0x40 && port <= 0x43) || (port & ~1u) == 0x20 || (port & ~1u) == 0xa0 || port == 0x61 || (port & ~1u) == 0x4d0;
  }
  uint8_t readPort(uint16_t port) noexcept;
  void writePort(uint16_t port, uint8_t value) noexcept;

  /** False when this address is neither the I/O APIC's page nor the local APIC's page of this processor. */
  bool readMmio(unsigned vcpu, uint64_t gpa, unsigned width, void* data) noexcept;
  bool writeMmio(unsigned vcpu, uint64_t gpa, unsigned width, const void* data) noexcept;
  bool readMsr(unsigned vcpu, uint32_t msr, uint64_t& value) noexcept;
  bool writeMsr(unsigned vcpu, uint32_t msr, uint64_t value) noexcept;
  uint64_t readCr8(unsigned vcpu) noexcept;
  void writeCr8(unsigned vcpu, uint64_t value) noexcept;
  void tscChanged(unsigned vcpu) noexcept;

  bool interruptPending(unsigned vcpu) noexcept;
  /**
   * Paravirtual EOI. True: nothing depends on when the guest ends the interrupt it was just given, so it may say so in memory; until
   * finishEoi() (`ended`: it has) this vCPU is asked to look whenever it might have something new.
   */
  bool mayDeferEoi(unsigned vcpu, int vector) noexcept;
  void finishEoi(unsigned vcpu, bool ended) noexcept;
  int acknowledge(unsigned vcpu) noexcept;

  void setIrq(unsigned gsi, bool level) noexcept;
  void sendMsi(uint64_t address, uint32_t data) noexcept;
  /** The NMI button: LINT1 of every processor. */
  void nmi() noexcept;

  /** Does what is due and says when to come back (kNever: not before timerSooner()). */
  uint64_t runTimers() noexcept;

 private:
  using Lock = std::lock_guard<std::mutex>;

  // IoApic::Bus, LocalApic::Bus; the lock is held.
  void deliver(const ApicMessage& message) noexcept override;
  uint64_t now() const noexcept override { return outside_.now(); }
  uint64_t tsc(unsigned apic) const noexcept override { return outside_.tsc(apic); }
  uint64_t tscHz() const noexcept override { return outside_.tscHz(); }
  void sendIpi(unsigned from, const ApicMessage& message, unsigned shorthand) noexcept override;
  void levelEoi(uint8_t vector) noexcept override { ioapic_.endOfInterrupt(vector); }

  void deliverTo(unsigned vcpu, const ApicMessage& message) noexcept;
  bool takesExtint(unsigned vcpu) const noexcept;
  bool pending(unsigned vcpu) const noexcept;
  void update(unsigned vcpu) noexcept;
  void updateAll() noexcept;
  void picChanged() noexcept;
  void setPicLine(unsigned irq, bool level) noexcept;
  bool timerTickWaiting() const noexcept;
  uint64_t pitDue() const noexcept;
  uint64_t nextDeadline() const noexcept;
  void rearm() noexcept;

  std::mutex lock_;
  Outside& outside_;
  std::vector<std::unique_ptr<LocalApic>> apics_;
  I8259Pair pic_;
  I8254 pit_;
  IoApic ioapic_;
  TickBacklog pitBacklog_;
  uint64_t pitServed_ = 0;
  bool picOutput_ = false;
  unsigned nextLowest_ = 0;      // where the search for a lowest-priority target starts
  uint64_t promised_ = kNever;   // what runTimers() returned last
};

}  // namespace lodge
