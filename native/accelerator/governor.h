// The cap on the host's processor time, and the quota: how much each vCPU may use, how much all together, and who has to wait now. An
// account a vCPU: it earns `percent` of the time that passes and pays for what it used; and one for all of them, the quota's. Who is in debt waits until the debt is earned back, so that the average is exact
// however coarse the ticks are; savings are bounded, so that an idle guest cannot take the host by surprise.
// Not thread-safe: the machine's run lock.
#pragma once

#include <cstdint>
#include <vector>

namespace lodge {

class Governor {
 public:
  /** How often tick() is to be called while there is a cap. */
  static constexpr uint64_t kTickNs = 4'000'000;

  explicit Governor(unsigned vcpus) : accounts_(vcpus) {}

  /** 100: no cap. */
  void setCap(unsigned percent, uint64_t now);
  /** Of the host's processors all vCPUs together may use so many; kNoQuota: no limit. */
  void setQuota(double processors, uint64_t now);
  static constexpr double kNoQuota = 1e9;
  bool active() const { return percent_ < 100 || quota_ < kNoQuota; }
  /** Time passed without anybody running, as in a pause: nobody earns. */
  void restart(uint64_t now) { last_ = now; }
  /** `used`: CPU time of each vCPU since its start. The vCPUs that have to wait, a bit each. */
  uint64_t tick(uint64_t now, const std::vector<uint64_t>& used);

 private:
  struct Account {
    int64_t balance = 0;  ///< nanoseconds of CPU time
    uint64_t used = 0;
    bool known = false;   ///< `used` is from while there was a cap
  };
  static bool settle(Account& account, double share, uint64_t used, uint64_t passed);

  std::vector<Account> accounts_;
  Account all_;
  unsigned percent_ = 100;
  double quota_ = kNoQuota;
  uint64_t last_ = 0;
};

}  // namespace lodge
