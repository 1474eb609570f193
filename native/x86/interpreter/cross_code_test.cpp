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

}  // namespace
}  // namespace lodge::x86
