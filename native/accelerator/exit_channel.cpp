#include "accelerator/exit_channel.h"

#include <sched.h>
#include <x86intrin.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <thread>

#include "accelerator/clock.h"
#include "accelerator/futex.h"

namespace lodge {
namespace {

/** A JS handler takes 1–5 µs; a futex round trip across cores up to 60 µs. */
constexpr uint64_t kVcpuSpinMicros = 15;
/** The owner spins this long of what its caller grants, and sleeps the rest. */
constexpr uint64_t kOwnerSpinMicros = 200;
constexpr uint64_t kPatienceMicros = 4;
/** serve() blocks the event loop: whatever the caller grants, not longer. */
constexpr unsigned kServeLimitMicros = 50'000;
/** Coalesced, a virtio machine has a few dozen doorbells outstanding; a guest that fills this is only hurting itself. */
constexpr size_t kEventLimit = 1024;

/**
 * One turn of a spin loop. Past a few microseconds the other side is probably not running at all: on a busy host its thread
 * may be queued behind this one.
 */
void spinOnce(uint64_t waited, uint64_t patience) {
  if (waited > patience) {
    sched_yield();
  } else {
    _mm_pause();
  }
}

/** Spinning on the only processor keeps the other side from running. */
uint64_t spinTicks(uint64_t micros) { return std::thread::hardware_concurrency() > 1 ? micros * hostTscHz() / 1'000'000 : 0; }

}  // namespace

ExitChannel::ExitChannel(unsigned vcpus, uint8_t* records, std::function<void()> wake)
    : vcpus_(vcpus), records_(records), wake_(std::move(wake)), ticksPerMicro_(hostTscHz() / 1'000'000), vcpuSpinTicks_(spinTicks(kVcpuSpinMicros)),
      ownerSpinTicks_(spinTicks(kOwnerSpinMicros)), slots_(new Slot[vcpus]) {}

bool ExitChannel::exchange(unsigned vcpu, ExitKind kind, uint64_t address, unsigned width, unsigned count, void* data) noexcept {
  namespace r = exit_record;
  uint8_t* const record = records_ + vcpu * r::kStride;
  const uint32_t header[6] = {static_cast<uint32_t>(kind), width, count, 0, static_cast<uint32_t>(address),
                              static_cast<uint32_t>(address >> 32)};
  std::memcpy(record, header, sizeof header);
  const bool writes = kind == ExitKind::PortOut || kind == ExitKind::MmioWrite;
  const size_t bytes = static_cast<size_t>(width) * count;
  if (writes) std::memcpy(record + r::kData, data, bytes);

  std::atomic<uint32_t>& state = slots_[vcpu].state;
  state.store(kSpinning, std::memory_order_seq_cst);
  pending_.fetch_or(1ull << vcpu, std::memory_order_seq_cst);
  // abandon() sets the flag and then visits the slots: either it sees this one, or this sees the flag.
  if (!ending_.load(std::memory_order_seq_cst)) {
    callOwner();
    const uint64_t start = hostTsc();
    for (uint64_t waited = 0; waited < vcpuSpinTicks_ && state.load(std::memory_order_acquire) == kSpinning;
         waited = hostTsc() - start) {
      spinOnce(waited, kPatienceMicros * ticksPerMicro_);
    }
    uint32_t expected = kSpinning;
    if (state.compare_exchange_strong(expected, kSleeping, std::memory_order_seq_cst)) {
      while (state.load(std::memory_order_acquire) == kSleeping) futexWait(state, kSleeping);
    }
  }
  if (ending_.load(std::memory_order_acquire)) return false;
  state.store(kFree, std::memory_order_relaxed);
  if (!writes) std::memcpy(data, record + r::kData, bytes);
  return true;
}

void ExitChannel::answer(unsigned vcpu) noexcept {
  std::atomic<uint32_t>& state = slots_[vcpu].state;
  if (state.exchange(kAnswered, std::memory_order_seq_cst) == kSleeping) futexWake(state);
}

void ExitChannel::abandon() noexcept {
  ending_.store(true, std::memory_order_seq_cst);
  for (unsigned vcpu = 0; vcpu < vcpus_; ++vcpu) answer(vcpu);
}

void ExitChannel::callOwner() noexcept {
  const uint32_t attention = attention_.load(std::memory_order_seq_cst);
  if (attention == kAttentive) return;
  if (attention == kDozing) {
    // Whoever changes it wakes; the owner does not mind being attentive early.
    uint32_t expected = kDozing;
    if (attention_.compare_exchange_strong(expected, kAttentive)) futexWake(attention_);
    return;
  }
  if (!wakePosted_.exchange(true, std::memory_order_seq_cst)) wake_();
}

void ExitChannel::push(Event event) {
  {
    std::lock_guard hold(eventLock_);
    if (event.kind == Event::Kind::Doorbell) {
      if (events_.size() >= kEventLimit) return;
      for (const Event& queued : events_) {
        if (queued.kind == Event::Kind::Doorbell && queued.doorbell == event.doorbell && queued.value == event.value) return;
      }
    }
    events_.push_back(std::move(event));
    eventsWaiting_.store(true, std::memory_order_seq_cst);
  }
  callOwner();
}

void ExitChannel::ring(uint32_t doorbell, uint64_t value) noexcept {
  Event event;
  event.kind = Event::Kind::Doorbell;
  event.doorbell = doorbell;
  event.value = value;
  push(std::move(event));
}

std::vector<Event> ExitChannel::takeEvents() {
  std::vector<Event> taken;
  std::lock_guard hold(eventLock_);
  taken.swap(events_);
  eventsWaiting_.store(false, std::memory_order_seq_cst);
  return taken;
}

/** What there is to do now; events and exits take turns, and so do vCPUs. */
int ExitChannel::poll() noexcept {
  const uint64_t pending = pending_.load(std::memory_order_seq_cst);
  const bool events = eventsWaiting_.load(std::memory_order_seq_cst);
  if (events && (pending == 0 || !eventsLast_)) {
    eventsLast_ = true;
    return kServeEvents;
  }
  if (pending == 0) return kServeIdle;
  eventsLast_ = false;
  const uint64_t later = pending >> nextVcpu_ << nextVcpu_;
  const unsigned vcpu = static_cast<unsigned>(std::countr_zero(later != 0 ? later : pending));
  nextVcpu_ = (vcpu + 1) % vcpus_;
  pending_.fetch_and(~(1ull << vcpu), std::memory_order_acq_rel);
  handedOut_ |= 1ull << vcpu;
  return static_cast<int>(vcpu);
}

int ExitChannel::serve(int completed, unsigned spinMicros) noexcept {
  // In a burst both are as they should be: stores would only take the cache lines away from the vCPUs.
  if (wakePosted_.load(std::memory_order_relaxed)) wakePosted_.store(false, std::memory_order_seq_cst);
  if (attention_.load(std::memory_order_relaxed) != kAttentive) attention_.store(kAttentive, std::memory_order_seq_cst);
  if (completed >= 0 && handedOut(static_cast<unsigned>(completed))) {
    handedOut_ &= ~(1ull << completed);
    answer(static_cast<unsigned>(completed));
  }
  const uint64_t granted = std::min(spinMicros, kServeLimitMicros) * ticksPerMicro_;
  const uint64_t spin = std::min(granted, ownerSpinTicks_);
  const uint64_t start = hostTsc();
  for (;;) {
    if (const int result = poll(); result != kServeIdle) return result;
    const uint64_t waited = hostTsc() - start;
    if (waited >= spin) {
      const bool doze = waited < granted;
      attention_.store(doze ? kDozing : kAway, std::memory_order_seq_cst);
      if (const int result = poll(); result != kServeIdle) {
        attention_.store(kAttentive, std::memory_order_seq_cst);
        return result;
      }
      if (!doze) return kServeIdle;
      futexWait(attention_, kDozing, monotonicNs() + (granted - waited) * 1000 / ticksPerMicro_);
      attention_.store(kAttentive, std::memory_order_seq_cst);
      continue;
    }
    spinOnce(waited, kPatienceMicros * ticksPerMicro_);
  }
}

}  // namespace lodge
