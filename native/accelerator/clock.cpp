#include "accelerator/clock.h"

#include <cpuid.h>
#include <time.h>
#include <x86intrin.h>

namespace lodge {
namespace {

/** Guest time begins here, not at zero: zero marks a running clock in frozenAt_. */
constexpr uint64_t kEpoch = 1'000'000'000;

bool tscIsConstant() noexcept {
  unsigned a, b, c, d;
  return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1u << 8);
}
const bool constantTsc = tscIsConstant();

struct Sample {
  uint64_t ns, tsc;
};

/** Of several readings the one whose two TSC readings lie closest together: the least disturbed. */
Sample sample() noexcept {
  Sample best{0, 0};
  uint64_t bestWidth = ~0ull;
  for (int i = 0; i < 16; ++i) {
    const uint64_t before = hostTsc();
    const uint64_t ns = monotonicNs();
    const uint64_t after = hostTsc();
    if (after - before >= bestWidth) continue;
    bestWidth = after - before;
    best = {ns, before + bestWidth / 2};
  }
  return best;
}
const Sample atLoad = sample();

uint64_t measure() noexcept {
  if (!constantTsc) return 1'000'000'000;
  constexpr uint64_t window = 25'000'000;
  const uint64_t elapsed = monotonicNs() - atLoad.ns;
  if (elapsed < window) {
    const timespec wait{0, static_cast<long>(window - elapsed)};
    nanosleep(&wait, nullptr);
  }
  const Sample now = sample();
  const auto hz = static_cast<unsigned __int128>(now.tsc - atLoad.tsc) * 1'000'000'000 / (now.ns - atLoad.ns);
  // Whole kHz: the measurement is not better, and guests are told kHz.
  return (static_cast<uint64_t>(hz) + 500) / 1000 * 1000;
}

}  // namespace

uint64_t monotonicNs() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

uint64_t hostTsc() noexcept { return constantTsc ? __rdtsc() : monotonicNs(); }

uint64_t hostTscHz() noexcept {
  static const uint64_t hz = measure();
  return hz;
}

MachineClock::MachineClock() noexcept : frozenAt_(kEpoch) {}

uint64_t MachineClock::now() const noexcept {
  const uint64_t frozen = frozenAt_.load(std::memory_order_acquire);
  return frozen != 0 ? frozen : monotonicNs() - offset_.load(std::memory_order_relaxed);
}

uint64_t MachineClock::tsc() const noexcept {
  if (frozenAt_.load(std::memory_order_acquire) != 0) return frozenTsc_.load(std::memory_order_relaxed);
  return hostTsc() - tscOffset_.load(std::memory_order_relaxed);
}

void MachineClock::freeze() noexcept {
  if (frozen()) return;
  const uint64_t at = now();
  frozenTsc_.store(tsc(), std::memory_order_relaxed);
  frozenAt_.store(at, std::memory_order_release);
}

void MachineClock::thaw() noexcept {
  if (!frozen()) return;
  offset_.store(monotonicNs() - frozenAt_.load(std::memory_order_relaxed), std::memory_order_relaxed);
  tscOffset_.store(hostTsc() - frozenTsc_.load(std::memory_order_relaxed), std::memory_order_relaxed);
  frozenAt_.store(0, std::memory_order_release);
}

uint64_t MachineClock::hostTimeOf(uint64_t ns) const noexcept {
  const uint64_t host = ns + offset_.load(std::memory_order_relaxed);
  return host < ns ? ~0ull : host;
}

}  // namespace lodge
