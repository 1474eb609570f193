#include "accelerator/exit_channel.h"

#include <chrono>
#include <cstring>
#include <thread>

#include "testing/test.h"

using namespace lodge;

namespace {

constexpr uint32_t kGives = quick_port::kRead, kTakes = quick_port::kWrite;

struct Write {
  unsigned port, width;
  uint32_t value;
  bool operator==(const Write&) const = default;
};

/** The owner's side: what the JS thread does. */
struct Owner {
  explicit Owner(unsigned vcpus) : channel(vcpus, records, [] {}) {}

  void say(unsigned number, uint32_t word) { __atomic_store_n(reinterpret_cast<uint32_t*>(records + quick_port::kWords) + number, word, __ATOMIC_RELEASE); }
  std::vector<Write> posted() const {
    uint32_t count;
    std::memcpy(&count, records + posted_write::kCount, 4);
    std::vector<Write> all;
    for (uint32_t i = 0; i < count; ++i) {
      const uint8_t* const at = records + posted_write::kFirst + i * posted_write::kBytes;
      uint16_t port, width;
      uint32_t value;
      std::memcpy(&port, at, 2), std::memcpy(&width, at + 2, 2), std::memcpy(&value, at + 4, 4);
      all.push_back({port, width, value});
    }
    return all;
  }
  uint32_t field(int vcpu, unsigned offset) const {
    uint32_t value;
    std::memcpy(&value, records + vcpu * exit_record::kStride + offset, 4);
    return value;
  }
  int reads(unsigned number) const {
    uint8_t value = 0;
    return channel.quickRead(number, 1, &value) ? value : -1;
  }
  /** A vCPU with one exit. */
  std::thread exitOf(unsigned vcpu) {
    std::thread thread([this, vcpu] {
      uint8_t value = 0;
      channel.exchange(vcpu, ExitKind::PortOut, 0x80 + vcpu, 1, 1, &value);
    });
    return thread;
  }
  /** What there is to do, once there is something; kServeIdle after ten seconds. */
  int next() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    int found = kServeIdle;
    while (found == kServeIdle && std::chrono::steady_clock::now() < deadline) found = channel.serve(-1, 1000);
    return found;
  }

  alignas(64) uint8_t records[4 * exit_record::kStride] = {};
  ExitChannel channel;
};

}  // namespace

TEST(quick_reads_give_what_the_owner_says) {
  Owner owner(1);
  CHECK_EQ(owner.reads(3), -1);
  owner.say(3, kGives | 0x5a << quick_port::kValueShift);
  CHECK_EQ(owner.reads(3), 0x5a);
  CHECK_EQ(owner.reads(4), -1);
  uint32_t wide = 7;
  CHECK(!owner.channel.quickRead(3, 4, &wide));
  CHECK_EQ(wide, 7u);
  owner.say(3, kTakes | 0x5a << quick_port::kValueShift);
  CHECK_EQ(owner.reads(3), -1);
}

TEST(posted_writes_come_in_order_before_the_exit_behind_them) {
  Owner owner(1);
  for (unsigned i = 0; i < 3; ++i) owner.say(i, kTakes | kGives | i << quick_port::kValueShift);
  CHECK(owner.channel.post(0, 0x1f1, 1, 0xaa));
  CHECK(owner.channel.post(2, 0xc004, 4, 0xdeadbeef));
  CHECK(owner.channel.post(0, 0x1f1, 1, 0xbb));
  // Nobody is called for them.
  CHECK_EQ(owner.channel.serve(-1, 0), kServeIdle);
  CHECK_EQ(owner.reads(0), -1);
  CHECK_EQ(owner.reads(1), 1);
  CHECK_EQ(owner.reads(2), -1);

  std::thread vcpu = owner.exitOf(0);
  CHECK_EQ(owner.next(), kServePosted);
  CHECK(owner.posted() == (std::vector<Write>{{0x1f1, 1, 0xaa}, {0xc004, 4, 0xdeadbeef}, {0x1f1, 1, 0xbb}}));
  // The device has not seen them yet.
  CHECK_EQ(owner.reads(0), -1);
  owner.say(0, kGives | 9 << quick_port::kValueShift);
  CHECK_EQ(owner.channel.serve(-1, 0), 0);
  CHECK_EQ(owner.reads(0), 9);
  CHECK_EQ(owner.reads(2), 2);
  owner.channel.serve(0, 0);
  vcpu.join();
}

