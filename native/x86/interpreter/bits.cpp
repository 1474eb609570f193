// Bit tests, scans and counts; CRC32.
#include "x86/interpreter/exec.h"

namespace lodge::x86 {
namespace {

/** Flags other than CF stay as the host leaves them for the same instruction. */
template <Op A, class T>
[[gnu::always_inline]] inline uint16_t bitOp(T& d, T bit, uint16_t in) {
  uint32_t f = in;
  if constexpr (A == Op::Bt) asm(FLAGS_IN "bt %[s], %[d]\n\t" FLAGS_OUT : [d] "+r"(d), "+&a"(f) : [s] "r"(bit) : "cc");
  if constexpr (A == Op::Bts) asm(FLAGS_IN "bts %[s], %[d]\n\t" FLAGS_OUT : [d] "+r"(d), "+&a"(f) : [s] "r"(bit) : "cc");
  if constexpr (A == Op::Btr) asm(FLAGS_IN "btr %[s], %[d]\n\t" FLAGS_OUT : [d] "+r"(d), "+&a"(f) : [s] "r"(bit) : "cc");
  if constexpr (A == Op::Btc) asm(FLAGS_IN "btc %[s], %[d]\n\t" FLAGS_OUT : [d] "+r"(d), "+&a"(f) : [s] "r"(bit) : "cc");
  return static_cast<uint16_t>(f);
}
template <Op A, class T, bool Imm>
Exec bitReg(Core& c, const Insn* i) {
  T d = reg<T>(c, i->rm);
  const T bit = Imm ? static_cast<T>(i->imm) : reg<T>(c, i->reg);
  c.ax = bitOp<A, T>(d, bit, c.ax);
  if constexpr (A != Op::Bt) setReg<T>(c, i->rm, d);
  NEXT;
}
/** A register bit offset is signed and reaches beyond the operand (SDM vol. 2, BT). */
template <Op A, class T, bool Imm>
bool bitMem(Core& c, const Insn* i) {
  uint64_t offset = c.effectiveOffset(i);
  T bit;
  if constexpr (Imm) {
    bit = static_cast<T>(i->imm);
  } else {
    using S = std::make_signed_t<T>;
    const S index = static_cast<S>(reg<T>(c, i->reg));
    offset += static_cast<uint64_t>(static_cast<int64_t>(index >> (sizeof(T) == 8 ? 6 : sizeof(T) == 4 ? 5 : 4))) * sizeof(T);
    if (i->addressSize() < 8) offset &= i->addressSize() == 4 ? 0xffffffffull : 0xffffull;
    bit = static_cast<T>(index);
  }
  bit &= 8 * sizeof(T) - 1;
  uint64_t linear;
  if (!c.linearAddress(i->segment, offset, sizeof(T), A != Op::Bt, linear)) return false;
  if constexpr (A == Op::Bt) {
    T d;
    if (!c.load<T>(linear, d, c.privilege())) return false;
    c.ax = bitOp<A, T>(d, bit, c.ax);
    return true;
  } else {
    auto* m = static_cast<Unaligned<T>*>(c.writeAt(linear, sizeof(T), c.privilege(), true));
    if (!m) return false;
    T seen = *m, d;
    if (i->flags & kInsnLock) {
      bool done;
      do {
        d = seen;
        bitOp<A, T>(d, bit, c.ax);
        asm volatile("lock cmpxchg %[d], %[m]\n\tsetz %b[done]"
                     : [m] "+m"(*m), "+a"(seen), [done] "=q"(done)
                     : [d] "r"(d)
                     : "cc", "memory");
      } while (!done);
    } else {
      d = seen;
      bitOp<A, T>(d, bit, c.ax);
      *m = d;
    }
    if (c.pending != PendingWrite::None && !c.slowCommit()) return false;
    c.ax = bitOp<A, T>(seen, bit, c.ax);
    return true;
  }
}
template <Op A>
Handler bindBit(const Binding& b) {
  const Decoded& d = b.d;
  b.i.reg = regOffset(d, d.reg, 8);
  b.i.rm = regOffset(d, d.rm, 8);
  b.i.imm = static_cast<int32_t>(d.immediate);
  const bool imm = d.opcode == 0xba;
  return byWideSize(d.operandSize, [&](auto t) -> Handler {
    using T = decltype(t);
    if (!d.memory) return imm ? bitReg<A, T, true> : bitReg<A, T, false>;
    return imm ? plain<bitMem<A, T, true>> : plain<bitMem<A, T, false>>;
  });
}

/** BSF and BSR leave the destination alone when the source is zero (documented by AMD; Intel's processors agree). */
template <Op A, class T>
bool scan(Core& c, const Insn* i) {
  T s;
  if (!operand<T>(c, i, s)) return false;
  T d = reg<T>(c, i->reg);
  uint32_t f = c.ax;
  if constexpr (A == Op::Bsf) asm(FLAGS_IN "bsf %[s], %[d]\n\t" FLAGS_OUT : [d] "+r"(d), "+&a"(f) : [s] "r"(s) : "cc");
  if constexpr (A == Op::Bsr) asm(FLAGS_IN "bsr %[s], %[d]\n\t" FLAGS_OUT : [d] "+r"(d), "+&a"(f) : [s] "r"(s) : "cc");
  if constexpr (A == Op::Lzcnt) {
    // Without asking for LZCNT on the host: CF = source is zero, ZF = result is zero.
    const unsigned n = s == 0 ? 8 * sizeof(T) : static_cast<unsigned>(__builtin_clzll(s)) - (64 - 8 * sizeof(T));
    f = (c.ax & ~0x4100u) | (s == 0 ? 0x0100u : 0) | (n == 0 ? 0x4000u : 0);
    d = static_cast<T>(n);
  }
  if constexpr (A == Op::Popcnt) {
    d = static_cast<T>(__builtin_popcountll(s));
    f = 0x0200u | (s == 0 ? 0x4000u : 0);
  }
  if constexpr (A == Op::Tzcnt) {
    const unsigned n = s == 0 ? 8 * sizeof(T) : static_cast<unsigned>(__builtin_ctzll(s));
    f = (c.ax & ~0x4100u) | (s == 0 ? 0x0100u : 0) | (n == 0 ? 0x4000u : 0);
    d = static_cast<T>(n);
  }
  if (A == Op::Lzcnt || A == Op::Tzcnt || A == Op::Popcnt || s != 0) setReg<T>(c, i->reg, d);
  c.ax = static_cast<uint16_t>(f);
  return true;
}
template <Op A>
Handler bindScan(const Binding& b) {
  b.i.reg = regOffset(b.d, b.d.reg, 8);
  b.i.rm = regOffset(b.d, b.d.rm, 8);
  return byWideSize(b.d.operandSize, [](auto t) -> Handler { return plain<scan<A, decltype(t)>>; });
}

// ---- BMI1, BMI2, ADX: computed here, so that they need nothing of the host -----------------------------------------------------

/** AH and AL of Core::ax from ZF and SF of `result` and the given CF; OF = 0. AF and PF stay what they were. */
template <class T>
uint16_t logicFlags(uint16_t in, T result, bool carry) {
  return static_cast<uint16_t>((in & 0x1400) | 0x0200 | (result >> (8 * sizeof(T) - 1) ? 0x8000 : 0) | (result == 0 ? 0x4000 : 0) |
                               (carry ? 0x0100 : 0));
}
template <class T>
T deposit(T source, T mask) {
  T out = 0;
  for (; mask; mask &= mask - 1, source >>= 1) {
    if (source & 1) out |= mask & (0 - mask);
  }
  return out;
}
template <class T>
T extract(T source, T mask) {
  T out = 0, bit = 1;
  for (; mask; mask &= mask - 1, bit <<= 1) {
    if (source & mask & (0 - mask)) out |= bit;
  }
  return out;
}

/** `s` is r/m, `v` is VEX.vvvv's register, whose byte offset is in the low byte of imm. */
template <Op A, class T>
bool bmi(Core& c, const Insn* i) {
  if (!c.protectedMode()) return c.raise(kUD);
  constexpr unsigned kBits = 8 * sizeof(T);
  T s;
  if (!operand<T>(c, i, s)) return false;
  const unsigned second = static_cast<unsigned>(i->imm) & 0xff;
  const T v = reg<T>(c, second);
  T d = 0;
  if constexpr (A == Op::Andn) {
    d = static_cast<T>(~v & s);
    c.ax = logicFlags<T>(c.ax, d, false);
  } else if constexpr (A == Op::Blsr) {
    d = s & (s - 1);
    c.ax = logicFlags<T>(c.ax, d, s == 0);
  } else if constexpr (A == Op::Blsmsk) {
    d = s ^ (s - 1);
    c.ax = logicFlags<T>(c.ax, d, s == 0);
  } else if constexpr (A == Op::Blsi) {
    d = s & (0 - s);
    c.ax = logicFlags<T>(c.ax, d, s != 0);
  } else if constexpr (A == Op::Bzhi) {
    const unsigned n = v & 0xff;
    d = n < kBits ? static_cast<T>(s & ((T{1} << n) - 1)) : s;
    c.ax = logicFlags<T>(c.ax, d, n > kBits - 1);
  } else if constexpr (A == Op::Bextr) {
    const unsigned start = v & 0xff, length = v >> 8 & 0xff;
    d = start < kBits ? static_cast<T>(s >> start) : T{0};
    if (length < kBits) d &= static_cast<T>((T{1} << length) - 1);
    // SF is undefined; processors clear it.
    c.ax = static_cast<uint16_t>(logicFlags<T>(c.ax, d, false) & ~0x8000);
  } else if constexpr (A == Op::Pdep) {
    d = deposit<T>(v, s);
  } else if constexpr (A == Op::Pext) {
    d = extract<T>(v, s);
  } else if constexpr (A == Op::Shlx) {
    d = static_cast<T>(s << (v & (kBits - 1)));
  } else if constexpr (A == Op::Shrx) {
    d = static_cast<T>(s >> (v & (kBits - 1)));
  } else if constexpr (A == Op::Sarx) {
    d = static_cast<T>(static_cast<std::make_signed_t<T>>(s) >> (v & (kBits - 1)));
  } else if constexpr (A == Op::Rorx) {
    const unsigned n = second & (kBits - 1);
    d = static_cast<T>(n ? s >> n | s << (kBits - n) : s);
  } else {
    static_assert(A == Op::Mulx);
    using Wide = std::conditional_t<sizeof(T) == 8, unsigned __int128, uint64_t>;
    const Wide product = static_cast<Wide>(s) * reg<T>(c, kRdx * 8);
    setReg<T>(c, second, static_cast<T>(product));
    d = static_cast<T>(product >> kBits);  // written last: it stays when both are one register
  }
  setReg<T>(c, i->reg, d);
  return true;
}
template <Op A>
Handler bindBmi(const Binding& b) {
  const Decoded& d = b.d;
  const bool toV = d.row->form == Form::VM;
  b.i.reg = regOffset(d, toV ? d.v : d.reg, 8);
  b.i.rm = regOffset(d, d.rm, 8);
  b.i.imm = A == Op::Rorx ? static_cast<int32_t>(d.immediate & 0xff) : regOffset(d, d.v, 8);
  return d.operandSize == 8 ? plain<bmi<A, uint64_t>> : plain<bmi<A, uint32_t>>;
}

/** ADCX and ADOX: one flag in and out, the others stay. */
template <class T, bool Overflow>
bool addWith(Core& c, const Insn* i) {
  T s;
  if (!operand<T>(c, i, s)) return false;
  const T d = reg<T>(c, i->reg);
  const bool in = Overflow ? c.ax & 1 : c.ax >> 8 & 1;
  T sum;
  bool out = __builtin_add_overflow(d, s, &sum);
  out |= __builtin_add_overflow(sum, static_cast<T>(in), &sum);
  setReg<T>(c, i->reg, sum);
  c.ax = static_cast<uint16_t>(Overflow ? (c.ax & ~1) | (out ? 1 : 0) : (c.ax & ~0x0100) | (out ? 0x0100 : 0));
  return true;
}
template <bool Overflow>
Handler bindAddWith(const Binding& b) {
  b.i.reg = regOffset(b.d, b.d.reg, 8);
  b.i.rm = regOffset(b.d, b.d.rm, 8);
  return b.d.operandSize == 8 ? plain<addWith<uint64_t, Overflow>> : plain<addWith<uint32_t, Overflow>>;
}

/** CRC-32C, reflected polynomial 82F63B78h. */
constexpr struct Crc32cTable {
  uint32_t entry[256];
  constexpr Crc32cTable() : entry{} {
    for (uint32_t n = 0; n < 256; ++n) {
      uint32_t v = n;
      for (int bit = 0; bit < 8; ++bit) v = v >> 1 ^ (v & 1 ? 0x82f63b78u : 0);
      entry[n] = v;
    }
  }
} kCrc32c;
template <class T>
bool crc32(Core& c, const Insn* i) {
  T s;
  if (!operand<T>(c, i, s)) return false;
  uint32_t crc = reg<uint32_t>(c, i->reg);
  for (unsigned n = 0; n < sizeof(T); ++n) crc = crc >> 8 ^ kCrc32c.entry[(crc ^ static_cast<uint64_t>(s) >> (8 * n)) & 0xff];
  setReg<uint32_t>(c, i->reg, crc);
  return true;
}

}  // namespace

Handler bindBits(const Binding& b) {
  switch (b.d.op) {
    case Op::Bt:
      return bindBit<Op::Bt>(b);
    case Op::Bts:
      return bindBit<Op::Bts>(b);
    case Op::Btr:
      return bindBit<Op::Btr>(b);
    case Op::Btc:
      return bindBit<Op::Btc>(b);
    case Op::Bsf:
      return bindScan<Op::Bsf>(b);
    case Op::Bsr:
      return bindScan<Op::Bsr>(b);
    case Op::Lzcnt:
      return bindScan<Op::Lzcnt>(b);
    case Op::Tzcnt:
      return bindScan<Op::Tzcnt>(b);
    case Op::Popcnt:
      return bindScan<Op::Popcnt>(b);
#define BMI(name) \
  case Op::name:  \
    return bindBmi<Op::name>(b);
      BMI(Andn) BMI(Blsr) BMI(Blsmsk) BMI(Blsi) BMI(Bzhi) BMI(Bextr) BMI(Pdep) BMI(Pext) BMI(Mulx) BMI(Shlx) BMI(Sarx) BMI(Shrx) BMI(Rorx)
#undef BMI
    case Op::Adcx:
      return bindAddWith<false>(b);
    case Op::Adox:
      return bindAddWith<true>(b);
    case Op::Crc32:
      b.i.reg = regOffset(b.d, b.d.reg, 8);
      b.i.rm = regOffset(b.d, b.d.rm, b.d.rmSize);
      return bySize(b.d.rmSize, [](auto t) -> Handler { return plain<crc32<decltype(t)>>; });
    default:
      return nullptr;
  }
}

}  // namespace lodge::x86
