// Behaviour of x87, MMX and SSE instructions, apart from decoding and memory access: the interpreter core fetches the
// source (or leaves room for the result), calls the row's function, stores what it left behind, and raises the fault it
// returns. The host CPU executes the same instruction, so results, NaNs and exception flags are the hardware's.
//
// MXCSR and x87 while run() is on the stack: see HostFpScope.
#pragma once

#include <cstdint>

#include "x86/state.h"

namespace lodge::x86 {

/** What a function sees. `dst` and `src` never alias unless the instruction's operands do. */
struct FpOperands {
  State& state;
  void* dst;            ///< register operand (xmm: 16 bytes; mmx: 8 bytes of x87.r[i]; gpr: 8 bytes) or a 512-byte store buffer
  const void* src;      ///< register operand or a zero-extended copy of the memory operand
  uint32_t imm;         ///< imm8
  uint8_t operandSize;  ///< 2, 4 or 8 (REX.W, 66h) for forms with a general register
  bool memory;          ///< src (or, for stores, dst) is a memory operand
  uint64_t address;     ///< linear/effective address of the memory operand (x87 data pointer, MASKMOVDQU)
  uint32_t flags;       ///< out: arithmetic RFLAGS, when the row says kWritesFlags
};

/** -1: no fault; else the vector (#MF 16, #XM 19, #UD 6, #GP 13 with error code 0). */
using FpFn = int (*)(FpOperands&);

/** How the core binds operands. reg = ModRM.reg, rm = ModRM.rm. */
enum class FpForm : uint8_t {
  XmmRm,    ///< dst = xmm[reg], src = xmm[rm] or memory
  RmXmm,    ///< dst = xmm[rm] or memory, src = xmm[reg]
  MmxRm,    ///< dst = mm[reg], src = mm[rm] or memory
  RmMmx,
  XmmMmx,   ///< dst = xmm[reg], src = mm[rm] or memory (CVTPI2PS, MOVQ2DQ …)
  MmxXmm,   ///< dst = mm[reg], src = xmm[rm] or memory
  XmmGpr,   ///< dst = xmm[reg], src = gpr[rm] or memory (MOVD, CVTSI2SD, PINSR)
  MmxGpr,
  GprXmm,   ///< dst = gpr[reg], src = xmm[rm] or memory (CVTSD2SI, PMOVMSKB, PEXTRW); 32-bit results zero-extend
  GprMmx,
  RmGprXmm, ///< dst = gpr[rm] or memory, src = xmm[reg] (MOVD store, PEXTRB/D/Q, EXTRACTPS)
  RmGprMmx,
  XmmRmImmShift,  ///< group 12–14: dst = src = xmm[rm], imm
  MmxRmImmShift,
  Memory,   ///< memory operand only (LDMXCSR, STMXCSR, FXSAVE, FXRSTOR); direction from kStore
  None,     ///< EMMS …
};

enum FpAttribute : uint32_t {
  kFpStore = 1u << 0,        ///< the memory operand is written (memoryBytes from the buffer)
  kFpReadModify = 1u << 1,   ///< xmm dst keeps bytes the function does not write (always true for registers; informative)
  kFpAligned = 1u << 2,      ///< memory operand of 16 bytes must be aligned, else #GP(0)
  kFpWritesFlags = 1u << 3,
  kFpNoMemory = 1u << 4,     ///< mod != 3 is #UD
  kFpNoRegister = 1u << 5,   ///< mod == 3 is #UD
  kFpMmx = 1u << 6,          ///< touches MMX state: #MF if an x87 exception is pending; sets TOP = 0 and all tags valid
  kFpNoTaskSwitchCheck = 1u << 7,
  kFpRexWOnly = 1u << 8,     ///< the row applies with REX.W = 1
  kFpNoRexW = 1u << 9,       ///< the row applies with REX.W = 0
};

enum class FpPrefix : uint8_t { None, P66, PF3, PF2 };
enum class FpMap : uint8_t { M0F, M0F38, M0F3A };

/** One row of tables/simd.inc. CPUID feature bits gate rows by `feature` (a name from x86/cpuid). */
struct FpRow {
  FpMap map;
  FpPrefix prefix;
  uint8_t opcode;
  int8_t extension;     ///< ModRM.reg for groups, else -1
  const char* mnemonic;
  FpForm form;
  uint16_t memoryBytes; ///< size of the memory operand; 0: operandSize
  bool imm8;
  uint32_t attributes;
  FpFn function;
};

/** All SIMD rows; sorted by (map, opcode, prefix, extension). Built at compile time from tables/simd.inc. */
extern const FpRow kSimdRows[];
extern const unsigned kSimdRowCount;

/** x87: opcode D8h–DFh and the ModRM byte name the row completely. */
struct X87Row {
  uint8_t opcode;       ///< 0xd8 … 0xdf
  uint8_t modrmFirst;   ///< register forms: first and last ModRM byte; memory forms: 0xff and `extension`
  uint8_t modrmLast;
  int8_t extension;     ///< memory forms: ModRM.reg; register forms: -1
  const char* mnemonic;
  uint16_t memoryBytes; ///< 2, 4, 8, 10, 14/28 (FLDENV, by operand size: 0xfffe), 94/108 (FSAVE: 0xffff)
  uint32_t attributes;  ///< kFpStore, kFpWritesFlags; kX87NoWait for FNxxx, kX87Control when pointers are not updated
  FpFn function;        ///< imm = ModRM byte
};
enum X87Attribute : uint32_t { kX87NoWait = 1u << 16, kX87Control = 1u << 17 };
extern const X87Row kX87Rows[];
extern const unsigned kX87RowCount;

/**
 * While a vCPU runs, the host's MXCSR holds the guest's (all exceptions masked when the guest masks them), so SIMD
 * functions need not reload it: sticky flags gather in the host register. Functions of a guest with unmasked SIMD exceptions
 * check the flags after the operation. No other code on the thread may use floating point inside the scope.
 */
class HostFpScope {
 public:
  explicit HostFpScope(State&) noexcept;
  ~HostFpScope();  ///< stores the gathered MXCSR into the State and restores the host's own
 private:
  State& state_;
  uint32_t saved_;
};

}  // namespace lodge::x86
