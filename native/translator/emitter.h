// Writes x86-64 instructions. Knows encodings only (SDM vol. 2, chapter 2); what they mean is the caller's business.
#pragma once

#include <cstdint>
#include <cstring>

namespace lodge::translator {

constexpr uint8_t kNoReg = 0xff;

/** A ModRM operand: a register, or [base + index << scale + disp]. */
struct Operand {
  bool memory = false;
  uint8_t reg = 0;
  uint8_t base = kNoReg, index = kNoReg, scale = 0;
  int32_t disp = 0;
};
inline Operand inRegister(uint8_t reg) { return {false, reg, kNoReg, kNoReg, 0, 0}; }
inline Operand at(uint8_t base, int32_t disp) { return {true, 0, base, kNoReg, 0, disp}; }
inline Operand at(uint8_t base, uint8_t index, uint8_t scale, int32_t disp) { return {true, 0, base, index, scale, disp}; }

/** Prefix bits of an encoding. */
enum Prefix : uint8_t { kNoPrefix = 0, k66 = 1, kF2 = 2, kF3 = 4, kLock = 8, kRexW = 16, kRex = 32 /**< at least an empty one */ };
/** Opcode maps. */
enum Map : uint8_t { kMap1, kMap0F, kMap0F38, kMap0F3A };

class Emitter {
 public:
  Emitter(uint8_t* from, uint8_t* end) : at_(from), end_(end) {}
  uint8_t* position() const { return at_; }
  /** True when it ran out of room: what was written is useless. */
  bool full() const { return full_; }
  /** Goes back to what an instruction was emitted at. */
  void rewind(uint8_t* to) { at_ = to; }

  void u8(unsigned value) { put(static_cast<uint8_t>(value)); }
  void u32(uint32_t value) { put(value); }
  void u64(uint64_t value) { put(value); }
  void bytes(const uint8_t* from, unsigned n) {
    while (n-- > 0) u8(*from++);
  }

  /** Everything up to, not including, immediates. */
  void encode(unsigned prefixes, Map map, uint8_t opcode, uint8_t reg, const Operand& rm) {
    if (prefixes & kLock) u8(0xf0);
    if (prefixes & k66) u8(0x66);
    if (prefixes & kF2) u8(0xf2);
    if (prefixes & kF3) u8(0xf3);
    unsigned rex = (prefixes & kRexW ? 8u : 0u) | (reg >> 3 & 1u) << 2;
    if (rm.memory)
      rex |= (rm.index != kNoReg ? (rm.index >> 3 & 1u) << 1 : 0u) | (rm.base != kNoReg ? rm.base >> 3 & 1u : 0u);
    else
      rex |= rm.reg >> 3 & 1u;
    if (rex || (prefixes & kRex)) u8(0x40 | rex);
    if (map != kMap1) u8(0x0f);
    if (map == kMap0F38) u8(0x38);
    if (map == kMap0F3A) u8(0x3a);
    u8(opcode);
    modRm(reg, rm);
  }
  /** The same with a three-byte VEX prefix. `pp`: 1 for 66h, 2 for F3h, 3 for F2h. */
  void encodeVex(unsigned pp, bool w, bool l, Map map, uint8_t opcode, uint8_t reg, uint8_t v, const Operand& rm) {
    unsigned rxb = (reg >> 3 & 1u) << 2;
    if (rm.memory)
      rxb |= (rm.index != kNoReg ? (rm.index >> 3 & 1u) << 1 : 0u) | (rm.base != kNoReg ? rm.base >> 3 & 1u : 0u);
    else
      rxb |= rm.reg >> 3 & 1u;
    u8(0xc4);
    u8((~rxb & 7) << 5 | map);
    u8((w ? 0x80u : 0u) | (~unsigned{v} & 15) << 3 | (l ? 4u : 0u) | pp);
    u8(opcode);
    modRm(reg, rm);
  }
  /** Common shapes of the one-byte map. */
  void op64(uint8_t opcode, uint8_t reg, const Operand& rm) { encode(kRexW, kMap1, opcode, reg, rm); }
  void op32(uint8_t opcode, uint8_t reg, const Operand& rm) { encode(0, kMap1, opcode, reg, rm); }
  void load64(uint8_t reg, const Operand& from) { op64(0x8b, reg, from); }
  void store64(const Operand& to, uint8_t reg) { op64(0x89, reg, to); }
  void move64(uint8_t to, uint8_t from) { op64(0x8b, to, inRegister(from)); }
  void lea64(uint8_t to, const Operand& m) { op64(0x8d, to, m); }
  void lea32(uint8_t to, const Operand& m) { op32(0x8d, to, m); }
  /** ALU operation (0 ADD … 7 CMP) with a sign-extended immediate. */
  void alu64(uint8_t operation, const Operand& rm, int32_t imm) { alu(kRexW, operation, rm, imm); }
  void alu32(uint8_t operation, const Operand& rm, int32_t imm) { alu(0, operation, rm, imm); }
  /** Fills up to a multiple of 16 with no-operations. */
  void align16() {
    static constexpr uint8_t kNop[9] = {0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0};
    static constexpr uint8_t kShort[9][8] = {{}, {0x90}, {0x66, 0x90}, {0x0f, 0x1f, 0}, {0x0f, 0x1f, 0x40, 0}, {0x0f, 0x1f, 0x44, 0, 0},
                                             {0x66, 0x0f, 0x1f, 0x44, 0, 0}, {0x0f, 0x1f, 0x80, 0, 0, 0, 0}, {0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0}};
    unsigned n = -reinterpret_cast<uintptr_t>(at_) & 15;
    if (n >= 9) bytes(kNop, 9), n -= 9;
    bytes(kShort[n], n);
  }
  void moveImm32(uint8_t to, uint32_t value) {
    if (to >= 8) u8(0x41);
    u8(0xb8 | (to & 7));
    u32(value);
  }
  void moveImm64(uint8_t to, uint64_t value) {
    if (value == static_cast<uint32_t>(value)) return moveImm32(to, static_cast<uint32_t>(value));
    u8(0x48 | to >> 3);
    u8(0xb8 | (to & 7));
    u64(value);
  }

