#include "irqchip/local_apic.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace lodge {
namespace {

constexpr uint64_t kNever = ~0ull;
constexpr uint32_t kVersion = 0x14 | 5u << 16;  // integrated APIC, LVT entries 0–5

// Register offsets, SDM vol. 3 table 11-1; the x2APIC MSR is 800h + offset / 16.
enum Reg : uint32_t {
  kId = 0x20, kVersionReg = 0x30, kTpr = 0x80, kApr = 0x90, kPpr = 0xa0, kEoi = 0xb0, kRrd = 0xc0, kLdr = 0xd0, kDfr = 0xe0,
  kSvr = 0xf0, kIsr = 0x100, kTmr = 0x180, kIrr = 0x200, kEsr = 0x280, kIcrLow = 0x300, kIcrHigh = 0x310, kLvtTimer = 0x320,
  kLvtThermal = 0x330, kLvtPerformance = 0x340, kLvtLint0 = 0x350, kLvtLint1 = 0x360, kLvtError = 0x370, kInitialCount = 0x380,
  kCurrentCount = 0x390, kDivide = 0x3e0, kSelfIpi = 0x3f0,
};
enum Esr : uint32_t { kSendIllegalVector = 1u << 5, kReceiveIllegalVector = 1u << 6, kIllegalRegister = 1u << 7 };

/** Timer, thermal, performance, LINT0, LINT1, error: vector, delivery mode where there is one, mask, and per-entry bits. */
constexpr uint32_t kLvtWritable[] = {0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};

/** A guest that asks for more than 20,000 ticks a second gets that many: more is a load on the host and no use to it. */
constexpr uint64_t kShortestPeriod = 50'000;

}  // namespace

void LocalApic::reset() noexcept {
  base_ = kDefaultBase | kBaseEnable | (id_ == 0 ? kBaseBsp : 0);
  init();
}

void LocalApic::init() noexcept {
  std::memset(irr_, 0, sizeof irr_);
  std::memset(isr_, 0, sizeof isr_);
  std::memset(tmr_, 0, sizeof tmr_);
  for (uint32_t& entry : lvt_) entry = kLvtMasked;
  if (id_ == 0) {
    lvt_[kLint0] = kExtInt << 8;
    lvt_[kLint1] = kNmi << 8;
  }
  ldr_ = 0;
  dfr_ = 0xffffffff;
  svr_ = 0xff;
  esr_ = esrPending_ = 0;
  icr_ = 0;
  tpr_ = 0;
  eoiDeferred_ = false;
  divide_ = initial_ = 0;
  timerStart_ = 0;
  deadline_ = kNever;
  tscDeadline_ = 0;
  backlog_.clear();
}

// ---- priorities ------------------------------------------------------------------------------------------------------------

int LocalApic::highest(const uint32_t (&bits)[8]) const noexcept {
  for (int i = 7; i >= 0; --i) {
    if (bits[i] != 0) return i * 32 + 31 - std::countl_zero(bits[i]);
  }
  return -1;
}

uint8_t LocalApic::processorPriority() const noexcept {
  const int service = std::max(highest(isr_), 0);
  return (tpr_ >> 4) >= (service >> 4) ? tpr_ : static_cast<uint8_t>(service & 0xf0);
}

int LocalApic::deliverable() const noexcept {
  if (!softwareEnabled()) return -1;
  const int vector = highest(irr_);
  return vector >= 0 && (vector >> 4) > (processorPriority() >> 4) ? vector : -1;
}

void LocalApic::acknowledge(uint8_t vector) noexcept {
  irr_[vector / 32] &= ~(1u << (vector % 32));
  isr_[vector / 32] |= 1u << (vector % 32);
}

bool LocalApic::deferEoi(int vector) noexcept {
  if (vector < 0 || highest(isr_) != vector || highest(irr_) >= 0 || tmr_[vector / 32] >> (vector % 32) & 1) return false;
  return eoiDeferred_ = true;
}

void LocalApic::finishEoi(bool ended) noexcept {
  if (!eoiDeferred_) return;
  eoiDeferred_ = false;
  if (ended) endOfInterrupt();
}

void LocalApic::accept(uint8_t vector, bool level) noexcept {
  if (!softwareEnabled()) return;
  if (vector < 16) return error(kReceiveIllegalVector);
  const uint32_t bit = 1u << (vector % 32);
  irr_[vector / 32] |= bit;
  tmr_[vector / 32] = level ? tmr_[vector / 32] | bit : tmr_[vector / 32] & ~bit;
}

