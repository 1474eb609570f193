#include <cstdlib>

#include "accelerator/kvm/kvm_fixture.h"
#include "testing/test.h"

using namespace lodge;
using namespace lodge::kvm;
using namespace lodge::kvm::testing;

TEST(kvm_fatal_guest_and_reset) {
  if (!present()) return;
  Owner owner;
  owner.load({0x0f, 0x0b});  // ud2
  CpuSnapshot s = owner.state();
  s.state.cr0 |= 1;
  s.state.idtr = {0, 0};
  for (unsigned i : {x86::kEs, x86::kCs, x86::kSs, x86::kDs}) s.state.seg[i] = {0, 0xffffffff, 8, static_cast<uint16_t>(i == x86::kCs ? 0xc09b : 0xc093)};
  CHECK_OK(owner.machine->setState(0, s));
  owner.run();
  CHECK(owner.serveUntil([&] { return !owner.events.empty(); }));
  if (owner.events.empty()) return;
  CHECK(owner.events[0].kind == Event::Kind::Stopped);
  CHECK(owner.events[0].tripleFault);
  CHECK(!owner.events[0].message.empty());
  CHECK(owner.events[0].snapshot != nullptr);
  CHECK_OK(owner.machine->reset());
  CHECK_EQ(owner.state().state.rip, 0xfff0u);
  owner.load({0xe6, 0x80, 0xf4});
  owner.machine->resume();
  CHECK(owner.serveUntil([&] { return owner.exits == 1; }));
  CHECK(!owner.machine->reset().empty());
  CHECK(owner.pause());
}

TEST(kvm_pause_resume_reset_a_thousand_times) {
  if (!present()) return;
  Owner owner(2);
  owner.load({0xe6, 0x80, 0x40, 0xeb, 0xfb});  // again: out 80h, al; inc ax; jmp again
  owner.run();
  unsigned files = 0, maps = 0, running = 0, wrong = 0;
  uint64_t resident = 0;
  for (unsigned round = 0; round < 1000; ++round) {
    const unsigned before = owner.exits;
    if (round % 3 == 0 && !owner.serveUntil([&] { return owner.exits > before + 2; })) ++wrong;
    if (!owner.pause()) ++wrong;
    const CpuSnapshot s = owner.state();
    // At an instruction boundary: never in the middle of the OUT, whose exit may have been served already.
    if (s.state.rip != 0x7c00 && s.state.rip != 0x7c02 && s.state.rip != 0x7c03) ++wrong;
    if (owner.state(1).state.activity != x86::Activity::WaitForSipi) ++wrong;
    if (round % 10 == 0) {
      CHECK_OK(owner.machine->reset());
      owner.enter(0x7c00);
    }
    if (round == 100) files = openFiles(), maps = mappings(), running = threads(), resident = residentKiB();
    owner.machine->resume();
    if (wrong > 3) break;
  }
  CHECK_EQ(wrong, 0u);
  CHECK(owner.pause());
  CHECK_EQ(openFiles(), files);
  CHECK_EQ(threads(), running);
  CHECK(mappings() <= maps + 2);
  CHECK(residentKiB() < resident + 1024);
}

TEST(kvm_machines_come_and_go_without_a_trace) {
  if (!present()) return;
  unsigned files = 0, maps = 0, running = 0;
  const unsigned rounds = std::getenv("LODGE_TEST_FULL") ? 1010 : 110;  // KVM takes some 30 ms for each
  uint64_t resident = 0;
  for (unsigned round = 0; round < rounds; ++round) {
    if (round == 10) files = openFiles(), running = threads(), maps = mappings(), resident = residentKiB();
    Owner owner(2);
    owner.load({0xe6, 0x80, 0xeb, 0xfc});
    if (round % 3 == 0) continue;  // never started
    owner.run();
    if (round % 3 == 1) CHECK(owner.serveUntil([&] { return owner.exits >= 3; }));
    owner.machine->destroy();  // while it runs, or waits for an answer
    CHECK_EQ(owner.machine->serve(-1, 0), kServeIdle);
    CHECK(!owner.machine->start().empty());
  }
  CHECK_EQ(openFiles(), files);
  CHECK_EQ(threads(), running);
  CHECK(mappings() <= maps + 2);
  CHECK(residentKiB() < resident + 2048);
}
