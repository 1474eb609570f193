// x86-64 instruction decoder: prefixes, opcode maps, ModRM/SIB, displacement, immediates. SDM vol. 2, chapter 2.
#include <cstring>

#include "x86/instruction.h"
#include "x86/opcode_map.h"

namespace lodge::x86 {
namespace {

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

/** One instruction, step by step; each answers false where there is no more to do, and `status_` says why. */
class Decoder {
 public:
  Decoder(const uint8_t* bytes, unsigned available, CodeSize mode, Decoded& d) : in_(bytes, available), d_(d), mode64_(mode == CodeSize::k64) {
    d = Decoded{};
    d.mode = mode;
  }
  DecodeStatus run() {
    if (prefixes() && opcode() && simd() && operands() && choose() && immediates() && lock()) d_.length = static_cast<uint8_t>(in_.position());
    return status_;
  }

 private:
  bool prefixes();
  bool prefix(uint8_t byte);
  bool opcode();
  bool vex(bool three);
  bool legacyOpcode();
  bool simd();
  bool operands();
  bool choose();
  const Row* groupMember();
  bool immediates();
  bool lock();

  bool stop(DecodeStatus why) {
    status_ = why;
    return false;
  }
  bool undefined() { return stop(DecodeStatus::Undefined); }
  /** Whether all that was asked for so far is there. */
  bool fetched() { return in_.ok() || stop(in_.failure()); }

