// Between the vCPU threads and the owner (the JS thread): exits that wait for an answer, and events that do not.
//
// A vCPU writes its record, publishes a bit, and waits: first spinning, as the owner usually sits in serve() and answers
// within a microsecond or two, then in a futex. The owner is `attentive` from serve() until serve() says Idle; only when it
// is not does a vCPU pay for waking the event loop. Both sides store their own flag and then load the other's, sequentially
// consistent, so that one of them sees the other.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "accelerator/accelerator.h"

namespace lodge {

class ExitChannel {
 public:
  ExitChannel(unsigned vcpus, uint8_t* records, std::function<void()> wake);

  // vCPU threads.
  /** `data` holds what the guest writes, or takes what it reads. False: the machine is ending. */
  bool exchange(unsigned vcpu, ExitKind kind, uint64_t address, unsigned width, unsigned count, void* data) noexcept;
  /** Events that are already queued word for word are not queued again; beyond a limit doorbells are dropped. */
  void push(Event event);
  void ring(uint32_t doorbell, uint64_t value) noexcept;
  /** What the owner said that this port reads; false: nothing, or a write to it is still on its way. */
  bool quickRead(unsigned number, unsigned width, void* data) const noexcept;
  /** False: this write has to wait, or too many were posted. The owner is not called: it gets posted writes before what comes next. */
  bool post(unsigned number, uint16_t port, unsigned width, uint32_t value) noexcept;

  // Owner.
  int serve(int completed, unsigned spinMicros) noexcept;
  /** The vCPU's exit was handed out by serve() and is not answered yet. */
  bool handedOut(unsigned vcpu) const noexcept { return handedOut_ >> vcpu & 1; }
  /** Those that serve() spoke of. */
  std::vector<Event> takeEvents();
  void dropPosted() noexcept;
  /** Every exit, now and later, is abandoned. */
  void abandon() noexcept;

 private:
  enum SlotState : uint32_t { kFree, kSpinning, kSleeping, kAnswered };
  struct alignas(64) Slot {
    std::atomic<uint32_t> state{kFree};
  };

  void answer(unsigned vcpu) noexcept;
  void callOwner() noexcept;
  int poll() noexcept;
  int handOut(uint64_t waiting) noexcept;
  void handOverPosted() noexcept;
  void postedDelivered() noexcept;
  uint32_t* quickWord(unsigned number) const noexcept;

  const unsigned vcpus_;
  uint8_t* const records_;
  const std::function<void()> wake_;
  const uint64_t ticksPerMicro_, vcpuSpinTicks_, ownerSpinTicks_;
  std::unique_ptr<Slot[]> slots_;

  alignas(64) std::atomic<uint64_t> pending_{0};
  alignas(64) std::atomic<bool> eventsWaiting_{false}, ending_{false}, wakePosted_{false};
  enum Attention : uint32_t { kAway, kAttentive, kDozing };
  alignas(64) std::atomic<uint32_t> attention_{kAway};

  /** Quick ports with a write on its way, a bit each, and whether any write is in the queue. */
  alignas(64) std::atomic<uint64_t> inTransit_{0};
  std::atomic<bool> postedWaiting_{false};
  std::atomic<bool> postedSoon_{false};  // one of them is not to wait for an exit or an event

  // Owner only.
  uint64_t handedOut_ = 0;
  uint64_t cleared_ = 0;         // vCPUs whose exit may be handed out though writes are queued: all that came before it are delivered
  size_t eventsCleared_ = 0;     // the same of the events at the front of the queue
  unsigned nextVcpu_ = 0;
  bool eventsLast_ = false, delivering_ = false;

  struct Posted {
    uint16_t port, width;
    uint32_t value;
    uint8_t number;
  };
  std::mutex eventLock_;  // innermost
  std::vector<Event> events_;
  std::vector<Posted> posted_;
};

}  // namespace lodge
