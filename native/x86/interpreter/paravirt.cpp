// Paravirtualization as KVM's guests know it (Linux: Documentation/virt/kvm/x86/{cpuid,msr,hypercalls}.rst). Offered, and so said by
// CPUID 4000_0101h: the clock with its MSRs, steal time, EOI without an access to the local APIC, remote TLB flushes that spare a
// processor which does not run, the kick that ends a spinning processor's HLT, and a reading of wall clock and TSC in one. Not
// offered: asynchronous page faults, IPIs by hypercall, poll control.
//
// The clock: with it a guest learns the TSC's frequency instead of measuring it against timers, which goes wrong on a busy host.
// The guest's TSC is constant and stands still while the machine is paused, so one description of it holds until the guest
// writes the TSC.
#include <time.h>

#include <cstddef>
#include <cstring>

#include "x86/interpreter/core.h"

namespace lodge::x86 {
namespace {

constexpr uint8_t kTscStable = 1;

enum KvmMsr : uint32_t { kWallClock = 0x4b564d00, kSystemTime = 0x4b564d01, kStealTime = 0x4b564d03, kPvEoi = 0x4b564d04 };
constexpr uint64_t kEnabled = 1;

/** What one processor is told about the host's use of its time. */
struct StealTime {
  uint64_t steal;  ///< nanoseconds
  uint32_t version, flags;
  uint8_t preempted, padding[47];
};
static_assert(sizeof(StealTime) == 64);
/** Bits of StealTime::preempted: it does not run now; and, set by other processors, it has to drop its TLB before it does. */
constexpr uint8_t kPreempted = 1, kFlushTlb = 2;
/** Reading what was stolen is a system call: not for every interrupt. */
constexpr uint64_t kStealPeriodNs = 1'000'000;

enum Hypercall : uint64_t { kKickCpu = 5, kClockPairing = 9 };
constexpr int64_t kNoSuchCall = -1000, kNoSupport = -95, kBadAddress = -14;

/** KVM_HC_CLOCK_PAIRING's answer. */
struct ClockPairing {
  int64_t seconds, nanoseconds;
  uint64_t tsc;
  uint32_t flags, padding[9];
};
static_assert(sizeof(ClockPairing) == 64);

/** One processor's clock: time = system time + ((TSC − timestamp) shifted) × multiplier / 2^32, in nanoseconds. */
struct ClockPage {
  uint32_t version, padding;
  uint64_t timestamp, systemTime;
  uint32_t multiplier;
  int8_t shift;
  uint8_t flags, reserved[2];
};
static_assert(sizeof(ClockPage) == 32);
struct WallClock {
  uint32_t version, seconds, nanoseconds;
};

struct Scale {
  uint32_t multiplier;
  int8_t shift;
};
Scale scaleOf(uint64_t hz) {
  Scale s{0, 0};
  uint64_t scaled = hz;
  while (scaled > 2'000'000'000) {
    scaled >>= 1;
    --s.shift;
  }
  while (scaled <= 1'000'000'000) {
    scaled <<= 1;
    ++s.shift;
  }
  s.multiplier = static_cast<uint32_t>((1'000'000'000ull << 32) / scaled);
  return s;
}
uint64_t nanoseconds(uint64_t tsc, Scale s) {
  const uint64_t shifted = s.shift < 0 ? tsc >> -s.shift : tsc << s.shift;
  return static_cast<uint64_t>(static_cast<unsigned __int128>(shifted) * s.multiplier >> 32);
}

}  // namespace

uint64_t Core::systemTime() { return systemTimeBase + nanoseconds(env.readTsc() - systemTimeTsc, scaleOf(config.tscHz)); }

void Core::publishClock() {
  if (!(clockMsr & 1)) return;
  const Scale s = scaleOf(config.tscHz);
  ClockPage page{};
  // Odd while it changes, so that a reader on another processor tries again.
  memory.read(clockMsr & ~1ull, &page.version, sizeof page.version);
  page.version |= 1;
  memory.write(clockMsr & ~1ull, &page.version, sizeof page.version);
  page.timestamp = systemTimeTsc;
  page.systemTime = systemTimeBase;
  page.multiplier = s.multiplier;
  page.shift = s.shift;
  page.flags = kTscStable;
  const uint32_t next = page.version + 1;
  memory.write(clockMsr & ~1ull, &page, sizeof page);
  memory.write(clockMsr & ~1ull, &next, sizeof next);
}

void Core::publishWallClock(Gpa gpa) {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  const uint64_t wall = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec) - systemTime();
  WallClock w{0, static_cast<uint32_t>(wall / 1'000'000'000), static_cast<uint32_t>(wall % 1'000'000'000)};
  memory.read(gpa, &w.version, sizeof w.version);
  w.version = (w.version | 1) + 1;
  memory.write(gpa, &w, sizeof w);
}

/** The TSC is about to jump to `value`: system time goes on from where it is. */
void Core::tscJumps(uint64_t value) {
  systemTimeBase = systemTime();
  systemTimeTsc = value;
  publishClock();
}

// ---- steal time and processors that do not run -----------------------------------------------------------------------------------

bool Core::readKvmMsr(uint32_t index, uint64_t& value) const {
  switch (index) {
    case kWallClock: value = 0; return true;
    case kSystemTime: value = clockMsr; return true;
    case kStealTime: value = stealMsr; return true;
    case kPvEoi: value = pvEoiMsr; return true;
    default: return false;
  }
}

bool Core::writeKvmMsr(uint32_t index, uint64_t value) {
  switch (index) {
    case kWallClock: publishWallClock(value); return true;
    case kSystemTime:
      clockMsr = value;
      publishClock();
      return true;
    case kStealTime:
      if (value & 0x3e) return false;
      stealMsr = value;
      if (value & kEnabled) {
        // Counting goes on from what the guest's page says: it may have been here before.
        StealTime page{};
        memory.read(value & ~0x3full, &page, sizeof page);
        stealBase = env.stolenTime() - page.steal;
        stealPublishedTsc = 0;
        publishSteal();
      }
      return true;
    case kPvEoi:
      if (value & 2) return false;
      pvEoiMsr = value;
      env.setPvEoi(value);
      return true;
    default: return false;
  }
}

void Core::resetParavirt() {
  clockMsr = stealMsr = pvEoiMsr = 0;
  kicked = false;
  env.setPvEoi(0);
}

void Core::publishSteal() {
  if (!(stealMsr & kEnabled)) return;
  const uint64_t tsc = env.readTsc();
  if (stealPublishedTsc != 0 && tsc - stealPublishedTsc < config.tscHz / (1'000'000'000 / kStealPeriodNs)) return;
  stealPublishedTsc = tsc;
  const Gpa at = stealMsr & ~0x3full;
  StealTime page;
  if (!memory.read(at, &page, sizeof page)) return;
  // Odd while it changes. `preempted` is other processors' too and is left alone.
  page.version |= 1;
  memory.write(at + offsetof(StealTime, version), &page.version, sizeof page.version);
  page.steal = env.stolenTime() - stealBase;
  memory.write(at, &page.steal, sizeof page.steal);
  ++page.version;
  memory.write(at + offsetof(StealTime, version), &page.version, sizeof page.version);
}

void Core::paravirtEnter() {
  if (!(stealMsr & kEnabled)) return;
  uint8_t* const preempted = memory.range((stealMsr & ~0x3full) + offsetof(StealTime, preempted), 1);
  if (preempted == nullptr || __atomic_load_n(preempted, __ATOMIC_RELAXED) == 0) return;
  if (__atomic_exchange_n(preempted, uint8_t{0}, __ATOMIC_SEQ_CST) & kFlushTlb) flushTlb(true);
}

void Core::paravirtLeave() {
  if (!(stealMsr & kEnabled)) return;
  uint8_t* const preempted = memory.range((stealMsr & ~0x3full) + offsetof(StealTime, preempted), 1);
  if (preempted != nullptr) __atomic_store_n(preempted, kPreempted, __ATOMIC_SEQ_CST);
}

// ---- hypercalls ------------------------------------------------------------------------------------------------------------------

int64_t Core::hypercall(uint64_t number, const uint64_t (&arguments)[4]) {
  switch (number) {
    case kKickCpu:
      env.kick(static_cast<uint32_t>(arguments[1]));
      return 0;
    case kClockPairing: {
      if (arguments[1] != 0) return kNoSupport;  // the wall clock is all there is
      timespec now;
      ::clock_gettime(CLOCK_REALTIME, &now);
      const ClockPairing pair{now.tv_sec, now.tv_nsec, env.readTsc(), 0, {}};
      return memory.write(arguments[0], &pair, sizeof pair) ? 0 : kBadAddress;
    }
    default: return kNoSuchCall;
  }
}

}  // namespace lodge::x86
