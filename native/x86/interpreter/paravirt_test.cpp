// What a KVM guest kernel relies on: hypercalls, the kick, steal time, and the TLB flush of a processor that does not run.
#include "testing/test.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

using namespace lodge::x86::testing;

constexpr Gpa kCode = 0x11000, kData = 0x12000, kSteal = 0x14000, kOther = 0x15000;
constexpr uint32_t kStealMsr = 0x4b564d03, kEoiMsr = 0x4b564d04;
constexpr std::initializer_list<unsigned> kVmcall = {0x0f, 0x01, 0xc1, 0xf4};

int64_t call(Guest& g, uint64_t number, uint64_t a0 = 0, uint64_t a1 = 0) {
  g.enter64(kCode);
  g.code(kCode, kVmcall);
  g.state().gpr[kRax] = number, g.state().gpr[kRbx] = a0, g.state().gpr[kRcx] = a1;
  CHECK(g.run() == RunExit::Halted);
  return static_cast<int64_t>(g.state().gpr[kRax]);
}

TEST(hypercallsAnswerOrSayThatTheyDoNotExist) {
  Guest g;
  CHECK_EQ(call(g, 99), -1000);
  CHECK_EQ(call(g, 5, 0, 3), 0);
  CHECK_EQ(g.env.kicks.size(), 1u);
  CHECK_EQ(g.env.kicks[0], 3u);
  CHECK_EQ(call(g, 9, kData, 0), 0);
  CHECK(g.get<int64_t>(kData) > 1'500'000'000);
  CHECK(g.get<int64_t>(kData + 8) < 1'000'000'000);
  CHECK(g.get<uint64_t>(kData + 16) != 0);
  CHECK_EQ(call(g, 9, kData, 1), -95);
  CHECK_EQ(call(g, 9, 1ull << 38, 0), -14);
  g.enter64(kCode, 3);
  g.state().gpr[kRax] = 5;
  g.gate(kGP, kOther);
  g.code(kOther, {0xf4});
  CHECK(g.run() == RunExit::Halted);  // the HLT behind it is refused
  CHECK_EQ(static_cast<int64_t>(g.state().gpr[kRax]), -1);
  CHECK_EQ(g.env.kicks.size(), 1u);
}

TEST(aKickEndsHltWhateverTheInterruptFlagIs) {
  Guest g;
  g.enter64(kCode);
  g.code(kCode, {0xf4, 0xff, 0xc0, 0xf4, 0xf4});  // hlt; inc eax; hlt; hlt
  g.state().gpr[kRax] = 0;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRax], 0u);
  g.cpu->request(kRequestKick);
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().rip, kCode + 4);
  // One that comes first ends the next HLT, and only that.
  g.enter64(kCode);
  g.cpu->request(kRequestKick);
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().rip, kCode + 4);
}

TEST(aKickIsNotLostWhileADebuggerLooksOn) {
  Guest g;
  g.enter64(kCode);
  g.code(kCode, {0xff, 0xc0, 0xf4, 0xff, 0xc0, 0xf4, 0xf4});  // inc eax; hlt; inc eax; hlt; hlt
  g.cpu->setDebugPoints({{kOther}, {{kData, 4, true, true}}});
  g.cpu->setStep(true);
  g.cpu->request(kRequestKick);
  CHECK(g.run() == RunExit::Debug);
  CHECK_EQ(g.state().rip, kCode + 2);
  g.cpu->setStep(true);
  CHECK(g.run() == RunExit::Debug);
  g.cpu->setStep(true);  // what came before the HLT ends it
  CHECK(g.run() == RunExit::Debug);
  CHECK_EQ(g.state().rip, kCode + 5);
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().rip, kCode + 6);
  g.cpu->request(kRequestKick | kRequestStop);  // neither is it by a pause
  CHECK(g.run() == RunExit::StopRequested);
  g.cpu->clearRequest(kRequestStop);
  g.cpu->setDebugPoints({});
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().rip, kCode + 7);
}

