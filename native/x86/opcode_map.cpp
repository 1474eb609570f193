#include "x86/opcode_map.h"

#include <array>
#include <cstring>

namespace lodge::x86 {
namespace {

struct Map {
  std::array<Row, 256> rows{};
  bool overlap = false;

  consteval void add(unsigned first, unsigned count, Row row) {
    for (unsigned i = 0; i < count; ++i) {
      overlap |= rows[first + i].op != Op::Invalid;
      rows[first + i] = row;
    }
  }
};

#define ROW(opcode, n, op, form, width, writes, undefined, attributes) \
  map.add(opcode, n, Row{Op::op, form, width, writes, undefined, attributes});
consteval Map oneByteMap() {
  Map map;
#include "x86/tables/one_byte.inc"
  return map;
}
consteval Map twoByteMap() {
  Map map;
#include "x86/tables/two_byte.inc"
  return map;
}
#undef ROW

constexpr unsigned kGroups = 22;
struct GroupMap {
  std::array<std::array<Row, 8>, kGroups> rows{};
  bool overlap = false;
};
consteval GroupMap groupMap() {
  GroupMap map;
#define GROUP(group, reg, name, form, width, writes, undefined, attributes) \
  map.overlap |= map.rows[group][reg].op != Op::Invalid;                    \
  map.rows[group][reg] = Row{Op::name, form, width, writes, undefined, attributes};
#include "x86/tables/groups.inc"
#undef GROUP
  return map;
}

constexpr Map kOneByte = oneByteMap();
constexpr Map kTwoByte = twoByteMap();
constexpr GroupMap kGroupRows = groupMap();
static_assert(!kOneByte.overlap && !kTwoByte.overlap && !kGroupRows.overlap, "two rows claim one encoding");

/** Every one-byte opcode is a row, a prefix (0F, segments, 66, 67, LOCK, REP) or known to be free. */
consteval bool oneByteComplete() {
  for (unsigned op = 0; op < 256; ++op) {
    const bool prefix = op == 0x0f || op == 0x26 || op == 0x2e || op == 0x36 || op == 0x3e || (op >= 0x64 && op <= 0x67) ||
                        op == 0xf0 || op == 0xf2 || op == 0xf3;
    if (prefix == (kOneByte.rows[op].op != Op::Invalid)) return false;
  }
  return true;
}
static_assert(oneByteComplete(), "a one-byte opcode is missing");

struct ModRmRow {
  uint8_t modrm;
  Row row;
};
constexpr ModRmRow kGroup7Register[] = {
#define GROUP(...)
#define MODRM(modrm, op, attributes) {modrm, Row{Op::op, Form::None, Width::None, kNone, kNone, attributes}},
#include "x86/tables/groups.inc"
#undef MODRM
};
struct Map38Row {
  uint8_t opcode;
  uint8_t prefix;
  Row row;
};
constexpr Map38Row kMap38[] = {
#define MAP38(opcode, prefix, op, form, width, writes, attributes) \
  {opcode, prefix, Row{Op::op, form, width, writes, kNone, attributes}},
#include "x86/tables/groups.inc"
#undef MAP38
#undef GROUP
};
struct VexIntegerRow {
  FpMap map;
  uint8_t opcode;
  FpPrefix prefix;
  int8_t extension;
  Row row;
};
constexpr VexIntegerRow kVexIntegers[] = {
#define VEXI(map, opcode, prefix, reg, op, form, width, writes, undefined, attributes) \
  {FpMap::map, opcode, FpPrefix::prefix, reg, Row{Op::op, form, width, writes, undefined, attributes}},
#include "x86/tables/vex_integer.inc"
#undef VEXI
};

/** Rows of one (map, opcode) follow each other in SIMD and VEX tables: a lookup scans those few only. */
struct OpcodeIndex {
  uint16_t first[3][256] = {};
  uint8_t count[3][256] = {};

  template <class Row>
  OpcodeIndex(const Row* rows, unsigned rowCount) {
    for (unsigned i = rowCount; i-- > 0;) {
      const auto map = static_cast<unsigned>(rows[i].map);
      first[map][rows[i].opcode] = static_cast<uint16_t>(i);
      ++count[map][rows[i].opcode];
    }
  }
};
const OpcodeIndex& simdIndex() {
  static const OpcodeIndex index(kSimdRows, kSimdRowCount);
  return index;
}
const OpcodeIndex& vexIndex() {
  static const OpcodeIndex index(kVexRows, kVexRowCount);
  return index;
}

struct X87Index {
  uint16_t row[8][256] = {};  ///< row number + 1; 0: undefined