TEST(writes_that_the_owner_does_not_take_or_that_are_too_many_wait) {
  Owner owner(1);
  CHECK(!owner.channel.post(5, 0x1f6, 1, 0xe0));
  owner.say(5, kTakes | 0x10 << quick_port::kMaskShift | 0x10u << quick_port::kMatchShift);
  CHECK(!owner.channel.post(5, 0x1f6, 1, 0xe0));
  CHECK(owner.channel.post(5, 0x1f6, 1, 0xf0));
  for (unsigned i = 1; i < posted_write::kMost; ++i) CHECK(owner.channel.post(5, 0x1f6, 1, 0x10 | i << 8));
  CHECK(!owner.channel.post(5, 0x1f6, 1, 0xf0));
  owner.channel.dropPosted();
  CHECK(owner.channel.post(5, 0x1f6, 1, 0xf0));
  owner.channel.dropPosted();
  owner.say(5, kGives);
  CHECK_EQ(owner.reads(5), 0);
  std::thread vcpu = owner.exitOf(0);
  CHECK_EQ(owner.next(), 0);
  owner.channel.serve(0, 0);
  vcpu.join();
}

TEST(posted_writes_come_before_the_events_behind_them) {
  Owner owner(1);
  owner.say(0, kTakes);
  owner.channel.post(0, 1, 1, 1);
  owner.channel.ring(7, 70);
  CHECK_EQ(owner.channel.serve(-1, 0), kServePosted);
  // Between the events, and not to be passed by the second.
  owner.channel.post(0, 1, 1, 2);
  owner.channel.ring(8, 80);
  CHECK_EQ(owner.channel.serve(-1, 0), kServeEvents);
  std::vector<Event> events = owner.channel.takeEvents();
  CHECK_EQ(events.size(), 1u);
  CHECK_EQ(events[0].doorbell, 7u);
  CHECK_EQ(owner.channel.serve(-1, 0), kServePosted);
  CHECK(owner.posted() == (std::vector<Write>{{1, 1, 2}}));
  CHECK_EQ(owner.channel.serve(-1, 0), kServeEvents);
  events = owner.channel.takeEvents();
  CHECK_EQ(events.size(), 1u);
  CHECK_EQ(events[0].doorbell, 8u);
  CHECK_EQ(owner.channel.serve(-1, 0), kServeIdle);
}

TEST(a_processor_that_posts_without_end_does_not_hold_up_another) {
  Owner owner(2);
  owner.say(0, kTakes);
  std::thread waiting = owner.exitOf(1);
  owner.channel.post(0, 1, 1, 1);
  CHECK_EQ(owner.next(), kServePosted);
  owner.channel.post(0, 1, 1, 2);
  CHECK_EQ(owner.next(), 1);
  owner.channel.serve(1, 0);
  owner.channel.abandon();
  waiting.join();
}

// What one vCPU posted and then told another of is there before an exit of that other one, whoever is quicker.
TEST(posted_writes_and_exits_of_several_processors_keep_their_order) {
  constexpr unsigned kVcpus = 4, kRounds = 3000;
  Owner owner(kVcpus);
  for (unsigned i = 0; i < kVcpus; ++i) owner.say(i, kTakes | kGives);
  std::atomic<uint32_t> told[kVcpus] = {}, delivered[kVcpus] = {};
  std::atomic<unsigned> running{kVcpus}, refused{0}, stale{0};
  std::vector<std::thread> threads;
  for (unsigned v = 0; v < kVcpus; ++v) {
    threads.emplace_back([&, v] {
      for (uint32_t n = 1; n <= kRounds; ++n) {
        if (!owner.channel.post(v, static_cast<uint16_t>(v), 4, n)) ++refused;
        uint8_t read;
        // Somebody else's exit may have taken it along already.
        if (owner.channel.quickRead(v, 1, &read) && delivered[v].load(std::memory_order_acquire) < n) ++stale;
        told[v].store(n, std::memory_order_release);
        uint32_t heard[kVcpus];
        for (unsigned i = 0; i < kVcpus; ++i) heard[i] = told[i].load(std::memory_order_acquire);
        if (!owner.channel.exchange(v, ExitKind::PortOut, 0x80, 4, kVcpus, heard)) break;
      }
      --running;
    });
  }
  bool inOrder = true;
  unsigned tooEarly = 0, exits = 0;
  int completed = -1;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (running != 0 && std::chrono::steady_clock::now() < deadline) {
    const int next = owner.channel.serve(completed, 50);
    completed = -1;
    if (next == kServePosted) {
      for (const Write& write : owner.posted()) {
        inOrder = inOrder && write.value == delivered[write.port] + 1;
        delivered[write.port] = write.value;
      }
    } else if (next >= 0) {
      for (unsigned i = 0; i < kVcpus; ++i) tooEarly += owner.field(next, exit_record::kData + 4 * i) > delivered[i];
      ++exits;
      completed = next;
    }
  }
  owner.channel.abandon();
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(exits, kVcpus * kRounds);
  CHECK_EQ(refused.load(), 0u);
  CHECK_EQ(stale.load(), 0u);
  CHECK_EQ(tooEarly, 0u);
  CHECK(inOrder);
}
