// x87 loads, stores, register moves, constants, control, and the environment images.
#include <initializer_list>

#include "x86/fp/x87_support.h"

namespace lodge::x86::x87 {

// Loads. Conversion to 80 bits raises #IA (SNaN), which prevents the push when unmasked, and #D.
#define LODGE_X87_LOAD(name, insn, type)                                                                   \
  int name(FpOperands& o) {                                                                                \
    X87State& x = o.state.x87;                                                                             \
    if (valid(x, 7)) [[unlikely]] {                                                                        \
      if (stackOverflow(x)) setIndefinite(push(x));                                                        \
      return -1;                                                                                           \
    }                                                                                                      \
    if (allMasked(x)) [[likely]] {                                                                         \
      asm volatile(insn " %[from]\n\tfstpt %[to]"                                                          \
                   : [to] "=m"(st(x, 7))                                                                   \
                   : [from] "m"(*static_cast<const type*>(o.src))                                          \
                   : LODGE_X87_CLOBBERS);                                                                  \
      clearC1(x);                                                                                          \
      push(x);                                                                                             \
      return -1;                                                                                           \
    }                                                                                                      \
    uint16_t sw;                                                                                           \
    asm volatile(insn " %[from]\n\tfnstsw %%ax\n\ttestb $0x80, %%al\n\tjnz 71f\n72:\tfstpt %[to]\n73:"     \
                 "\n\t.subsection 1\n71:\tfnclex\n\t" LODGE_X87_IF_EVEN_DEPTH "73b\n\tjmp 72b\n\t.subsection 0" \
                 : "=&a"(sw), [to] "+m"(st(x, 7))                                                          \
                 : [from] "m"(*static_cast<const type*>(o.src))                                            \
                 : LODGE_X87_CLOBBERS);                                                                    \
    merge(x, sw);                                                                                          \
    if (sw & 1u << 11) push(x); /* the host has pushed: denormals are loaded even with #D unmasked */      \
    return -1;                                                                                             \
  }
LODGE_X87_LOAD(fldM32, "flds", Memory32)
LODGE_X87_LOAD(fldM64, "fldl", Memory64)

// These convert exactly and raise nothing but stack faults.
#define LODGE_X87_LOAD_EXACT(name, load)                             \
  int name(FpOperands& o) {                                          \
    X87State& x = o.state.x87;                                       \
    clearC1(x);                                                      \
    if (valid(x, 7)) [[unlikely]] {                                  \
      if (stackOverflow(x)) setIndefinite(push(x));                  \
      return -1;                                                     \
    }                                                                \
    X87Register& to = push(x);                                       \
    load;                                                            \
    return -1;                                                       \
  }
#define LODGE_X87_LOAD_FROM(insn, type)                                                         \
  asm volatile(insn " %[from]\n\tfstpt %[to]"                                                   \
               : [to] "=m"(to)                                                                  \
               : [from] "m"(*static_cast<const type*>(o.src))                                   \
               : LODGE_X87_CLOBBERS)
// Constants are rounded as the control word says.
#define LODGE_X87_CONSTANT(name) \
  LODGE_X87_LOAD_EXACT(name, asm volatile(#name "\n\tfstpt %0" : "=m"(to) : : LODGE_X87_CLOBBERS))
LODGE_X87_LOAD_EXACT(fldM80, std::memcpy(to.bytes, o.src, 10))
LODGE_X87_LOAD_EXACT(fildM16, LODGE_X87_LOAD_FROM("filds", Memory16))
LODGE_X87_LOAD_EXACT(fildM32, LODGE_X87_LOAD_FROM("fildl", Memory32))
LODGE_X87_LOAD_EXACT(fildM64, LODGE_X87_LOAD_FROM("fildll", Memory64))
LODGE_X87_LOAD_EXACT(fbld, LODGE_X87_LOAD_FROM("fbld", Memory80))
LODGE_X87_CONSTANT(fld1) LODGE_X87_CONSTANT(fldl2t) LODGE_X87_CONSTANT(fldl2e) LODGE_X87_CONSTANT(fldpi)
LODGE_X87_CONSTANT(fldlg2) LODGE_X87_CONSTANT(fldln2) LODGE_X87_CONSTANT(fldz)

int fldSti(FpOperands& o) {
  X87State& x = o.state.x87;
  const unsigned i = o.imm & 7;
  clearC1(x);
  if (!valid(x, i) || valid(x, 7)) [[unlikely]] {
    if (valid(x, i) ? stackOverflow(x) : stackUnderflow(x)) setIndefinite(push(x));
    return -1;
  }
  const X87Register& from = st(x, i);
  copy(push(x), from);
  return -1;
}

// Stores. The host leaves memory alone, and does not pop, when an unmasked exception prevents it.
namespace {
enum Pop : bool { kKeep, kPop };
void stored(FpOperands& o, unsigned bytes, bool done, Pop pops) {
  o.storeBytes = done ? bytes : 0;
  if (done && pops) pop(o.state.x87);
}
constexpr uint32_t kIndefinite32 = 0xffc00000;
constexpr uint64_t kIndefinite64 = 0xfff8000000000000;
constexpr uint16_t kIndefiniteInteger16 = 0x8000;
constexpr uint32_t kIndefiniteInteger32 = 0x80000000;
constexpr uint64_t kIndefiniteInteger64 = 0x8000000000000000;
}  // namespace

// `always` cleans up when nothing is unmasked, `after` when the host may or may not have popped.
#define LODGE_X87_STORE(name, insn, type, indefinite, pops, always, after)                                  \
  int name(FpOperands& o) {                                                                                 \
    X87State& x = o.state.x87;                                                                              \
    if (!valid(x, 0)) [[unlikely]] {                                                                        \
      const auto value = indefinite;                                                                        \
      std::memcpy(o.dst, &value, sizeof value);                                                             \
      stored(o, sizeof(type), stackUnderflow(x), pops);                                                     \
      return -1;                                                                                            \
    }                                                                                                       \
    if (allMasked(x)) [[likely]] {                                                                          \
      asm volatile("fldt %[from]\n\t" insn " %[to]\n\tfnstsw %[last]\n\t" always                            \
                   : [to] "=m"(*static_cast<type*>(o.dst)), [last] "=m"(x.lastStatus)                       \
                   : [from] "m"(st(x, 0))                                                                   \
                   : LODGE_X87_CLOBBERS);                                                                   \
      stored(o, sizeof(type), true, pops);                                                                  \
      return -1;                                                                                            \
    }                                                                                                       \
    uint16_t sw;                                                                                            \
    asm volatile("fldt %[from]\n\t" insn " %[to]\n\t" LODGE_X87_STATUS after LODGE_X87_CLEAR                \
                 : "=&a"(sw), [to] "=m"(*static_cast<type*>(o.dst))                                         \
                 : [from] "m"(st(x, 0))                                                                     \
                 : LODGE_X87_CLOBBERS);                                                                     \
    merge(x, sw);                                                                                           \
    stored(o, sizeof(type), !storePrevented(x, sw), pops);                                                  \
    return -1;                                                                                              \
  }
#define LODGE_X87_STORE_KEEP(name, insn, type, indefinite, pops) \
  LODGE_X87_STORE(name, insn, type, indefinite, pops, "fstp %%st(0)", "fstp %%st(0)")
// For what exists only with a pop.
#define LODGE_X87_STORE_POP(name, insn, type, indefinite) \
  LODGE_X87_STORE(name, insn, type, indefinite, kPop, "", LODGE_X87_IF_EVEN_DEPTH "73f\n\tfstp %%st(0)\n73:")
LODGE_X87_STORE_KEEP(fstM32, "fsts", Memory32, kIndefinite32, kKeep)
LODGE_X87_STORE_KEEP(fstpM32, "fsts", Memory32, kIndefinite32, kPop)
LODGE_X87_STORE_KEEP(fstM64, "fstl", Memory64, kIndefinite64, kKeep)
LODGE_X87_STORE_KEEP(fstpM64, "fstl", Memory64, kIndefinite64, kPop)
LODGE_X87_STORE_KEEP(fistM16, "fists", Memory16, kIndefiniteInteger16, kKeep)
LODGE_X87_STORE_KEEP(fistpM16, "fists", Memory16, kIndefiniteInteger16, kPop)
LODGE_X87_STORE_KEEP(fistM32, "fistl", Memory32, kIndefiniteInteger32, kKeep)
LODGE_X87_STORE_KEEP(fistpM32, "fistl", Memory32, kIndefiniteInteger32, kPop)
LODGE_X87_STORE_POP(fistpM64, "fistpll", Memory64, kIndefiniteInteger64)
LODGE_X87_STORE_POP(fisttpM16, "fisttps", Memory16, kIndefiniteInteger16)
LODGE_X87_STORE_POP(fisttpM32, "fisttpl", Memory32, kIndefiniteInteger32)
LODGE_X87_STORE_POP(fisttpM64, "fisttpll", Memory64, kIndefiniteInteger64)

namespace {
constexpr Memory80 kIndefiniteDecimal = {{0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff}};
constexpr Memory80 kIndefinite80 = {{0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff}};
}  // namespace
LODGE_X87_STORE_POP(fbstp, "fbstp", Memory80, kIndefiniteDecimal)

int fstpM80(FpOperands& o) {
  X87State& x = o.state.x87;
  bool done = true;
  if (valid(x, 0)) [[likely]] {
    clearC1(x);
    std::memcpy(o.dst, st(x, 0).bytes, 10);
  } else {
    std::memcpy(o.dst, &kIndefinite80, 10);
    done = stackUnderflow(x);
  }
  stored(o, 10, done, kPop);
  return -1;
}

namespace {
/** ST(i) = ST(0), without conversion. */
bool storeRegister(FpOperands& o) {
  X87State& x = o.state.x87;
  const unsigned i = o.imm & 7;
  if (!valid(x, 0)) [[unlikely]] {
    if (!stackUnderflow(x)) return false;
    setIndefinite(st(x, i));
  } else {
    clearC1(x);
    copy(st(x, i), st(x, 0));
  }
  setValid(x, i);
  return true;
}
}  // namespace
int fstSti(FpOperands& o) {
  storeRegister(o);
  return -1;
}
int fstpSti(FpOperands& o) {
  if (storeRegister(o)) pop(o.state.x87);
  return -1;
}
/** D9 D8+i: FSTP that reports no underflow; an empty ST(0) is popped and nothing else. */
int fstpnce(FpOperands& o) {
  X87State& x = o.state.x87;
  clearC1(x);
  if (valid(x, 0)) {
    copy(st(x, o.imm & 7), st(x, 0));
    setValid(x, o.imm & 7);
  }
  pop(x);
  return -1;
}

int fxch(FpOperands& o) {
  X87State& x = o.state.x87;
  const unsigned i = o.imm & 7;
  clearC1(x);
  if (!valid(x, 0) || !valid(x, i)) [[unlikely]] {
    if (!stackUnderflow(x)) return -1;
    for (unsigned n : {0u, i})
      if (!valid(x, n)) {
        setIndefinite(st(x, n));
        setValid(x, n);
      }
  }
  X87Register first;
  copy(first, st(x, 0));
  copy(st(x, 0), st(x, i));
  copy(st(x, i), first);
  return -1;
}

namespace {
int moveIf(FpOperands& o, bool condition) {
  X87State& x = o.state.x87;
  const unsigned i = o.imm & 7;
  if (!valid(x, 0) || !valid(x, i)) [[unlikely]] {
    if (stackUnderflow(x)) {
      setIndefinite(st(x, 0));
      setValid(x, 0);
    }
    return -1;
  }
  if (condition) copy(st(x, 0), st(x, i));
  return -1;
}
}  // namespace
int fcmovb(FpOperands& o) { return moveIf(o, o.flags & kCf); }
int fcmove(FpOperands& o) { return moveIf(o, o.flags & kZf); }
int fcmovbe(FpOperands& o) { return moveIf(o, o.flags & (kCf | kZf)); }
int fcmovu(FpOperands& o) { return moveIf(o, o.flags & kPf); }
int fcmovnb(FpOperands& o) { return moveIf(o, !(o.flags & kCf)); }
int fcmovne(FpOperands& o) { return moveIf(o, !(o.flags & kZf)); }
int fcmovnbe(FpOperands& o) { return moveIf(o, !(o.flags & (kCf | kZf))); }
int fcmovnu(FpOperands& o) { return moveIf(o, !(o.flags & kPf)); }

int fnop(FpOperands&) { return -1; }
int fnoneNoWait(FpOperands&) { return -1; }  // FNENI, FNDISI, FNSETPM: nothing since the 387
int fincstp(FpOperands& o) {
  clearC1(o.state.x87);
  setTop(o.state.x87, top(o.state.x87) + 1);
  return -1;
}
int fdecstp(FpOperands& o) {
  clearC1(o.state.x87);
  setTop(o.state.x87, top(o.state.x87) - 1);
  return -1;
}
int ffree(FpOperands& o) {
  clearC1(o.state.x87);
  free(o.state.x87, o.imm & 7);
  return -1;
}
int ffreep(FpOperands& o) {
  clearC1(o.state.x87);
  free(o.state.x87, o.imm & 7);
  pop(o.state.x87);
  return -1;
}

// Control.
namespace {
void setControl(X87State& x, uint16_t value) {
  // Bit 6 reads as one; bits 7 and 13-15 as zero (SDM vol. 1 §8.1.5).
  x.control = static_cast<uint16_t>((value & 0x1f3f) | 0x40);
  x87ControlChanged(x);
}
void initialise(X87State& x) {
  x.status = x.lastStatus = 0;
  x.tagValid = 0;
  x.opcode = 0;
  x.codeSelector = x.dataSelector = 0;
  x.instructionPointer = x.dataPointer = 0;
  setControl(x, 0x037f);
}
void put16(void* image, unsigned offset, uint32_t value) {
  const auto half = static_cast<uint16_t>(value);
  std::memcpy(static_cast<uint8_t*>(image) + offset, &half, 2);
}
uint16_t get16(const void* image, unsigned offset) {
  uint16_t value;
  std::memcpy(&value, static_cast<const uint8_t*>(image) + offset, 2);
  return value;
}
}  // namespace

int fldcw(FpOperands& o) {
  wholeStatus(o.state.x87);
  setControl(o.state.x87, get16(o.src, 0));
  return -1;
}
int fnstcw(FpOperands& o) {
  put16(o.dst, 0, o.state.x87.control);
  return -1;
}
int fnstsw(FpOperands& o) {
  put16(o.dst, 0, wholeStatus(o.state.x87));
  return -1;
}
int fnstswAx(FpOperands& o) {
  uint64_t& rax = o.state.gpr[kRax];
  rax = (rax & ~uint64_t{0xffff}) | wholeStatus(o.state.x87);
  return -1;
}
int fnclex(FpOperands& o) {
  o.state.x87.status &= static_cast<uint16_t>(~(kExceptions | kStackFault | kErrorSummary | kBusy));
  x87ControlChanged(o.state.x87);
  return -1;
}
int fninit(FpOperands& o) {
  initialise(o.state.x87);
  return -1;
}

// Environment images: SDM vol. 1 §8.1.10, figures 8-9 to 8-12.
namespace {

constexpr uint64_t kProtectionEnable = 1;

bool realLayout(const State& state) { return !(state.cr0 & kProtectionEnable) || (state.rflags & kVm); }
unsigned environmentBytes(const FpOperands& o) { return o.operandSize == 2 ? 14 : 28; }

/** Full tag word: 0 valid, 1 zero, 2 special (NaN, infinity, denormal, unnormal), 3 empty; two bits a register. */
uint16_t tagWord(const X87State& x) {
  uint16_t tags = 0;
  for (unsigned n = 0; n < 8; ++n) {
    uint64_t significand;
    uint16_t exponent;
    std::memcpy(&significand, x.r[n].bytes, 8);
    std::memcpy(&exponent, x.r[n].bytes + 8, 2);
    exponent &= 0x7fff;
    unsigned tag = 2;
    if (!(x.tagValid >> n & 1))
      tag = 3;
    else if (exponent == 0 && significand == 0)
      tag = 1;
    else if (exponent != 0 && exponent != 0x7fff && significand >> 63)
      tag = 0;
    tags |= static_cast<uint16_t>(tag << 2 * n);
  }
  return tags;
}

void saveEnvironment(FpOperands& o, void* to) {
  X87State& x = o.state.x87;
  wholeStatus(x);
  const bool real = realLayout(o.state);
  // In the real layouts pointers are linear and the selectors are folded in.
  const auto linear = [](uint64_t offset, uint32_t selector) { return static_cast<uint32_t>(offset + (selector << 4)); };
  const uint32_t ip = real ? linear(x.instructionPointer, x.codeSelector) : static_cast<uint32_t>(x.instructionPointer);
  const uint32_t dp = real ? linear(x.dataPointer, x.dataSelector) : static_cast<uint32_t>(x.dataPointer);
  if (o.operandSize == 2) {
    put16(to, 0, x.control);
    put16(to, 2, x.status);
    put16(to, 4, tagWord(x));
    put16(to, 6, ip);
    put16(to, 8, real ? (ip >> 4 & 0xf000) | x.opcode : x.codeSelector);
    put16(to, 10, dp);
    put16(to, 12, real ? dp >> 4 & 0xf000 : x.dataSelector);
    return;
  }
  std::memset(to, 0xff, 28);  // reserved halves are stored as ones
  put16(to, 0, x.control);
  put16(to, 4, x.status);
  put16(to, 8, tagWord(x));
  put16(to, 12, ip);
  put16(to, 20, dp);
  if (real) {
    const uint32_t high = (ip >> 4 & 0x0ffff000) | x.opcode;
    put16(to, 16, high);
    put16(to, 18, high >> 16);
    put16(to, 24, dp >> 4 & 0xf000);
    put16(to, 26, dp >> 20);
  } else {
    put16(to, 14, ip >> 16);
    put16(to, 16, x.codeSelector);
    put16(to, 18, x.opcode);
    put16(to, 22, dp >> 16);
    put16(to, 24, x.dataSelector);
  }
}

void loadEnvironment(FpOperands& o) {
  X87State& x = o.state.x87;
  const bool real = realLayout(o.state);
  const bool wide = o.operandSize != 2;
  const unsigned unit = wide ? 4 : 2;
  x.status = x.lastStatus = get16(o.src, unit);
  const uint16_t tags = get16(o.src, 2 * unit);
  x.tagValid = 0;
  for (unsigned n = 0; n < 8; ++n)
    if ((tags >> 2 * n & 3) != 3) x.tagValid |= static_cast<uint8_t>(1u << n);
  if (!wide) {
    const uint16_t code = get16(o.src, 8), data = get16(o.src, 12);
    x.instructionPointer = get16(o.src, 6) | (real ? uint32_t{code} >> 12 << 16 : 0);
    x.dataPointer = get16(o.src, 10) | (real ? uint32_t{data} >> 12 << 16 : 0);
    if (real) x.opcode = code & 0x7ff;
    x.codeSelector = real ? 0 : code;
    x.dataSelector = real ? 0 : data;
  } else if (real) {
    const uint32_t high = get16(o.src, 16) | uint32_t{get16(o.src, 18)} << 16;
    x.instructionPointer = get16(o.src, 12) | (high >> 12 << 16);
    x.dataPointer = get16(o.src, 20) | (get16(o.src, 24) | uint32_t{get16(o.src, 26)} << 16) >> 12 << 16;
    x.opcode = high & 0x7ff;
    x.codeSelector = x.dataSelector = 0;
  } else {
    x.instructionPointer = get16(o.src, 12) | uint32_t{get16(o.src, 14)} << 16;
    x.codeSelector = get16(o.src, 16);
    x.opcode = get16(o.src, 18) & 0x7ff;
    x.dataPointer = get16(o.src, 20) | uint32_t{get16(o.src, 22)} << 16;
    x.dataSelector = get16(o.src, 24);
  }
  setControl(x, get16(o.src, 0));
}

}  // namespace

int fnstenv(FpOperands& o) {
  saveEnvironment(o, o.dst);
  o.storeBytes = environmentBytes(o);
  // All exceptions are masked afterwards, so that a handler can use the FPU.
  setControl(o.state.x87, o.state.x87.control | kExceptions);
  return -1;
}
int fldenv(FpOperands& o) {
  loadEnvironment(o);
  return -1;
}
int fnsave(FpOperands& o) {
  X87State& x = o.state.x87;
  saveEnvironment(o, o.dst);
  uint8_t* to = static_cast<uint8_t*>(o.dst) + environmentBytes(o);
  for (unsigned i = 0; i < 8; ++i) std::memcpy(to + 10 * i, st(x, i).bytes, 10);
  o.storeBytes = environmentBytes(o) + 80;
  initialise(x);
  return -1;
}
int frstor(FpOperands& o) {
  loadEnvironment(o);
  const uint8_t* from = static_cast<const uint8_t*>(o.src) + environmentBytes(o);
  for (unsigned i = 0; i < 8; ++i) std::memcpy(st(o.state.x87, i).bytes, from + 10 * i, 10);
  return -1;
}

}  // namespace lodge::x86::x87
