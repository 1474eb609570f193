#include "irqchip/irqchip.h"

#include <algorithm>
#include <cstring>

namespace lodge {
namespace {

constexpr uint64_t kIoApicBase = 0xfec00000;
constexpr unsigned kTimerPin = 2;  // the MADT's override of IRQ 0
constexpr uint64_t kShortestPitPeriod = 50'000;

}  // namespace

IrqChip::IrqChip(unsigned vcpus, Outside& outside) : outside_(outside), ioapic_(*this) {
  for (unsigned id = 0; id < vcpus; ++id) apics_.emplace_back(new LocalApic(id, *this));
  pic_.reset();
  pit_.reset(outside.now());
}

void IrqChip::reset() noexcept {
  Lock hold(lock_);
  for (auto& apic : apics_) apic->reset();
  pic_.reset();
  pit_.reset(now());
  pitBacklog_.clear();
  ioapic_.reset();
  picOutput_ = false;
}

// ---- wiring ----------------------------------------------------------------------------------------------------------------

/** True when the 8259s' INTR reaches this processor as ExtINT. */
bool IrqChip::takesExtint(unsigned vcpu) const noexcept {
  const LocalApic& apic = *apics_[vcpu];
  if (!apic.hardwareEnabled()) return vcpu == 0;  // the pin is INTR then
  const uint32_t lint0 = apic.lint(0);
  if (!(lint0 & LocalApic::kLvtMasked) && (lint0 >> 8 & 7) == kExtInt) return true;
  if (ioapic_.masked(0)) return false;
  const ApicMessage message = ioapic_.message(0);
  return message.delivery == kExtInt && apic.matches(message);
}

bool IrqChip::pending(unsigned vcpu) const noexcept {
  return (pic_.output() && takesExtint(vcpu)) || apics_[vcpu]->deliverable() >= 0;
}

void IrqChip::update(unsigned vcpu) noexcept {
  if (pending(vcpu) || apics_[vcpu]->eoiDeferred()) outside_.interrupt(vcpu);
}

void IrqChip::updateAll() noexcept {
  for (unsigned vcpu = 0; vcpu < apics_.size(); ++vcpu) update(vcpu);
}

/** After anything that may have changed the 8259s' INTR. */
void IrqChip::picChanged() noexcept {
  const bool output = pic_.output();
  const bool rises = output && !picOutput_;
  picOutput_ = output;
  for (unsigned vcpu = 0; rises && vcpu < apics_.size(); ++vcpu) {
    const uint32_t lint0 = apics_[vcpu]->lint(0);
    if (!apics_[vcpu]->hardwareEnabled() || lint0 & LocalApic::kLvtMasked) continue;
    const unsigned delivery = lint0 >> 8 & 7;
    if (delivery == kFixed) apics_[vcpu]->accept(static_cast<uint8_t>(lint0), false);
    if (delivery == kNmi) outside_.nmi(vcpu);
  }
  if (output) updateAll();
}

void IrqChip::setPicLine(unsigned irq, bool level) noexcept {
  pic_.setLine(irq, level);
  picChanged();
}

void IrqChip::deliverTo(unsigned vcpu, const ApicMessage& message) noexcept {
  switch (message.delivery) {
    case kFixed:
    case kLowestPriority:
      apics_[vcpu]->accept(message.vector, message.level);
      update(vcpu);
      break;
    case kNmi: outside_.nmi(vcpu); break;
    case kInit:
      apics_[vcpu]->init();
      outside_.init(vcpu);
      break;
    case kStartup: outside_.startup(vcpu, message.vector); break;
    case kExtInt: update(vcpu); break;
    default: break;  // SMI: there is no SMM
  }
}

void IrqChip::deliver(const ApicMessage& message) noexcept {
  const unsigned count = static_cast<unsigned>(apics_.size());
  if (message.delivery == kLowestPriority) {
    // Among equals the next in turn, so that a device's interrupts spread over idle processors.
    int best = -1;
    for (unsigned i = 0; i < count; ++i) {
      const unsigned vcpu = (nextLowest_ + i) % count;
      const LocalApic& apic = *apics_[vcpu];
      if (!apic.softwareEnabled() || !apic.matches(message)) continue;
      if (best < 0 || apic.processorPriority() < apics_[static_cast<unsigned>(best)]->processorPriority()) best = static_cast<int>(vcpu);
    }
    if (best < 0) return;
    nextLowest_ = (static_cast<unsigned>(best) + 1) % count;
    return deliverTo(static_cast<unsigned>(best), message);
  }
  for (unsigned vcpu = 0; vcpu < count; ++vcpu) {
    if (apics_[vcpu]->hardwareEnabled() && apics_[vcpu]->matches(message)) deliverTo(vcpu, message);
  }
}

void IrqChip::sendIpi(unsigned from, const ApicMessage& message, unsigned shorthand) noexcept {
  if (shorthand == 0) return deliver(message);
  for (unsigned vcpu = 0; vcpu < apics_.size(); ++vcpu) {
    if (shorthand == 1 ? vcpu != from : shorthand == 3 && vcpu == from) continue;
    if (apics_[vcpu]->hardwareEnabled()) deliverTo(vcpu, message);
  }
}

void IrqChip::setIrq(unsigned gsi, bool level) noexcept {
  Lock hold(lock_);
  if (gsi < 16) setPicLine(gsi, level);
  ioapic_.setLine(gsi, level);
}

void IrqChip::sendMsi(uint64_t address, uint32_t data) noexcept {
  // SDM vol. 3 §11.11. The redirection hint asks for lowest priority among a logical destination.
  if (address >> 20 != 0xfee) return;
  ApicMessage message;
  message.vector = static_cast<uint8_t>(data);
  message.delivery = data >> 8 & 7;
  message.logical = address >> 2 & 1;
  message.destination = address >> 12 & 0xff;
  message.level = data >> 15 & 1;
  if (address >> 3 & 1 && message.delivery == kFixed) message.delivery = kLowestPriority;
  Lock hold(lock_);
  deliver(message);
}

void IrqChip::nmi() noexcept {
  Lock hold(lock_);
  for (unsigned vcpu = 0; vcpu < apics_.size(); ++vcpu) {
    const uint32_t lint1 = apics_[vcpu]->lint(1);
    if (!apics_[vcpu]->hardwareEnabled()) {
      if (vcpu == 0) outside_.nmi(vcpu);
    } else if (!(lint1 & LocalApic::kLvtMasked)) {
      if ((lint1 >> 8 & 7) == kNmi) outside_.nmi(vcpu);
      if ((lint1 >> 8 & 7) == kFixed) {
        apics_[vcpu]->accept(static_cast<uint8_t>(lint1), false);
        update(vcpu);
      }
    }
  }
}

bool IrqChip::interruptPending(unsigned vcpu) noexcept {
  Lock hold(lock_);
  return pending(vcpu);
}

bool IrqChip::mayDeferEoi(unsigned vcpu, int vector) noexcept {
  Lock hold(lock_);
  return apics_[vcpu]->deferEoi(vector);
}

void IrqChip::finishEoi(unsigned vcpu, bool ended) noexcept {
  Lock hold(lock_);
  apics_[vcpu]->finishEoi(ended);
}

int IrqChip::acknowledge(unsigned vcpu) noexcept {
  Lock hold(lock_);
  if (pic_.output() && takesExtint(vcpu)) {
    const int vector = pic_.acknowledge();
    picOutput_ = false;  // INTA ends the pulse: a request behind it is a new edge
    picChanged();
    update(vcpu);
    return vector;
  }
  const int vector = apics_[vcpu]->deliverable();
  if (vector >= 0) apics_[vcpu]->acknowledge(static_cast<uint8_t>(vector));
  return vector;
}

// ---- access from the guest -------------------------------------------------------------------------------------------------

uint8_t IrqChip::readPort(uint16_t port) noexcept {
  Lock hold(lock_);
  if ((port >= 0x40 && port <= 0x43) || port == 0x61) return pit_.read(port, now());
  const uint8_t value = pic_.read(port);
  picChanged();  // a poll acknowledges
  return value;
}

void IrqChip::writePort(uint16_t port, uint8_t value) noexcept {
  Lock hold(lock_);
  if ((port >= 0x40 && port <= 0x43) || port == 0x61) {
    pit_.write(port, value, now());
    if (port == 0x43 && value >> 6 == 0) pitBacklog_.clear();
    rearm();
  } else {
    pic_.write(port, value);
    picChanged();
  }
}

bool IrqChip::readMmio(unsigned vcpu, uint64_t gpa, unsigned width, void* data) noexcept {
  const uint64_t page = gpa & ~0xfffull;
  const uint32_t offset = gpa & 0xfff;
  uint32_t value;
  Lock hold(lock_);
  if (page == kIoApicBase) {
    value = ioapic_.read(offset & 0xff0);
  } else if (page == apics_[vcpu]->basePage()) {
    value = apics_[vcpu]->readMmio(offset);
  } else {
    return false;
  }
  // Registers are 32 bits at multiples of 16; narrower reads see part of one, wider ones zeros behind it.
  uint8_t bytes[12] = {};
  std::memcpy(bytes, &value, 4);
  std::memset(data, 0, width);
  if ((offset & 0xf) < 4) std::memcpy(data, bytes + (offset & 3), std::min(width, 8u));
  return true;
}

bool IrqChip::writeMmio(unsigned vcpu, uint64_t gpa, unsigned width, const void* data) noexcept {
  const uint64_t page = gpa & ~0xfffull;
  const uint32_t offset = gpa & 0xfff;
  uint32_t value = 0;
  std::memcpy(&value, data, std::min(width, 4u));
  Lock hold(lock_);
  if (page == kIoApicBase) {
    // The index register is 8 bits wide and is written so by some; the others take 32 bits only.
    if ((offset & 0xf) == 0 && (width >= 4 || offset == 0)) ioapic_.write(offset, value);
    if (pic_.output()) updateAll();  // pin 0 may carry ExtINT now
  } else if (page == apics_[vcpu]->basePage()) {
    if (width >= 4) apics_[vcpu]->writeMmio(offset, value);
    update(vcpu);
    rearm();
  } else {
    return false;
  }
  return true;
}

bool IrqChip::readMsr(unsigned vcpu, uint32_t msr, uint64_t& value) noexcept {
  Lock hold(lock_);
  return apics_[vcpu]->readMsr(msr, value);
}

bool IrqChip::writeMsr(unsigned vcpu, uint32_t msr, uint64_t value) noexcept {
  Lock hold(lock_);
  const bool done = apics_[vcpu]->writeMsr(msr, value);
  update(vcpu);
  rearm();
  return done;
}

uint64_t IrqChip::readCr8(unsigned vcpu) noexcept {
  Lock hold(lock_);
  return apics_[vcpu]->tpr() >> 4;
}

void IrqChip::writeCr8(unsigned vcpu, uint64_t value) noexcept {
  Lock hold(lock_);
  apics_[vcpu]->setTpr(static_cast<uint8_t>(value << 4));
  update(vcpu);
}

void IrqChip::tscChanged(unsigned vcpu) noexcept {
  Lock hold(lock_);
  apics_[vcpu]->tscChanged();
  rearm();
}

// ---- time ------------------------------------------------------------------------------------------------------------------

/** The guest has not taken the last timer tick, at the 8259 or at whichever local APIC it was sent to. */
bool IrqChip::timerTickWaiting() const noexcept {
  if (pic_.waiting(0)) return true;
  if (ioapic_.masked(kTimerPin)) return false;
  const ApicMessage message = ioapic_.message(kTimerPin);
  if (message.delivery != kFixed && message.delivery != kLowestPriority) return false;
  return std::any_of(apics_.begin(), apics_.end(), [&](const auto& apic) {
    return apic->matches(message) && apic->requested(message.vector);
  });
}

/** A channel 0 set to a few microseconds is something its reader polls; it is not served tick by tick. */
uint64_t IrqChip::pitDue() const noexcept {
  const uint64_t edge = pit_.nextEdge(), period = pit_.period();
  const bool tooFast = period != 0 && period < kShortestPitPeriod && edge != kNever;
  return std::min(tooFast ? std::max(edge, pitServed_ + kShortestPitPeriod) : edge, pitBacklog_.retryAt());
}

uint64_t IrqChip::nextDeadline() const noexcept {
  uint64_t next = pitDue();
  for (const auto& apic : apics_) next = std::min(next, apic->nextDeadline());
  return next;
}

void IrqChip::rearm() noexcept {
  const uint64_t next = nextDeadline();
  if (next >= promised_) return;
  promised_ = next;
  outside_.timerSooner();
}

uint64_t IrqChip::runTimers() noexcept {
  Lock hold(lock_);
  const uint64_t time = now();
  if (time >= pitDue()) {
    pitServed_ = time;
    const uint64_t period = pit_.period();
    const uint64_t edges = pit_.takeEdges(time);
    const bool give = period == 0 ? edges != 0
                                  : pitBacklog_.take(edges, std::max(period, kShortestPitPeriod), timerTickWaiting(), time);
    if (give) {
      setPicLine(0, true);
      setPicLine(0, false);
      ioapic_.setLine(kTimerPin, true);
      ioapic_.setLine(kTimerPin, false);
    }
  }
  for (unsigned vcpu = 0; vcpu < apics_.size(); ++vcpu) {
    if (apics_[vcpu]->nextDeadline() > time) continue;
    apics_[vcpu]->advance();
    update(vcpu);
  }
  promised_ = nextDeadline();
  return promised_;
}

}  // namespace lodge
