// System instructions: flags and halt, control and debug registers, MSRs, time, identification. SDM vol. 3, chapters 2 and 4.
#include "x86/interpreter/exec.h"

namespace lodge::x86 {
namespace {

// ---- flags and halt ---------------------------------------------------------------------------------------------------------

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

// ---- control registers ------------------------------------------------------------------------------------------------------

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
      c.post(kRequestInterrupt);
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

// ---- MSRs, time, identification ---------------------------------------------------------------------------------------------

bool swapgs(Core& c, const Insn*) {
  std::swap(c.state.seg[kGs].base, c.state.kernelGsBase);
  return true;
}
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
  const auto numbers = [&] {
    i.reg = d.reg;
    i.rm = d.rm;
  };
  const auto rmRegister = [&](Handler h) -> Handler {
    i.rm = regOffset(d, d.rm, 8);
    return h;
  };
  switch (d.op) {
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
