// Periodic ticks that a slow guest has not taken yet. A guest that counts ticks loses time with each one dropped; one that
// gets all of them at once does nothing but ticks. So ticks wait here, at most a second's worth, and are handed out no faster
// than twice their rate.
#pragma once

#include <algorithm>
#include <cstdint>

namespace lodge {

class TickBacklog {
 public:
  void clear() noexcept { owed_ = 0, retry_ = ~0ull; }
  uint64_t retryAt() const noexcept { return retry_; }
  /** `passed` ticks were due by now. True: hand out one now. `busy`: the guest has not taken the previous one. */
  bool take(uint64_t passed, uint64_t period, bool busy, uint64_t now) noexcept {
    constexpr uint64_t second = 1'000'000'000;
    const uint64_t limit = std::max<uint64_t>(1, second / std::max<uint64_t>(period, 1));
    owed_ = std::min(owed_ + std::min(passed, limit), limit);
    if (passed == 0 && now < retry_) return false;
    const bool give = owed_ != 0 && !busy;
    if (give) --owed_;
    retry_ = owed_ == 0 ? ~0ull : now + std::max<uint64_t>(period / 2, 1);
    return give;
  }

 private:
  uint64_t owed_ = 0, retry_ = ~0ull;
};

}  // namespace lodge
