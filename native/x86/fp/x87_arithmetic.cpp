// x87 arithmetic, comparisons and transcendental functions.
#include "x86/fp/x87_support.h"

namespace lodge::x86::x87 {

bool stackUnderflow(X87State& x) noexcept {
  clearC1(x);
  x.status |= kIe | kStackFault;
  if (x.control & kIe) return true;
  x.status |= kErrorSummary | kBusy;
  return false;
}
bool stackOverflow(X87State& x) noexcept {
  const bool masked = stackUnderflow(x);
  x.lastStatus = kC1;
  return masked;
}
void setIndefinite(X87Register& r) noexcept {
  constexpr uint8_t kIndefinite[10] = {0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff};
  std::memcpy(r.bytes, kIndefinite, 10);
}

namespace {

/** Runs after an operation whose register result replaced ST(i): true when the instruction may go on (pop). */
bool finish(X87State& x, uint16_t sw) {
  merge(x, sw);
  return !prevented(x, sw);
}
/** An operand of an instruction that writes ST(i) is empty. */
bool underflowInto(X87State& x, unsigned i) {
  if (!stackUnderflow(x)) return false;
  setIndefinite(st(x, i));
  setValid(x, i);
  return true;
}

}  // namespace

// Two-operand arithmetic. to = a op b, with a in the host's ST(0); when prevented, ST(0) and thus `to` keep a. With everything
// masked nothing can be pending, and nobody needs to look at the status word now. Result: false when prevented.
#define LODGE_X87_BINARY(name)                                                                                 \
  static inline bool name##Registers(X87State& x, X87Register& to, const X87Register& b) {                     \
    if (allMasked(x)) [[likely]] {                                                                             \
      asm volatile("fldt %[b]\n\tfldt %[to]\n\t" #name " %%st(1), %%st\n\tfnstsw %[last]\n\t"                  \
                   "fstpt %[to]\n\tfstp %%st(0)"                                                               \
                   : [to] "+m"(to), [last] "=m"(x.lastStatus)                                                  \
                   : [b] "m"(b)                                                                                \
                   : LODGE_X87_CLOBBERS);                                                                      \
      return true;                                                                                             \
    }                                                                                                          \
    uint16_t sw;                                                                                               \
    asm volatile("fldt %[b]\n\tfldt %[to]\n\t" #name " %%st(1), %%st\n\t" LODGE_X87_STATUS                     \
                 "fstpt %[to]\n\tfstp %%st(0)" LODGE_X87_CLEAR                                                 \
                 : "=&a"(sw), [to] "+m"(to)                                                                    \
                 : [b] "m"(b)                                                                                  \
                 : LODGE_X87_CLOBBERS);                                                                        \
    return finish(x, sw);                                                                                      \
  }                                                                                                            \
  int name(FpOperands& o) { /* ST(0) = ST(0) op ST(i) */                                                       \
    X87State& x = o.state.x87;                                                                                 \
    const unsigned i = o.imm & 7;                                                                              \
    if (valid(x, 0) && valid(x, i)) [[likely]]                                                                 \
      name##Registers(x, st(x, 0), st(x, i));                                                                  \
    else                                                                                                       \
      underflowInto(x, 0);                                                                                     \
    return -1;                                                                                                 \
  }                                                                                                            \
  static inline bool name##Into(X87State& x, unsigned i) { /* ST(i) = ST(i) op ST(0) */                        \
    if (valid(x, 0) && valid(x, i)) [[likely]] return name##Registers(x, st(x, i), st(x, 0));                  \
    return underflowInto(x, i);                                                                                \
  }                                                                                                            \
  int name##Sti(FpOperands& o) {                                                                               \
    name##Into(o.state.x87, o.imm & 7);                                                                        \
    return -1;                                                                                                 \
  }                                                                                                            \
  int name##p(FpOperands& o) {                                                                                 \
    if (name##Into(o.state.x87, o.imm & 7)) pop(o.state.x87);                                                  \
    return -1;                                                                                                 \
  }
