#include "testing/guest_program.h"

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <thread>

#include "accelerator/kvm/host.h"
#include "accelerator/kvm/machine.h"
#include "testing/test.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86::testing {

std::vector<uint32_t> runProgram(const GuestProgram& program) {
  Guest g;
  g.memory.write(kProgramAt, program.begin, static_cast<uint64_t>(program.end - program.begin));
  g.state().gpr[kRbx] = program.argument;
  g.enterReal(0, kProgramAt);
  // A program that went astray may run for ever.
  std::mutex lock;
  std::condition_variable ended;
  bool done = false;
  std::thread guard([&] {
    std::unique_lock hold(lock);
    if (!ended.wait_for(hold, std::chrono::seconds(10), [&] { return done; })) g.cpu->request(kRequestStop);
  });
  const RunExit exit = g.run();
  {
    const std::lock_guard hold(lock);
    done = true;
  }
  ended.notify_all();
  guard.join();
  std::vector<uint32_t> words;
  for (const FakeEnvironment::Access& a : g.env.ports) {
    if (a.write && a.address == kProgramPort) words.push_back(static_cast<uint32_t>(a.value));
  }
  if (exit == RunExit::Halted && !words.empty() && words.back() == kProgramEnd)
    words.pop_back();
  else
    words.push_back(0xdead0000 | static_cast<uint32_t>(exit));
  return words;
}

std::vector<uint32_t> runProgramOnKvm(const GuestProgram& program, std::string& why) {
  std::vector<uint32_t> words;
  if (const kvm::Descriptor device = kvm::openDevice(why); !device) return words;
  alignas(64) uint8_t records[exit_record::kStride] = {};
  std::mutex lock;
  std::condition_variable woken;
  unsigned wakes = 0, seen = 0;
  MachineConfig config;
  config.cpus = 1;
  config.exitRecords = records;
  config.wake = [&] {
    const std::lock_guard hold(lock);
    ++wakes;
    woken.notify_all();
  };
  const std::unique_ptr<Machine> machine = kvm::KvmMachine::create(config, why);
  if (!machine) return words;
  RegionId ram = 0;
  if (!(why = machine->memory()->addRegion(RegionKind::Ram, 1 << 20, ram)).empty()) return words;
  if (!(why = machine->map(ram, 0, 0, 1 << 20)).empty()) return words;
  machine->memory()->write(kProgramAt, program.begin, static_cast<uint64_t>(program.end - program.begin));
  CpuSnapshot s{};
  if (!(why = machine->getState(0, s)).empty()) return words;
  for (unsigned i : {kEs, kCs, kSs, kDs, kFs, kGs})
    s.state.seg[i] = {0, 0xffff, 0, static_cast<uint16_t>(i == kCs ? 0x9b : 0x93)};
  s.state.rip = kProgramAt, s.state.rflags = 2, s.state.gpr[kRsp] = 0x7000, s.state.gpr[kRbx] = program.argument;
  if (!(why = machine->setState(0, s)).empty() || !(why = machine->start()).empty()) return words;
  machine->resume();

  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  int answered = -1;
  for (;;) {
    if (std::chrono::steady_clock::now() > deadline) {
      why = "it does not end";
      words.push_back(0xdead00ff);
      return words;
    }
    const int next = machine->serve(answered, 20);
    answered = -1;
    if (next >= 0) {
      const auto field = [&](unsigned offset) {
        uint32_t value;
        std::memcpy(&value, records + offset, 4);
        return value;
      };
      answered = next;
      if (static_cast<ExitKind>(field(exit_record::kKind)) != ExitKind::PortOut ||
          field(exit_record::kAddressLow) != kProgramPort)
        continue;
      const uint32_t word = field(exit_record::kData);
      if (word == kProgramEnd) return words;
      words.push_back(word);
    } else if (next == kServeEvents) {
      for (const Event& event : machine->takeEvents()) {
        if (event.kind == Event::Kind::Paused) continue;
        why = event.message;
        // KVM's own inability is no verdict on the program; a triple fault is.
        if (event.tripleFault) words.push_back(0xdead0000);
        return words;
      }
    } else {
      std::unique_lock hold(lock);
      woken.wait_for(hold, std::chrono::milliseconds(100), [&] { return wakes != seen; });
      seen = wakes;
    }
  }
}

void checkWords(const char* who, const std::vector<uint32_t>& words, const std::vector<uint32_t>& expected, const char* file,
                int line, bool part) {
  const size_t count = part ? words.size() : std::max(words.size(), expected.size());
  for (size_t n = 0; n < count; ++n) {
    if (n < words.size() && n < expected.size() && words[n] == expected[n]) continue;
    char text[200];
    int at = std::snprintf(text, sizeof text, "%s, word %zu of %zu: ", who, n, expected.size());
    at += n < words.size() ? std::snprintf(text + at, sizeof text - static_cast<size_t>(at), "%08x", words[n])
                           : std::snprintf(text + at, sizeof text - static_cast<size_t>(at), "missing");
    std::snprintf(text + at, sizeof text - static_cast<size_t>(at), n < expected.size() ? ", not %08x" : ", not expected",
                  n < expected.size() ? expected[n] : 0);
    ::lodge::testing::fail(file, line, text);
    return;
  }
}

}  // namespace lodge::x86::testing
