// A machine of software processors: exits, doorbells, pause, reset, and what changes while it runs.
#include "accelerator/software/scripted_machine.h"

#include <chrono>
#include <cstring>
#include <thread>

using namespace lodge;
using namespace lodge::software;
using Step = ScriptedCpu::Step;

TEST(machine_port_exits_are_answered_in_order) {
  Owner owner(1, [](ScriptedCpu& cpu) {
    const auto n = static_cast<uint32_t>(cpu.state().rip);
    if (n == 2000) return Step::Halt;
    uint32_t value[3] = {};
    if (cpu.env.portIn(0x1234, 4, 3, value) != IoStatus::Done) return Step::Abandoned;
    return cpu.out(0x99, value[0] + value[2]);
  });
  uint32_t expected = 0;
  bool last = false;
  owner.onExit = [&](unsigned vcpu, uint8_t* record) {
    CHECK_EQ(vcpu, 0u);
    CHECK_EQ(testing::field(record, exit_record::kWidth), 4u);
    if (testing::field(record, exit_record::kKind) == 1) {
      CHECK_EQ(testing::field(record, exit_record::kAddressLow), 0x1234u);
      CHECK_EQ(testing::field(record, exit_record::kCount), 3u);
      const uint32_t values[3] = {expected, 77, 5};
      std::memcpy(record + exit_record::kData, values, sizeof values);
    } else {
      CHECK_EQ(testing::field(record, exit_record::kAddressLow), 0x99u);
      CHECK_EQ(testing::field(record, exit_record::kData), expected + 5);
      last = ++expected == 2000;
    }
  };
  owner.run();
  CHECK(owner.serveUntil([&] { return last; }));
  CHECK(owner.serveUntil([&] { return owner.machine->stats()[0].halted; }));
  CHECK_EQ(owner.machine->stats()[0].allExits(), 4000u);
}

TEST(machine_doorbells_do_not_wait_and_coalesce) {
  Owner owner(1, [](ScriptedCpu& cpu) {
    const uint16_t queue = static_cast<uint16_t>(cpu.state().rip % 3);
    if (cpu.state().rip == 300) return cpu.out(0x10, 1);
    if (cpu.state().rip == 301) return Step::Halt;
    cpu.env.mmioWrite(0xe0000000, 2, &queue);
    return Step::Next;
  });
  CHECK_EQ(owner.machine->addDoorbell(DoorbellKind::Mmio, 0xe0000000, 2, 7).size(), 0u);
  CHECK(!owner.machine->addDoorbell(DoorbellKind::Mmio, 0xe0000000, 2, 8).empty());
  CHECK_EQ(owner.machine->addDoorbell(DoorbellKind::Mmio, 0xe0000000, 4, 9).size(), 0u);
  bool finished = false;
  unsigned exits = 0;
  owner.onExit = [&](unsigned, uint8_t*) { finished = true, ++exits; };
  owner.run();
  CHECK(owner.serveUntil([&] { return finished; }));
  CHECK(owner.serveUntil([&] { return owner.machine->stats()[0].halted; }));
  CHECK_EQ(exits, 1u);
  bool seen[3] = {};
  for (const Event& event : owner.events) {
    CHECK_EQ(event.doorbell, 7u);
    seen[event.value] = true;
  }
  CHECK(seen[0] && seen[1] && seen[2]);
}

TEST(machine_quick_ports_do_not_wait_and_a_pause_comes_behind_what_was_posted) {
  Owner owner(1, [](ScriptedCpu& cpu) {
    uint8_t value = 0;
    if (cpu.env.portIn(0x3f6, 1, 1, &value) != IoStatus::Done) return Step::Abandoned;
    if (cpu.state().rip < 20 && cpu.env.portOut(0x1f1, 1, 1, &value) != IoStatus::Done) return Step::Abandoned;
    return Step::Next;
  });
  const auto say = [&](unsigned number, uint32_t word) { std::memcpy(owner.records + quick_port::kWords + 4 * number, &word, 4); };
  say(0, quick_port::kRead | 0x50 << quick_port::kValueShift);
  say(1, quick_port::kWrite);
  CHECK_EQ(owner.machine->addQuickPort(0x3f6, 1, 0).size(), 0u);
  CHECK_EQ(owner.machine->addQuickPort(0x1f1, 1, 1).size(), 0u);
  CHECK(!owner.machine->addQuickPort(0x1f1, 1, 2).empty());
  CHECK(!owner.machine->addQuickPort(0x1f2, 1, 1).empty());
  CHECK(!owner.machine->addQuickPort(0x1f2, 1, quick_port::kPorts).empty());
  owner.run();
  CHECK(owner.serveUntil([&] { return owner.machine->stats()[0].quick > 1000; }));
  owner.machine->pause();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  int first = kServeIdle;
  while (first == kServeIdle && std::chrono::steady_clock::now() < deadline) first = owner.machine->serve(-1, 1000);
  CHECK_EQ(first, kServePosted);
  CHECK_EQ(testing::field(owner.records, posted_write::kCount), 20u);
  CHECK_EQ(testing::field(owner.records, posted_write::kFirst + 19 * posted_write::kBytes + 4), 0x50u);
  CHECK(owner.serveUntil([&] { return owner.saw(Event::Kind::Paused); }));
  CHECK_EQ(owner.machine->stats()[0].allExits(), 0u);

  CHECK_EQ(owner.machine->reset().size(), 0u);
  owner.machine->removeQuickPort(0);
  owner.machine->resume();
  bool asked = false;
  owner.onExit = [&](unsigned, uint8_t* record) { asked = testing::field(record, exit_record::kAddressLow) == 0x3f6; };
  CHECK(owner.serveUntil([&] { return asked; }));
}

