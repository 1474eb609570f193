// What the translator does with SIMD, VEX-encoded and x87 instructions.
#include "translator/item_forms.h"

namespace lodge::translator {

using namespace x86;

bool describeSimd(Item& item, const Setting& setting) {
  const Decoded& d = item.d;
  const FpRow& row = *d.simd;
  if (!setting.vectors) return false;
  if (row.attributes & (kFpMmx | kFpVariableStore)) return false;
  item.prefixes |= static_cast<uint8_t>((row.prefix == FpPrefix::P66   ? k66
                                         : row.prefix == FpPrefix::PF2 ? kF2
                                         : row.prefix == FpPrefix::PF3 ? kF3
                                                                       : 0) |
                                        (d.rex & 8 ? kRexW : 0));
  // A prefix that selects nothing is left out: 66h with F2h or F3h.
  const unsigned bytes = row.memoryBytes ? row.memoryBytes : d.rex & 8 ? 8 : 4;
  switch (row.form) {
    case FpForm::XmmRm:
      item.regBank = Bank::Vector;
      item.rmBank = d.memory ? Bank::None : Bank::Vector;
      break;
    case FpForm::RmXmm:
      item.regBank = Bank::Vector;
      item.rmBank = d.memory ? Bank::None : Bank::Vector;
      break;
    case FpForm::XmmRmImmShift:
      item.rmBank = Bank::Vector;
      break;
    case FpForm::XmmGpr:
      item.regBank = Bank::Vector;
      item.rmBank = d.memory ? Bank::None : Bank::Gpr;
      item.rmRead = true;
      break;
    case FpForm::GprXmm:
      item.regBank = Bank::Gpr;
      item.rmBank = d.memory ? Bank::None : Bank::Vector;
      item.regWritten = item.regRead = true;
      item.gprsWritten = bit(d.reg);
      break;
    case FpForm::RmGprXmm:
      item.regBank = Bank::Vector;
      item.rmBank = d.memory ? Bank::None : Bank::Gpr;
      item.rmWritten = true;
      item.rmRead = true;
      if (!d.memory) item.gprsWritten = bit(d.rm);
      break;
    default:
      return false;
  }
  if (row.map == FpMap::M0F3A && (row.opcode == 0x61 || row.opcode == 0x63)) item.gprsWritten |= bit(kRcx);
  if (row.extension >= 0) item.regBank = Bank::None;
  if (!memoryOperand(item, setting, bytes, row.attributes & kFpStore)) return false;
  item.access.aligned = row.attributes & kFpAligned ? 16 : 0;
  if (row.attributes & kFpWritesFlags) {
    item.flagsWritten = true;
    item.flagsKilled = kArith;
  }
  item.kind = Kind::Same;
  return true;
}

/** AVX and its kin. What touches memory element by element, and what changes MXCSR, is the interpreter's. */
bool describeVex(Item& item, const Setting& setting) {
  const Decoded& d = item.d;
  const VexRow& row = *d.vex;
  if (!setting.vex || !setting.vectors) return false;
  item.vex = true;
  if (row.form == VexForm::None) {
    // Outside 64-bit mode eight registers are zeroed; the host has all sixteen.
    if (setting.size != CodeSize::k64) return false;
    item.raw = true;
    return true;
  }
  const auto vectors = [&](bool reg, bool v) {
    if (reg) item.regBank = Bank::Vector;
    if (v) item.vBank = Bank::Vector;
    item.rmBank = d.memory ? Bank::None : Bank::Vector;
  };
  switch (row.form) {
    case VexForm::Rm:
    case VexForm::Mr:
    case VexForm::Compare:
      vectors(true, false);
      break;
    case VexForm::Rvm:
    case VexForm::Rvmr:
    case VexForm::Mvr:
      vectors(true, true);
      break;
    case VexForm::Vmi:
      vectors(false, true);
      break;
    case VexForm::RmGpr:
      vectors(false, false);
      item.regBank = Bank::Gpr;
      item.regWritten = true;
      item.gprsWritten = bit(d.reg);
      break;
    case VexForm::MrGpr:
      vectors(true, false);
      if (!d.memory) {
        item.rmBank = Bank::Gpr;
        item.rmWritten = true;
        item.gprsWritten = bit(d.rm);
      }
      break;
    case VexForm::RmFromGpr:
    case VexForm::RvmGpr:
      vectors(true, row.form == VexForm::RvmGpr);
      if (!d.memory) item.rmBank = Bank::Gpr;
      item.rmRead = true;
      break;
    default:
      return false;
  }
  const bool general = row.form == VexForm::RmGpr || row.form == VexForm::MrGpr || row.form == VexForm::RmFromGpr ||
                       row.form == VexForm::RvmGpr;
  item.vexW = d.vexW && (!general || setting.size == CodeSize::k64);
  const unsigned bytes = row.memoryBytes[d.vexL] ? row.memoryBytes[d.vexL] : d.vexW && setting.size == CodeSize::k64 ? 8 : 4;
  if (!memoryOperand(item, setting, bytes, row.attributes & kFpStore)) return false;
  if (d.memory && (row.attributes & kFpAligned)) item.access.aligned = static_cast<uint8_t>(bytes);
  if (row.attributes & kFpWritesFlags) {
    item.flagsWritten = true;
    item.flagsKilled = kArith;
  }
  return true;
}

/** BMI1 and BMI2. */
bool describeVexInteger(Item& item, const Setting& setting) {
  const Decoded& d = item.d;
  item.vex = true;
  item.vexW = d.vexW && setting.size == CodeSize::k64;
  item.vBank = Bank::Gpr;
  item.rmBank = d.memory ? Bank::None : Bank::Gpr;
  item.rmRead = true;
  switch (d.row->form) {
    case Form::VM:
      item.vWritten = true;
      item.gprsWritten = bit(d.v);
      break;
    case Form::RMI:
      item.vBank = Bank::None;
      [[fallthrough]];
    default:
      item.regBank = Bank::Gpr;
      item.regWritten = true;
      item.gprsWritten = bit(d.reg);
  }
  if (d.op == Op::Mulx) {
    if (d.reg >= kR13 || d.v >= kR13) return false;  // both are written, and kept in the Core
    item.vWritten = true;
    item.gprsWritten |= bit(d.v);
  }
  item.flagsWritten = d.row->writes != 0;
  item.flagsKilled = d.row->writes;
  return memoryOperand(item, setting, d.operandSize, false);
}

bool describeX87(Item& item, const Setting& setting) {
  const Decoded& d = item.d;
  const X87Row& row = *d.x87;
  if (!setting.x87) return false;
  const bool loadsControl = d.memory && row.opcode == 0xd9 && row.extension == 5;
  const bool storesControl = d.memory && ((row.opcode == 0xd9 && row.extension == 7) || (row.opcode == 0xdd && row.extension == 7));
  const bool storesStatus = !d.memory && row.opcode == 0xdf && d.modrm == 0xe0;
  if ((row.attributes & kX87Control) && !loadsControl && !storesControl && !storesStatus) return false;
  if (d.memory) {
    if (row.memoryBytes > 10 || !memoryOperand(item, setting, row.memoryBytes, row.attributes & kFpStore)) return false;
  }
  item.x87 = true;
  if (row.attributes & kFpReadsFlags) item.flagsRead = kArith;
  if (row.attributes & kFpWritesFlags) {
    item.flagsWritten = true;
    item.flagsKilled = kArith;
  }
  if (storesStatus) item.gprsWritten = bit(kRax);
  item.kind = loadsControl ? Kind::LoadControl : Kind::Same;
  return true;
}

}  // namespace lodge::translator
