// The interpreter as a Cpu: reset, run loop, requests, control registers.
#include <sys/mman.h>
#include <sys/random.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "x86/cpuid.h"
#include "x86/interpreter/debugger.h"
#include "x86/trace.h"
#include "x86/interpreter/exec.h"

namespace lodge::x86 {
Core::Core(const CpuConfig& cfg, PhysicalMemory& mem, Environment& environment) : config(cfg), memory(mem), env(environment) {
  hash.resize(size_t{1} << kHashBits);
  void* p = ::mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  arena = p == MAP_FAILED ? nullptr : static_cast<uint8_t*>(p);
  for (unsigned n = 0; n < kSimdRowCount; ++n) {
    fpFunctions.push_back(kSimdRows[n].function);
    fpRows.push_back(&kSimdRows[n]);
  }
  fpTable = fpFunctions.data();
  if (!config.model) config.model = &defaultCpuModel();
  features = offeredFeatures(*config.model);
  intelRules = cpuVendor(*config.model)[0] == 'G';
  tlbs[0].used = tlbs[1].used = tlbs[2].used = true;
  for (Tlb* t : {&tlbs[0], &tlbs[1], &tlbs[2], &noTlb}) {
    for (unsigned n = 0; n < kTlbEntries; ++n) t->entry(n).read() = t->entry(n).write() = noTag(n);
    std::fill(std::begin(t->page), std::end(t->page), 1);
  }
  resetState();
}
Core::~Core() {
  if (arena) ::munmap(arena, kArenaBytes);
}

/** SDM vol. 3, table 10-1. */
void Core::resetState() {
  state = State{};
  state.rip = 0xfff0;
  state.rflags = 2;
  ax = 0x0200;
  state.cr0 = kCr0Et | kCr0Nw | kCr0Cd;
  for (unsigned s = 0; s < kSegCount; ++s) {
    state.seg[s].limit = 0xffff;
    state.seg[s].attributes = s == kLdtr ? 0x82 : s == kTr ? 0x8b : 0x93;
  }
  state.seg[kCs].selector = 0xf000;
  state.seg[kCs].base = 0xffff0000;
  state.seg[kCs].attributes = 0x9b;
  state.gdtr.limit = state.idtr.limit = 0xffff;
  state.dr[6] = 0xffff0ff0;
  state.dr[7] = 0x400;
  state.xcr0 = 1;
  uint32_t r[4];
  cpuid(1, 0, r);
  state.gpr[kRdx] = r[0];
  state.pat = 0x0007040600070406;
  state.miscEnable = 1;
  state.mxcsr = 0x1f80;
  state.activity = config.index == 0 ? Activity::Runnable : Activity::WaitForSipi;
  storedMsrs.clear();
  debugCtl = 0;
  resetParavirt();
  cpl = 0;
  shadow = interruptMaybe = nmiBlocked = nmiPending = replaying = false;
  traps = 0;
  armBreaks();
  fault = FaultInfo{};
  message.clear();
  updateFp();
  flushTlb(true);
}

// ---- faults, flags ---------------------------------------------------------------------------------------------------------

bool Core::raise(uint8_t vector) {
  fault = FaultInfo{FaultKind::Exception, vector, false, false, 0};
  return false;
}
bool Core::raise(uint8_t vector, uint32_t error) {
  fault = FaultInfo{FaultKind::Exception, vector, true, false, error};
  return false;
}
bool Core::abandoned() {
  fault = FaultInfo{FaultKind::Abandoned, 0, false, false, 0};
  return false;
}

uint64_t Core::flags() const {
  return (state.rflags & ~uint64_t{kArith}) | (ax >> 8 & 0xd5) | static_cast<uint64_t>(ax & 1) << 11 | 2;
}
void Core::setFlags(uint64_t value) {
  ax = static_cast<uint16_t>((value & 0xd5) << 8 | 0x0200 | (value >> 11 & 1));
  const uint64_t changed = state.rflags ^ value;
  state.rflags = value | 2;
  if (changed & (kVm | kAc)) updateMode();
}

// ---- control registers -------------------------------------------------------------------------------------------------------

void Core::updateFp() {
  fpBlocked = static_cast<uint8_t>((state.cr0 & kCr0Em ? +kFpEm : 0) | (state.cr0 & kCr0Ts ? +kFpTs : 0) |
                                   (state.cr4 & kCr4Osfxsr ? 0 : +kFpNoOsfxsr));
  vexBlocked = !protectedMode() || !(state.cr4 & kCr4Osxsave) || (state.xcr0 & 6) != 6 || (state.cr0 & kCr0Ts);
}

bool Core::vexRefused() {
  const bool known = protectedMode() && (state.cr4 & kCr4Osxsave) && (state.xcr0 & 6) == 6;
  return raise(known ? kNM : kUD);
}

/** XSETBV. x87 state cannot be turned off, and YMM needs SSE (SDM vol. 1 §13.3). */
bool Core::setXcr0(uint64_t value) {
  if ((value & ~xcr0Allowed(features)) || !(value & 1) || (value & 6) == 4) return raise(kGP, 0);
  state.xcr0 = value;
  updateFp();
  return true;
}

bool Core::setCr0(uint64_t value) {
  if (value >> 32 || ((value & kCr0Pg) && !(value & kCr0Pe)) || ((value & kCr0Nw) && !(value & kCr0Cd))) return raise(kGP, 0);
  constexpr uint64_t known = kCr0Pe | kCr0Mp | kCr0Em | kCr0Ts | kCr0Et | kCr0Ne | kCr0Wp | kCr0Am | kCr0Nw | kCr0Cd | kCr0Pg;
  value = (value & known) | kCr0Et;
  const uint64_t changed = state.cr0 ^ value;
  if (changed & kCr0Pg) {
    if (value & kCr0Pg) {
      if (state.efer & kEferLme) {
        if (!(state.cr4 & kCr4Pae) || (state.seg[kCs].attributes & kAttrL)) return raise(kGP, 0);
        state.efer |= kEferLma;
      } else if ((state.cr4 & kCr4Pae) && !loadPdptes(state.cr3)) {
        return false;
      }
    } else {
      if (codeSize == CodeSize::k64) return raise(kGP, 0);
      state.efer &= ~uint64_t{kEferLma};
    }
  }
  state.cr0 = value;
  if ((changed & kCr0Pe) && !(value & kCr0Pe)) cpl = 0;
  if (changed & (kCr0Pg | kCr0Wp | kCr0Pe)) flushTlb(true);
  updateFp();
  updateMode();
  return true;
}

bool Core::loadPdptes(uint64_t cr3) {
  uint64_t entries[4];
  const Gpa at = cr3 & 0xffffffe0;
  const PageEntry page = memory.page(at);
  if (page.host)
    std::memcpy(entries, page.host + (at & kPageMask), sizeof entries);
  else
    std::memset(entries, 0, sizeof entries);
  for (const uint64_t e : entries) {
    if ((e & 1) && (e & (0x1e6 | ~((1ull << kPhysicalAddressBits) - 1)))) return raise(kGP, 0);
  }
  std::memcpy(pdptes, entries, sizeof entries);
  return true;
}

bool Core::setCr3(uint64_t value) {
  if (longMode()) {
    // Bit 63 asks to keep translations, and is itself not kept.
    const bool pcids = state.cr4 & kCr4Pcide, keep = pcids && value >> 63;
    if (pcids) value &= ~(1ull << 63);
    if (value >> kPhysicalAddressBits) return raise(kGP, 0);
    state.cr3 = value;
    enterSpace(pcids ? value & 0xfff : 0, keep);
    return true;
  } else if ((state.cr0 & kCr0Pg) && (state.cr4 & kCr4Pae) && !loadPdptes(value)) {
    return false;
  }
  state.cr3 = value;
  flushTlb(false);
  return true;
}

bool Core::setCr4(uint64_t value) {
  if (value & ~cr4Allowed(features)) return raise(kGP, 0);
  if (longMode() && !(value & kCr4Pae)) return raise(kGP, 0);
  if ((value & ~state.cr4 & kCr4Pcide) && (!longMode() || (state.cr3 & 0xfff))) return raise(kGP, 0);
  const uint64_t changed = state.cr4 ^ value;
  if ((changed & (kCr4Pae | kCr4Pse | kCr4Pge | kCr4Smep)) && (state.cr0 & kCr0Pg) && !longMode() && (value & kCr4Pae) &&
      !loadPdptes(state.cr3)) {
    return false;
  }
  state.cr4 = value;
  if (changed & (kCr4Pae | kCr4Pse | kCr4Pge | kCr4Smep | kCr4Smap | kCr4Pcide)) flushTlb(true);
  if (changed & kCr4De) updateBreaks();
  updateFp();
  updateMode();
  return true;
}

void Core::cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]) const {
  const bool osxsave = state.cr4 & kCr4Osxsave;
  cpuidLookup(CpuidQuery{leaf, subleaf, config.index, config.count, config.model, features, config.tscHz, osxsave, true, state.xcr0},
              out);
}