#define LODGE_X87_BINARY_MEMORY(name, insn, type)                                                              \
  int name(FpOperands& o) {                                                                                    \
    X87State& x = o.state.x87;                                                                                 \
    if (!valid(x, 0)) [[unlikely]] {                                                                           \
      underflowInto(x, 0);                                                                                     \
      return -1;                                                                                               \
    }                                                                                                          \
    X87Register& to = st(x, 0);                                                                                \
    if (allMasked(x)) [[likely]] {                                                                             \
      asm volatile("fldt %[to]\n\t" insn " %[b]\n\tfnstsw %[last]\n\tfstpt %[to]"                              \
                   : [to] "+m"(to), [last] "=m"(x.lastStatus)                                                  \
                   : [b] "m"(*static_cast<const type*>(o.src))                                                 \
                   : LODGE_X87_CLOBBERS);                                                                      \
      return -1;                                                                                               \
    }                                                                                                          \
    uint16_t sw;                                                                                               \
    asm volatile("fldt %[to]\n\t" insn " %[b]\n\t" LODGE_X87_STATUS "fstpt %[to]" LODGE_X87_CLEAR              \
                 : "=&a"(sw), [to] "+m"(to)                                                                    \
                 : [b] "m"(*static_cast<const type*>(o.src))                                                   \
                 : LODGE_X87_CLOBBERS);                                                                        \
    finish(x, sw);                                                                                             \
    return -1;                                                                                                 \
  }
