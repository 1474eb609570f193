#include "accelerator/software/machine.h"

#include <chrono>
#include <cstring>
#include <thread>

#include "testing/test.h"

using namespace lodge;
using namespace lodge::software;
using x86::Activity;
using x86::IoStatus;
using x86::RunExit;

namespace {

/** A processor whose instructions are calls of one function. */
class ScriptedCpu final : public x86::Cpu {
 public:
  enum class Step { Next, Halt, Fault, Abandoned };
  using Program = std::function<Step(ScriptedCpu&)>;

  ScriptedCpu(const x86::CpuConfig& config, PhysicalMemory& memory, x86::Environment& env, Program program)
      : config(config), memory(memory), env(env), program_(std::move(program)) {}

  void reset() noexcept override {
    state_ = {};
    state_.rflags = 2;
    state_.xcr0 = 1;
    state_.activity = config.index == 0 ? Activity::Runnable : Activity::WaitForSipi;
  }
  RunExit run() noexcept override {
    for (;;) {
      const uint32_t pending = requests_.load();
      if (pending & x86::kRequestTlbFlush) clearRequest(x86::kRequestTlbFlush);
      if (pending & x86::kRequestSample) {
        clearRequest(x86::kRequestSample);
        env.sample();
      }
      if (pending & x86::kRequestInit) {
        clearRequest(x86::kRequestInit);
        state_.activity = Activity::WaitForSipi;
      }
      if (pending & x86::kRequestStartup) {
        clearRequest(x86::kRequestStartup);
        if (state_.activity == Activity::WaitForSipi) {
          state_.activity = Activity::Runnable;
          state_.seg[x86::kCs].selector = static_cast<uint16_t>(startupVector.load() << 8);
        }
      }
      if (pending & x86::kRequestStop) return RunExit::StopRequested;
      if (state_.activity == Activity::WaitForSipi) return RunExit::WaitForSipi;
      if ((pending & x86::kRequestInterrupt) && (state_.rflags & x86::kIf)) {
        clearRequest(x86::kRequestInterrupt);
        if (const int vector = env.acknowledgeInterrupt(); vector >= 0) {
          state_.activity = Activity::Runnable;
          vectors.push_back(vector);
        }
        if (looksAgain && env.interruptPending()) request(x86::kRequestInterrupt);
      }
      if (state_.activity == Activity::Halted) return RunExit::Halted;
      switch (program_(*this)) {
        case Step::Next:
          ++state_.rip;
          instructions_.fetch_add(1, std::memory_order_relaxed);
          break;
        case Step::Halt:
          ++state_.rip;
          state_.activity = Activity::Halted;
          break;
        case Step::Fault: return RunExit::TripleFault;
        case Step::Abandoned: return RunExit::Abandoned;
      }
    }
  }
  std::string message() const override { return "scripted"; }
  x86::State& state() noexcept override { return state_; }
  void stateChanged() noexcept override {}
  bool readMsr(uint32_t index, uint64_t& value) noexcept override {
    value = lstar_;
    return index == 0xc0000082;
  }
  bool writeMsr(uint32_t index, uint64_t value) noexcept override {
    if (index != 0xc0000082) return false;
    lstar_ = value;
    return true;
  }
  void setDebugPoints(const x86::DebugPoints& points) noexcept override { debugPoints = points; }
  void setStep(bool) noexcept override {}
  x86::DebugStop debugStop() const noexcept override { return {}; }
  void request(uint32_t bits) noexcept override { requests_.fetch_or(bits); }
  uint32_t requests() const noexcept override { return requests_.load(); }
  void clearRequest(uint32_t bits) noexcept override { requests_.fetch_and(~bits); }
  uint64_t instructions() const noexcept override { return instructions_.load(std::memory_order_relaxed); }
  const x86::CpuCounters& counters() const noexcept override { return counters_; }
  x86::Place place() const noexcept override { return {state_.rip, false, false, state_.activity != Activity::Runnable}; }

  void apic(uint32_t offset, uint32_t value) { env.mmioWrite(0xfee00000 + offset, 4, &value); }
  Step out(uint16_t port, uint32_t value) {
    return env.portOut(port, 4, 1, &value) == IoStatus::Done ? Step::Next : Step::Abandoned;
  }

