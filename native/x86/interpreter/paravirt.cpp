// The KVM clock: the paravirtual time source stock kernels know (Linux: Documentation/virt/kvm/x86/{cpuid,msr}.rst). With
// it a guest learns the TSC's frequency instead of measuring it against timers, which goes wrong on a busy host. The
// guest's TSC is constant and stands still while the machine is paused, so one description of it holds until the guest
// writes the TSC.
#include <time.h>

#include <cstring>

#include "x86/interpreter/core.h"

namespace lodge::x86 {
namespace {

constexpr uint8_t kTscStable = 1;

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

}  // namespace lodge::x86
