// PUSH, POP and their kin. In 64-bit mode, and in 32-bit code with flat segments, the common forms take the TLB's fast path;
// everything else is checked in full.
#include "x86/interpreter/exec.h"

namespace lodge::x86 {
namespace {

/** PUSH of a value that was fetched; any mode. */
bool pushValue(Core& c, uint64_t value, unsigned size) {
  const uint64_t mask = c.stackMask();
  const uint64_t sp = (c.state.gpr[kRsp] - size) & mask;
  uint64_t linear;
  if (!c.stackLinear(sp, size, true, linear)) return false;
  if (!c.storeSized(linear, value, size, c.privilege())) return false;
  c.state.gpr[kRsp] = mask == 0xffff ? (c.state.gpr[kRsp] & ~mask) | sp : sp;
  return true;
}
bool popValue(Core& c, uint64_t& value, unsigned size) {
  const uint64_t mask = c.stackMask();
  uint64_t linear;
  if (!c.stackLinear(c.state.gpr[kRsp] & mask, size, false, linear)) return false;
  if (!c.loadSized(linear, value, size, c.privilege())) return false;
  const uint64_t sp = (c.state.gpr[kRsp] + size) & mask;
  c.state.gpr[kRsp] = mask == 0xffff ? (c.state.gpr[kRsp] & ~mask) | sp : sp;
  return true;
}
void setSized(Core& c, unsigned offset, uint64_t value, unsigned size) {
  if (size == 2)
    setReg<uint16_t>(c, offset, static_cast<uint16_t>(value));
  else if (size == 4)
    setReg<uint32_t>(c, offset, static_cast<uint32_t>(value));
  else
    setReg<uint64_t>(c, offset, value);
}

bool pushRegSlow(Core& c, const Insn* i) { return pushValue(c, reg<uint64_t>(c, i->rm), i->operandSize()); }
bool pushImmSlow(Core& c, const Insn* i) {
  return pushValue(c, static_cast<uint64_t>(static_cast<int64_t>(i->imm)), i->operandSize());
}
bool popRegSlow(Core& c, const Insn* i) {
  uint64_t value;
  if (!popValue(c, value, i->operandSize())) return false;
  setSized(c, i->rm, value, i->operandSize());
  return true;
}
bool pushMemSlow(Core& c, const Insn* i) {
  const unsigned size = i->operandSize();
  const void* m = c.slowRead(i, size);
  if (!m) return false;
  uint64_t value = 0;
  __builtin_memcpy(&value, m, size);
  return pushValue(c, value, size);
}
/** The address is computed with the stack pointer already raised (SDM: POP), and nothing may change if the write faults. */
bool popMem(Core& c, const Insn* i) {
  const unsigned size = i->operandSize();
  const uint64_t old = c.state.gpr[kRsp];
  uint64_t value;
  if (!popValue(c, value, size)) return false;
  void* m = c.slowWrite(i, size, false);
  if (m) __builtin_memcpy(m, &value, size);
  if (!m || (c.pending != PendingWrite::None && !c.slowCommit())) {
    c.state.gpr[kRsp] = old;
    return false;
  }
  return true;
}

// T is the width of operand, stack pointer and address alike: 64 bits, or 32 in flat code.

template <class T>
Exec pushReg(Core& c, const Insn* i) {
  const uint64_t sp = static_cast<T>(c.state.gpr[kRsp] - sizeof(T));
  auto* m = fastWrite<T>(c, sp);
  if (UNLIKELY(!m)) return plain<pushRegSlow>(c, i);
  *reinterpret_cast<Unaligned<T>*>(m) = reg<T>(c, i->rm);
  c.state.gpr[kRsp] = sp;
  NEXT;
}
template <class T>
Exec pushImm(Core& c, const Insn* i) {
  const uint64_t sp = static_cast<T>(c.state.gpr[kRsp] - sizeof(T));
  auto* m = fastWrite<T>(c, sp);
  if (UNLIKELY(!m)) return plain<pushImmSlow>(c, i);
  *reinterpret_cast<Unaligned<T>*>(m) = static_cast<T>(static_cast<int64_t>(i->imm));
  c.state.gpr[kRsp] = sp;
  NEXT;
}
template <class T, Ea E>
Exec pushMem(Core& c, const Insn* i) {
  const auto* from = memRead<T, E>(c, i);
  if (UNLIKELY(!from)) return plain<pushMemSlow>(c, i);
  const uint64_t sp = static_cast<T>(c.state.gpr[kRsp] - sizeof(T));
  auto* m = fastWrite<T>(c, sp);
  if (UNLIKELY(!m)) return plain<pushMemSlow>(c, i);
  *reinterpret_cast<Unaligned<T>*>(m) = *from;
  c.state.gpr[kRsp] = sp;
  NEXT;
}
template <class T>
Exec popReg(Core& c, const Insn* i) {
  const uint64_t sp = static_cast<T>(c.state.gpr[kRsp]);
  const auto* m = fastRead<T>(c, sp);
  if (UNLIKELY(!m)) return plain<popRegSlow>(c, i);
  c.state.gpr[kRsp] = static_cast<T>(sp + sizeof(T));
  unit(c, i->rm >> 3) = *reinterpret_cast<const Unaligned<T>*>(m);
  NEXT;
}

bool leaveSlow(Core& c, const Insn* i) {
  const uint64_t old = c.state.gpr[kRsp], mask = c.stackMask();
  c.state.gpr[kRsp] = mask == 0xffff ? (old & ~mask) | (c.state.gpr[kRbp] & mask) : c.state.gpr[kRbp] & mask;
  uint64_t value;
  if (!popValue(c, value, i->operandSize())) {
    c.state.gpr[kRsp] = old;
    return false;
  }
  setSized(c, kRbp * 8, value, i->operandSize());
  return true;
}
template <class T>
Exec leave(Core& c, const Insn* i) {
  const uint64_t sp = static_cast<T>(c.state.gpr[kRbp]);
  const auto* m = fastRead<T>(c, sp);
  if (UNLIKELY(!m)) return plain<leaveSlow>(c, i);
  c.state.gpr[kRsp] = static_cast<T>(sp + sizeof(T));
  c.state.gpr[kRbp] = *reinterpret_cast<const Unaligned<T>*>(m);
  NEXT;
}
bool enter(Core& c, const Insn* i) {
  const unsigned size = i->operandSize(), level = i->row & 31;
  const uint64_t oldSp = c.state.gpr[kRsp], oldBp = c.state.gpr[kRbp], mask = c.stackMask();
  const auto undo = [&] {
    c.state.gpr[kRsp] = oldSp;
    return false;
  };
  if (!pushValue(c, oldBp, size)) return undo();
  const uint64_t frame = c.state.gpr[kRsp];
  uint64_t bp = oldBp;
  for (unsigned n = 1; n < level; ++n) {
    bp -= size;
    uint64_t linear, value;
    if (!c.stackLinear(bp & mask, size, false, linear) || !c.loadSized(linear, value, size, c.privilege())) return undo();
    if (!pushValue(c, value, size)) return undo();
  }
  if (level > 0 && !pushValue(c, frame, size)) return undo();
  const uint64_t sp = (c.state.gpr[kRsp] - static_cast<uint16_t>(i->imm)) & mask;
  uint64_t linear;
  if (!c.stackLinear(sp, size, true, linear) || !c.probeWrite(linear, size, c.privilege())) return undo();
  c.state.gpr[kRsp] = mask == 0xffff ? (c.state.gpr[kRsp] & ~mask) | sp : sp;
  setSized(c, kRbp * 8, frame, size);
  return true;
}
bool pusha(Core& c, const Insn* i) {
  const uint64_t sp = c.state.gpr[kRsp];
  for (unsigned r = 0; r < 8; ++r) {
    if (!pushValue(c, r == kRsp ? sp : c.state.gpr[r], i->operandSize())) {
      c.state.gpr[kRsp] = sp;
      return false;
    }
  }
  return true;
}
bool popa(Core& c, const Insn* i) {
  const uint64_t sp = c.state.gpr[kRsp];
  uint64_t values[8];
  for (unsigned r = 8; r-- > 0;) {
    if (!popValue(c, values[r], i->operandSize())) {
      c.state.gpr[kRsp] = sp;
      return false;
    }
  }
  for (unsigned r = 0; r < 8; ++r) {
    if (r != kRsp) setSized(c, r * 8, values[r], i->operandSize());
  }
  return true;
}
bool pushSegment(Core& c, const Insn* i) {
  // A 32-bit push of a selector writes two bytes on Intel's processors and leaves the slot's upper half alone.
  const unsigned size = i->operandSize();
  if (size != 4 || !c.intelRules) return pushValue(c, c.state.seg[i->rm].selector, size);
  const uint64_t mask = c.stackMask(), sp = (c.state.gpr[kRsp] - 4) & mask;
  uint64_t linear;
  if (!c.stackLinear(sp, 4, true, linear)) return false;
  if (!c.store<uint16_t>(linear, c.state.seg[i->rm].selector, c.privilege())) return false;
  c.state.gpr[kRsp] = mask == 0xffff ? (c.state.gpr[kRsp] & ~mask) | sp : sp;
  return true;
}
bool popSegment(Core& c, const Insn* i) {
  const uint64_t old = c.state.gpr[kRsp];
  uint64_t value;
  if (!popValue(c, value, i->operandSize())) return false;
  const uint64_t raised = c.state.gpr[kRsp];
  c.state.gpr[kRsp] = old;
  if (!c.loadSegment(static_cast<Seg>(i->rm), static_cast<uint16_t>(value))) return false;
  c.state.gpr[kRsp] = raised;
  if (i->rm == kSs) c.shadow = c.stepHeld = true;
  return true;
}
bool pushFlags(Core& c, const Insn* i) {
  if (c.v86() && c.iopl() < 3) {
    if (!c.virtualFlags(i->operandSize())) return c.raise(kGP, 0);
    return pushValue(c, c.virtualImage(), 2);
  }
  return pushValue(c, c.flags() & ~uint64_t{kVm | kRf}, i->operandSize());
}
bool popFlags(Core& c, const Insn* i) {
  uint64_t value;
  const unsigned size = i->operandSize();
  const uint64_t sp = c.state.gpr[kRsp];
  if (c.v86() && c.iopl() < 3) {
    if (!c.virtualFlags(size)) return c.raise(kGP, 0);
    if (!popValue(c, value, size)) return false;
    if (c.setVirtualImage(value)) return true;
    c.state.gpr[kRsp] = sp;
    return false;
  }
  if (!popValue(c, value, size)) return false;
  uint64_t change = kArith | kTf | kDf | kNt;
  if (size > 2) change |= kAc | kId;
  if (c.cpl == 0) change |= kIopl;
  if (c.realMode() || c.cpl <= c.iopl()) change |= kIf;
  c.setFlags((c.flags() & ~change & ~uint64_t{kRf}) | (value & change));
  return true;
}

}  // namespace

Handler bindStack(const Binding& b) {
  const Decoded& d = b.d;
  Insn& i = b.i;
  const Ea ea = eaOf(b);
  const bool wide = d.mode == CodeSize::k64 && d.operandSize == 8, flat = (b.mode & kModeFlat) && d.operandSize == 4;
  switch (d.op) {
    case Op::Push:
      i.imm = static_cast<int32_t>(d.immediate);
      i.rm = regOffset(d, d.rm, 8);
      if (d.row->form == Form::I) return wide ? pushImm<uint64_t> : flat ? pushImm<uint32_t> : plain<pushImmSlow>;
      if (!d.memory) return wide ? pushReg<uint64_t> : flat ? pushReg<uint32_t> : plain<pushRegSlow>;
      if (flat && ea == Ea::Flat) return pushMem<uint32_t, Ea::Flat>;
      if (!wide || ea == Ea::Slow) return plain<pushMemSlow>;
      return ea == Ea::Base ? pushMem<uint64_t, Ea::Base> : pushMem<uint64_t, Ea::Full>;
    case Op::Pop:
      i.rm = regOffset(d, d.rm, 8);
      if (d.memory) return plain<popMem>;
      return wide ? popReg<uint64_t> : flat ? popReg<uint32_t> : plain<popRegSlow>;
    case Op::PushSeg:
    case Op::PopSeg:
      i.rm = static_cast<uint8_t>(d.opcode >= 0xa8 ? kGs : d.opcode >= 0xa0 ? kFs : Seg(d.opcode >> 3 & 3));
      return d.op == Op::PushSeg ? plain<pushSegment> : ending<popSegment>;
    case Op::Pusha:
      return plain<pusha>;
    case Op::Popa:
      return plain<popa>;
    case Op::Pushf:
      return plain<pushFlags>;
    case Op::Popf:
      return ending<popFlags>;
    case Op::Enter:
      i.imm = static_cast<int32_t>(d.immediate);
      i.row = static_cast<uint16_t>(d.immediate2);
      return plain<enter>;
    case Op::Leave:
      return wide ? leave<uint64_t> : flat ? leave<uint32_t> : plain<leaveSlow>;
    default:
      return nullptr;
  }
}

}  // namespace lodge::x86
