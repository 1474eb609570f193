// The integer and system instruction set as data, and the decoder that reads it. SDM vol. 2, chapter 2 and appendix A.
//
// A Row states facts about an encoding: what it is called, how its operands are encoded, how wide they are, which flags it
// writes and which it leaves undefined, and the conditions under which it does not exist. The decoder, the interpreter's
// dispatch and the conformance tests read the same rows. x87 and SIMD rows live in fp_ops.h.
#pragma once

#include <cstdint>

#include "x86/fp_ops.h"
#include "x86/state.h"
#include "x86/vex_ops.h"

namespace lodge::x86 {

enum class Op : uint16_t {
#define OP(name) name,
#include "x86/tables/ops.inc"
#undef OP
  kCount
};

/** Operand encoding, named after the SDM's "Op/En" column where it has a name. */
enum class Form : uint8_t {
  Invalid,
  None,    ///< no operands, or fixed ones
  MR,      ///< r/m, reg
  RM,      ///< reg, r/m
  MI,      ///< r/m, imm
  M,       ///< r/m
  M1,      ///< r/m, 1
  MC,      ///< r/m, CL
  RMI,     ///< reg, r/m, imm
  MRI,     ///< r/m, reg, imm8
  MRC,     ///< r/m, reg, CL
  O,       ///< register in the opcode's low three bits
  OI,      ///< the same, imm as wide as the operand
  AI,      ///< accumulator, imm
  AO,      ///< accumulator, opcode register (XCHG)
  I,       ///< imm
  J,       ///< relative target
  FD,      ///< accumulator, moffs
  TD,      ///< moffs, accumulator
  Far,     ///< ptr16:16 or ptr16:32
  II,      ///< imm16, imm8 (ENTER)
  SR,      ///< segment register in ModRM.reg, r/m the other operand
  CR,      ///< control or debug register in ModRM.reg; ModRM.mod is ignored
  Str,     ///< string instruction
  RVM,     ///< reg, VEX.vvvv, r/m
  RMV,     ///< reg, r/m, VEX.vvvv
  VM,      ///< VEX.vvvv, r/m
};

enum class Width : uint8_t {
  None,
  Byte,
  Word,
  Dword,
  V,      ///< 16, 32 or 64 bits by operand size
  D64,    ///< as V, but 64 bits by default in 64-bit mode and no 32-bit form there (stack operations)
  F64,    ///< as D64, and 66h is ignored in 64-bit mode (near branches)
  Y,      ///< 32 bits, or 64 with REX.W (66h has no effect)
  N,      ///< native: 64 bits in 64-bit mode, else 32
  Group,  ///< taken from the opcode's own row (groups)
};

enum RowAttribute : uint32_t {
  kLockable = 1u << 0,
  kInvalid64 = 1u << 1,     ///< #UD in 64-bit mode
  kOnly64 = 1u << 2,        ///< #UD outside 64-bit mode
  kEnds = 1u << 3,          ///< last instruction of a block: changes control flow, mode, translation or interrupt state
  kRing0 = 1u << 4,         ///< #GP(0) when CPL > 0
  kProtected = 1u << 5,     ///< #UD in real and virtual-8086 mode
  kImm8 = 1u << 6,          ///< the immediate is one byte, sign-extended
  kMemoryOnly = 1u << 7,
  kRegisterOnly = 1u << 8,
  kGroup = 1u << 9,         ///< ModRM.reg selects a row; the group's number is in `undefined`
  kRmByte = 1u << 10,       ///< the r/m operand is a byte (MOVZX, MOVSX, CRC32)
  kRmWord = 1u << 11,
  kRmDword = 1u << 12,
  kBranch = 1u << 13,       ///< relative near branch
};

constexpr uint32_t kNone = 0;
/** What logic instructions leave undefined. */
constexpr uint32_t kUndefLogic = kAf;

struct Row {
  Op op = Op::Invalid;
  Form form = Form::Invalid;
  Width width = Width::None;
  uint32_t writes = 0;     ///< arithmetic flags written (undefined ones included)
  uint32_t undefined = 0;  ///< those among them the architecture leaves undefined
  uint32_t attributes = 0;
};

const char* opName(Op op);
/** Moves state components to or from an XSAVE area. */
constexpr bool movesXsaveArea(Op op) {
  return op == Op::Xsave || op == Op::Xsaveopt || op == Op::Xsavec || op == Op::Xsaves || op == Op::Xrstor || op == Op::Xrstors;
}
/** What a processor must have to know an operation of the integer and system set. */
Feature featureOf(Op op);

enum class CodeSize : uint8_t { k16, k32, k64 };

enum class DecodeStatus : uint8_t {
  Ok,
  Truncated,  ///< valid so far, but it continues past the bytes given
  TooLong,    ///< more than 15 bytes: #GP(0)
  Undefined,  ///< #UD
};

constexpr uint8_t kNoRegister = 0xff;
constexpr uint8_t kRipRegister = 0xfe;

/** One decoded instruction. Register numbers include their REX bit. */
struct Decoded {
  Op op = Op::Invalid;
  const Row* row = nullptr;
  const FpRow* simd = nullptr;  ///< set, and op == Op::Simd
  const X87Row* x87 = nullptr;  ///< set, and op == Op::X87
  const VexRow* vex = nullptr;  ///< set, and op == Op::Vex
  CodeSize mode = CodeSize::k64;
  uint8_t length = 0;
  uint8_t opcode = 0;           ///< last opcode byte
  uint8_t operandSize = 4;      ///< of the operation: 1, 2, 4 or 8
  uint8_t rmSize = 4;           ///< of the r/m operand, where it differs (MOVZX)
  uint8_t addressSize = 8;      ///< 2, 4 or 8
  uint8_t rep = 0;              ///< 0, 0xf2 or 0xf3: the last of them
  bool lock = false;
  bool operandSizePrefix = false;
  uint8_t rex = 0;              ///< 0: none
  bool hasModRm = false;
  bool memory = false;          ///< the r/m operand is in memory
  uint8_t modrm = 0;
  uint8_t modrmAt = 0;          ///< where it is in the bytes
  uint8_t reg = 0, rm = 0;
  uint8_t base = kNoRegister, index = kNoRegister, scale = 0;
  uint8_t segment = kDs;        ///< effective segment of the memory operand
  int64_t displacement = 0;
  uint64_t immediate = 0;       ///< sign-extended to 64 bits
  uint64_t immediate2 = 0;      ///< selector of a far pointer; ENTER's level
  bool vexEncoded = false;      ///< by a VEX prefix: vector or BMI instruction
  bool vexL = false, vexW = false;
  uint8_t v = 0;                ///< VEX.vvvv, not inverted
};

/** Pure: the same bytes and mode give the same answer. `available` may exceed 15. */
DecodeStatus decode(const uint8_t* bytes, unsigned available, CodeSize mode, Decoded& out);

/**
 * False: a processor with these features does not know the instruction (#UD). Otherwise the instruction is what such a processor
 * takes it for: BSR and BSF where it has no LZCNT and TZCNT.
 */
bool admit(Decoded& d, const FeatureSet& features);

}  // namespace lodge::x86