  /** The returned address is that of the 32-bit distance. */
  uint8_t* jump() {
    u8(0xe9);
    return distance();
  }
  uint8_t* jumpIf(unsigned condition) {
    u8(0x0f);
    u8(0x80 | condition);
    return distance();
  }
  void jumpTo(const uint8_t* target) { aim(jump(), target); }
  void jumpIfTo(unsigned condition, const uint8_t* target) { aim(jumpIf(condition), target); }
  void callTo(const uint8_t* target) {
    u8(0xe8);
    aim(distance(), target);
  }
  void land(uint8_t* distanceAt) { aim(distanceAt, at_); }
  void aim(uint8_t* distanceAt, const uint8_t* target) {
    if (full_) return;
    const auto d = static_cast<int32_t>(target - (distanceAt + 4));
    std::memcpy(distanceAt, &d, 4);
  }

 private:
  template <class T>
  void put(T value) {
    if (at_ + sizeof(T) > end_) {
      full_ = true;
      return;
    }
    std::memcpy(at_, &value, sizeof(T));
    at_ += sizeof(T);
  }
  uint8_t* distance() {
    uint8_t* const where = at_;
    u32(0);
    return where;
  }
  void alu(unsigned prefixes, uint8_t operation, const Operand& rm, int32_t imm) {
    if (imm == static_cast<int8_t>(imm)) {
      encode(prefixes, kMap1, 0x83, operation, rm);
      u8(static_cast<uint8_t>(imm));
    } else {
      encode(prefixes, kMap1, 0x81, operation, rm);
      u32(static_cast<uint32_t>(imm));
    }
  }
  void modRm(uint8_t reg, const Operand& rm) {
    const unsigned r = (reg & 7u) << 3;
    if (!rm.memory) {
      u8(0xc0 | r | (rm.reg & 7));
      return;
    }
    const bool small = rm.disp == static_cast<int8_t>(rm.disp);
    if (rm.base == kNoReg) {
      // Without a base there is always a SIB and a 32-bit displacement; index 4 is none.
      u8(r | 4);
      u8(static_cast<unsigned>(rm.scale) << 6 | (rm.index == kNoReg ? 4u : rm.index & 7u) << 3 | 5);
      u32(static_cast<uint32_t>(rm.disp));
      return;
    }
    const unsigned base = rm.base & 7u;
    const unsigned mod = rm.disp == 0 && base != 5 ? 0 : small ? 0x40 : 0x80;
    if (rm.index != kNoReg || base == 4) {
      u8(mod | r | 4);
      u8(static_cast<unsigned>(rm.scale) << 6 | (rm.index == kNoReg ? 4u : rm.index & 7u) << 3 | base);
    } else {
      u8(mod | r | base);
    }
    if (mod == 0x40) u8(static_cast<uint8_t>(rm.disp));
    if (mod == 0x80) u32(static_cast<uint32_t>(rm.disp));
  }

  uint8_t *at_, *end_;
  bool full_ = false;
};

}  // namespace lodge::translator
