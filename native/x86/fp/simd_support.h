// What the SIMD functions share: operand access, the response to unmasked exceptions, tables by imm8.
//
// Operations are inline assembly rather than intrinsics where the operand order decides which NaN survives or where a
// sticky flag is an output: compilers commute and move what they think is arithmetic. MMX instructions run on the low half of
// an XMM register, so that the host's x87 registers stay untouched.
#pragma once

#include <emmintrin.h>

#include <cstring>

#include "x86/fp/host_fp.h"

namespace lodge::x86::simd {

using namespace fpbits;

// Every row's function, and the 256 functions of those with an immediate.
#define ROW(map, op, prefix, reg, mnemonic, form, bytes, imm8, feature, attributes, fn) int fn(FpOperands&);
#define IMM_ROW(map, op, prefix, reg, mnemonic, form, bytes, imm8, feature, attributes, fn) \
  int fn(FpOperands&);                                                                        \
  extern const FpFn fn##Table[256];
#include "x86/tables/simd.inc"
#undef ROW
#undef IMM_ROW

inline __m128i load16(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }
inline __m128i load8(const void* from) { return _mm_loadl_epi64(static_cast<const __m128i*>(from)); }
inline __m128i load4(const void* from) {
  int value;
  std::memcpy(&value, from, 4);
  return _mm_cvtsi32_si128(value);
}
inline void store16(void* to, __m128i value) { _mm_storeu_si128(static_cast<__m128i*>(to), value); }
inline void store8(void* to, __m128i value) { _mm_storel_epi64(static_cast<__m128i*>(to), value); }

/** An MMX register was written: exponent and sign bits of the x87 register below it are ones (SDM vol. 1 §9.5.2). */
inline void storeMmx(FpOperands& o, __m128i value) {
  store8(o.dst, value);
  std::memset(static_cast<uint8_t*>(o.dst) + 8, 0xff, 2);
  enterMmx(o.state);
}

/** Destination of `op d, s` with both operands in XMM registers. */
#define LODGE_XMM_OP(insn, d, s) asm(insn " %1, %0" : "+x"(d) : "x"(s))
/** The same for operations that read MXCSR or raise its flags. */
#define LODGE_XMM_FP(insn, d, s) asm volatile(insn " %1, %0" : "+x"(d) : "x"(s))

/**
 * For a guest that unmasked a SIMD exception. `attempt` runs the operation with the same operands each time it is called, and its
 * last result counts. It returns exception flags that the host does not show with everything masked. The vector, or -1 when none of
 * the unmasked exceptions is raised.
 */
int withUnmaskedExceptions(State&, uint32_t (*attempt)(void*), void* context) noexcept;
/** The same for the function of a row. `bytes` of dst are committed when there is no exception. */
int withUnmaskedExceptions(FpOperands&, FpFn operation, unsigned bytes) noexcept;

/** A row's function from the plain operation; Bytes is the size of its destination register. */
template <FpFn Operation, unsigned Bytes = 16>
[[gnu::always_inline]] inline int checked(FpOperands& o) {
  if ((o.state.mxcsr & kMxcsrMasks) != kMxcsrMasks) [[unlikely]] return withUnmaskedExceptions(o, Operation, Bytes);
  return Operation(o);
}

// tableOf(fn<I>) lists fn<I & mask> for every imm8.
#define LODGE_IMM4(fn, m, b) fn<(b) & (m)>, fn<((b) + 1) & (m)>, fn<((b) + 2) & (m)>, fn<((b) + 3) & (m)>
#define LODGE_IMM16(fn, m, b) LODGE_IMM4(fn, m, b), LODGE_IMM4(fn, m, b + 4), LODGE_IMM4(fn, m, b + 8), LODGE_IMM4(fn, m, b + 12)
#define LODGE_IMM64(fn, m, b) \
  LODGE_IMM16(fn, m, b), LODGE_IMM16(fn, m, b + 16), LODGE_IMM16(fn, m, b + 32), LODGE_IMM16(fn, m, b + 48)
/** The row's function and table; `mask` has the bits of imm8 that mean something. */
#define LODGE_BY_IMMEDIATE(name, mask)                                                                                     \
  const FpFn name##Table[256] = {LODGE_IMM64(name##At, mask, 0), LODGE_IMM64(name##At, mask, 64),                          \
                                 LODGE_IMM64(name##At, mask, 128), LODGE_IMM64(name##At, mask, 192)};                      \
  int name(FpOperands& o) { return name##Table[o.imm & 0xff](o); }

}  // namespace lodge::x86::simd
