// Packed integer arithmetic, logic, shifts, shuffles; text, carry-less, AES and SHA instructions. None of them reads MXCSR.
#include "x86/fp/simd_support.h"

namespace lodge::x86::simd {

// `op xmm, xmm/m128` alone.
#define XMM(name)                     \
  int name(FpOperands& o) {           \
    __m128i d = load16(o.dst);        \
    LODGE_XMM_OP(#name, d, load16(o.src)); \
    store16(o.dst, d);                \
    return -1;                        \
  }

// Lanes that do not cross the middle: the MMX form is the low half of the XMM form.
#define LANES(name)                        \
  XMM(name)                                \
  int name##Mmx(FpOperands& o) {           \
    __m128i d = load8(o.dst);              \
    LODGE_XMM_OP(#name, d, load8(o.src));  \
    storeMmx(o, d);                        \
    return -1;                             \
  }

LANES(paddb) LANES(paddw) LANES(paddd) LANES(paddq) LANES(paddsb) LANES(paddsw) LANES(paddusb) LANES(paddusw)
LANES(psubb) LANES(psubw) LANES(psubd) LANES(psubq) LANES(psubsb) LANES(psubsw) LANES(psubusb) LANES(psubusw)
LANES(pmullw) LANES(pmulhw) LANES(pmulhuw) LANES(pmuludq) LANES(pmaddwd) LANES(pmaddubsw) LANES(pmulhrsw)
LANES(pcmpeqb) LANES(pcmpeqw) LANES(pcmpeqd) LANES(pcmpgtb) LANES(pcmpgtw) LANES(pcmpgtd)
LANES(pminub) LANES(pminsw) LANES(pmaxub) LANES(pmaxsw) LANES(pavgb) LANES(pavgw) LANES(psadbw)
LANES(pand) LANES(pandn) LANES(por) LANES(pxor)
LANES(psignb) LANES(psignw) LANES(psignd) LANES(pabsb) LANES(pabsw) LANES(pabsd)
// The count is the low quadword of the source, in MMX all there is.
LANES(psrlw) LANES(psrld) LANES(psrlq) LANES(psraw) LANES(psrad) LANES(psllw) LANES(pslld) LANES(psllq)

XMM(punpcklqdq) XMM(punpckhqdq) XMM(pcmpeqq) XMM(pcmpgtq) XMM(packusdw)
XMM(pminsb) XMM(pminsd) XMM(pminuw) XMM(pminud) XMM(pmaxsb) XMM(pmaxsd) XMM(pmaxuw) XMM(pmaxud)
XMM(pmuldq) XMM(pmulld) XMM(phminposuw)
XMM(unpcklps) XMM(unpckhps) XMM(unpcklpd) XMM(unpckhpd)
XMM(aesimc) XMM(aesenc) XMM(aesenclast) XMM(aesdec) XMM(aesdeclast)
XMM(sha1nexte) XMM(sha1msg1) XMM(sha1msg2) XMM(sha256msg1) XMM(sha256msg2)

// Low halves interleaved fill the whole register, so MMX's low and high unpack are its two halves. MMX reads only 32 bits of
// memory for the low unpack.
#define UNPACK(low, high)                                                        \
  XMM(low) XMM(high)                                                             \
  int low##Mmx(FpOperands& o) {                                                  \
    __m128i d = load8(o.dst);                                                    \
    LODGE_XMM_OP(#low, d, o.memory ? load4(o.src) : load8(o.src));               \
    storeMmx(o, d);                                                              \
    return -1;                                                                   \
  }                                                                              \
  int high##Mmx(FpOperands& o) {                                                 \
    __m128i d = load8(o.dst);                                                    \
    LODGE_XMM_OP(#low, d, load8(o.src));                                         \
    storeMmx(o, _mm_unpackhi_epi64(d, d));                                       \
    return -1;                                                                   \
  }
UNPACK(punpcklbw, punpckhbw) UNPACK(punpcklwd, punpckhwd) UNPACK(punpckldq, punpckhdq)

// Results from both operands side by side: MMX packs them into one register first.
#define ACROSS(name)                                                  \
  XMM(name)                                                           \
  int name##Mmx(FpOperands& o) {                                      \
    __m128i d = _mm_unpacklo_epi64(load8(o.dst), load8(o.src));       \
    LODGE_XMM_OP(#name, d, d);                                        \
    storeMmx(o, d);                                                   \
    return -1;                                                        \
  }
ACROSS(packsswb) ACROSS(packssdw) ACROSS(packuswb)
ACROSS(phaddw) ACROSS(phaddd) ACROSS(phaddsw) ACROSS(phsubw) ACROSS(phsubd) ACROSS(phsubsw)

XMM(pshufb)
int pshufbMmx(FpOperands& o) {
  __m128i d = load8(o.dst);
  const __m128i control = _mm_and_si128(load8(o.src), _mm_set1_epi8(static_cast<char>(0x87)));
  LODGE_XMM_OP("pshufb", d, control);
  storeMmx(o, d);
  return -1;
}

// Shifts by imm8: the count goes through a register, where counts beyond the width behave the same.
#define SHIFT_IMM(name)                                                                     \
  int name##Imm(FpOperands& o) {                                                            \
    __m128i d = load16(o.dst);                                                              \
    LODGE_XMM_OP(#name, d, _mm_cvtsi32_si128(static_cast<int>(o.imm & 0xff)));              \
    store16(o.dst, d);                                                                      \
    return -1;                                                                              \
  }                                                                                         \
  int name##MmxImm(FpOperands& o) {                                                         \
    __m128i d = load8(o.dst);                                                               \
    LODGE_XMM_OP(#name, d, _mm_cvtsi32_si128(static_cast<int>(o.imm & 0xff)));              \
    storeMmx(o, d);                                                                         \
    return -1;                                                                              \
  }
SHIFT_IMM(psrlw) SHIFT_IMM(psrld) SHIFT_IMM(psrlq) SHIFT_IMM(psraw) SHIFT_IMM(psrad)
SHIFT_IMM(psllw) SHIFT_IMM(pslld) SHIFT_IMM(psllq)

// Byte shifts and PALIGNR by PSHUFB: its control is a window into a table whose indices beyond the operand select zero.
namespace {
alignas(16) constexpr uint8_t kWindow[64] = {
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
    0,    1,    2,    3,    4,    5,    6,    7,    8,    9,    10,   11,   12,   13,   14,   15,
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
};
/** `value` moved down by `count` bytes (up, when negative; -16 … 32), zeros moving in. */
__m128i moved(__m128i value, int count) {
  LODGE_XMM_OP("pshufb", value, load16(kWindow + 16 + count));
  return value;
}
}  // namespace
int psrldq(FpOperands& o) {
  const int count = o.imm & 0xff;
  store16(o.dst, moved(load16(o.dst), count > 16 ? 16 : count));
  return -1;
}
int pslldq(FpOperands& o) {
  const int count = o.imm & 0xff;
  store16(o.dst, moved(load16(o.dst), count > 16 ? -16 : -count));
  return -1;
}
int palignr(FpOperands& o) {
  const int count = (o.imm & 0xff) > 32 ? 32 : static_cast<int>(o.imm & 0xff);
  store16(o.dst, _mm_or_si128(moved(load16(o.src), count), moved(load16(o.dst), count - 16)));
  return -1;
}
int palignrMmx(FpOperands& o) {
  alignas(16) uint8_t lane[32] = {};
  std::memcpy(lane, o.src, 8);
  std::memcpy(lane + 8, o.dst, 8);
  const unsigned count = o.imm & 0xff;
  storeMmx(o, load8(lane + (count > 16 ? 16 : count)));
  return -1;
}

#define SHUFFLE(name)                                                                        \
  template <unsigned I>                                                                      \
  static int name##At(FpOperands& o) {                                                       \
    __m128i d;                                                                               \
    asm(#name " %2, %1, %0" : "=x"(d) : "x"(load16(o.src)), "i"(I));                         \
    store16(o.dst, d);                                                                       \
    return -1;                                                                               \
  }                                                                                          \
  LODGE_BY_IMMEDIATE(name, 0xff)
SHUFFLE(pshufd) SHUFFLE(pshufhw) SHUFFLE(pshuflw)

template <unsigned I>
static int pshufwAt(FpOperands& o) {
  storeMmx(o, _mm_shufflelo_epi16(load8(o.src), I));
  return -1;
}
LODGE_BY_IMMEDIATE(pshufw, 0xff)

// `op xmm, xmm/m128, imm8` without flags.
#define XMM_IMM(name, mask)                                                       \
  template <unsigned I>                                                           \
  static int name##At(FpOperands& o) {                                            \
    __m128i d = load16(o.dst);                                                    \
    asm(#name " %2, %1, %0" : "+x"(d) : "x"(load16(o.src)), "i"(I));              \
    store16(o.dst, d);                                                            \
    return -1;                                                                    \
  }                                                                               \
  LODGE_BY_IMMEDIATE(name, mask)
XMM_IMM(shufps, 0xff) XMM_IMM(shufpd, 3) XMM_IMM(pblendw, 0xff) XMM_IMM(mpsadbw, 7) XMM_IMM(pclmulqdq, 0x11)
XMM_IMM(sha1rnds4, 3)

int blendps(FpOperands& o) {
  for (unsigned i = 0; i < 4; ++i)
    if (o.imm >> i & 1) std::memcpy(static_cast<uint8_t*>(o.dst) + 4 * i, static_cast<const uint8_t*>(o.src) + 4 * i, 4);
  return -1;
}
int blendpd(FpOperands& o) {
  for (unsigned i = 0; i < 2; ++i)
    if (o.imm >> i & 1) std::memcpy(static_cast<uint8_t*>(o.dst) + 8 * i, static_cast<const uint8_t*>(o.src) + 8 * i, 8);
  return -1;
}

// XMM0 is an operand of these.
#define WITH_XMM0(name)                                                                         \
  int name(FpOperands& o) {                                                                     \
    __m128i d = load16(o.dst);                                                                  \
    const __m128i s = load16(o.src);                                                            \
    register __m128i zero asm("xmm0") = load16(o.state.vec[0].bytes);                           \
    asm(#name " %%xmm0, %1, %0" : "+x"(d) : "x"(s), "x"(zero));                                 \
    store16(o.dst, d);                                                                          \
    return -1;                                                                                  \
  }
WITH_XMM0(pblendvb) WITH_XMM0(blendvps) WITH_XMM0(blendvpd) WITH_XMM0(sha256rnds2)

#define EXTEND(name, load)                                        \
  int name(FpOperands& o) {                                       \
    __m128i d;                                                    \
    asm(#name " %1, %0" : "=x"(d) : "x"(load(o.src)));            \
    store16(o.dst, d);                                            \
    return -1;                                                    \
  }
namespace {
__m128i load2(const void* from) {
  uint16_t value;
  std::memcpy(&value, from, 2);
  return _mm_cvtsi32_si128(value);
}
}  // namespace
EXTEND(pmovsxbw, load8) EXTEND(pmovsxbd, load4) EXTEND(pmovsxbq, load2)
EXTEND(pmovsxwd, load8) EXTEND(pmovsxwq, load4) EXTEND(pmovsxdq, load8)
EXTEND(pmovzxbw, load8) EXTEND(pmovzxbd, load4) EXTEND(pmovzxbq, load2)
EXTEND(pmovzxwd, load8) EXTEND(pmovzxwq, load4) EXTEND(pmovzxdq, load8)

int ptest(FpOperands& o) {
  bool zero, carry;
  asm("ptest %3, %2" : "=@ccz"(zero), "=@ccc"(carry) : "x"(load16(o.dst)), "x"(load16(o.src)));
  o.flags = (zero ? kZf : 0u) | (carry ? kCf : 0u);
  return -1;
}

/** The round constant is XORed into the rotated words (FIPS 197 §5.2), so any constant follows from constant zero. */
int aeskeygenassist(FpOperands& o) {
  __m128i d;
  asm("aeskeygenassist $0, %1, %0" : "=x"(d) : "x"(load16(o.src)));
  const int constant = static_cast<int>(o.imm & 0xff);
  store16(o.dst, _mm_xor_si128(d, _mm_set_epi32(constant, 0, constant, 0)));
  return -1;
}

// PCMPxSTRx. Bit 7 of imm8 is reserved and ignored. Explicit lengths saturate at the element count (at most 16), whatever their
// sign, so the 64-bit length of REX.W may be clamped to 32 bits first.
namespace {
int explicitLength(const FpOperands& o, Gpr reg) {
  const uint64_t value = o.state.gpr[reg];
  if (o.operandSize != 8) return static_cast<int>(static_cast<uint32_t>(value));
  const int64_t wide = static_cast<int64_t>(value);
  return static_cast<int>(wide > 16 ? 16 : wide < -16 ? -16 : wide);
}
uint32_t stringFlags(bool c, bool z, bool s, bool o) { return (c ? kCf : 0u) | (z ? kZf : 0u) | (s ? kSf : 0u) | (o ? kOf : 0u); }
}  // namespace

#define LODGE_STRING_FLAGS "=@ccc"(c), "=@ccz"(z), "=@ccs"(s), "=@cco"(v)

template <unsigned I>
static int pcmpestriAt(FpOperands& o) {
  bool c, z, s, v;
  uint32_t index;
  asm("pcmpestri %9, %6, %5"
      : LODGE_STRING_FLAGS, "=c"(index)
      : "x"(load16(o.dst)), "x"(load16(o.src)), "a"(explicitLength(o, kRax)), "d"(explicitLength(o, kRdx)), "i"(I));
  o.state.gpr[kRcx] = index;
  o.flags = stringFlags(c, z, s, v);
  return -1;
}
template <unsigned I>
static int pcmpistriAt(FpOperands& o) {
  bool c, z, s, v;
  uint32_t index;
  asm("pcmpistri %7, %6, %5" : LODGE_STRING_FLAGS, "=c"(index) : "x"(load16(o.dst)), "x"(load16(o.src)), "i"(I));
  o.state.gpr[kRcx] = index;
  o.flags = stringFlags(c, z, s, v);
  return -1;
}
template <unsigned I>
static int pcmpestrmAt(FpOperands& o) {
  bool c, z, s, v;
  register __m128i mask asm("xmm0");
  const int first = explicitLength(o, kRax), second = explicitLength(o, kRdx);
  const __m128i a = load16(o.dst), b = load16(o.src);
  asm("pcmpestrm %9, %6, %5" : LODGE_STRING_FLAGS, "=x"(mask) : "x"(a), "x"(b), "a"(first), "d"(second), "i"(I));
  store16(o.state.vec[0].bytes, mask);
  o.flags = stringFlags(c, z, s, v);
  return -1;
}
template <unsigned I>
static int pcmpistrmAt(FpOperands& o) {
  bool c, z, s, v;
  register __m128i mask asm("xmm0");
  const __m128i a = load16(o.dst), b = load16(o.src);
  asm("pcmpistrm %7, %6, %5" : LODGE_STRING_FLAGS, "=x"(mask) : "x"(a), "x"(b), "i"(I));
  store16(o.state.vec[0].bytes, mask);
  o.flags = stringFlags(c, z, s, v);
  return -1;
}
LODGE_BY_IMMEDIATE(pcmpestri, 0x7f)
LODGE_BY_IMMEDIATE(pcmpistri, 0x7f)
LODGE_BY_IMMEDIATE(pcmpestrm, 0x7f)
LODGE_BY_IMMEDIATE(pcmpistrm, 0x7f)

}  // namespace lodge::x86::simd