  X87Index() {
    for (unsigned i = 0; i < kX87RowCount; ++i) {
      const X87Row& r = kX87Rows[i];
      for (unsigned modrm = 0; modrm < 256; ++modrm) {
        const bool memoryForm = r.modrmFirst == 0xff && r.extension >= 0;
        const bool hit = memoryForm ? modrm < 0xc0 && static_cast<int>(modrm >> 3 & 7) == r.extension
                                    : modrm >= r.modrmFirst && modrm <= r.modrmLast;
        if (hit) row[r.opcode - 0xd8][modrm] = static_cast<uint16_t>(i + 1);
      }
    }
  }
};

/** A row for any ModRM.reg, or for this one. */
template <class Row>
bool extends(const Row& row, uint8_t modrm) {
  return row.extension < 0 || row.extension == (modrm >> 3 & 7);
}

}  // namespace

namespace opcode_map {

const Row& oneByte(uint8_t opcode) { return kOneByte.rows[opcode]; }
const Row& twoByte(uint8_t opcode) { return kTwoByte.rows[opcode]; }
const Row& groupRow(unsigned group, unsigned reg) { return kGroupRows.rows[group][reg]; }

const Row* group7Register(uint8_t modrm) {
  for (const ModRmRow& r : kGroup7Register) {
    if (r.modrm == modrm) return &r.row;
  }
  return nullptr;
}

const Row* map38(uint8_t opcode, uint8_t rep, bool operandSizePrefix) {
  for (const Map38Row& r : kMap38) {
    if (r.opcode == opcode && (r.prefix == 0x66 ? operandSizePrefix && rep == 0 : r.prefix == rep)) return &r.row;
  }
  return nullptr;
}

const Row* vexInteger(FpMap map, uint8_t opcode, FpPrefix prefix, uint8_t modrm) {
  for (const VexIntegerRow& r : kVexIntegers) {
    if (r.map == map && r.opcode == opcode && r.prefix == prefix && extends(r, modrm)) return &r.row;
  }
  return nullptr;
}

const FpRow* anySimd(FpMap map, uint8_t opcode) {
  const auto m = static_cast<unsigned>(map);
  return simdIndex().count[m][opcode] ? &kSimdRows[simdIndex().first[m][opcode]] : nullptr;
}

const FpRow* simd(FpMap map, uint8_t opcode, FpPrefix prefix, uint8_t modrm) {
  const auto m = static_cast<unsigned>(map);
  const FpRow* row = &kSimdRows[simdIndex().first[m][opcode]];
  for (unsigned n = simdIndex().count[m][opcode]; n > 0; --n, ++row) {
    if (row->prefix != prefix || !extends(*row, modrm)) continue;
    if (row->form != FpForm::None) {
      const bool memory = modrm < 0xc0;
      if (memory && (row->attributes & kFpNoMemory)) continue;
      if (!memory && ((row->attributes & kFpNoRegister) || row->form == FpForm::Memory)) continue;
    } else if (row->extension >= 0 && modrm < 0xc0) {
      continue;  // fences: with a memory operand their opcodes are other instructions
    }
    return row;
  }
  return nullptr;
}

const VexRow* vex(FpMap map, uint8_t opcode, FpPrefix prefix, uint8_t modrm, bool w, bool l) {
  const auto m = static_cast<unsigned>(map);
  const VexRow* row = &kVexRows[vexIndex().first[m][opcode]];
  for (unsigned n = vexIndex().count[m][opcode]; n > 0; --n, ++row) {
    if (row->prefix != prefix || !extends(*row, modrm)) continue;
    if (row->w != VexW::Any && (row->w == VexW::W1) != w) continue;
    if ((row->l == VexL::L0 && l) || (row->l == VexL::L1 && !l)) continue;
    if (row->attributes & (modrm < 0xc0 ? kFpNoMemory : kFpNoRegister)) continue;
    return row;
  }
  return nullptr;
}

const X87Row* x87(uint8_t opcode, uint8_t modrm) {
  static const X87Index index;
  const uint16_t n = index.row[opcode - 0xd8][modrm];
  return n == 0 ? nullptr : &kX87Rows[n - 1];
}

}  // namespace opcode_map
}  // namespace lodge::x86
