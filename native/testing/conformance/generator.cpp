#include "testing/conformance/generator.h"

#include <cstring>
#include <initializer_list>

namespace lodge::x86::conformance {
namespace {

constexpr uint64_t kMiddle = kDataAt + 4096;

/** Bytes of the memory operand, roughly: enough to aim at page ends. */
unsigned operandBytes(const Encoding& e, const Case& c) {
  const Decoded& d = c.decoded;
  if (e.simd) return e.simd->memoryBytes ? e.simd->memoryBytes : d.operandSize;
  if (e.vex) return e.vex->memoryBytes[d.vexL] ? e.vex->memoryBytes[d.vexL] : d.operandSize;
  if (e.x87) return e.x87->memoryBytes < 16 ? e.x87->memoryBytes : 28;
  if (e.op == Op::Cmpxchg8b) return d.operandSize * 2u;
  return d.rmSize ? d.rmSize : 4;
}
bool aligned(const Encoding& e) {
  return (e.simd && (e.simd->attributes & kFpAligned)) || (e.vex && (e.vex->attributes & kFpAligned)) || e.op == Op::Cmpxchg8b;
}
bool isString(const Case& c) { return c.decoded.row && c.decoded.row->form == Form::Str; }

}  // namespace

uint64_t Generator::integer() {
  static constexpr uint64_t kSpecial[] = {
      0, 1, ~0ull, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, 1ull << 63};
  switch (below(4)) {
    case 0:
      return kSpecial[below(sizeof kSpecial / 8)];
    case 1:
      return below(256);
    default:
      return bits();
  }
}

bool Generator::redecode(Case& c) { return decode(c.bytes, 15, c.size, c.decoded) == DecodeStatus::Ok; }

bool Generator::encode(const Encoding& e, CodeSize size, Case& c) {
  const bool wide = size == CodeSize::k64;
  uint8_t* at = c.bytes;
  const auto put = [&](unsigned b) { *at++ = static_cast<uint8_t>(b); };
  if (oneIn(16)) {
    static constexpr uint8_t kSegments[] = {0x26, 0x2e, 0x36, 0x3e, 0x65};
    put(kSegments[below(5)]);
  }
  if (oneIn(24)) put(0x67);
  const bool vex = e.vex || e.vexInteger;
  const bool lock = (e.attributes & kLockable) ? oneIn(4) : oneIn(200);
  if (lock && !vex) put(0xf0);
  if (!vex) {
    const bool mayHave66 = e.prefix == 0 && !e.simd && !(wide && (e.attributes & kBranch));
    if (e.prefix) put(e.prefix);
    else if (mayHave66 && oneIn(5)) put(0x66);
    if ((e.map == 0 && e.prefix == 0) && oneIn(16)) put(below(2) ? 0xf2 : 0xf3);
    if (wide && oneIn(2)) put(0x40 | below(16));
  }
  const auto opcode = static_cast<uint8_t>(e.opcode + below(e.opcodes));
  const bool memory = !(e.attributes & kRegisterOnly) && !(e.simd && (e.simd->attributes & kFpNoMemory)) &&
                      !(e.vex && (e.vex->attributes & kFpNoMemory)) &&
                      ((e.attributes & kMemoryOnly) || (e.simd && ((e.simd->attributes & kFpNoRegister) || e.simd->form == FpForm::Memory)) ||
                       (e.vex && (e.vex->attributes & kFpNoRegister)) || oneIn(2));
  if (vex) {
    const bool l = e.vex && (e.vex->l == VexL::L1 || (e.vex->l != VexL::L0 && oneIn(2)));
    const bool w = e.vex && e.vex->w != VexW::Any ? e.vex->w == VexW::W1 : oneIn(3);
    const bool usesV = e.vex ? e.vex->usesV() : e.op != Op::Rorx;
    const unsigned v = usesV || oneIn(64) ? below(wide ? 16 : 8) : 0;
    const unsigned pp = e.prefix == 0x66 ? 1 : e.prefix == 0xf3 ? 2 : e.prefix == 0xf2 ? 3 : 0;
    const unsigned extended = wide ? below(8) : 0;
    if (e.map == 1 && !w && !(extended & 3) && oneIn(2)) {
      put(0xc5);
      put((extended & 4 ? 0 : 0x80) | (~v & 15) << 3 | (l ? 4 : 0) | pp);
    } else {
      put(0xc4);
      put((~extended & 7) << 5 | e.map);
      put((w ? 0x80 : 0) | (~v & 15) << 3 | (l ? 4 : 0) | pp);
    }
  } else {
    if (e.map >= 1) put(0x0f);
    if (e.map == 2) put(0x38);
    if (e.map == 3) put(0x3a);
  }
  put(opcode);
  if (e.modrm) {
    unsigned modrm = static_cast<unsigned>(bits() & 0xff);
    if (e.modrmFirst >= 0) {
      modrm = static_cast<unsigned>(e.modrmFirst) + below(static_cast<unsigned>(e.modrmLast - e.modrmFirst) + 1);
    } else {
      modrm = memory || (e.x87 && e.extension >= 0) ? (modrm & 0x3f) | below(3) << 6 : modrm | 0xc0;
      if (e.extension >= 0) modrm = (modrm & ~0x38u) | static_cast<unsigned>(e.extension) << 3;
      if (e.vex && e.vex->form == VexForm::Gather) modrm = (modrm & ~7u) | 4;
    }
    put(modrm);
  }
  while (at < c.bytes + 15) put(static_cast<unsigned>(bits() & 0xff));
  c.size = size;
  if (decode(c.bytes, 15, size, c.decoded) != DecodeStatus::Ok) return false;
  const Decoded& d = c.decoded;
  if (d.simd != e.simd || d.vex != e.vex || d.x87 != e.x87 || (d.op != e.op && !e.simd && !e.vex && !e.x87)) return false;
  c.length = d.length;
  return true;
}

void Generator::registers(Case& c) {
  std::memset(&c.before, 0, sizeof c.before);
  static oracle::Context x;
  const bool unmasked = oneIn(4);
  oracle::randomise(random_, x, unmasked, unmasked);
  std::memcpy(c.before.xsave, x.fx, 512);
  c.before.xsave[512] = 7;
  for (unsigned i = 0; i < 16; ++i) random_.vector(c.before.xsave + 576 + 16 * i);
  const bool wide = c.size == CodeSize::k64;
  for (unsigned r = 0; r < 16; ++r) c.before.gpr[r] = wide ? integer() : r < 8 ? integer() & 0xffffffff : 0;
  c.before.flags = 0x202 | (bits() & (kArith | kDf));
  if (!isString(c) && !oneIn(8)) c.before.flags &= ~uint64_t{kDf};
}

/** Where the memory operand shall lie. */
uint64_t Generator::target(const Encoding& e, const Case& c) {
  const unsigned bytes = operandBytes(e, c);
  uint64_t at;
  switch (below(24)) {
    case 0:
      return kDataAt + 4096 - below(bytes + 1);  // from one writable page into the next
    case 1:
      return kDataAt + kWritableBytes - below(bytes + 1);  // into the page that is only readable
    case 2:
      return kDataAt + kWritableBytes + below(4096 - 64);
    case 3:
      return kDataAt + kReadableBytes - below(bytes + 1);  // into nothing
    case 4:
      return kDataAt - below(bytes + 1);
    case 5:
      if (c.size == CodeSize::k64 && c.decoded.addressSize == 8) return oneIn(2) ? 0x800000000000 + below(bytes + 2) : (bits() & ~(1ull << 63)) | 1ull << 62;
      return kDataAt + kReadableBytes + below(4096);
    default:
      at = kDataAt + 64 + below(kWritableBytes - 1024);
      if (aligned(e) && !oneIn(6)) at &= ~uint64_t{31};
      return at;
  }
}

/** Gives the registers and displacement of the memory operand values that lead to the target. */
bool Generator::address(const Encoding& e, Case& c) {
  Decoded& d = c.decoded;
  const bool wide = c.size == CodeSize::k64;
  if (d.segment == kFs) return false;
  const bool absolute = d.row && (d.row->form == Form::FD || d.row->form == Form::TD);
  if (!d.memory) return true;
  if (d.addressSize == 2) return d.op == Op::Lea || d.op == Op::Nop;  // below what user mode may map
  const uint64_t mask = d.addressSize == 8 ? ~0ull : 0xffffffff;
  uint64_t want = target(e, c);
  const auto setReg = [&](unsigned r, uint64_t value) { c.before.gpr[r] = wide ? value & mask : value & 0xffffffff; };
  // The displacement's place in the bytes: immediates follow it.
  unsigned immediates = 0;
  if (!absolute) {
    const bool sib = (d.modrm & 7) == 4;
    const unsigned mod = d.modrm >> 6;
    const bool noBase = mod == 0 && ((d.modrm & 7) == 5 || (sib && (c.bytes[d.modrmAt + 1] & 7) == 5));
    const unsigned displacement = mod == 1 ? 1 : mod == 2 || noBase ? 4 : 0;
    immediates = d.length - (d.modrmAt + 1u + (sib ? 1 : 0) + displacement);
  }
  const auto patch = [&](uint64_t value) {
    const auto v = static_cast<uint32_t>(value);
    std::memcpy(c.bytes + d.length - immediates - 4, &v, 4);
    return redecode(c) && c.decoded.length == d.length;
  };
  if (absolute) {
    std::memcpy(c.bytes + d.length - d.addressSize, &want, d.addressSize);
    operandAt_ = want & mask;
    return redecode(c);
  }
  const bool gather = e.vex && e.vex->form == VexForm::Gather;
  if (gather) {
    // Indices of a few hundred bytes, now and then one that leads astray.
    uint8_t* const low = c.before.xsave + 160 + 16 * d.index;
    for (unsigned n = 0; n < 8; ++n) {
      const bool narrow = !(e.vex->attributes & kVexIndex8);
      uint8_t* const half = n < 4 ? low : c.before.xsave + 576 + 16 * d.index - 16;
      const int64_t value = oneIn(24) ? static_cast<int64_t>(bits()) : static_cast<int64_t>(below(64)) - 32;
      std::memcpy(half + 4 * n, &value, 4);
      const auto extended = static_cast<int32_t>(value < 0 ? -1 : 0);
      if (!narrow && (n & 1)) std::memcpy(half + 4 * n, oneIn(24) ? static_cast<const void*>(&value) : &extended, 4);
    }
  }
  const unsigned base = d.base, index = gather ? unsigned{kNoRegister} : d.index;
  if (base == kRipRegister) {
    operandAt_ = want;
    return want < 0x80000000 && patch(want - (c.at + d.length));
  }
  const auto displacement = static_cast<uint64_t>(d.displacement);
  if (base == kNoRegister && index == kNoRegister) {
    operandAt_ = want;
    return want < 0x80000000 && patch(want);
  }
  if (index != kNoRegister && index == base) return e.op == Op::Lea;
  uint64_t scaled = 0;
  if (index != kNoRegister) {
    setReg(index, oneIn(8) ? bits() : below(256));
    scaled = c.before.gpr[index] << d.scale;
  }
  if (base == kNoRegister) {
    operandAt_ = want;
    return ((want - scaled) >> 31) == 0 && patch(want - scaled);
  }
  setReg(base, want - scaled - displacement);
  operandAt_ = want & mask;
  return true;
}

/** What single instructions need beyond that. */
bool Generator::special(const Encoding& e, Case& c) {
  Decoded& d = c.decoded;
  const bool wide = c.size == CodeSize::k64;
  auto& gpr = c.before.gpr;
  const auto setReg = [&](unsigned r, uint64_t value) { gpr[r] = wide ? value : value & 0xffffffff; };
  const uint64_t end = c.at + d.length;
  // 66h on MOVSXD: AMD's processors read 32 bits all the same.
  if (e.op == Op::Movsxd && d.operandSizePrefix && d.memory) return false;
  // REP decides LOOPcc's condition on some processors.
  if (e.op == Op::Loop && d.rep) return false;
  // Vendors differ: 66h on a near branch in 64-bit code (AMD: 16 bits, Intel: nothing), REX.W with a far pointer (Intel: 64 bits).
  if (wide && d.row && d.row->width == Width::F64 && d.operandSizePrefix) return false;
  if (wide && (d.rex & 8) && (e.op == Op::CallFar || e.op == Op::JmpFar || e.op == Op::Lds)) return false;
  const auto landing = [&] { return end + (oneIn(2) ? kTakenDistance : 0); };
  const auto selector = [&]() -> uint64_t {
    static constexpr uint16_t kSelectors[] = {0, kUserData, kUserCode32, kUserCode64, 0x08, 0x10, 3, 0xfff8, 0xffff};
    return kSelectors[below(9)];
  };
  switch (e.op) {
    case Op::Jcc: case Op::Jmp: case Op::Call: case Op::Loop: case Op::Jcxz:
      if (d.row->form == Form::J) {
        const uint64_t distance = oneIn(2) ? kTakenDistance : 0;
        const unsigned size = d.row->attributes & kImm8 ? 1 : d.operandSize == 2 ? 2 : 4;
        if (size == 2) return false;  // the target would be below 64 KiB
        std::memcpy(c.bytes + d.length - size, &distance, size);
        if (!redecode(c)) return false;
        if (e.op == Op::Loop || e.op == Op::Jcxz) setReg(kRcx, below(3));
      } else {
        if (d.operandSize == 2 || (d.rep && !wide)) return false;
        if (!d.memory) setReg(d.rm, landing());
      }
      break;
    case Op::Ret: case Op::RetFar: case Op::Iret:
      if (d.operandSize == 2) return false;
      break;
    case Op::JmpFar: case Op::CallFar:
      if (d.operandSize == 2) return false;
      if (d.row->form == Form::Far) {
        const auto target = static_cast<uint32_t>(landing());
        const uint16_t cs = oneIn(8) ? static_cast<uint16_t>(selector()) : kUserCode32;
        if (cs == kUserCode64) return false;
        std::memcpy(c.bytes + d.length - 6, &target, 4);
        std::memcpy(c.bytes + d.length - 2, &cs, 2);
        return redecode(c);
      }
      break;
    case Op::IntN:
      if ((d.immediate & 0xff) == 0x80) return false;
      break;
    case Op::Bt: case Op::Bts: case Op::Btr: case Op::Btc:
      if (d.memory && d.row->form == Form::MR && d.reg != d.base && d.reg != d.index) setReg(d.reg, uint64_t{below(2048)} - 1024);
      break;
    case Op::MovSegTo: case Op::PopSeg: case Op::Lds:
      if (e.op == Op::MovSegTo && ((d.reg & 7) == kFs || (d.reg & 7) == kSs)) return false;  // FS: thread pointer; SS: host's state
      if ((e.op == Op::PopSeg && (d.opcode == 0xa1 || d.opcode == 0x17)) || (e.op == Op::Lds && (d.opcode == 0xb4 || d.opcode == 0xb2))) return false;
      if (e.op == Op::MovSegTo && !d.memory) setReg(d.rm, selector());
      break;
    case Op::Lar: case Op::Lsl: case Op::Verr: case Op::Verw: case Op::Arpl:
      if (!d.memory) setReg(d.rm, selector());
      break;
    case Op::Popf:
      break;
    case Op::Cmpxchg8b:
      if (oneIn(2)) setReg(kRax, 0), setReg(kRdx, 0);
      break;
    case Op::Enter:
      if ((d.immediate2 & 31) > 6 || d.immediate > 1024) return false;
      setReg(kRbp, kMiddle + 512 + below(512) * 8);
      break;
    case Op::Leave:
      setReg(kRbp, kMiddle + below(512) * 8);
      break;
    case Op::Xlat:
      if (d.addressSize == 2) return false;
      setReg(kRbx, target(e, c));
      break;
    case Op::Div: case Op::Idiv:
      if (oneIn(2)) setReg(kRdx, oneIn(2) ? 0 : below(4));
      break;
    default:
      break;
  }
  if (d.segment == kFs && (d.memory || isString(c) || e.op == Op::Xlat)) return false;
  if (isString(c)) {
    if (d.addressSize == 2) return false;
    setReg(kRsi, oneIn(6) ? target(e, c) : kMiddle - 256 + below(512));
    setReg(kRdi, oneIn(6) ? target(e, c) : oneIn(4) ? gpr[kRsi] + below(32) : kMiddle - 256 + below(512));
    setReg(kRcx, oneIn(4) ? below(600) : below(20));
  }
  const bool maskStore = (e.simd && (e.simd->form == FpForm::XmmMaskStore || e.simd->form == FpForm::MmxMaskStore)) ||
                         (e.vex && e.vex->form == VexForm::MaskStoreDi);
  if (maskStore) {
    if (d.addressSize == 2) return false;
    setReg(kRdi, target(e, c));
  }
  return true;
}

bool Generator::make(const Encoding& e, CodeSize size, Case& c) {
  c = Case{};
  c.at = kCodePage + 64 + below(3800);
  operandAt_ = 0;
  if (!encode(e, size, c)) return false;
  registers(c);
  const bool wide = size == CodeSize::k64;
  // The stack is in the data; now and then at its ends.
  uint64_t stack = kMiddle - 512 + below(128) * 8;
  // What is not planted there could set TF.
  if (oneIn(16) && e.op != Op::Popf && e.op != Op::Iret && e.op != Op::RetFar) stack = target(e, c);
  c.before.gpr[kRsp] = wide ? stack : stack & 0xffffffff;
  if (!special(e, c)) return false;
  if (!address(e, c)) return false;
  c.length = c.decoded.length;
  // These need contents that were planted for them.
  const bool planted = e.op == Op::JmpFar || e.op == Op::CallFar || e.name == "ldmxcsr" || e.name == "vldmxcsr" || e.name == "fxrstor";
  const bool readOnly = operandAt_ + 512 > kDataAt + kWritableBytes && operandAt_ < kDataAt + kReadableBytes;
  return !(planted && c.decoded.memory && readOnly);
}

void Generator::fill(uint8_t* data) {
  for (unsigned at = 0; at < kReadableBytes; at += 16) random_.vector(data + at);
}

void Generator::plant(const Encoding& e, const Case& c, uint8_t* data) {
  const Decoded& d = c.decoded;
  const auto inside = [](uint64_t at, unsigned bytes) { return at >= kDataAt && at + bytes <= kDataAt + kReadableBytes; };
  const auto landing = [&] { return c.at + c.length + (oneIn(2) ? kTakenDistance : 0); };
  const auto put = [&](uint64_t at, uint64_t value, unsigned bytes) {
    if (inside(at, bytes)) std::memcpy(data + (at - kDataAt), &value, bytes);
  };
  const bool wide = c.size == CodeSize::k64;
  const unsigned word = wide ? 8 : 4;
  const uint64_t sp = c.before.gpr[kRsp];
  const uint16_t cs = wide ? kUserCode64 : kUserCode32;
  switch (e.op) {
    case Op::Ret:
      put(sp, landing(), word);
      return;
    case Op::RetFar:
      put(sp, landing(), d.operandSize);
      put(sp + d.operandSize, cs, d.operandSize);
      return;
    case Op::Iret: {
      const unsigned s = d.operandSize;
      put(sp, landing(), s);
      put(sp + s, cs, s);
      put(sp + 2 * s, 0x202 | (bits() & (kArith | kId)), s);
      put(sp + 3 * s, kMiddle, s);
      put(sp + 4 * s, kUserData, s);
      return;
    }
    case Op::Popf: {
      // Neither single-stepping nor alignment checks, which the host's own code would suffer from.
      uint64_t value = bits() & ~uint64_t{kTf | kAc | kNt};
      put(sp, value, word);
      return;
    }
    case Op::PopSeg:
      put(sp, oneIn(2) ? kUserData : oneIn(2) ? 0 : 0x10, word);
      return;
    case Op::Jmp: case Op::Call:
      if (d.memory) put(operandAt_, landing(), word);
      return;
    case Op::JmpFar: case Op::CallFar:
      if (d.memory) {
        put(operandAt_, landing(), d.operandSize);
        put(operandAt_ + d.operandSize, oneIn(8) ? 0 : cs, 2);
      }
      return;
    case Op::Lds:
      put(operandAt_ + d.operandSize, oneIn(4) ? 0x10 : oneIn(2) ? 0 : kUserData, 2);
      return;
    case Op::MovSegTo: case Op::Lar: case Op::Lsl: case Op::Verr: case Op::Verw:
      if (d.memory) put(operandAt_, oneIn(2) ? kUserData : oneIn(2) ? 0x10 : 0, 2);
      return;
    case Op::Cmpxchg8b:
      if (oneIn(2)) put(operandAt_, c.before.gpr[kRax], d.operandSize), put(operandAt_ + d.operandSize, c.before.gpr[kRdx], d.operandSize);
      return;
    case Op::Cmps: case Op::Scas:
      if (oneIn(2) && inside(c.before.gpr[kRdi] - 256, 512)) {
        std::memset(data + (c.before.gpr[kRdi] - 256 - kDataAt), static_cast<int>(c.before.gpr[kRax] & 0xff), 512);
        if (e.op == Op::Cmps && inside(c.before.gpr[kRsi] - 256, 512))
          std::memset(data + (c.before.gpr[kRsi] - 256 - kDataAt), static_cast<int>(c.before.gpr[kRax] & 0xff), 512);
      }
      return;
    default:
      break;
  }
  if (!d.memory || !inside(operandAt_, 512)) return;
  uint8_t* const at = data + (operandAt_ - kDataAt);
  if (e.x87) {
    if (e.x87->memoryBytes == 10 && e.x87->opcode == 0xdb) {
      random_.float80(at);
    } else if (e.x87->memoryBytes > 16) {
      static oracle::Context x;
      oracle::randomise(random_, x, oneIn(2), oneIn(2));
      for (unsigned n = 0; n < 28; ++n) at[n] = static_cast<uint8_t>(bits());
      std::memcpy(at, x.fx, 2);
      std::memcpy(at + 4, x.fx + 2, 2);
      for (unsigned n = 0; n < 8; ++n) random_.float80(at + 28 + 10 * n);
    } else if (e.x87->memoryBytes == 4) {
      const uint32_t v = oneIn(2) ? random_.float32() : static_cast<uint32_t>(integer());
      std::memcpy(at, &v, 4);
    } else {
      const uint64_t v = oneIn(2) ? random_.float64() : integer();
      std::memcpy(at, &v, 8);
    }
    return;
  }
  if (e.name == "fxrstor") {
    static oracle::Context x;
    oracle::randomise(random_, x, oneIn(2), oneIn(2));
    std::memcpy(at, x.fx, 512);
    std::memset(at + 6, 0, 18);
    if (oneIn(8)) at[26] |= static_cast<uint8_t>(1u << (2 + below(6)));
    return;
  }
  if (e.name == "ldmxcsr" || e.name == "vldmxcsr") {
    const auto v = static_cast<uint32_t>(oneIn(6) ? bits() & ~0x20000u : bits() & 0xffff);
    std::memcpy(at, &v, 4);
    return;
  }
  if (e.simd || e.vex) {
    random_.vector(at);
    random_.vector(at + 16);
  }
}

}  // namespace lodge::x86::conformance