bool Core::randomNumber(uint64_t& value) {
  return ::getrandom(&value, sizeof value, GRND_NONBLOCK) == static_cast<ssize_t>(sizeof value);
}

/** The TSS's I/O permission bitmap (SDM vol. 1 §19.5.2). */
bool Core::ioAllowed(uint16_t port, unsigned size) {
  if (realMode() || (!v86() && cpl <= iopl())) return true;
  const SegmentRegister& tr = state.seg[kTr];
  if (!(tr.attributes & kAttrP) || !(tr.attributes & 8) || tr.limit < 0x67) return raise(kGP, 0);
  uint16_t base, bits;
  if (!load<uint16_t>(tr.base + 0x66, base, kSupervisor)) return false;
  const uint32_t at = base + port / 8u;
  if (at + 1 > tr.limit) return raise(kGP, 0);
  if (!load<uint16_t>(tr.base + at, bits, kSupervisor)) return false;
  return !(bits >> (port & 7) & ((1u << size) - 1)) || raise(kGP, 0);
}

// ---- the loop
// ------------------------------------------------------------------------------------------------------------------

bool Core::service() {
  // The Stop bit stays: the accelerator clears it.
  const uint32_t r = requests.fetch_and(kRequestStop, std::memory_order_acq_rel);
  if (r & kRequestTlbFlush) {
    // The map of guest-physical memory changed: decoded code is keyed by it as well.
    flushBlocks();
    flushTlb(true);
  }
  if (r & kRequestInvalidateCode) takeWrittenPages();
  if (r & kRequestDirtyTaken) dirtyTaken();
  if (r & kRequestInit) {
    if (tier) tier->settle();
    // SDM vol. 3 §10.1: as reset, but for CR0.CD and NW, FPU and SSE state.
    const uint64_t cacheBits = state.cr0 & (kCr0Cd | kCr0Nw);
    const X87State x87 = state.x87;
    const uint32_t mxcsr = state.mxcsr;
    VectorRegister vec[16];
    std::memcpy(vec, state.vec, sizeof vec);
    resetState();
    state.cr0 = kCr0Et | cacheBits;
    state.x87 = x87;
    state.mxcsr = mxcsr;
    std::memcpy(state.vec, vec, sizeof vec);
  }
  if ((r & kRequestStartup) && state.activity == Activity::WaitForSipi) {
    const uint8_t vector = startup ? startup->load(std::memory_order_acquire) : 0;
    state.seg[kCs].selector = static_cast<uint16_t>(vector << 8);
    state.seg[kCs].base = static_cast<uint32_t>(vector) << 12;
    state.rip = 0;
    state.activity = Activity::Runnable;
    updateMode();
  }
  if (r & kRequestSample) env.sample();
  if (r & kRequestKick) kicked = true;
  if (kicked && state.activity == Activity::Halted) {
    kicked = false;
    state.activity = Activity::Runnable;
  }
  if (r & kRequestNmi) nmiPending = true;
  if (r & kRequestInterrupt) interruptMaybe = true;
  if (r & kRequestStop) {
    exit = RunExit::StopRequested;
    return false;
  }
  if (state.activity == Activity::WaitForSipi) {
    exit = RunExit::WaitForSipi;
    return false;
  }
  // A debugger steps through code, not into the handlers of whatever was due meanwhile.
  const bool interruptible = !shadow && !(stepping && state.activity == Activity::Runnable);
  if (interruptible && nmiPending && !nmiBlocked) {
    nmiPending = false;
    nmiBlocked = true;
    counters.interrupts.add();
    state.activity = Activity::Runnable;
    if (!deliver(kNMI, Source::Hardware, false, 0) && !deliverFault()) return false;
  } else if (interruptible && interruptMaybe && (state.rflags & kIf)) {
    if (!env.interruptPending()) {
      interruptMaybe = false;
    } else if (const int vector = env.acknowledgeInterrupt(); vector >= 0) {
      counters.interrupts.add();
      publishSteal();
      state.activity = Activity::Runnable;
      if (!deliver(static_cast<uint8_t>(vector), Source::Hardware, false, 0) && !deliverFault()) return false;
    }
  }
  if (state.activity == Activity::Halted) {
    exit = RunExit::Halted;
    return false;
  }
  return true;
}

