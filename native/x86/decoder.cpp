// x86-64 instruction decoder: prefixes, opcode maps, ModRM/SIB, displacement, immediates. SDM vol. 2, chapter 2.
#include <array>
#include <cstring>

#include "x86/instruction.h"

namespace lodge::x86 {
namespace {

struct Map {
  std::array<Row, 256> rows{};
  bool overlap = false;
};

consteval Map oneByteMap() {
  Map map;
  auto add = [&](unsigned first, unsigned count, Row row) {
    for (unsigned i = 0; i < count; ++i) {
      map.overlap |= map.rows[first + i].op != Op::Invalid;
      map.rows[first + i] = row;
    }
  };
#define ROW(opcode, n, op, form, width, writes, undefined, attributes) \
  add(opcode, n, Row{Op::op, form, width, writes, undefined, attributes});
#include "x86/tables/one_byte.inc"
#undef ROW
  return map;
}

consteval Map twoByteMap() {
  Map map;
  auto add = [&](unsigned first, unsigned count, Row row) {
    for (unsigned i = 0; i < count; ++i) {
      map.overlap |= map.rows[first + i].op != Op::Invalid;
      map.rows[first + i] = row;
    }
  };
#define ROW(opcode, n, op, form, width, writes, undefined, attributes) \
  add(opcode, n, Row{Op::op, form, width, writes, undefined, attributes});
#include "x86/tables/two_byte.inc"
#undef ROW
  return map;
}

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
constexpr Row kMovsxdRow{Op::Movsxd, Form::RM, Width::V, kNone, kNone, kRmDword};
constexpr Row kTzcntRow{Op::Tzcnt, Form::RM, Width::V, kArith, kOf | kSf | kAf | kPf, kNone};
constexpr Row kLzcntRow{Op::Lzcnt, Form::RM, Width::V, kArith, kOf | kSf | kAf | kPf, kNone};
constexpr Row kSimdRow{Op::Simd, Form::M, Width::V, kNone, kNone, kNone};
constexpr Row kVexRow{Op::Vex, Form::M, Width::Y, kNone, kNone, kNone};

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
constexpr Row kPauseRow{Op::Pause, Form::None, Width::None, kNone, kNone, kNone};
constexpr Row kNopRow{Op::Nop, Form::None, Width::None, kNone, kNone, kNone};

/** First row of each (map, opcode), so that a lookup scans the few rows of one opcode only. */
struct SimdIndex {
  uint16_t first[3][256];
  uint8_t count[3][256];
  SimdIndex() {
    std::memset(first, 0, sizeof first);
    std::memset(count, 0, sizeof count);
    for (unsigned i = kSimdRowCount; i-- > 0;) {
      const auto map = static_cast<unsigned>(kSimdRows[i].map);
      first[map][kSimdRows[i].opcode] = static_cast<uint16_t>(i);
      ++count[map][kSimdRows[i].opcode];
    }
  }
};
const SimdIndex& simdIndex() {
  static const SimdIndex index;
  return index;
}

struct VexIndex {
  uint16_t first[3][256];
  uint8_t count[3][256];
  VexIndex() {
    std::memset(first, 0, sizeof first);
    std::memset(count, 0, sizeof count);
    for (unsigned i = kVexRowCount; i-- > 0;) {
      const auto map = static_cast<unsigned>(kVexRows[i].map);
      first[map][kVexRows[i].opcode] = static_cast<uint16_t>(i);
      ++count[map][kVexRows[i].opcode];
    }
  }
};
const VexIndex& vexIndex() {
  static const VexIndex index;
  return index;
}

struct X87Index {
  uint16_t row[8][256];  ///< row number + 1; 0: undefined
  X87Index() {
    std::memset(row, 0, sizeof row);
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
const X87Index& x87Index() {
  static const X87Index index;
  return index;
}

const FpRow* findSimd(FpMap map, uint8_t opcode, FpPrefix prefix, uint8_t modrm, bool rexW) {
  const auto m = static_cast<unsigned>(map);
  const SimdIndex& index = simdIndex();
  const FpRow* row = &kSimdRows[index.first[m][opcode]];
  for (unsigned n = index.count[m][opcode]; n > 0; --n, ++row) {
    if (row->prefix != prefix) continue;
    if (row->extension >= 0 && row->extension != (modrm >> 3 & 7)) continue;
    if (row->form != FpForm::None) {
      const bool memory = modrm < 0xc0;
      if (memory && (row->attributes & kFpNoMemory)) continue;
      if (!memory && ((row->attributes & kFpNoRegister) || row->form == FpForm::Memory)) continue;
    } else if (row->extension >= 0 && modrm < 0xc0) {
      continue;  // fences: with a memory operand their opcodes are other instructions
    }
    if ((row->attributes & kFpRexWOnly) && !rexW) continue;
    if ((row->attributes & kFpNoRexW) && rexW) continue;
    return row;
  }
  return nullptr;
}

const VexRow* findVex(FpMap map, uint8_t opcode, FpPrefix prefix, uint8_t modrm, bool w, bool l) {
  const auto m = static_cast<unsigned>(map);
  const VexRow* row = &kVexRows[vexIndex().first[m][opcode]];
  for (unsigned n = vexIndex().count[m][opcode]; n > 0; --n, ++row) {
    if (row->prefix != prefix) continue;
    if (row->extension >= 0 && row->extension != (modrm >> 3 & 7)) continue;
    if (row->w != VexW::Any && (row->w == VexW::W1) != w) continue;
    if ((row->l == VexL::L0 && l) || (row->l == VexL::L1 && !l)) continue;
    if (row->attributes & (modrm < 0xc0 ? kFpNoMemory : kFpNoRegister)) continue;
    return row;
  }
  return nullptr;
}

/** Reads forward and remembers why it had to stop. */
class Reader {
 public:
  Reader(const uint8_t* bytes, unsigned available)
      : bytes_(bytes), limit_(available < 15 ? available : 15), full_(available >= 15) {}
  bool ok() const { return ok_; }
  DecodeStatus failure() const { return full_ ? DecodeStatus::TooLong : DecodeStatus::Truncated; }
  unsigned position() const { return at_; }
  uint8_t peek() {
    if (at_ >= limit_) {
      ok_ = false;
      return 0;
    }
    return bytes_[at_];
  }
  void skip() { ++at_; }
  template <class T>
  T take() {
    T value{};
    if (at_ + sizeof(T) > limit_) {
      ok_ = false;
      at_ = limit_;
      return value;
    }
    std::memcpy(&value, bytes_ + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  int64_t takeSigned(unsigned bytes) {
    switch (bytes) {
      case 1:
        return take<int8_t>();
      case 2:
        return take<int16_t>();
      case 4:
        return take<int32_t>();
      default:
        return take<int64_t>();
    }
  }

 private:
  const uint8_t* bytes_;
  unsigned limit_, at_ = 0;
  bool full_, ok_ = true;
};

/** `vsib`: the index is a vector register, of which number 4 is one like any other. */
void memoryOperand(Reader& in, Decoded& d, int segmentOverride, bool vsib) {
  const unsigned mod = d.modrm >> 6, rm = d.modrm & 7;
  d.memory = true;
  d.segment = kDs;
  if (d.addressSize == 2) {
    static constexpr uint8_t base[8] = {kRbx, kRbx, kRbp, kRbp, kRsi, kRdi, kRbp, kRbx};
    static constexpr uint8_t index[8] = {kRsi, kRdi, kRsi, kRdi, kNoRegister, kNoRegister, kNoRegister, kNoRegister};
    if (mod == 0 && rm == 6) {
      d.displacement = in.take<uint16_t>();
    } else {
      d.base = base[rm];
      d.index = index[rm];
      if (d.base == kRbp) d.segment = kSs;
      if (mod == 1) d.displacement = in.take<int8_t>();
      if (mod == 2) d.displacement = in.take<int16_t>();
    }
  } else {
    unsigned base = rm;
    if (rm == 4) {
      const uint8_t sib = in.take<uint8_t>();
      base = sib & 7;
      const uint8_t index = static_cast<uint8_t>((sib >> 3 & 7) | ((d.rex & 2) << 2));
      d.index = index == kRsp && !vsib ? kNoRegister : index;
      d.scale = sib >> 6;
    }
    if (base == 5 && mod == 0) {
      d.displacement = in.take<int32_t>();
      if (rm == 5 && d.mode == CodeSize::k64) d.base = kRipRegister;
    } else {
      d.base = static_cast<uint8_t>(base | ((d.rex & 1) << 3));
      if (d.base == kRsp || d.base == kRbp) d.segment = kSs;
      if (mod == 1) d.displacement = in.take<int8_t>();
      if (mod == 2) d.displacement = in.take<int32_t>();
    }
  }
  if (segmentOverride >= 0) d.segment = static_cast<uint8_t>(segmentOverride);
}

bool formHasModRm(Form form) {
  switch (form) {
    case Form::MR:
    case Form::RM:
    case Form::MI:
    case Form::M:
    case Form::M1:
    case Form::MC:
    case Form::RMI:
    case Form::MRI:
    case Form::MRC:
    case Form::SR:
    case Form::CR:
    case Form::RVM:
    case Form::RMV:
    case Form::VM:
      return true;
    default:
      return false;
  }
}

uint8_t resolveWidth(Width width, const Decoded& d) {
  const bool w = d.rex & 8, mode64 = d.mode == CodeSize::k64;
  switch (width) {
    case Width::Byte:
      return 1;
    case Width::Word:
      return 2;
    case Width::Dword:
      return 4;
    case Width::Y:
      return w ? 8 : 4;
    case Width::N:
      return mode64 ? 8 : 4;
    case Width::D64:
      return mode64 ? (d.operandSizePrefix && !w ? 2 : 8) : d.operandSize;
    case Width::F64:
      return mode64 ? 8 : d.operandSize;
    default:
      return d.operandSize;
  }
}

}  // namespace

const char* opName(Op op) {
  static constexpr const char* kNames[] = {
#define OP(name) #name,
#include "x86/tables/ops.inc"
#undef OP
  };
  return op < Op::kCount ? kNames[static_cast<unsigned>(op)] : "?";
}

DecodeStatus decode(const uint8_t* bytes, unsigned available, CodeSize mode, Decoded& d) {
  d = Decoded{};
  d.mode = mode;
  const bool mode64 = mode == CodeSize::k64;
  Reader in(bytes, available);
  int segmentOverride = -1;
  bool addressPrefix = false;

  // Prefixes, in any order; the last segment and the last of F2/F3 count, and REX only directly before the opcode.
  uint8_t opcode;
  for (;;) {
    opcode = in.peek();
    if (!in.ok()) return in.failure();
    if (mode64 && (opcode & 0xf0) == 0x40) {
      d.rex = opcode;
      in.skip();
      continue;
    }
    bool prefix = true;
    switch (opcode) {
      case 0x26:
        if (!mode64) segmentOverride = kEs;
        break;
      case 0x2e:
        if (!mode64) segmentOverride = kCs;
        break;
      case 0x36:
        if (!mode64) segmentOverride = kSs;
        break;
      case 0x3e:
        if (!mode64) segmentOverride = kDs;
        break;
      case 0x64:
        segmentOverride = kFs;
        break;
      case 0x65:
        segmentOverride = kGs;
        break;
      case 0x66:
        d.operandSizePrefix = true;
        break;
      case 0x67:
        addressPrefix = true;
        break;
      case 0xf0:
        d.lock = true;
        break;
      case 0xf2:
      case 0xf3:
        d.rep = opcode;
        break;
      default:
        prefix = false;
    }
    if (!prefix) break;
    d.rex = 0;
    in.skip();
  }
  in.skip();

  if (mode64) {
    d.operandSize = d.rex & 8 ? 8 : d.operandSizePrefix ? 2 : 4;
    d.addressSize = addressPrefix ? 4 : 8;
  } else {
    const bool wide = mode == CodeSize::k32;
    d.operandSize = wide != d.operandSizePrefix ? 4 : 2;
    d.addressSize = wide != addressPrefix ? 4 : 2;
  }

  const Row* row = nullptr;
  Row merged;
  FpMap simdMap = FpMap::M0F;
  bool simdPossible = false;
  // Elsewhere C4 and C5 are LES and LDS, which have no register form.
  if ((opcode == 0xc4 || opcode == 0xc5) && (mode64 || in.peek() >= 0xc0)) {
    const bool three = opcode == 0xc4, otherPrefix = d.rex || d.rep || d.lock || d.operandSizePrefix;
    const uint8_t first = in.take<uint8_t>(), last = three ? in.take<uint8_t>() : first;
    opcode = in.take<uint8_t>();
    if (!in.ok()) return in.failure();
    const unsigned map = three ? first & 31u : 1;
    if (otherPrefix || map < 1 || map > 3) return DecodeStatus::Undefined;
    simdMap = static_cast<FpMap>(map - 1);
    d.vexEncoded = true;
    d.vexW = three && (last & 0x80);
    d.vexL = last & 4;
    d.v = static_cast<uint8_t>(~last >> 3 & 15);
    const auto prefix = static_cast<FpPrefix>(last & 3);
    if (mode64) {
      d.rex = static_cast<uint8_t>(0x40 | (d.vexW ? 8 : 0) | (first & 0x80 ? 0 : 4));
      if (three) d.rex |= static_cast<uint8_t>((first & 0x40 ? 0 : 2) | (first & 0x20 ? 0 : 1));
    } else {
      d.v &= 7;  // the bit that selects the upper eight does not count
    }
    uint8_t modrm = 0;
    if (opcode != 0x77 || simdMap != FpMap::M0F) {
      modrm = in.peek();
      if (!in.ok()) return in.failure();
    }
    for (const VexIntegerRow& r : kVexIntegers) {
      if (r.map == simdMap && r.opcode == opcode && r.prefix == prefix && (r.extension < 0 || r.extension == (modrm >> 3 & 7)))
        row = &r.row;
    }
    if (row) {
      if (d.vexL || (row->form == Form::RMI && d.v)) return DecodeStatus::Undefined;
    } else {
      d.vex = findVex(simdMap, opcode, prefix, modrm, d.vexW, d.vexL);
      if (!d.vex || (!d.vex->usesV() && d.v)) return DecodeStatus::Undefined;
      // VPINSRQ and VPEXTRQ; all others take no notice of W where it would mean 64-bit registers.
      if (!mode64 && d.vexW && d.vex->map == FpMap::M0F3A && d.vex->memoryBytes[0] == 0) return DecodeStatus::Undefined;
      row = &kVexRow;
      const bool gather = d.vex->form == VexForm::Gather;
      if (gather && ((modrm & 7) != 4 || d.addressSize == 2)) return DecodeStatus::Undefined;
    }
  } else if (opcode != 0x0f) {
    row = &kOneByte.rows[opcode];
    if (mode64 && opcode == 0x63) row = &kMovsxdRow;
    if (opcode == 0x90 && !(d.rex & 1)) row = d.rep == 0xf3 ? &kPauseRow : &kNopRow;
  } else {
    opcode = in.take<uint8_t>();
    if (!in.ok()) return in.failure();
    simdPossible = true;
    if (opcode == 0x38 || opcode == 0x3a) {
      simdMap = opcode == 0x38 ? FpMap::M0F38 : FpMap::M0F3A;
      opcode = in.take<uint8_t>();
      if (!in.ok()) return in.failure();
      if (simdMap == FpMap::M0F38) {
        for (const Map38Row& r : kMap38) {
          const bool hit = r.prefix == 0x66 ? d.operandSizePrefix && d.rep == 0 : r.prefix == d.rep;
          if (r.opcode == opcode && hit) row = &r.row;
        }
      }
    } else {
      row = &kTwoByte.rows[opcode];
      if (row->op == Op::Invalid) row = nullptr;
    }
  }
  d.opcode = opcode;

  // Fences and MOVNTI are the integer table's as well, and simpler there.
  const bool fenceOrMovnti = simdPossible && simdMap == FpMap::M0F && (opcode == 0xc3 || (opcode == 0xae && in.peek() >= 0xc0));
  if (simdPossible && !fenceOrMovnti && simdIndex().count[static_cast<unsigned>(simdMap)][opcode]) {
    const FpPrefix prefix = d.rep == 0xf3         ? FpPrefix::PF3
                            : d.rep == 0xf2       ? FpPrefix::PF2
                            : d.operandSizePrefix ? FpPrefix::P66
                                                  : FpPrefix::None;
    const FpRow* any = &kSimdRows[simdIndex().first[static_cast<unsigned>(simdMap)][opcode]];
    uint8_t modrm = 0;
    if (any->form != FpForm::None) {
      modrm = in.peek();
      if (!in.ok()) return in.failure();
    }
    d.simd = findSimd(simdMap, opcode, prefix, modrm, d.rex & 8);
    if (d.simd) row = &kSimdRow;
  }
  if (!row || row->op == Op::Invalid || (row->op == Op::Movnti && (d.rep || d.operandSizePrefix))) return DecodeStatus::Undefined;

  const bool noModRm = (d.simd && d.simd->form == FpForm::None) || (d.vex && d.vex->form == VexForm::None);
  if (formHasModRm(row->form) && !noModRm) {
    d.hasModRm = true;
    d.modrmAt = static_cast<uint8_t>(in.position());
    d.modrm = in.take<uint8_t>();
    if (!in.ok()) return in.failure();
    d.reg = static_cast<uint8_t>((d.modrm >> 3 & 7) | ((d.rex & 4) << 1));
    d.rm = static_cast<uint8_t>((d.modrm & 7) | ((d.rex & 1) << 3));
    if (d.modrm < 0xc0 && row->form != Form::CR) {
      memoryOperand(in, d, segmentOverride, d.vex && d.vex->form == VexForm::Gather);
      if (!in.ok()) return in.failure();
    } else if (segmentOverride >= 0) {
      d.segment = static_cast<uint8_t>(segmentOverride);  // MASKMOVDQU addresses memory by rDI
    }
  } else {
    d.rm = static_cast<uint8_t>((opcode & 7) | ((d.rex & 1) << 3));
    if (segmentOverride >= 0) d.segment = static_cast<uint8_t>(segmentOverride);
  }

  if (row->attributes & kGroup) {
    unsigned group = row->undefined;
    // Groups that a prefix, or a memory operand, turns into others.
    if (group == 15) {
      if (d.rep == 0xf2) return DecodeStatus::Undefined;  // UMWAIT
      if (d.rep == 0xf3)
        group = 17;
      else if (d.operandSizePrefix)
        group = 18;
      else if (d.memory)
        group = 19;
    } else if (group == 9 && d.rep == 0xf3) {
      group = 20;
    }
    const Row* sub = &kGroupRows.rows[group][d.modrm >> 3 & 7];
    if (group == 7 && !d.memory) {
      for (const ModRmRow& r : kGroup7Register) {
        if (r.modrm != d.modrm) continue;
        sub = &r.row;
        if ((sub->op == Op::Xgetbv || sub->op == Op::Xsetbv) && (d.rep || d.operandSizePrefix)) return DecodeStatus::Undefined;
      }
    }
    if (sub->op == Op::Invalid) return DecodeStatus::Undefined;
    merged = *sub;
    if (merged.form == Form::Invalid) merged.form = row->form;
    if (merged.width == Width::Group) merged.width = row->width;
    merged.attributes |= row->attributes & (kImm8 | kInvalid64 | kProtected);
    d.row = sub;
  } else {
    merged = *row;
    if (merged.op == Op::Bsr && d.rep == 0xf3) merged = *(row = &kLzcntRow);
    if (merged.op == Op::Bsf && d.rep == 0xf3) merged = *(row = &kTzcntRow);
    if (merged.op == Op::Popcnt && d.rep != 0xf3) return DecodeStatus::Undefined;
    d.row = row;
  }
  d.op = merged.op;
  const uint32_t attributes = merged.attributes;

  if (d.op == Op::X87) {
    const uint16_t n = x87Index().row[opcode - 0xd8][d.modrm];
    if (n == 0) return DecodeStatus::Undefined;
    d.x87 = &kX87Rows[n - 1];
  }

  if (mode64 ? (attributes & kInvalid64) : (attributes & kOnly64)) return DecodeStatus::Undefined;
  if ((attributes & kMemoryOnly) && !d.memory) return DecodeStatus::Undefined;
  if ((attributes & kRegisterOnly) && d.memory) return DecodeStatus::Undefined;

  const uint8_t base = d.operandSize;
  d.operandSize = resolveWidth(merged.width, d);
  d.rmSize = d.operandSize;
  if (attributes & kRmByte) d.rmSize = 1;
  if (attributes & kRmWord) d.rmSize = 2;
  if (attributes & kRmDword) d.rmSize = base == 2 ? 2 : 4;
  if (d.op == Op::Crc32 && opcode == 0xf1) d.rmSize = base;

  switch (merged.form) {
    case Form::MI:
    case Form::RMI:
    case Form::AI:
    case Form::I:
      if (d.op == Op::Ret || d.op == Op::RetFar)
        d.immediate = in.take<uint16_t>();
      else if ((attributes & kImm8) || d.operandSize == 1)
        d.immediate = static_cast<uint64_t>(in.takeSigned(1));
      else
        d.immediate = static_cast<uint64_t>(in.takeSigned(d.operandSize == 2 ? 2 : 4));
      break;
    case Form::OI:
      d.immediate = static_cast<uint64_t>(in.takeSigned(d.operandSize));
      break;
    case Form::MRI:
      d.immediate = static_cast<uint64_t>(in.takeSigned(1));
      break;
    case Form::J:
      d.immediate = static_cast<uint64_t>(in.takeSigned((attributes & kImm8) ? 1 : d.operandSize == 2 ? 2 : 4));
      break;
    case Form::FD:
    case Form::TD:
      d.memory = true;
      if (d.addressSize == 2)
        d.displacement = in.take<uint16_t>();
      else if (d.addressSize == 4)
        d.displacement = static_cast<int64_t>(in.take<uint32_t>());
      else
        d.displacement = in.take<int64_t>();
      break;
    case Form::Far:
      d.immediate = base == 2 ? in.take<uint16_t>() : in.take<uint32_t>();
      d.immediate2 = in.take<uint16_t>();
      break;
    case Form::II:
      d.immediate = in.take<uint16_t>();
      d.immediate2 = in.take<uint8_t>();
      break;
    default:
      break;
  }
  if ((d.simd && d.simd->imm8) || (d.vex && d.vex->imm8)) d.immediate = in.take<uint8_t>();
  if (d.simd && (d.simd->attributes & kFpTwoImmediates)) d.immediate2 = in.take<uint8_t>();
  if (!in.ok()) return in.failure();

  if (d.lock) {
    const bool control = d.op == Op::MovToCr || d.op == Op::MovFromCr;
    if (control ? d.reg != 0 : !(attributes & kLockable) || !d.memory) return DecodeStatus::Undefined;
    if (control) d.reg = 8;  // AMD's way to CR8 outside 64-bit mode
  }
  d.length = static_cast<uint8_t>(in.position());
  return DecodeStatus::Ok;
}

Feature featureOf(Op op) {
  switch (op) {
#define OP_FEATURE(op, feature) \
  case Op::op:                  \
    return Feature::feature;
#include "x86/tables/op_features.inc"
#undef OP_FEATURE
    default:
      return Feature::Base;
  }
}

bool admit(Decoded& d, const FeatureSet& features) {
  if (d.vex) return features.has(Feature::Avx) && features.has(d.vex->feature[d.vexL && d.vex->l != VexL::Ignored]);
  if (d.simd) return features.has(d.simd->feature);
  switch (d.op) {
    case Op::MovFromCr:
    case Op::MovToCr:
      return !d.lock || features.has(Feature::Cr8Legacy);
    case Op::X87:
      return features.has(Feature::Fpu);
    case Op::Lahf:
    case Op::Sahf:
      return d.mode != CodeSize::k64 || features.has(Feature::LahfLm);
    case Op::Lzcnt:
      if (features.has(Feature::Lzcnt)) return true;
      d.op = Op::Bsr;
      d.row = &kTwoByte.rows[0xbd];
      return true;
    case Op::Tzcnt:
      if (features.has(Feature::Bmi1)) return true;
      d.op = Op::Bsf;
      d.row = &kTwoByte.rows[0xbc];
      return true;
    case Op::Cmpxchg8b:
      return features.has(d.operandSize == 8 ? Feature::Cx16 : Feature::Cx8);
    default:
      return features.has(featureOf(d.op));
  }
}

}  // namespace lodge::x86