  Reader in_;
  Decoded& d_;
  const bool mode64_;
  DecodeStatus status_ = DecodeStatus::Ok;
  int segmentOverride_ = -1;
  bool addressPrefix_ = false;
  const Row* row_ = nullptr;    ///< of the tables
  Row merged_;                  ///< what it says of this instruction; a group and its member make one
  FpMap map_ = FpMap::M0F;      ///< where a two- or three-byte opcode is
  bool extended_ = false;       ///< it is one, and not VEX-encoded
};

bool Decoder::prefix(uint8_t byte) {
  switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
      if (!mode64_) segmentOverride_ = byte >> 3 & 3;  // ES, CS, SS, DS
      return true;
    case 0x64:
    case 0x65:
      segmentOverride_ = byte == 0x64 ? kFs : kGs;
      return true;
    case 0x66:
      d_.operandSizePrefix = true;
      return true;
    case 0x67:
      addressPrefix_ = true;
      return true;
    case 0xf0:
      d_.lock = true;
      return true;
    case 0xf2:
    case 0xf3:
      d_.rep = byte;
      return true;
    default:
      return false;
  }
}

/** In any order; the last segment and the last of F2/F3 count, and REX only directly before the opcode, which is left in `opcode`. */
bool Decoder::prefixes() {
  for (;; in_.skip()) {
    d_.opcode = in_.peek();
    if (!fetched()) return false;
    if (mode64_ && (d_.opcode & 0xf0) == 0x40) {
      d_.rex = d_.opcode;
      continue;
    }
    if (!prefix(d_.opcode)) break;
    d_.rex = 0;
  }
  in_.skip();
  if (mode64_) {
    d_.operandSize = d_.rex & 8 ? 8 : d_.operandSizePrefix ? 2 : 4;
    d_.addressSize = addressPrefix_ ? 4 : 8;
  } else {
    const bool wide = d_.mode == CodeSize::k32;
    d_.operandSize = wide != d_.operandSizePrefix ? 4 : 2;
    d_.addressSize = wide != addressPrefix_ ? 4 : 2;
  }
  return true;
}

bool Decoder::opcode() {
  const uint8_t first = d_.opcode;
  // Elsewhere C4 and C5 are LES and LDS, which have no register form.
  if ((first == 0xc4 || first == 0xc5) && (mode64_ || in_.peek() >= 0xc0)) return vex(first == 0xc4);
  if (first == 0x0f) return legacyOpcode();
  row_ = &opcode_map::oneByte(first);
  if (mode64_ && first == 0x63) row_ = &opcode_map::kMovsxdRow;
  if (first == 0x90 && !(d_.rex & 1)) row_ = d_.rep == 0xf3 ? &opcode_map::kPauseRow : &opcode_map::kNopRow;
  return true;
}

bool Decoder::vex(bool three) {
  const bool otherPrefix = d_.rex || d_.rep || d_.lock || d_.operandSizePrefix;
  const uint8_t first = in_.take<uint8_t>(), last = three ? in_.take<uint8_t>() : first;
  d_.opcode = in_.take<uint8_t>();
  if (!fetched()) return false;
  const unsigned map = three ? first & 31u : 1;
  if (otherPrefix || map < 1 || map > 3) return undefined();
  map_ = static_cast<FpMap>(map - 1);
  d_.vexEncoded = true;
  d_.vexW = three && (last & 0x80);
  d_.vexL = last & 4;
  d_.v = static_cast<uint8_t>(~last >> 3 & 15);
  const auto prefix = static_cast<FpPrefix>(last & 3);
  if (mode64_) {
    d_.rex = static_cast<uint8_t>(0x40 | (d_.vexW ? 8 : 0) | (first & 0x80 ? 0 : 4));
    if (three) d_.rex |= static_cast<uint8_t>((first & 0x40 ? 0 : 2) | (first & 0x20 ? 0 : 1));
  } else {
    d_.v &= 7;  // the bit that selects the upper eight does not count
  }
  uint8_t modrm = 0;
  if (d_.opcode != 0x77 || map_ != FpMap::M0F) {
    modrm = in_.peek();
    if (!fetched()) return false;
  }
  row_ = opcode_map::vexInteger(map_, d_.opcode, prefix, modrm);
  if (row_) return !(d_.vexL || (row_->form == Form::RMI && d_.v)) || undefined();
  d_.vex = opcode_map::vex(map_, d_.opcode, prefix, modrm, d_.vexW, d_.vexL);
  if (!d_.vex || (!d_.vex->usesV() && d_.v)) return undefined();
  // VPINSRQ and VPEXTRQ; all others take no notice of W where it would mean 64-bit registers.
  if (!mode64_ && d_.vexW && d_.vex->map == FpMap::M0F3A && d_.vex->memoryBytes[0] == 0) return undefined();
  if (d_.vex->form == VexForm::Gather && ((modrm & 7) != 4 || d_.addressSize == 2)) return undefined();
  row_ = &opcode_map::kVexRow;
  return true;
}

/** Behind 0F. */
bool Decoder::legacyOpcode() {
  d_.opcode = in_.take<uint8_t>();
  if (!fetched()) return false;
  extended_ = true;
  if (d_.opcode != 0x38 && d_.opcode != 0x3a) {
    row_ = &opcode_map::twoByte(d_.opcode);
    return true;
  }
  map_ = d_.opcode == 0x38 ? FpMap::M0F38 : FpMap::M0F3A;
  d_.opcode = in_.take<uint8_t>();
  if (!fetched()) return false;
  if (map_ == FpMap::M0F38) row_ = opcode_map::map38(d_.opcode, d_.rep, d_.operandSizePrefix);
  return true;
}

/** MMX and SSE share opcodes with the integer set and go before it. */
bool Decoder::simd() {
  const uint8_t opcode = d_.opcode;
  // Fences and MOVNTI are the integer table's as well, and simpler there.
  const bool integer = !extended_ || (map_ == FpMap::M0F && (opcode == 0xc3 || (opcode == 0xae && in_.peek() >= 0xc0)));
  if (const FpRow* const any = integer ? nullptr : opcode_map::anySimd(map_, opcode)) {
    const FpPrefix prefix = d_.rep == 0xf3         ? FpPrefix::PF3
                            : d_.rep == 0xf2       ? FpPrefix::PF2
                            : d_.operandSizePrefix ? FpPrefix::P66
                                                   : FpPrefix::None;
    uint8_t modrm = 0;
    if (any->form != FpForm::None) {
      modrm = in_.peek();
      if (!fetched()) return false;
    }
    d_.simd = opcode_map::simd(map_, opcode, prefix, modrm);
    if (d_.simd) row_ = &opcode_map::kSimdRow;
  }
  return (row_ && row_->op != Op::Invalid && !(row_->op == Op::Movnti && (d_.rep || d_.operandSizePrefix))) || undefined();
}

/** ModRM and what belongs to it, or the register in the opcode. */
bool Decoder::operands() {
  const bool noModRm = (d_.simd && d_.simd->form == FpForm::None) || (d_.vex && d_.vex->form == VexForm::None);
  if (!formHasModRm(row_->form) || noModRm) {
    d_.rm = static_cast<uint8_t>((d_.opcode & 7) | ((d_.rex & 1) << 3));
    if (segmentOverride_ >= 0) d_.segment = static_cast<uint8_t>(segmentOverride_);
    return true;
  }
  d_.hasModRm = true;
  d_.modrmAt = static_cast<uint8_t>(in_.position());
  d_.modrm = in_.take<uint8_t>();
  if (!fetched()) return false;
  d_.reg = static_cast<uint8_t>((d_.modrm >> 3 & 7) | ((d_.rex & 4) << 1));
  d_.rm = static_cast<uint8_t>((d_.modrm & 7) | ((d_.rex & 1) << 3));
  if (d_.modrm < 0xc0 && row_->form != Form::CR) {
    memoryOperand(in_, d_, segmentOverride_, d_.vex && d_.vex->form == VexForm::Gather);
    return fetched();
  }
  if (segmentOverride_ >= 0) d_.segment = static_cast<uint8_t>(segmentOverride_);  // MASKMOVDQU and MONITOR address memory by a register
  return true;
}

/** nullptr: the group has none. */
const Row* Decoder::groupMember() {
  unsigned group = row_->undefined;
  // Groups that a prefix, or a memory operand, turns into others.
  if (group == 15) {
    if (d_.rep == 0xf2) return nullptr;  // UMWAIT
    if (d_.rep == 0xf3) group = 17;
    else if (d_.operandSizePrefix) group = 18;
    else if (d_.memory) group = 19;
  } else if (group == 9 && d_.rep == 0xf3) {
    group = 20;
  }
  if (group == 7 && !d_.memory) {
    if (const Row* const named = opcode_map::group7Register(d_.modrm)) {
      const bool other = (named->op == Op::Xgetbv || named->op == Op::Xsetbv) && (d_.rep || d_.operandSizePrefix);
      return other ? nullptr : named;
    }
  }
  const Row& member = opcode_map::groupRow(group, d_.modrm >> 3 & 7);
  const bool prefixed = movesXsaveArea(member.op) && (d_.rep || d_.operandSizePrefix);
  return member.op == Op::Invalid || prefixed ? nullptr : &member;
}

/** Which operation it is after all, and whether there is such a one. */
bool Decoder::choose() {
  if (row_->attributes & kGroup) {
    const Row* const member = groupMember();
    if (!member) return undefined();
    merged_ = *member;
    if (merged_.form == Form::Invalid) merged_.form = row_->form;
    if (merged_.width == Width::Group) merged_.width = row_->width;
    merged_.attributes |= row_->attributes & (kImm8 | kInvalid64 | kProtected);
    d_.row = member;
  } else {
    if (row_->op == Op::Popcnt && d_.rep != 0xf3) return undefined();
    if (row_->op == Op::Bsr && d_.rep == 0xf3) row_ = &opcode_map::kLzcntRow;
    if (row_->op == Op::Bsf && d_.rep == 0xf3) row_ = &opcode_map::kTzcntRow;
    merged_ = *row_;
    d_.row = row_;
  }
  d_.op = merged_.op;
  if (d_.op == Op::X87) {
    d_.x87 = opcode_map::x87(d_.opcode, d_.modrm);
    if (!d_.x87) return undefined();
  }
  const uint32_t attributes = merged_.attributes;
  if (attributes & (mode64_ ? kInvalid64 : kOnly64)) return undefined();
  if (attributes & (d_.memory ? kRegisterOnly : kMemoryOnly)) return undefined();
  return true;
}

bool Decoder::immediates() {
  const uint32_t attributes = merged_.attributes;
  const uint8_t base = d_.operandSize;
  d_.operandSize = resolveWidth(merged_.width, d_);
  d_.rmSize = d_.operandSize;
  if (attributes & kRmByte) d_.rmSize = 1;
  if (attributes & kRmWord) d_.rmSize = 2;
  if (attributes & kRmDword) d_.rmSize = base == 2 ? 2 : 4;
  if (d_.op == Op::Crc32 && d_.opcode == 0xf1) d_.rmSize = base;
  const auto take = [&](unsigned bytes) { d_.immediate = static_cast<uint64_t>(in_.takeSigned(bytes)); };

  switch (merged_.form) {
    case Form::MI:
    case Form::RMI:
    case Form::AI:
    case Form::I:
      if (d_.op == Op::Ret || d_.op == Op::RetFar) d_.immediate = in_.take<uint16_t>();
      else take((attributes & kImm8) || d_.operandSize == 1 ? 1 : d_.operandSize == 2 ? 2 : 4);
      break;
    case Form::OI:
      take(d_.operandSize);
      break;
    case Form::MRI:
      take(1);
      break;
    case Form::J:
      take((attributes & kImm8) ? 1 : d_.operandSize == 2 ? 2 : 4);
      break;
    case Form::FD:
    case Form::TD:
      d_.memory = true;
      if (d_.addressSize == 2) d_.displacement = in_.take<uint16_t>();
      else if (d_.addressSize == 4) d_.displacement = static_cast<int64_t>(in_.take<uint32_t>());
      else d_.displacement = in_.take<int64_t>();
      break;
    case Form::Far:
      d_.immediate = base == 2 ? in_.take<uint16_t>() : in_.take<uint32_t>();
      d_.immediate2 = in_.take<uint16_t>();
      break;
    case Form::II:
      d_.immediate = in_.take<uint16_t>();
      d_.immediate2 = in_.take<uint8_t>();
      break;
    default:
      break;
  }
  if ((d_.simd && d_.simd->imm8) || (d_.vex && d_.vex->imm8)) d_.immediate = in_.take<uint8_t>();
  if (d_.simd && (d_.simd->attributes & kFpTwoImmediates)) d_.immediate2 = in_.take<uint8_t>();
  return fetched();
}

bool Decoder::lock() {
  if (!d_.lock) return true;
  const bool control = d_.op == Op::MovToCr || d_.op == Op::MovFromCr;
  if (control ? d_.reg != 0 : !(merged_.attributes & kLockable) || !d_.memory) return undefined();
  if (control) d_.reg = 8;  // AMD's way to CR8 outside 64-bit mode
  return true;
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
  return Decoder(bytes, available, mode, d).run();
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
      d.row = &opcode_map::twoByte(0xbd);
      return true;
    case Op::Tzcnt:
      if (features.has(Feature::Bmi1)) return true;
      d.op = Op::Bsf;
      d.row = &opcode_map::twoByte(0xbc);
      return true;
    case Op::Cmpxchg8b:
      return features.has(d.operandSize == 8 ? Feature::Cx16 : Feature::Cx8);
    default:
      return features.has(featureOf(d.op));
  }
}

}  // namespace lodge::x86
