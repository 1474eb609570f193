#include "irqchip/ioapic.h"

namespace lodge {
namespace {

constexpr uint64_t kMasked = 1ull << 16, kLevel = 1ull << 15, kRemoteIrr = 1ull << 14, kDeliveryStatus = 1ull << 12;
/** Vector, modes, polarity, trigger, mask and destination; the rest is reserved or read-only. */
constexpr uint64_t kWritable = 0xff0000000001afffull;
constexpr uint8_t kVersion = 0x20;

}  // namespace

void IoApic::reset() noexcept {
  for (uint64_t& entry : entries_) entry = kMasked;
  id_ = index_ = 0;
}

uint32_t IoApic::read(uint32_t offset) const noexcept {
  if (offset == 0x00) return index_;
  if (offset != 0x10) return 0;
  switch (index_) {
    case 0:
    case 2: return static_cast<uint32_t>(id_) << 24;  // the arbitration ID follows the ID
    case 1: return (kPins - 1) << 16 | kVersion;
    default: {
      const unsigned pin = (index_ - 0x10u) / 2;
      if (index_ < 0x10 || pin >= kPins) return 0;
      return static_cast<uint32_t>(index_ & 1 ? entries_[pin] >> 32 : entries_[pin]);
    }
  }
}

void IoApic::write(uint32_t offset, uint32_t value) noexcept {
  if (offset == 0x00) {
    index_ = static_cast<uint8_t>(value);
  } else if (offset == 0x40) {
    endOfInterrupt(static_cast<uint8_t>(value));
  } else if (offset == 0x10) {
    if (index_ == 0) id_ = value >> 24 & 0x0f;
    const unsigned pin = (index_ - 0x10u) / 2;
    if (index_ < 0x10 || pin >= kPins) return;
    uint64_t& entry = entries_[pin];
    const uint64_t half = index_ & 1 ? 0xffffffff00000000ull : 0xffffffffull;
    const uint64_t written = index_ & 1 ? static_cast<uint64_t>(value) << 32 : value;
    const uint64_t changes = half & kWritable & ~kDeliveryStatus;
    entry = (entry & ~changes) | (written & changes);
    // Software without an EOI register clears remote IRR by making the pin edge-triggered for a moment.
    if (!(entry & kLevel)) entry &= ~kRemoteIrr;
    if (entry & kLevel) service(pin);
  }
}

void IoApic::setLine(unsigned pin, bool level) noexcept {
  if (pin >= kPins) return;
  const uint32_t bit = 1u << pin;
  const bool rises = level && !(lines_ & bit);
  lines_ = level ? lines_ | bit : lines_ & ~bit;
  // An edge at a masked pin is lost, as in hardware; a level waits.
  if (entries_[pin] & kLevel ? level : rises) service(pin);
}

void IoApic::service(unsigned pin) noexcept {
  uint64_t& entry = entries_[pin];
  if (entry & kMasked) return;
  if (entry & kLevel) {
    if (!(lines_ >> pin & 1) || entry & kRemoteIrr) return;
    const uint8_t delivery = entry >> 8 & 7;
    if (delivery == kFixed || delivery == kLowestPriority) entry |= kRemoteIrr;
  }
  bus_.deliver(message(pin));
}

ApicMessage IoApic::message(unsigned pin) const noexcept {
  const uint64_t entry = entries_[pin];
  ApicMessage message;
  message.vector = static_cast<uint8_t>(entry);
  message.delivery = entry >> 8 & 7;
  message.logical = entry >> 11 & 1;
  message.level = entry & kLevel;
  message.destination = static_cast<uint32_t>(entry >> 56);
  return message;
}

void IoApic::endOfInterrupt(uint8_t vector) noexcept {
  for (unsigned pin = 0; pin < kPins; ++pin) {
    uint64_t& entry = entries_[pin];
    if (!(entry & kLevel) || !(entry & kRemoteIrr) || static_cast<uint8_t>(entry) != vector) continue;
    entry &= ~kRemoteIrr;
    service(pin);
  }
}

}  // namespace lodge
