// Near control flow.
#include "x86/interpreter/exec.h"

namespace lodge::x86 {
namespace {

/** imm64 of a relative branch: distance of the target from the block's start. */
[[gnu::always_inline]] inline uint64_t targetOf(Core& c, const Insn* i) { return c.state.rip + static_cast<uint64_t>(i->imm64); }
inline uint64_t ripMask(const Insn* i) {
  return i->operandSize() == 8 ? ~0ull : i->operandSize() == 4 ? 0xffffffffull : 0xffffull;
}

// T is the width of RIP: 64 bits, or 32 in flat code, where CS refuses no target.

template <class T, unsigned Cc, bool Same>
Exec jcc(Core& c, const Insn* i) {
  if (condition<Cc>(c)) return followLink<Same>(c, 0, static_cast<T>(targetOf(c, i)));
  return followLink<true>(c, 1, nextRip(c, i));
}
/** The fall-through lies in another page. */
template <class T, unsigned Cc, bool Same>
Exec jccAtPageEnd(Core& c, const Insn* i) {
  if (condition<Cc>(c)) return followLink<Same>(c, 0, static_cast<T>(targetOf(c, i)));
  return followLink<false>(c, 1, nextRip(c, i));
}
template <class T, bool Same>
Exec jmp(Core& c, const Insn* i) {
  return followLink<Same>(c, 0, static_cast<T>(targetOf(c, i)));
}

/** Any mode: the target is checked against CS before anything is changed. */
bool branchTo(Core& c, uint64_t rip) {
  if (!c.codeOffsetValid(rip, c.state.seg[kCs])) return c.raise(kGP, 0);
  c.nextRip = rip;
  return true;
}
bool jccLegacy(Core& c, const Insn* i) {
  if (!conditionHolds(c, i->row)) return true;
  return branchTo(c, targetOf(c, i) & ripMask(i));
}
bool jmpLegacy(Core& c, const Insn* i) { return branchTo(c, targetOf(c, i) & ripMask(i)); }

bool pushReturn(Core& c, const Insn* i) {
  const unsigned size = i->operandSize();
  const uint64_t mask = c.stackMask(), sp = (c.state.gpr[kRsp] - size) & mask;
  uint64_t linear;
  if (!c.stackLinear(sp, size, true, linear)) return false;
  if (!c.storeSized(linear, nextRip(c, i), size, c.privilege())) return false;
  c.state.gpr[kRsp] = mask == 0xffff ? (c.state.gpr[kRsp] & ~mask) | sp : sp;
  return true;
}
bool callSlow(Core& c, const Insn* i) {
  const uint64_t target = targetOf(c, i) & ripMask(i);
  if (!c.codeOffsetValid(target, c.state.seg[kCs])) return c.raise(kGP, 0);
  if (!pushReturn(c, i)) return false;
  c.nextRip = target;
  return true;
}
template <class T, bool Same>
Exec callNear(Core& c, const Insn* i) {
  const uint64_t sp = static_cast<T>(c.state.gpr[kRsp] - sizeof(T));
  auto* m = fastWrite<T>(c, sp);
  if (UNLIKELY(!m)) return ending<callSlow>(c, i);
  *reinterpret_cast<Unaligned<T>*>(m) = static_cast<T>(nextRip(c, i));
  c.state.gpr[kRsp] = sp;
  return followLink<Same>(c, 0, static_cast<T>(targetOf(c, i)));
}

template <bool Call>
bool indirectSlow(Core& c, const Insn* i) {
  uint64_t target = 0;
  const unsigned size = i->operandSize();
  if (i->flags & kInsnMemory) {
    const void* m = c.slowRead(i, size);
    if (!m) return false;
    __builtin_memcpy(&target, m, size);
  } else {
    target = reg<uint64_t>(c, i->rm) & ripMask(i);
  }
  if (!c.codeOffsetValid(target, c.state.seg[kCs])) return c.raise(kGP, 0);
  if (Call && !pushReturn(c, i)) return false;
  c.nextRip = target;
  return true;
}
template <class T, bool Call, Ea E, bool Mem>
Exec indirect(Core& c, const Insn* i) {
  uint64_t target;
  if constexpr (Mem) {
    const auto* m = memRead<T, E>(c, i);
    if (UNLIKELY(!m)) return ending<indirectSlow<Call>>(c, i);
    target = *m;
  } else {
    target = reg<T>(c, i->rm);
  }
  if (UNLIKELY(!canonical(target))) return ending<indirectSlow<Call>>(c, i);
  if constexpr (Call) {
    const uint64_t sp = static_cast<T>(c.state.gpr[kRsp] - sizeof(T));
    auto* m = fastWrite<T>(c, sp);
    if (UNLIKELY(!m)) return ending<indirectSlow<Call>>(c, i);
    *reinterpret_cast<Unaligned<T>*>(m) = static_cast<T>(nextRip(c, i));
    c.state.gpr[kRsp] = sp;
  }
  return followIndirect(c, target);
}

bool retSlow(Core& c, const Insn* i) {
  const unsigned size = i->operandSize();
  const uint64_t mask = c.stackMask();
  uint64_t linear, target = 0;
  if (!c.stackLinear(c.state.gpr[kRsp] & mask, size, false, linear)) return false;
  if (!c.loadSized(linear, target, size, c.privilege())) return false;
  if (!branchTo(c, target)) return false;
  const uint64_t sp = (c.state.gpr[kRsp] + size + static_cast<uint16_t>(i->imm)) & mask;
  c.state.gpr[kRsp] = mask == 0xffff ? (c.state.gpr[kRsp] & ~mask) | sp : sp;
  return true;
}
template <class T>
Exec ret(Core& c, const Insn* i) {
  const uint64_t sp = static_cast<T>(c.state.gpr[kRsp]);
  const auto* m = fastRead<T>(c, sp);
  if (UNLIKELY(!m)) return ending<retSlow>(c, i);
  const uint64_t target = *reinterpret_cast<const Unaligned<T>*>(m);
  if (UNLIKELY(!canonical(target))) return ending<retSlow>(c, i);
  c.state.gpr[kRsp] = static_cast<T>(sp + sizeof(T) + static_cast<uint16_t>(i->imm));
  return followIndirect(c, target);
}

template <bool Call>
Handler bindIndirect(const Binding& b) {
  const bool mode64 = b.d.mode == CodeSize::k64, flat = (b.mode & kModeFlat) && b.d.operandSize == 4;
  if (!mode64 && !flat) return ending<indirectSlow<Call>>;
  if (!b.d.memory) return flat ? indirect<uint32_t, Call, Ea::Slow, false> : indirect<uint64_t, Call, Ea::Slow, false>;
  const Ea ea = eaOf(b);
  if (flat) return ea == Ea::Flat ? indirect<uint32_t, Call, Ea::Flat, true> : ending<indirectSlow<Call>>;
  return byEa(ea, [](auto e) -> Handler { return indirect<uint64_t, Call, e(), true>; });
}

/** LOOPNE, LOOPE, LOOP, JCXZ: row is the opcode's low two bits; the counter has the address size. */
bool loopOrJcxz(Core& c, const Insn* i) {
  const unsigned size = i->addressSize();
  const uint64_t mask = size == 8 ? ~0ull : size == 4 ? 0xffffffffull : 0xffffull;
  uint64_t count = c.state.gpr[kRcx] & mask;
  bool taken;
  if (i->row == 3) {
    taken = count == 0;
  } else {
    count = (count - 1) & mask;
    taken = count != 0;
    if (i->row == 0) taken = taken && !(c.ax & 0x4000);
    if (i->row == 1) taken = taken && (c.ax & 0x4000);
  }
  if (taken && !branchTo(c, targetOf(c, i) & ripMask(i))) return false;
  if (i->row != 3) c.state.gpr[kRcx] = size == 2 ? (c.state.gpr[kRcx] & ~mask) | count : count;
  return true;
}

}  // namespace

Exec blockEndHandler(Core& c, const Insn* i) {
  return c.block->secondPage == ~0ull && i->row ? followLink<true>(c, 1, c.state.rip + i->offset)
                                                : followLink<false>(c, 1, c.state.rip + i->offset);
}

Handler bindBranch(const Binding& b) {
  const Decoded& d = b.d;
  Insn& i = b.i;
  const bool mode64 = d.mode == CodeSize::k64;
  i.row = d.opcode & 15;
  if (d.row->attributes & kBranch) i.imm64 = static_cast<int64_t>(d.immediate) + i.offset + d.length;
  const bool same = b.samePage, flat = (b.mode & kModeFlat) && d.operandSize == 4;
  switch (d.op) {
    case Op::Jcc: {
      if (!mode64 && !flat) return ending<jccLegacy>;
      const auto choose = [&](auto t) -> Handler {
        using T = decltype(t);
        const bool fallsOut = b.fallsOut;
        return byCondition(d.opcode, [&](auto cc) -> Handler {
          if (fallsOut) return same ? jccAtPageEnd<T, cc(), true> : jccAtPageEnd<T, cc(), false>;
          return same ? jcc<T, cc(), true> : jcc<T, cc(), false>;
        });
      };
      return mode64 ? choose(uint64_t{}) : choose(uint32_t{});
    }
    case Op::Jmp:
      if (d.row->attributes & kBranch) {
        if (flat) return same ? jmp<uint32_t, true> : jmp<uint32_t, false>;
        if (!mode64) return ending<jmpLegacy>;
        return same ? jmp<uint64_t, true> : jmp<uint64_t, false>;
      }
      i.rm = regOffset(d, d.rm, 8);
      return bindIndirect<false>(b);
    case Op::Call:
      if (d.row->attributes & kBranch) {
        if (flat) return same ? callNear<uint32_t, true> : callNear<uint32_t, false>;
        if (!mode64) return ending<callSlow>;
        return same ? callNear<uint64_t, true> : callNear<uint64_t, false>;
      }
      i.rm = regOffset(d, d.rm, 8);
      return bindIndirect<true>(b);
    case Op::Ret:
      i.imm = static_cast<int32_t>(d.immediate);
      return mode64 ? ret<uint64_t> : flat ? ret<uint32_t> : ending<retSlow>;
    case Op::Loop:
    case Op::Jcxz:
      i.row = d.opcode & 3;
      return ending<loopOrJcxz>;
    default:
      return nullptr;
  }
}

}  // namespace lodge::x86
