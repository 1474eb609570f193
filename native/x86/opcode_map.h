// The opcode maps: which row of the tables an encoding names. SDM vol. 2, appendix A.
#pragma once

#include "x86/instruction.h"

namespace lodge::x86::opcode_map {

// What the decoder makes of one opcode by mode, prefix or table.
constexpr Row kMovsxdRow{Op::Movsxd, Form::RM, Width::V, kNone, kNone, kRmDword};
constexpr Row kTzcntRow{Op::Tzcnt, Form::RM, Width::V, kArith, kOf | kSf | kAf | kPf, kNone};
constexpr Row kLzcntRow{Op::Lzcnt, Form::RM, Width::V, kArith, kOf | kSf | kAf | kPf, kNone};
constexpr Row kSimdRow{Op::Simd, Form::M, Width::V, kNone, kNone, kNone};
constexpr Row kVexRow{Op::Vex, Form::M, Width::Y, kNone, kNone, kNone};
constexpr Row kPauseRow{Op::Pause, Form::None, Width::None, kNone, kNone, kNone};
constexpr Row kNopRow{Op::Nop, Form::None, Width::None, kNone, kNone, kNone};

/** A row whose op is Invalid: no instruction. */
const Row& oneByte(uint8_t opcode);
const Row& twoByte(uint8_t opcode);
/** Groups as tables/groups.inc numbers them, those that a prefix or the kind of operand makes among them. */
const Row& groupRow(unsigned group, unsigned reg);

// The following give nullptr where there is no such row.

/** Group 7 with a register operand, where ModRM as a whole may name an instruction. */
const Row* group7Register(uint8_t modrm);
/** 0F 38, of the integer set. `rep`: 0, F2h or F3h. */
const Row* map38(uint8_t opcode, uint8_t rep, bool operandSizePrefix);
const Row* vexInteger(FpMap map, uint8_t opcode, FpPrefix prefix, uint8_t modrm);
/** Any row of this opcode. */
const FpRow* anySimd(FpMap map, uint8_t opcode);
const FpRow* simd(FpMap map, uint8_t opcode, FpPrefix prefix, uint8_t modrm);
const VexRow* vex(FpMap map, uint8_t opcode, FpPrefix prefix, uint8_t modrm, bool w, bool l);
const X87Row* x87(uint8_t opcode, uint8_t modrm);

}  // namespace lodge::x86::opcode_map
