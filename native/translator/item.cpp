#include "translator/item_forms.h"

namespace lodge::translator {
namespace {

using namespace x86;

/** Where the opcode is, and what precedes it. */
struct Layout {
  uint8_t map = kMap1, vexPrefix = 0;
  unsigned opcodeAt = 0, afterOperands = 0;
};
bool layOut(const Item& item, Layout& l) {
  const uint8_t* b = item.bytes;
  const bool mode64 = item.d.mode == CodeSize::k64;
  unsigned n = 0;
  for (;; ++n) {
    const uint8_t p = b[n];
    if (mode64 && (p & 0xf0) == 0x40) continue;
    if (p == 0x26 || p == 0x2e || p == 0x36 || p == 0x3e || (p >= 0x64 && p <= 0x67) || p == 0xf0 || p == 0xf2 || p == 0xf3)
      continue;
    break;
  }
  if (item.d.vexEncoded) {
    l.map = b[n] == 0xc5 ? +kMap0F : static_cast<uint8_t>(b[n + 1] & 31);
    n += b[n] == 0xc5 ? 2 : 3;
    l.vexPrefix = b[n - 1] & 3;
  } else if (b[n] == 0x0f) {
    l.map = kMap0F;
    ++n;
    if (b[n] == 0x38 || b[n] == 0x3a) {
      l.map = b[n] == 0x38 ? kMap0F38 : kMap0F3A;
      ++n;
    }
  }
  if (b[n] != item.d.opcode) return false;
  l.opcodeAt = n++;
  if (item.d.hasModRm) {
    const uint8_t modrm = b[n++];
    const unsigned mod = modrm >> 6, rm = modrm & 7;
    if (mod != 3) {
      if (item.d.addressSize == 2) return false;
      bool disp32 = mod == 2 || (mod == 0 && rm == 5);
      if (rm == 4 && (b[n++] & 7) == 5 && mod == 0) disp32 = true;
      n += mod == 1 ? 1 : disp32 ? 4 : 0;
    }
  }
  l.afterOperands = n;
  return n <= item.d.length;
}

}  // namespace

bool addressOf(const Decoded& d, int32_t offset, const Setting& setting, Access& a) {
  a.address = Address{};
  a.disp = d.displacement;
  a.address.base = d.base;
  a.address.index = d.index;
  a.address.scale = d.scale;
  if (d.addressSize == 2) return false;
  if (setting.size == CodeSize::k64) {
    a.address.bytes = d.addressSize;
    if (d.segment >= kFs) a.address.segment = d.segment;
    // Relative to the page, as the code at hand may be mapped anywhere.
    if (d.base == kRipRegister) {
      if (d.addressSize != 8) return false;
      a.disp += offset + d.length;
    }
    // Only without registers it may be wider, as MOV has it.
    return (d.base == kNoRegister && d.index == kNoRegister && !a.address.segment) || a.disp == static_cast<int32_t>(a.disp);
  }
  a.address.bytes = 4;
  a.disp = static_cast<int32_t>(a.disp);
  if (d.segment == kCs) return false;
  if (d.segment == kFs || d.segment == kGs) {
    if (!(d.segment == kFs ? setting.flatFs : setting.flatGs)) return false;
    a.address.segment = d.segment;
  }
  return true;
}

bool highByte(const Decoded& d, unsigned reg) { return !d.rex && reg >= 4 && reg < 8; }

bool memoryOperand(Item& item, const Setting& setting, unsigned size, bool write) {
  if (!item.d.memory) return true;
  if (!addressOf(item.d, item.offset, setting, item.access)) return false;
  item.access.present = true;
  item.access.size = static_cast<uint16_t>(size);
  item.access.write = write;
  return true;
}

/** Two-operand shapes; says what is read and written. */
void modRmGprs(Item& item, bool regRead, bool regWritten, bool rmRead, bool rmWritten) {
  item.regBank = Bank::Gpr;
  item.rmBank = item.d.memory ? Bank::None : Bank::Gpr;
  item.regRead = regRead;
  item.regWritten = regWritten;
  item.rmRead = rmRead;
  item.rmWritten = rmWritten;
}
void rmGpr(Item& item, bool read, bool written) {
  item.regBank = Bank::None;
  item.rmBank = item.d.memory ? Bank::None : Bank::Gpr;
  item.rmRead = read;
  item.rmWritten = written;
}

namespace {

/** MOV with an address in the instruction, as a MOV with a ModRM byte. */
bool describeMoffs(Item& item, const Setting& setting) {
  Decoded& d = item.d;
  const bool store = d.opcode >= 0xa2;
  d.reg = kRax;
  d.hasModRm = true;
  d.base = d.index = kNoRegister;
  if (!memoryOperand(item, setting, d.operandSize, store)) return false;
  d.opcode = static_cast<uint8_t>((store ? 0x88 : 0x8a) | (d.opcode & 1));
  item.immediateBytes = 0;
  item.byteReg = d.operandSize == 1;
  item.regBank = Bank::Gpr;
  item.regRead = store;
  item.regWritten = !store;
  if (!store) item.gprsWritten = bit(kRax);
  item.kind = Kind::Same;
  return true;
}

bool arithmetic(Item& item, const Setting& setting) {
  const Decoded& d = item.d;
  const bool compare = d.op == Op::Cmp || d.op == Op::Test, byte = d.operandSize == 1;
  const uint8_t op = d.opcode;
  item.byteReg = item.byteRm = byte;
  if ((op < 0x40 && (op & 7) >= 4) || op == 0xa8 || op == 0xa9) {
    item.raw = true;
    if (!compare) item.gprsWritten = bit(kRax);
    return true;
  }
  if ((op >= 0x80 && op <= 0x83) || op == 0xf6 || op == 0xf7) {
    if (op == 0x82) item.d.opcode = 0x80;  // an alias that 64-bit mode has not
    rmGpr(item, true, !compare);
  } else if (op < 0x40 && (op & 7) >= 2) {
    modRmGprs(item, true, !compare, true, false);
    if (!compare) item.gprsWritten = bit(d.reg);
    return memoryOperand(item, setting, d.operandSize, false);
  } else {
    modRmGprs(item, true, false, true, !compare);
  }
  if (!compare && !d.memory) item.gprsWritten = bit(d.rm);
  return memoryOperand(item, setting, d.operandSize, !compare);
}

/** Shifts and rotates: a count of zero changes no flags. */
bool shift(Item& item, const Setting& setting) {
  const Decoded& d = item.d;
  item.byteRm = d.operandSize == 1;
  rmGpr(item, true, true);
  if (!d.memory) item.gprsWritten = bit(d.rm);
  const bool byCl = d.opcode == 0xd2 || d.opcode == 0xd3;
  const bool by1 = d.opcode == 0xd0 || d.opcode == 0xd1;
  const unsigned count = by1 ? 1 : static_cast<unsigned>(d.immediate) & (d.operandSize == 8 ? 63 : 31);
  item.flagsKilled = byCl || count == 0 ? 0 : d.row->writes;
  if (d.op == Op::Rcl || d.op == Op::Rcr) item.flagsRead = kCf;
  return memoryOperand(item, setting, d.operandSize, true);
}

bool bitTest(Item& item, const Setting& setting) {
  const Decoded& d = item.d;
  const bool immediate = d.opcode == 0xba, writes = d.op != Op::Bt;
  if (d.memory && !immediate) return false;  // the register addresses memory beyond the operand
  if (immediate) rmGpr(item, true, writes);
  else modRmGprs(item, true, false, true, writes);
  if (writes && !d.memory) item.gprsWritten = bit(d.rm);
  return memoryOperand(item, setting, d.operandSize, writes);
}

bool describeSame(Item& item, const Setting& setting) {
  const Decoded& d = item.d;
  if (d.vexEncoded) return d.op == Op::Vex ? describeVex(item, setting) : describeVexInteger(item, setting);
  const uint32_t writes = d.row->writes;
  item.flagsWritten = writes != 0;
  item.flagsKilled = writes;
  const unsigned size = d.operandSize;
  switch (d.op) {
    case Op::Adc:
    case Op::Sbb:
      item.flagsRead = kCf;
      [[fallthrough]];
    case Op::Add:
    case Op::Or:
    case Op::And:
    case Op::Sub:
    case Op::Xor:
    case Op::Cmp:
    case Op::Test:
      return arithmetic(item, setting);
    case Op::Inc:
    case Op::Dec:
      if (d.opcode < 0x50) {  // 40h–4Fh are REX prefixes to the host
        item.d.modrm = d.op == Op::Dec ? 8 : 0;
        item.d.opcode = 0xff;
        item.d.hasModRm = true;
      }
      [[fallthrough]];
    case Op::Neg:
    case Op::Not:
      item.byteRm = size == 1;
      rmGpr(item, true, true);
      if (!d.memory) item.gprsWritten = bit(d.rm);
      return memoryOperand(item, setting, size, true);
    case Op::Rol:
    case Op::Ror:
    case Op::Rcl:
    case Op::Rcr:
    case Op::Shl:
    case Op::Shr:
    case Op::Sar:
      return shift(item, setting);
    case Op::Shld:
    case Op::Shrd:
      modRmGprs(item, true, false, true, true);
      if (!d.memory) item.gprsWritten = bit(d.rm);
      if (d.opcode == 0xa5 || d.opcode == 0xad || (d.immediate & (size == 8 ? 63 : 31)) == 0) item.flagsKilled = 0;
      return memoryOperand(item, setting, size, true);
    case Op::Mul:
    case Op::Imul:
      item.byteRm = size == 1;
      rmGpr(item, true, false);
      item.gprsWritten = bit(kRax) | bit(kRdx);
      return memoryOperand(item, setting, size, false);
    case Op::Imul2:
    case Op::Bsf:
    case Op::Bsr:
    case Op::Lzcnt:
    case Op::Tzcnt:
    case Op::Popcnt:
    case Op::Adcx:
    case Op::Adox:
      modRmGprs(item, true, true, true, false);
      item.gprsWritten = bit(d.reg);
      if (d.op == Op::Adcx) item.flagsRead = kCf;
      if (d.op == Op::Adox) item.flagsRead = kOf;
      if (d.op == Op::Lzcnt || d.op == Op::Tzcnt || d.op == Op::Popcnt || d.op == Op::Adox) item.prefixes |= kF3;
      return memoryOperand(item, setting, size, false);
    case Op::Crc32:
      item.byteRm = d.rmSize == 1;
      modRmGprs(item, true, true, true, false);
      item.gprsWritten = bit(d.reg);
      item.prefixes = static_cast<uint8_t>(kF2 | (d.rmSize == 2 ? k66 : 0) | (d.rex & 8 ? kRexW : 0));
      return memoryOperand(item, setting, d.rmSize, false);
    case Op::Mov:
      if (d.opcode >= 0xa0 && d.opcode <= 0xa3) return describeMoffs(item, setting);
      item.byteReg = item.byteRm = size == 1;
      if (d.opcode == 0xc6 || d.opcode == 0xc7) {
        rmGpr(item, false, true);
      } else if (d.opcode >= 0xb0 && d.opcode <= 0xbf) {
        rmGpr(item, false, true);
        item.gprsWritten = bit(d.rm);
        return true;
      } else if (d.opcode >= 0x8a) {
        modRmGprs(item, false, true, true, false);
        item.gprsWritten = bit(d.reg);
        return memoryOperand(item, setting, size, false);
      } else {
        modRmGprs(item, true, false, false, true);
      }
      if (!d.memory) item.gprsWritten = bit(d.rm);
      return memoryOperand(item, setting, size, true);
    case Op::Movzx:
    case Op::Movsx:
    case Op::Movsxd:
      item.byteRm = d.rmSize == 1;
      modRmGprs(item, false, true, true, false);
      item.gprsWritten = bit(d.reg);
      return memoryOperand(item, setting, d.rmSize, false);
    case Op::Movbe: {
      const bool store = d.opcode == 0xf1;
      modRmGprs(item, store, !store, !store, store);
      if (!store) item.gprsWritten = bit(d.reg);
      return memoryOperand(item, setting, size, store);
    }
    case Op::Movnti:
      modRmGprs(item, true, false, false, true);
      return memoryOperand(item, setting, size, true);
    case Op::Xchg:
      if (d.row->form == Form::AO) {
        item.d.opcode = 0x87;
        item.d.hasModRm = true;
        item.d.reg = kRax;
      }
      item.byteReg = item.byteRm = size == 1;
      modRmGprs(item, true, true, true, true);
      item.gprsWritten = static_cast<uint16_t>(bit(d.reg) | (d.memory ? 0 : bit(d.rm)));
      return memoryOperand(item, setting, size, true);
    case Op::Xadd:
      item.byteReg = item.byteRm = size == 1;
      modRmGprs(item, true, true, true, true);
      item.gprsWritten = static_cast<uint16_t>(bit(d.reg) | (d.memory ? 0 : bit(d.rm)));
      return memoryOperand(item, setting, size, true);
    case Op::Cmpxchg:
      item.byteReg = item.byteRm = size == 1;
      modRmGprs(item, true, false, true, true);
      item.gprsWritten = static_cast<uint16_t>(bit(kRax) | (d.memory ? 0 : bit(d.rm)));
      return memoryOperand(item, setting, size, true);
    case Op::Cmpxchg8b:
      rmGpr(item, true, true);
      item.gprsWritten = bit(kRax) | bit(kRdx);
      if (!memoryOperand(item, setting, 2 * size, true)) return false;
      item.access.aligned = size == 8 ? 16 : 0;
      return true;
    case Op::Bswap:
      rmGpr(item, true, true);
      item.gprsWritten = bit(d.rm);
      return size >= 4;
    case Op::Cmov:
      item.flagsRead = flagsOfCondition(d.opcode & 15);
      modRmGprs(item, true, true, true, false);
      item.gprsWritten = bit(d.reg);
      return memoryOperand(item, setting, size, false);
    case Op::Set:
      item.byteRm = true;
      item.flagsRead = flagsOfCondition(d.opcode & 15);
      rmGpr(item, true, true);
      if (!d.memory) item.gprsWritten = bit(d.rm);
      return memoryOperand(item, setting, 1, true);
    case Op::Bt:
    case Op::Bts:
    case Op::Btr:
    case Op::Btc:
      return bitTest(item, setting);
    case Op::Cbw:
    case Op::Cwd:
      item.raw = true;
      item.gprsWritten = bit(d.op == Op::Cbw ? kRax : kRdx);
      return true;
    case Op::Cmc:
      item.flagsRead = kCf;
      [[fallthrough]];
    case Op::Clc:
    case Op::Stc:
      item.raw = true;
      return true;
    case Op::Lahf:
      item.raw = true;
      item.flagsRead = kArith & ~kOf;
      item.gprsWritten = bit(kRax);
      return true;
    case Op::Sahf:
      item.raw = true;
      return true;
    case Op::Simd:
      return describeSimd(item, setting);
    default:
      return false;
  }
}

bool endsTranslation(const Decoded& d) {
  if (d.row->attributes & kEnds) return true;
  switch (d.op) {
    case Op::Stac:
    case Op::Clac:
    case Op::Xrstor:
      return true;
    case Op::Vex:  // VLDMXCSR
      return d.vex->form == VexForm::Memory;
    case Op::Simd:  // LDMXCSR, FXRSTOR and their kin
      return d.simd->form == FpForm::Memory;
    case Op::X87:
      return d.x87->attributes & kX87Control;
    default:
      return false;
  }
}

void describeControl(Item& item, const Setting& setting) {
  const Decoded& d = item.d;
  const bool mode64 = setting.size == CodeSize::k64;
  const unsigned word = mode64 ? 8 : 4;
  const auto stack = [&](int disp, bool write) {
    item.access.present = true;
    item.access.size = static_cast<uint16_t>(word);
    item.access.write = write;
    item.access.disp = disp;
    item.access.address.base = kRsp;
    item.access.address.bytes = static_cast<uint8_t>(word);
  };
  const bool relative = d.row->attributes & kBranch;
  if (d.operandSize != word) return;
  switch (d.op) {
    case Op::Push:
      if (d.memory) {
        if (!addressOf(d, item.offset, setting, item.source)) return;
        item.source.present = true;
        item.source.size = static_cast<uint16_t>(word);
      } else if (d.row->form == Form::O || d.hasModRm) {
        item.rmBank = Bank::Gpr;
      }
      item.kind = Kind::Push;
      item.gprsWritten = bit(kRsp);
      stack(-static_cast<int>(word), true);
      return;
    case Op::Pushf:
      if (setting.checked) return;
      item.kind = Kind::PushFlags;
      item.gprsWritten = bit(kRsp);
      item.flagsRead = kArith;
      stack(-static_cast<int>(word), true);
      return;
    case Op::Pop:
      if (d.memory || d.rm == kRsp) return;
      item.kind = Kind::Pop;
      item.rmBank = Bank::Gpr;
      item.gprsWritten = static_cast<uint16_t>(bit(kRsp) | bit(d.rm));
      stack(0, false);
      return;
    case Op::Leave:
      item.kind = Kind::Leave;
      item.gprsWritten = bit(kRsp) | bit(kRbp);
      stack(0, false);
      item.access.address.base = kRbp;
      return;
    case Op::Jcc:
      item.kind = Kind::Jcc;
      item.flagsRead = flagsOfCondition(d.opcode & 15);
      return;
    case Op::Jmp:
      if (relative) {
        item.kind = Kind::Jmp;
        return;
      }
      if (!memoryOperand(item, setting, word, false)) return;
      item.kind = Kind::JmpFar;
      return;
    case Op::Call: {
      if (!relative && d.memory) {
        if (!addressOf(d, item.offset, setting, item.source)) return;
        item.source.present = true;
        item.source.size = static_cast<uint16_t>(word);
      }
      item.kind = relative ? Kind::Call : Kind::CallFar;
      item.gprsWritten = bit(kRsp);
      stack(-static_cast<int>(word), true);
      return;
    }
    case Op::Ret:
      item.kind = Kind::Ret;
      item.gprsWritten = bit(kRsp);
      stack(0, false);
      return;
    default:
      return;
  }
}

}  // namespace

uint32_t flagsOfCondition(unsigned condition) {
  static constexpr uint32_t kFlags[8] = {kOf, kCf, kZf, kCf | kZf, kSf, kPf, kSf | kOf, kZf | kSf | kOf};
  return kFlags[condition >> 1 & 7];
}

namespace {

/** Written is the register that the byte belongs to. */
void writesHighByte(Item& item) {
  unsigned written = item.gprsWritten;
  const auto belongs = [&](unsigned reg) { written = (written & ~unsigned{bit(reg)}) | bit(reg - 4); };
  if (item.byteReg && item.regBank == Bank::Gpr && item.regWritten && highByte(item.d, item.d.reg)) belongs(item.d.reg);
  if (item.byteRm && item.rmBank == Bank::Gpr && item.rmWritten && highByte(item.d, item.d.rm)) belongs(item.d.rm);
  item.gprsWritten = static_cast<uint16_t>(written);
}

}  // namespace

bool describe(const uint8_t* bytes, unsigned available, int32_t offset, const Setting& setting, Item& item) {
  item = Item{};
  item.bytes = bytes;
  item.offset = offset;
  if (decode(bytes, available, setting.size, item.d) != DecodeStatus::Ok) return false;
  const Op encoded = item.d.op;
  if (!admit(item.d, setting.features)) return false;
  const Decoded& d = item.d;
  const auto step = [&] {
    item.kind = endsTranslation(d) ? Kind::StepEnd : Kind::Step;
    item.raw = false;
    item.access = Access{};
    item.regBank = item.rmBank = Bank::None;
    item.flagsRead = kArith;
    item.flagsKilled = 0;
    item.flagsWritten = true;
    item.gprsWritten = 0xffff;
    return true;
  };
  // The host would take it for what its encoding says, not for what the guest's processor does.
  if (d.op != encoded) return step();
  switch (d.op) {
    case Op::Nop:
    case Op::Pause:
      item.kind = Kind::Nop;
      return true;
    case Op::Fence:
      item.kind = Kind::Same;
      item.raw = true;
      item.map = kMap0F;
      item.immediateBytes = 1;  // the ModRM byte
      return true;
    case Op::Cli:
    case Op::Cld:
    case Op::Std:
      if (setting.user && d.op == Op::Cli) return step();
      item.kind = Kind::FlagBit;
      return true;
    case Op::Sti:
    case Op::Swapgs:
    case Op::Stac:
    case Op::Clac:
      if (setting.user) return step();
      item.kind = d.op == Op::Sti ? Kind::Sti : d.op == Op::Swapgs ? Kind::SwapGs : Kind::UserDoor;
      return true;
    case Op::MovSegFrom:
      if (d.memory || (d.reg & 7) > kGs) return step();
      item.kind = Kind::ReadSegment;
      item.gprsWritten = bit(d.rm);
      return true;
    case Op::Bt:
    case Op::Bts:
    case Op::Btr:
    case Op::Btc:
      // The host adds the same distance to another address: with 64 bits that comes to the same.
      if (d.memory && d.opcode != 0xba) {
        Access a;
        if (setting.size != CodeSize::k64 || d.operandSize < 4 || d.addressSize != 8 || d.reg >= kR13 || !addressOf(d, offset, setting, a))
          return step();
        item.kind = Kind::BitString;
        item.access = a;
        item.flagsWritten = true;
        item.flagsKilled = d.row->writes;
        return true;
      }
      break;
    case Op::X87:
      return describeX87(item, setting) || step();
    case Op::Fwait:
      if (!setting.x87) return step();
      item.kind = Kind::Nop;
      return true;
    case Op::Movs:
    case Op::Stos:
    case Op::Lods:
      if ((d.rep && d.op == Op::Lods) || d.addressSize != (setting.size == CodeSize::k64 ? 8 : 4)) return step();
      if (d.op != Op::Stos && (d.segment >= kFs || (d.segment == kCs && setting.size != CodeSize::k64))) return step();
      item.kind = Kind::String;
      if (d.rep) item.gprsWritten |= bit(kRcx);
      if (d.op == Op::Lods) item.gprsWritten |= bit(kRax);
      if (d.op != Op::Stos) item.gprsWritten |= bit(kRsi);
      if (d.op != Op::Lods) item.gprsWritten |= bit(kRdi);
      return true;
    case Op::Lea: {
      Access a;
      if (!addressOf(d, offset, setting, a)) return step();
      a.address.segment = 0;
      item.kind = Kind::Lea;
      item.access = a;  // not present: an address without an access
      item.regBank = Bank::Gpr;
      item.regWritten = true;
      item.regRead = d.operandSize == 2;
      item.gprsWritten = bit(d.reg);
      return true;
    }
    case Op::Div:
    case Op::Idiv:
      if (d.operandSize < 4) return step();
      rmGpr(item, true, false);
      if (!memoryOperand(item, setting, d.operandSize, false)) return step();
      item.kind = Kind::Divide;
      item.flagsWritten = true;
      item.flagsKilled = kArith;
      item.gprsWritten = bit(kRax) | bit(kRdx);
      return true;
    case Op::Pushf:
    case Op::Push:
    case Op::Pop:
    case Op::Leave:
    case Op::Jcc:
    case Op::Jmp:
    case Op::Call:
    case Op::Ret:
      describeControl(item, setting);
      return item.kind == Kind::Step ? step() : true;
    default:
      break;
  }
  Layout l;
  if (!layOut(item, l)) return step();
  item.map = l.map;
  item.vexPrefix = l.vexPrefix;
  item.immediateBytes = static_cast<uint8_t>(d.length - l.afterOperands);
  if (d.op != Op::Simd) {
    item.prefixes = static_cast<uint8_t>((d.operandSizePrefix ? k66 : 0) | (d.rex & 8 ? kRexW : 0) | (d.lock ? kLock : 0));
  }
  if (!describeSame(item, setting)) return step();
  // AH, CH, DH and BH cannot be named together with anything that takes a REX prefix.
  const bool high = (item.byteReg && item.regBank == Bank::Gpr && highByte(d, item.d.reg)) ||
                    (item.byteRm && item.rmBank == Bank::Gpr && highByte(d, item.d.rm));
  if (high) {
    if (d.memory) return step();
    const auto needsRex = [&](Bank bank, bool byte, unsigned reg) { return bank == Bank::Gpr && !byte && reg == kRsp; };
    if (needsRex(item.regBank, item.byteReg, item.d.reg) || needsRex(item.rmBank, item.byteRm, item.d.rm)) return step();
    writesHighByte(item);
  }
  item.kind = Kind::Same;
  return true;
}

Change changeOf(const Item& item, uint8_t gpr) {
  if (!(item.gprsWritten >> gpr & 1)) return {true, 0};
  const Decoded& d = item.d;
  const unsigned word = d.mode == CodeSize::k64 ? 8 : 4;
  if (item.kind == Kind::Push && gpr == kRsp) return {true, -static_cast<int64_t>(word)};
  if ((item.kind == Kind::Call || item.kind == Kind::CallFar) && gpr == kRsp) return {true, -static_cast<int64_t>(word)};
  if (item.kind == Kind::Ret && gpr == kRsp) return {true, static_cast<int64_t>(word + static_cast<uint16_t>(d.immediate))};
  if (item.kind == Kind::Pop && gpr == kRsp) return {true, static_cast<int64_t>(word)};
  if (item.kind == Kind::Lea && d.operandSize == word && item.access.address.base == gpr &&
      item.access.address.index == kNoRegister && item.access.address.bytes == word)
    return {true, item.access.disp};
  if (item.kind == Kind::Same && item.rmBank == Bank::Gpr && d.rm == gpr && d.operandSize == word && item.map == kMap1) {
    const bool immediate = d.opcode == 0x81 || d.opcode == 0x83;
    if (immediate && d.op == Op::Add) return {true, static_cast<int64_t>(d.immediate)};
    if (immediate && d.op == Op::Sub) return {true, -static_cast<int64_t>(d.immediate)};
    if (d.op == Op::Inc) return {true, 1};
    if (d.op == Op::Dec) return {true, -1};
  }
  return {false, 0};
}

}  // namespace lodge::translator