void LocalApic::endOfInterrupt() noexcept {
  const int vector = highest(isr_);
  if (vector < 0) return;
  isr_[vector / 32] &= ~(1u << (vector % 32));
  if (tmr_[vector / 32] >> (vector % 32) & 1) bus_.levelEoi(static_cast<uint8_t>(vector));
}

void LocalApic::error(uint32_t bit) noexcept {
  const bool isNew = (esrPending_ & bit) == 0;
  esrPending_ |= bit;
  const uint32_t entry = lvt_[kError];
  // An error vector that is itself illegal would recurse for ever.
  if (isNew && !(entry & kLvtMasked) && (entry & 0xff) >= 16) accept(static_cast<uint8_t>(entry), false);
}

bool LocalApic::matches(const ApicMessage& message) const noexcept {
  const uint32_t destination = message.destination;
  if (message.wide ? destination == 0xffffffff : destination == 0xff) return true;
  if (!message.logical) return destination == id_;
  if (x2apic()) {
    const uint32_t own = logicalIdX2();
    return destination >> 16 == own >> 16 && (destination & own & 0xffff) != 0;
  }
  const uint32_t own = ldr_ >> 24;
  if (destination > 0xff) return false;
  if (dfr_ >> 28 == 0xf) return (destination & own) != 0;
  return destination >> 4 == own >> 4 && (destination & own & 0xf) != 0;
}

// ---- timer -----------------------------------------------------------------------------------------------------------------

LocalApic::TimerMode LocalApic::timerMode() const noexcept {
  const uint32_t mode = lvt_[kTimer] >> 17 & 3;
  return mode == 3 ? kOneShot : static_cast<TimerMode>(mode);  // 3 is reserved
}

uint64_t LocalApic::divisor() const noexcept {
  const uint32_t code = (divide_ & 3) | (divide_ >> 1 & 4);
  return code == 7 ? 1 : 2ull << code;
}

uint32_t LocalApic::currentCount() const noexcept {
  if (timerMode() == kTscDeadline || initial_ == 0) return 0;
  const uint64_t elapsed = (bus_.now() - timerStart_) / divisor();
  if (timerMode() == kPeriodic) return static_cast<uint32_t>(initial_ - elapsed % initial_);
  return elapsed >= initial_ ? 0 : static_cast<uint32_t>(initial_ - elapsed);
}

void LocalApic::startTimer(uint32_t count) noexcept {
  initial_ = count;
  timerStart_ = bus_.now();
  backlog_.clear();
  deadline_ = count == 0 ? kNever : timerStart_ + count * divisor();
}

void LocalApic::armTscDeadline() noexcept {
  if (tscDeadline_ == 0) {
    deadline_ = kNever;
    return;
  }
  const uint64_t tsc = bus_.tsc(id_), now = bus_.now();
  const auto wait = tscDeadline_ <= tsc ? 0 : static_cast<unsigned __int128>(tscDeadline_ - tsc) * 1'000'000'000 / bus_.tscHz();
  // Further away than the clock reaches: never.
  deadline_ = wait > kNever - 1 - now ? kNever : now + static_cast<uint64_t>(wait);
}

void LocalApic::tscChanged() noexcept {
  if (timerMode() == kTscDeadline) armTscDeadline();
}

uint64_t LocalApic::nextDeadline() const noexcept { return std::min(deadline_, backlog_.retryAt()); }

void LocalApic::fireTimer(uint64_t passed, uint64_t period) noexcept {
  const uint32_t entry = lvt_[kTimer];
  const auto vector = static_cast<uint8_t>(entry);
  if (entry & kLvtMasked || !softwareEnabled()) return backlog_.clear();
  if (period == 0) return accept(vector, false);
  if (backlog_.take(passed, period, requested(vector), bus_.now())) accept(vector, false);
}

void LocalApic::advance() noexcept {
  const uint64_t now = bus_.now();
  if (now < nextDeadline()) return;
  if (deadline_ > now) return fireTimer(0, std::max(initial_ * divisor(), kShortestPeriod));
  if (timerMode() != kPeriodic) {
    deadline_ = kNever;
    tscDeadline_ = 0;
    return fireTimer(1, 0);
  }
  const uint64_t period = std::max(initial_ * divisor(), kShortestPeriod);
  const uint64_t passed = (now - deadline_) / period + 1;
  deadline_ += passed * period;
  fireTimer(passed, period);
}

