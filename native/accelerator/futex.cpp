#include "accelerator/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>

namespace lodge {

void futexWait(const std::atomic<uint32_t>& word, uint32_t expected, uint64_t deadline) noexcept {
  timespec at{static_cast<time_t>(deadline / 1'000'000'000), static_cast<long>(deadline % 1'000'000'000)};
  // WAIT_BITSET because its timeout is absolute: no drift, and none from being interrupted.
  syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected, deadline == ~0ull ? nullptr : &at, nullptr,
          FUTEX_BITSET_MATCH_ANY);
}

void futexWake(const std::atomic<uint32_t>& word) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace lodge
