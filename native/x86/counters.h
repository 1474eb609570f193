// What one virtual processor did since it was made, in plain counters: its thread writes, anybody reads.
#pragma once

#include <atomic>
#include <cstdint>

namespace lodge::x86 {

/** One writer: an increment is a load, an add and a store, and never locks a cache line. */
class Counter {
 public:
  void add(uint64_t n = 1) noexcept { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void set(uint64_t n) noexcept { value_.store(n, std::memory_order_relaxed); }
  uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

/**
 * What Lodge's own processor counts; addon/types.ts says the same names. All lie on paths that cost far more than an increment.
 * blocksCached alone can fall.
 */
#define LODGE_CPU_COUNTERS(X)                                                                          \
  X(interrupts)        /* taken from the interrupt controller, and NMIs */                             \
  X(exceptions)        /* delivered to the guest, page faults among them */                            \
  X(blocksDecoded)                                                                                     \
  X(blocksCached)                                                                                      \
  X(blocksInvalidated) /* because the guest wrote over their code */                                   \
  X(cacheFlushes)      /* of all blocks: the cache was full, or the physical map changed */            \
  X(tlbMisses)         /* of the first level, on the slow path of an access */                         \
  X(pageWalks)

struct CpuCounters {
#define LODGE_COUNTER(name) Counter name;
  LODGE_CPU_COUNTERS(LODGE_COUNTER)
#undef LODGE_COUNTER
};

/** What the translator counts, if there is one. codeBytes alone can fall. */
#define LODGE_TIER_COUNTERS(X)                                                           \
  X(units)         /* runs of code that were translated */                               \
  X(tierUps)       /* those among them that had been interpreted before */               \
  X(traces)        /* paths through calls and returns that were translated as one unit */    \
  X(invalidations) /* of units, because the guest wrote over their code */               \
  X(flushes)       /* of all units: the cache was full */                                \
  X(codeBytes)     /* in the cache, with what is kept about it */                        \
  X(codeLimit)     /* what the cache may hold */                                         \
  X(translatedNs)  /* in translated code and what it calls; kTierSampling of the times */ \
  X(interpretedNs) /* in the interpreter; likewise */                                    \
  X(checks)        /* stretches of code that the interpreter executed as well */

/** Time in a tier is measured at one in so many entries; no power of two, as loops of code may well be. */
constexpr uint32_t kTierSampling = 29;

struct TierCounters {
#define LODGE_COUNTER(name) Counter name;
  LODGE_TIER_COUNTERS(LODGE_COUNTER)
#undef LODGE_COUNTER
};

/** Where a processor is: the first instruction of the block it is in, or about to enter. */
struct Place {
  uint64_t linear = 0;
  bool user = false;        ///< privilege level 3
  bool translated = false;  ///< it came there in translated code
  bool halted = false;
};

}  // namespace lodge::x86