// ---- registers -------------------------------------------------------------------------------------------------------------

uint32_t LocalApic::read(uint32_t reg) noexcept {
  switch (reg) {
    case kId: return x2apic() ? id_ : id_ << 24;
    case kVersionReg: return kVersion;
    case kTpr: return tpr_;
    case kApr:
    case kPpr: return processorPriority();
    case kRrd: return 0;
    case kLdr: return x2apic() ? logicalIdX2() : ldr_;
    case kDfr: return dfr_;
    case kSvr: return svr_;
    case kEsr: return esr_;
    case kIcrLow: return static_cast<uint32_t>(icr_);
    case kIcrHigh: return static_cast<uint32_t>(icr_ >> 32);
    case kInitialCount: return timerMode() == kTscDeadline ? 0 : initial_;
    case kCurrentCount: return currentCount();
    case kDivide: return divide_;
    default: break;
  }
  if (reg >= kIsr && reg < kIsr + 0x80) return isr_[(reg - kIsr) / 16];
  if (reg >= kTmr && reg < kTmr + 0x80) return tmr_[(reg - kTmr) / 16];
  if (reg >= kIrr && reg < kIrr + 0x80) return irr_[(reg - kIrr) / 16];
  if (reg >= kLvtTimer && reg <= kLvtError) return lvt_[(reg - kLvtTimer) / 16];
  if (reg != kEoi) error(kIllegalRegister);
  return 0;
}

void LocalApic::write(uint32_t reg, uint32_t value) noexcept {
  switch (reg) {
    case kTpr: tpr_ = static_cast<uint8_t>(value); return;
    case kEoi: return endOfInterrupt();
    case kLdr: ldr_ = value & 0xff000000; return;
    case kDfr: dfr_ = value | 0x0fffffff; return;
    case kSvr:
      svr_ = value & 0x3ff;
      if (!(svr_ & 0x100)) {
        for (uint32_t& entry : lvt_) entry |= kLvtMasked;
        backlog_.clear();
      }
      return;
    case kEsr:  // a write makes what gathered since the last one readable
      esr_ = esrPending_;
      esrPending_ = 0;
      return;
    case kIcrLow: return writeIcr((icr_ & 0xffffffff00000000ull) | value);
    case kIcrHigh: icr_ = (icr_ & 0xffffffff) | static_cast<uint64_t>(value & 0xff000000) << 32; return;
    case kInitialCount:
      if (timerMode() != kTscDeadline) startTimer(value);
      return;
    case kDivide: {
      const uint32_t left = currentCount();
      divide_ = value & 0xb;
      if (deadline_ == kNever || timerMode() == kTscDeadline) return;
      // What is left of the count is counted at the new rate.
      const uint64_t now = bus_.now();
      timerStart_ = now - (initial_ - left) * divisor();
      deadline_ = now + left * divisor();
      return;
    }
    case kId:
    case kVersionReg:
    case kApr:
    case kPpr:
    case kRrd:
    case kCurrentCount: return;
    default: break;
  }
  if (reg >= kLvtTimer && reg <= kLvtError) return writeLvt(static_cast<Lvt>((reg - kLvtTimer) / 16), value);
  if (reg >= kIsr && reg < kEsr) return;
  error(kIllegalRegister);
}

void LocalApic::writeLvt(Lvt which, uint32_t value) noexcept {
  const TimerMode before = timerMode();
  lvt_[which] = value & kLvtWritable[which];
  if (!(svr_ & 0x100)) lvt_[which] |= kLvtMasked;
  if (which != kTimer) return;
  if (lvt_[kTimer] & kLvtMasked) backlog_.clear();
  const TimerMode after = timerMode();
  if (before == after) return;
  // SDM vol. 3 §11.5.4: going to or from TSC-deadline mode disarms the timer.
  backlog_.clear();
  if (before == kTscDeadline || after == kTscDeadline) {
    deadline_ = kNever;
    tscDeadline_ = 0;
    initial_ = 0;
  } else if (after == kPeriodic && initial_ != 0 && deadline_ == kNever) {
    deadline_ = bus_.now() + currentCount() * divisor();
  }
}

