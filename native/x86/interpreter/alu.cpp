// Integer arithmetic and logic. The host executes the guest's own operation, so every flag, undefined ones included, is
// the hardware's.
#include "x86/interpreter/exec.h"

namespace lodge::x86 {
namespace {

constexpr bool isCompare(Op op) { return op == Op::Cmp || op == Op::Test; }

/** d := d op s; returns the flags in Core::ax format. */
template <Op A, class T>
[[gnu::always_inline]] inline uint16_t alu(T& d, T s, [[maybe_unused]] uint16_t in) {
  uint32_t f;
#define PLAIN(op, name) \
  if constexpr (A == Op::name) asm(op " %[s], %[d]\n\t" FLAGS_OUT : [d] "+q"(d), "=&a"(f) : [s] "q"(s) : "cc");
#define COMPARE(op, name) \
  if constexpr (A == Op::name) asm(op " %[s], %[d]\n\t" FLAGS_OUT : "=&a"(f) : [d] "q"(d), [s] "q"(s) : "cc");
#define CARRY(op, name)                                                                                  \
  if constexpr (A == Op::name) {                                                                         \
    f = in;                                                                                              \
    asm("btl $8, %%eax\n\t" op " %[s], %[d]\n\t" FLAGS_OUT : [d] "+q"(d), "+&a"(f) : [s] "q"(s) : "cc"); \
  }
  PLAIN("add", Add)
  PLAIN("or", Or) PLAIN("and", And) PLAIN("sub", Sub) PLAIN("xor", Xor) CARRY("adc", Adc) CARRY("sbb", Sbb) COMPARE("cmp", Cmp)
      COMPARE("test", Test)
#undef PLAIN
#undef COMPARE
#undef CARRY
          return static_cast<uint16_t>(f);
}

template <Op A, class T>
[[gnu::always_inline]] inline uint16_t lockedAlu(Unaligned<T>* m, T s, [[maybe_unused]] uint16_t in) {
  uint32_t f = in;
#define LOCKED(op, name)                                                                                                       \
  if constexpr (A == Op::name)                                                                                                 \
    asm volatile("btl $8, %%eax\n\tlock " op " %[s], %[m]\n\t" FLAGS_OUT : [m] "+m"(*m), "+&a"(f) : [s] "q"(s) : "cc", "memor" \
                                                                                                                       "y");
  LOCKED("add", Add)
  LOCKED("or", Or) LOCKED("and", And) LOCKED("sub", Sub) LOCKED("xor", Xor) LOCKED("adc", Adc) LOCKED("sbb", Sbb)
#undef LOCKED
      return static_cast<uint16_t>(f);
}

/** One-operand operations. INC and DEC keep CF, NOT keeps all. */
template <Op A, class T>
[[gnu::always_inline]] inline uint16_t unary(T& d, uint16_t in) {
  uint32_t f = in;
  if constexpr (A == Op::Inc) asm("btl $8, %%eax\n\tinc %[d]\n\t" FLAGS_OUT : [d] "+q"(d), "+&a"(f) : : "cc");
  if constexpr (A == Op::Dec) asm("btl $8, %%eax\n\tdec %[d]\n\t" FLAGS_OUT : [d] "+q"(d), "+&a"(f) : : "cc");
  if constexpr (A == Op::Neg) asm("neg %[d]\n\t" FLAGS_OUT : [d] "+q"(d), "+&a"(f) : : "cc");
  if constexpr (A == Op::Not) d = static_cast<T>(~d);
  return static_cast<uint16_t>(f);
}

template <Op A, class T>
[[gnu::always_inline]] inline uint16_t shift(T& d, uint8_t count, uint16_t in) {
  uint32_t f = in;
#define SHIFT(op, name) \
  if constexpr (A == Op::name) asm(FLAGS_IN op " %%cl, %[d]\n\t" FLAGS_OUT : [d] "+q"(d), "+&a"(f) : "c"(count) : "cc");
  SHIFT("rol", Rol)
  SHIFT("ror", Ror) SHIFT("rcl", Rcl) SHIFT("rcr", Rcr) SHIFT("shl", Shl) SHIFT("shr", Shr) SHIFT("sar", Sar)
#undef SHIFT
      return static_cast<uint16_t>(f);
}

// ---- two operands; for registers `reg` is the destination and `rm` the source -----------------------------------

template <Op A, class T>
Exec aluRegReg(Core& c, const Insn* i) {
  T d = reg<T>(c, i->reg);
  c.ax = alu<A, T>(d, reg<T>(c, i->rm), c.ax);
  if constexpr (!isCompare(A)) setReg<T>(c, i->reg, d);
  NEXT;
}
template <Op A, class T>
Exec aluRegImm(Core& c, const Insn* i) {
  T d = reg<T>(c, i->reg);
  c.ax = alu<A, T>(d, static_cast<T>(static_cast<int64_t>(i->imm)), c.ax);
  if constexpr (!isCompare(A)) setReg<T>(c, i->reg, d);
  NEXT;
}
template <Op A, class T, Ea E>
Exec aluRegMem(Core& c, const Insn* i) {
  const auto* m = memRead<T, E>(c, i);
  if (UNLIKELY(!m)) MISS(E, (aluRegMem<A, T, Ea::Slow>));
  T d = reg<T>(c, i->reg);
  c.ax = alu<A, T>(d, *m, c.ax);
  if constexpr (!isCompare(A)) setReg<T>(c, i->reg, d);
  NEXT;
}
/** CMP and TEST with memory first. */
template <Op A, class T, Ea E, bool Imm>
Exec compareMem(Core& c, const Insn* i) {
  const auto* m = memRead<T, E>(c, i);
  if (UNLIKELY(!m)) MISS(E, (compareMem<A, T, Ea::Slow, Imm>));
  T d = *m;
  c.ax = alu<A, T>(d, Imm ? static_cast<T>(static_cast<int64_t>(i->imm)) : reg<T>(c, i->reg), c.ax);
  NEXT;
}
template <Op A, class T, Ea E, bool Imm, bool Lock>
Exec aluMem(Core& c, const Insn* i) {
  auto* m = memWrite<T, E>(c, i, true);
  if (UNLIKELY(!m)) MISS(E, (aluMem<A, T, Ea::Slow, Imm, Lock>));
  const T s = Imm ? static_cast<T>(static_cast<int64_t>(i->imm)) : reg<T>(c, i->reg);
  uint16_t f;
  if constexpr (Lock) {
    f = lockedAlu<A, T>(m, s, c.ax);
  } else {
    T d = *m;
    f = alu<A, T>(d, s, c.ax);
    *m = d;
  }
  COMMIT(E);
  c.ax = f;
  NEXT_WRITTEN(E);
}

enum class Shape { RegReg, RegImm, RegMem, MemReg, MemImm };

/** What the operands are, whichever row the encoding came from. */
Shape shapeOf(const Binding& b, Form form) {
  switch (form) {
    case Form::AI:
      return Shape::RegImm;
    case Form::MI:
      return b.d.memory ? Shape::MemImm : Shape::RegImm;
    case Form::MR:
      return b.d.memory ? Shape::MemReg : Shape::RegReg;
    default:
      return b.d.memory ? Shape::RegMem : Shape::RegReg;
  }
}

template <Op A>
Handler bindAluOp(const Binding& b, Form form) {
  const Decoded& d = b.d;
  const unsigned size = d.operandSize;
  const Shape shape = shapeOf(b, form);
  Insn& i = b.i;
  i.imm = static_cast<int32_t>(d.immediate);
  if (form == Form::AI) {
    i.reg = regOffset(d, kRax, 0);
  } else if (shape == Shape::RegImm) {
    i.reg = regOffset(d, d.rm, size);
  } else if (shape == Shape::RegReg) {
    i.reg = regOffset(d, form == Form::MR ? d.rm : d.reg, size);
    i.rm = regOffset(d, form == Form::MR ? d.reg : d.rm, size);
  } else {
    i.reg = regOffset(d, d.reg, size);
  }
  const Ea ea = eaOf(b);
  return bySize(size, [&](auto t) -> Handler {
    using T = decltype(t);
    switch (shape) {
      case Shape::RegReg:
        return aluRegReg<A, T>;
      case Shape::RegImm:
        return aluRegImm<A, T>;
      case Shape::RegMem:
        return byEa(ea, [](auto e) -> Handler { return aluRegMem<A, T, e()>; });
      default:
        break;
    }
    const bool imm = shape == Shape::MemImm;
    return byEa(ea, [&](auto e) -> Handler {
      if constexpr (isCompare(A)) {
        return imm ? compareMem<A, T, e(), true> : compareMem<A, T, e(), false>;
      } else if (d.lock) {
        constexpr Ea general = generalEa(e());
        return imm ? aluMem<A, T, general, true, true> : aluMem<A, T, general, false, true>;
      } else {
        return imm ? aluMem<A, T, e(), true, false> : aluMem<A, T, e(), false, false>;
      }
    });
  });
}

// ---- one operand -------------------------------------------------------------------------------------------------

template <Op A, class T>
Exec unaryReg(Core& c, const Insn* i) {
  T d = reg<T>(c, i->reg);
  c.ax = unary<A, T>(d, c.ax);
  setReg<T>(c, i->reg, d);
  NEXT;
}
template <Op A, class T, Ea E>
Exec unaryMem(Core& c, const Insn* i) {
  auto* m = memWrite<T, E>(c, i, true);
  if (UNLIKELY(!m)) MISS(E, (unaryMem<A, T, Ea::Slow>));
  T d = *m;
  const uint16_t f = unary<A, T>(d, c.ax);
  *m = d;
  COMMIT(E);
  c.ax = f;
  NEXT_WRITTEN(E);
}
/** LOCK INC, DEC, NOT, NEG by compare and exchange, which is one atomic update for all of them. */
template <Op A, class T, Ea E>
Exec unaryLocked(Core& c, const Insn* i) {
  auto* m = memWrite<T, E>(c, i, true);
  if (UNLIKELY(!m)) MISS(E, (unaryLocked<A, T, Ea::Slow>));
  T seen = *m, d;
  uint16_t f;
  bool done;
  do {
    d = seen;
    f = unary<A, T>(d, c.ax);
    asm volatile("lock cmpxchg %[d], %[m]\n\tsetz %b[done]"
                 : [m] "+m"(*m), "+a"(seen), [done] "=q"(done)
                 : [d] "q"(d)
                 : "cc", "memory");
  } while (!done);
  COMMIT(E);
  c.ax = f;
  NEXT_WRITTEN(E);
}

template <Op A>
Handler bindUnary(const Binding& b) {
  const Decoded& d = b.d;
  b.i.reg = regOffset(d, d.rm, d.operandSize);
  const Ea ea = eaOf(b);
  return bySize(d.operandSize, [&](auto t) -> Handler {
    using T = decltype(t);
    if (!d.memory) return unaryReg<A, T>;
    return byEa(ea, [&](auto e) -> Handler {
      constexpr Ea general = generalEa(e());
      if (d.lock) return unaryLocked<A, T, general>;
      return unaryMem<A, T, e()>;
    });
  });
}

// ---- shifts and rotates --------------------------------------------------------------------------------------------

template <class T>
constexpr uint8_t kCountMask = sizeof(T) == 8 ? 63 : 31;

template <Op A, class T, bool ByCl>
Exec shiftReg(Core& c, const Insn* i) {
  const uint8_t count = (ByCl ? reg<uint8_t>(c, kRcx * 8) : static_cast<uint8_t>(i->imm)) & kCountMask<T>;
  T d = reg<T>(c, i->reg);
  c.ax = shift<A, T>(d, count, c.ax);
  setReg<T>(c, i->reg, d);
  NEXT;
}
template <Op A, class T, Ea E, bool ByCl>
Exec shiftMem(Core& c, const Insn* i) {
  const uint8_t count = (ByCl ? reg<uint8_t>(c, kRcx * 8) : static_cast<uint8_t>(i->imm)) & kCountMask<T>;
  auto* m = memWrite<T, E>(c, i, true);
  if (UNLIKELY(!m)) MISS(E, (shiftMem<A, T, Ea::Slow, ByCl>));
  T d = *m;
  const uint16_t f = shift<A, T>(d, count, c.ax);
  *m = d;
  COMMIT(E);
  c.ax = f;
  NEXT_WRITTEN(E);
}
template <Op A>
Handler bindShift(const Binding& b, Form form) {
  const Decoded& d = b.d;
  b.i.reg = regOffset(d, d.rm, d.operandSize);
  b.i.imm = form == Form::M1 ? 1 : static_cast<int32_t>(d.immediate);
  const bool byCl = form == Form::MC;
  const Ea ea = eaOf(b);
  return bySize(d.operandSize, [&](auto t) -> Handler {
    using T = decltype(t);
    if (!d.memory) return byCl ? shiftReg<A, T, true> : shiftReg<A, T, false>;
    return byGeneralEa(ea, [&](auto e) -> Handler { return byCl ? shiftMem<A, T, e(), true> : shiftMem<A, T, e(), false>; });
  });
}

// SHLD, SHRD. Counts beyond a 16-bit operand are undefined; the host's own answer is given.
template <bool Left, class T, Ea E, bool ByCl, bool Mem>
Exec doubleShift(Core& c, const Insn* i) {
  const uint8_t count = (ByCl ? reg<uint8_t>(c, kRcx * 8) : static_cast<uint8_t>(i->imm)) & kCountMask<T>;
  Unaligned<T>* m = nullptr;
  if constexpr (Mem) {
    m = memWrite<T, E>(c, i, true);
    if (UNLIKELY(!m)) MISS(E, (doubleShift<Left, T, Ea::Slow, ByCl, Mem>));
  }
  T d = Mem ? *m : reg<T>(c, i->rm);
  const T s = reg<T>(c, i->reg);
  uint32_t f = c.ax;
  if constexpr (Left)
    asm(FLAGS_IN "shld %%cl, %[s], %[d]\n\t" FLAGS_OUT : [d] "+r"(d), "+&a"(f) : [s] "r"(s), "c"(count) : "cc");
  else
    asm(FLAGS_IN "shrd %%cl, %[s], %[d]\n\t" FLAGS_OUT : [d] "+r"(d), "+&a"(f) : [s] "r"(s), "c"(count) : "cc");
  if constexpr (Mem) {
    *m = d;
    COMMIT(E);
  } else {
    setReg<T>(c, i->rm, d);
  }
  c.ax = static_cast<uint16_t>(f);
  NEXT_WRITTEN(E);
}
template <bool Left>
Handler bindDoubleShift(const Binding& b) {
  const Decoded& d = b.d;
  b.i.reg = regOffset(d, d.reg, 8);
  b.i.rm = regOffset(d, d.rm, 8);
  b.i.imm = static_cast<int32_t>(d.immediate);
  const bool byCl = d.row->form == Form::MRC;
  const Ea ea = eaOf(b);
  return byWideSize(d.operandSize, [&](auto t) -> Handler {
    using T = decltype(t);
    if (!d.memory) return byCl ? doubleShift<Left, T, Ea::Full, true, false> : doubleShift<Left, T, Ea::Full, false, false>;
    return byGeneralEa(ea, [&](auto e) -> Handler {
      return byCl ? doubleShift<Left, T, e(), true, true> : doubleShift<Left, T, e(), false, true>;
    });
  });
}

// ---- multiply and divide -------------------------------------------------------------------------------------------

template <class T, Ea E, bool Mem, bool Imm>
Exec imulReg(Core& c, const Insn* i) {
  T s;
  if constexpr (Mem) {
    const auto* m = memRead<T, E>(c, i);
    if (UNLIKELY(!m)) MISS(E, (imulReg<T, Ea::Slow, Mem, Imm>));
    s = *m;
  } else {
    s = reg<T>(c, i->rm);
  }
  T d = Imm ? static_cast<T>(static_cast<int64_t>(i->imm)) : reg<T>(c, i->reg);
  uint32_t f;
  asm("imul %[s], %[d]\n\t" FLAGS_OUT : [d] "+r"(d), "=&a"(f) : [s] "r"(s) : "cc");
  setReg<T>(c, i->reg, d);
  c.ax = static_cast<uint16_t>(f);
  NEXT;
}
Handler bindImul2(const Binding& b) {
  const Decoded& d = b.d;
  b.i.reg = regOffset(d, d.reg, 8);
  b.i.rm = regOffset(d, d.rm, 8);
  b.i.imm = static_cast<int32_t>(d.immediate);
  const bool imm = d.row->form == Form::RMI;
  const Ea ea = eaOf(b);
  return byWideSize(d.operandSize, [&](auto t) -> Handler {
    using T = decltype(t);
    if (!d.memory) return imm ? imulReg<T, Ea::Full, false, true> : imulReg<T, Ea::Full, false, false>;
    return byGeneralEa(ea, [&](auto e) -> Handler { return imm ? imulReg<T, e(), true, true> : imulReg<T, e(), true, false>; });
  });
}

template <Op A, class T>
bool multiply(Core& c, const Insn* i) {
  T s;
  if (!operand<T>(c, i, s)) return false;
  uint32_t f;
  if constexpr (sizeof(T) == 1) {
    uint16_t a = reg<uint8_t>(c, 0);
    if constexpr (A == Op::Mul)
      asm("mul %[s]\n\tmov %%ax, %%dx\n\t" FLAGS_OUT : "=&a"(f), "=&d"(a) : "0"(a), [s] "q"(s) : "cc");
    else
      asm("imul %[s]\n\tmov %%ax, %%dx\n\t" FLAGS_OUT : "=&a"(f), "=&d"(a) : "0"(a), [s] "q"(s) : "cc");
    setReg<uint16_t>(c, 0, a);
  } else {
    T low = reg<T>(c, 0), high;
    uint64_t out;
    if constexpr (A == Op::Mul) {
      asm("mul %[s]\n\tmov %%rax, %[out]\n\t" FLAGS_OUT : "+&a"(low), "=&d"(high), [out] "=&r"(out) : [s] "r"(s) : "cc");
    } else {
      asm("imul %[s]\n\tmov %%rax, %[out]\n\t" FLAGS_OUT : "+&a"(low), "=&d"(high), [out] "=&r"(out) : [s] "r"(s) : "cc");
    }
    f = static_cast<uint16_t>(low);
    setReg<T>(c, 0, static_cast<T>(out));
    setReg<T>(c, kRdx * 8, high);
  }
  c.ax = static_cast<uint16_t>(f);
  return true;
}

template <class T>
bool divideUnsigned(Core& c, const Insn* i) {
  T s;
  if (!operand<T>(c, i, s)) return false;
  if (s == 0) return c.raise(kDE);
  if constexpr (sizeof(T) == 1) {
    const unsigned a = reg<uint16_t>(c, 0);
    if (a / s > 0xff) return c.raise(kDE);
    setReg<uint16_t>(c, 0, static_cast<uint16_t>(a / s | (a % s) << 8));
  } else {
    const T low = reg<T>(c, 0), high = reg<T>(c, kRdx * 8);
    if (high >= s) return c.raise(kDE);
    T quotient = low, rest = high;
    asm("div %[s]" : "+a"(quotient), "+d"(rest) : [s] "r"(s) : "cc");
    setReg<T>(c, 0, quotient);
    setReg<T>(c, kRdx * 8, rest);
  }
  return true;
}
template <class T>
bool divideSigned(Core& c, const Insn* i) {
  T raw;
  if (!operand<T>(c, i, raw)) return false;
  using S = std::make_signed_t<T>;
  const S s = static_cast<S>(raw);
  if (s == 0) return c.raise(kDE);
  using Wide = std::conditional_t<sizeof(T) == 8, __int128, int64_t>;
  Wide a;
  if constexpr (sizeof(T) == 1) {
    a = static_cast<int16_t>(reg<uint16_t>(c, 0));
  } else if constexpr (sizeof(T) == 8) {
    const uint64_t low = reg<uint64_t>(c, 0), high = reg<uint64_t>(c, kRdx * 8);
    a = static_cast<__int128>(static_cast<unsigned __int128>(high) << 64 | low);
    // Nearly always the dividend is a sign-extended 64-bit number.
    if (s != -1 && high == static_cast<uint64_t>(static_cast<int64_t>(low) >> 63)) {
      setReg<T>(c, 0, static_cast<T>(static_cast<int64_t>(low) / s));
      setReg<T>(c, kRdx * 8, static_cast<T>(static_cast<int64_t>(low) % s));
      return true;
    }
  } else {
    a = static_cast<Wide>(static_cast<S>(reg<T>(c, kRdx * 8))) * (Wide{1} << (8 * sizeof(T))) + reg<T>(c, 0);
  }
  Wide quotient, rest = 0;
  if (s == -1) {
    // The host would trap on the most negative dividend; its quotient does not fit anyway.
    const Wide limit = Wide{1} << (8 * sizeof(T) - 1);
    if (a <= -limit || a > limit) return c.raise(kDE);
    quotient = -a;
  } else {
    quotient = a / s;
    rest = a % s;
  }
  if (quotient != static_cast<S>(quotient)) return c.raise(kDE);
  if constexpr (sizeof(T) == 1) {
    setReg<uint16_t>(c, 0, static_cast<uint16_t>(static_cast<uint8_t>(quotient) | static_cast<uint8_t>(rest) << 8));
  } else {
    setReg<T>(c, 0, static_cast<T>(quotient));
    setReg<T>(c, kRdx * 8, static_cast<T>(rest));
  }
  return true;
}

// ---- decimal adjustment (SDM vol. 2, DAA … AAD) ----------------------------------------------------------------------

/** ZF, SF and PF of a byte, OF clear. */
uint16_t resultFlags(uint8_t value, bool cf, bool af) {
  uint32_t f;
  asm("test %b[v], %b[v]\n\t" FLAGS_OUT : "=&a"(f) : [v] "q"(value) : "cc");
  return static_cast<uint16_t>((f & ~0x1100u) | (cf ? 0x0100u : 0) | (af ? 0x1000u : 0));
}
template <bool Subtract>
bool decimalAdjust(Core& c, const Insn*) {
  const uint8_t old = reg<uint8_t>(c, 0);
  const bool oldCf = carry(c), oldAf = c.ax & 0x1000;
  uint8_t al = old;
  bool cf = false, af = false;
  if ((old & 15) > 9 || oldAf) {
    cf = oldCf || (Subtract ? old < 6 : old > 0xf9);
    al = static_cast<uint8_t>(Subtract ? al - 6 : al + 6);
    af = true;
  }
  if (old > 0x99 || oldCf) {
    al = static_cast<uint8_t>(Subtract ? al - 0x60 : al + 0x60);
    cf = true;
  } else if (!Subtract) {
    cf = false;
  }
  setReg<uint8_t>(c, 0, al);
  c.ax = resultFlags(al, cf, af);
  return true;
}
template <bool Subtract>
bool asciiAdjust(Core& c, const Insn*) {
  uint16_t a = reg<uint16_t>(c, 0);
  const bool adjust = (a & 15) > 9 || (c.ax & 0x1000);
  if (adjust) a = static_cast<uint16_t>(Subtract ? a - 0x106 : a + 0x106);
  a &= 0xff0f;
  setReg<uint16_t>(c, 0, a);
  c.ax = resultFlags(static_cast<uint8_t>(a), adjust, adjust);
  return true;
}
bool aam(Core& c, const Insn* i) {
  const uint8_t base = static_cast<uint8_t>(i->imm), al = reg<uint8_t>(c, 0);
  if (base == 0) return c.raise(kDE);
  setReg<uint16_t>(c, 0, static_cast<uint16_t>(al / base << 8 | al % base));
  c.ax = resultFlags(al % base, false, false);
  return true;
}
bool aad(Core& c, const Insn* i) {
  const uint8_t al = static_cast<uint8_t>(reg<uint8_t>(c, 0) + reg<uint8_t>(c, 1) * static_cast<uint8_t>(i->imm));
  setReg<uint16_t>(c, 0, al);
  c.ax = resultFlags(al, false, false);
  return true;
}

}  // namespace

Handler bindAlu(const Binding& b) {
  const Decoded& d = b.d;
  // Groups name no form of their own where it differs by opcode: 80–83 and C0/C1 take an immediate, D0–D3 do not.
  Form form = d.row->form;
  if (form == Form::Invalid) {
    form = d.opcode >= 0xd0 && d.opcode <= 0xd1 ? Form::M1 : d.opcode >= 0xd2 && d.opcode <= 0xd3 ? Form::MC : Form::MI;
  }
  const auto rmOperand = [&] { b.i.rm = regOffset(d, d.rm, d.operandSize); };
  switch (d.op) {
    case Op::Add:
      return bindAluOp<Op::Add>(b, form);
    case Op::Or:
      return bindAluOp<Op::Or>(b, form);
    case Op::Adc:
      return bindAluOp<Op::Adc>(b, form);
    case Op::Sbb:
      return bindAluOp<Op::Sbb>(b, form);
    case Op::And:
      return bindAluOp<Op::And>(b, form);
    case Op::Sub:
      return bindAluOp<Op::Sub>(b, form);
    case Op::Xor:
      return bindAluOp<Op::Xor>(b, form);
    case Op::Cmp:
      return bindAluOp<Op::Cmp>(b, form);
    case Op::Test:
      return bindAluOp<Op::Test>(b, form);
    case Op::Inc:
      return bindUnary<Op::Inc>(b);
    case Op::Dec:
      return bindUnary<Op::Dec>(b);
    case Op::Neg:
      return bindUnary<Op::Neg>(b);
    case Op::Not:
      return bindUnary<Op::Not>(b);
    case Op::Rol:
      return bindShift<Op::Rol>(b, form);
    case Op::Ror:
      return bindShift<Op::Ror>(b, form);
    case Op::Rcl:
      return bindShift<Op::Rcl>(b, form);
    case Op::Rcr:
      return bindShift<Op::Rcr>(b, form);
    case Op::Shl:
      return bindShift<Op::Shl>(b, form);
    case Op::Shr:
      return bindShift<Op::Shr>(b, form);
    case Op::Sar:
      return bindShift<Op::Sar>(b, form);
    case Op::Shld:
      return bindDoubleShift<true>(b);
    case Op::Shrd:
      return bindDoubleShift<false>(b);
    case Op::Imul2:
      return bindImul2(b);
    case Op::Mul:
      rmOperand();
      return bySize(d.operandSize, [](auto t) -> Handler { return plain<multiply<Op::Mul, decltype(t)>>; });
    case Op::Imul:
      rmOperand();
      return bySize(d.operandSize, [](auto t) -> Handler { return plain<multiply<Op::Imul, decltype(t)>>; });
    case Op::Div:
      rmOperand();
      return bySize(d.operandSize, [](auto t) -> Handler { return plain<divideUnsigned<decltype(t)>>; });
    case Op::Idiv:
      rmOperand();
      return bySize(d.operandSize, [](auto t) -> Handler { return plain<divideSigned<decltype(t)>>; });
    case Op::Daa:
      return plain<decimalAdjust<false>>;
    case Op::Das:
      return plain<decimalAdjust<true>>;
    case Op::Aaa:
      return plain<asciiAdjust<false>>;
    case Op::Aas:
      return plain<asciiAdjust<true>>;
    case Op::Aam:
      b.i.imm = static_cast<int32_t>(d.immediate);
      return plain<aam>;
    case Op::Aad:
      b.i.imm = static_cast<int32_t>(d.immediate);
      return plain<aad>;
    default:
      return nullptr;
  }
}

}  // namespace lodge::x86
