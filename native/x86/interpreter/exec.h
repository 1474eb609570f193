// Building blocks of handlers: register access, effective addresses, the TLB's fast path, flags, and how a handler ends.
#pragma once

#include <type_traits>

#include "x86/interpreter/core.h"

namespace lodge::x86 {

// Without optimisation the compiler makes no sibling calls, and with a sanitizer it does not leave one function for the next: a chain of
// handlers would eat the stack, or the sanitizer's.
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LODGE_RUN(core, insn) return (insn)->fn(core, insn)
#else
#define LODGE_RUN(core, insn) \
  do {                        \
    (core).cursor = (insn);   \
    return Exec::Next;        \
  } while (0)
#endif
#define NEXT LODGE_RUN(c, i + 1)

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/**
 * Kinds of effective address. Base and Full are for 64-bit addresses in 64-bit mode, Flat for 32-bit ones in 32-bit code whose
 * segments refuse nothing (kModeFlat); Slow is for everything, and retries.
 */
enum class Ea : uint8_t { Base, Full, Flat, Slow };
/** For handlers that have no Base form of their own. */
constexpr Ea generalEa(Ea e) { return e == Ea::Base ? Ea::Full : e; }

template <class T>
using Unaligned [[gnu::aligned(1), gnu::may_alias]] = T;

inline uint64_t& unit(Core& c, unsigned n) { return reinterpret_cast<uint64_t*>(&c)[n]; }
template <class T>
inline T reg(Core& c, unsigned offset) {
  return *reinterpret_cast<const Unaligned<T>*>(reinterpret_cast<const uint8_t*>(&c) + offset);
}
/** 32-bit results clear the upper half (SDM vol. 1 §3.4.1.1). */
template <class T>
inline void setReg(Core& c, unsigned offset, T value) {
  if constexpr (sizeof(T) == 4) {
    *reinterpret_cast<Unaligned<uint64_t>*>(reinterpret_cast<uint8_t*>(&c) + offset) = static_cast<uint32_t>(value);
  } else {
    *reinterpret_cast<Unaligned<T>*>(reinterpret_cast<uint8_t*>(&c) + offset) = value;
  }
}

/** What addresses wrap at. */
inline uint64_t addressMask(const Insn* i) { return i->addressSize() == 8 ? ~0ull : i->addressSize() == 4 ? 0xffffffffull : 0xffffull; }

[[gnu::always_inline]] inline Exec faulted(Core& c, const Insn* i) {
  c.cursor = i;
  return Exec::Fault;
}

template <Ea E>
[[gnu::always_inline]] inline uint64_t fastAddress(Core& c, const Insn* i) {
  if constexpr (E == Ea::Flat) {
    // Wraps at 4 GiB. An access that would run over that edge misses the TLB: its last byte is computed in 64 bits.
    return static_cast<uint32_t>(unit(c, i->base)) + static_cast<uint32_t>(i->disp) +
           (static_cast<uint32_t>(unit(c, i->index)) << i->scale) + static_cast<uint32_t>(unit(c, i->segmentBase));
  }
  uint64_t address = unit(c, i->base) + static_cast<int64_t>(i->disp);
  if constexpr (E == Ea::Full) address += (unit(c, i->index) << i->scale) + unit(c, i->segmentBase);
  return address;
}

[[gnu::always_inline]] inline TlbEntry& tlbEntry(Core& c, uint64_t linear) {
  return c.tlb->entry(linear >> 12 & (kTlbEntries - 1));
}
/** One compare covers the page and an access that runs into the next: its last byte would then lie in another page. */
template <class T>
[[gnu::always_inline]] inline T* fastRead(Core& c, uint64_t linear) {
  TlbEntry& e = tlbEntry(c, linear);
  if (UNLIKELY(e.read() != ((linear + sizeof(T) - 1) & ~kPageMask))) return nullptr;
  T* const host = reinterpret_cast<T*>(linear + e.addend());
  if (!host) __builtin_unreachable();
  return host;
}
template <class T>
[[gnu::always_inline]] inline T* fastWrite(Core& c, uint64_t linear) {
  TlbEntry& e = tlbEntry(c, linear);
  if (UNLIKELY(e.write() != ((linear + sizeof(T) - 1) & ~kPageMask))) return nullptr;
  T* const host = reinterpret_cast<T*>(linear + e.addend());
  if (!host) __builtin_unreachable();
  return host;
}

template <class T, Ea E>
[[gnu::always_inline]] inline const Unaligned<T>* memRead(Core& c, const Insn* i) {
  if constexpr (E == Ea::Slow) return static_cast<const Unaligned<T>*>(c.slowRead(i, sizeof(T)));
  else return reinterpret_cast<const Unaligned<T>*>(fastRead<T>(c, fastAddress<E>(c, i)));
}
template <class T, Ea E>
[[gnu::always_inline]] inline Unaligned<T>* memWrite(Core& c, const Insn* i, bool read) {
  if constexpr (E == Ea::Slow) return static_cast<Unaligned<T>*>(c.slowWrite(i, sizeof(T), read));
  else return reinterpret_cast<Unaligned<T>*>(fastWrite<T>(c, fastAddress<E>(c, i)));
}

/** The pointer was nullptr: a fast handler starts over as its slow twin, a slow one has raised a fault. */
#define MISS(E, slowTwin)                                 \
  do {                                                    \
    if constexpr (E == Ea::Slow) return faulted(c, i);    \
    else return slowTwin(c, i);                           \
  } while (0)
/** After the store of a slow handler, before it commits registers or flags. */
#define COMMIT(E)                                                          \
  do {                                                                     \
    if constexpr (E == Ea::Slow) {                                         \
      if (c.pending != PendingWrite::None && !c.slowCommit()) return faulted(c, i); \
    }                                                                      \
  } while (0)
/** Ends a handler that wrote memory: a slow write may have hit the block being executed. */
#define NEXT_WRITTEN(E)                                           \
  do {                                                            \
    if constexpr (E == Ea::Slow) {                                \
      if (UNLIKELY(c.blockDead)) return leaveBlock(c, i);         \
    }                                                             \
    NEXT;                                                         \
  } while (0)

/** The r/m operand of a rare instruction, by the slow path. */
template <class T>
inline bool operand(Core& c, const Insn* i, T& value) {
  if (!(i->flags & kInsnMemory)) {
    value = reg<T>(c, i->rm);
    return true;
  }
  const void* m = c.slowRead(i, sizeof(T));
  if (!m) return false;
  __builtin_memcpy(&value, m, sizeof(T));
  return true;
}

/** Stops behind instruction i, in the middle of its block. */
[[gnu::always_inline]] inline Exec leaveBlock(Core& c, const Insn* i) {
  c.icount -= c.block->count - 1u - i->ordinal;
  c.state.rip += i->offset + i->length;
  return Exec::Continue;
}

/** Rare instructions: a plain function that says whether it worked, wrapped into a handler. */
template <bool (*F)(Core&, const Insn*)>
Exec plain(Core& c, const Insn* i) {
  if (UNLIKELY(!F(c, i))) return faulted(c, i);
  if (UNLIKELY(c.blockDead)) return leaveBlock(c, i);
  NEXT;
}
/** The same for instructions that end a block. F may change nextRip. */
template <bool (*F)(Core&, const Insn*)>
Exec ending(Core& c, const Insn* i) {
  c.nextRip = c.state.rip + i->offset + i->length;
  if (UNLIKELY(!F(c, i))) return faulted(c, i);
  c.state.rip = c.nextRip;
  return Exec::Continue;
}

inline uint64_t nextRip(const Core& c, const Insn* i) { return c.state.rip + i->offset + i->length; }

// ---- for system instructions ------------------------------------------------------------------------------------

/** SLDT and its kin: memory gets 16 bits, a register is zero-extended to the operand size. */
inline bool storeWord(Core& c, const Insn* i, uint16_t value) {
  if (i->flags & kInsnMemory) {
    void* m = c.slowWrite(i, 2, false);
    if (!m) return false;
    __builtin_memcpy(m, &value, 2);
    return c.pending == PendingWrite::None || c.slowCommit();
  }
  if (i->operandSize() == 2)
    setReg<uint16_t>(c, i->rm, value);
  else
    setReg<uint64_t>(c, i->rm, value);
  return true;
}

/** Checks that come before everything else an instruction may complain about. */
template <bool (*F)(Core&, const Insn*)>
bool ring0(Core& c, const Insn* i) {
  return c.cpl == 0 ? F(c, i) : c.raise(kGP, 0);
}
template <bool (*F)(Core&, const Insn*)>
bool protectedOnly(Core& c, const Insn* i) {
  return c.protectedMode() ? F(c, i) : c.raise(kUD);
}
template <bool (*F)(Core&, const Insn*)>
bool protectedRing0(Core& c, const Insn* i) {
  if (!c.protectedMode()) return c.raise(kUD);
  return c.cpl == 0 ? F(c, i) : c.raise(kGP, 0);
}

// ---- between blocks ------------------------------------------------------------------------------------------

[[gnu::always_inline]] inline Exec enterBlock(Core& c, Block* b, uint64_t rip) {
  c.state.rip = rip;
  c.block = b;
  c.icount += b->count;
  LODGE_RUN(c, b->insns);
}
/** A branch to a fixed distance. In the same page the link alone is proof; elsewhere the mapping must still be the same. */
template <bool SamePage>
[[gnu::always_inline]] inline Exec followLink(Core& c, unsigned which, uint64_t rip) {
  Link& l = c.block->links[which];
  if (UNLIKELY(c.requests.load(std::memory_order_relaxed))) {
    c.state.rip = rip;
    return Exec::Continue;
  }
  if constexpr (SamePage) {
    if (LIKELY(l.target != nullptr)) return enterBlock(c, l.target, rip);
  } else {
    if (LIKELY(l.linear == rip + c.codeBase && l.key == c.fetchKey)) return enterBlock(c, l.target, rip);
  }
  c.pendingLink = &l;
  c.pendingLinear = rip + c.codeBase;
  c.state.rip = rip;
  return Exec::Continue;
}
inline JumpEntry& jumpEntry(Core& c, uint64_t linear) { return c.jumps[(linear ^ linear >> 12) & (kJumpEntries - 1)]; }
[[gnu::always_inline]] inline Exec followIndirect(Core& c, uint64_t rip) {
  const uint64_t linear = rip + c.codeBase;
  JumpEntry& e = jumpEntry(c, linear);
  if (LIKELY(e.linear == linear && e.key == c.fetchKey) && LIKELY(!c.requests.load(std::memory_order_relaxed))) {
    return enterBlock(c, e.block, rip);
  }
  c.state.rip = rip;
  return Exec::Continue;
}

// ---- flags -----------------------------------------------------------------------------------------------------

#define FLAGS_OUT "lahf\n\tseto %%al"
/** Host flags := guest flags; AX is left clobbered but for the asm's own output. */
#define FLAGS_IN "addb $0x7f, %%al\n\tsahf\n\t"

inline bool carry(const Core& c) { return c.ax >> 8 & 1; }

/** Evaluates a condition code (SDM vol. 1, appendix B) on saved flags. */
template <unsigned Cc>
[[gnu::always_inline]] inline bool condition(const Core& c) {
  bool r;
  if constexpr ((Cc >> 1) == 0) r = c.ax & 1;
  else if constexpr ((Cc >> 1) == 1) r = c.ax & 0x0100;
  else if constexpr ((Cc >> 1) == 2) r = c.ax & 0x4000;
  else if constexpr ((Cc >> 1) == 3) r = c.ax & 0x4100;
  else if constexpr ((Cc >> 1) == 4) r = c.ax & 0x8000;
  else if constexpr ((Cc >> 1) == 5) r = c.ax & 0x0400;
  else if constexpr ((Cc >> 1) == 6) r = ((c.ax >> 15) ^ c.ax) & 1;
  else r = (((c.ax >> 15) ^ c.ax) & 1) | (c.ax >> 14 & 1);
  return r != bool(Cc & 1);
}
bool conditionHolds(const Core& c, unsigned cc);
/** MASKMOVQ and its kin: bytes of `data` whose bit is set go to [rDI]. */
bool maskedBytes(Core& c, const Insn* i, const uint8_t* data, uint32_t mask, unsigned bytes);

// ---- choosing an instance ----------------------------------------------------------------------------------------

template <class F>
Handler bySize(unsigned size, F f) {
  switch (size) {
    case 1: return f(uint8_t{});
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    default: return f(uint64_t{});
  }
}
/** For instructions without a byte form. */
template <class F>
Handler byWideSize(unsigned size, F f) {
  switch (size) {
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    default: return f(uint64_t{});
  }
}
template <class F>
Handler byEa(Ea ea, F f) {
  switch (ea) {
    case Ea::Base: return f(std::integral_constant<Ea, Ea::Base>{});
    case Ea::Full: return f(std::integral_constant<Ea, Ea::Full>{});
    case Ea::Flat: return f(std::integral_constant<Ea, Ea::Flat>{});
    default: return f(std::integral_constant<Ea, Ea::Slow>{});
  }
}
template <class F>
Handler byGeneralEa(Ea ea, F f) {
  switch (ea) {
    case Ea::Slow: return f(std::integral_constant<Ea, Ea::Slow>{});
    case Ea::Flat: return f(std::integral_constant<Ea, Ea::Flat>{});
    default: return f(std::integral_constant<Ea, Ea::Full>{});
  }
}
template <class F, unsigned... N>
Handler byIndex(unsigned n, F f, std::integer_sequence<unsigned, N...>) {
  Handler result = nullptr;
  ((n == N ? void(result = f(std::integral_constant<unsigned, N>{})) : void()), ...);
  return result;
}
template <class F>
Handler byCondition(unsigned cc, F f) { return byIndex(cc & 15, f, std::make_integer_sequence<unsigned, 16>{}); }

/** Kind of effective address that Binding::i was given. */
Ea eaOf(const Binding& b);
/** Byte offset of a general register as operand of `size` bytes. */
uint8_t regOffset(const Decoded& d, unsigned number, unsigned size);

}  // namespace lodge::x86
