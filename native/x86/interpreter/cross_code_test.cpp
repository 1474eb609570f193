// Code that one processor writes and another executes.
#include <functional>
#include <thread>

#include "testing/test.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using namespace lodge::x86::testing;

class HookedEnvironment final : public FakeEnvironment {
 public:
  std::function<void()> onRead, onWrite;
  IoStatus mmioRead(Gpa gpa, unsigned width, void* data) noexcept override {
    onRead();
    return FakeEnvironment::mmioRead(gpa, width, data);
  }
  IoStatus mmioWrite(Gpa gpa, unsigned width, const void* data) noexcept override {
    onWrite();
    return FakeEnvironment::mmioWrite(gpa, width, data);
  }
};

/** SDM vol. 3 §8.1.3: who was called behind the write runs what was written, also when it had decoded the page just before. */
TEST(whatWasWrittenIsKnownBeforeAnInterruptIsSent) {
  constexpr Gpa kShared = 0x18000, kDevice = 0x800000;
  constexpr uint64_t kWindow = 0x100000;
  Guest g;
  HookedEnvironment env;
  g.cpu = makeTestCpu(CpuConfig{0, 2, 1'000'000'000, nullptr}, g.memory, env);
  g.cpu->reset();
  g.enter64(kFree);
  g.mapPage(kWindow, kDevice, 7);
  // mov byte [kShared + 256],0; mov al,[kWindow]; mov byte [kShared],90h; mov [kWindow],al; hlt
  g.code(kFree, {0xc6, 0x04, 0x25, 0x00, 0x81, 0x01, 0x00, 0x00, 0x8a, 0x04, 0x25, 0x00, 0x00, 0x10, 0x00,
                 0xc6, 0x04, 0x25, 0x00, 0x80, 0x01, 0x00, 0x90, 0x88, 0x04, 0x25, 0x00, 0x00, 0x10, 0x00, 0xf4});
  g.code(kShared, {0xf4, 0xf4});

  FakeEnvironment otherEnv;
  const auto other = makeTestCpu(CpuConfig{1, 2, 1'000'000'000, nullptr}, g.memory, otherEnv);
  other->reset();
  uint64_t ended[2] = {};
  const auto runOther = [&](uint64_t& rip) {
    std::thread([&] {
      other->state() = g.state();
      other->state().rip = kShared;
      other->state().activity = Activity::Runnable;
      other->stateChanged();
      CHECK(other->run() == RunExit::Halted);
      rip = other->state().rip;
    }).join();
  };
  env.onRead = [&] { runOther(ended[0]); };
  env.onWrite = [&] { runOther(ended[1]); };
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(ended[0], kShared + 1);
  CHECK_EQ(ended[1], kShared + 2);
}

/**
 * Three functions in one page; the first processor calls one, writes what lies beside it and calls it again. What it has of the page is
 * given up only if the other one, which may have decoded any part of it, has something, too; and the other one runs what was written.
 */
TEST(aWriteBesideCodeCostsCodeOnlyWhenAnotherProcessorHoldsSome) {
  constexpr Gpa kShared = 0x18000, kSecond = kShared + 0x80;
  struct Row { unsigned index, other; bool shared, drops; };
  for (const Row& row : {Row{0, 1, false, false}, Row{0, 1, true, true}, Row{5, 6, true, true}, Row{6, 7, true, true},
                         Row{7, 8, true, true}}) {
    Guest g;
    FakeEnvironment envs[2];
    const auto cpu = makeTestCpu(CpuConfig{row.index, 9, 1'000'000'000, nullptr}, g.memory, envs[0]);
    const auto other = makeTestCpu(CpuConfig{row.other, 9, 1'000'000'000, nullptr}, g.memory, envs[1]);
    g.enter64(kFree);
    g.code(kShared, {0xff, 0xc0, 0xf4});  // inc eax; hlt
    g.code(kSecond, {0xff, 0xc3, 0xf4});  // inc ebx; hlt
    // mov byte [kSecond],90h; mov byte [kSecond + 1],90h; hlt
    g.code(kFree, {0xc6, 0x04, 0x25, 0x80, 0x80, 0x01, 0x00, 0x90, 0xc6, 0x04, 0x25, 0x81, 0x80, 0x01, 0x00, 0x90, 0xf4});
    const auto run = [&](Cpu& on, uint64_t rip) {
      on.state() = g.state();
      on.state().rip = rip;
      on.state().activity = Activity::Runnable;
      on.stateChanged();
      CHECK(on.run() == RunExit::Halted);
      return on.state().gpr[kRbx] - g.state().gpr[kRbx];
    };
    cpu->reset();
    other->reset();
    run(*cpu, kShared);
    if (row.shared) CHECK_EQ(run(*other, kSecond), 1u);
    const auto dropped = [&] {
      const TierCounters* const tier = cpu->tierCounters();
      return cpu->counters().blocksInvalidated.value() + (tier ? tier->invalidations.value() : 0);
    };
    const uint64_t before = dropped();
    run(*cpu, kFree);
    CHECK_EQ(dropped() != before, row.drops);
    CHECK_EQ(run(*other, kSecond), 0u);
  }
}

}  // namespace
}  // namespace lodge::x86
