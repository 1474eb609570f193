// A statistical profile of the guest. One thread of the machine ticks; at each tick it notes what each vCPU is doing, and asks those
// that execute for their place, which they write down themselves at the next block boundary. A place counts for as many ticks as
// passed until it could be written down, so that time is attributed by its length and not by how often somebody could answer.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "x86/counters.h"

namespace lodge {

constexpr unsigned kSampleRateMin = 50, kSampleRateMax = 10'000;  // Hz

struct Sample {
  x86::Place place;
  bool device = false;  ///< it waited there for a device to answer
  uint8_t vcpu = 0;
  uint16_t ticks = 0;
};

/** What vCPUs wrote down since the last time somebody asked. */
struct Samples {
  std::vector<Sample> taken;
  std::vector<uint64_t> halted;  ///< ticks, a vCPU each
  uint64_t lost = 0;             ///< ticks nobody took in time
};

/** One vCPU's. Three threads: the ticking one, the vCPU's, and the owner's. */
class SampleBuffer {
 public:
  /** Owner, while nothing ticks: forgets what is left from before. */
  void prepare();
  void take(unsigned vcpu, Samples& out);

  // The ticking thread.
  void halted(uint32_t ticks) noexcept { halted_.fetch_add(ticks, std::memory_order_relaxed); }
  void owe(uint32_t ticks) noexcept { owed_.fetch_add(ticks, std::memory_order_release); }

  // The vCPU's.
  bool owes() const noexcept { return owed_.load(std::memory_order_relaxed) != 0; }
  void record(const x86::Place& place, bool device) noexcept;

 private:
  static constexpr uint32_t kSlots = 8192;  // some seconds
  std::unique_ptr<Sample[]> slots_;
  std::atomic<uint32_t> written_{0}, read_{0};
  std::atomic<uint32_t> owed_{0};
  std::atomic<uint64_t> halted_{0}, lost_{0};
};

}  // namespace lodge
