// Sleeping on a 32-bit word (futex(2)), private to the process.
#pragma once

#include <atomic>
#include <cstdint>

namespace lodge {

/** Sleeps while `word` is `expected`, until woken or CLOCK_MONOTONIC reaches `deadline` ns (~0: no deadline). May return early. */
void futexWait(const std::atomic<uint32_t>& word, uint32_t expected, uint64_t deadline = ~0ull) noexcept;
void futexWake(const std::atomic<uint32_t>& word) noexcept;

}  // namespace lodge
