#include "accelerator/governor.h"

#include <algorithm>

#include "testing/test.h"

using namespace lodge;

namespace {

constexpr uint64_t kMs = 1'000'000;

/** vCPUs that compute whenever they may; CPU time each has used after `seconds`, and the longest it ran on end. */
struct World {
  explicit World(unsigned vcpus, unsigned percent) : governor(vcpus), used(vcpus) { governor.setCap(percent, now); }
  void run(uint64_t ms, uint64_t tick = Governor::kTickNs, uint64_t busy = ~0ull) {
    for (const uint64_t end = now + ms * kMs; now < end;) {
      now += tick;
      for (size_t i = 0; i < used.size(); ++i) {
        if (!(waiting >> i & 1) && (busy >> i & 1)) used[i] += tick;
      }
      waiting = governor.tick(now, used);
    }
  }
  uint64_t now = 1000 * kMs;
  Governor governor;
  std::vector<uint64_t> used;
  uint64_t waiting = 0;
};

}  // namespace

TEST(governor_keeps_the_average_at_the_cap) {
  for (const unsigned percent : {1u, 10u, 33u, 50u, 90u, 99u}) {
    for (const uint64_t tick : {kMs, 4 * kMs, 17 * kMs}) {
      World world(2, percent);
      world.run(20'000, tick);
      for (const uint64_t used : world.used) {
        const uint64_t wanted = 20'000 * kMs * percent / 100;
        CHECK(used >= wanted - 30 * kMs && used <= wanted + 30 * kMs);
      }
    }
  }
}

TEST(governor_keeps_all_together_at_the_quota) {
  for (const double quota : {0.05, 0.5, 1.5}) {
    World world(4, 100);
    world.governor.setQuota(quota, world.now);
    CHECK(world.governor.active());
    // Whoever of them computes has it: one alone no more than a whole processor.
    for (const uint64_t busy : {~uint64_t{0}, uint64_t{1}}) {
      uint64_t before = 0, after = 0;
      for (const uint64_t used : world.used) before += used;
      world.run(20'000, Governor::kTickNs, busy);
      for (const uint64_t used : world.used) after += used;
      const auto wanted = static_cast<uint64_t>(20'000 * kMs * (busy == 1 ? std::min(quota, 1.0) : quota));
      CHECK(after - before >= wanted - 60 * kMs && after - before <= wanted + 60 * kMs);
    }
    world.governor.setQuota(0, world.now);
    CHECK(!world.governor.active());
  }
}

TEST(governor_obeys_cap_and_quota_at_once) {
  World world(2, 30);
  world.governor.setQuota(0.2, world.now);
  world.run(10'000);
  CHECK(world.used[0] + world.used[1] <= 2'060 * kMs);
  world.governor.setQuota(1, world.now);
  const uint64_t before = world.used[0];
  world.run(10'000);
  CHECK(world.used[0] - before <= 3'060 * kMs && world.used[0] - before >= 2'940 * kMs);
}

TEST(governor_has_no_say_without_a_cap) {
  World world(1, 100);
  world.run(1000);
  CHECK_EQ(world.used[0], 1000 * kMs);
}

TEST(governor_bounds_savings_and_judges_each_alone) {
  World world(2, 50);
  world.run(60'000, Governor::kTickNs, 1);  // the second is idle for a minute
  const uint64_t before = world.used[1];
  world.run(100);
  CHECK(world.used[1] - before <= 65 * kMs);
  CHECK(world.used[1] - before >= 45 * kMs);
}

TEST(governor_forgets_debts_when_the_cap_changes) {
  World world(1, 1);
  world.run(1000);
  world.governor.setCap(80, world.now);
  world.waiting = 0;
  const uint64_t before = world.used[0];
  world.run(1000);
  CHECK(world.used[0] - before >= 780 * kMs);
}
