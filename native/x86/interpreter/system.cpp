// System instructions: control and debug registers, descriptor tables, MSR access, fast system calls, interrupts by
// instruction. SDM vol. 3, chapters 2, 5 and 6.
#include "x86/interpreter/exec.h"

namespace lodge::x86 {
namespace {

// ---- far control flow ----------------------------------------------------------------------------------------------------

template <bool Call>
bool farDirect(Core& c, const Insn* i) {
  return c.farTransfer(static_cast<uint16_t>(i->row), static_cast<uint64_t>(i->imm64), i->operandSize(), Call);
}
template <bool Call>
bool farIndirect(Core& c, const Insn* i) {
  const unsigned size = i->operandSize();
  uint64_t offset = 0;
  uint16_t selector;
  const auto* m = static_cast<const uint8_t*>(c.slowRead(i, size + 2));
  if (!m) return false;
  __builtin_memcpy(&offset, m, size);
  __builtin_memcpy(&selector, m + size, 2);
  return c.farTransfer(selector, offset, size, Call);
}
bool retFar(Core& c, const Insn* i) { return c.farReturn(i->operandSize(), static_cast<uint16_t>(i->imm)); }
bool iret(Core& c, const Insn* i) {
  if (!c.iret(i->operandSize())) return false;
  c.dropResume();
  return true;
}

/** LDS, LES, LSS, LFS, LGS: rm is the segment, reg the general register. */
bool loadFarPointer(Core& c, const Insn* i) {
  const unsigned size = i->operandSize();
  uint64_t offset = 0;
  uint16_t selector;
  const auto* m = static_cast<const uint8_t*>(c.slowRead(i, size + 2));
  if (!m) return false;
  __builtin_memcpy(&offset, m, size);
  __builtin_memcpy(&selector, m + size, 2);
  if (!c.loadSegment(static_cast<Seg>(i->rm), selector)) return false;
  if (size == 2)
    setReg<uint16_t>(c, i->reg, static_cast<uint16_t>(offset));
  else
    setReg<uint64_t>(c, i->reg, offset);
  return true;
}

bool movToSegment(Core& c, const Insn* i) {
  uint16_t selector;
  if (!operand<uint16_t>(c, i, selector)) return false;
  if (!c.loadSegment(static_cast<Seg>(i->reg), selector)) return false;
  if (i->reg == kSs) c.shadow = c.stepHeld = true;  // SDM vol. 3 §6.8.3: traps are held back as well
  return true;
}
bool movFromSegment(Core& c, const Insn* i) { return storeWord(c, i, c.state.seg[i->reg].selector); }

// ---- interrupts by instruction -----------------------------------------------------------------------------------------------

bool softwareInterrupt(Core& c, uint8_t vector, Core::Source source) {
  const uint64_t rip = c.state.rip;
  c.state.rip = c.nextRip;
  if (!c.deliver(vector, source, false, 0)) {
    if (!c.fault.trap) c.state.rip = rip;
    return false;
  }
  c.nextRip = c.state.rip;
  // Delivery cleared TF: the handler is not stepped into, and the pushed TF traps after the instruction behind the IRET (SDM
  // vol. 3 §17.3.1.4).
  c.stepHeld = true;
  return true;
}
/** In V86 mode the redirection bitmap of the TSS decides who sees INT n, then IOPL whether the monitor is asked (SDM vol. 3 §21.3). */
bool intN(Core& c, const Insn* i) {
  const auto vector = static_cast<uint8_t>(i->imm);
  if (c.v86()) {
    bool redirected = false;
    if (!c.redirected(vector, redirected)) return false;
    if (redirected) return c.deliverVirtual(vector);
    if (c.iopl() < 3) return c.raise(kGP, 0);
  }
  return softwareInterrupt(c, vector, Core::Source::Software);
}
bool int3(Core& c, const Insn*) { return softwareInterrupt(c, kBP, Core::Source::Software); }
bool into(Core& c, const Insn*) { return !(c.ax & 1) || softwareInterrupt(c, kOF, Core::Source::Software); }
bool icebp(Core& c, const Insn*) { return softwareInterrupt(c, kDB, Core::Source::Icebp); }
bool bound(Core& c, const Insn* i) {
  const unsigned size = i->operandSize();
  const auto* m = static_cast<const uint8_t*>(c.slowRead(i, 2 * size));
  if (!m) return false;
  bool inside;
  if (size == 2) {
    int16_t low, high;
    __builtin_memcpy(&low, m, 2);
    __builtin_memcpy(&high, m + 2, 2);
    const auto v = static_cast<int16_t>(reg<uint16_t>(c, i->reg));
    inside = v >= low && v <= high;
  } else {
    int32_t low, high;
    __builtin_memcpy(&low, m, 4);
    __builtin_memcpy(&high, m + 4, 4);
    const auto v = static_cast<int32_t>(reg<uint32_t>(c, i->reg));
    inside = v >= low && v <= high;
  }
  return inside || c.raise(kBR);
}

// ---- flags and halt -----------------------------------------------------------------------------------------------------------

/** CLI and STI: which flag is theirs. 0: neither (#GP). */
uint32_t interruptFlag(Core& c) {
  if (c.realMode() || c.cpl <= c.iopl()) return kIf;
  const uint64_t extension = c.v86() ? +kCr4Vme : c.cpl == 3 ? +kCr4Pvi : 0;
  return c.state.cr4 & extension ? +kVif : 0;
}
bool cli(Core& c, const Insn*) {
  const uint32_t flag = interruptFlag(c);
  if (!flag) return c.raise(kGP, 0);
  c.state.rflags &= ~uint64_t{flag};
  return true;
}
bool stiSlow(Core& c, const Insn*) {
  const uint32_t flag = interruptFlag(c);
  if (!flag || (flag == kVif && (c.state.rflags & kVip))) return c.raise(kGP, 0);
  if (flag == kVif) {
    c.state.rflags |= kVif;
    return true;
  }
  if (!(c.state.rflags & kIf)) c.shadow = true;
  c.state.rflags |= kIf;
  return true;
}
/** Runs straight on into the next block when nothing waits; that block's first instruction is then the shadow. */
Exec sti(Core& c, const Insn* i) {
  const Link& l = c.block->links[1];
  const uint64_t rip = nextRip(c, i);
  if (c.cpl == 0 && !c.interruptMaybe && l.target && l.linear == rip + c.codeBase && l.key == c.fetchKey &&
      !c.requests.load(std::memory_order_relaxed)) {
    c.state.rflags |= kIf;
    return enterBlock(c, l.target, rip);
  }
  c.pendingLink = &c.block->links[1];
  c.pendingLinear = rip + c.codeBase;
  return ending<stiSlow>(c, i);
}
bool hlt(Core& c, const Insn*) {
  c.state.activity = Activity::Halted;
  return true;
}

// ---- control registers
// -----------------------------------------------------------------------------------------------------------

bool movFromCr(Core& c, const Insn* i) {
  uint64_t value;
  switch (i->reg) {
    case 0:
      value = c.state.cr0;
      break;
    case 2:
      value = c.state.cr2;
      break;
    case 3:
      value = c.state.cr3;
      break;
    case 4:
      value = c.state.cr4;
      break;
    case 8:
      value = c.env.readTpr();
      break;
    default:
      return c.raise(kUD);
  }
  if (i->operandSize() == 8)
    c.state.gpr[i->rm] = value;
  else
    c.state.gpr[i->rm] = static_cast<uint32_t>(value);
  return true;
}
bool movToCr(Core& c, const Insn* i) {
  const uint64_t value = i->operandSize() == 8 ? c.state.gpr[i->rm] : static_cast<uint32_t>(c.state.gpr[i->rm]);
  switch (i->reg) {
    case 0:
      return c.setCr0(value);
    case 2:
      c.state.cr2 = value;
      return true;
    case 3:
      return c.setCr3(value);
    case 4:
      return c.setCr4(value);
    case 8:
      if (value >> 4) return c.raise(kGP, 0);
      c.env.writeTpr(value);
      c.requests.fetch_or(kRequestInterrupt, std::memory_order_relaxed);
      return true;
    default:
      return c.raise(kUD);
  }
}
/** DR4 and DR5 are DR6 and DR7 unless CR4.DE says they do not exist. */
bool debugRegister(Core& c, unsigned& n) {
  if (n >= 8) return c.raise(kUD);
  if (n == 4 || n == 5) {
    if (c.state.cr4 & kCr4De) return c.raise(kUD);
    n += 2;
  }
  if (c.state.dr[7] & kDr7Gd) {
    c.state.dr[6] |= kDr6Bd;
    c.raise(kDB);
    c.fault.resume = true;
    return false;
  }
  return true;
}
bool movFromDr(Core& c, const Insn* i) {
  unsigned n = i->reg;
  if (!debugRegister(c, n)) return false;
  if (i->operandSize() == 8)
    c.state.gpr[i->rm] = c.state.dr[n];
  else
    c.state.gpr[i->rm] = static_cast<uint32_t>(c.state.dr[n]);
  return true;
}
bool movToDr(Core& c, const Insn* i) {
  unsigned n = i->reg;
  if (!debugRegister(c, n)) return false;
  const uint64_t value = i->operandSize() == 8 ? c.state.gpr[i->rm] : static_cast<uint32_t>(c.state.gpr[i->rm]);
  if (n >= 6 && value >> 32) return c.raise(kGP, 0);
  if (n < 4 && c.long64() && !canonical(value)) return c.raise(kGP, 0);
  if (n == 6)
    c.state.dr[6] = (value & 0xe00f) | 0xffff0ff0;
  else if (n == 7)
    c.state.dr[7] = (value & 0xffff2fff) | 0x400;
  else
    c.state.dr[n] = value;
  if (n != 6) c.updateBreaks();
  return true;
}
bool clts(Core& c, const Insn*) {
  c.state.cr0 &= ~uint64_t{kCr0Ts};
  c.updateFp();
  return true;
}
/** SGDT, SIDT, SLDT, SMSW and STR tell user mode nothing under CR4.UMIP. */
bool smsw(Core& c, const Insn* i) {
  if (c.cpl > 0 && (c.state.cr4 & kCr4Umip)) return c.raise(kGP, 0);
  if (i->flags & kInsnMemory) return storeWord(c, i, static_cast<uint16_t>(c.state.cr0));
  if (i->operandSize() == 2)
    setReg<uint16_t>(c, i->rm, static_cast<uint16_t>(c.state.cr0));
  else
    setReg<uint64_t>(c, i->rm, i->operandSize() == 4 ? static_cast<uint32_t>(c.state.cr0) : c.state.cr0);
  return true;
}
bool lmsw(Core& c, const Insn* i) {
  uint16_t value;
  if (!operand<uint16_t>(c, i, value)) return false;
  // PE can be set this way, never cleared.
  return c.setCr0((c.state.cr0 & ~uint64_t{0xe}) | (value & 0xf));
}
bool invlpg(Core& c, const Insn* i) {
  uint64_t linear = c.effectiveOffset(i);
  if (c.long64()) {
    if (i->segment >= kFs) linear += c.state.seg[i->segment].base;
    if (!canonical(linear)) return true;
  } else {
    linear = (linear + c.state.seg[i->segment].base) & 0xffffffff;
  }
  c.invalidatePage(linear);
  return true;
}

// ---- fast system calls
// ----------------------------------------------------------------------------------------------------------------

SegmentRegister flatSegment(uint16_t selector, bool code, unsigned dpl, bool wide) {
  SegmentRegister s;
  s.selector = selector;
  s.limit = 0xffffffff;
  s.attributes = static_cast<uint16_t>(kAttrP | kAttrS | kAttrG | kAttrAccessed | kAttrWritable | dpl << 5 |
                                       (code ? kAttrCode : 0) | (code && wide ? +kAttrL : +kAttrDb));
  return s;
}
/** Where Intel's processors have SYSCALL and SYSRET at all; AMD's have them in legacy and compatibility mode, too. */
bool fastCallKnown(Core& c) {
  const State& s = c.state;
  return (s.efer & kEferSce) && (c.intelRules ? c.long64() : (s.cr0 & kCr0Pe) != 0);
}
bool syscall(Core& c, const Insn*) {
  State& s = c.state;
  if (!fastCallKnown(c)) return c.raise(kUD);
  const auto cs = static_cast<uint16_t>(s.star >> 32 & 0xfffc);
  const uint64_t image = c.flags();
  s.gpr[kRcx] = c.nextRip;
  if (c.longMode()) {
    s.gpr[kR11] = image & ~uint64_t{kRf};
    c.nextRip = c.long64() ? s.lstar : s.cstar;
    s.rflags = image & ~s.sfmask & ~uint64_t{kRf};
  } else {
    s.gpr[kRcx] = static_cast<uint32_t>(c.nextRip);
    c.nextRip = static_cast<uint32_t>(s.star);
    s.rflags = image & ~uint64_t{kIf | kRf | kVm};
  }
  s.seg[kSs] = flatSegment(static_cast<uint16_t>(cs + 8), false, 0, false);
  c.setFlags(s.rflags | 2);
  c.setCs(flatSegment(cs, true, 0, c.longMode()), 0);
  return true;
}
bool sysret(Core& c, const Insn* i) {
  State& s = c.state;
  if (!fastCallKnown(c)) return c.raise(kUD);
  if (c.cpl != 0) return c.raise(kGP, 0);
  const auto base = static_cast<uint16_t>(s.star >> 48 | 3);
  const bool to64 = c.longMode() && i->operandSize() == 8;
  // AMD's processors notice at the first fetch, in user mode.
  if (c.intelRules && to64 && !canonical(s.gpr[kRcx])) return c.raise(kGP, 0);
  c.nextRip = to64 ? s.gpr[kRcx] : static_cast<uint32_t>(s.gpr[kRcx]);
  if (c.intelRules) {
    s.seg[kSs] = flatSegment(static_cast<uint16_t>(base + 8), false, 3, false);
  } else {
    // AMD's load the selector alone. The DPL is kept true: it is what tells a saved processor's privilege.
    s.seg[kSs].selector = static_cast<uint16_t>(base + 8);
    s.seg[kSs].attributes |= 3 << 5;
  }
  const uint64_t flags = c.longMode() ? (s.gpr[kR11] & 0x3c7fd7) | 2 : c.flags() | kIf;
  c.setCs(flatSegment(static_cast<uint16_t>(to64 ? base + 16 : base), true, 3, to64), 3);
  c.setFlags(flags);
  return true;
}
bool sysenter(Core& c, const Insn*) {
  State& s = c.state;
  if (!c.intelRules && c.longMode()) return c.raise(kUD);
  const auto cs = static_cast<uint16_t>(s.sysenterCs & 0xfffc);
  if (cs == 0 || c.realMode()) return c.raise(kGP, 0);
  const bool wide = c.longMode();
  c.setFlags(c.flags() & ~uint64_t{kVm | kIf | kRf});
  s.gpr[kRsp] = wide ? s.sysenterEsp : static_cast<uint32_t>(s.sysenterEsp);
  c.nextRip = wide ? s.sysenterEip : static_cast<uint32_t>(s.sysenterEip);
  s.seg[kSs] = flatSegment(static_cast<uint16_t>(cs + 8), false, 0, false);
  c.setCs(flatSegment(cs, true, 0, wide), 0);
  return true;
}
bool sysexit(Core& c, const Insn* i) {
  State& s = c.state;
  // AMD's processors look at the privilege first.
  if (c.cpl != 0) return c.raise(kGP, 0);
  if (!c.intelRules && c.longMode()) return c.raise(kUD);
  const auto cs = static_cast<uint16_t>(s.sysenterCs & 0xfffc);
  if (cs == 0 || c.realMode()) return c.raise(kGP, 0);
  const bool wide = i->operandSize() == 8;
  if (wide && (!canonical(s.gpr[kRdx]) || !canonical(s.gpr[kRcx]))) return c.raise(kGP, 0);
  s.gpr[kRsp] = wide ? s.gpr[kRcx] : static_cast<uint32_t>(s.gpr[kRcx]);
  c.nextRip = wide ? s.gpr[kRdx] : static_cast<uint32_t>(s.gpr[kRdx]);
  s.seg[kSs] = flatSegment(static_cast<uint16_t>((wide ? cs + 40 : cs + 24) | 3), false, 3, false);
  c.setCs(flatSegment(static_cast<uint16_t>((wide ? cs + 32 : cs + 16) | 3), true, 3, wide), 3);
  return true;
}
bool swapgs(Core& c, const Insn*) {
  std::swap(c.state.seg[kGs].base, c.state.kernelGsBase);
  return true;
}

// ---- MSRs, time, identification
// ----------------------------------------------------------------------------------------------------------

void setPair(Core& c, uint64_t value) {
  c.state.gpr[kRax] = static_cast<uint32_t>(value);
  c.state.gpr[kRdx] = value >> 32;
}
bool rdmsr(Core& c, const Insn*) {
  uint64_t value;
  const auto index = static_cast<uint32_t>(c.state.gpr[kRcx]);
  if (!c.msrOffered(index) || !c.readMsr(index, value)) return c.raise(kGP, 0);
  setPair(c, value);
  return true;
}
bool wrmsr(Core& c, const Insn*) {
  const uint64_t value = static_cast<uint32_t>(c.state.gpr[kRax]) | c.state.gpr[kRdx] << 32;
  const auto index = static_cast<uint32_t>(c.state.gpr[kRcx]);
  return (c.msrOffered(index) && c.writeMsr(index, value)) || c.raise(kGP, 0);
}
bool rdtsc(Core& c, const Insn*) {
  if ((c.state.cr4 & kCr4Tsd) && c.cpl > 0) return c.raise(kGP, 0);
  setPair(c, c.env.readTsc());
  return true;
}
bool rdtscp(Core& c, const Insn* i) {
  if (!rdtsc(c, i)) return false;
  c.state.gpr[kRcx] = static_cast<uint32_t>(c.state.tscAux);
  return true;
}
/** AMD's processors have four counters whatever CPUID says; here they stand still. Others are shown to have none. */
bool rdpmc(Core& c, const Insn*) {
  const bool allowed = c.cpl == 0 || (c.state.cr4 & kCr4Pce);
  if (!allowed || c.intelRules || static_cast<uint32_t>(c.state.gpr[kRcx]) > 3) return c.raise(kGP, 0);
  setPair(c, 0);
  return true;
}
bool cpuid(Core& c, const Insn*) {
  uint32_t r[4];
  c.cpuid(static_cast<uint32_t>(c.state.gpr[kRax]), static_cast<uint32_t>(c.state.gpr[kRcx]), r);
  c.state.gpr[kRax] = r[0];
  c.state.gpr[kRbx] = r[1];
  c.state.gpr[kRcx] = r[2];
  c.state.gpr[kRdx] = r[3];
  return true;
}
template <class T, bool Seed>
bool rdrand(Core& c, const Insn* i) {
  uint64_t value;
  if (!c.randomNumber(value)) {
    setReg<T>(c, i->rm, 0);
    c.ax = 0x0200;
    return true;
  }
  setReg<T>(c, i->rm, static_cast<T>(value));
  c.ax = 0x0300;  // CF alone: the number is good
  return true;
}
template <class T, Seg S, bool Write>
bool segmentBase(Core& c, const Insn* i) {
  if (!(c.state.cr4 & kCr4Fsgsbase)) return c.raise(kUD);
  if constexpr (Write) {
    const uint64_t value = reg<T>(c, i->rm);
    if (!canonical(value)) return c.raise(kGP, 0);
    c.state.seg[S].base = value;
  } else {
    setReg<T>(c, i->rm, static_cast<T>(c.state.seg[S].base));
  }
  return true;
}
template <bool Set>
bool setAc(Core& c, const Insn*) {
  if (c.cpl != 0) return c.raise(kUD);
  if (Set)
    c.state.rflags |= kAc;
  else
    c.state.rflags &= ~uint64_t{kAc};
  c.tlb = &c.tlbs[c.privilege()];
  return true;
}
/** Number in RAX, arguments in RBX, RCX, RDX and RSI, answer in RAX; halves of them outside 64-bit mode. */
bool vmcall(Core& c, const Insn*) {
  constexpr int64_t kPermission = -1;  // KVM_EPERM
  const auto value = [&](unsigned r) { return c.long64() ? c.state.gpr[r] : static_cast<uint32_t>(c.state.gpr[r]); };
  const int64_t answer = c.cpl == 0 ? c.hypercall(value(kRax), {value(kRbx), value(kRcx), value(kRdx), value(kRsi)}) : kPermission;
  c.state.gpr[kRax] = c.long64() ? static_cast<uint64_t>(answer) : static_cast<uint32_t>(answer);
  return true;
}
bool rdpid(Core& c, const Insn* i) {
  c.state.gpr[i->rm] = static_cast<uint32_t>(c.state.tscAux);
  return true;
}
/** SDM vol. 2, INVPCID. Of an address space that is not at hand all goes, whatever the type names. */
bool invpcid(Core& c, const Insn* i) {
  const uint64_t type = i->operandSize() == 8 ? c.state.gpr[i->reg] : static_cast<uint32_t>(c.state.gpr[i->reg]);
  const auto* const m = static_cast<const uint8_t*>(c.slowRead(i, 16));
  if (!m) return false;
  uint64_t pcid, linear;
  __builtin_memcpy(&pcid, m, 8);
  __builtin_memcpy(&linear, m + 8, 8);
  const bool named = type < 2;
  if (type > 3 || (type != 2 && type != 3 && pcid >> 12) || (named && pcid && !(c.state.cr4 & kCr4Pcide)) ||
      (type == 0 && !canonical(linear))) {
    return c.raise(kGP, 0);
  }
  const bool current = pcid == (c.state.cr4 & kCr4Pcide ? c.state.cr3 & 0xfff : 0);
  if (type == 2) {
    c.flushTlb(true);
  } else if (type == 3) {
    c.forgetSpaces(~0ull);
    c.flushTlb(false);
  } else if (!current) {
    c.forgetSpaces(pcid);
  } else if (type == 0) {
    c.invalidatePage(linear);
  } else {
    c.flushTlb(false);
  }
  return true;
}
bool clflush(Core& c, const Insn* i) { return !(i->flags & kInsnMemory) || c.slowRead(i, 1); }
bool nothing(Core&, const Insn*) { return true; }

/** MONITOR and MWAIT: as if a write had come at once, which SDM vol. 2 allows; CPUID offers neither them nor extensions. */
bool waitAllowed(Core& c) {
  if (c.cpl != 0) return c.raise(kUD);
  return !(c.codeSize == CodeSize::k64 ? c.state.gpr[kRcx] : static_cast<uint32_t>(c.state.gpr[kRcx])) || c.raise(kGP, 0);
}
bool monitor(Core& c, const Insn* i) {
  if (!waitAllowed(c)) return false;
  uint64_t linear;
  uint8_t watched;
  return c.linearAddress(i->segment, c.state.gpr[kRax] & addressMask(i), 1, false, linear) && c.load<uint8_t>(linear, watched, c.privilege());
}
bool mwait(Core& c, const Insn*) { return waitAllowed(c); }

template <Seg S, bool Write>
Handler bindBase(const Decoded& d) {
  return d.operandSize == 8 ? plain<segmentBase<uint64_t, S, Write>> : plain<segmentBase<uint32_t, S, Write>>;
}

}  // namespace

Handler bindSystem(const Binding& b) {
  const Decoded& d = b.d;
  Insn& i = b.i;
  const auto registers = [&] {
    i.reg = regOffset(d, d.reg, 8);
    i.rm = regOffset(d, d.rm, 8);
  };
  const auto numbers = [&] {
    i.reg = d.reg;
    i.rm = d.rm;
  };
  const auto rmRegister = [&](Handler h) -> Handler {
    i.rm = regOffset(d, d.rm, 8);
    return h;
  };
  switch (d.op) {
    case Op::CallFar:
    case Op::JmpFar:
      if (d.row->form == Form::Far) {
        i.imm64 = static_cast<int64_t>(d.immediate);
        i.row = static_cast<uint16_t>(d.immediate2);
        return d.op == Op::CallFar ? ending<farDirect<true>> : ending<farDirect<false>>;
      }
      return d.op == Op::CallFar ? ending<farIndirect<true>> : ending<farIndirect<false>>;
    case Op::RetFar:
      i.imm = static_cast<int32_t>(d.immediate);
      return ending<retFar>;
    case Op::Iret:
      return ending<iret>;
    case Op::Lds:
      i.reg = regOffset(d, d.reg, 8);
      i.rm = d.opcode == 0xc4 ? kEs : d.opcode == 0xc5 ? kDs : d.opcode == 0xb2 ? kSs : d.opcode == 0xb4 ? kFs : kGs;
      return ending<loadFarPointer>;
    case Op::MovSegTo:
    case Op::MovSegFrom:
      i.reg = d.reg & 7;
      i.rm = regOffset(d, d.rm, 8);
      if (i.reg > kGs || (d.op == Op::MovSegTo && i.reg == kCs)) return undefinedHandler;
      return d.op == Op::MovSegTo ? ending<movToSegment> : plain<movFromSegment>;
    case Op::Int3:
      return ending<int3>;
    case Op::IntN:
      i.imm = static_cast<int32_t>(d.immediate & 0xff);
      return ending<intN>;
    case Op::Into:
      return ending<into>;
    case Op::Icebp:
      return ending<icebp>;
    case Op::Bound:
      registers();
      return plain<bound>;
    case Op::Cli:
      return plain<cli>;
    case Op::Sti:
      return sti;
    case Op::Hlt:
      return ending<ring0<hlt>>;
    case Op::MovFromCr:
    case Op::MovToCr:
      // A register that does not exist comes before the privilege.
      if (d.reg == 1 || (d.reg > 4 && d.reg != 8)) return undefinedHandler;
      numbers();
      if (d.op == Op::MovToCr) return ending<ring0<movToCr>>;
      return plain<ring0<movFromCr>>;
    case Op::MovFromDr:
      if (d.reg >= 8) return undefinedHandler;
      numbers();
      return plain<ring0<movFromDr>>;
    case Op::MovToDr:
      if (d.reg >= 8) return undefinedHandler;
      numbers();
      return ending<ring0<movToDr>>;
    case Op::Clts:
      return ending<ring0<clts>>;
    case Op::Smsw:
      return rmRegister(plain<smsw>);
    case Op::Lmsw:
      return rmRegister(ending<ring0<lmsw>>);
    case Op::Invlpg:
      return ending<ring0<invlpg>>;
    case Op::Syscall:
      return ending<syscall>;
    case Op::Sysret:
      return ending<sysret>;
    case Op::Sysenter:
      return ending<sysenter>;
    case Op::Sysexit:
      return ending<sysexit>;
    case Op::Swapgs:
      return plain<ring0<swapgs>>;
    case Op::Rdmsr:
      return plain<ring0<rdmsr>>;
    case Op::Wrmsr:
      return ending<ring0<wrmsr>>;
    case Op::Rdtsc:
      return plain<rdtsc>;
    case Op::Rdtscp:
      return plain<rdtscp>;
    case Op::Rdpmc:
      return plain<rdpmc>;
    case Op::Cpuid:
      return plain<cpuid>;
    case Op::Rdrand:
    case Op::Rdseed:
      i.rm = regOffset(d, d.rm, 8);
      return byWideSize(d.operandSize, [](auto t) -> Handler { return plain<rdrand<decltype(t), false>>; });
    case Op::Rdfsbase:
      return rmRegister(bindBase<kFs, false>(d));
    case Op::Rdgsbase:
      return rmRegister(bindBase<kGs, false>(d));
    case Op::Wrfsbase:
      return rmRegister(bindBase<kFs, true>(d));
    case Op::Wrgsbase:
      return rmRegister(bindBase<kGs, true>(d));
    case Op::Clac:
      return plain<setAc<false>>;
    case Op::Stac:
      return plain<setAc<true>>;
    case Op::Vmcall:
      return plain<protectedOnly<vmcall>>;
    case Op::Clflush:
    case Op::Clflushopt:
    case Op::Clwb:
      return plain<clflush>;
    case Op::Rdpid:
      numbers();
      return plain<rdpid>;
    case Op::Invpcid:
      numbers();
      return ending<ring0<invpcid>>;
    case Op::Invd:
    case Op::Wbinvd:
      return plain<ring0<nothing>>;
    case Op::Monitor:
      return plain<monitor>;
    case Op::Mwait:
      return plain<mwait>;
    case Op::Ud:
      return undefinedHandler;
    default:
      return nullptr;
  }
}

}  // namespace lodge::x86