  const x86::CpuConfig config;
  PhysicalMemory& memory;
  x86::Environment& env;
  std::vector<int> vectors;
  x86::DebugPoints debugPoints;
  bool looksAgain = true;  ///< false: as in a handler that runs with interrupts off

 private:
  Program program_;
  x86::State state_;
  std::atomic<uint32_t> requests_{0};
  std::atomic<uint64_t> instructions_{0};
  uint64_t lstar_ = 0;
  x86::CpuCounters counters_;
};
using Step = ScriptedCpu::Step;

/** The owner's side: what the JS thread does. */
struct Owner {
  alignas(64) uint8_t records[4 * exit_record::kStride] = {};
  std::mutex lock;
  std::condition_variable woken;
  unsigned wakes = 0, wakesSeen = 0;
  int answered = -1;  // the vCPU whose exit the next serve() completes
  std::unique_ptr<Machine> machine;
  std::vector<Event> events;
  std::function<void(unsigned vcpu, uint8_t* record)> onExit = [](unsigned, uint8_t*) {};

  explicit Owner(unsigned cpus, ScriptedCpu::Program program) {
    MachineConfig config;
    config.cpus = cpus;
    config.exitRecords = records;
    config.wake = [this] {
      std::lock_guard hold(lock);
      ++wakes;
      woken.notify_all();
    };
    Error error;
    machine = SoftwareMachine::create(
        config, [program](const x86::CpuConfig& cpu, PhysicalMemory& memory, x86::Environment& env) {
          return std::make_unique<ScriptedCpu>(cpu, memory, env, program);
        }, error);
    CHECK_EQ(error.size(), 0u);
  }

  static uint32_t field(const uint8_t* record, unsigned offset) {
    uint32_t value;
    std::memcpy(&value, record + offset, 4);
    return value;
  }

  /** Serves until `done`, going back to "the event loop" when idle; false after ten seconds. */
  bool serveUntil(const std::function<bool()>& done, unsigned spin = 20) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    int& completed = answered;
    while (!done()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      const int next = machine->serve(completed, spin);
      completed = -1;
      if (next >= 0) {
        onExit(static_cast<unsigned>(next), records + next * exit_record::kStride);
        completed = next;
      } else if (next == kServeEvents) {
        for (Event& event : machine->takeEvents()) events.push_back(std::move(event));
      } else {
        std::unique_lock hold(lock);
        woken.wait_for(hold, std::chrono::milliseconds(5), [&] { return wakes != wakesSeen; });
        wakesSeen = wakes;
      }
    }
    return true;
  }
  bool saw(Event::Kind kind) const {
    for (const Event& event : events) {
      if (event.kind == kind) return true;
    }
    return false;
  }
  void run() {
    CHECK_EQ(machine->start().size(), 0u);
    machine->resume();
  }
  bool pauseAndWait() {
    events.clear();
    machine->pause();
    return serveUntil([&] { return saw(Event::Kind::Paused); });
  }
};

}  // namespace

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
    CHECK_EQ(Owner::field(record, exit_record::kWidth), 4u);
    if (Owner::field(record, exit_record::kKind) == 1) {
      CHECK_EQ(Owner::field(record, exit_record::kAddressLow), 0x1234u);
      CHECK_EQ(Owner::field(record, exit_record::kCount), 3u);
      const uint32_t values[3] = {expected, 77, 5};
      std::memcpy(record + exit_record::kData, values, sizeof values);
    } else {
      CHECK_EQ(Owner::field(record, exit_record::kAddressLow), 0x99u);
      CHECK_EQ(Owner::field(record, exit_record::kData), expected + 5);
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
  CHECK_EQ(Owner::field(owner.records, posted_write::kCount), 20u);
  CHECK_EQ(Owner::field(owner.records, posted_write::kFirst + 19 * posted_write::kBytes + 4), 0x50u);
  CHECK(owner.serveUntil([&] { return owner.saw(Event::Kind::Paused); }));
  CHECK_EQ(owner.machine->stats()[0].allExits(), 0u);

  CHECK_EQ(owner.machine->reset().size(), 0u);
  owner.machine->removeQuickPort(0);
  owner.machine->resume();
  bool asked = false;
  owner.onExit = [&](unsigned, uint8_t* record) { asked = Owner::field(record, exit_record::kAddressLow) == 0x3f6; };
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
  owner.onExit = [&](unsigned, uint8_t* record) { ticks = Owner::field(record, exit_record::kData); };
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
