// Binds the rows of vex_ops.h: AVX, AVX2, FMA, F16C. Checks, fetches operands, calls the row's function, stores what it left.
#include <algorithm>
#include <cstring>

#include "x86/fp/host_fp.h"
#include "x86/interpreter/exec.h"

namespace lodge::x86 {
namespace {

constexpr uint8_t vectorUnit(unsigned n) { return static_cast<uint8_t>(unitOf(offsetof(State, vec)) + 4 * n); }

// In all handlers here Insn::reg and rm are the units of destination and source registers, bits 8–15 and 16–23 of imm those of
// VEX.vvvv and of the register in imm8, bit 24 is VEX.L, and the low byte of imm is imm8.
inline void* destination(Core& c, const Insn* i) { return &unit(c, i->reg); }
inline const void* source(Core& c, const Insn* i) { return &unit(c, i->rm); }
inline VexOperands operands(Core& c, const Insn* i, void* dst, const void* src) {
  return {dst, src, &unit(c, static_cast<unsigned>(i->imm) >> 8 & 0xff), &unit(c, static_cast<unsigned>(i->imm) >> 16 & 0xff), 0};
}

#define VEX_CHECK                    \
  if (UNLIKELY(c.vexBlocked)) {      \
    c.vexRefused();                  \
    return faulted(c, i);            \
  }

bool vexFault(Core& c, int vector) {
  return c.raise(vector == kXM && !(c.state.cr4 & kCr4Osxmmexcpt) ? uint8_t{kUD} : static_cast<uint8_t>(vector));
}

/** Runs the row's function. `bytes` of dst are its result. */
[[gnu::always_inline]] inline bool call(Core& c, const Insn* i, VexOperands& o, unsigned bytes) {
  const VexThunks::Entry& e = c.vexTable[i->row];
  if (UNLIKELY((c.state.mxcsr & kMxcsrMasks) != kMxcsrMasks) && (e.row->attributes & kFpRounds)) {
    const auto imm = static_cast<unsigned>(i->imm);
    const int vector = vexUnmasked(c.state, e, o, bytes, imm >> 24 & 1, static_cast<uint8_t>(imm));
    if (vector >= 0) return vexFault(c, vector);
  } else {
    e.function(&o);
  }
  if (e.row->attributes & kFpWritesFlags)
    c.ax = static_cast<uint16_t>((o.flags & 0xd5) << 8 | 0x0200 | (o.flags >> 11 & 1));
  return true;
}

/**
 * The operands live in a frame of their own: one in a handler, which others know the address of, would keep the next handler's call
 * from being a jump, and a chain of blocks would eat the stack.
 */
[[gnu::noinline]] bool perform(Core& c, const Insn* i, void* to, const void* from, unsigned bytes) {
  VexOperands o = operands(c, i, to, from);
  return call(c, i, o, bytes);
}

template <bool ToGpr>
Exec vexRegisters(Core& c, const Insn* i) {
  VEX_CHECK
  if (!perform(c, i, destination(c, i), source(c, i), ToGpr ? 8 : 32)) return faulted(c, i);
  NEXT;
}

template <unsigned Bytes>
struct alignas(1) Chunk { uint8_t bytes[Bytes]; };

template <unsigned Bytes, Ea E, bool ToGpr>
Exec vexLoad(Core& c, const Insn* i) {
  VEX_CHECK
  const void* m;
  if constexpr (E == Ea::Slow) m = c.slowRead(i, Bytes);
  else m = fastRead<Chunk<Bytes>>(c, fastAddress<E>(c, i));
  if (UNLIKELY(!m)) MISS(E, (vexLoad<Bytes, Ea::Slow, ToGpr>));
  if (!perform(c, i, destination(c, i), m, ToGpr ? 8 : 32)) return faulted(c, i);
  NEXT;
}
template <unsigned Bytes, Ea E>
Exec vexStore(Core& c, const Insn* i) {
  VEX_CHECK
  void* m;
  if constexpr (E == Ea::Slow) m = c.slowWrite(i, Bytes, false);
  else m = fastWrite<Chunk<Bytes>>(c, fastAddress<E>(c, i));
  if (UNLIKELY(!m)) MISS(E, (vexStore<Bytes, Ea::Slow>));
  if (!perform(c, i, c.fpBuffer, source(c, i), 32)) {
    c.pending = PendingWrite::None;
    return faulted(c, i);
  }
  std::memcpy(m, c.fpBuffer, Bytes);
  COMMIT(E);
  NEXT_WRITTEN(E);
}

// ---- whole-register moves: no call --------------------------------------------------------------------------------------------

template <unsigned Bytes>
Exec moveRegister(Core& c, const Insn* i) {
  VEX_CHECK
  auto* const to = static_cast<uint8_t*>(destination(c, i));
  std::memmove(to, source(c, i), Bytes);
  if constexpr (Bytes == 16) std::memset(to + 16, 0, 16);
  NEXT;
}
template <unsigned Bytes, Ea E, bool Aligned>
Exec moveLoad(Core& c, const Insn* i) {
  VEX_CHECK
  const void* m;
  if constexpr (E == Ea::Slow) {
    if (Aligned && c.alignmentFault(i, Bytes, Bytes, false)) return faulted(c, i);
    m = c.slowRead(i, Bytes);
    if (!m) return faulted(c, i);
  } else {
    m = fastRead<Chunk<Bytes>>(c, fastAddress<E>(c, i));
    if (UNLIKELY(!m) || (Aligned && UNLIKELY(reinterpret_cast<uintptr_t>(m) & (Bytes - 1)))) return moveLoad<Bytes, Ea::Slow, Aligned>(c, i);
  }
  auto* const to = static_cast<uint8_t*>(destination(c, i));
  std::memcpy(to, m, Bytes);
  if constexpr (Bytes == 16) std::memset(to + 16, 0, 16);
  NEXT;
}
template <unsigned Bytes, Ea E, bool Aligned>
Exec moveStore(Core& c, const Insn* i) {
  VEX_CHECK
  void* m;
  if constexpr (E == Ea::Slow) {
    if (Aligned && c.alignmentFault(i, Bytes, Bytes, true)) return faulted(c, i);
    m = c.slowWrite(i, Bytes, false);
    if (!m) return faulted(c, i);
  } else {
    m = fastWrite<Chunk<Bytes>>(c, fastAddress<E>(c, i));
    if (UNLIKELY(!m) || (Aligned && UNLIKELY(reinterpret_cast<uintptr_t>(m) & (Bytes - 1)))) return moveStore<Bytes, Ea::Slow, Aligned>(c, i);
  }
  std::memcpy(m, source(c, i), Bytes);
  COMMIT(E);
  NEXT_WRITTEN(E);
}

/** VMOVAPS, VMOVUPS, VMOVDQA, VMOVNTPS, VLDDQU …: rows that copy a register or 16 or 32 bytes of memory. */
bool wholeMove(const VexRow& row) {
  if (row.form != VexForm::Rm && row.form != VexForm::Mr) return false;
  if (row.map == FpMap::M0F38) return row.opcode == 0x2a;
  if (row.map != FpMap::M0F || row.memoryBytes[0] != 16) return false;
  switch (row.opcode) {
    case 0x10: case 0x11: case 0x28: case 0x29: case 0x2b: case 0x6f: case 0x7f: case 0xe7: case 0xf0: return true;
    default: return false;
  }
}

// ---- element by element -------------------------------------------------------------------------------------------------------

/** VMASKMOV, VPMASKMOV: elements whose mask is not negative are not accessed (SDM vol. 2). A store proves all of them writable first. */
template <bool Store>
bool maskMove(Core& c, const Insn* i, const VexRow& row, bool l) {
  const unsigned size = row.attributes & kVexElement8 ? 8 : 4, count = (l ? 32 : 16) / size;
  const auto* const mask = reinterpret_cast<const uint8_t*>(&unit(c, static_cast<unsigned>(i->imm) >> 8 & 0xff));
  const uint64_t offset = c.effectiveOffset(i);
  const uint64_t wrap = addressMask(i);
  const auto chosen = [&](unsigned n) { return (mask[size * n + size - 1] & 0x80) != 0; };
  if constexpr (Store) {
    const auto* const from = static_cast<const uint8_t*>(source(c, i));
    for (int pass = 0; pass < 2; ++pass) {
      for (unsigned n = 0; n < count; ++n) {
        if (!chosen(n)) continue;
        uint64_t linear, value = 0;
        if (!c.linearAddress(i->segment, (offset + size * n) & wrap, size, true, linear)) return false;
        std::memcpy(&value, from + size * n, size);
        if (pass == 0 ? !c.probeWrite(linear, size, c.privilege()) : !c.storeSized(linear, value, size, c.privilege())) return false;
      }
    }
  } else {
    alignas(32) uint8_t result[32] = {};
    for (unsigned n = 0; n < count; ++n) {
      if (!chosen(n)) continue;
      uint64_t linear, value;
      if (!c.linearAddress(i->segment, (offset + size * n) & wrap, size, false, linear) ||
          !c.loadSized(linear, value, size, c.privilege())) {
        return false;
      }
      std::memcpy(result + size * n, &value, size);
    }
    std::memcpy(destination(c, i), result, 32);
  }
  return true;
}

/**
 * Gathers. Elements are loaded in order; a fault leaves those before it done and their mask cleared, so that the instruction goes on
 * where it stopped (SDM vol. 2, VPGATHERDD).
 */
bool gather(Core& c, const Insn* i, const VexRow& row, bool l) {
  const unsigned size = row.attributes & kVexElement8 ? 8 : 4, indexSize = row.attributes & kVexIndex8 ? 8 : 4;
  const unsigned vector = l ? 32 : 16, count = vector / std::max(size, indexSize);
  auto* const dst = static_cast<uint8_t*>(destination(c, i));
  auto* const mask = reinterpret_cast<uint8_t*>(&unit(c, static_cast<unsigned>(i->imm) >> 8 & 0xff));
  const auto* const index = static_cast<const uint8_t*>(source(c, i));
  if (dst == mask || dst == index || mask == index) return c.raise(kUD);
  const auto* const units = reinterpret_cast<const uint64_t*>(&c);
  const uint64_t base = units[i->base] + static_cast<uint64_t>(static_cast<int64_t>(i->disp));
  for (unsigned n = 0; n < count; ++n) {
    uint8_t* const m = mask + size * n;
    if (!(m[size - 1] & 0x80)) {
      std::memset(m, 0, size);
      continue;
    }
    int64_t at;
    if (indexSize == 8) {
      std::memcpy(&at, index + 8 * n, 8);
    } else {
      int32_t narrow;
      std::memcpy(&narrow, index + 4 * n, 4);
      at = narrow;
    }
    uint64_t offset = base + (static_cast<uint64_t>(at) << i->scale), linear, value;
    if (i->addressSize() == 4) offset &= 0xffffffff;
    if (!c.linearAddress(i->segment, offset, size, false, linear) || !c.loadSized(linear, value, size, c.privilege())) return false;
    std::memcpy(dst + size * n, &value, size);
    std::memset(m, 0, size);
  }
  std::memset(mask, 0, 32);
  std::memset(dst + size * count, 0, 32 - size * count);
  return true;
}

/** VMASKMOVDQU: dst is the data, src the mask. */
bool maskStoreDi(Core& c, const Insn* i) {
  const auto* const mask = static_cast<const uint8_t*>(source(c, i));
  uint32_t bits = 0;
  for (unsigned n = 0; n < 16; ++n) bits |= static_cast<uint32_t>(mask[n] >> 7) << n;
  return maskedBytes(c, i, static_cast<const uint8_t*>(destination(c, i)), bits, 16);
}

/** VPCMPxSTRx compute what their SSE rows do; a mask in XMM0 clears the rest of that register. */
bool string(Core& c, const Insn* i, const VexRow& row) {
  const FpRow* legacy = nullptr;
  for (unsigned n = 0; n < kSimdRowCount && !legacy; ++n) {
    const FpRow& r = kSimdRows[n];
    if (r.map == row.map && r.opcode == row.opcode && r.prefix == row.prefix) legacy = &r;
  }
  FpOperands& o = c.fp;
  o.dst = destination(c, i);
  o.src = source(c, i);
  o.memory = i->flags & kInsnMemory;
  if (o.memory && !(o.src = c.slowRead(i, 16))) return false;
  o.imm = static_cast<uint32_t>(i->imm) & 0xff;
  o.operandSize = i->operandSize() == 8 ? 8 : 4;
  legacy->function(o);
  c.ax = static_cast<uint16_t>((o.flags & 0xd5) << 8 | 0x0200 | (o.flags >> 11 & 1));
  if (!(row.opcode & 1)) std::memset(c.state.vec[0].bytes + 16, 0, 16);
  return true;
}

bool vexGeneral(Core& c, const Insn* i) {
  if (c.vexBlocked) return c.vexRefused();
  const VexRow& row = kVexRows[i->row];
  const bool l = static_cast<unsigned>(i->imm) >> 24 & 1;
  switch (row.form) {
    case VexForm::MaskLoad:
      return maskMove<false>(c, i, row, l);
    case VexForm::MaskStore:
      return maskMove<true>(c, i, row, l);
    case VexForm::MaskStoreDi:
      return maskStoreDi(c, i);
    case VexForm::Gather:
      return gather(c, i, row, l);
    case VexForm::String:
      return string(c, i, row);
    case VexForm::None: {
      const unsigned registers = c.codeSize == CodeSize::k64 ? 16 : 8;
      for (unsigned n = 0; n < registers; ++n) std::memset(c.state.vec[n].bytes + (l ? 0 : 16), 0, l ? 32 : 16);
      return true;
    }
    case VexForm::Memory: {
      if (row.attributes & kFpStore) {
        const uint32_t value = guestMxcsr(c.state);
        void* const m = c.slowWrite(i, 4, false);
        if (!m) return false;
        std::memcpy(m, &value, 4);
        return c.pending == PendingWrite::None || c.slowCommit();
      }
      const void* const m = c.slowRead(i, 4);
      if (!m) return false;
      uint32_t value;
      std::memcpy(&value, m, 4);
      if (value & ~kMxcsrWritable) return c.raise(kGP, 0);
      setGuestMxcsr(c.state, value);
      return true;
    }
    default:
      return c.raise(kUD);
  }
}

template <unsigned Bytes>
Handler bindMemory(const Binding& b, const VexRow& row) {
  return byGeneralEa(eaOf(b), [&](auto e) -> Handler {
    if (row.attributes & kFpStore) return vexStore<Bytes, e()>;
    return row.form == VexForm::RmGpr ? vexLoad<Bytes, e(), true> : vexLoad<Bytes, e(), false>;
  });
}
template <unsigned Bytes>
Handler bindMove(const Binding& b, const VexRow& row) {
  return byGeneralEa(eaOf(b), [&](auto e) -> Handler {
    if (row.attributes & kFpAligned)
      return row.attributes & kFpStore ? moveStore<Bytes, e(), true> : moveLoad<Bytes, e(), true>;
    return row.attributes & kFpStore ? moveStore<Bytes, e(), false> : moveLoad<Bytes, e(), false>;
  });
}

Exec noThunkHandler(Core& c, const Insn* i) {
  c.message = "no executable memory for the functions of AVX instructions";
  c.fault = FaultInfo{FaultKind::Internal, 0, false, false, 0};
  return faulted(c, i);
}

}  // namespace

Handler bindVex(const Binding& b) {
  if (!b.d.vex) return nullptr;
  const Decoded& d = b.d;
  const VexRow& row = *d.vex;
  Insn& i = b.i;
  const bool l = d.vexL && row.l != VexL::Ignored;
  const auto imm8 = static_cast<uint8_t>(d.immediate);
  const bool mode64 = d.mode == CodeSize::k64;
  const unsigned last = imm8 >> 4 & (mode64 ? 15 : 7);
  const auto general = [](unsigned n) { return static_cast<uint8_t>(n); };
  i.imm = static_cast<int32_t>(imm8 | vectorUnit(d.v) << 8 | vectorUnit(last) << 16 | (l ? 1u << 24 : 0));
  // How the register operands lie.
  i.reg = vectorUnit(d.reg);
  i.rm = vectorUnit(d.rm);
  switch (row.form) {
    case VexForm::Mr:
    case VexForm::Mvr:
      i.reg = vectorUnit(d.rm);
      i.rm = vectorUnit(d.reg);
      break;
    case VexForm::Vmi:
      i.reg = vectorUnit(d.v);
      break;
    case VexForm::RmGpr:
      i.reg = general(d.reg);
      break;
    case VexForm::MrGpr:
      i.reg = general(d.rm);
      i.rm = vectorUnit(d.reg);
      break;
    case VexForm::RmFromGpr:
    case VexForm::RvmGpr:
      i.rm = general(d.rm);
      break;
    case VexForm::MaskStore:
      i.rm = vectorUnit(d.reg);
      break;
    case VexForm::Gather:
      i.rm = vectorUnit(d.index);
      break;
    default:
      break;
  }
  if (!hasThunk(row.form)) {
    i.row = static_cast<uint16_t>(d.vex - kVexRows);
    return plain<vexGeneral>;
  }
  const unsigned bytes = row.memoryBytes[0] == 0 ? d.operandSize : row.memoryBytes[l];
  if (wholeMove(row)) {
    if (d.memory) return l ? bindMove<32>(b, row) : bindMove<16>(b, row);
    return l ? moveRegister<32> : moveRegister<16>;
  }
  const int number = b.core.vexThunks.find({&row, l, d.operandSize == 8, d.memory, imm8});
  if (number < 0) return noThunkHandler;
  b.core.vexTable = b.core.vexThunks.entries();
  i.row = static_cast<uint16_t>(number);
  if (!d.memory) return row.form == VexForm::RmGpr || row.form == VexForm::MrGpr ? vexRegisters<true> : vexRegisters<false>;
  switch (bytes) {
    case 1: return bindMemory<1>(b, row);
    case 2: return bindMemory<2>(b, row);
    case 4: return bindMemory<4>(b, row);
    case 8: return bindMemory<8>(b, row);
    case 16: return bindMemory<16>(b, row);
    default: return bindMemory<32>(b, row);
  }
}

}  // namespace lodge::x86
