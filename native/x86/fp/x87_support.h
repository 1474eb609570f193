// The x87 register stack, and how an operation on the host's x87 reports back.
//
// Operands are loaded into the host's x87, the guest's instruction runs there under the guest's control word, and the
// result goes back to X87State. An exception the guest unmasked is pending in the host after the operation; the next
// waiting instruction would deliver it, so the status word is read and, if need be, cleared first (FNSTSW and FNCLEX
// do not wait). The host thus decides what such an exception does to the registers; functions only follow it. Stack
// faults are decided here from the guest's tags: the host's stack holds nothing but the operands.
#pragma once

#include <cstring>

#include "x86/fp/host_fp.h"

namespace lodge::x86::x87 {

using namespace fpbits;

#define MEM(op, reg, mnemonic, bytes, attributes, fn) int fn(FpOperands&);
#define REG(op, first, last, mnemonic, attributes, fn) int fn(FpOperands&);
#include "x86/tables/x87.inc"
#undef MEM
#undef REG

// Memory operands have no alignment.
struct [[gnu::packed, gnu::may_alias]] Memory16 { uint16_t value; };
struct [[gnu::packed, gnu::may_alias]] Memory32 { uint32_t value; };
struct [[gnu::packed, gnu::may_alias]] Memory64 { uint64_t value; };
struct [[gnu::packed, gnu::may_alias]] Memory80 { uint8_t value[10]; };

inline unsigned top(const X87State& x) { return x.status >> 11 & 7; }
inline unsigned physical(const X87State& x, unsigned i) { return (top(x) + i) & 7; }
inline X87Register& st(X87State& x, unsigned i) { return x.r[physical(x, i)]; }
inline bool valid(const X87State& x, unsigned i) { return x.tagValid >> physical(x, i) & 1; }
inline void setValid(X87State& x, unsigned i) { x.tagValid |= static_cast<uint8_t>(1u << physical(x, i)); }
inline void free(X87State& x, unsigned i) { x.tagValid &= static_cast<uint8_t>(~(1u << physical(x, i))); }
inline void setTop(X87State& x, unsigned to) { x.status = static_cast<uint16_t>((x.status & ~kTop) | (to & 7) << 11); }
inline void pop(X87State& x) {
  free(x, 0);
  setTop(x, top(x) + 1);
}
/** The new ST(0), valid, its contents still to be written. */
inline X87Register& push(X87State& x) {
  setTop(x, top(x) - 1);
  setValid(x, 0);
  return st(x, 0);
}
/** In the pieces FSTP wrote it, or the load would have to wait for the stores to leave the store buffer. */
inline void copy(X87Register& to, const X87Register& from) {
  uint64_t significand;
  uint16_t exponent;
  std::memcpy(&significand, from.bytes, 8);
  std::memcpy(&exponent, from.bytes + 8, 2);
  std::memcpy(to.bytes, &significand, 8);
  std::memcpy(to.bytes + 8, &exponent, 2);
}
// C1 is lastStatus' as long as a HostFpScope lasts.
inline void clearC1(X87State& x) { x.lastStatus = 0; }
inline bool allMasked(const X87State& x) { return (x.control & kExceptions) == kExceptions; }

/** Takes over exception flags, ES and C1, and the other condition codes named. */
inline void merge(X87State& x, uint16_t sw, uint16_t conditions = kC1) {
  conditions &= static_cast<uint16_t>(~kC1);
  x.status = static_cast<uint16_t>((x.status & ~conditions) | (sw & (kExceptions | conditions)));
  x.lastStatus = sw;
  if (sw & kErrorSummary) [[unlikely]] x.status |= kErrorSummary | kBusy;
}
/** An unmasked invalid, denormal or zero-divide exception: the operation did not take place. */
inline bool prevented(const X87State& x, uint16_t sw) {
  return (sw & kErrorSummary) && (sw & ~x.control & (kIe | kDe | kZe));
}
/** The same for stores to memory, which unmasked overflow and underflow prevent, too. */
inline bool storePrevented(const X87State& x, uint16_t sw) {
  return (sw & kErrorSummary) && (sw & ~x.control & (kIe | kDe | kZe | kOe | kUe));
}

/** #IS (SDM vol. 1 §8.5.1.1). True when masked: the instruction goes on with the indefinite QNaN. */
bool stackUnderflow(X87State&) noexcept;
bool stackOverflow(X87State&) noexcept;
void setIndefinite(X87Register&) noexcept;

// After an operation: status word into AX, exceptions cleared if one is pending. Needs LODGE_X87_CLEAR at the end of the asm.
#define LODGE_X87_STATUS "fnstsw %%ax\n\ttestb $0x80, %%al\n\tjnz 71f\n72:\n\t"
#define LODGE_X87_CLEAR "\n\t.subsection 1\n71:\tfnclex\n\tjmp 72b\n\t.subsection 0"
// The host's TOP is 0 with an empty stack, so bit 11 of the status word (bit 3 of AH) tells an odd depth.
#define LODGE_X87_IF_EVEN_DEPTH "testb $8, %%ah\n\tjz "
#define LODGE_X87_IF_ODD_DEPTH "testb $8, %%ah\n\tjnz "
#define LODGE_X87_CLOBBERS "cc", "st", "st(1)", "st(2)", "st(3)"

}  // namespace lodge::x86::x87
