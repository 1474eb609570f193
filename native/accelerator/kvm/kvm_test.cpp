#include "accelerator/kvm/kvm.h"

#include <dirent.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <mutex>

#include "accelerator/kvm/host.h"
#include "accelerator/kvm/machine.h"
#include "accelerator/kvm/slots.h"
#include "testing/test.h"

using namespace lodge;
using namespace lodge::kvm;

#define CHECK_OK(expression)                                                                    \
  do {                                                                                          \
    const Error failure = (expression);                                                         \
    if (!failure.empty()) ::lodge::testing::fail(__FILE__, __LINE__, #expression ": " + failure); \
  } while (0)

namespace {

/** False, said once, where there is no KVM to test. */
bool present() {
  static const bool is = [] {
    Error error;
    const Descriptor device = openDevice(error);
    if (!device) std::fprintf(stderr, "KVM tests skipped: %s\n", error.c_str());
    return static_cast<bool>(device);
  }();
  return is;
}

uint32_t field(const uint8_t* record, unsigned offset) {
  uint32_t value;
  std::memcpy(&value, record + offset, 4);
  return value;
}

/** A machine with 1 MiB of RAM, and the owner's side of it: what the JS thread does. */
struct Owner {
  alignas(64) uint8_t records[2 * exit_record::kStride] = {};
  std::mutex lock;
  std::condition_variable woken;
  unsigned wakes = 0, seen = 0;
  int answered = -1;
  std::unique_ptr<Machine> machine;
  std::vector<Event> events;
  RegionId ram = 0;
  unsigned exits = 0;
  /** Kind, address, width and count of an exit, and its data. */
  std::function<void(ExitKind, uint64_t, unsigned, unsigned, uint8_t*)> onExit = [](ExitKind, uint64_t, unsigned, unsigned, uint8_t*) {};

  explicit Owner(unsigned cpus = 1) {
    MachineConfig config;
    config.cpus = cpus;
    config.exitRecords = records;
    config.wake = [this] {
      std::lock_guard hold(lock);
      ++wakes;
      woken.notify_all();
    };
    Error error;
    machine = KvmMachine::create(config, error);
    CHECK_OK(error);
    CHECK_OK(machine->memory()->addRegion(RegionKind::Ram, 1 << 20, ram));
    CHECK_OK(machine->map(ram, 0, 0, 1 << 20));
  }

  /** `code` at 0:7C00, and processor 0 there in real mode. */
  void load(std::initializer_list<int> code) {
    uint64_t at = 0x7c00;
    for (int byte : code) {
      const auto b = static_cast<uint8_t>(byte);
      machine->memory()->write(at++, &b, 1);
    }
    enter(0x7c00);
  }
  void enter(uint64_t ip) {
    CpuSnapshot s = state();
    for (unsigned i : {x86::kEs, x86::kCs, x86::kSs, x86::kDs, x86::kFs, x86::kGs}) {
      s.state.seg[i] = {0, 0xffff, 0, static_cast<uint16_t>(i == x86::kCs ? 0x9b : 0x93)};
    }
    s.state.rip = ip, s.state.rflags = 2, s.state.gpr[x86::kRsp] = 0x7000;
    CHECK_OK(machine->setState(0, s));
  }
  CpuSnapshot state(unsigned vcpu = 0) {
    CpuSnapshot s{};
    CHECK_OK(machine->getState(vcpu, s));
    return s;
  }

  bool serveUntil(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!done()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      const int next = machine->serve(answered, 20);
      answered = -1;
      if (next >= 0) {
        uint8_t* const r = records + next * exit_record::kStride;
        ++exits;
        onExit(static_cast<ExitKind>(field(r, exit_record::kKind)),
               field(r, exit_record::kAddressLow) | static_cast<uint64_t>(field(r, exit_record::kAddressHigh)) << 32,
               field(r, exit_record::kWidth), field(r, exit_record::kCount), r + exit_record::kData);
        answered = next;
      } else if (next == kServeEvents) {
        for (Event& event : machine->takeEvents()) events.push_back(std::move(event));
      } else {
        std::unique_lock hold(lock);
        woken.wait_for(hold, std::chrono::milliseconds(100), [&] { return wakes != seen; });
        seen = wakes;
      }
    }
    return true;
  }
  bool pause() {
    const size_t before = events.size();
    machine->pause();
    return serveUntil([&] { return events.size() > before && events.back().kind == Event::Kind::Paused; });
  }
  void run() {
    CHECK_OK(machine->start());
    machine->resume();
  }
};

unsigned openFiles() {
  unsigned count = 0;
  DIR* const folder = opendir("/proc/self/fd");
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

/** Resident memory and mappings of this process. */
uint64_t residentKiB() {
  std::ifstream file("/proc/self/statm");
  uint64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * 4;
}
unsigned mappings() {
  std::ifstream file("/proc/self/maps");
  unsigned count = 0;
  for (std::string line; std::getline(file, line);) ++count;
  return count;
}

}  // namespace

TEST(kvm_probe_says_what_there_is) {
  const Probe probe = kvmAccelerator().probe();
  // One of: runs at full speed; runs some guests, not for 'auto'; is not there at all. Always with a reason.
  CHECK(!(probe.available && probe.onlyByName));
  CHECK(!probe.reason.empty());
  CHECK_EQ(probe.available || probe.onlyByName, present());
  MachineConfig config;
  Error error;
  CHECK(kvmAccelerator().create(config, "interpreter", error) == nullptr);
  CHECK(error.find("interpreter") != std::string::npos);
}

TEST(kvm_port_exits) {
  if (!present()) return;
  Owner owner;
  owner.load({0xb9, 0xe8, 0x03, 0xe4, 0x99, 0xe6, 0x98, 0xe2, 0xfa,                          // 1000 times: in al, 99h; out 98h, al
              0xbf, 0x00, 0x60, 0xba, 0x34, 0x12, 0xb9, 0x08, 0x00, 0xf3, 0x6d,              // mov di, 6000h; 8 × insw from 1234h
              0xbe, 0x00, 0x60, 0xb9, 0x08, 0x00, 0xf3, 0x6f, 0xe6, 0x80, 0xf4});            // mov si, 6000h; 8 × outsw; out 80h, al; hlt
  uint8_t last = 0;
  unsigned wrong = 0, in = 0, out = 0;
  bool ended = false;
  owner.onExit = [&](ExitKind kind, uint64_t port, unsigned width, unsigned count, uint8_t* data) {
    if (port == 0x99) {
      *data = last = static_cast<uint8_t>(last * 5 + 3);
    } else if (port == 0x98) {
      wrong += *data != last;
    } else if (port == 0x80) {
      ended = true;
    } else {
      for (unsigned i = 0; i < count; ++i) {
        uint16_t word = static_cast<uint16_t>(0x1111 * (in + 1));
        if (kind == ExitKind::PortIn) {
          std::memcpy(data + i * width, &word, 2);
          ++in;
        } else {
          std::memcpy(&word, data + i * width, 2);
          wrong += word != 0x1111 * ++out;
        }
      }
    }
  };
  owner.run();
  CHECK(owner.serveUntil([&] { return ended; }));
  CHECK(owner.pause());
  CHECK_EQ(wrong, 0u);
  CHECK_EQ(in, 8u);
  const CpuSnapshot s = owner.state();
  // Before the HLT or after it.
  CHECK_EQ(s.state.rip, s.state.activity == x86::Activity::Halted ? 0x7c1fu : 0x7c1eu);
  CHECK_EQ(out, 8u);
  CHECK(owner.machine->stats()[0].allExits() >= 2002);
}

TEST(kvm_quick_ports) {
  if (!present()) return;
  Owner owner;
  owner.load({0xb9, 0xe8, 0x03, 0xe4, 0x99, 0xe2, 0xfc,   // 1000 times: in al, 99h
              0xe6, 0x98, 0x04, 0x01, 0xe6, 0x98,         // out 98h, al; add al, 1; out 98h, al
              0xe6, 0x80, 0xf4});                         // out 80h, al; hlt
  const auto say = [&](unsigned number, uint32_t word) { std::memcpy(owner.records + quick_port::kWords + 4 * number, &word, 4); };
  say(0, quick_port::kRead | 0x41 << quick_port::kValueShift);
  say(63, quick_port::kWrite);
  CHECK_OK(owner.machine->addQuickPort(0x99, 1, 0));
  CHECK_OK(owner.machine->addQuickPort(0x98, 1, 63));
  owner.run();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  int first = kServeIdle;
  while (first == kServeIdle && std::chrono::steady_clock::now() < deadline) first = owner.machine->serve(-1, 1000);
  CHECK_EQ(first, kServePosted);
  CHECK_EQ(field(owner.records, posted_write::kCount), 2u);
  CHECK_EQ(field(owner.records, posted_write::kFirst), 0x0001'0098u);
  CHECK_EQ(field(owner.records, posted_write::kFirst + 4), 0x41u);
  CHECK_EQ(field(owner.records, posted_write::kFirst + 12), 0x42u);
  uint64_t port = 0;
  owner.onExit = [&](ExitKind, uint64_t address, unsigned, unsigned, uint8_t*) { port = address; };
  CHECK(owner.serveUntil([&] { return port != 0; }));
  CHECK_EQ(port, 0x80u);
  CHECK_EQ(owner.machine->stats()[0].allExits(), 1u);
  CHECK_EQ(owner.machine->stats()[0].quick, 1002u);
}

TEST(kvm_mmio_rom_and_doorbells) {
  if (!present()) return;
  Owner owner;
  RegionId rom = 0;
  CHECK_OK(owner.machine->memory()->addRegion(RegionKind::Rom, kPageBytes, rom));
  CHECK_OK(owner.machine->map(rom, 0, 0x10000, kPageBytes));
  const uint16_t romWord = 0x55aa;
  CHECK(owner.machine->memory()->write(0x10000, &romWord, 2));
  CHECK_OK(owner.machine->unmap(0x20000, kPageBytes));
  CHECK_OK(owner.machine->addDoorbell(DoorbellKind::Mmio, 0x20010, 2, 42));
  CHECK_OK(owner.machine->addDoorbell(DoorbellKind::Port, 0x90, 1, 43));
  CHECK(!owner.machine->addDoorbell(DoorbellKind::Mmio, 0x20010, 2, 44).empty());
  owner.load({0xb8, 0x00, 0x10, 0x8e, 0xd8,              // mov ds, 1000h
              0xc7, 0x06, 0x00, 0x00, 0x34, 0x12,        // mov word [0], 1234h: the ROM keeps what it has
              0xa1, 0x00, 0x00, 0xe7, 0x80,              // mov ax, [0]; out 80h, ax
              0xb8, 0x00, 0x20, 0x8e, 0xd8,              // mov ds, 2000h
              0xc7, 0x06, 0x10, 0x00, 0x05, 0x00,        // mov word [10h], 5: doorbell 42
              0xb0, 0x07, 0xe6, 0x90,                    // out 90h, 7: doorbell 43
              0xa1, 0x20, 0x00,                          // mov ax, [20h]
              0xa3, 0x22, 0x00, 0xe7, 0x80, 0xf4});      // mov [22h], ax; out 80h, ax; hlt
  std::vector<uint64_t> seen;
  owner.onExit = [&](ExitKind kind, uint64_t address, unsigned width, unsigned, uint8_t* data) {
    uint16_t value = 0xbeef;
    if (kind == ExitKind::MmioRead) std::memcpy(data, &value, 2);
    std::memcpy(&value, data, 2);
    seen.push_back(address << 32 | static_cast<uint64_t>(kind) << 24 | width << 16 | value);
  };
  owner.run();
  CHECK(owner.serveUntil([&] { return seen.size() == 4 && owner.events.size() == 2; }));
  CHECK_EQ(seen[0], 0x80ull << 32 | 0x020255aa);
  CHECK_EQ(seen[1], 0x20020ull << 32 | 0x0302beef);
  CHECK_EQ(seen[2], 0x20022ull << 32 | 0x0402beef);
  CHECK_EQ(seen[3], 0x80ull << 32 | 0x0202beef);
  CHECK_EQ(owner.events[0].doorbell, 42u);
  CHECK_EQ(owner.events[0].value, 5u);
  CHECK_EQ(owner.events[1].doorbell, 43u);
  CHECK_EQ(owner.events[1].value, 7u);
  owner.machine->removeDoorbell(42);
  CHECK_OK(owner.machine->addDoorbell(DoorbellKind::Mmio, 0x20010, 2, 44));
}

TEST(kvm_slots_are_split_and_joined) {
  if (!present()) return;
  Error error;
  const Descriptor device = openDevice(error), vm = createVm(device, error);
  CHECK_OK(error);
  PhysicalMemory memory;
  RegionId ram = 0, other = 0;
  CHECK_OK(memory.addRegion(RegionKind::Ram, 1 << 20, ram));
  CHECK_OK(memory.addRegion(RegionKind::Rom, 1 << 16, other));
  Slots slots(vm, memory, 3);
  const auto map = [&](RegionId region, uint64_t offset, Gpa gpa, uint64_t bytes) {
    const Error mapped = memory.map(region, offset, gpa, bytes);
    return mapped.empty() ? slots.mapped(region, offset, gpa, bytes) : mapped;
  };
  for (unsigned round = 0; round < 50; ++round) {
    CHECK_OK(map(ram, 0, 0, 1 << 20));
    CHECK_EQ(slots.count(), 1u);
    CHECK_OK(map(other, 0, 0xc0000, 1 << 16));
    CHECK_EQ(slots.count(), 3u);
    // The same RAM back where it was.
    CHECK_OK(map(ram, 0xc0000, 0xc0000, 0x8000));
    CHECK_EQ(slots.count(), 3u);
    CHECK_OK(map(ram, 0xc8000, 0xc8000, 0x8000));
    CHECK_EQ(slots.count(), 1u);
    CHECK_OK(memory.unmap(0x1000, 0x1000));
    CHECK_OK(slots.unmapped(0x1000, 0x1000));
    CHECK_EQ(slots.count(), 2u);
    // RAM of another place does not join.
    CHECK_OK(map(ram, 0x5000, 0x1000, 0x1000));
    CHECK_EQ(slots.count(), 3u);
  }
  CHECK(map(other, 0, 0x80000, kPageBytes).find("slot") != std::string::npos);
}

TEST(kvm_remapping_while_the_guest_runs) {
  if (!present()) return;
  Owner owner;
  RegionId banks = 0;
  CHECK_OK(owner.machine->memory()->addRegion(RegionKind::Ram, 2 * kPageBytes, banks));
  const uint8_t one = 1, two = 2;
  std::memcpy(owner.machine->memory()->regionHost(banks), &one, 1);
  std::memcpy(owner.machine->memory()->regionHost(banks) + kPageBytes, &two, 1);
  owner.load({0xb8, 0x00, 0x20, 0x8e, 0xd8,                    // mov ds, 2000h
              0xe6, 0x81, 0xa0, 0x00, 0x00, 0xe6, 0x80, 0xeb, 0xf7});  // again: out 81h, al; mov al, [0]; out 80h, al; jmp again
  unsigned bank = 0, wrong = 0, rounds = 0;
  owner.onExit = [&](ExitKind, uint64_t port, unsigned, unsigned, uint8_t* data) {
    if (port == 0x81) {
      bank = (bank + 1) % 3;
      CHECK_OK(bank == 2 ? owner.machine->unmap(0x20000, kPageBytes) : owner.machine->map(banks, bank * kPageBytes, 0x20000, kPageBytes));
    } else if (port == 0x20000) {
      *data = 3;
    } else {
      wrong += *data != bank + 1;
      ++rounds;
    }
  };
  owner.run();
  CHECK(owner.serveUntil([&] { return rounds >= 60; }));
  CHECK_EQ(wrong, 0u);
}

TEST(kvm_dirty_log) {
  if (!present()) return;
  Owner owner;
  RegionId vram = 0;
  CHECK_OK(owner.machine->memory()->addRegion(RegionKind::Vram, 16 * kPageBytes, vram));
  CHECK_OK(owner.machine->map(vram, 4 * kPageBytes, 0xa0000, 8 * kPageBytes));
  owner.load({0xb8, 0x00, 0xa0, 0x8e, 0xd8,                                      // mov ds, a000h
              0xe6, 0x80, 0xc6, 0x06, 0x10, 0x00, 0x01,                          // again: out 80h, al; mov byte [10h], 1
              0xc6, 0x06, 0x00, 0x50, 0x02, 0xe6, 0x80, 0xa0, 0x00, 0x20, 0xeb, 0xed});  // mov byte [5000h], 2; out 80h, al; mov al, [2000h]; jmp again
  unsigned stops = 0;
  uint8_t bitmap[2];
  const auto taken = [&] {
    const bool any = owner.machine->takeDirty(vram, bitmap, sizeof bitmap);
    return (any ? 0x10000u : 0) | bitmap[0] | static_cast<unsigned>(bitmap[1]) << 8;
  };
  owner.onExit = [&](ExitKind, uint64_t, unsigned, unsigned, uint8_t*) {
    const unsigned found = taken();
    // Pages 4 and 9 at every second stop; nothing in between, as reads leave no trace.
    CHECK_EQ(found, stops % 2 == 1 ? 0x10000u | 1u << 4 | 1u << 9 : 0u);
    CHECK_EQ(taken(), 0u);
    ++stops;
  };
  owner.run();
  CHECK(owner.serveUntil([&] { return stops >= 20; }));
  CHECK(owner.pause());
  // What was written before a slot goes is not forgotten with it.
  owner.onExit = [](ExitKind, uint64_t, unsigned, unsigned, uint8_t*) {};
  owner.machine->takeDirty(vram, bitmap, sizeof bitmap);
  const unsigned before = owner.exits;
  owner.machine->resume();
  CHECK(owner.serveUntil([&] { return owner.exits >= before + 4; }));
  CHECK(owner.pause());
  CHECK_OK(owner.machine->unmap(0xa0000, 8 * kPageBytes));
  CHECK_EQ(taken(), 0x10000u | 1u << 4 | 1u << 9);
}

TEST(kvm_interrupts_reach_a_halted_guest) {
  if (!present()) return;
  Owner owner;
  owner.load({0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x20, 0xe6, 0x21, 0xb0, 4, 0xe6, 0x21, 0xb0, 1, 0xe6, 0x21, 0xb0, 0xef, 0xe6, 0x21,  // 8259
              0xc7, 0x06, 0x90, 0x00, 0x31, 0x7c, 0xc7, 0x06, 0x92, 0x00, 0x00, 0x00,  // vector 24h: 0:7C31
              0xe6, 0x81, 0xfb, 0xf4, 0xeb, 0xfd});                                    // out 81h, al; sti; again: hlt; jmp again
  const uint8_t handlers[] = {0xe6, 0x80, 0xb0, 0x20, 0xe6, 0x20, 0xcf};               // 7C31: out 80h, al; EOI; iret
  owner.machine->memory()->write(0x7c31, handlers, sizeof handlers);
  unsigned counts[2] = {};
  owner.onExit = [&](ExitKind, uint64_t port, unsigned, unsigned, uint8_t*) { ++counts[port & 1]; };
  owner.run();
  CHECK(owner.serveUntil([&] { return counts[1] == 1; }));
  for (unsigned i = 1; i <= 5; ++i) {
    owner.machine->setIrq(4, true);
    owner.machine->setIrq(4, false);
    CHECK(owner.serveUntil([&] { return counts[0] == i; }));
  }
  owner.machine->setIrq(99, true);
  owner.machine->sendMsi(0x1234, 5);
}

TEST(kvm_timers_stand_still_while_paused) {
  if (!present()) return;
  Owner owner;
  owner.load({0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x20, 0xe6, 0x21, 0xb0, 4, 0xe6, 0x21, 0xb0, 1, 0xe6, 0x21, 0xb0, 0xfe, 0xe6, 0x21,  // 8259
              0xc7, 0x06, 0x80, 0x00, 0x40, 0x7c, 0xc7, 0x06, 0x82, 0x00, 0x00, 0x00,          // vector 20h: 0:7C40
              0xb0, 0x34, 0xe6, 0x43, 0xb0, 0x9c, 0xe6, 0x40, 0xb0, 0x2e, 0xe6, 0x40,          // 8254: every 10 ms
              0xfb, 0xf4, 0xeb, 0xfd});                                                        // sti; again: hlt; jmp again
  const uint8_t handler[] = {0xe6, 0x80, 0xb0, 0x20, 0xe6, 0x20, 0xcf};
  owner.machine->memory()->write(0x7c40, handler, sizeof handler);
  owner.run();
  CHECK(owner.serveUntil([&] { return owner.exits >= 3; }));
  CHECK(owner.pause());
  const unsigned ticks = owner.exits;
  const auto tscOf = [](const CpuSnapshot& s) {
    for (const auto& [msr, value] : s.msrs) {
      if (msr == 0x10) return value;
    }
    return uint64_t{0};
  };
  const uint64_t tsc = tscOf(owner.state());
  CHECK(tsc != 0);
  usleep(200'000);
  CHECK_EQ(tscOf(owner.state()), tsc);
  CHECK_EQ(owner.exits, ticks);
  owner.machine->resume();
  CHECK(owner.serveUntil([&] { return owner.exits > ticks; }));
  CHECK(owner.pause());
  // Of the 20 ticks that were due meanwhile at most the one already on its way comes, and time went on where it stood: the
  // 200 ms of the pause (at 1 GHz and more) are not in it unless the host did not let us run for that long.
  CHECK(owner.exits - ticks < 15);
  CHECK(tscOf(owner.state()) > tsc);
}

TEST(kvm_state_round_trip) {
  if (!present()) return;
  Owner owner;
  CpuSnapshot s = owner.state();
  CHECK_EQ(s.state.rip, 0xfff0u);
  CHECK_EQ(s.state.seg[x86::kCs].base, 0xffff0000u);
  for (unsigned i = 0; i < 16; ++i) s.state.gpr[i] = 0x0123456789abcdefull * (i + 1);
  s.state.cr8 = 5;
  s.state.dr[1] = 0x1234;
  s.state.cr2 = 0xfeedfacecafe;
  s.state.x87.status = 0x3800, s.state.x87.tagValid = 0x81, s.state.x87.control = 0x27f, s.state.mxcsr = 0x9fc0;
  for (unsigned i = 0; i < 8; ++i) std::memset(s.state.x87.r[i].bytes, static_cast<int>(i + 1), 10);
  for (unsigned i = 0; i < 16; ++i) std::memset(s.state.vec[i].bytes, static_cast<int>(0x40 + i), 16);
  s.state.seg[x86::kFs] = {0x12345678, 0xffffffff, 0x23, 0xc0f3};
  for (auto& [msr, value] : s.msrs) {
    if (msr == 0xc0000102) value = 0xffff800012345678;
    if (msr == 0xc0000082) value = 0xffffffff81000000;
    if (msr == 0x10) value = 123'456'789;
  }
  CHECK_OK(owner.machine->setState(0, s));
  CpuSnapshot back = owner.state();
  for (unsigned i = 0; i < 16; ++i) CHECK_EQ(back.state.gpr[i], s.state.gpr[i]);
  CHECK_EQ(back.state.cr8, 5u);
  CHECK_EQ(back.state.cr2, s.state.cr2);
  CHECK_EQ(back.state.dr[1], 0x1234u);
  CHECK_EQ(back.state.mxcsr, 0x9fc0u);
  CHECK_EQ(back.state.x87.status, 0x3800);
  CHECK_EQ(back.state.x87.tagValid, 0x81);
  CHECK(std::memcmp(back.state.x87.r, s.state.x87.r, sizeof s.state.x87.r) == 0);
  CHECK(std::memcmp(back.state.vec, s.state.vec, sizeof s.state.vec) == 0);
  CHECK_EQ(back.state.seg[x86::kFs].base, 0x12345678u);
  CHECK_EQ(back.state.seg[x86::kFs].attributes, 0xc0f3);
  CHECK(back.msrs == s.msrs);

  CpuSnapshot wrong = s;
  wrong.state.cr0 = 0x80000000;
  CHECK(owner.machine->setState(0, wrong).find("paging") != std::string::npos);
  wrong = s;
  wrong.state.gpr[0] = 1;
  wrong.msrs.emplace_back(0x12345678, 1);
  CHECK(owner.machine->setState(0, wrong).find("MSR") != std::string::npos);
  CHECK_EQ(owner.state().state.gpr[0], s.state.gpr[0]);
  CHECK(!owner.machine->setState(1, s).empty());

  CHECK_OK(owner.machine->reset());
  back = owner.state();
  CHECK_EQ(back.state.rip, 0xfff0u);
  CHECK_EQ(back.state.gpr[0], 0u);
  CHECK_EQ(back.state.cr8, 0u);
  CHECK_EQ(back.state.mxcsr, 0x1f80u);
  CHECK_EQ(back.msrs[0].second, 0u);
}

TEST(kvm_protected_mode) {
  if (!present()) return;
  Owner owner;
  // lgdt [7C40h]; CR0.PE; far jump to 32-bit code; a store above 64 KiB; out.
  owner.load({0xfa, 0x0f, 0x01, 0x16, 0x40, 0x7c, 0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, 0xea, 0x13, 0x7c, 0x08, 0x00,
              0xb8, 0x10, 0x00, 0x00, 0x00, 0x8e, 0xd8, 0xb8, 0x78, 0x56, 0x34, 0x12, 0xa3, 0x00, 0x00, 0x03, 0x00,
              0xa1, 0x00, 0x00, 0x03, 0x00, 0xe7, 0x80, 0xf4});
  const uint8_t gdtr[] = {0x17, 0, 0x50, 0x7c, 0, 0};
  const uint8_t gdt[] = {0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0x9a, 0xcf, 0, 0xff, 0xff, 0, 0, 0, 0x92, 0xcf, 0};
  owner.machine->memory()->write(0x7c40, gdtr, sizeof gdtr);
  owner.machine->memory()->write(0x7c50, gdt, sizeof gdt);
  uint32_t value = 0;
  owner.onExit = [&](ExitKind, uint64_t, unsigned, unsigned, uint8_t* data) { std::memcpy(&value, data, 4); };
  owner.run();
  CHECK(owner.serveUntil([&] { return owner.exits == 1; }));
  CHECK(owner.pause());
  CHECK_EQ(value, 0x12345678u);
  CHECK_EQ(owner.state().state.cr0 & 1, 1u);
  CHECK_EQ(owner.state().state.seg[x86::kCs].selector, 8);
}

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
  const unsigned files = openFiles(), maps = mappings();
  uint64_t resident = 0;
  unsigned wrong = 0;
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
    if (round == 100) resident = residentKiB();
    owner.machine->resume();
    if (wrong > 3) break;
  }
  CHECK_EQ(wrong, 0u);
  CHECK(owner.pause());
  CHECK_EQ(openFiles(), files);
  CHECK(mappings() <= maps + 2);
  CHECK(residentKiB() < resident + 1024);
}

TEST(kvm_machines_come_and_go_without_a_trace) {
  if (!present()) return;
  unsigned files = 0, maps = 0;
  uint64_t resident = 0;
  for (unsigned round = 0; round < 110; ++round) {
    if (round == 10) files = openFiles(), maps = mappings(), resident = residentKiB();
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
  CHECK(mappings() <= maps + 2);
  CHECK(residentKiB() < resident + 2048);
}

TEST(kvm_second_processor_starts_by_sipi) {
  if (!present()) return;
  Owner owner(2);
  // The bootstrap processor, in "unreal" state with a flat DS, sends INIT and SIPI (vector 8) through its local APIC.
  owner.enter(0x7c00);
  const uint8_t boot[] = {0x67, 0x66, 0xc7, 0x05, 0x10, 0x03, 0xe0, 0xfe, 0x00, 0x00, 0x00, 0x01,   // ICR high: no number, but
                          0x67, 0x66, 0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x00, 0x45, 0x0c, 0x00,   // INIT to all but self
                          0x67, 0x66, 0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x08, 0x46, 0x0c, 0x00,   // SIPI to 8000h, likewise
                          0xf4};
  const uint8_t second[] = {0x8c, 0xc8, 0xe7, 0x80, 0xf4};  // mov ax, cs; out 80h, ax; hlt
  owner.machine->memory()->write(0x7c00, boot, sizeof boot);
  owner.machine->memory()->write(0x8000, second, sizeof second);
  CpuSnapshot s = owner.state();
  s.state.seg[x86::kDs].limit = 0xffffffff;
  s.state.seg[x86::kDs].attributes = 0x8093;
  CHECK_OK(owner.machine->setState(0, s));
  uint16_t cs = 0;
  owner.onExit = [&](ExitKind, uint64_t, unsigned, unsigned, uint8_t* data) { std::memcpy(&cs, data, 2); };
  owner.run();
  CHECK(owner.serveUntil([&] { return owner.exits == 1; }));
  CHECK_EQ(cs, 0x800);
}

TEST(kvm_breakpoints_watchpoints_and_steps) {
  if (!present()) return;
  Owner owner;
  // 7C00: inc ax; inc bx; mov [6000h], ax; inc bx; jmp 7C08
  owner.load({0x40, 0x43, 0xa3, 0x00, 0x60, 0x43, 0x90, 0x90, 0xeb, 0xfe});
  CHECK_OK(owner.machine->setDebugPoints({{0x7c01}, {{0x6000, 2, false, true}}}));
  CHECK_OK(owner.machine->start());
  const auto goOn = [&](Go how) {
    const size_t before = owner.events.size();
    owner.machine->resume({how});
    CHECK(owner.serveUntil([&] { return owner.events.size() > before; }));
    return owner.events.back();
  };
  Event event = goOn(Go::Run);
  CHECK(event.kind == Event::Kind::Debug && event.debug.cause == x86::DebugStop::Cause::Breakpoint);
  CHECK_EQ(event.debug.address, 0x7c01u);
  CHECK_EQ(owner.state().state.rip, 0x7c01u);
  CHECK_OK(owner.machine->setDebugPoints({{}, {{0x6000, 2, false, true}}}));
  event = goOn(Go::Step);
  CHECK(event.kind == Event::Kind::Debug && event.debug.cause == x86::DebugStop::Cause::Step);
  CHECK_EQ(owner.state().state.rip, 0x7c02u);
  // A KVM that emulates instructions has no hardware to notice accesses to data.
  if (kvmAccelerator().probe().available) {
    event = goOn(Go::Run);
    CHECK(event.kind == Event::Kind::Debug && event.debug.cause == x86::DebugStop::Cause::Watchpoint);
    CHECK_EQ(event.debug.address, 0x6000u);
    CHECK_EQ(owner.state().state.rip, 0x7c05u);
  } else {
    std::fprintf(stderr, "KVM watchpoints not tested: %s\n", kvmAccelerator().probe().reason.c_str());
  }
  CHECK(!owner.machine->setDebugPoints({{1, 2, 3}, {{0x6001, 4, true, true}}}).empty());
  CHECK_OK(owner.machine->setDebugPoints({{1, 2, 3}, {{0x6008, 8, true, true}}}));
  CHECK_OK(owner.machine->setDebugPoints({}));
  owner.machine->resume();
  CHECK(owner.pause());
}

TEST(kvm_nmi_reaches_a_guest_that_runs_or_is_halted) {
  if (!present()) return;
  for (const bool halted : {false, true}) {
    Owner owner;
    owner.load({0xc7, 0x06, 0x08, 0x00, 0x31, 0x7c, 0xc7, 0x06, 0x0a, 0x00, 0x00, 0x00,  // vector 2: 0:7C31
                0xe6, 0x81, halted ? 0xf4 : 0x90, 0xeb, 0xfd});                          // out 81h, al; again: hlt or nop; jmp again
    const uint8_t handler[] = {0xe6, 0x80, 0xcf};                                        // out 80h, al; iret
    owner.machine->memory()->write(0x7c31, handler, sizeof handler);
    unsigned counts[2] = {};
    owner.onExit = [&](ExitKind, uint64_t port, unsigned, unsigned, uint8_t*) { ++counts[port & 1]; };
    owner.run();
    CHECK(owner.serveUntil([&] { return counts[1] == 1; }));
    for (unsigned i = 1; i <= 3; ++i) {
      owner.machine->nmi();
      CHECK(owner.serveUntil([&] { return counts[0] == i; }));
    }
    CHECK(owner.pause());
  }
}