TEST(machine_pause_waits_for_the_answer_of_an_exit) {
  Owner owner(1, [](ScriptedCpu& cpu) { return cpu.out(0x10, 1); });
  owner.run();
  int vcpu = -1;
  CHECK(owner.serveUntil([&] {
    if (vcpu < 0) vcpu = owner.machine->serve(-1, 0);
    return vcpu >= 0;
  }));
  owner.machine->pause();
  CpuSnapshot snapshot;
  CHECK(!owner.machine->getState(0, snapshot).empty());
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  CHECK_EQ(owner.machine->serve(-1, 0), kServeIdle);
  owner.machine->serve(vcpu, 0);
  CHECK(owner.serveUntil([&] { return owner.saw(Event::Kind::Paused); }));
  CHECK(owner.machine->getState(0, snapshot).empty());
  CHECK(snapshot.state.rip >= 1);
  // Each further pause() is answered too.
  CHECK(owner.pauseAndWait());
}

TEST(machine_destroy_abandons_an_exit) {
  Owner owner(2, [](ScriptedCpu& cpu) { return cpu.out(0x10, 1); });
  owner.run();
  CHECK(owner.serveUntil([&] { return owner.machine->serve(-1, 0) >= 0; }));
  owner.machine->destroy();
  CHECK_EQ(owner.machine->serve(-1, 100), kServeIdle);
  CHECK(!owner.machine->start().empty());
  CHECK(!owner.machine->map(0, 0, 0, 4096).empty());
}

TEST(machine_triple_fault_stops_everybody) {
  std::atomic<bool> secondRuns{false};
  Owner owner(2, [&](ScriptedCpu& cpu) {
    if (cpu.config.index == 1) {
      secondRuns = true;
      return Step::Next;
    }
    if (cpu.state().rip == 0) {
      cpu.apic(0xf0, 0x1ff);
      cpu.apic(0x310, 1 << 24);
      cpu.apic(0x300, 0x4500);
      cpu.apic(0x300, 0x4642);
    }
    return cpu.state().rip < 1000 || !secondRuns ? Step::Next : Step::Fault;
  });
  owner.run();
  CHECK(owner.serveUntil([&] { return owner.saw(Event::Kind::Stopped); }));
  const Event& event = owner.events.front();
  CHECK(event.tripleFault);
  CHECK_EQ(event.vcpu, 0u);
  CHECK(event.snapshot->state.rip >= 1000);
  CpuSnapshot other;
  CHECK(owner.machine->getState(1, other).empty());
  CHECK_EQ(other.state.seg[x86::kCs].selector, 0x4200);
  CHECK(owner.machine->reset().empty());
  CHECK(owner.machine->getState(0, other).empty());
  CHECK_EQ(other.state.rip, 0u);
  CHECK(owner.machine->getState(1, other).empty());
  CHECK(other.state.activity == Activity::WaitForSipi);
}