#define LODGE_X87_ARITHMETIC(op)                                 \
  LODGE_X87_BINARY(f##op)                                        \
  LODGE_X87_BINARY_MEMORY(f##op##M32, "f" #op "s", Memory32)     \
  LODGE_X87_BINARY_MEMORY(f##op##M64, "f" #op "l", Memory64)     \
  LODGE_X87_BINARY_MEMORY(fi##op##M16, "fi" #op "s", Memory16)   \
  LODGE_X87_BINARY_MEMORY(fi##op##M32, "fi" #op "l", Memory32)
LODGE_X87_ARITHMETIC(add) LODGE_X87_ARITHMETIC(mul) LODGE_X87_ARITHMETIC(sub)
LODGE_X87_ARITHMETIC(subr) LODGE_X87_ARITHMETIC(div) LODGE_X87_ARITHMETIC(divr)

// Comparisons. An exception, even unmasked, leaves the codes (or RFLAGS) set, an invalid one to unordered; unmasked, it only
// keeps the pops from happening. (AMD processors; Intel's may leave the codes alone.)
namespace {

constexpr uint16_t kUnordered = kC0 | kC2 | kC3;

bool compared(X87State& x, uint16_t sw) {
  const bool done = !prevented(x, sw);
  merge(x, sw, kConditions);
  if (!done && (sw & kIe & ~x.control)) x.status |= kUnordered;
  return done;
}
bool compareUnderflow(X87State& x) {
  x.status |= kUnordered;
  return stackUnderflow(x);
}
#define LODGE_X87_COMPARE(name)                                                                          \
  uint16_t name##Registers(const X87Register& a, const X87Register& b) {                                 \
    uint16_t sw;                                                                                         \
    asm volatile("fldt %[b]\n\tfldt %[a]\n\t" #name " %%st(1)\n\t" LODGE_X87_STATUS                      \
                 "fstp %%st(0)\n\tfstp %%st(0)" LODGE_X87_CLEAR                                          \
                 : "=&a"(sw)                                                                             \
                 : [a] "m"(a), [b] "m"(b)                                                                \
                 : LODGE_X87_CLOBBERS);                                                                  \
    return sw;                                                                                           \
  }                                                                                                      \
  bool name##With(X87State& x, unsigned i) {                                                             \
    if (valid(x, 0) && valid(x, i)) [[likely]] return compared(x, name##Registers(st(x, 0), st(x, i)));  \
    return compareUnderflow(x);                                                                          \
  }
LODGE_X87_COMPARE(fcom)
LODGE_X87_COMPARE(fucom)

#define LODGE_X87_COMPARE_MEMORY(name, insn, type)                                                             \
  bool name##With(FpOperands& o) {                                                                             \
    X87State& x = o.state.x87;                                                                                 \
    if (!valid(x, 0)) [[unlikely]] return compareUnderflow(x);                                                 \
    uint16_t sw;                                                                                               \
    asm volatile("fldt %[a]\n\t" insn " %[b]\n\t" LODGE_X87_STATUS "fstp %%st(0)" LODGE_X87_CLEAR              \
                 : "=&a"(sw)                                                                                   \
                 : [a] "m"(st(x, 0)), [b] "m"(*static_cast<const type*>(o.src))                                \
                 : LODGE_X87_CLOBBERS);                                                                        \
    return compared(x, sw);                                                                                    \
  }
LODGE_X87_COMPARE_MEMORY(comM32, "fcoms", Memory32)
LODGE_X87_COMPARE_MEMORY(comM64, "fcoml", Memory64)
LODGE_X87_COMPARE_MEMORY(icomM16, "ficoms", Memory16)
LODGE_X87_COMPARE_MEMORY(icomM32, "ficoml", Memory32)

int popIf(FpOperands& o, bool done, unsigned count = 1) {
  for (; done && count; --count) pop(o.state.x87);
  return -1;
}

}  // namespace

int fcom(FpOperands& o) { return popIf(o, fcomWith(o.state.x87, o.imm & 7), 0); }
int fcomp(FpOperands& o) { return popIf(o, fcomWith(o.state.x87, o.imm & 7)); }
int fcompp(FpOperands& o) { return popIf(o, fcomWith(o.state.x87, 1), 2); }
int fucom(FpOperands& o) { return popIf(o, fucomWith(o.state.x87, o.imm & 7), 0); }
int fucomp(FpOperands& o) { return popIf(o, fucomWith(o.state.x87, o.imm & 7)); }
int fucompp(FpOperands& o) { return popIf(o, fucomWith(o.state.x87, 1), 2); }
int fcomM32(FpOperands& o) { return popIf(o, comM32With(o), 0); }
int fcomM64(FpOperands& o) { return popIf(o, comM64With(o), 0); }
int ficomM16(FpOperands& o) { return popIf(o, icomM16With(o), 0); }
int ficomM32(FpOperands& o) { return popIf(o, icomM32With(o), 0); }
int fcompM32(FpOperands& o) { return popIf(o, comM32With(o)); }
int fcompM64(FpOperands& o) { return popIf(o, comM64With(o)); }
int ficompM16(FpOperands& o) { return popIf(o, icomM16With(o)); }
int ficompM32(FpOperands& o) { return popIf(o, icomM32With(o)); }

// Comparisons into RFLAGS.
#define LODGE_X87_COMPARE_FLAGS(name)                                                                            \
  static bool name##With(FpOperands& o) {                                                                        \
    X87State& x = o.state.x87;                                                                                   \
    const unsigned i = o.imm & 7;                                                                                \
    o.flags = kZf | kPf | kCf;                                                                                   \
    if (!valid(x, 0) || !valid(x, i)) [[unlikely]] return stackUnderflow(x);                                     \
    uint8_t z, p, c;                                                                                             \
    if (allMasked(x)) [[likely]] {                                                                               \
      asm volatile("fldt %[b]\n\tfldt %[a]\n\t" #name "p %%st(1), %%st\n\tsetz %[z]\n\tsetp %[p]\n\tsetc %[c]\n\t" \
                   "fstp %%st(0)"                                                                                \
                   : [z] "=&r"(z), [p] "=&r"(p), [c] "=&r"(c)                                                    \
                   : [a] "m"(st(x, 0)), [b] "m"(st(x, i))                                                        \
                   : LODGE_X87_CLOBBERS);                                                                        \
      clearC1(x);                                                                                                \
      o.flags = (z ? kZf : 0u) | (p ? kPf : 0u) | (c ? kCf : 0u);                                                \
      return true;                                                                                               \
    }                                                                                                            \
    uint16_t sw;                                                                                                 \
    asm volatile("fldt %[b]\n\tfldt %[a]\n\t" #name " %%st(1), %%st\n\tsetz %[z]\n\tsetp %[p]\n\tsetc %[c]\n\t"  \
                 LODGE_X87_STATUS "fstp %%st(0)\n\tfstp %%st(0)" LODGE_X87_CLEAR                                 \
                 : "=&a"(sw), [z] "=&r"(z), [p] "=&r"(p), [c] "=&r"(c)                                           \
                 : [a] "m"(st(x, 0)), [b] "m"(st(x, i))                                                          \
                 : LODGE_X87_CLOBBERS);                                                                          \
    merge(x, sw);                                                                                                \
    const bool done = !prevented(x, sw);                                                                         \
    if (done || !(sw & kIe & ~x.control)) o.flags = (z ? kZf : 0u) | (p ? kPf : 0u) | (c ? kCf : 0u);            \
    return done;                                                                                                 \
  }                                                                                                              \
  int name(FpOperands& o) { return popIf(o, name##With(o), 0); }                                                 \
  int name##p(FpOperands& o) { return popIf(o, name##With(o)); }
LODGE_X87_COMPARE_FLAGS(fcomi)
LODGE_X87_COMPARE_FLAGS(fucomi)

int ftst(FpOperands& o) {
  X87State& x = o.state.x87;
  if (!valid(x, 0)) [[unlikely]] {
    compareUnderflow(x);
    return -1;
  }
  uint16_t sw;
  asm volatile("fldt %[a]\n\tftst\n\t" LODGE_X87_STATUS "fstp %%st(0)" LODGE_X87_CLEAR
               : "=&a"(sw)
               : [a] "m"(st(x, 0))
               : LODGE_X87_CLOBBERS);
  compared(x, sw);
  return -1;
}

/** Classifies ST(0), empty or not; C1 is the sign bit of whatever is there. */
int fxam(FpOperands& o) {
  X87State& x = o.state.x87;
  uint16_t sw;
  asm volatile("fldt %[a]\n\tfxam\n\tfnstsw %%ax\n\tfstp %%st(0)" : "=&a"(sw) : [a] "m"(st(x, 0)) : LODGE_X87_CLOBBERS);
  if (!valid(x, 0)) sw = static_cast<uint16_t>((sw & kC1) | kC3 | kC0);
  x.status = static_cast<uint16_t>((x.status & ~kConditions) | (sw & kConditions));
  x.lastStatus = sw;
  return -1;
}

// ST(0) = f(ST(0)).
#define LODGE_X87_UNARY(name, conditions)                                                         \
  int name(FpOperands& o) {                                                                       \
    X87State& x = o.state.x87;                                                                    \
    if (!valid(x, 0)) [[unlikely]] {                                                              \
      x.status &= static_cast<uint16_t>(~(conditions));                                           \
      underflowInto(x, 0);                                                                        \
      return -1;                                                                                  \
    }                                                                                             \
    uint16_t sw;                                                                                  \
    X87Register& a = st(x, 0);                                                                    \
    asm volatile("fldt %[a]\n\t" #name "\n\t" LODGE_X87_STATUS "fstpt %[a]" LODGE_X87_CLEAR       \
                 : "=&a"(sw), [a] "+m"(a)                                                         \
                 :                                                                                \
                 : LODGE_X87_CLOBBERS);                                                           \
    merge(x, sw, conditions);                                                                     \
    return -1;                                                                                    \
  }
LODGE_X87_UNARY(fsqrt, kC1)
LODGE_X87_UNARY(frndint, kC1)
LODGE_X87_UNARY(f2xm1, kC1)
LODGE_X87_UNARY(fsin, kC1 | kC2)
LODGE_X87_UNARY(fcos, kC1 | kC2)

// ST(0) = f(ST(0), ST(1)), ST(1) stays. Without a quotient its bits in C0 and C3 are left alone.
namespace {
constexpr uint16_t kQuotient = kC0 | kC3;
uint16_t conditionsOf(X87State& x, uint16_t sw, uint16_t conditions) {
  uint64_t significand;
  uint16_t exponent;
  std::memcpy(&significand, st(x, 0).bytes, 8);
  std::memcpy(&exponent, st(x, 0).bytes + 8, 2);
  const bool nan = (exponent & 0x7fff) == 0x7fff && significand << 1;
  return static_cast<uint16_t>(nan || prevented(x, sw) ? conditions & ~kQuotient : conditions);
}
}  // namespace
#define LODGE_X87_WITH_ST1(name, conditions)                                                      \
  int name(FpOperands& o) {                                                                       \
    X87State& x = o.state.x87;                                                                    \
    if (!valid(x, 0) || !valid(x, 1)) [[unlikely]] {                                              \
      x.status &= static_cast<uint16_t>(~(conditions & ~kQuotient));                              \
      underflowInto(x, 0);                                                                        \
      return -1;                                                                                  \
    }                                                                                             \
    uint16_t sw;                                                                                  \
    asm volatile("fldt %[b]\n\tfldt %[a]\n\t" #name "\n\t" LODGE_X87_STATUS                       \
                 "fstpt %[a]\n\tfstp %%st(0)" LODGE_X87_CLEAR                                     \
                 : "=&a"(sw), [a] "+m"(st(x, 0))                                                  \
                 : [b] "m"(st(x, 1))                                                              \
                 : LODGE_X87_CLOBBERS);                                                           \
    merge(x, sw, conditionsOf(x, sw, conditions));                        \
    return -1;                                                                                    \
  }
LODGE_X87_WITH_ST1(fscale, kC1)
LODGE_X87_WITH_ST1(fprem, kConditions)
LODGE_X87_WITH_ST1(fprem1, kConditions)

// ST(1) = f(ST(0), ST(1)), then pop. The host has popped, too, unless an exception prevented the operation.
#define LODGE_X87_INTO_ST1(name)                                                                            \
  int name(FpOperands& o) {                                                                                 \
    X87State& x = o.state.x87;                                                                              \
    if (!valid(x, 0) || !valid(x, 1)) [[unlikely]] return popIf(o, underflowInto(x, 1));                    \
    uint16_t sw;                                                                                            \
    asm volatile("fldt %[b]\n\tfldt %[a]\n\t" #name "\n\t" LODGE_X87_STATUS                                 \
                 LODGE_X87_IF_ODD_DEPTH "73f\n\tfstp %%st(0)\n73:\tfstpt %[b]" LODGE_X87_CLEAR              \
                 : "=&a"(sw), [b] "+m"(st(x, 1))                                                            \
                 : [a] "m"(st(x, 0))                                                                        \
                 : LODGE_X87_CLOBBERS);                                                                     \
    return popIf(o, finish(x, sw));                                                                         \
  }
LODGE_X87_INTO_ST1(fyl2x)
LODGE_X87_INTO_ST1(fyl2xp1)
LODGE_X87_INTO_ST1(fpatan)

// Two results: ST(0) is replaced and a second one pushed, unless C2 reports an operand out of range or the operation is
// prevented.
#define LODGE_X87_PUSHING(name, conditions)                                                                     \
  int name(FpOperands& o) {                                                                                     \
    X87State& x = o.state.x87;                                                                                  \
    if (!valid(x, 0) || valid(x, 7)) [[unlikely]] {                                                             \
      x.status &= static_cast<uint16_t>(~(conditions));                                                         \
      if (!valid(x, 0) ? !stackUnderflow(x) : !stackOverflow(x)) return -1;                                     \
      setIndefinite(st(x, 0));                                                                                  \
      setValid(x, 0);                                                                                           \
      setIndefinite(push(x));                                                                                   \
      return -1;                                                                                                \
    }                                                                                                           \
    uint16_t sw;                                                                                                \
    X87Register second;                                                                                         \
    asm volatile("fldt %[a]\n\t" #name "\n\t" LODGE_X87_STATUS                                                  \
                 LODGE_X87_IF_ODD_DEPTH "73f\n\tfstpt %[second]\n73:\tfstpt %[a]" LODGE_X87_CLEAR               \
                 : "=&a"(sw), [a] "+m"(st(x, 0)), [second] "=m"(second)                                         \
                 :                                                                                              \
                 : LODGE_X87_CLOBBERS);                                                                         \
    merge(x, sw, conditions);                                                                                   \
    if ((sw & kTop) == 6 << 11) std::memcpy(push(x).bytes, second.bytes, 10);                                   \
    return -1;                                                                                                  \
  }
LODGE_X87_PUSHING(fptan, kC1 | kC2)
LODGE_X87_PUSHING(fsincos, kC1 | kC2)
LODGE_X87_PUSHING(fxtract, kC1)

int fchs(FpOperands& o) {
  X87State& x = o.state.x87;
  if (!valid(x, 0)) [[unlikely]] {
    underflowInto(x, 0);
    return -1;
  }
  clearC1(x);
  st(x, 0).bytes[9] ^= 0x80;
  return -1;
}
int fabs(FpOperands& o) {
  X87State& x = o.state.x87;
  if (!valid(x, 0)) [[unlikely]] {
    underflowInto(x, 0);
    return -1;
  }
  clearC1(x);
  st(x, 0).bytes[9] &= 0x7f;
  return -1;
}

}  // namespace lodge::x86::x87
