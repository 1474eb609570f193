// For tests: a machine of one vCPU, some RAM and no devices, and helpers to put it into a mode.
#pragma once

#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <vector>

#include "memory/physical_memory.h"
#include "translator/translator.h"
#include "x86/cpu.h"

namespace lodge::x86::testing {

/** Ports and MMIO are a log and canned answers. */
class FakeEnvironment : public Environment {
 public:
  struct Access { bool write; uint64_t address; unsigned width, count; uint64_t value; };
  std::vector<Access> ports, mmio;
  uint64_t answer = 0;
  std::function<void(uint64_t value)> onMmioWrite;  ///< what the device does at once
  bool abandon = false;
  int vector = -1;  ///< pending interrupt
  uint64_t tpr = 0, tsc = 1000, apicBase = 0xfee00900;

  IoStatus portIn(uint16_t port, unsigned width, unsigned count, void* data) noexcept override {
    if (abandon) return IoStatus::Abandoned;
    ports.push_back({false, port, width, count, 0});
    for (unsigned n = 0; n < count; ++n) {
      const uint64_t v = answer + n;
      std::memcpy(static_cast<uint8_t*>(data) + n * width, &v, width);
    }
    return IoStatus::Done;
  }
  IoStatus portOut(uint16_t port, unsigned width, unsigned count, const void* data) noexcept override {
    if (abandon) return IoStatus::Abandoned;
    uint64_t v = 0;
    std::memcpy(&v, data, width);
    ports.push_back({true, port, width, count, v});
    return IoStatus::Done;
  }
  IoStatus mmioRead(Gpa gpa, unsigned width, void* data) noexcept override {
    if (abandon) return IoStatus::Abandoned;
    mmio.push_back({false, gpa, width, 1, 0});
    std::memcpy(data, &answer, width);
    return IoStatus::Done;
  }
  IoStatus mmioWrite(Gpa gpa, unsigned width, const void* data) noexcept override {
    if (abandon) return IoStatus::Abandoned;
    uint64_t v = 0;
    std::memcpy(&v, data, width);
    mmio.push_back({true, gpa, width, 1, v});
    if (onMmioWrite) onMmioWrite(v);
    return IoStatus::Done;
  }
  bool interruptPending() noexcept override { return vector >= 0; }
  int acknowledgeInterrupt() noexcept override {
    const int v = vector;
    vector = -1;
    return v;
  }
  uint64_t readTsc() noexcept override { return tsc += 10; }
  void writeTsc(uint64_t value) noexcept override { tsc = value; }
  uint64_t readTpr() noexcept override { return tpr; }
  void writeTpr(uint64_t cr8) noexcept override { tpr = cr8; }
  bool readApicMsr(uint32_t msr, uint64_t& value) noexcept override {
    value = apicBase;
    return msr == 0x1b;
  }
  bool writeApicMsr(uint32_t msr, uint64_t value) noexcept override {
    apicBase = value;
    return msr == 0x1b;
  }
  void kick(uint32_t apicId) noexcept override { kicks.push_back(apicId); }
  void setPvEoi(uint64_t msr) noexcept override { pvEoi = msr; }
  uint64_t stolenTime() noexcept override { return stolen; }
  std::vector<uint32_t> kicks;
  uint64_t pvEoi = 0, stolen = 0;
};

constexpr uint64_t kRamBytes = 4 << 20;
/** Where the fixture puts things, guest-physical. From kFree to kTables all belongs to the test. */
constexpr Gpa kTables = 0x60000, kIdt = 0x8000, kGdt = 0x9000, kTss = 0xa000, kFree = 0x10000;
constexpr uint16_t kCode64 = 0x08, kData = 0x10, kUserData = 0x1b, kUserCode64 = 0x23, kCode32 = 0x28, kCode16 = 0x30, kTssSelector = 0x38;

using CpuFactory = std::unique_ptr<Cpu> (*)(const CpuConfig&, PhysicalMemory&, Environment&);
/**
 * LODGE_TEST_TIER says what executes: the interpreter (default), `translator`, `translator-1` with a single instruction in
 * each unit, or `lockstep`, which is both.
 */
inline std::unique_ptr<Cpu> makeTestCpu(const CpuConfig& config, PhysicalMemory& memory, Environment& env) {
  const char* tier = std::getenv("LODGE_TEST_TIER");
  const bool lockstep = tier && std::strcmp(tier, "lockstep") == 0;
  if (!tier || (std::strncmp(tier, "translator", 10) != 0 && !lockstep)) return makeInterpreter(config, memory, env);
  translator::Options options;
  options.cacheBytes = 16 << 20;
  options.exactFlags = !lockstep;
  options.lockstep = lockstep && config.count == 1;
  options.traceHeat = 2;
  options.traceKernels = true;
  if (std::strcmp(tier, "translator-1") == 0) options.maxInstructions = 1;
  return translator::makeTranslator(config, memory, env, options);
}

class Guest {
 public:
  FakeEnvironment env;
  PhysicalMemory memory;
  std::unique_ptr<Cpu> cpu;

