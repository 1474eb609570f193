// How a machine spends its processors' time: halts and timers, clocks that stop in a pause, caps and quotas, samples.
#include "accelerator/software/scripted_machine.h"

#include <chrono>
#include <cstring>
#include <thread>

using namespace lodge;
using namespace lodge::software;
using Step = ScriptedCpu::Step;

TEST(machine_halted_cpu_wakes_for_its_timer_only) {
  Owner owner(1, [](ScriptedCpu& cpu) {
    if (cpu.state().rip == 0) {
      cpu.state().rflags |= x86::kIf;
      cpu.apic(0xf0, 0x1ff);
      cpu.apic(0x3e0, 0xb);
      cpu.apic(0x320, 0x20040);
      cpu.apic(0x380, 500'000);
    } else {
      cpu.apic(0xb0, 0);
    }
    if (cpu.vectors.size() < 10) return Step::Halt;
    cpu.apic(0x320, 0x10040);
    return cpu.out(0x10, static_cast<uint32_t>(cpu.vectors.size()));
  });
  uint32_t ticks = 0;
  owner.onExit = [&](unsigned, uint8_t* record) { ticks = testing::field(record, exit_record::kData); };
  owner.run();
  CHECK(owner.serveUntil([&] { return ticks != 0; }));
  CHECK_EQ(ticks, 10u);
}

TEST(machine_halted_with_interrupts_off_sleeps) {
  Owner owner(1, [](ScriptedCpu& cpu) {
    cpu.apic(0xf0, 0x1ff);
    return Step::Halt;
  });
  owner.run();
  CHECK(owner.serveUntil([&] { return owner.machine->stats()[0].halted; }));
  owner.machine->sendMsi(0xfee00000, 0x55);
  CHECK(owner.serveUntil([&] { return owner.machine->stats()[0].halted; }));
  const double before = owner.machine->stats()[0].cpuSeconds;
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(owner.machine->stats()[0].cpuSeconds - before < 0.02);
  CHECK(owner.pauseAndWait());
  CpuSnapshot snapshot;
  CHECK(owner.machine->getState(0, snapshot).empty());
  CHECK(snapshot.state.activity == Activity::Halted);
  CHECK_EQ(snapshot.state.rip, 1u);
}

TEST(machine_time_stands_still_while_paused) {
  Owner owner(1, [](ScriptedCpu& cpu) {
    if (cpu.state().rip == 0) cpu.env.writeTsc(1'000'000'000'000);
    return cpu.state().rip < 5 ? Step::Next : Step::Halt;
  });
  owner.run();
  CHECK(owner.serveUntil([&] { return owner.machine->stats()[0].halted; }));
  const auto tsc = [&] {
    CpuSnapshot snapshot;
    CHECK(owner.machine->getState(0, snapshot).empty());
    CHECK_EQ(snapshot.msrs[0].first, 0x10u);
    return snapshot.msrs[0].second;
  };
  CHECK(owner.pauseAndWait());
  const uint64_t at = tsc();
  CHECK(at >= 1'000'000'000'000);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK_EQ(tsc(), at);
  owner.machine->resume();
  CHECK(owner.pauseAndWait());
  const uint64_t later = tsc();
  CHECK(later > at);
  CHECK(later - at < hostTscHz());  // not the 20 ms and all else besides
  CHECK(owner.machine->reset().empty());
  CHECK_EQ(tsc(), 0u);
}

TEST(machine_samples_tell_running_halted_and_waiting_apart) {
  enum : unsigned { kRuns, kHalts, kWaits };
  Owner owner(3, [](ScriptedCpu& cpu) {
    switch (cpu.config.index) {
      case kRuns: return Step::Next;
      case kHalts: return Step::Halt;
      default: return cpu.out(0x99, 1);
    }
  });
  CHECK(!owner.machine->startSampling(1000).empty());  // not started
  // The others wait for a SIPI like every processor but the first.
  for (unsigned vcpu : {+kHalts, +kWaits}) {
    CpuSnapshot snapshot;
    CHECK(owner.machine->getState(vcpu, snapshot).empty());
    snapshot.state.activity = Activity::Runnable;
    snapshot.state.xcr0 = 1;
    CHECK(owner.machine->setState(vcpu, snapshot).empty());
  }
  owner.onExit = [](unsigned, uint8_t*) { std::this_thread::sleep_for(std::chrono::milliseconds(3)); };
  owner.run();
  CHECK(!owner.machine->startSampling(kSampleRateMin - 1).empty());
  CHECK(!owner.machine->startSampling(kSampleRateMax + 1).empty());
  CHECK(owner.machine->startSampling(1000).empty());
  CHECK(!owner.machine->startSampling(1000).empty());  // twice
  uint64_t ticks[3] = {}, device[3] = {}, halted[3] = {};
  CHECK(owner.serveUntil([&] {
    const Samples samples = owner.machine->takeSamples();
    for (const Sample& sample : samples.taken) {
      ticks[sample.vcpu] += sample.ticks;
      if (sample.device) device[sample.vcpu] += sample.ticks;
      CHECK(!sample.place.user && !sample.place.translated && !sample.place.halted);
    }
    for (unsigned vcpu = 0; vcpu < 3; ++vcpu) halted[vcpu] += samples.halted[vcpu];
    return ticks[kRuns] >= 50 && halted[kHalts] >= 50 && device[kWaits] >= 50;
  }));
  CHECK_EQ(device[kRuns], 0u);
  CHECK(halted[kRuns] < ticks[kRuns]);
  CHECK(ticks[kHalts] < halted[kHalts]);
  owner.machine->stopSampling();
  owner.machine->takeSamples();
  CHECK(owner.machine->startSampling(10'000).empty());
  CHECK(owner.machine->stats()[kHalts].haltedSeconds.value_or(0) > 0);
  owner.machine->destroy();  // while it samples
}

TEST(samples_that_find_no_room_are_counted) {
  SampleBuffer buffer;
  buffer.prepare();
  buffer.record({0x1000, false, false, false}, false);  // nobody asked
  for (unsigned n = 0; n < 10'000; ++n) {
    buffer.owe(2);
    buffer.record({n, true, false, false}, false);
  }
  Samples out;
  buffer.take(3, out);
  CHECK(out.taken.size() < 10'000);
  CHECK_EQ(out.taken.size() * 2 + out.lost, 20'000u);
  CHECK_EQ(out.taken[17].place.linear, 17u);
  CHECK_EQ(unsigned{out.taken[17].vcpu}, 3u);
  buffer.owe(1);
  buffer.record({0x2000, false, false, true}, false);
  buffer.owe(5);
  buffer.prepare();
  Samples empty;
  buffer.take(3, empty);
  CHECK(empty.taken.empty());
  CHECK_EQ(empty.halted[0] + empty.lost, 0u);
}

TEST(machine_quota_is_for_all_processors_together) {
  Owner owner(2, [](ScriptedCpu& cpu) {
    if (cpu.config.index == 0 && cpu.state().rip == 0) {
      cpu.apic(0x300, 0xc4500);
      cpu.apic(0x300, 0xc4642);
    }
    return Step::Next;
  });
  owner.run();
  CHECK(!owner.machine->setCpuQuota(-1).empty());
  CHECK_EQ(owner.machine->setCpuQuota(0.2).size(), 0u);
  const auto used = [&] {
    double sum = 0;
    for (const VcpuStats& vcpu : owner.machine->stats()) sum += vcpu.cpuSeconds;
    return sum;
  };
  const auto start = std::chrono::steady_clock::now();
  const double before = used();
  owner.serveUntil([&] { return std::chrono::steady_clock::now() - start > std::chrono::milliseconds(500); });
  const double passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  CHECK(used() - before <= passed * 0.2 + 0.05);
  CHECK(owner.machine->stats()[0].withheldSeconds > 0);
  // With a cap beside it either may go first.
  CHECK_EQ(owner.machine->setCpuCap(50).size(), 0u);
  CHECK_EQ(owner.machine->setCpuQuota(0).size(), 0u);
  CHECK_EQ(owner.machine->setCpuCap(100).size(), 0u);
  CHECK(owner.pauseAndWait());
}

TEST(machine_cap_withholds_processor_time_and_a_pause_is_prompt_meanwhile) {
  Owner owner(2, [](ScriptedCpu& cpu) { return cpu.config.index == 0 ? Step::Next : Step::Halt; });
  owner.run();
  CHECK(!owner.machine->setCpuCap(0).empty());
  CHECK(!owner.machine->setCpuCap(101).empty());
  CHECK_EQ(owner.machine->setCpuCap(10).size(), 0u);
  const auto start = std::chrono::steady_clock::now();
  const double before = owner.machine->stats()[0].cpuSeconds;
  owner.serveUntil([&] { return std::chrono::steady_clock::now() - start > std::chrono::milliseconds(500); });
  const double used = owner.machine->stats()[0].cpuSeconds - before;
  const double passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  // Only from above: a busy host gives less. One tick of the governor may be overdrawn.
  CHECK(used <= passed * 0.1 + 0.05);
  for (unsigned round = 0; round < 50; ++round) {
    CHECK_EQ(owner.machine->setCpuCap(round % 2 ? 100 : 1).size(), 0u);
    CHECK(owner.pauseAndWait());
    CpuSnapshot snapshot{};
    CHECK_EQ(owner.machine->getState(0, snapshot).size(), 0u);
    owner.machine->resume();
  }
  CHECK_EQ(owner.machine->setCpuCap(1).size(), 0u);
  owner.machine->destroy();
  CHECK(!owner.machine->setCpuCap(50).empty());
}
