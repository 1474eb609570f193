// Binds the rows of fp_ops.h: x87, MMX and SSE. Checks, fetches operands, calls the row's function, stores what it left.
#include <algorithm>
#include <cstring>

#include "x86/interpreter/exec.h"

namespace lodge::x86 {
namespace {

/** CR0.EM, CR4.OSFXSR, CR0.TS; the slow side of `fpBlocked != 0`. */
bool simdAllowed(Core& c, const FpRow& row) {
  if (row.attributes & kFpNoTaskSwitchCheck) return true;
  // FXSAVE and FXRSTOR come before SSE: CR4.OSFXSR does not stop them, and CR0.EM gives #NM (SDM vol. 3 table 13-1).
  if (row.feature == FpFeature::Fxsr) return !(c.fpBlocked & (kFpEm | kFpTs)) || c.raise(kNM);
  if ((c.fpBlocked & kFpEm) || (!(row.attributes & kFpMmx) && (c.fpBlocked & kFpNoOsfxsr))) return c.raise(kUD);
  if (c.fpBlocked & kFpTs) return c.raise(kNM);
  return true;
}
bool mmxAllowed(Core& c) { return !(c.state.x87.status & 0x80) || c.raise(kMF); }
bool fpFault(Core& c, int vector) {
  if (vector == kXM && !(c.state.cr4 & kCr4Osxmmexcpt)) vector = kUD;
  return vector == kGP ? c.raise(kGP, 0) : c.raise(static_cast<uint8_t>(vector));
}

uint32_t arithmeticFlags(const Core& c) { return (c.ax >> 8 & 0xd5u) | (c.ax & 1u) << 11; }
void setArithmeticFlags(Core& c, uint32_t flags) {
  if (flags != kFpFlagsKept) c.ax = static_cast<uint16_t>((flags & 0xd5) << 8 | 0x0200 | (flags >> 11 & 1));
}

#define SIMD_CHECK                                                                                    \
  if (UNLIKELY(c.fpBlocked)) {                                                                        \
    if (!simdAllowed(c, *c.fpRows[i->row])) return faulted(c, i);                                     \
  }
#define SIMD_CALL                                                        \
  do {                                                                   \
    const int vector = c.fpTable[i->row](o);                             \
    if (UNLIKELY(vector >= 0)) {                                         \
      fpFault(c, vector);                                                \
      return faulted(c, i);                                              \
    }                                                                    \
  } while (0)

template <unsigned Bytes>
struct alignas(1) Chunk { uint8_t bytes[Bytes]; };

template <unsigned Bytes, Ea E>
[[gnu::always_inline]] inline const void* fpSource(Core& c, const Insn* i) {
  if constexpr (E == Ea::Slow) return c.slowRead(i, Bytes);
  else return fastRead<Chunk<Bytes>>(c, fastAddress<E>(c, i));
}

// ---- whole-register moves, by far the most frequent: no call --------------------------------------------------------------

using Vector [[gnu::vector_size(16), gnu::aligned(1), gnu::may_alias]] = long long;

Exec moveXmmXmm(Core& c, const Insn* i) {
  SIMD_CHECK
  *reinterpret_cast<Vector*>(c.state.vec[i->reg].bytes) = *reinterpret_cast<const Vector*>(c.state.vec[i->rm].bytes);
  NEXT;
}
template <Ea E, bool Aligned>
Exec moveXmmMem(Core& c, const Insn* i) {
  SIMD_CHECK
  // Alignment comes before the page.
  if constexpr (Aligned && E == Ea::Slow) {
    if (c.alignmentFault(i, 16, 16, false)) return faulted(c, i);
  }
  const void* m = fpSource<16, E>(c, i);
  if (UNLIKELY(!m)) MISS(E, (moveXmmMem<Ea::Slow, Aligned>));
  if constexpr (Aligned && E != Ea::Slow) {
    if (UNLIKELY(reinterpret_cast<uintptr_t>(m) & 15)) return moveXmmMem<Ea::Slow, Aligned>(c, i);
  }
  *reinterpret_cast<Vector*>(c.state.vec[i->reg].bytes) = *static_cast<const Vector*>(m);
  NEXT;
}
template <Ea E, bool Aligned>
Exec moveMemXmm(Core& c, const Insn* i) {
  SIMD_CHECK
  void* m;
  if constexpr (E == Ea::Slow) {
    if (Aligned && c.alignmentFault(i, 16, 16, true)) return faulted(c, i);
    m = c.slowWrite(i, 16, false);
    if (!m) return faulted(c, i);
  } else {
    m = fastWrite<Chunk<16>>(c, fastAddress<E>(c, i));
    if (UNLIKELY(!m) || (Aligned && UNLIKELY(reinterpret_cast<uintptr_t>(m) & 15))) return moveMemXmm<Ea::Slow, Aligned>(c, i);
  }
  *static_cast<Vector*>(m) = *reinterpret_cast<const Vector*>(c.state.vec[i->reg].bytes);
  COMMIT(E);
  NEXT_WRITTEN(E);
}

// ---- xmm, m -----------------------------------------------------------------------------------------------------------------

template <unsigned Bytes, Ea E>
Exec simdXmmMem(Core& c, const Insn* i) {
  SIMD_CHECK
  if constexpr (Bytes == 16) {
    if (UNLIKELY(c.effectiveLinear(i) & 15) && (c.fpRows[i->row]->attributes & kFpAligned)) {
      c.alignmentFault(i, 16, 16, false);
      return faulted(c, i);
    }
  }
  const void* m = fpSource<Bytes, E>(c, i);
  if (UNLIKELY(!m)) MISS(E, (simdXmmMem<Bytes, Ea::Slow>));
  FpOperands& o = c.fp;
  o.dst = c.state.vec[i->reg].bytes;
  o.src = m;
  o.imm = static_cast<uint32_t>(i->imm);
  o.operandSize = static_cast<uint8_t>(i->operandSize());  // lengths of PCMPESTRx
  o.memory = true;
  SIMD_CALL;
  if (c.fpRows[i->row]->attributes & kFpWritesFlags) setArithmeticFlags(c, o.flags);
  NEXT;
}

/** Stores from an XMM register: MOVSS, MOVSD, MOVQ, MOVLPS, MOVHPS, MOVNTPS … */
template <unsigned Bytes, Ea E>
Exec simdMemXmm(Core& c, const Insn* i) {
  SIMD_CHECK
  if constexpr (Bytes == 16) {
    if (UNLIKELY(c.effectiveLinear(i) & 15) && (c.fpRows[i->row]->attributes & kFpAligned)) {
      c.alignmentFault(i, 16, 16, true);
      return faulted(c, i);
    }
  }
  void* m;
  if constexpr (E == Ea::Slow) m = c.slowWrite(i, Bytes, false);
  else m = fastWrite<Chunk<Bytes>>(c, fastAddress<E>(c, i));
  if (UNLIKELY(!m)) MISS(E, (simdMemXmm<Bytes, Ea::Slow>));
  FpOperands& o = c.fp;
  o.dst = c.fpBuffer;
  o.src = c.state.vec[i->reg].bytes;
  o.imm = static_cast<uint32_t>(i->imm);
  o.operandSize = 4;
  o.memory = true;
  SIMD_CALL;
  std::memcpy(m, c.fpBuffer, Bytes);
  COMMIT(E);
  NEXT_WRITTEN(E);
}

// ---- every other form ---------------------------------------------------------------------------------------------------------

[[gnu::always_inline]] inline void* registerOf(Core& c, FpForm form, bool destination, const Insn* i) {
  const auto xmm = [&](unsigned n) -> void* { return c.state.vec[n].bytes; };
  const auto mm = [&](unsigned n) -> void* { return c.state.x87.r[n & 7].bytes; };
  const auto gpr = [&](unsigned n) -> void* { return &c.state.gpr[n]; };
  switch (form) {
    case FpForm::XmmRm: return xmm(destination ? i->reg : i->rm);
    case FpForm::RmXmm: return xmm(destination ? i->rm : i->reg);
    case FpForm::MmxRm: return mm(destination ? i->reg : i->rm);
    case FpForm::RmMmx: return mm(destination ? i->rm : i->reg);
    case FpForm::XmmMmx: return destination ? xmm(i->reg) : mm(i->rm);
    case FpForm::MmxXmm: return destination ? mm(i->reg) : xmm(i->rm);
    case FpForm::XmmGpr: return destination ? xmm(i->reg) : gpr(i->rm);
    case FpForm::MmxGpr: return destination ? mm(i->reg) : gpr(i->rm);
    case FpForm::GprXmm: return destination ? gpr(i->reg) : xmm(i->rm);
    case FpForm::GprMmx: return destination ? gpr(i->reg) : mm(i->rm);
    case FpForm::RmGprXmm: return destination ? gpr(i->rm) : xmm(i->reg);
    case FpForm::RmGprMmx: return destination ? gpr(i->rm) : mm(i->reg);
    case FpForm::RmGpr: return gpr(destination ? i->rm : i->reg);
    case FpForm::XmmRmImmShift: return xmm(i->rm);
    case FpForm::MmxRmImmShift: return mm(i->rm);
    case FpForm::XmmMaskStore: return xmm(destination ? i->reg : i->rm);
    case FpForm::MmxMaskStore: return mm(destination ? i->reg : i->rm);
    default: return c.fpBuffer;
  }
}

/** Between registers, none of them MMX. */
template <FpForm F, bool Flags>
Exec simdRegisters(Core& c, const Insn* i) {
  SIMD_CHECK
  FpOperands& o = c.fp;
  o.dst = registerOf(c, F, true, i);
  o.src = registerOf(c, F, false, i);
  o.imm = static_cast<uint32_t>(i->imm);
  o.operandSize = static_cast<uint8_t>(i->operandSize());
  o.memory = false;
  SIMD_CALL;
  if constexpr (Flags) setArithmeticFlags(c, o.flags);
  NEXT;
}
Handler bindRegisters(const FpRow& row) {
  const bool flags = row.attributes & kFpWritesFlags;
  switch (row.form) {
    case FpForm::XmmRm: return flags ? simdRegisters<FpForm::XmmRm, true> : simdRegisters<FpForm::XmmRm, false>;
    case FpForm::RmXmm: return simdRegisters<FpForm::RmXmm, false>;
    case FpForm::XmmGpr: return simdRegisters<FpForm::XmmGpr, false>;
    case FpForm::GprXmm: return simdRegisters<FpForm::GprXmm, false>;
    case FpForm::RmGprXmm: return simdRegisters<FpForm::RmGprXmm, false>;
    case FpForm::XmmRmImmShift: return simdRegisters<FpForm::XmmRmImmShift, false>;
    default: return nullptr;
  }
}

/** MASKMOVDQU, MASKMOVQ. */
bool maskStore(Core& c, const Insn* i, const FpRow& row) {
  FpOperands& o = c.fp;
  const unsigned bytes = row.form == FpForm::XmmMaskStore ? 16 : 8;
  o.dst = c.fpBuffer;
  o.src = registerOf(c, row.form, false, i);
  o.imm = i->reg;
  o.storeMask = 0;
  const int vector = row.function(o);
  if (vector >= 0) return fpFault(c, vector);
  return maskedBytes(c, i, c.fpBuffer, o.storeMask, bytes);
}

bool simdGeneral(Core& c, const Insn* i) {
  const FpRow& row = *c.fpRows[i->row];
  if (c.fpBlocked && !simdAllowed(c, row)) return false;
  // CVTPI2PD and CVTPI2PS of memory touch no MMX register.
  const bool mmx = (row.attributes & kFpMmx) && !(row.form == FpForm::XmmMmx && (i->flags & kInsnMemory));
  if (mmx && !mmxAllowed(c)) return false;
  if (row.form == FpForm::XmmMaskStore || row.form == FpForm::MmxMaskStore) return maskStore(c, i, row);
  FpOperands& o = c.fp;
  o.imm = static_cast<uint32_t>(i->imm);
  o.operandSize = i->operandSize() == 8 ? 8 : 4;
  o.memory = i->flags & kInsnMemory;
  const bool store = o.memory && (row.attributes & kFpStore);
  const unsigned bytes = row.memoryBytes ? row.memoryBytes : o.operandSize;
  o.dst = registerOf(c, row.form, true, i);
  o.src = registerOf(c, row.form, false, i);
  if (o.memory) {
    if ((row.attributes & kFpAligned) && c.alignmentFault(i, 16, bytes, store)) return false;
    if (store) {
      void* target = c.slowWrite(i, bytes, (row.attributes & kFpVariableStore) != 0);
      if (!target) return false;
      o.dst = c.fpBuffer;
      o.storeBytes = bytes;
      const int vector = c.fpTable[i->row](o);
      if (vector >= 0) {
        c.pending = PendingWrite::None;
        return fpFault(c, vector);
      }
      std::memcpy(target, c.fpBuffer, row.attributes & kFpVariableStore ? std::min<unsigned>(o.storeBytes, bytes) : bytes);
      return c.pending == PendingWrite::None || c.slowCommit();
    }
    const void* source = c.slowRead(i, bytes);
    if (!source) return false;
    o.src = source;
  }
  const int vector = c.fpTable[i->row](o);
  if (vector >= 0) return fpFault(c, vector);
  if (row.attributes & kFpWritesFlags) setArithmeticFlags(c, o.flags);
  return true;
}

// ---- x87 ----------------------------------------------------------------------------------------------------------------------------

bool x87Allowed(Core& c, const X87Row& row) {
  if (c.fpBlocked & (kFpEm | kFpTs)) return c.raise(kNM);
  if (!(row.attributes & kX87NoWait) && (c.state.x87.status & 0x80)) return c.raise(kMF);
  return true;
}
unsigned x87Bytes(const X87Row& row, const Insn* i) {
  const bool narrow = i->operandSize() == 2;
  if (row.memoryBytes == kX87Environment) return narrow ? 14 : 28;
  if (row.memoryBytes == kX87Image) return narrow ? 94 : 108;
  return row.memoryBytes;
}
[[gnu::always_inline]] inline void notePointers(Core& c, const Insn* i, const X87Row& row) {
  if (row.attributes & kX87Control) return;
  X87State& x = c.state.x87;
  x.instructionPointer = c.state.rip + i->offset;
  x.codeSelector = c.state.seg[kCs].selector;
  x.opcode = static_cast<uint16_t>((row.opcode & 7) << 8 | (i->imm & 0xff));
}
Exec x87Register(Core& c, const Insn* i) {
  const X87Row& row = kX87Rows[i->row];
  if (UNLIKELY((c.fpBlocked & (kFpEm | kFpTs)) || (c.state.x87.status & 0x80))) {
    if (!x87Allowed(c, row)) return faulted(c, i);
  }
  notePointers(c, i, row);
  FpOperands& o = c.fp;
  // FNSTSW AX is the one register form that writes a general register.
  o.dst = &c.state.gpr[kRax];
  o.src = nullptr;
  o.imm = static_cast<uint32_t>(i->imm);
  o.operandSize = 4;
  o.memory = false;
  if (row.attributes & kFpReadsFlags) o.flags = arithmeticFlags(c);
  row.function(o);
  if (row.attributes & kFpWritesFlags) setArithmeticFlags(c, o.flags);
  NEXT;
}
template <unsigned Bytes, Ea E>
Exec x87Load(Core& c, const Insn* i) {
  const X87Row& row = kX87Rows[i->row];
  if (UNLIKELY((c.fpBlocked & (kFpEm | kFpTs)) || (c.state.x87.status & 0x80))) {
    if (!x87Allowed(c, row)) return faulted(c, i);
  }
  const void* m;
  if constexpr (E == Ea::Slow) m = c.slowRead(i, Bytes ? Bytes : x87Bytes(row, i));
  else m = fastRead<Chunk<Bytes ? Bytes : 1>>(c, fastAddress<E>(c, i));
  if (UNLIKELY(!m)) MISS(E, (x87Load<Bytes, Ea::Slow>));
  notePointers(c, i, row);
  if (!(row.attributes & kX87Control)) {
    c.state.x87.dataPointer = c.effectiveOffset(i);
    c.state.x87.dataSelector = c.state.seg[i->segment].selector;
  }
  FpOperands& o = c.fp;
  o.dst = c.fpBuffer;
  o.src = m;
  o.imm = static_cast<uint32_t>(i->imm);
  o.operandSize = i->operandSize() == 2 ? 2 : 4;
  o.memory = true;
  row.function(o);
  NEXT;
}
template <unsigned Bytes, Ea E>
Exec x87Store(Core& c, const Insn* i) {
  const X87Row& row = kX87Rows[i->row];
  if (UNLIKELY((c.fpBlocked & (kFpEm | kFpTs)) || (c.state.x87.status & 0x80))) {
    if (!x87Allowed(c, row)) return faulted(c, i);
  }
  void* m;
  unsigned bytes = Bytes;
  if constexpr (E == Ea::Slow) {
    if (Bytes == 0) bytes = x87Bytes(row, i);
    m = c.slowWrite(i, bytes, (row.attributes & kFpVariableStore) != 0);
  } else {
    m = fastWrite<Chunk<Bytes ? Bytes : 1>>(c, fastAddress<E>(c, i));
  }
  if (UNLIKELY(!m)) MISS(E, (x87Store<Bytes, Ea::Slow>));
  notePointers(c, i, row);
  if (!(row.attributes & kX87Control)) {
    c.state.x87.dataPointer = c.effectiveOffset(i);
    c.state.x87.dataSelector = c.state.seg[i->segment].selector;
  }
  FpOperands& o = c.fp;
  o.dst = c.fpBuffer;
  o.src = nullptr;
  o.imm = static_cast<uint32_t>(i->imm);
  o.operandSize = i->operandSize() == 2 ? 2 : 4;
  o.memory = true;
  o.storeBytes = bytes;
  row.function(o);
  const unsigned stored = row.attributes & kFpVariableStore ? std::min(o.storeBytes, bytes) : bytes;
  if (Bytes != 0 && LIKELY(stored == Bytes)) std::memcpy(m, c.fpBuffer, Bytes);
  else std::memcpy(m, c.fpBuffer, stored);
  COMMIT(E);
  NEXT_WRITTEN(E);
}

bool fwait(Core& c, const Insn*) {
  if ((c.state.cr0 & (kCr0Mp | kCr0Ts)) == (kCr0Mp | kCr0Ts)) return c.raise(kNM);
  return !(c.state.x87.status & 0x80) || c.raise(kMF);
}

/** Row number of the function that executes this instruction: the row's own, or the one made for its immediate. */
uint16_t functionIndex(Core& c, const FpRow& row, uint8_t imm) {
  const auto own = static_cast<uint32_t>(&row - kSimdRows);
  if (!row.byImmediate) return static_cast<uint16_t>(own);
  const uint32_t key = own << 8 | imm;
  const auto found = c.fpSpecial.find(key);
  if (found != c.fpSpecial.end()) return found->second;
  if (c.fpFunctions.size() > 0xffff) return static_cast<uint16_t>(own);
  const auto index = static_cast<uint16_t>(c.fpFunctions.size());
  c.fpFunctions.push_back(row.byImmediate[imm]);
  c.fpRows.push_back(&row);
  c.fpTable = c.fpFunctions.data();
  c.fpSpecial.emplace(key, index);
  return index;
}

/** MOVAPS, MOVUPS, MOVAPD, MOVUPD, MOVDQA, MOVDQU, MOVNT*: loads, stores or register moves of all 16 bytes. */
Handler bindWholeMove(const Binding& b, const FpRow& row) {
  if (row.map != FpMap::M0F || (row.form != FpForm::XmmRm && row.form != FpForm::RmXmm)) return nullptr;
  const bool packed = row.prefix == FpPrefix::None || row.prefix == FpPrefix::P66;
  const bool integer = row.prefix == FpPrefix::P66 || row.prefix == FpPrefix::PF3;
  bool load, aligned;
  switch (row.opcode) {
    case 0x10: case 0x11: if (!packed) return nullptr; load = row.opcode == 0x10; aligned = false; break;
    case 0x28: case 0x29: if (!packed) return nullptr; load = row.opcode == 0x28; aligned = true; break;
    case 0x6f: case 0x7f: if (!integer) return nullptr; load = row.opcode == 0x6f; aligned = row.prefix == FpPrefix::P66; break;
    default: return nullptr;
  }
  Insn& i = b.i;
  if (!b.d.memory) {
    i.reg = load ? b.d.reg : b.d.rm;
    i.rm = load ? b.d.rm : b.d.reg;
    return moveXmmXmm;
  }
  return byEa(eaOf(b), [&](auto e) -> Handler {
    if (load) return aligned ? moveXmmMem<e(), true> : moveXmmMem<e(), false>;
    return aligned ? moveMemXmm<e(), true> : moveMemXmm<e(), false>;
  });
}

template <unsigned Bytes>
Handler bindX87Memory(const Binding& b, bool store) {
  return byEa(eaOf(b), [&](auto e) -> Handler { return store ? x87Store<Bytes, e()> : x87Load<Bytes, e()>; });
}

}  // namespace

bool maskedBytes(Core& c, const Insn* i, const uint8_t* data, uint32_t mask, unsigned bytes) {
  const uint64_t wrap = addressMask(i);
  const uint64_t offset = c.state.gpr[kRdi] & wrap;
  uint64_t linear;
  // The whole operand is looked at, whatever the mask (SDM vol. 2, MASKMOVDQU leaves it open).
  if (!c.linearAddress(i->segment, offset, bytes, true, linear) || !c.probeWrite(linear, bytes, c.privilege())) return false;
  for (unsigned n = 0; n < bytes; ++n) {
    if (!(mask >> n & 1)) continue;
    if (!c.linearAddress(i->segment, (offset + n) & wrap, 1, true, linear) || !c.store<uint8_t>(linear, data[n], c.privilege())) return false;
  }
  return true;
}

Handler bindFp(const Binding& b) {
  const Decoded& d = b.d;
  Insn& i = b.i;
  if (d.op == Op::Fwait) return plain<fwait>;
  if (d.op == Op::Simd) {
    const FpRow& row = *d.simd;
    i.reg = d.reg;
    i.rm = d.rm;
    i.imm = static_cast<int32_t>((d.immediate & 0xff) | d.immediate2 << 8);
    i.row = static_cast<uint16_t>(&row - kSimdRows);
    i.sizes = static_cast<uint8_t>((d.rex & 8 ? 8 : 4) | d.addressSize << 4);
    if (Handler h = bindWholeMove(b, row)) return h;
    i.row = functionIndex(b.core, row, static_cast<uint8_t>(d.immediate));
    if (!d.memory) {
      if (Handler h = bindRegisters(row)) return h;
    } else if (row.form == FpForm::XmmRm || row.form == FpForm::RmXmm) {
      const Ea ea = eaOf(b);
      const auto sized = [&](auto bytes) -> Handler {
        return byEa(ea, [&](auto e) -> Handler {
          constexpr unsigned kBytes = decltype(bytes)::value;
          return row.form == FpForm::XmmRm ? simdXmmMem<kBytes, e()> : simdMemXmm<kBytes, e()>;
        });
      };
      switch (row.memoryBytes) {
        case 4: return sized(std::integral_constant<unsigned, 4>{});
        case 8: return sized(std::integral_constant<unsigned, 8>{});
        case 16: return sized(std::integral_constant<unsigned, 16>{});
        default: break;
      }
    }
    return plain<simdGeneral>;
  }
  if (d.op == Op::X87) {
    const X87Row& row = *d.x87;
    i.row = static_cast<uint16_t>(&row - kX87Rows);
    i.imm = d.modrm;
    if (!d.memory) return x87Register;
    const bool store = row.attributes & kFpStore;
    // Segments other than FS and GS have no base here, but the data selector is theirs.
    switch (row.memoryBytes) {
      case 2: return bindX87Memory<2>(b, store);
      case 4: return bindX87Memory<4>(b, store);
      case 8: return bindX87Memory<8>(b, store);
      case 10: return bindX87Memory<10>(b, store);
      default: return store ? x87Store<0, Ea::Slow> : x87Load<0, Ea::Slow>;
    }
  }
  return nullptr;
}

}  // namespace lodge::x86
