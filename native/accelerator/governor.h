// The cap on the host's processor time: how much each vCPU may use, and who has to wait now. An account a vCPU: it earns `percent` of
// the time that passes and pays for what it used. Who is in debt waits until the debt is earned back, so that the average is exact
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
  bool capped() const { return percent_ < 100; }
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
  std::vector<Account> accounts_;
  unsigned percent_ = 100;
  uint64_t last_ = 0;
};

}  // namespace lodge
