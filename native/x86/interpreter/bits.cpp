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
  if (A == Op::Lzcnt || A == Op::Popcnt || s != 0) setReg<T>(c, i->reg, d);
  c.ax = static_cast<uint16_t>(f);
  return true;
}
template <Op A>
Handler bindScan(const Binding& b) {
  b.i.reg = regOffset(b.d, b.d.reg, 8);
  b.i.rm = regOffset(b.d, b.d.rm, 8);
  return byWideSize(b.d.operandSize, [](auto t) -> Handler { return plain<scan<A, decltype(t)>>; });
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
    case Op::Popcnt:
      return bindScan<Op::Popcnt>(b);
    case Op::Crc32:
      b.i.reg = regOffset(b.d, b.d.reg, 8);
      b.i.rm = regOffset(b.d, b.d.rm, b.d.rmSize);
      return bySize(b.d.rmSize, [](auto t) -> Handler { return plain<crc32<decltype(t)>>; });
    default:
      return nullptr;
  }
}

}  // namespace lodge::x86
