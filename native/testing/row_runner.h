// Test support: a table row as bytes for the host CPU, and as the call an interpreter core would make of it.
#pragma once

#include <string>
#include <vector>

#include "testing/host_oracle.h"

namespace lodge::x86::oracle {

/** Operands of a SIMD row. Memory operands are at R14. */
struct Operands {
  bool memory;
  unsigned reg, rm;   ///< register numbers; rm is unused with memory
  bool wide;          ///< REX.W
  uint8_t imm;
  unsigned offset;    ///< of the memory operand in Context::memory
};

Operands randomOperands(Random&, const FpRow&);
std::vector<uint8_t> encode(const FpRow&, const Operands&);
/** Calls the row's function with `memory` as Context::memory. Returns the vector or -1. */
int execute(const FpRow&, const Operands&, State&, uint8_t* memory, bool byImmediate);

/** An x87 instruction. Memory operands are at R14. */
struct X87Instruction {
  const X87Row* row;
  uint8_t modrm;
  unsigned operandSize;  ///< of environments and images: 2 or 4
  bool memory() const { return row->extension >= 0; }
};
X87Instruction randomInstruction(Random&, const X87Row&);
std::vector<uint8_t> encode(const X87Instruction&);
/** `memory`: where the operand is. */
void execute(const X87Instruction&, State&, uint8_t* memory);
/** Writes an operand worth loading. */
void operandFor(const X87Row&, Random&, uint8_t* to);

}  // namespace lodge::x86::oracle
