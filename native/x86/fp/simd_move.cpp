// Moves, inserts, extracts, conversions between register files that compute nothing, and the MXCSR and FXSAVE instructions.
#include "x86/fp/simd_support.h"

namespace lodge::x86::simd {

namespace {
uint8_t* bytes(void* p) { return static_cast<uint8_t*>(p); }
const uint8_t* bytes(const void* p) { return static_cast<const uint8_t*>(p); }
/** General registers are written whole: 32-bit results zero-extend. */
void storeGpr(FpOperands& o, uint64_t value) { std::memcpy(o.dst, &value, 8); }
uint64_t loadInteger(const void* from, unsigned size) {
  uint64_t value = 0;
  if (size == 8)
    std::memcpy(&value, from, 8);
  else
    std::memcpy(&value, from, 4);
  return value;
}
}  // namespace

int copy16(FpOperands& o) {
  store16(o.dst, load16(o.src));
  return -1;
}
int copy8(FpOperands& o) {
  std::memcpy(o.dst, o.src, 8);
  return -1;
}
int copy4(FpOperands& o) {
  std::memcpy(o.dst, o.src, 4);
  return -1;
}
int copyHigh8(FpOperands& o) {
  std::memcpy(o.dst, bytes(o.src) + 8, 8);
  return -1;
}
int movss(FpOperands& o) {
  if (o.memory)
    store16(o.dst, load4(o.src));
  else
    std::memcpy(o.dst, o.src, 4);
  return -1;
}
int movsd(FpOperands& o) {
  if (o.memory)
    store16(o.dst, load8(o.src));
  else
    std::memcpy(o.dst, o.src, 8);
  return -1;
}
int movlps(FpOperands& o) {  // register form: MOVHLPS
  std::memcpy(o.dst, bytes(o.src) + (o.memory ? 0 : 8), 8);
  return -1;
}
int movhps(FpOperands& o) {  // register form: MOVLHPS
  std::memcpy(bytes(o.dst) + 8, o.src, 8);
  return -1;
}
int movq(FpOperands& o) {
  store16(o.dst, load8(o.src));
  return -1;
}
int movd(FpOperands& o) {
  store16(o.dst, o.operandSize == 8 ? load8(o.src) : load4(o.src));
  return -1;
}
int movdStore(FpOperands& o) {
  storeGpr(o, loadInteger(o.src, o.operandSize));
  return -1;
}
int movdMmx(FpOperands& o) {
  storeMmx(o, o.operandSize == 8 ? load8(o.src) : load4(o.src));
  return -1;
}
int movdMmxStore(FpOperands& o) {
  storeGpr(o, loadInteger(o.src, o.operandSize));
  enterMmx(o.state);
  return -1;
}
int movqMmx(FpOperands& o) {
  storeMmx(o, load8(o.src));
  return -1;
}
int movqMmxStore(FpOperands& o) {
  if (!o.memory) return movqMmx(o);
  std::memcpy(o.dst, o.src, 8);
  enterMmx(o.state);
  return -1;
}
int movq2dq(FpOperands& o) {
  store16(o.dst, load8(o.src));
  enterMmx(o.state);
  return -1;
}
int movdq2q(FpOperands& o) { return movqMmx(o); }
int movnti(FpOperands& o) {
  std::memcpy(o.dst, o.src, 8);
  return -1;
}

int movsldup(FpOperands& o) {
  store16(o.dst, _mm_shuffle_epi32(load16(o.src), 0xa0));
  return -1;
}
int movshdup(FpOperands& o) {
  store16(o.dst, _mm_shuffle_epi32(load16(o.src), 0xf5));
  return -1;
}
int movddup(FpOperands& o) {
  const __m128i low = load8(o.src);
  store16(o.dst, _mm_unpacklo_epi64(low, low));
  return -1;
}

int movmskps(FpOperands& o) {
  storeGpr(o, static_cast<unsigned>(_mm_movemask_ps(_mm_castsi128_ps(load16(o.src)))));
  return -1;
}
int movmskpd(FpOperands& o) {
  storeGpr(o, static_cast<unsigned>(_mm_movemask_pd(_mm_castsi128_pd(load16(o.src)))));
  return -1;
}
int pmovmskb(FpOperands& o) {
  storeGpr(o, static_cast<unsigned>(_mm_movemask_epi8(load16(o.src))));
  return -1;
}
int pmovmskbMmx(FpOperands& o) {
  storeGpr(o, static_cast<unsigned>(_mm_movemask_epi8(load8(o.src))));
  enterMmx(o.state);
  return -1;
}
int maskmovdqu(FpOperands& o) {
  std::memcpy(o.dst, o.state.vec[o.imm & 15].bytes, 16);
  o.storeMask = static_cast<unsigned>(_mm_movemask_epi8(load16(o.src)));
  return -1;
}
int maskmovq(FpOperands& o) {
  std::memcpy(o.dst, o.state.x87.r[o.imm & 7].bytes, 8);
  o.storeMask = static_cast<unsigned>(_mm_movemask_epi8(load8(o.src)));
  enterMmx(o.state);
  return -1;
}

int pinsrb(FpOperands& o) {
  bytes(o.dst)[o.imm & 15] = *bytes(o.src);
  return -1;
}
int pinsrw(FpOperands& o) {
  std::memcpy(bytes(o.dst) + 2 * (o.imm & 7), o.src, 2);
  return -1;
}
int pinsrwMmx(FpOperands& o) {
  std::memcpy(bytes(o.dst) + 2 * (o.imm & 3), o.src, 2);
  storeMmx(o, load8(o.dst));
  return -1;
}
int pinsrd(FpOperands& o) {
  if (o.operandSize == 8)
    std::memcpy(bytes(o.dst) + 8 * (o.imm & 1), o.src, 8);
  else
    std::memcpy(bytes(o.dst) + 4 * (o.imm & 3), o.src, 4);
  return -1;
}
int insertps(FpOperands& o) {
  const unsigned from = o.memory ? 0 : o.imm >> 6 & 3;
  std::memcpy(bytes(o.dst) + 4 * (o.imm >> 4 & 3), bytes(o.src) + 4 * from, 4);
  for (unsigned i = 0; i < 4; ++i)
    if (o.imm >> i & 1) std::memset(bytes(o.dst) + 4 * i, 0, 4);
  return -1;
}
int pextrb(FpOperands& o) {
  storeGpr(o, bytes(o.src)[o.imm & 15]);
  return -1;
}
int pextrw(FpOperands& o) {
  uint16_t value;
  std::memcpy(&value, bytes(o.src) + 2 * (o.imm & 7), 2);
  storeGpr(o, value);
  return -1;
}
int pextrwStore(FpOperands& o) { return pextrw(o); }
int pextrwMmx(FpOperands& o) {
  uint16_t value;
  std::memcpy(&value, bytes(o.src) + 2 * (o.imm & 3), 2);
  storeGpr(o, value);
  enterMmx(o.state);
  return -1;
}
int pextrd(FpOperands& o) {
  const unsigned element = o.imm & (o.operandSize == 8 ? 1 : 3);
  storeGpr(o, loadInteger(bytes(o.src) + o.operandSize * element, o.operandSize));
  return -1;
}
int extractps(FpOperands& o) {
  storeGpr(o, loadInteger(bytes(o.src) + 4 * (o.imm & 3), 4));
  return -1;
}

// SSE4a (AMD APM vol. 4). A field is described by its length in bits 0–5 and its index in bits 8–13, which immediates hold, or
// EXTRQ's source, or the upper half of INSERTQ's.
namespace {
__m128i fieldOf(const FpOperands& o) { return _mm_cvtsi32_si128(static_cast<int>(o.imm & 0x3f3f)); }
}  // namespace
int extrq(FpOperands& o) {
  __m128i d = load16(o.dst);
  LODGE_XMM_OP("extrq", d, load16(o.src));
  store16(o.dst, d);
  return -1;
}
int extrqImm(FpOperands& o) {
  __m128i d = load16(o.dst);
  LODGE_XMM_OP("extrq", d, fieldOf(o));
  store16(o.dst, d);
  return -1;
}
int insertq(FpOperands& o) {
  __m128i d = load16(o.dst);
  LODGE_XMM_OP("insertq", d, load16(o.src));
  store16(o.dst, d);
  return -1;
}
int insertqImm(FpOperands& o) {
  __m128i d = load16(o.dst);
  LODGE_XMM_OP("insertq", d, _mm_unpacklo_epi64(load8(o.src), fieldOf(o)));
  store16(o.dst, d);
  return -1;
}

int emms(FpOperands& o) {
  o.state.x87.status &= static_cast<uint16_t>(~kTop);
  o.state.x87.tagValid = 0;
  return -1;
}
int lfence(FpOperands&) {
  asm volatile("lfence" : : : "memory");
  return -1;
}
int mfence(FpOperands&) {
  asm volatile("mfence" : : : "memory");
  return -1;
}
int sfence(FpOperands&) {
  asm volatile("sfence" : : : "memory");
  return -1;
}

int ldmxcsr(FpOperands& o) {
  uint32_t value;
  std::memcpy(&value, o.src, 4);
  if (value & ~kMxcsrWritable) return kGP;
  setGuestMxcsr(o.state, value);
  return -1;
}
int stmxcsr(FpOperands& o) {
  const uint32_t value = guestMxcsr(o.state);
  std::memcpy(o.dst, &value, 4);
  return -1;
}

namespace {
bool in64BitMode(const State& state) {
  constexpr uint64_t kLma = 1u << 10;
  constexpr uint16_t kLong = 1u << 13;
  return (state.efer & kLma) && (state.seg[kCs].attributes & kLong);
}
template <class T>
void put(void* image, unsigned offset, T value) { std::memcpy(bytes(image) + offset, &value, sizeof value); }
template <class T>
T get(const void* image, unsigned offset) {
  T value;
  std::memcpy(&value, bytes(image) + offset, sizeof value);
  return value;
}
}  // namespace

// SDM vol. 1 §10.5.1: legacy region of an XSAVE area. Bytes beyond the last register of the mode are left alone.
int fxsave(FpOperands& o) {
  X87State& x87 = o.state.x87;
  std::memset(o.dst, 0, 512);
  put(o.dst, 0, x87.control);
  put(o.dst, 2, wholeStatus(x87));
  const unsigned top = x87.status >> 11 & 7;
  put(o.dst, 4, x87.tagValid);
  put(o.dst, 6, x87.opcode);
  if (o.operandSize == 8) {
    put(o.dst, 8, x87.instructionPointer);
    put(o.dst, 16, x87.dataPointer);
  } else {
    put(o.dst, 8, static_cast<uint32_t>(x87.instructionPointer));
    put(o.dst, 12, x87.codeSelector);
    put(o.dst, 16, static_cast<uint32_t>(x87.dataPointer));
    put(o.dst, 20, x87.dataSelector);
  }
  put(o.dst, 24, guestMxcsr(o.state));
  put(o.dst, 28, kMxcsrWritable);
  for (unsigned i = 0; i < 8; ++i) std::memcpy(bytes(o.dst) + 32 + 16 * i, x87.r[(top + i) & 7].bytes, 10);
  const unsigned count = in64BitMode(o.state) ? 16 : 8;
  for (unsigned i = 0; i < count; ++i) std::memcpy(bytes(o.dst) + 160 + 16 * i, o.state.vec[i].bytes, 16);
  o.storeBytes = 160 + 16 * count;
  return -1;
}

int fxrstor(FpOperands& o) {
  const uint32_t mxcsr = get<uint32_t>(o.src, 24);
  if (mxcsr & ~kMxcsrWritable) return kGP;
  X87State& x87 = o.state.x87;
  // FCW bit 6 reads as one, bits 7 and 13-15 as zero, as after FLDCW.
  x87.control = static_cast<uint16_t>((get<uint16_t>(o.src, 0) & 0x1f3f) | 0x40);
  x87.status = x87.lastStatus = get<uint16_t>(o.src, 2);
  x87.tagValid = get<uint8_t>(o.src, 4);
  x87.opcode = get<uint16_t>(o.src, 6) & 0x7ff;
  if (o.operandSize == 8) {
    x87.instructionPointer = get<uint64_t>(o.src, 8);
    x87.dataPointer = get<uint64_t>(o.src, 16);
  } else {
    x87.instructionPointer = get<uint32_t>(o.src, 8);
    x87.codeSelector = get<uint16_t>(o.src, 12);
    x87.dataPointer = get<uint32_t>(o.src, 16);
    x87.dataSelector = get<uint16_t>(o.src, 20);
  }
  const unsigned top = x87.status >> 11 & 7;
  for (unsigned i = 0; i < 8; ++i) std::memcpy(x87.r[(top + i) & 7].bytes, bytes(o.src) + 32 + 16 * i, 10);
  x87ControlChanged(x87);
  setGuestMxcsr(o.state, mxcsr);
  const unsigned count = in64BitMode(o.state) ? 16 : 8;
  for (unsigned i = 0; i < count; ++i) std::memcpy(o.state.vec[i].bytes, bytes(o.src) + 160 + 16 * i, 16);
  return -1;
}

}  // namespace lodge::x86::simd