TEST(machine_map_changes_while_cpus_run) {
  Owner owner(2, [](ScriptedCpu& cpu) {
    if (cpu.config.index == 0 && cpu.state().rip == 0) {
      cpu.apic(0x310, 1 << 24);
      cpu.apic(0x300, 0x4500);
      cpu.apic(0x300, 0x4642);
    }
    const PageEntry page = cpu.memory.page(0x100000);
    if (page.host != nullptr && page.host[0] != 0x5a) return Step::Fault;
    const uint32_t bell = static_cast<uint32_t>(cpu.state().rip & 3);
    cpu.env.portOut(0x40, 1, 1, &bell);
    return cpu.state().rip % 64 == 0 ? cpu.out(0x2000, bell) : Step::Next;
  });
  RegionId ram;
  CHECK(owner.machine->memory()->addRegion(RegionKind::Ram, 0x1000, ram).empty());
  owner.machine->memory()->regionHost(ram)[0] = 0x5a;
  owner.run();
  unsigned changes = 0;
  owner.onExit = [&](unsigned, uint8_t*) {
    ++changes;
    if (changes % 2 == 0) {
      CHECK(owner.machine->map(ram, 0, 0x100000, 0x1000).empty());
      CHECK(owner.machine->addDoorbell(DoorbellKind::Port, 0x2000, 2, 1).empty());
    } else {
      CHECK(owner.machine->unmap(0x100000, 0x1000).empty());
      owner.machine->removeDoorbell(1);
    }
  };
  CHECK(owner.serveUntil([&] { return changes >= 400 && owner.machine->stats()[1].instructions > 100; }));
  CHECK(owner.pauseAndWait());
  CHECK(!owner.saw(Event::Kind::Stopped));
}

TEST(machine_pause_and_resume_under_load) {
  Owner owner(4, [](ScriptedCpu& cpu) {
    if (cpu.config.index == 0 && cpu.state().rip == 0) {
      cpu.apic(0x300, 0xc4500);
      cpu.apic(0x300, 0xc4642);
    }
    return cpu.state().rip % 16 == 0 ? cpu.out(0x2000, 0) : Step::Next;
  });
  owner.run();
  for (unsigned round = 0; round < 100; ++round) {
    CHECK(owner.pauseAndWait());
    CpuSnapshot snapshot;
    for (unsigned vcpu = 0; vcpu < 4; ++vcpu) CHECK(owner.machine->getState(vcpu, snapshot).empty());
    owner.machine->resume();
    unsigned served = 0;
    owner.onExit = [&](unsigned, uint8_t*) { ++served; };
    CHECK(owner.serveUntil([&] { return served >= 20; }));
  }
}

TEST(machine_state_is_checked_and_rolled_back) {
  Owner owner(1, [](ScriptedCpu&) { return Step::Halt; });
  CpuSnapshot snapshot;
  CHECK(owner.machine->getState(0, snapshot).empty());
  snapshot.state.rip = 0x1234;
  snapshot.state.cr8 = 9;
  snapshot.state.xcr0 = 1;
  snapshot.msrs = {{0x10, 5000}, {0xc0000082, 0x77}};
  CHECK(owner.machine->setState(0, snapshot).empty());
  CpuSnapshot bad = snapshot;
  bad.state.cr0 = 0x80000000;
  CHECK(!owner.machine->setState(0, bad).empty());
  bad = snapshot;
  bad.state.rip = 0x9999;
  bad.msrs = {{0xc0000082, 0x88}, {0x12345, 1}};
  CHECK(!owner.machine->setState(0, bad).empty());
  CHECK(!owner.machine->setState(1, snapshot).empty());
  CpuSnapshot now;
  CHECK(owner.machine->getState(0, now).empty());
  CHECK_EQ(now.state.rip, 0x1234u);
  CHECK_EQ(now.state.cr8, 9u);
  CHECK_EQ(now.msrs[0].second, 5000u);
  bool found = false;
  for (const auto& [msr, value] : now.msrs) {
    if (msr == 0xc0000082) found = value == 0x77;
  }
  CHECK(found);
}

TEST(machine_eoi_by_a_bit_in_memory_loses_no_interrupt) {
  constexpr Gpa kWord = 0x100;
  std::atomic<unsigned> deferred{0}, taken{0};
  Owner owner(1, [&](ScriptedCpu& cpu) {
    if (cpu.vectors.empty()) {
      cpu.looksAgain = false;
      cpu.env.setPvEoi(kWord | 1);
      cpu.state().rflags |= x86::kIf;
      cpu.apic(0xf0, 0x1ff), cpu.apic(0x3e0, 0xb), cpu.apic(0x320, 0x40 | 1 << 17), cpu.apic(0x380, 500'000);
      return Step::Halt;
    }
    uint32_t word = 0;
    CHECK(cpu.memory.read(kWord, &word, 4));
    if (word & 1) {
      word &= ~1u;
      CHECK(cpu.memory.write(kWord, &word, 4));
      ++deferred;
    } else {
      cpu.apic(0xb0, 0);
    }
    if (++taken == 200) cpu.apic(0x320, 1 << 16);
    return Step::Halt;
  });
  RegionId ram;
  CHECK_EQ(owner.machine->memory()->addRegion(RegionKind::Ram, 4096, ram).size(), 0u);
  CHECK_EQ(owner.machine->map(ram, 0, 0, 4096).size(), 0u);
  owner.run();
  CHECK(owner.serveUntil([&] { return taken == 200; }));
  CHECK(deferred > 100);
}
