// Moves, exchanges, conditional moves, flag bits.
#include "x86/interpreter/exec.h"

namespace lodge::x86 {
namespace {

template <class T>
Exec movRegReg(Core& c, const Insn* i) {
  setReg<T>(c, i->reg, reg<T>(c, i->rm));
  NEXT;
}
template <class T>
Exec movRegImm(Core& c, const Insn* i) {
  setReg<T>(c, i->reg, static_cast<T>(static_cast<int64_t>(i->imm)));
  NEXT;
}
Exec movRegImm64(Core& c, const Insn* i) {
  unit(c, i->reg >> 3) = static_cast<uint64_t>(i->imm64);
  NEXT;
}
template <class T, Ea E>
Exec movRegMem(Core& c, const Insn* i) {
  const auto* m = memRead<T, E>(c, i);
  if (UNLIKELY(!m)) MISS(E, (movRegMem<T, Ea::Slow>));
  setReg<T>(c, i->reg, *m);
  NEXT;
}
template <class T, Ea E>
Exec movMemReg(Core& c, const Insn* i) {
  auto* m = memWrite<T, E>(c, i, false);
  if (UNLIKELY(!m)) MISS(E, (movMemReg<T, Ea::Slow>));
  *m = reg<T>(c, i->reg);
  COMMIT(E);
  NEXT_WRITTEN(E);
}
template <class T, Ea E>
Exec movMemImm(Core& c, const Insn* i) {
  auto* m = memWrite<T, E>(c, i, false);
  if (UNLIKELY(!m)) MISS(E, (movMemImm<T, Ea::Slow>));
  *m = static_cast<T>(static_cast<int64_t>(i->imm));
  COMMIT(E);
  NEXT_WRITTEN(E);
}

/** MOV with a 64-bit (or 32- or 16-bit) absolute address in the instruction. */
template <class T, bool Store>
bool movAbsolute(Core& c, const Insn* i) {
  uint64_t linear;
  if (!c.linearAddress(i->segment, static_cast<uint64_t>(i->imm64), sizeof(T), Store, linear)) return false;
  if constexpr (Store) return c.store<T>(linear, reg<T>(c, 0), c.privilege());
  T value;
  if (!c.load<T>(linear, value, c.privilege())) return false;
  setReg<T>(c, 0, value);
  return true;
}

Handler bindMov(const Binding& b, Form form) {
  const Decoded& d = b.d;
  Insn& i = b.i;
  const unsigned size = d.operandSize;
  const Ea ea = eaOf(b);
  switch (form) {
    case Form::OI:
      i.reg = regOffset(d, d.rm, size);
      if (size == 8) {
        i.imm64 = static_cast<int64_t>(d.immediate);
        return movRegImm64;
      }
      i.imm = static_cast<int32_t>(d.immediate);
      return bySize(size, [](auto t) -> Handler { return movRegImm<decltype(t)>; });
    case Form::MI:
      i.imm = static_cast<int32_t>(d.immediate);
      i.reg = regOffset(d, d.rm, size);
      return bySize(size, [&](auto t) -> Handler {
        using T = decltype(t);
        if (!d.memory) return movRegImm<T>;
        return byEa(ea, [](auto e) -> Handler { return movMemImm<T, e()>; });
      });
    case Form::FD:
    case Form::TD:
      if (ea == Ea::Flat) {
        i.reg = kRax * 8;
        return bySize(size, [&](auto t) -> Handler {
          using T = decltype(t);
          return form == Form::TD ? movMemReg<T, Ea::Flat> : movRegMem<T, Ea::Flat>;
        });
      }
      i.imm64 = d.displacement;
      return bySize(size, [&](auto t) -> Handler {
        using T = decltype(t);
        return form == Form::TD ? plain<movAbsolute<T, true>> : plain<movAbsolute<T, false>>;
      });
    default:
      break;
  }
  const bool store = form == Form::MR;
  i.reg = regOffset(d, d.reg, size);
  if (!d.memory) {
    i.rm = regOffset(d, d.rm, size);
    if (store) std::swap(i.reg, i.rm);
    return bySize(size, [](auto t) -> Handler { return movRegReg<decltype(t)>; });
  }
  return bySize(size, [&](auto t) -> Handler {
    using T = decltype(t);
    return byEa(ea, [&](auto e) -> Handler { return store ? movMemReg<T, e()> : movRegMem<T, e()>; });
  });
}

// ---- widening, LEA -------------------------------------------------------------------------------------------------

template <class To, class From>
Exec extendReg(Core& c, const Insn* i) {
  setReg<To>(c, i->reg, static_cast<To>(reg<From>(c, i->rm)));
  NEXT;
}
template <class To, class From, Ea E>
Exec extendMem(Core& c, const Insn* i) {
  const auto* m = memRead<From, E>(c, i);
  if (UNLIKELY(!m)) MISS(E, (extendMem<To, From, Ea::Slow>));
  setReg<To>(c, i->reg, static_cast<To>(*m));
  NEXT;
}
template <class From>
Handler bindExtend(const Binding& b) {
  const Decoded& d = b.d;
  b.i.reg = regOffset(d, d.reg, 8);
  b.i.rm = regOffset(d, d.rm, d.rmSize);
  const Ea ea = eaOf(b);
  return byWideSize(d.operandSize, [&](auto t) -> Handler {
    using To = std::conditional_t<std::is_signed_v<From>, std::make_signed_t<decltype(t)>, decltype(t)>;
    if (!d.memory) return extendReg<To, From>;
    return byEa(ea, [](auto e) -> Handler { return extendMem<To, From, e()>; });
  });
}

template <class T, Ea E>
Exec lea(Core& c, const Insn* i) {
  uint64_t address;
  if constexpr (E == Ea::Slow)
    address = c.effectiveOffset(i);
  else
    address = fastAddress<E>(c, i);
  setReg<T>(c, i->reg, static_cast<T>(address));
  NEXT;
}

// ---- exchanges -----------------------------------------------------------------------------------------------------

template <class T>
Exec xchgReg(Core& c, const Insn* i) {
  const T a = reg<T>(c, i->reg), b = reg<T>(c, i->rm);
  setReg<T>(c, i->rm, a);
  setReg<T>(c, i->reg, b);
  NEXT;
}
/** XCHG with memory is locked by nature. */
template <class T, Ea E>
Exec xchgMem(Core& c, const Insn* i) {
  auto* m = memWrite<T, E>(c, i, true);
  if (UNLIKELY(!m)) MISS(E, (xchgMem<T, Ea::Slow>));
  T v = reg<T>(c, i->reg);
  asm volatile("xchg %[v], %[m]" : [m] "+m"(*m), [v] "+q"(v) : : "memory");
  COMMIT(E);
  setReg<T>(c, i->reg, v);
  NEXT_WRITTEN(E);
}
template <class T>
Exec xaddReg(Core& c, const Insn* i) {
  T s = reg<T>(c, i->reg), d = reg<T>(c, i->rm);
  uint32_t f;
  asm("xadd %[s], %[d]\n\t" FLAGS_OUT : [d] "+q"(d), [s] "+q"(s), "=&a"(f) : : "cc");
  setReg<T>(c, i->reg, s);
  setReg<T>(c, i->rm, d);
  c.ax = static_cast<uint16_t>(f);
  NEXT;
}
template <class T, Ea E>
Exec xaddMem(Core& c, const Insn* i) {
  auto* m = memWrite<T, E>(c, i, true);
  if (UNLIKELY(!m)) MISS(E, (xaddMem<T, Ea::Slow>));
  T s = reg<T>(c, i->reg);
  uint32_t f;
  if (i->flags & kInsnLock)
    asm volatile("lock xadd %[s], %[m]\n\t" FLAGS_OUT : [m] "+m"(*m), [s] "+q"(s), "=&a"(f) : : "cc", "memory");
  else
    asm volatile("xadd %[s], %[m]\n\t" FLAGS_OUT : [m] "+m"(*m), [s] "+q"(s), "=&a"(f) : : "cc", "memory");
  COMMIT(E);
  setReg<T>(c, i->reg, s);
  c.ax = static_cast<uint16_t>(f);
  NEXT_WRITTEN(E);
}

/** CMPXCHG itself occupies RAX, where LAHF would go: its flags are those of comparing what it saw. */
template <class T>
[[gnu::always_inline]] inline uint16_t compareFlags(T a, T b) {
  uint32_t f;
  asm("cmp %[b], %[a]\n\t" FLAGS_OUT : "=&a"(f) : [a] "q"(a), [b] "q"(b) : "cc");
  return static_cast<uint16_t>(f);
}
template <class T>
Exec cmpxchgReg(Core& c, const Insn* i) {
  const T accumulator = reg<T>(c, 0), d = reg<T>(c, i->rm);
  c.ax = compareFlags<T>(accumulator, d);
  // A failed 32-bit compare writes EAX (and so clears its upper half); a successful one leaves RAX alone.
  if (accumulator == d)
    setReg<T>(c, i->rm, reg<T>(c, i->reg));
  else
    setReg<T>(c, 0, d);
  NEXT;
}
template <class T, Ea E>
Exec cmpxchgMem(Core& c, const Insn* i) {
  auto* m = memWrite<T, E>(c, i, true);
  if (UNLIKELY(!m)) MISS(E, (cmpxchgMem<T, Ea::Slow>));
  const T accumulator = reg<T>(c, 0), s = reg<T>(c, i->reg);
  T seen = accumulator;
  if (i->flags & kInsnLock)
    asm volatile("lock cmpxchg %[s], %[m]" : [m] "+m"(*m), "+a"(seen) : [s] "q"(s) : "cc", "memory");
  else
    asm volatile("cmpxchg %[s], %[m]" : [m] "+m"(*m), "+a"(seen) : [s] "q"(s) : "cc", "memory");
  COMMIT(E);
  c.ax = compareFlags<T>(accumulator, seen);
  if (seen != accumulator) setReg<T>(c, 0, seen);
  NEXT_WRITTEN(E);
}
bool cmpxchg8b(Core& c, const Insn* i) {
  auto* m = static_cast<uint64_t*>(c.slowWrite(i, 8, true));
  if (!m) return false;
  const uint64_t expected = static_cast<uint32_t>(c.state.gpr[kRax]) | c.state.gpr[kRdx] << 32;
  const uint64_t desired = static_cast<uint32_t>(c.state.gpr[kRbx]) | c.state.gpr[kRcx] << 32;
  uint64_t seen = expected;
  asm volatile("lock cmpxchg %[s], %[m]" : [m] "+m"(*m), "+a"(seen) : [s] "r"(desired) : "cc", "memory");
  if (c.pending != PendingWrite::None && !c.slowCommit()) return false;
  c.ax = static_cast<uint16_t>(seen == expected ? c.ax | 0x4000 : c.ax & ~0x4000);
  if (seen != expected) {
    c.state.gpr[kRax] = static_cast<uint32_t>(seen);
    c.state.gpr[kRdx] = seen >> 32;
  }
  return true;
}
bool cmpxchg16b(Core& c, const Insn* i) {
  if (c.alignmentFault(i, 16, 16, true)) return false;
  auto* m = static_cast<uint64_t*>(c.slowWrite(i, 16, true));
  if (!m) return false;
  uint64_t low = c.state.gpr[kRax], high = c.state.gpr[kRdx];
  bool equal;
  asm volatile("lock cmpxchg16b %[m]\n\tsetz %[equal]"
               : [m] "+m"(*reinterpret_cast<unsigned __int128*>(m)), "+a"(low), "+d"(high), [equal] "=q"(equal)
               : "b"(c.state.gpr[kRbx]), "c"(c.state.gpr[kRcx])
               : "cc", "memory");
  if (c.pending != PendingWrite::None && !c.slowCommit()) return false;
  c.ax = static_cast<uint16_t>(equal ? c.ax | 0x4000 : c.ax & ~0x4000);
  if (!equal) {
    c.state.gpr[kRax] = low;
    c.state.gpr[kRdx] = high;
  }
  return true;
}
template <class T>
Exec bswap(Core& c, const Insn* i) {
  if constexpr (sizeof(T) == 2)
    setReg<T>(c, i->reg, 0);  // undefined by the architecture; processors give zero
  else if constexpr (sizeof(T) == 4)
    setReg<T>(c, i->reg, __builtin_bswap32(reg<T>(c, i->reg)));
  else
    setReg<T>(c, i->reg, __builtin_bswap64(reg<T>(c, i->reg)));
  NEXT;
}
template <class T>
T swapBytes(T v) {
  if constexpr (sizeof(T) == 2)
    return __builtin_bswap16(v);
  else if constexpr (sizeof(T) == 4)
    return __builtin_bswap32(v);
  else
    return __builtin_bswap64(v);
}
template <class T, bool Store>
bool movbe(Core& c, const Insn* i) {
  if constexpr (Store) {
    auto* m = static_cast<Unaligned<T>*>(c.slowWrite(i, sizeof(T), false));
    if (!m) return false;
    *m = swapBytes<T>(reg<T>(c, i->reg));
    return c.pending == PendingWrite::None || c.slowCommit();
  }
  T value;
  if (!operand<T>(c, i, value)) return false;
  setReg<T>(c, i->reg, swapBytes<T>(value));
  return true;
}

// ---- conditional ---------------------------------------------------------------------------------------------------

template <class T, unsigned Cc>
Exec cmovReg(Core& c, const Insn* i) {
  const T s = reg<T>(c, i->rm), d = reg<T>(c, i->reg);
  setReg<T>(c, i->reg, condition<Cc>(c) ? s : d);
  NEXT;
}
/** The load happens, and may fault, whatever the condition. */
template <class T, Ea E>
Exec cmovMem(Core& c, const Insn* i) {
  const auto* m = memRead<T, E>(c, i);
  if (UNLIKELY(!m)) MISS(E, (cmovMem<T, Ea::Slow>));
  const T s = *m, d = reg<T>(c, i->reg);
  setReg<T>(c, i->reg, conditionHolds(c, i->row) ? s : d);
  NEXT;
}
template <unsigned Cc>
Exec setReg8(Core& c, const Insn* i) {
  setReg<uint8_t>(c, i->rm, condition<Cc>(c));
  NEXT;
}
template <Ea E>
Exec setMem8(Core& c, const Insn* i) {
  auto* m = memWrite<uint8_t, E>(c, i, false);
  if (UNLIKELY(!m)) MISS(E, (setMem8<Ea::Slow>));
  *m = conditionHolds(c, i->row);
  COMMIT(E);
  NEXT_WRITTEN(E);
}

// ---- small ones ------------------------------------------------------------------------------------------------------

template <unsigned Size>
Exec cbw(Core& c, const Insn* i) {
  if constexpr (Size == 2)
    setReg<uint16_t>(c, 0, static_cast<uint16_t>(static_cast<int8_t>(reg<uint8_t>(c, 0))));
  else if constexpr (Size == 4)
    setReg<uint32_t>(c, 0, static_cast<uint32_t>(static_cast<int16_t>(reg<uint16_t>(c, 0))));
  else
    setReg<uint64_t>(c, 0, static_cast<uint64_t>(static_cast<int32_t>(reg<uint32_t>(c, 0))));
  NEXT;
}
template <class T>
Exec cwd(Core& c, const Insn* i) {
  setReg<T>(c, kRdx * 8, static_cast<T>(static_cast<std::make_signed_t<T>>(reg<T>(c, 0)) >> (8 * sizeof(T) - 1)));
  NEXT;
}
Exec sahf(Core& c, const Insn* i) {
  c.ax = static_cast<uint16_t>((c.ax & 1) | (reg<uint8_t>(c, 1) & 0xd5) << 8 | 0x0200);
  NEXT;
}
Exec lahf(Core& c, const Insn* i) {
  setReg<uint8_t>(c, 1, static_cast<uint8_t>(c.ax >> 8));
  NEXT;
}
Exec nop(Core& c, const Insn* i) { NEXT; }
Exec cmc(Core& c, const Insn* i) {
  c.ax ^= 0x0100;
  NEXT;
}
Exec clc(Core& c, const Insn* i) {
  c.ax &= static_cast<uint16_t>(~0x0100);
  NEXT;
}
Exec stc(Core& c, const Insn* i) {
  c.ax |= 0x0100;
  NEXT;
}
Exec cld(Core& c, const Insn* i) {
  c.state.rflags &= ~uint64_t{kDf};
  NEXT;
}
Exec std_(Core& c, const Insn* i) {
  c.state.rflags |= kDf;
  NEXT;
}
Exec salc(Core& c, const Insn* i) {
  setReg<uint8_t>(c, 0, carry(c) ? 0xff : 0);
  NEXT;
}
Exec fence(Core& c, const Insn* i) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  NEXT;
}
Exec pause(Core& c, const Insn* i) {
  __builtin_ia32_pause();
  NEXT;
}
bool xlat(Core& c, const Insn* i) {
  uint64_t linear;
  if (!c.linearAddress(i->segment, (c.state.gpr[kRbx] + reg<uint8_t>(c, 0)) & addressMask(i), 1, false, linear)) return false;
  uint8_t value;
  if (!c.load<uint8_t>(linear, value, c.privilege())) return false;
  setReg<uint8_t>(c, 0, value);
  return true;
}

}  // namespace

