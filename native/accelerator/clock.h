// Time as one machine's guest sees it: nanoseconds and TSC that stand still while the machine is paused, both off the host's.
// freeze() and thaw() are for one thread at a time, while no vCPU runs; everything else is for any thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace lodge {

/** CLOCK_MONOTONIC in nanoseconds. */
uint64_t monotonicNs() noexcept;
/** The host's TSC; CLOCK_MONOTONIC where the host does not promise one that is constant. */
uint64_t hostTsc() noexcept;
/** Ticks of hostTsc() a second, measured once over at least 25 ms since the program was loaded. */
uint64_t hostTscHz() noexcept;

class MachineClock {
 public:
  /** Starts frozen. */
  MachineClock() noexcept;

  uint64_t now() const noexcept;
  uint64_t tsc() const noexcept;
  bool frozen() const noexcept { return frozenAt_.load(std::memory_order_acquire) != 0; }
  void freeze() noexcept;
  void thaw() noexcept;
  /** Host CLOCK_MONOTONIC at which now() will be `ns`, if nothing pauses the machine before. */
  uint64_t hostTimeOf(uint64_t ns) const noexcept;

 private:
  // Readers look at frozenAt_ first; writers change the others before it.
  std::atomic<uint64_t> frozenAt_, frozenTsc_{0}, offset_{0}, tscOffset_{0};
};

}  // namespace lodge