  explicit Guest(uint64_t ramBytes = kRamBytes, CpuFactory factory = makeTestCpu, const CpuModel* model = nullptr) {
    RegionId region;
    memory.addRegion(RegionKind::Ram, ramBytes, region);
    memory.map(region, 0, 0, ramBytes);
    cpu = factory(CpuConfig{0, 1, 1'000'000'000, model}, memory, env);
    cpu->reset();
  }
  State& state() { return cpu->state(); }
  uint8_t* at(Gpa gpa) { return memory.range(gpa, 1); }
  template <class T>
  T get(Gpa gpa) {
    T v{};
    memory.read(gpa, &v, sizeof v);
    return v;
  }
  template <class T>
  void put(Gpa gpa, T value) { memory.write(gpa, &value, sizeof value); }
  void code(Gpa gpa, std::initializer_list<unsigned> bytes) {
    std::vector<uint8_t> b(bytes.begin(), bytes.end());
    memory.write(gpa, b.data(), b.size());
  }

  /** Maps one 4 KiB page of the 4-level tables that start at kTables, making tables as needed. */
  void mapPage(uint64_t linear, Gpa gpa, uint64_t bits) {
    Gpa table = kTables;
    for (unsigned shift = 39; shift > 12; shift -= 9) {
      const Gpa entry = table + (linear >> shift & 511) * 8;
      if (!(get<uint64_t>(entry) & 1)) {
        put<uint64_t>(entry, nextTable_ | 7);
        nextTable_ += 4096;
      }
      table = get<uint64_t>(entry) & 0xffffffffff000;
    }
    put<uint64_t>(table + (linear >> 12 & 511) * 8, gpa | bits);
  }
  Gpa pteOf(uint64_t linear) {
    Gpa table = kTables;
    for (unsigned shift = 39; shift > 12; shift -= 9) table = get<uint64_t>(table + (linear >> shift & 511) * 8) & 0xffffffffff000;
    return table + (linear >> 12 & 511) * 8;
  }

  static uint64_t descriptor(uint32_t base, uint32_t limit, unsigned access, unsigned flags) {
    return (limit & 0xffffull) | (base & 0xffffffull) << 16 | static_cast<uint64_t>(access) << 40 | (limit >> 16 & 0xfull) << 48 |
           static_cast<uint64_t>(flags) << 52 | static_cast<uint64_t>(base >> 24) << 56;
  }
  void fillGdt() {
    put<uint64_t>(kGdt + kCode64, descriptor(0, 0xfffff, 0x9b, 0xa));
    put<uint64_t>(kGdt + kData, descriptor(0, 0xfffff, 0x93, 0xc));
    put<uint64_t>(kGdt + 0x18, descriptor(0, 0xfffff, 0xf3, 0xc));
    put<uint64_t>(kGdt + 0x20, descriptor(0, 0xfffff, 0xfb, 0xa));
    put<uint64_t>(kGdt + kCode32, descriptor(0, 0xfffff, 0x9b, 0xc));
    put<uint64_t>(kGdt + kCode16, descriptor(0, 0xffff, 0x9b, 0x0));
    put<uint64_t>(kGdt + kTssSelector, descriptor(kTss, 0xfff, 0x8b, 0));
    put<uint64_t>(kGdt + kTssSelector + 8, 0);
    state().gdtr = {kGdt, 0x7f};
  }
  void gate(unsigned vector, uint64_t target, unsigned type = 0xe, unsigned dpl = 0, unsigned ist = 0) {
    put<uint64_t>(kIdt + vector * 16, (target & 0xffff) | uint64_t{kCode64} << 16 | uint64_t{ist} << 32 |
                                          uint64_t{0x80 | dpl << 5 | type} << 40 | (target >> 16 & 0xffff) << 48);
    put<uint64_t>(kIdt + vector * 16 + 8, target >> 32);
  }
  SegmentRegister flat(uint16_t selector, uint16_t attributes) {
    SegmentRegister s;
    s.selector = selector;
    s.limit = 0xffffffff;
    s.attributes = attributes;
    return s;
  }
  /** Long mode, 64-bit code at CPL 0, low RAM identity-mapped (user-accessible), stack below kFree, all vectors absent. */
  void enter64(uint64_t rip, unsigned cpl = 0) {
    State& s = state();
    nextTable_ = kTables + 4096;
    for (uint64_t p = 0; p < 0x80000; p += 4096) mapPage(p, p, 7);
    fillGdt();
    s.cr0 = 0x80050033;
    s.cr3 = kTables;
    s.cr4 = 0x620;  // PAE, OSFXSR, OSXMMEXCPT
    s.efer = 0xd01;
    const unsigned dpl = cpl << 5;
    s.seg[kCs] = flat(cpl ? kUserCode64 : kCode64, static_cast<uint16_t>(0xa09b | dpl));
    for (Seg seg : {kSs, kDs, kEs, kFs, kGs}) s.seg[seg] = flat(cpl ? kUserData : kData, static_cast<uint16_t>(0xc093 | dpl));
    s.seg[kTr] = {kTss, 0xfff, kTssSelector, 0x8b};
    put<uint64_t>(kTss + 4, 0xf000);    // RSP0
    put<uint64_t>(kTss + 36, 0xe000);   // IST1
    s.idtr = {kIdt, 0xfff};
    s.gpr[kRsp] = 0x10000;
    s.rip = rip;
    s.rflags = 2;
    s.activity = Activity::Runnable;
    cpu->stateChanged();
  }
  /** 32-bit protected mode, no paging. */
  void enter32(uint32_t eip) {
    State& s = state();
    fillGdt();
    s.cr0 = 0x31;
    s.seg[kCs] = flat(kCode32, 0xc09b);
    for (Seg seg : {kSs, kDs, kEs, kFs, kGs}) s.seg[seg] = flat(kData, 0xc093);
    s.idtr = {kIdt, 0x7ff};
    s.gpr[kRsp] = 0x10000;
    s.rip = eip;
    s.rflags = 2;
    s.activity = Activity::Runnable;
    cpu->stateChanged();
  }
  void enterReal(uint16_t cs, uint16_t ip) {
    State& s = state();
    s.seg[kCs].selector = cs;
    s.seg[kCs].base = cs << 4;
    s.rip = ip;
    s.gpr[kRsp] = 0xf000;
    s.activity = Activity::Runnable;
    cpu->stateChanged();
  }
  RunExit run() { return cpu->run(); }

 private:
  Gpa nextTable_ = kTables + 4096;
};

}  // namespace lodge::x86::testing