bool conditionHolds(const Core& c, unsigned cc) {
  const unsigned f = c.ax;
  bool r;
  switch (cc >> 1 & 7) {
    case 0:
      r = f & 1;
      break;
    case 1:
      r = f & 0x0100;
      break;
    case 2:
      r = f & 0x4000;
      break;
    case 3:
      r = f & 0x4100;
      break;
    case 4:
      r = f & 0x8000;
      break;
    case 5:
      r = f & 0x0400;
      break;
    case 6:
      r = ((f >> 15) ^ f) & 1;
      break;
    default:
      r = ((((f >> 15) ^ f) & 1) | (f >> 14 & 1)) != 0;
      break;
  }
  return r != static_cast<bool>(cc & 1);
}

Handler bindMove(const Binding& b) {
  const Decoded& d = b.d;
  Insn& i = b.i;
  const unsigned size = d.operandSize;
  const Ea ea = eaOf(b);
  switch (d.op) {
    case Op::Mov:
      return bindMov(b, d.row->form);
    case Op::Movnti:
      return bindMov(b, Form::MR);
    case Op::Movzx:
      return d.rmSize == 1 ? bindExtend<uint8_t>(b) : bindExtend<uint16_t>(b);
    case Op::Movsx:
      return d.rmSize == 1 ? bindExtend<int8_t>(b) : bindExtend<int16_t>(b);
    case Op::Movsxd:
      return d.rmSize == 2 ? bindExtend<int16_t>(b) : bindExtend<int32_t>(b);
    case Op::Lea:
      i.reg = regOffset(d, d.reg, 8);
      i.segmentBase = unitOf(sizeof(State));
      return byWideSize(size, [&](auto t) -> Handler {
        using T = decltype(t);
        // No segment is involved, so that any 32-bit code may take the flat form.
        const bool plain32 = d.mode == CodeSize::k32 && d.addressSize == 4;
        return byEa(plain32 ? Ea::Flat : ea, [](auto e) -> Handler { return lea<T, e()>; });
      });
    case Op::Xchg: {
      const bool fromOpcode = d.row->form == Form::AO;
      i.reg = fromOpcode ? regOffset(d, kRax, 8) : regOffset(d, d.reg, size);
      i.rm = regOffset(d, d.rm, size);
      return bySize(size, [&](auto t) -> Handler {
        using T = decltype(t);
        if (!d.memory) return xchgReg<T>;
        return byGeneralEa(ea, [](auto e) -> Handler { return xchgMem<T, e()>; });
      });
    }
    case Op::Xadd:
      i.reg = regOffset(d, d.reg, size);
      i.rm = regOffset(d, d.rm, size);
      return bySize(size, [&](auto t) -> Handler {
        using T = decltype(t);
        if (!d.memory) return xaddReg<T>;
        return byGeneralEa(ea, [](auto e) -> Handler { return xaddMem<T, e()>; });
      });
    case Op::Cmpxchg:
      i.reg = regOffset(d, d.reg, size);
      i.rm = regOffset(d, d.rm, size);
      return bySize(size, [&](auto t) -> Handler {
        using T = decltype(t);
        if (!d.memory) return cmpxchgReg<T>;
        return byGeneralEa(ea, [](auto e) -> Handler { return cmpxchgMem<T, e()>; });
      });
    case Op::Cmpxchg8b:
      return size == 8 ? plain<cmpxchg16b> : plain<cmpxchg8b>;
    case Op::Bswap:
      i.reg = regOffset(d, d.rm, 8);
      return byWideSize(size, [](auto t) -> Handler { return bswap<decltype(t)>; });
    case Op::Movbe:
      i.reg = regOffset(d, d.reg, 8);
      return byWideSize(size, [&](auto t) -> Handler {
        using T = decltype(t);
        return d.row->form == Form::MR ? plain<movbe<T, true>> : plain<movbe<T, false>>;
      });
    case Op::Cmov:
      i.reg = regOffset(d, d.reg, 8);
      i.rm = regOffset(d, d.rm, 8);
      i.row = d.opcode & 15;
      return byWideSize(size, [&](auto t) -> Handler {
        using T = decltype(t);
        if (!d.memory) return byCondition(d.opcode, [](auto cc) -> Handler { return cmovReg<T, cc()>; });
        return byEa(ea, [](auto e) -> Handler { return cmovMem<T, e()>; });
      });
    case Op::Set:
      i.rm = regOffset(d, d.rm, 1);
      i.row = d.opcode & 15;
      if (!d.memory) return byCondition(d.opcode, [](auto cc) -> Handler { return setReg8<cc()>; });
      return byEa(ea, [](auto e) -> Handler { return setMem8<e()>; });
    case Op::Cbw:
      return size == 2 ? cbw<2> : size == 4 ? cbw<4> : cbw<8>;
    case Op::Cwd:
      return byWideSize(size, [](auto t) -> Handler { return cwd<decltype(t)>; });
    case Op::Sahf:
      return sahf;
    case Op::Lahf:
      return lahf;
    case Op::Nop:
      return nop;
    case Op::Cmc:
      return cmc;
    case Op::Clc:
      return clc;
    case Op::Stc:
      return stc;
    case Op::Cld:
      return cld;
    case Op::Std:
      return std_;
    case Op::Salc:
      return salc;
    case Op::Fence:
      return fence;
    case Op::Pause:
      return pause;
    case Op::Xlat:
      return plain<xlat>;
    default:
      return nullptr;
  }
}

}  // namespace lodge::x86
