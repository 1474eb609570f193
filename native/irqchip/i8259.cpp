#include "irqchip/i8259.h"

namespace lodge {
namespace {

constexpr unsigned kCascade = 2;
// IRQ 0, 1, 2, 8 and 13 are edge-triggered by wiring (82371SB, ELCR1 and ELCR2).
constexpr uint8_t kElcrMaster = 0xf8, kElcrSlave = 0xde;
enum Ocw2 : uint8_t { kRotateAutoOff = 0, kEoi = 1, kNop = 2, kEoiSpecific = 3, kRotateAutoOn = 4, kRotateEoi = 5,
  kSetPriority = 6, kRotateEoiSpecific = 7 };

}  // namespace

void I8259Pair::Chip::setLine(unsigned input, bool level) noexcept {
  const uint8_t bit = static_cast<uint8_t>(1u << input);
  if (elcr & bit) {
    irr = static_cast<uint8_t>(level ? irr | bit : irr & ~bit);
  } else if (level && !(lines & bit)) {
    // The latch keeps a request whose line falls before INTA: devices here pulse lines, and a lost pulse is worse than one
    // interrupt without a cause.
    irr |= bit;
  }
  lines = static_cast<uint8_t>(level ? lines | bit : lines & ~bit);
}

/** The request that would be acknowledged now, or -1: above everything in service, in the rotated order. */
int I8259Pair::Chip::pending(bool master) const noexcept {
  const uint8_t requests = static_cast<uint8_t>(irr & ~imr);
  if (requests == 0) return -1;
  uint8_t inService = isr;
  // Special mask mode: what is in service and masked no longer holds back what is below it.
  if (specialMask) inService = static_cast<uint8_t>(inService & ~imr);
  // Special fully nested: the slave may interrupt its own service, as the master cannot see its priorities.
  if (specialNested && master) inService = static_cast<uint8_t>(inService & ~(1u << kCascade));
  for (unsigned i = 0; i < 8; ++i) {
    const unsigned input = (highest + i) & 7;
    if (inService >> input & 1) return -1;
    if (requests >> input & 1) return static_cast<int>(input);
  }
  return -1;
}

void I8259Pair::Chip::acknowledge(unsigned input) noexcept {
  const uint8_t bit = static_cast<uint8_t>(1u << input);
  if (!(elcr & bit)) irr = static_cast<uint8_t>(irr & ~bit);
  if (!autoEoi) {
    isr |= bit;
  } else if (rotateInAutoEoi) {
    highest = (input + 1) & 7;
  }
}

int I8259Pair::Chip::highestInService() const noexcept {
  const uint8_t candidates = specialMask ? static_cast<uint8_t>(isr & ~imr) : isr;
  for (unsigned i = 0; i < 8; ++i) {
    const unsigned input = (highest + i) & 7;
    if (candidates >> input & 1) return static_cast<int>(input);
  }
  return -1;
}

void I8259Pair::Chip::endOfInterrupt(unsigned input, bool rotate) noexcept {
  isr = static_cast<uint8_t>(isr & ~(1u << input));
  if (rotate) highest = (input + 1) & 7;
}

void I8259Pair::Chip::command(uint8_t value) noexcept {
  if (value & 0x10) {  // ICW1
    const uint8_t keptElcr = elcr, keptLines = lines, keptBase = vectorBase;
    *this = Chip{};
    elcr = keptElcr, lines = keptLines, vectorBase = keptBase;
    irr = static_cast<uint8_t>(lines & elcr);
    needsIcw4 = value & 1;
    single = value & 2;
    step = 2;
    return;
  }
  if (value & 0x08) {  // OCW3
    if (value & 0x40) specialMask = value & 0x20;
    if (value & 0x04) {
      poll = true;
    } else if (value & 0x02) {
      readIsr = value & 0x01;
    }
    return;
  }
  const unsigned input = value & 7;
  const uint8_t operation = value >> 5;
  switch (operation) {
    case kRotateAutoOff: rotateInAutoEoi = false; break;
    case kRotateAutoOn: rotateInAutoEoi = true; break;
    case kEoi:
    case kRotateEoi:
      if (const int served = highestInService(); served >= 0) endOfInterrupt(static_cast<unsigned>(served), operation == kRotateEoi);
      break;
    case kEoiSpecific:
    case kRotateEoiSpecific: endOfInterrupt(input, operation == kRotateEoiSpecific); break;
    case kSetPriority: highest = (input + 1) & 7; break;
    case kNop: break;
  }
}

void I8259Pair::Chip::data(uint8_t value) noexcept {
  switch (step) {
    case 2:
      vectorBase = value & 0xf8;
      step = single ? (needsIcw4 ? 4 : 0) : 3;
      break;
    case 3: step = needsIcw4 ? 4 : 0; break;  // the cascade is wired to IRQ 2 whatever ICW3 says
    case 4:
      specialNested = value & 0x10;
      autoEoi = value & 0x02;
      step = 0;
      break;
    default: imr = value;
  }
}

/** The slave's INTR is the level of the master's input 2. */
void I8259Pair::cascade() noexcept {
  constexpr uint8_t bit = 1u << kCascade;
  master_.irr = static_cast<uint8_t>(slave_.pending(false) >= 0 ? master_.irr | bit : master_.irr & ~bit);
}

void I8259Pair::reset() noexcept {
  const uint8_t masterLines = master_.lines, slaveLines = slave_.lines;
  master_ = slave_ = Chip{};
  // Nothing is initialised yet: masked, until firmware or the kernel sends ICW1.
  master_.imr = slave_.imr = 0xff;
  master_.vectorBase = 0x08, slave_.vectorBase = 0x70;
  master_.lines = masterLines, slave_.lines = slaveLines;
}

uint8_t I8259Pair::readChip(Chip& chip, bool a0) noexcept {
  if (chip.poll) {
    chip.poll = false;
    const int input = chip.pending(&chip == &master_);
    if (input < 0) return 0;
    chip.acknowledge(static_cast<unsigned>(input));
    cascade();
    return static_cast<uint8_t>(0x80 | input);
  }
  if (a0) return chip.imr;
  return chip.readIsr ? chip.isr : chip.irr;
}

uint8_t I8259Pair::read(uint16_t port) noexcept {
  switch (port) {
    case 0x20: return readChip(master_, false);
    case 0x21: return readChip(master_, true);
    case 0xa0: return readChip(slave_, false);
    case 0xa1: return readChip(slave_, true);
    case 0x4d0: return master_.elcr;
    case 0x4d1: return slave_.elcr;
    default: return 0xff;
  }
}

void I8259Pair::write(uint16_t port, uint8_t value) noexcept {
  const auto setElcr = [](Chip& chip, uint8_t elcr) {
    const uint8_t toLevel = static_cast<uint8_t>(elcr & ~chip.elcr);
    chip.elcr = elcr;
    chip.irr = static_cast<uint8_t>((chip.irr & ~toLevel) | (chip.lines & toLevel));
  };
  switch (port) {
    case 0x20: master_.command(value); break;
    case 0x21: master_.data(value); break;
    case 0xa0: slave_.command(value); break;
    case 0xa1: slave_.data(value); break;
    case 0x4d0: setElcr(master_, value & kElcrMaster); break;
    case 0x4d1: setElcr(slave_, value & kElcrSlave); break;
    default: break;
  }
  cascade();
}

void I8259Pair::setLine(unsigned irq, bool level) noexcept {
  if (irq == kCascade || irq > 15) return;
  if (irq < 8) {
    master_.setLine(irq, level);
  } else {
    slave_.setLine(irq - 8, level);
    cascade();
  }
}

bool I8259Pair::output() const noexcept { return master_.pending(true) >= 0; }

uint8_t I8259Pair::acknowledge() noexcept {
  const int input = master_.pending(true);
  if (input < 0) return master_.vectorBase + 7;
  master_.acknowledge(static_cast<unsigned>(input));
  if (input != kCascade) return static_cast<uint8_t>(master_.vectorBase + input);
  const int behind = slave_.pending(false);
  if (behind >= 0) slave_.acknowledge(static_cast<unsigned>(behind));
  cascade();
  return static_cast<uint8_t>(slave_.vectorBase + (behind < 0 ? 7 : behind));
}

bool I8259Pair::waiting(unsigned irq) const noexcept {
  const Chip& chip = irq < 8 ? master_ : slave_;
  return (chip.irr & ~chip.imr) >> (irq & 7) & 1;
}

}  // namespace lodge
