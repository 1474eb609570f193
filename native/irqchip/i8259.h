// The two cascaded 8259A interrupt controllers of a PC (Intel 8259A data sheet 231468; ELCR: Intel 82371SB data sheet).
// Offered: every ICW and OCW in 8086 mode, rotation, automatic EOI, special mask and special fully nested mode, poll, edge and
// level inputs by ELCR, spurious interrupts. Not offered: MCS-80 mode, buffered mode. Not thread-safe: IrqChip's lock.
#pragma once

#include <cstdint>

namespace lodge {

class I8259Pair {
 public:
  void reset() noexcept;
  /** Ports 20h, 21h, A0h, A1h, 4D0h, 4D1h. Reading can end a poll, so it is not const. */
  uint8_t read(uint16_t port) noexcept;
  void write(uint16_t port, uint8_t value) noexcept;
  /** irq 0–15; 2 is the cascade and is ignored. */
  void setLine(unsigned irq, bool level) noexcept;
  /** INTR of the master. */
  bool output() const noexcept;
  /** INTA: the vector, and the request moves from IRR to ISR. Spurious (IRQ 7 or 15) when there is none. */
  uint8_t acknowledge() noexcept;
  /** An unmasked request of `irq` waits for INTA. */
  bool waiting(unsigned irq) const noexcept;

 private:
  struct Chip {
    uint8_t irr = 0, isr = 0, imr = 0, elcr = 0, lines = 0;
    uint8_t vectorBase = 0, highest = 0;  // `highest`: the input of highest priority (rotation)
    uint8_t step = 0;                     // next ICW expected at A0 = 1: 2, 3, 4, or 0
    bool needsIcw4 = false, single = false, autoEoi = false, rotateInAutoEoi = false;
    bool specialMask = false, specialNested = false, readIsr = false, poll = false;

    int pending(bool master) const noexcept;
    void setLine(unsigned input, bool level) noexcept;
    void acknowledge(unsigned input) noexcept;
    void command(uint8_t value) noexcept;
    void data(uint8_t value) noexcept;
    void endOfInterrupt(unsigned input, bool rotate) noexcept;
    int highestInService() const noexcept;
  };
  void cascade() noexcept;
  uint8_t readChip(Chip& chip, bool a0) noexcept;

  Chip master_, slave_;
};

}  // namespace lodge
