// The XSAVE feature set: XSAVE, XSAVEOPT, XSAVEC, XSAVES, XRSTOR, XRSTORS, XGETBV, XSETBV. SDM vol. 1, chapter 13. State components:
// x87, SSE and the upper halves of the YMM registers. Of these only the last is ever reported as not in use. There are no supervisor
// components, so that IA32_XSS is zero, and the compacted format has each component where the standard format has it.
#include <cstring>

#include "x86/fp/simd_support.h"
#include "x86/interpreter/exec.h"

namespace lodge::x86 {
namespace {

constexpr uint64_t kX87 = 1, kSse = 2, kYmm = 4, kCompacted = 1ull << 63;
constexpr unsigned kHalf = 16;

struct Piece {
  unsigned offset, bytes;
};
/** What of the area each component has. MXCSR and its mask belong to SSE and YMM alike. */
constexpr Piece kX87Pieces[] = {{0, 24}, {32, 128}};
constexpr Piece kMxcsrPiece = {24, 8}, kXmmPiece = {160, 256}, kXmmPieceNarrow = {160, 128}, kHeaderPiece = {kXsaveHeader, 64};

unsigned registers(const Core& c) { return c.long64() ? 16 : 8; }

bool allowed(Core& c, const Insn* i, uint64_t& linear, bool write) {
  if (!(c.state.cr4 & kCr4Osxsave)) return c.raise(kUD);
  if (c.state.cr0 & kCr0Ts) return c.raise(kNM);
  if (!c.linearAddress(i->segment, c.effectiveOffset(i), kXsaveYmm, write, linear)) return false;
  return !(linear & 63) || c.raise(kGP, 0);
}

/** The 512 bytes FXSAVE would write now. */
void legacyImage(Core& c, const Insn* i, uint8_t* image) {
  FpOperands o{c.state, image, nullptr, 0, static_cast<uint8_t>(i->operandSize() == 8 ? 8 : 4), true, 0, 0, 0, 0};
  simd::fxsave(o);
}

uint64_t inUse(const Core& c) {
  uint8_t any = 0;
  for (const VectorRegister& r : c.state.vec) {
    for (unsigned n = kHalf; n < 2 * kHalf; ++n) any |= r.bytes[n];
  }
  return kX87 | kSse | (any ? kYmm : 0);
}

enum class Flavour : uint8_t { Plain, Optimised, Compacted };

template <Flavour F>
bool xsave(Core& c, const Insn* i) {
  uint64_t at;
  if (!allowed(c, i, at, true)) return false;
  const Privilege who = c.privilege();
  const uint64_t asked = (static_cast<uint32_t>(c.state.gpr[kRax]) | c.state.gpr[kRdx] << 32) & c.state.xcr0;
  const uint64_t used = inUse(c) & asked;
  const uint64_t written = F == Flavour::Plain ? asked : used;

  alignas(64) uint8_t image[kXsaveBytes] = {};
  legacyImage(c, i, image);
  for (unsigned n = 0; n < 16; ++n) std::memcpy(image + kXsaveYmm + kHalf * n, c.state.vec[n].bytes + kHalf, kHalf);
  uint64_t header[8] = {};
  if constexpr (F == Flavour::Compacted) {
    header[0] = used;
    header[1] = asked | kCompacted;
  } else {
    const void* const old = c.readAt(at + kXsaveHeader, 8, who);
    if (!old) return false;
    std::memcpy(header, old, 8);
    header[0] = (header[0] & ~asked) | used;
  }
  std::memcpy(image + kXsaveHeader, header, sizeof header);

  Piece pieces[6];
  unsigned count = 0;
  if (written & kX87) pieces[count++] = kX87Pieces[0], pieces[count++] = kX87Pieces[1];
  if (F == Flavour::Compacted ? (written & kSse) != 0 : (asked & (kSse | kYmm)) != 0) pieces[count++] = kMxcsrPiece;
  if (written & kSse) pieces[count++] = c.long64() ? kXmmPiece : kXmmPieceNarrow;
  if (written & kYmm) pieces[count++] = Piece{kXsaveYmm, kHalf * registers(c)};
  // XSAVE and XSAVEOPT write XSTATE_BV only; XSAVEC also XCOMP_BV, and zeros behind it.
  pieces[count++] = F == Flavour::Compacted ? kHeaderPiece : Piece{kXsaveHeader, 8};
  for (unsigned n = 0; n < count; ++n) {
    if (!c.probeWrite(at + pieces[n].offset, pieces[n].bytes, who)) return false;
  }
  for (unsigned n = 0; n < count; ++n) {
    void* const to = c.writeAt(at + pieces[n].offset, pieces[n].bytes, who, false);
    if (!to) return false;
    std::memcpy(to, image + pieces[n].offset, pieces[n].bytes);
    if (c.pending != PendingWrite::None && !c.slowCommit()) return false;
  }
  return true;
}

template <bool Supervisor>
bool xrstor(Core& c, const Insn* i) {
  uint64_t at;
  if (!allowed(c, i, at, false)) return false;
  const Privilege who = c.privilege();
  const uint64_t asked = (static_cast<uint32_t>(c.state.gpr[kRax]) | c.state.gpr[kRdx] << 32) & c.state.xcr0;
  alignas(64) uint8_t area[kXsaveBytes] = {};
  const auto fetch = [&](unsigned offset, unsigned bytes) {
    const void* const from = c.readAt(at + offset, bytes, who);
    if (from) std::memcpy(area + offset, from, bytes);
    return from != nullptr;
  };
  if (!fetch(kXsaveHeader, 64)) return false;
  uint64_t header[8];
  std::memcpy(header, area + kXsaveHeader, sizeof header);
  const bool compacted = header[1] & kCompacted;
  if (Supervisor && !compacted) return c.raise(kGP, 0);
  if (compacted) {
    if (!c.features.has(Feature::Xsavec) || (header[1] & ~kCompacted & ~c.state.xcr0) || (header[0] & ~header[1])) return c.raise(kGP, 0);
    for (unsigned n = 2; n < 8; ++n) {
      if (header[n]) return c.raise(kGP, 0);
    }
  } else if ((header[0] & ~c.state.xcr0) || header[1] || header[2]) {
    return c.raise(kGP, 0);
  }
  const uint64_t loaded = asked & header[0];
  const bool mxcsrLoaded = compacted ? (loaded & kSse) != 0 : (asked & (kSse | kYmm)) != 0;
  if ((loaded & kX87) && !(fetch(0, 24) && fetch(32, 128))) return false;
  if (mxcsrLoaded && !fetch(24, 8)) return false;
  if ((loaded & kSse) && !fetch(kXmmPiece.offset, kHalf * registers(c))) return false;
  if ((loaded & kYmm) && !fetch(kXsaveYmm, kHalf * registers(c))) return false;
  uint32_t mxcsr;
  std::memcpy(&mxcsr, area + 24, 4);
  if (mxcsrLoaded && (mxcsr & ~kMxcsrWritable)) return c.raise(kGP, 0);

  if (asked & kX87) {
    alignas(64) uint8_t image[512];
    legacyImage(c, i, image);
    for (const Piece& p : kX87Pieces) {
      if (loaded & kX87)
        std::memcpy(image + p.offset, area + p.offset, p.bytes);
      else
        std::memset(image + p.offset, 0, p.bytes);
    }
    constexpr uint16_t kInitialControl = 0x037f;
    if (!(loaded & kX87)) std::memcpy(image, &kInitialControl, 2);
    FpOperands o{c.state, nullptr, image, 0, static_cast<uint8_t>(i->operandSize() == 8 ? 8 : 4), true, 0, 0, 0, 0};
    simd::fxrstor(o);
  }
  if (mxcsrLoaded)
    setGuestMxcsr(c.state, mxcsr);
  else if (compacted && (asked & kSse))
    setGuestMxcsr(c.state, 0x1f80);
  // What is asked for and not in the area takes its initial value, which the zeroed copy holds.
  for (unsigned n = 0; n < registers(c); ++n) {
    if (asked & kSse) std::memcpy(c.state.vec[n].bytes, area + kXmmPiece.offset + kHalf * n, kHalf);
    if (asked & kYmm) std::memcpy(c.state.vec[n].bytes + kHalf, area + kXsaveYmm + kHalf * n, kHalf);
  }
  return true;
}

bool xgetbv(Core& c, const Insn*) {
  if (!(c.state.cr4 & kCr4Osxsave)) return c.raise(kUD);
  const auto index = static_cast<uint32_t>(c.state.gpr[kRcx]);
  uint64_t value;
  if (index == 0)
    value = c.state.xcr0;
  else if (index == 1 && c.features.has(Feature::Xgetbv1))
    value = c.state.xcr0 & inUse(c);
  else
    return c.raise(kGP, 0);
  c.state.gpr[kRax] = static_cast<uint32_t>(value);
  c.state.gpr[kRdx] = value >> 32;
  return true;
}
bool xsetbv(Core& c, const Insn*) {
  if (!(c.state.cr4 & kCr4Osxsave)) return c.raise(kUD);
  if (c.cpl != 0 || static_cast<uint32_t>(c.state.gpr[kRcx]) != 0) return c.raise(kGP, 0);
  return c.setXcr0(static_cast<uint32_t>(c.state.gpr[kRax]) | c.state.gpr[kRdx] << 32);
}

}  // namespace

Handler bindXsave(const Binding& b) {
  switch (b.d.op) {
    case Op::Xsave:
      return plain<xsave<Flavour::Plain>>;
    case Op::Xsaveopt:
      return plain<xsave<Flavour::Optimised>>;
    case Op::Xsavec:
      return plain<xsave<Flavour::Compacted>>;
    case Op::Xsaves:
      return plain<ring0<xsave<Flavour::Compacted>>>;
    case Op::Xrstor:
      return plain<xrstor<false>>;
    case Op::Xrstors:
      return plain<ring0<xrstor<true>>>;
    case Op::Xgetbv:
      return plain<xgetbv>;
    case Op::Xsetbv:
      return ending<xsetbv>;
    default:
      return nullptr;
  }
}

}  // namespace lodge::x86