TEST(aProcessorThatIsStoppedSaysSoAndFlushesWhatOthersAskFor) {
  Guest g;
  g.enter64(kCode);
  CHECK(g.cpu->writeMsr(kStealMsr, kSteal | 1));
  g.code(kCode, {0xeb, 0xfe});
  g.cpu->request(kRequestStop);
  CHECK(g.run() == RunExit::StopRequested);
  CHECK_EQ(g.get<uint8_t>(kSteal + 16), 1u);
  g.put<uint32_t>(kOther, 2);
  // mov ebx,[kData]; hlt
  g.code(kCode, {0x8b, 0x1c, 0x25, 0x00, 0x20, 0x01, 0x00, 0xf4});
  g.put<uint64_t>(g.pteOf(kData), kOther | 7);
  g.put<uint8_t>(kSteal + 16, 1 | 2);
  g.cpu->clearRequest(kRequestStop);
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRbx], 2u);
}

TEST(stealTimeIsPublishedAndGoesOnWhereItWas) {
  Guest g;
  g.enter64(kCode);
  g.env.stolen = 5000;
  CHECK(!g.cpu->writeMsr(kStealMsr, kSteal | 2 | 1));
  CHECK(g.cpu->writeMsr(kStealMsr, kSteal | 1));
  CHECK_EQ(g.get<uint64_t>(kSteal), 0u);
  CHECK_EQ(g.get<uint32_t>(kSteal + 8) & 1, 0u);
  g.env.stolen = 12000;
  g.env.tsc += 1'000'000'000;
  g.gate(0x40, kOther);
  g.code(kCode, {0xf4});
  g.code(kOther, {0xf4});
  g.state().rflags |= kIf;
  g.cpu->stateChanged();
  g.env.vector = 0x40;
  g.cpu->request(kRequestInterrupt);
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.get<uint64_t>(kSteal), 7000u);
  const uint32_t version = g.get<uint32_t>(kSteal + 8);
  CHECK(version != 0 && !(version & 1));
  g.cpu->writeMsr(kStealMsr, 0);
  g.env.stolen = 20000;
  CHECK(g.cpu->writeMsr(kStealMsr, kSteal | 1));
  CHECK_EQ(g.get<uint64_t>(kSteal), 7000u);
}

TEST(aHaltedProcessorSaysSoAndFlushesWhatOthersAskFor) {
  Guest g;
  g.enter64(kCode);
  CHECK(g.cpu->writeMsr(kStealMsr, kSteal | 1));
  g.put<uint32_t>(kData, 1), g.put<uint32_t>(kOther, 2);
  // mov eax,[kData]; hlt; mov ebx,[kData]; hlt; mov ecx,[kData]; hlt
  g.code(kCode, {0x8b, 0x04, 0x25, 0x00, 0x20, 0x01, 0x00, 0xf4, 0x8b, 0x1c, 0x25, 0x00, 0x20, 0x01, 0x00, 0xf4,
                 0x8b, 0x0c, 0x25, 0x00, 0x20, 0x01, 0x00, 0xf4});
  constexpr Gpa kPreempted = kSteal + 16;
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.get<uint8_t>(kPreempted), 1u);
  CHECK_EQ(g.state().gpr[kRax], 1u);
  g.put<uint64_t>(g.pteOf(kData), kOther | 7);
  g.cpu->request(kRequestKick);
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRbx], 1u);  // as any processor, it keeps a translation until it is told
  g.put<uint8_t>(kPreempted, 1 | 2);
  g.cpu->request(kRequestKick);
  CHECK(g.run() == RunExit::Halted);
  CHECK_EQ(g.state().gpr[kRcx], 2u);
  CHECK_EQ(g.get<uint8_t>(kPreempted), 1u);
}

TEST(paravirtualMsrsReadBackAndEndWithReset) {
  Guest g;
  uint64_t value;
  CHECK(g.cpu->writeMsr(kEoiMsr, kData | 1));
  CHECK(!g.cpu->writeMsr(kEoiMsr, kData | 3));
  CHECK(g.cpu->readMsr(kEoiMsr, value));
  CHECK_EQ(value, kData | 1);
  CHECK_EQ(g.env.pvEoi, kData | 1);
  CHECK(!g.cpu->readMsr(0x4b564d02, value));
  CHECK(!g.cpu->writeMsr(0x4b564d02, 0));
  g.cpu->reset();
  CHECK_EQ(g.env.pvEoi, 0u);
  CHECK(g.cpu->readMsr(kStealMsr, value));
  CHECK_EQ(value, 0u);
}

}  // namespace
}  // namespace lodge::x86
