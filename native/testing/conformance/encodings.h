// Every encoding the instruction tables have, one entry a row (and a group's row once for each opcode that leads to it).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "x86/instruction.h"

namespace lodge::x86::conformance {

struct Encoding {
  const char* table;          ///< of which file the row is
  std::string name;
  uint8_t map = 0;            ///< 0: one byte; 1: 0F; 2: 0F 38; 3: 0F 3A
  uint8_t opcode = 0;
  uint8_t opcodes = 1;        ///< how many from there on are the same row
  uint8_t prefix = 0;         ///< 66h, F2h, F3h that is part of the opcode, or 0
  int8_t extension = -1;      ///< ModRM.reg that is part of the opcode
  int16_t modrmFirst = -1, modrmLast = -1;  ///< ModRM bytes that are part of the opcode
  Op op = Op::Invalid;
  uint32_t attributes = 0;    ///< RowAttribute
  const FpRow* simd = nullptr;
  const X87Row* x87 = nullptr;
  const VexRow* vex = nullptr;
  bool vexInteger = false;
  bool modrm = false;         ///< has a ModRM byte
  const char* excluded = nullptr;  ///< why hosts and guests cannot be compared in user mode, or null

  bool exists(CodeSize size) const { return !(attributes & (size == CodeSize::k64 ? kInvalid64 : kOnly64)); }
};

const std::vector<Encoding>& encodings();

}  // namespace lodge::x86::conformance