Exec Core::runBlock(Block* next, bool alone) {
  if (alone) requests.fetch_or(kRequestStep, std::memory_order_relaxed);
  block = next;
  icount += next->count;
  cursor = next->insns;
  Exec how = next->insns[0].fn(*this, next->insns);
  while (how == Exec::Next) how = cursor->fn(*this, cursor);
  if (alone) {
    requests.fetch_and(~kRequestStep, std::memory_order_relaxed);
    pendingLink = nullptr;
  }
  if (how == Exec::Fault) {
    icount -= static_cast<uint64_t>(block->count) - cursor->ordinal;
    if (!fault.trap) state.rip += cursor->offset;
  }
  return how;
}

namespace {

/** Measures one in kTierSampling of the times it lives, and takes the others for the same: the clock costs as much as short code. */
class TierTime {
 public:
  TierTime(Core& core, Counter& total) : core_(core), total_(total) {
    if (core.tier && ++core.tierEntries % kTierSampling == 0) from_ = __builtin_ia32_rdtsc();
  }
  ~TierTime() {
    if (from_ == 0) return;
    const uint64_t cycles = (__builtin_ia32_rdtsc() - from_) * kTierSampling;
    total_.add(static_cast<uint64_t>(static_cast<unsigned __int128>(cycles) * 1'000'000'000 / core_.config.tscHz));
  }
  TierTime(const TierTime&) = delete;
  TierTime& operator=(const TierTime&) = delete;

 private:
  Core& core_;
  Counter& total_;
  uint64_t from_ = 0;
};

}  // namespace

void Core::recordInstruction(Gpa gpa, Gpa secondPage) {
  uint8_t bytes[InstructionTrace::kMaxBytes];
  const auto copy = [&](unsigned at, Gpa from, unsigned count) {
    const uint8_t* host = memory.page(from & ~kPageMask).host;
    if (host) std::memcpy(bytes + at, host + (from & kPageMask), count);
    else std::memset(bytes + at, 0xff, count);
  };
  const unsigned here = static_cast<unsigned>(std::min<uint64_t>(sizeof bytes, kPageBytes - (gpa & kPageMask)));
  copy(0, gpa, here);
  const bool both = here < sizeof bytes && secondPage != ~0ull;
  if (both) copy(here, secondPage, sizeof bytes - here);
  const uint64_t linear = state.rip + codeBase;
  trace->record(long64() ? linear : linear & 0xffffffff, state.rip, codeSize, cpl, bytes, both ? sizeof bytes : here);
}

RunExit Core::run() {
  if (!arena) {
    message = "no memory for the decoded-instruction cache";
    return RunExit::InternalError;
  }
  const HostFpScope scope(state);
  struct Settle {
    SecondTier* tier;
    ~Settle() {
      if (tier) tier->settle();
    }
  } const settle{tier};
  updateMode();
  for (;;) {
    if (UNLIKELY(trapDue()) && !deliverTraps()) return exit;
    // An instruction that touched a watchpoint or breakpoint is executed again before anything else happens.
    if (!watchHit && !replaying && (requests.load(std::memory_order_acquire) || state.activity != Activity::Runnable || nmiPending ||
                      (interruptMaybe && (state.rflags & kIf)))) {
      if (!service()) return exit;
      if (UNLIKELY(trapDue())) continue;
    }
    const bool trap = state.rflags & kTf;
    bool single = trap || shadow;
    if (UNLIKELY(debugger || stepping || codeBreaks || dataBreaks)) {
      if (debugger && !stepping && !watchHit && !replaying && breakpointHere()) return exit = RunExit::Debug;
      single = single || stepping || watchHit || replaying || (debugger && debugPage());
      if (codeBreaks) {
        const uint64_t linear = codeSize == CodeSize::k64 ? state.rip + codeBase : (state.rip + codeBase) & 0xffffffff;
        const bool looked = (state.rflags & kRf) || (shadow && stepHeld) || watchHit || replaying;
        if (const unsigned hit = looked ? 0 : codeBreaksAt(linear)) {
          state.dr[6] |= hit;
          raise(kDB);
          if (!deliverFault() || stepped()) return exit;
          continue;
        }
        single = single || (state.rflags & kRf) || codeBreaksAt(linear, ~kPageMask);
        state.rflags &= ~uint64_t{kRf};
      }
      watching = (debugger && !watchHit) || dataBreaks;
    }
    const uint32_t earlierTraps = traps;
    shadow = false;
    blockDead = stepHeld = false;
    tierMode = false;
    // Breakpoints and watchpoints are the interpreter's.
    if (tier && !single && !debugger && !codeBreaks && !dataBreaks) {
      tierRan = true;
      SecondTier::Outcome outcome;
      {
        const TierTime time(*this, tierCounters.translatedNs);
        outcome = tier->run();
      }
      if (outcome == SecondTier::Outcome::Leave) return exit;
      if (outcome == SecondTier::Outcome::Fault && !deliverFault()) return exit;
      // A block that was decoded before may hold what another vCPU has overwritten since: requests come first.
      if (outcome != SecondTier::Outcome::Interpret || requests.load(std::memory_order_acquire)) continue;
    }
    tierRan = false;
    if (tier) tier->settle();
    single = single || trace;
    Block* next = findBlock(single);
    if (!next) {
      watching = watchHit = replaying = false;
      if (!deliverFault()) return exit;
      if (stepped()) return exit;
      continue;
    }
    // Not again when it is executed for the second time.
    if (UNLIKELY(trace && !watchHit && !replaying)) recordInstruction(next->gpa, next->secondPage);
    const bool onlyBranches = trap && (debugCtl & kDebugCtlBtf);
    const bool repeats = next->insns[0].flags & (kInsnRepF3 | kInsnRepF2);
    const uint64_t from = state.rip, behind = from + next->bytes;
    Exec how;
    {
      const TierTime time(*this, tierCounters.interpretedNs);
      how = runBlock(next, single);
    }
    watching = false;
    if (how == Exec::Fault) {
      traps = fault.trap ? traps : earlierTraps;
      if (fault.kind == FaultKind::Break) {
        replaying = true;
        continue;
      }
      watchHit = fault.kind == FaultKind::Watch;
      if (watchHit) continue;
      replaying = false;
      if (!deliverFault()) return exit;
    } else {
      replaying = false;
      const bool branched = state.rip != behind && !(repeats && state.rip == from);
      if (trap && !stepHeld && state.activity == Activity::Runnable && (branched || !onlyBranches)) traps |= kDr6Bs;
    }
    if (UNLIKELY(stepping || watchHit)) {
      if (trapDue() && !deliverTraps()) return exit;
      if (stepped()) return exit;
    }
  }
}

/** Behind an instruction, or at the first one of a handler: whether a debugger is to hear of it. */
bool Core::stepped() {
  if (!stepping && !watchHit) return false;
  if (!watchHit) debugStop = {DebugStop::Cause::Step, 0};
  stepping = watchHit = false;
  exit = RunExit::Debug;
  return true;
}

namespace {

class Interpreter final : public Cpu, private CodeObserver {
 public:
  Interpreter(const CpuConfig& config, PhysicalMemory& memory, Environment& env, const TierFactory& tier)
      : place_(config, memory, env), core_(place_.core), memory_(memory) {
    if (config.trace) core_.trace = &config.trace->processor(config.index);
    if (tier) tier_ = tier(core_);
    core_.tier = tier_.get();
    core_.startup = &startupVector;
    memory_.addObserver(this);
  }
  ~Interpreter() override { memory_.removeObserver(this); }

