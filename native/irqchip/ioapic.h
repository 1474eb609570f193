// I/O APIC with 24 inputs (Intel 82093AA data sheet; version 20h adds the EOI register of the ICH).
// Offered: fixed, lowest priority, NMI, INIT and ExtINT delivery, edge and level triggering with remote IRR.
// Not offered: SMI. The polarity bit is kept but has no effect: lines carry "asserted", not a voltage.
// Not thread-safe: IrqChip's lock.
#pragma once

#include <cstdint>

namespace lodge {

/** An interrupt message, as the I/O APIC, an MSI or an ICR write sends it to the local APICs. */
struct ApicMessage {
  uint8_t vector = 0;
  uint8_t delivery = 0;  ///< DeliveryMode
  bool logical = false;
  bool level = false;
  uint32_t destination = 0;
  bool wide = false;  ///< destination has 32 bits (ICR in x2APIC mode); else 8, FFh is everyone
};

enum DeliveryMode : uint8_t { kFixed = 0, kLowestPriority = 1, kSmi = 2, kNmi = 4, kInit = 5, kStartup = 6, kExtInt = 7 };

class IoApic {
 public:
  static constexpr unsigned kPins = 24;
  /** What the I/O APIC wants of its surroundings: hand over a message. */
  class Bus {
   public:
    virtual void deliver(const ApicMessage& message) noexcept = 0;

   protected:
    ~Bus() = default;
  };

  explicit IoApic(Bus& bus) : bus_(bus) { reset(); }
  void reset() noexcept;
  /** 32-bit registers at offsets 0 (index), 10h (data) and 40h (EOI). */
  uint32_t read(uint32_t offset) const noexcept;
  void write(uint32_t offset, uint32_t value) noexcept;
  void setLine(unsigned pin, bool level) noexcept;
  /** A local APIC finished a level-triggered vector. */
  void endOfInterrupt(uint8_t vector) noexcept;
  ApicMessage message(unsigned pin) const noexcept;
  bool masked(unsigned pin) const noexcept { return entries_[pin] >> 16 & 1; }

 private:
  void service(unsigned pin) noexcept;

  Bus& bus_;
  uint64_t entries_[kPins];
  uint32_t lines_ = 0;
  uint8_t id_ = 0, index_ = 0;
};

}  // namespace lodge
