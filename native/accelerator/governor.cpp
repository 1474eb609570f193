#include "accelerator/governor.h"

#include <algorithm>

namespace lodge {
namespace {

/** Longest burst above the cap. */
constexpr int64_t kSavingsNs = 10'000'000;
/** A tick that came much later than asked for: the host slept, and nobody earned that. */
constexpr uint64_t kLongestTickNs = 1'000'000'000;

}  // namespace

void Governor::setCap(unsigned percent, uint64_t now) {
  percent_ = std::clamp(percent, 1u, 100u);
  last_ = now;
  for (Account& account : accounts_) account = {};
}

uint64_t Governor::tick(uint64_t now, const std::vector<uint64_t>& used) {
  if (!capped()) return 0;
  const uint64_t passed = std::min(now - last_, kLongestTickNs);
  last_ = now;
  uint64_t waiting = 0;
  for (size_t i = 0; i < accounts_.size() && i < used.size(); ++i) {
    Account& account = accounts_[i];
    const uint64_t spent = account.known ? used[i] - account.used : 0;
    account.used = used[i];
    account.known = true;
    account.balance += static_cast<int64_t>(passed * percent_ / 100) - static_cast<int64_t>(spent);
    // At least what is earned back between two ticks, or a late tick would take it away again.
    const int64_t savings = std::max(kSavingsNs, 2 * static_cast<int64_t>(passed));
    account.balance = std::min(account.balance, savings * static_cast<int64_t>(percent_) / 100);
    if (account.balance < 0) waiting |= 1ull << i;
  }
  return waiting;
}

}  // namespace lodge
