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

void Governor::setQuota(double processors, uint64_t now) {
  quota_ = processors > 0 ? std::min(processors, kNoQuota) : kNoQuota;
  last_ = now;
  all_ = {};
}

/** True: the account is overdrawn. */
bool Governor::settle(Account& account, double share, uint64_t used, uint64_t passed) {
  const uint64_t spent = account.known ? used - account.used : 0;
  account.used = used;
  account.known = true;
  account.balance += static_cast<int64_t>(static_cast<double>(passed) * share) - static_cast<int64_t>(spent);
  // At least what is earned back between two ticks, or a late tick would take it away again.
  const int64_t savings = std::max(kSavingsNs, 2 * static_cast<int64_t>(passed));
  account.balance = std::min(account.balance, static_cast<int64_t>(static_cast<double>(savings) * share));
  return account.balance < 0;
}

uint64_t Governor::tick(uint64_t now, const std::vector<uint64_t>& used) {
  if (!active()) return 0;
  const uint64_t passed = std::min(now - last_, kLongestTickNs);
  last_ = now;
  uint64_t waiting = 0, sum = 0;
  for (size_t i = 0; i < accounts_.size() && i < used.size(); ++i) {
    sum += used[i];
    if (percent_ < 100 && settle(accounts_[i], percent_ / 100.0, used[i], passed)) waiting |= 1ull << i;
  }
  if (quota_ < kNoQuota && settle(all_, quota_, sum, passed)) waiting = ~0ull >> (64 - accounts_.size());
  return waiting;
}

}  // namespace lodge