  void reset() noexcept override {
    core_.requests.store(0, std::memory_order_relaxed);
    core_.resetState();
    core_.tscAdjust = 0;
    core_.flushBlocks();
    materialise();
  }
  RunExit run() noexcept override {
    core_.runner.store(currentThread(), std::memory_order_relaxed);
    core_.paravirtEnter();
    const RunExit exit = core_.run();
    // A pause may also be the cap's, which others do not wait for.
    if (exit == RunExit::Halted || exit == RunExit::StopRequested) core_.paravirtLeave();
    core_.runner.store(0, std::memory_order_relaxed);
    materialise();
    return exit;
  }
  std::string message() const override { return core_.message; }
  State& state() noexcept override { return core_.state; }
  void stateChanged() noexcept override {
    State& s = core_.state;
    core_.ax = static_cast<uint16_t>((s.rflags & 0xd5) << 8 | 0x0200 | (s.rflags >> 11 & 1));
    core_.cpl = static_cast<uint8_t>(!(s.cr0 & kCr0Pe) ? 0 : s.rflags & kVm ? 3 : attrDpl(s.seg[kSs].attributes));
    core_.shadow = false;
    core_.interruptMaybe = true;
    if ((s.cr0 & kCr0Pg) && (s.cr4 & kCr4Pae) && !(s.efer & kEferLma)) core_.loadPdptes(s.cr3);
    core_.env.writeTpr(s.cr8);
    core_.armBreaks();
    core_.dropResume();
    core_.traps = 0;
    core_.updateFp();
    core_.flushTlb(true);
  }
  bool readMsr(uint32_t index, uint64_t& value) noexcept override { return core_.readMsr(index, value); }
  bool writeMsr(uint32_t index, uint64_t value) noexcept override { return core_.writeMsr(index, value); }

