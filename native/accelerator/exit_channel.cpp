#include "accelerator/exit_channel.h"

#include <sched.h>
#include <x86intrin.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>
#include <thread>

#include "accelerator/clock.h"
#include "accelerator/futex.h"

namespace lodge {
namespace {

/** A JS handler takes 1–5 µs, one that moves data 100; a futex round trip across cores up to 60 µs. */
constexpr uint64_t kVcpuSpinMicros = 100;
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
      ownerSpinTicks_(spinTicks(kOwnerSpinMicros)), slots_(new Slot[vcpus]) {
  posted_.reserve(posted_write::kMost);
}

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
      // An owner that took the exit is running, and soon done: a vCPU that gives its processor away now would get it back too late.
      const bool taken = !(pending_.load(std::memory_order_relaxed) >> vcpu & 1);
      spinOnce(waited, taken ? vcpuSpinTicks_ : kPatienceMicros * ticksPerMicro_);
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
  std::lock_guard hold(eventLock_);
  const auto end = events_.begin() + static_cast<std::ptrdiff_t>(std::min(eventsCleared_, events_.size()));
  std::vector<Event> taken(std::make_move_iterator(events_.begin()), std::make_move_iterator(end));
  events_.erase(events_.begin(), end);
  eventsCleared_ = 0;
  eventsWaiting_.store(!events_.empty(), std::memory_order_seq_cst);
  return taken;
}

// ---- quick ports ---------------------------------------------------------------------------------------------------------------

uint32_t* ExitChannel::quickWord(unsigned number) const noexcept {
  return reinterpret_cast<uint32_t*>(records_ + quick_port::kWords) + number;
}

bool ExitChannel::quickRead(unsigned number, unsigned width, void* data) const noexcept {
  // In this order: a word that the write changed was stored before the bit was cleared.
  if (inTransit_.load(std::memory_order_seq_cst) >> number & 1) return false;
  const uint32_t word = __atomic_load_n(quickWord(number), __ATOMIC_ACQUIRE);
  if (!(word & quick_port::kRead) || width != 1) return false;
  const auto value = static_cast<uint8_t>(word >> quick_port::kValueShift);
  std::memcpy(data, &value, 1);
  return true;
}

bool ExitChannel::post(unsigned number, uint16_t port, unsigned width, uint32_t value) noexcept {
  const uint32_t word = __atomic_load_n(quickWord(number), __ATOMIC_ACQUIRE);
  const uint32_t mask = word >> quick_port::kMaskShift & 0xff, match = word >> quick_port::kMatchShift;
  if (!(word & quick_port::kWrite) || (value & mask) != match) return false;
  {
    std::lock_guard hold(eventLock_);
    if (posted_.size() >= posted_write::kMost) return false;
    posted_.push_back({port, static_cast<uint16_t>(width), value, static_cast<uint8_t>(number)});
    inTransit_.fetch_or(1ull << number, std::memory_order_seq_cst);
    postedWaiting_.store(true, std::memory_order_seq_cst);
    if (word & quick_port::kSoon) postedSoon_.store(true, std::memory_order_seq_cst);
  }
  if (word & quick_port::kSoon) callOwner();
  return true;
}

/** Under eventLock_. */
void ExitChannel::handOverPosted() noexcept {
  namespace p = posted_write;
  const auto count = static_cast<uint32_t>(posted_.size());
  std::memcpy(records_ + p::kCount, &count, sizeof count);
  uint8_t* at = records_ + p::kFirst;
  for (const Posted& write : posted_) {
    std::memcpy(at, &write.port, 2);
    std::memcpy(at + 2, &write.width, 2);
    std::memcpy(at + 4, &write.value, 4);
    at += p::kBytes;
  }
  posted_.clear();
  postedWaiting_.store(false, std::memory_order_seq_cst);
  postedSoon_.store(false, std::memory_order_seq_cst);
  delivering_ = true;
}

/** The owner came back: the devices have what was handed over, and the words say what they made of it. */
void ExitChannel::postedDelivered() noexcept {
  delivering_ = false;
  std::lock_guard hold(eventLock_);
  uint64_t still = 0;
  for (const Posted& write : posted_) still |= 1ull << write.number;
  inTransit_.store(still, std::memory_order_seq_cst);
}

void ExitChannel::dropPosted() noexcept {
  std::lock_guard hold(eventLock_);
  posted_.clear();
  inTransit_.store(0, std::memory_order_seq_cst);
  postedWaiting_.store(false, std::memory_order_seq_cst);
  postedSoon_.store(false, std::memory_order_seq_cst);
}

// ---- the owner's turn ----------------------------------------------------------------------------------------------------------

int ExitChannel::handOut(uint64_t waiting) noexcept {
  eventsLast_ = false;
  const uint64_t later = waiting >> nextVcpu_ << nextVcpu_;
  const unsigned vcpu = static_cast<unsigned>(std::countr_zero(later != 0 ? later : waiting));
  nextVcpu_ = (vcpu + 1) % vcpus_;
  cleared_ &= ~(1ull << vcpu);
  pending_.fetch_and(~(1ull << vcpu), std::memory_order_acq_rel);
  handedOut_ |= 1ull << vcpu;
  return static_cast<int>(vcpu);
}

/**
 * What there is to do now; events and exits take turns, and so do vCPUs. Writes that were posted before an event or an exit go before
 * it: both are looked at first, so that a queue found empty then was empty for them. What is cleared goes before writes that are
 * posted later, or a vCPU that posts without end would hold up the others.
 */
int ExitChannel::poll() noexcept {
  const uint64_t pending = pending_.load(std::memory_order_seq_cst);
  const bool events = eventsWaiting_.load(std::memory_order_seq_cst);
  if (events && (pending == 0 || !eventsLast_)) {
    if (eventsCleared_ == 0) {
      std::lock_guard hold(eventLock_);
      eventsCleared_ = events_.size();
      if (!posted_.empty()) {
        handOverPosted();
        cleared_ = pending;
        return kServePosted;
      }
    }
    eventsLast_ = true;
    return kServeEvents;
  }
  if (pending == 0 && !postedSoon_.load(std::memory_order_seq_cst)) return kServeIdle;
  if (const uint64_t ready = pending & cleared_; ready != 0) return handOut(ready);
  if (postedWaiting_.load(std::memory_order_seq_cst)) {
    std::lock_guard hold(eventLock_);
    handOverPosted();
    cleared_ = pending;
    return kServePosted;
  }
  return handOut(pending);
}

int ExitChannel::serve(int completed, unsigned spinMicros) noexcept {
  // In a burst both are as they should be: stores would only take the cache lines away from the vCPUs.
  if (wakePosted_.load(std::memory_order_relaxed)) wakePosted_.store(false, std::memory_order_seq_cst);
  if (attention_.load(std::memory_order_relaxed) != kAttentive) attention_.store(kAttentive, std::memory_order_seq_cst);
  if (completed >= 0 && handedOut(static_cast<unsigned>(completed))) {
    handedOut_ &= ~(1ull << completed);
    answer(static_cast<unsigned>(completed));
  }
  if (delivering_) postedDelivered();
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
