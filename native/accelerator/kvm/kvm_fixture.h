// For the tests of the KVM accelerator: a small machine, and the owner's side of it.
#pragma once

#include <dirent.h>
#include <unistd.h>

#include <fstream>

#include "accelerator/kvm/host.h"
#include "accelerator/kvm/kvm.h"
#include "accelerator/kvm/machine.h"
#include "testing/machine_owner.h"

#define CHECK_OK(expression)                                                                    \
  do {                                                                                          \
    const Error failure = (expression);                                                         \
    if (!failure.empty()) ::lodge::testing::fail(__FILE__, __LINE__, #expression ": " + failure); \
  } while (0)

namespace lodge::kvm::testing {

using lodge::testing::field;

/** False, said once, where there is no KVM to test. */
inline bool present() {
  static const bool is = [] {
    Error error;
    const Descriptor device = openDevice(error);
    if (!device) std::fprintf(stderr, "KVM tests skipped: %s\n", error.c_str());
    return static_cast<bool>(device);
  }();
  return is;
}

/** A machine with 1 MiB of RAM, and the owner's side of it. */
struct Owner : lodge::testing::MachineOwner {
  RegionId ram = 0;
  unsigned exits = 0;
  /** Kind, address, width and count of an exit, and its data. */
  std::function<void(ExitKind, uint64_t, unsigned, unsigned, uint8_t*)> onExit = [](ExitKind, uint64_t, unsigned, unsigned, uint8_t*) {};

  explicit Owner(unsigned cpus = 1) {
    Error error;
    machine = KvmMachine::create(config(cpus), error);
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

  void exited(unsigned, uint8_t* r) override {
    ++exits;
    onExit(static_cast<ExitKind>(field(r, exit_record::kKind)),
           field(r, exit_record::kAddressLow) | static_cast<uint64_t>(field(r, exit_record::kAddressHigh)) << 32,
           field(r, exit_record::kWidth), field(r, exit_record::kCount), r + exit_record::kData);
  }
  bool pause() {
    const size_t before = events.size();
    machine->pause();
    return serveUntil([&] { return events.size() > before && events.back().kind == Event::Kind::Paused; });
  }
};

inline unsigned openFiles() {
  unsigned count = 0;
  DIR* const folder = opendir("/proc/self/fd");
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

inline unsigned threads() {
  unsigned count = 0;
  DIR* const folder = opendir("/proc/self/task");
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

/** Resident memory and mappings of this process. */
inline uint64_t residentKiB() {
  std::ifstream file("/proc/self/statm");
  uint64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * 4;
}
inline unsigned mappings() {
  std::ifstream file("/proc/self/maps");
  unsigned count = 0;
  for (std::string line; std::getline(file, line);) ++count;
  return count;
}

}  // namespace lodge::kvm::testing
