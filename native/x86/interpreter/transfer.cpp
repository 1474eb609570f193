// Transfers of control between segments and privilege levels: far CALL, JMP and RET, IRET, interrupts by instruction, fast system
// calls; and what else loads segment registers. SDM vol. 3, chapters 5 and 6.
#include "x86/interpreter/exec.h"

namespace lodge::x86 {
namespace {

// ---- far transfers and segment registers ------------------------------------------------------------------------------------

/** A selector and, below it, an offset of the operand size. */
bool readFarPointer(Core& c, const Insn* i, uint16_t& selector, uint64_t& offset) {
  const unsigned size = i->operandSize();
  const auto* m = static_cast<const uint8_t*>(c.slowRead(i, size + 2));
  if (!m) return false;
  offset = 0;
  __builtin_memcpy(&offset, m, size);
  __builtin_memcpy(&selector, m + size, 2);
  return true;
}

template <bool Call>
bool farDirect(Core& c, const Insn* i) {
  return c.farTransfer(static_cast<uint16_t>(i->row), static_cast<uint64_t>(i->imm64), i->operandSize(), Call);
}
template <bool Call>
bool farIndirect(Core& c, const Insn* i) {
  uint64_t offset;
  uint16_t selector;
  return readFarPointer(c, i, selector, offset) && c.farTransfer(selector, offset, i->operandSize(), Call);
}
bool retFar(Core& c, const Insn* i) { return c.farReturn(i->operandSize(), static_cast<uint16_t>(i->imm)); }
bool iret(Core& c, const Insn* i) {
  if (!c.iret(i->operandSize())) return false;
  c.dropResume();
  return true;
}

/** LDS, LES, LSS, LFS, LGS: rm is the segment, reg the general register. */
bool loadFarPointer(Core& c, const Insn* i) {
  uint64_t offset;
  uint16_t selector;
  if (!readFarPointer(c, i, selector, offset) || !c.loadSegment(static_cast<Seg>(i->rm), selector)) return false;
  if (i->operandSize() == 2)
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

// ---- interrupts by instruction ----------------------------------------------------------------------------------------------

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

// ---- fast system calls ------------------------------------------------------------------------------------------------------

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

}  // namespace

Handler bindTransfer(const Binding& b) {
  const Decoded& d = b.d;
  Insn& i = b.i;
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
      i.reg = regOffset(d, d.reg, 8);
      i.rm = regOffset(d, d.rm, 8);
      return plain<bound>;
    case Op::Syscall:
      return ending<syscall>;
    case Op::Sysret:
      return ending<sysret>;
    case Op::Sysenter:
      return ending<sysenter>;
    case Op::Sysexit:
      return ending<sysexit>;
    default:
      return nullptr;
  }
}

}  // namespace lodge::x86
