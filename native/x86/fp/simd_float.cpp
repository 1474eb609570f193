// SSE floating point: the guest's rounding, DAZ and FTZ are in the host's MXCSR, and its sticky flags gather there.
#include "x86/fp/simd_support.h"

namespace lodge::x86::simd {

/**
 * SDM vol. 1 §11.5: an unmasked invalid, denormal or divide-by-zero condition of any element is seen before the operation, which
 * then reports no overflow, underflow or precision. Otherwise the unmasked of those stop the result from being stored.
 * The host runs with everything masked; two passes tell what it would have raised.
 */
int withUnmaskedExceptions(State& state, uint32_t (*attempt)(void*), void* context) noexcept {
  constexpr uint32_t kBefore = kIe | kDe | kZe;
  const uint32_t control = state.mxcsr & ~kMxcsrFlags;
  const uint32_t unmasked = ~(control >> 7) & kMxcsrFlags;
  const uint32_t gathered = hostMxcsr() & kMxcsrFlags;
  const auto run = [&](uint32_t mxcsr) {
    setHostMxcsr(mxcsr | kMxcsrMasks);
    const uint32_t more = attempt(context);
    return (hostMxcsr() & kMxcsrFlags) | more;
  };
  uint32_t raised = 0;
  if (unmasked & kUe) {
    // Unmasked, a tiny result raises #U even when exact; flush-to-zero mode, too, asks for tininess alone.
    raised = run(control | kMxcsrFlushToZero) & kUe;
    raised |= run(control & ~kMxcsrFlushToZero) & ~uint32_t{kUe};
  } else {
    raised = run(control);
  }

  uint32_t fault = raised & unmasked & kBefore;
  uint32_t reported = raised;
  if (fault)
    reported &= kBefore;
  else
    fault = raised & unmasked;
  setHostMxcsr(control | kMxcsrMasks | gathered | reported);
  return fault ? int{kXM} : -1;
}

int withUnmaskedExceptions(FpOperands& o, FpFn operation, unsigned bytes) noexcept {
  alignas(16) uint8_t result[16];
  struct Trial {
    FpOperands operands;
    const void* before;
    FpFn operation;
    unsigned bytes;
  } trial{o, o.dst, operation, bytes};
  trial.operands.dst = result;
  const int vector = withUnmaskedExceptions(
      o.state,
      [](void* context) {
        auto& t = *static_cast<Trial*>(context);
        std::memcpy(t.operands.dst, t.before, t.bytes);
        t.operation(t.operands);
        return 0u;
      },
      &trial);
  if (vector >= 0) return vector;
  std::memcpy(o.dst, result, bytes);
  o.flags = trial.operands.flags;
  return -1;
}

// `operation` and the row's function around it.
#define CHECKED(name, bytes) \
  int name(FpOperands& o) { return checked<name##Plain, bytes>(o); }

#define PACKED(name)                              \
  static int name##Plain(FpOperands& o) {         \
    __m128i d = load16(o.dst);                    \
    LODGE_XMM_FP(#name, d, load16(o.src));        \
    store16(o.dst, d);                            \
    return -1;                                    \
  }                                               \
  CHECKED(name, 16)
// Scalars read their element from memory directly, and keep the rest of the destination.
#define SCALAR(name, type)                                                                               \
  static int name##Plain(FpOperands& o) {                                                                \
    __m128i d = load16(o.dst);                                                                           \
    asm volatile(#name " %1, %0" : "+x"(d) : "m"(*static_cast<const type*>(o.src)));                     \
    store16(o.dst, d);                                                                                   \
    return -1;                                                                                           \
  }                                                                                                      \
  CHECKED(name, 16)
namespace {
struct [[gnu::packed, gnu::may_alias]] Four { uint32_t value; };
struct [[gnu::packed, gnu::may_alias]] Eight { uint64_t value; };
}  // namespace
#define ALL_FOUR(op) PACKED(op##ps) PACKED(op##pd) SCALAR(op##ss, Four) SCALAR(op##sd, Eight)

ALL_FOUR(add) ALL_FOUR(sub) ALL_FOUR(mul) ALL_FOUR(div) ALL_FOUR(min) ALL_FOUR(max) ALL_FOUR(sqrt)
PACKED(addsubps) PACKED(addsubpd) PACKED(haddps) PACKED(haddpd) PACKED(hsubps) PACKED(hsubpd)
PACKED(cvtdq2ps) PACKED(cvtps2dq) PACKED(cvttps2dq) PACKED(cvtpd2ps) PACKED(cvtpd2dq) PACKED(cvttpd2dq)
SCALAR(cvtss2sd, Four) SCALAR(cvtsd2ss, Eight)
// Approximations raise nothing.
PACKED(rsqrtps) PACKED(rcpps) SCALAR(rsqrtss, Four) SCALAR(rcpss, Four)

// The upper half of the source register holds zeros, which convert exactly.
static int cvtps2pdPlain(FpOperands& o) {
  __m128i d;
  asm volatile("cvtps2pd %1, %0" : "=x"(d) : "x"(load8(o.src)));
  store16(o.dst, d);
  return -1;
}
CHECKED(cvtps2pd, 16)

int cvtdq2pd(FpOperands& o) {
  __m128i d;
  asm("cvtdq2pd %1, %0" : "=x"(d) : "x"(load8(o.src)));
  store16(o.dst, d);
  return -1;
}
static int cvtpi2psPlain(FpOperands& o) {
  __m128i d;
  asm volatile("cvtdq2ps %1, %0" : "=x"(d) : "x"(load8(o.src)));
  store8(o.dst, d);
  return -1;
}
int cvtpi2ps(FpOperands& o) {
  if (!o.memory) enterMmx(o.state);  // even when the conversion faults
  return checked<cvtpi2psPlain>(o);
}
int cvtpi2pd(FpOperands& o) {
  if (!o.memory) enterMmx(o.state);
  return cvtdq2pd(o);
}
#define TO_MMX(name, insn, load)                                       \
  static int name##Plain(FpOperands& o) {                              \
    __m128i d;                                                         \
    asm volatile(insn " %1, %0" : "=x"(d) : "x"(load(o.src)));         \
    storeMmx(o, d);                                                    \
    return -1;                                                         \
  }                                                                    \
  CHECKED(name, 10)
TO_MMX(cvtps2pi, "cvtps2dq", load8) TO_MMX(cvttps2pi, "cvttps2dq", load8)
TO_MMX(cvtpd2pi, "cvtpd2dq", load16) TO_MMX(cvttpd2pi, "cvttpd2dq", load16)

#define FROM_GPR(name)                                                                                            \
  static int name##Plain(FpOperands& o) {                                                                         \
    __m128i d = load16(o.dst);                                                                                    \
    if (o.operandSize == 8)                                                                                       \
      asm volatile(#name "q %1, %0" : "+x"(d) : "m"(*static_cast<const Eight*>(o.src)));                          \
    else                                                                                                          \
      asm volatile(#name "l %1, %0" : "+x"(d) : "m"(*static_cast<const Four*>(o.src)));                           \
    store16(o.dst, d);                                                                                            \
    return -1;                                                                                                    \
  }                                                                                                               \
  CHECKED(name, 16)
FROM_GPR(cvtsi2ss) FROM_GPR(cvtsi2sd)

#define TO_GPR(name, type)                                                                                  \
  static int name##Plain(FpOperands& o) {                                                                   \
    uint64_t d;                                                                                             \
    if (o.operandSize == 8)                                                                                 \
      asm volatile(#name " %1, %q0" : "=r"(d) : "m"(*static_cast<const type*>(o.src)));                     \
    else                                                                                                    \
      asm volatile(#name " %1, %k0" : "=r"(d) : "m"(*static_cast<const type*>(o.src)));                     \
    std::memcpy(o.dst, &d, 8);                                                                              \
    return -1;                                                                                              \
  }                                                                                                         \
  CHECKED(name, 8)
TO_GPR(cvtss2si, Four) TO_GPR(cvttss2si, Four) TO_GPR(cvtsd2si, Eight) TO_GPR(cvttsd2si, Eight)

// Comparisons into RFLAGS: unordered sets ZF, PF and CF; OF, SF and AF are cleared.
#define COMPARE(name, type)                                                                                      \
  static int name##Plain(FpOperands& o) {                                                                        \
    bool z, p, c;                                                                                                \
    asm volatile(#name " %4, %3"                                                                                 \
                 : "=@ccz"(z), "=@ccp"(p), "=@ccc"(c)                                                            \
                 : "x"(load8(o.dst)), "m"(*static_cast<const type*>(o.src)));                                    \
    o.flags = (z ? kZf : 0u) | (p ? kPf : 0u) | (c ? kCf : 0u);                                                  \
    return -1;                                                                                                   \
  }                                                                                                              \
  CHECKED(name, 16)
COMPARE(ucomiss, Four) COMPARE(comiss, Four) COMPARE(ucomisd, Eight) COMPARE(comisd, Eight)

#define PACKED_IMM(name, mask)                                                                  \
  template <unsigned I>                                                                         \
  static int name##PlainAt(FpOperands& o) {                                                     \
    __m128i d = load16(o.dst);                                                                  \
    asm volatile(#name " %2, %1, %0" : "+x"(d) : "x"(load16(o.src)), "i"(I));                   \
    store16(o.dst, d);                                                                          \
    return -1;                                                                                  \
  }                                                                                             \
  template <unsigned I>                                                                         \
  static int name##At(FpOperands& o) { return checked<name##PlainAt<I>>(o); }                   \
  LODGE_BY_IMMEDIATE(name, mask)
#define SCALAR_IMM(name, type, mask)                                                                              \
  template <unsigned I>                                                                                           \
  static int name##PlainAt(FpOperands& o) {                                                                       \
    __m128i d = load16(o.dst);                                                                                    \
    asm volatile(#name " %2, %1, %0" : "+x"(d) : "m"(*static_cast<const type*>(o.src)), "i"(I));                  \
    store16(o.dst, d);                                                                                            \
    return -1;                                                                                                    \
  }                                                                                                               \
  template <unsigned I>                                                                                           \
  static int name##At(FpOperands& o) { return checked<name##PlainAt<I>>(o); }                                     \
  LODGE_BY_IMMEDIATE(name, mask)
PACKED_IMM(cmpps, 7) PACKED_IMM(cmppd, 7) SCALAR_IMM(cmpss, Four, 7) SCALAR_IMM(cmpsd, Eight, 7)
PACKED_IMM(roundps, 15) PACKED_IMM(roundpd, 15) SCALAR_IMM(roundss, Four, 15) SCALAR_IMM(roundsd, Eight, 15)

/**
 * The products of a dot product raise their exceptions before the sums do: with one unmasked, they are tried alone first. The
 * elements that imm8 leaves out count as zero and raise nothing.
 */
template <FpFn Whole, FpFn Products, unsigned Elements>
static int dotProduct(FpOperands& o, unsigned selected) {
  if ((o.state.mxcsr & kMxcsrMasks) != kMxcsrMasks) [[unlikely]] {
    constexpr unsigned kBytes = 16 / Elements;
    alignas(16) uint8_t a[16] = {}, b[16] = {};
    for (unsigned i = 0; i < Elements; ++i)
      if (selected >> i & 1) {
        std::memcpy(a + kBytes * i, static_cast<const uint8_t*>(o.dst) + kBytes * i, kBytes);
        std::memcpy(b + kBytes * i, static_cast<const uint8_t*>(o.src) + kBytes * i, kBytes);
      }
    FpOperands products = o;
    products.dst = a;
    products.src = b;
    const int fault = withUnmaskedExceptions(products, Products, 16);
    if (fault >= 0) return fault;
  }
  return checked<Whole>(o);
}
#define DOT_PRODUCT(name, products, elements, mask)                                                              \
  template <unsigned I>                                                                                          \
  static int name##PlainAt(FpOperands& o) {                                                                      \
    __m128i d = load16(o.dst);                                                                                   \
    asm volatile(#name " %2, %1, %0" : "+x"(d) : "x"(load16(o.src)), "i"(I));                                    \
    store16(o.dst, d);                                                                                           \
    return -1;                                                                                                   \
  }                                                                                                              \
  template <unsigned I>                                                                                          \
  static int name##At(FpOperands& o) { return dotProduct<name##PlainAt<I>, products##Plain, elements>(o, I >> 4); } \
  LODGE_BY_IMMEDIATE(name, mask)
DOT_PRODUCT(dpps, mulps, 4, 0xff) DOT_PRODUCT(dppd, mulpd, 2, 0x33)

}  // namespace lodge::x86::simd
