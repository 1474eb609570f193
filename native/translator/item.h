// One guest instruction as the translator sees it: what it reads, writes and may fault on. Filled from the instruction
// tables' operand descriptions, so that most instructions can be emitted as they are with other register numbers.
#pragma once

#include <cstdint>
#include <vector>

#include "translator/emitter.h"
#include "x86/instruction.h"

namespace lodge::translator {

using x86::Decoded;

enum class Kind : uint8_t {
  Same,      ///< the guest's own opcode with registers renamed and its memory operand replaced
  Nop,       ///< also PAUSE
  Lea,
  Push,      ///< of a register (rm), an immediate or memory
  Pop,       ///< into a register
  Leave,
  ReadSegment,  ///< MOV of a selector into a register
  Divide,    ///< DIV and IDIV of 32 or 64 bits
  Jcc,
  Jmp,
  Call,
  JmpFar,    ///< indirect near jump (the operand is rm)
  CallFar,   ///< indirect near call
  Ret,
  FlagBit,      ///< CLI, CLD, STD
  Sti,
  SwapGs,
  UserDoor,     ///< STAC, CLAC
  PushFlags,
  BitString,    ///< BT and its kin in memory, with the bit in a register; `access` is not present
  String,    ///< MOVS and STOS, alone or repeated; LODS alone
  LoadControl,  ///< FLDCW
  Step,      ///< the interpreter executes it, and translated code goes on
  StepEnd,   ///< the interpreter executes it, and nothing that was known before holds after it
};

/** What a register field of ModRM (or of the opcode) names. */
enum class Bank : uint8_t { None, Gpr, Vector };

struct Address {
  uint8_t base = x86::kNoRegister, index = x86::kNoRegister, scale = 0;
  uint8_t segment = 0;   ///< FS or GS when its base counts, else 0
  uint8_t bytes = 8;     ///< width of the computation
  bool operator==(const Address&) const = default;
};

struct Access {
  bool present = false, write = false;
  uint8_t aligned = 0;   ///< to so many bytes, else #GP: 16 or 32
  uint16_t size = 0;
  int64_t disp = 0;
  Address address;
};

struct Item {
  Decoded d;
  Kind kind = Kind::Step;
  int32_t offset = 0;          ///< from the start of the page in which the unit begins
  uint8_t map = kMap1;
  uint8_t immediateBytes = 0;  ///< the last bytes of the encoding
  uint8_t prefixes = 0;        ///< of the encoding to emit
  bool raw = false;            ///< opcode and immediates only: operands are implicit
  bool byteReg = false, byteRm = false;
  bool vex = false;            ///< VEX-encoded
  Bank vBank = Bank::None;     ///< of VEX.vvvv
  bool vWritten = false;
  uint8_t vexPrefix = 0;       ///< VEX.pp
  bool vexW = false;           ///< to be emitted: outside 64-bit mode W is no operand size
  bool x87 = false;            ///< needs the guest's x87 state in the host
  Bank regBank = Bank::None, rmBank = Bank::None;
  bool regRead = false, regWritten = false, rmRead = false, rmWritten = false;
  uint32_t flagsRead = 0, flagsKilled = 0;
  bool flagsWritten = false;
  uint16_t gprsWritten = 0;    ///< one bit a guest register
  Access access;
  Access source;               ///< PUSH and CALL of a memory operand: where the operand is; `access` is the stack's
  const uint8_t* bytes = nullptr;
};

/** Facts about the page and mode that decide what can be translated. */
struct Setting {
  x86::CodeSize size = x86::CodeSize::k64;
  bool flatFs = false, flatGs = false;  ///< 32-bit code: FS and GS allow everything
  bool user = false;
  bool vectors = true;    ///< SIMD instructions may run as they are
  bool vex = true;        ///< so may VEX-encoded ones
  bool x87 = true;        ///< so may x87 instructions: no exception is unmasked or pending
  bool checked = false;   ///< in lockstep: nothing may make a value of flags that are undefined
  x86::FeatureSet features;  ///< those of the processor model
};

/** Decodes and classifies the instruction at `bytes`. False: it is not whole, or not one. */
bool describe(const uint8_t* bytes, unsigned available, int32_t offset, const Setting& setting, Item& item);

/** Flags that a condition code looks at (SDM vol. 1, appendix B). */
uint32_t flagsOfCondition(unsigned condition);

/** By how much the item changes the guest register as a whole: {true, 0} when not at all; {false, …} when unpredictably. */
struct Change { bool known; int64_t by; };
Change changeOf(const Item& item, uint8_t gpr);

}  // namespace lodge::translator
