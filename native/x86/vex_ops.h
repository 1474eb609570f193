// VEX-encoded vector instructions. The host executes each by itself: a row says how operands are bound, and a small function made
// for it (fp/vex_thunks.h) loads them into registers, runs the very instruction and stores what it left.
//
// What the core checks before it calls one, in this order: protected mode, CR4.OSXSAVE and XCR0 bits 1 and 2, else #UD; CR0.TS → #NM;
// alignment (kFpAligned: to the size of the operand) → #GP(0); source fetched, or destination proved writable.
#pragma once

#include <cstdint>

#include "x86/fp_ops.h"

namespace lodge::x86 {

/** How the core binds operands. reg and rm are ModRM's, v is VEX.vvvv. A vector register that is written is written whole. */
enum class VexForm : uint8_t {
  Rm,         ///< reg = op(rm or memory)
  Rvm,        ///< reg = op(v, rm or memory)
  Rvmr,       ///< reg = op(v, rm or memory, the register in imm8 bits 4–7)
  Mr,         ///< rm or memory = op(reg)
  Mvr,        ///< rm = op(v, reg)
  Vmi,        ///< v = op(rm, imm8)
  Compare,    ///< RFLAGS = op(reg, rm or memory)
  RmGpr,      ///< general register reg = op(rm or memory); 32-bit results zero-extend
  MrGpr,      ///< general register rm, or memory = op(reg)
  RmFromGpr,  ///< reg = op(general register rm, or memory)
  RvmGpr,     ///< reg = op(v, general register rm, or memory)
  Memory,     ///< VLDMXCSR, VSTMXCSR
  None,       ///< VZEROUPPER, VZEROALL
  String,     ///< VPCMPxSTRx
  MaskLoad,   ///< reg = memory where v's elements are negative, else zero
  MaskStore,  ///< memory = reg where v's elements are negative
  MaskStoreDi,  ///< VMASKMOVDQU
  Gather,     ///< reg's elements whose v is negative come from memory at VSIB
};

enum class VexW : uint8_t { Any, W0, W1 };
enum class VexL : uint8_t { Both, L0, L1, Ignored };

/** Attributes beyond FpAttribute's. */
constexpr uint32_t kFpRounds = 1u << 20;     ///< reads MXCSR and may raise SIMD exceptions
constexpr uint32_t kVexReadsDst = 1u << 21;  ///< reg is a source as well
constexpr uint32_t kVexElement8 = 1u << 22;  ///< elements of 8 bytes, else 4
constexpr uint32_t kVexIndex8 = 1u << 23;    ///< gathers: indices of 8 bytes, else 4

/** One row of tables/vex.inc. */
struct VexRow {
  FpMap map;
  uint8_t opcode;
  FpPrefix prefix;
  int8_t extension;          ///< ModRM.reg for groups, else -1
  VexW w;
  VexL l;
  const char* mnemonic;
  VexForm form;
  uint8_t memoryBytes[2];    ///< by VEX.L; 0: operand size
  bool imm8;
  Feature feature[2];        ///< by VEX.L, and Feature::Avx in any case
  uint32_t attributes;       ///< kFpStore, kFpAligned, kFpWritesFlags, kFpNoMemory, kFpNoRegister, and the above

  constexpr bool usesV() const {
    return form == VexForm::Rvm || form == VexForm::Rvmr || form == VexForm::Mvr || form == VexForm::Vmi || form == VexForm::RvmGpr ||
           form == VexForm::MaskLoad || form == VexForm::MaskStore || form == VexForm::Gather;
  }
};
extern const VexRow kVexRows[];
extern const unsigned kVexRowCount;

}  // namespace lodge::x86