void LocalApic::writeIcr(uint64_t value) noexcept {
  icr_ = value & (x2apic() ? 0xffffffff000ccfffull : 0xff000000000ccfffull);
  ApicMessage message;
  message.vector = static_cast<uint8_t>(value);
  message.delivery = value >> 8 & 7;
  message.logical = value >> 11 & 1;
  message.wide = x2apic();
  message.destination = static_cast<uint32_t>(x2apic() ? value >> 32 : value >> 56);
  const bool level = value >> 15 & 1, assert = value >> 14 & 1;
  if (message.delivery == kInit && level && !assert) return;  // INIT level de-assert: nothing in this kind of processor
  if ((message.delivery == kFixed || message.delivery == kLowestPriority) && message.vector < 16) error(kSendIllegalVector);
  bus_.sendIpi(id_, message, value >> 18 & 3);
}

uint32_t LocalApic::readMmio(uint32_t offset) noexcept {
  return hardwareEnabled() && !x2apic() ? read(offset & 0xff0) : 0xffffffff;
}

void LocalApic::writeMmio(uint32_t offset, uint32_t value) noexcept {
  if (hardwareEnabled() && !x2apic() && (offset & 0xf) == 0) write(offset & 0xff0, value);
}

bool LocalApic::readMsr(uint32_t msr, uint64_t& value) noexcept {
  if (msr == 0x1b) {
    value = base_;
    return true;
  }
  if (msr == 0x6e0) {
    value = timerMode() == kTscDeadline ? tscDeadline_ : 0;
    return true;
  }
  if (msr < 0x800 || msr > 0x8ff || !x2apic()) return false;
  const uint32_t reg = (msr - 0x800) * 16;
  if (reg == kIcrLow) {
    value = icr_;
    return true;
  }
  const bool readable = reg == kId || reg == kVersionReg || reg == kTpr || reg == kPpr || reg == kLdr || reg == kSvr ||
                        (reg >= kIsr && reg <= kEsr) || (reg >= kLvtTimer && reg <= kCurrentCount) || reg == kDivide;
  if (!readable) return false;
  value = read(reg);
  return true;
}

bool LocalApic::writeMsr(uint32_t msr, uint64_t value) noexcept {
  if (msr == 0x1b) {
    constexpr uint64_t defined = ((1ull << 40) - 1) & ~0x2ffull;  // base, EN, EXTD, BSP
    if (value & ~defined) return false;
    const uint64_t before = base_ & (kBaseEnable | kBaseX2), after = value & (kBaseEnable | kBaseX2);
    // SDM vol. 3 figure 11-27: x2APIC is entered from xAPIC mode, and left only by disabling the APIC.
    if (after == kBaseX2) return false;
    if (before == 0 && after == (kBaseEnable | kBaseX2)) return false;
    if (before == (kBaseEnable | kBaseX2) && after == kBaseEnable) return false;
    if (before != 0 && after == 0) init();
    base_ = (value & ~kBaseBsp) | (base_ & kBaseBsp);
    return true;
  }
  if (msr == 0x6e0) {
    if (timerMode() != kTscDeadline) return true;
    tscDeadline_ = value;
    armTscDeadline();
    return true;
  }
  if (msr < 0x800 || msr > 0x8ff || !x2apic()) return false;
  const uint32_t reg = (msr - 0x800) * 16;
  uint64_t allowed = 0;
  switch (reg) {
    case kIcrLow:
      if (value & ~0xffffffff000cdfffull) return false;
      writeIcr(value);
      return true;
    case kSelfIpi: {
      if (value > 0xff) return false;
      writeIcr(value | 1u << 18);
      return true;
    }
    case kTpr: allowed = 0xff; break;
    case kEoi:
    case kEsr: allowed = 0; break;
    case kSvr: allowed = 0x3ff; break;
    case kInitialCount: allowed = 0xffffffff; break;
    case kDivide: allowed = 0xb; break;
    default:
      if (reg < kLvtTimer || reg > kLvtError) return false;
      // Delivery status and, at the pins, remote IRR are read-only, not reserved.
      allowed = kLvtWritable[(reg - kLvtTimer) / 16] | 0x1000 | (reg == kLvtLint0 || reg == kLvtLint1 ? 0x4000 : 0);
  }
  if (value & ~allowed) return false;
  write(reg, static_cast<uint32_t>(value));
  return true;
}

}  // namespace lodge