  void setDebugPoints(const DebugPoints& points) noexcept override { core_.setDebugPoints(points); }
  void setStep(bool step) noexcept override { core_.stepping = step; }
  DebugStop debugStop() const noexcept override { return core_.debugStop; }

  void request(uint32_t bits) noexcept override { core_.post(bits); }
  uint32_t requests() const noexcept override { return core_.requests.load(std::memory_order_acquire) & ~kRequestStep; }
  void clearRequest(uint32_t bits) noexcept override { core_.requests.fetch_and(~bits, std::memory_order_acq_rel); }
  uint64_t instructions() const noexcept override { return __atomic_load_n(&core_.icount, __ATOMIC_RELAXED); }
  const CpuCounters& counters() const noexcept override { return core_.counters; }
  const TierCounters* tierCounters() const noexcept override { return core_.tier ? &core_.tierCounters : nullptr; }
  x86::Place place() const noexcept override {
    return {core_.state.rip + core_.codeBase, core_.cpl == 3, core_.tierRan, core_.state.activity != Activity::Runnable};
  }

 private:
  static uint64_t currentThread() noexcept { return reinterpret_cast<uint64_t>(__builtin_thread_pointer()); }
  void materialise() noexcept {
    core_.state.rflags = core_.flags();
    core_.state.cr8 = core_.env.readTpr();
  }

