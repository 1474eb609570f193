// Behaviour of x87, MMX and SSE instructions, apart from decoding and memory access: the interpreter core fetches the
// source (or leaves room for the result), calls the row's function, stores what it left behind, and raises the fault it
// returns. The host CPU executes the same instruction, so results, NaNs and exception flags are the hardware's.
//
// MXCSR and x87 while run() is on the stack: see HostFpScope.
//
// What the core checks before it calls a function, in this order:
//   SIMD rows: CR0.EM or (not kFpMmx) CR4.OSFXSR = 0 → #UD; CR0.TS → #NM (unless kFpNoTaskSwitchCheck); kFpMmx and
//     x87.status bit 7 (ES) → #MF; alignment (kFpAligned) → #GP(0); source fetched, or destination proved writable.
//   x87 rows: CR0.EM or CR0.TS → #NM; without kX87NoWait: x87.status bit 7 → #MF; operand as above. Without kX87Control,
//     it also writes x87.instructionPointer, codeSelector and opcode ((D8h..DFh & 7) << 8 | ModRM) and, for memory
//     operands, dataPointer and dataSelector (offsets, not linear addresses).
// Functions may pop the register stack, so a store must not be able to fault after the call: translate first.
// A function that returns a fault has changed nothing but sticky exception flags.
// #XM (19) becomes #UD when CR4.OSXMMEXCPT = 0.
#pragma once

#include <cstdint>

#include "x86/features.h"
#include "x86/state.h"

namespace lodge::x86 {

/** What a function sees. `dst` and `src` never alias unless the instruction's operands do. */
struct FpOperands {
  State& state;
  void* dst;            ///< register operand (xmm: 16 bytes; mmx: x87.r[i]; gpr: 8 bytes, always written whole), or a store
                        ///< buffer of at least 16 bytes (Memory form and x87 environments: 512)
  const void* src;      ///< register operand or the memory operand: exactly the row's bytes are read, alignment is free,
                        ///< so it may point straight into guest memory
  uint32_t imm;         ///< imm8, and a second above it; x87: the ModRM byte
  uint8_t operandSize;  ///< SIMD: 8 with REX.W, else 4 (66h does not count). x87 environments: 2 or 4
  bool memory;          ///< src (or, for stores, dst) is a memory operand
  uint64_t address;     ///< linear address of the memory operand; no function needs it today
  uint32_t flags;       ///< out: arithmetic RFLAGS, when the row says kFpWritesFlags, or kFpFlagsKept;
                        ///< in: arithmetic RFLAGS, when the row says kFpReadsFlags
  uint32_t storeMask;   ///< out, mask-store forms: bit i set → byte i of dst goes to memory
  uint32_t storeBytes;  ///< out, rows with kFpVariableStore: bytes to store from the start of dst (0: none)
};

/** In FpOperands::flags after a call: RFLAGS stay as they are (FCOMI with an unmasked #IA). */
constexpr uint32_t kFpFlagsKept = ~0u;

/** -1: no fault; else the vector (#XM 19, #GP 13 with error code 0). */
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
  RmGpr,    ///< dst = memory, src = gpr[reg] (MOVNTI)
  XmmRmImmShift,  ///< group 12–14: dst = src = xmm[rm], imm
  MmxRmImmShift,
  XmmMaskStore,   ///< MASKMOVDQU: dst = 16-byte buffer (holds the data after the call), src = xmm[rm] (mask), imm = reg;
                  ///< afterwards the core stores the bytes named by storeMask at DS:[rDI] (segment override allowed)
  MmxMaskStore,   ///< MASKMOVQ: likewise, 8 bytes
  Memory,   ///< memory operand only (LDMXCSR, STMXCSR, FXSAVE, FXRSTOR); direction from kFpStore
  None,     ///< EMMS, fences
};

enum FpAttribute : uint32_t {
  kFpStore = 1u << 0,        ///< the memory operand is written (memoryBytes from the buffer)
  kFpAligned = 1u << 2,      ///< memory operand must be aligned to 16 bytes, else #GP(0)
  kFpWritesFlags = 1u << 3,
  kFpNoMemory = 1u << 4,     ///< mod != 3 is #UD
  kFpNoRegister = 1u << 5,   ///< mod == 3 is #UD
  kFpMmx = 1u << 6,          ///< MMX instruction: #MF if an x87 exception is pending, but not in form XmmMmx with a memory
                             ///< operand. TOP and tags are the function's business
  kFpNoTaskSwitchCheck = 1u << 7,  ///< neither CR0.TS, CR0.EM nor CR4.OSFXSR matter (fences, MOVNTI)
  kFpReadsFlags = 1u << 10,  ///< FCMOVcc: FpOperands::flags holds the arithmetic flags
  kFpVariableStore = 1u << 11,  ///< FpOperands::storeBytes says how much to store
  kFpTwoImmediates = 1u << 12,  ///< a second imm8 follows: FpOperands::imm has it in bits 8–15
  kX87NoWait = 1u << 16,     ///< FNxxx: a pending exception does not stop it
  kX87Control = 1u << 17,    ///< instruction and data pointers are not updated
};

enum class FpPrefix : uint8_t { None, P66, PF3, PF2 };
enum class FpMap : uint8_t { M0F, M0F38, M0F3A };

/** The feature a row belongs to. Rows of a feature that the processor model does not have are #UD. */
using FpFeature = Feature;

/** One row of tables/simd.inc. (map, prefix, opcode, extension) is unique. */
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
  FpFeature feature;
  const FpFn* byImmediate;  ///< null, or 256 functions: one specialised for each imm8, which the core may bind instead
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
  uint16_t memoryBytes; ///< 2, 4, 8, 10, kX87Environment or kX87Image
  uint32_t attributes;  ///< kFpStore, kFpVariableStore, kFpWritesFlags, kFpReadsFlags, kX87*
  FpFn function;        ///< imm = ModRM byte; never faults
};
constexpr uint16_t kX87Environment = 0xfffe;  ///< FLDENV/FNSTENV: 14 bytes with operandSize 2, else 28
constexpr uint16_t kX87Image = 0xffff;        ///< FRSTOR/FNSAVE: 94 or 108
/** Sorted by (opcode, memory forms first, extension or modrmFirst). ModRM bytes in no row are #UD. */
extern const X87Row kX87Rows[];
extern const unsigned kX87RowCount;

/**
 * While a vCPU runs, the host's MXCSR holds the guest's with all exceptions masked, so SIMD functions need not reload it:
 * sticky flags gather in the host register. Functions of a guest with unmasked SIMD exceptions check the flags after the
 * operation. The host's x87 control word is the guest's, its register stack empty between functions and no exception
 * pending. Inside, the exception flags of State::mxcsr and x87.status and x87.status' C1 are not whole: flags gather in the
 * host, C1 is x87.lastStatus'. ES and everything else always are. No other code on the thread may use floating point inside
 * the scope, unless it is harmless that it rounds as the guest asked and leaves sticky flags behind. Code that replaces mxcsr
 * or x87 (the functions of rows apart) ends the scope first.
 */
class HostFpScope {
 public:
  explicit HostFpScope(State&) noexcept;
  ~HostFpScope();  ///< stores the gathered MXCSR into the State and restores the host's own
  HostFpScope(const HostFpScope&) = delete;
  HostFpScope& operator=(const HostFpScope&) = delete;

 private:
  State& state_;
  uint32_t saved_;
  uint16_t savedControl_;
};

}  // namespace lodge::x86
