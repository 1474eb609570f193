// For the tests of machines: what the owner of one does, which in Lodge is the JS thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "accelerator/accelerator.h"
#include "testing/test.h"

namespace lodge::testing {

inline uint32_t field(const uint8_t* record, unsigned offset) {
  uint32_t value;
  std::memcpy(&value, record + offset, 4);
  return value;
}

/** Serves the exits and takes the events of one machine of up to four processors. */
struct MachineOwner {
  alignas(64) uint8_t records[4 * exit_record::kStride] = {};
  int answered = -1;  ///< the vCPU whose exit the next serve() completes
  std::unique_ptr<Machine> machine;
  std::vector<Event> events;

  virtual ~MachineOwner() = default;
  virtual void exited(unsigned vcpu, uint8_t* record) = 0;

  MachineConfig config(unsigned cpus) {
    MachineConfig config;
    config.cpus = cpus;
    config.exitRecords = records;
    config.wake = [this] {
      std::lock_guard hold(lock_);
      ++wakes_;
      woken_.notify_all();
    };
    return config;
  }
  /** Serves until `done`, going back to "the event loop" when idle; false after ten seconds. */
  bool serveUntil(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!done()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      const int next = machine->serve(answered, kSpinMicroseconds);
      answered = -1;
      if (next >= 0) {
        exited(static_cast<unsigned>(next), records + next * exit_record::kStride);
        answered = next;
      } else if (next == kServeEvents) {
        for (Event& event : machine->takeEvents()) events.push_back(std::move(event));
      } else {
        std::unique_lock hold(lock_);
        woken_.wait_for(hold, std::chrono::milliseconds(5), [&] { return wakes_ != seen_; });
        seen_ = wakes_;
      }
    }
    return true;
  }
  bool saw(Event::Kind kind) const {
    for (const Event& event : events) {
      if (event.kind == kind) return true;
    }
    return false;
  }
  void run() {
    CHECK_EQ(machine->start().size(), 0u);
    machine->resume();
  }

 private:
  static constexpr unsigned kSpinMicroseconds = 20;

  std::mutex lock_;
  std::condition_variable woken_;
  unsigned wakes_ = 0, seen_ = 0;
};

}  // namespace lodge::testing