  void onCodePageWritten(Gpa page) noexcept override {
    // The vCPU's own writes have been dealt with where they happened; but the page may be visible elsewhere, too.
    if (core_.runner.load(std::memory_order_relaxed) == currentThread() && page == core_.ownWrite) return;
    {
      const std::lock_guard<std::mutex> lock(core_.queueLock);
      core_.writtenPages.push_back(page);
    }
    request(kRequestInvalidateCode);
  }
  void onDirtyTaken() noexcept override { request(kRequestDirtyTaken); }
  void onCodeMarked(Gpa page) noexcept override {
    if (core_.runner.load(std::memory_order_relaxed) == currentThread()) return;
    {
      const std::lock_guard<std::mutex> lock(core_.queueLock);
      core_.markedPages.push_back(page);
    }
    request(kRequestInvalidateCode);
  }

  /** The second tier's code runs with the stack pointer at the Core: calls and signal frames go below it. */
  struct Place {
    Place(const CpuConfig& config, PhysicalMemory& memory, Environment& env) : core(config, memory, env) {}
    alignas(64) uint8_t below[32768];
    Core core;
  };
  Place place_;
  Core& core_;
  std::unique_ptr<SecondTier> tier_;
  PhysicalMemory& memory_;
};

}  // namespace

std::unique_ptr<Cpu> makeInterpreter(const CpuConfig& config, PhysicalMemory& memory, Environment& env) {
  return std::make_unique<Interpreter>(config, memory, env, TierFactory{});
}
std::unique_ptr<Cpu> makeTieredCpu(const CpuConfig& config, PhysicalMemory& memory, Environment& env, const TierFactory& tier) {
  return std::make_unique<Interpreter>(config, memory, env, tier);
}

}  // namespace lodge::x86
