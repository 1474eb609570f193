// Instructions as text, in Intel's syntax, from the tables that the decoder reads.
#pragma once

#include <string>
#include <vector>

#include "x86/instruction.h"

namespace lodge::x86 {

/** Of the operation alone: `jne`, `movaps`, `fadd`. Small letters. */
std::string mnemonic(const Decoded& d);

/** `address`: of the instruction, as rIP has it. */
std::string disassemble(const Decoded& d, uint64_t address);

struct DisassembledLine {
  unsigned length;
  std::string text;
};
/** All that `bytes` holds whole. A byte that begins no instruction is a line of its own. */
std::vector<DisassembledLine> disassemble(const uint8_t* bytes, size_t count, CodeSize mode, uint64_t address);

}  // namespace lodge::x86
