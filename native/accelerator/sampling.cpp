#include "accelerator/sampling.h"

#include <algorithm>

namespace lodge {

void SampleBuffer::prepare() {
  if (!slots_) slots_ = std::make_unique<Sample[]>(kSlots);
  read_.store(written_.load(std::memory_order_acquire), std::memory_order_release);
  owed_.store(0, std::memory_order_release);
  halted_.store(0, std::memory_order_relaxed);
  lost_.store(0, std::memory_order_relaxed);
}

void SampleBuffer::record(const x86::Place& place, bool device) noexcept {
  const uint32_t ticks = owed_.exchange(0, std::memory_order_acquire);
  if (ticks == 0) return;
  if (place.halted) {
    halted(ticks);
    return;
  }
  const uint32_t at = written_.load(std::memory_order_relaxed);
  if (at - read_.load(std::memory_order_acquire) == kSlots) {
    lost_.fetch_add(ticks, std::memory_order_relaxed);
    return;
  }
  slots_[at % kSlots] = {place, device, 0, static_cast<uint16_t>(std::min(ticks, 0xffffu))};
  written_.store(at + 1, std::memory_order_release);
}

void SampleBuffer::take(unsigned vcpu, Samples& out) {
  const uint32_t end = written_.load(std::memory_order_acquire);
  for (uint32_t at = read_.load(std::memory_order_relaxed); at != end; ++at) {
    out.taken.push_back(slots_[at % kSlots]);
    out.taken.back().vcpu = static_cast<uint8_t>(vcpu);
  }
  read_.store(end, std::memory_order_release);
  out.halted.push_back(halted_.exchange(0, std::memory_order_relaxed));
  out.lost += lost_.exchange(0, std::memory_order_relaxed);
}

}  // namespace lodge
