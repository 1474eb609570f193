#include "x86/disassembler.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>

namespace lodge::x86 {
namespace {

constexpr const char* kConditions[] = {"o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"};
constexpr const char* kSegments[] = {"es", "cs", "ss", "ds", "fs", "gs", "seg6", "seg7"};

std::string hex(uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}
uint64_t truncated(uint64_t value, unsigned bytes) { return bytes >= 8 ? value : value & ((1ull << 8 * bytes) - 1); }

/** The one of three that the size is for: 2, 4 or 8 bytes. */
const char* bySize(unsigned size, const char* word, const char* dword, const char* qword) {
  return size == 2 ? word : size == 4 ? dword : qword;
}

/** nullptr: as the operation is called. */
const char* nameByEncoding(const Decoded& d) {
  static constexpr const char* kPrefetches[] = {"prefetchnta", "prefetcht0", "prefetcht1", "prefetcht2"};
  const unsigned extension = d.modrm >> 3 & 7;
  switch (d.op) {
    case Op::Cbw: return bySize(d.operandSize, "cbw", "cwde", "cdqe");
    case Op::Cwd: return bySize(d.operandSize, "cwd", "cdq", "cqo");
    case Op::Iret: return bySize(d.operandSize, "iret", "iretd", "iretq");
    case Op::Pushf: return bySize(d.operandSize, "pushf", "pushfd", "pushfq");
    case Op::Popf: return bySize(d.operandSize, "popf", "popfd", "popfq");
    case Op::Pusha: return d.operandSize == 2 ? "pusha" : "pushad";
    case Op::Popa: return d.operandSize == 2 ? "popa" : "popad";
    case Op::Jcxz: return bySize(d.addressSize, "jcxz", "jecxz", "jrcxz");
    case Op::Loop: return d.opcode == 0xe0 ? "loopne" : d.opcode == 0xe1 ? "loope" : "loop";
    case Op::Fence: return extension == 5 ? "lfence" : extension == 6 ? "mfence" : "sfence";
    case Op::Lds: return d.opcode == 0xc4 ? "les" : d.opcode == 0xc5 ? "lds" : d.opcode == 0xb2 ? "lss" : d.opcode == 0xb4 ? "lfs" : "lgs";
    case Op::Ud: return d.opcode == 0x0b ? "ud2" : d.opcode == 0xb9 ? "ud1" : "ud0";
    case Op::Vmcall: return d.modrm == 0xd9 ? "vmmcall" : "vmcall";
    case Op::Cmpxchg8b: return d.operandSize == 8 ? "cmpxchg16b" : "cmpxchg8b";
    case Op::Imul2: return "imul";
    case Op::Icebp: return "int1";
    case Op::IntN: return "int";
    case Op::JmpFar: return "jmp far";
    case Op::CallFar: return "call far";
    case Op::RetFar: return d.operandSize == 8 ? "retfq" : "retf";
    case Op::Sysret: return d.operandSize == 8 ? "sysretq" : "sysret";
    case Op::Sysexit: return d.operandSize == 8 ? "sysexitq" : "sysexit";
    case Op::PushSeg: return "push";
    case Op::PopSeg: return "pop";
    case Op::MovSegTo: case Op::MovSegFrom: case Op::MovToCr: case Op::MovFromCr: case Op::MovToDr: case Op::MovFromDr: return "mov";
    case Op::Nop:
      if (d.opcode == 0x0d) return "prefetchw";
      if (d.opcode == 0x18 && extension < std::size(kPrefetches)) return kPrefetches[extension];
      if (d.opcode == 0x1e && d.rep == 0xf3 && (d.modrm == 0xfa || d.modrm == 0xfb)) return d.modrm == 0xfa ? "endbr64" : "endbr32";
      return nullptr;
    default: return nullptr;
  }
}

/** What the tables of SIMD instructions call by its 32-bit form, or by the one with a memory operand. */
std::string vectorName(std::string name, bool wide, bool memory) {
  if (!memory && (name == "movlps" || name == "vmovlps" || name == "movhps" || name == "vmovhps"))
    return name.insert(name.size() - 3, name[name.size() - 3] == 'l' ? "h" : "l");  // a half goes to the other one
  if (!wide) return name;
  for (const char* narrow : {"movd", "vmovd", "pextrd", "vpextrd", "pinsrd", "vpinsrd"})
    if (name == narrow) name.back() = 'q';
  return name == "fxsave" || name == "fxrstor" ? name + "64" : name;
}

class Text {
 public:
  Text(const Decoded& d, uint64_t address) : d_(d), address_(address) {}

  std::string all() {
    if (d_.lock) out_ = "lock ";
    if (d_.rep && d_.row->form == Form::Str) {
      const bool compares = d_.op == Op::Cmps || d_.op == Op::Scas;
      out_ += d_.rep == 0xf2 ? "repne " : compares ? "repe " : "rep ";
    }
    out_ += mnemonic(d_);
    if (d_.simd) simd();
    else if (d_.vex) vex();
    else if (d_.x87) x87();
    else integer();
    return std::move(out_);
  }

 private:
  void add(const std::string& operand) {
    out_ += operands_++ ? ", " : " ";
    out_ += operand;
  }
  static std::string vector(unsigned n, bool wide) { return (wide ? "ymm" : "xmm") + std::to_string(n); }
  static std::string mmx(unsigned n) { return "mm" + std::to_string(n & 7); }
  static std::string stack(unsigned n) { return "st(" + std::to_string(n & 7) + ")"; }

  std::string gpr(unsigned n, unsigned size) const {
    static constexpr const char* kNames[] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
    static constexpr const char* kLow[] = {"al", "cl", "dl", "bl", "ah", "ch", "dh", "bh"};
    if (n >= 8) return "r" + std::to_string(n) + (size == 1 ? "b" : size == 2 ? "w" : size == 4 ? "d" : "");
    if (size == 1) return n < 4 || !d_.rex ? kLow[n] : std::string(kNames[n]) + "l";
    return (size == 4 ? "e" : size == 8 ? "r" : "") + std::string(kNames[n]);
  }
  /** `bytes` 0: nothing is said of the operand's size. */
  std::string memory(unsigned bytes) const {
    struct Keyword { unsigned bytes; const char* name; };
    static constexpr Keyword kKeywords[] = {{1, "byte"}, {2, "word"}, {4, "dword"}, {6, "fword"}, {8, "qword"}, {10, "tbyte"}, {16, "xmmword"}, {32, "ymmword"}};
    std::string text;
    for (const Keyword& k : kKeywords)
      if (k.bytes == bytes) text = std::string(k.name) + " ptr ";
    const bool onStack = d_.base == kRsp || d_.base == kRbp;
    if (d_.segment != (onStack ? kSs : kDs)) text += std::string(kSegments[d_.segment & 7]) + ":";
    return text + "[" + address() + "]";
  }
  std::string address() const {
    std::string text;
    if (d_.base == kRipRegister) text = d_.addressSize == 8 ? "rip" : "eip";
    else if (d_.base != kNoRegister) text = gpr(d_.base, d_.addressSize);
    if (d_.index != kNoRegister) {
      const bool gather = d_.vex && d_.vex->form == VexForm::Gather;
      text += (text.empty() ? "" : "+") + (gather ? vector(d_.index, gatherWide(true)) : gpr(d_.index, d_.addressSize));
      if (d_.addressSize != 2) text += "*" + std::to_string(1u << d_.scale);
    }
    if (text.empty()) return hex(truncated(static_cast<uint64_t>(d_.displacement), d_.addressSize));
    if (d_.displacement == 0) return text;
    const bool down = d_.displacement < 0;
    return text + (down ? "-" : "+") + hex(down ? 0 - static_cast<uint64_t>(d_.displacement) : static_cast<uint64_t>(d_.displacement));
  }
  void immediate(unsigned bytes) { add(hex(truncated(d_.immediate, bytes))); }

  // ---- the integer and system set

  unsigned memoryBytes() const {
    if (movesXsaveArea(d_.op)) return 0;
    switch (d_.op) {
      case Op::Lea: case Op::Sgdt: case Op::Sidt: case Op::Lgdt: case Op::Lidt:
        return 0;
      case Op::Lds: case Op::JmpFar: case Op::CallFar: return d_.operandSize + 2u;
      case Op::Cmpxchg8b: case Op::Bound: return 2u * d_.operandSize;
      case Op::Invpcid: return 16;
      case Op::Sldt: case Op::Str: case Op::Smsw: case Op::MovSegFrom: case Op::Lar: case Op::Lsl: return 2;
      default: return d_.rmSize;
    }
  }
  void rm() { add(d_.memory ? memory(memoryBytes()) : gpr(d_.rm, d_.rmSize)); }
  void reg() { add(gpr(d_.reg, d_.operandSize)); }
  void accumulator(unsigned size) { add(gpr(kRax, size)); }

  void ports() {
    const auto port = [&] { d_.opcode < 0xe8 ? immediate(1) : add("dx"); };
    const unsigned size = std::min<unsigned>(d_.operandSize, 4);
    if (d_.op == Op::Out) port();
    accumulator(size);
    if (d_.op == Op::In) port();
  }
  void special(const char* bank) {
    const std::string own = bank + std::to_string(d_.reg);
    const bool to = d_.op == Op::MovToCr || d_.op == Op::MovToDr;
    if (to) add(own);
    add(gpr(d_.rm, d_.operandSize));
    if (!to) add(own);
  }
  void segmentMove() {
    if (d_.op == Op::MovSegTo) add(kSegments[d_.reg & 7]);
    rm();
    if (d_.op == Op::MovSegFrom) add(kSegments[d_.reg & 7]);
  }
  /** Members of groups 1 and 2 leave it to their opcode. */
  Form form() const {
    if (d_.row->form != Form::Invalid) return d_.row->form;
    return d_.opcode >= 0xd2 ? Form::MC : d_.opcode >= 0xd0 ? Form::M1 : Form::MI;
  }

  /** Counts and bit numbers are bytes; other immediates of one byte are extended to the operand. */
  unsigned immediateBytes() const {
    switch (d_.op) {
      case Op::Rol: case Op::Ror: case Op::Rcl: case Op::Rcr: case Op::Shl: case Op::Shr: case Op::Sar: case Op::Rorx:
      case Op::Bt: case Op::Bts: case Op::Btr: case Op::Btc: case Op::IntN:
        return 1;
      case Op::Ret: case Op::RetFar: return 2;
      default: return d_.operandSize;
    }
  }

  void integer() {
    if (d_.op == Op::Fence) return;
    if (d_.op == Op::In || d_.op == Op::Out) return ports();
    if (d_.op == Op::PushSeg || d_.op == Op::PopSeg) return add(kSegments[d_.opcode >> 3 & 7]);
    switch (form()) {
      case Form::MR: rm(); return reg();
      case Form::RM: reg(); return rm();
      case Form::MI: rm(); return immediate(immediateBytes());
      case Form::M: if (mnemonic(d_).rfind("endbr", 0) != 0) rm(); return;
      case Form::M1: rm(); return add("1");
      case Form::MC: rm(); return add("cl");
      case Form::RMI: reg(); rm(); return immediate(immediateBytes());
      case Form::MRI: rm(); reg(); return immediate(1);
      case Form::MRC: rm(); reg(); return add("cl");
      case Form::O: return add(gpr(d_.rm, d_.operandSize));
      case Form::OI: add(gpr(d_.rm, d_.operandSize)); return immediate(d_.operandSize);
      case Form::AI: accumulator(d_.operandSize); return immediate(d_.operandSize);
      case Form::AO: accumulator(d_.operandSize); return add(gpr(d_.rm, d_.operandSize));
      case Form::I: return immediate(immediateBytes());
      case Form::J: return add(hex(truncated(address_ + d_.length + d_.immediate, d_.mode == CodeSize::k64 ? 8 : d_.operandSize)));
      case Form::FD: accumulator(d_.operandSize); return add(memory(d_.operandSize));
      case Form::TD: add(memory(d_.operandSize)); return accumulator(d_.operandSize);
      case Form::Far: return add(hex(d_.immediate2) + ":" + hex(d_.immediate));
      case Form::II: immediate(2); return add(hex(d_.immediate2));
      case Form::SR: return segmentMove();
      case Form::CR: return special(d_.op == Op::MovToCr || d_.op == Op::MovFromCr ? "cr" : "dr");
      case Form::RVM: reg(); add(gpr(d_.v, d_.operandSize)); return rm();
      case Form::RMV: reg(); rm(); return add(gpr(d_.v, d_.operandSize));
      case Form::VM: add(gpr(d_.v, d_.operandSize)); return rm();
      default: return;
    }
  }

  // ---- x87

  void x87() {
    const X87Row& row = *d_.x87;
    if (d_.memory) return add(memory(row.memoryBytes));
    if (d_.opcode == 0xdf && d_.modrm == 0xe0) return add("ax");
    if (row.modrmLast - row.modrmFirst < 7) return;
    const bool toTop = d_.opcode == 0xd8 || d_.opcode == 0xda || d_.opcode == 0xdb || (d_.opcode == 0xdf && d_.modrm >= 0xe8);
    if (toTop) add("st");
    add(stack(d_.modrm));
    if (d_.opcode == 0xdc || d_.opcode == 0xde) add("st");
  }

  // ---- MMX and SSE

  bool wide() const { return d_.vexEncoded ? d_.vexW && d_.mode == CodeSize::k64 : d_.rex & 8; }
  unsigned word() const { return wide() ? 8 : 4; }
  std::string rmOr(const std::string& registerName, unsigned bytes) const { return d_.memory ? memory(bytes ? bytes : word()) : registerName; }
  std::string gprRm(unsigned bytes) const { return rmOr(gpr(d_.rm, bytes ? 4 : word()), bytes); }

  void simd() {
    const FpRow& row = *d_.simd;
    const std::string xmmReg = vector(d_.reg, false), mmReg = mmx(d_.reg), gprReg = gpr(d_.reg, word());
    const std::string xmmRm = rmOr(vector(d_.rm, false), row.memoryBytes), mmRm = rmOr(mmx(d_.rm), row.memoryBytes);
    const auto two = [&](const std::string& to, const std::string& from) { add(to), add(from); };
    switch (row.form) {
      case FpForm::XmmRm: two(xmmReg, xmmRm); break;
      case FpForm::RmXmm: two(xmmRm, xmmReg); break;
      case FpForm::MmxRm: two(mmReg, mmRm); break;
      case FpForm::RmMmx: two(mmRm, mmReg); break;
      case FpForm::XmmMmx: two(xmmReg, mmRm); break;
      case FpForm::MmxXmm: two(mmReg, xmmRm); break;
      case FpForm::XmmGpr: two(xmmReg, gprRm(row.memoryBytes)); break;
      case FpForm::MmxGpr: two(mmReg, gprRm(row.memoryBytes)); break;
      case FpForm::GprXmm: two(gprReg, xmmRm); break;
      case FpForm::GprMmx: two(gprReg, mmRm); break;
      case FpForm::RmGprXmm: two(gprRm(row.memoryBytes), xmmReg); break;
      case FpForm::RmGprMmx: two(gprRm(row.memoryBytes), mmReg); break;
      case FpForm::RmGpr: two(memory(word()), gprReg); break;
      case FpForm::XmmRmImmShift: add(vector(d_.rm, false)); break;
      case FpForm::MmxRmImmShift: add(mmx(d_.rm)); break;
      case FpForm::XmmMaskStore: two(xmmReg, vector(d_.rm, false)); break;
      case FpForm::MmxMaskStore: two(mmReg, mmx(d_.rm)); break;
      case FpForm::Memory: add(memory(row.memoryBytes)); break;
      case FpForm::None: break;
    }
    if (row.imm8) immediate(1);
    if (row.attributes & kFpTwoImmediates) add(hex(d_.immediate2));
  }

  // ---- VEX

  /** Whether a gather's index, or what it loads, has 256 bits: that with the larger elements has, the other one as many of them. */
  bool gatherWide(bool index) const {
    const bool element8 = d_.vex->attributes & kVexElement8, index8 = d_.vex->attributes & kVexIndex8;
    return d_.vexL && !(index ? element8 && !index8 : index8 && !element8);
  }
  void vex() {
    const VexRow& row = *d_.vex;
    const bool gather = row.form == VexForm::Gather, l = gather ? gatherWide(false) : d_.vexL && row.l != VexL::Ignored;
    const unsigned bytes = row.memoryBytes[d_.vexL];
    // Conversions to elements of half the size.
    const bool narrows = std::strstr(row.mnemonic, "pd2ps") || std::strstr(row.mnemonic, "pd2dq");
    const std::string reg = vector(d_.reg, l && !narrows), v = vector(d_.v, l), gprReg = gpr(d_.reg, word());
    const std::string vectorRm = rmOr(vector(d_.rm, bytes == 32), bytes), generalRm = gprRm(bytes);
    const auto list = [&](std::initializer_list<std::string> operands) {
      for (const std::string& o : operands) add(o);
    };
    switch (row.form) {
      case VexForm::Rm: case VexForm::Compare: case VexForm::String: list({reg, vectorRm}); break;
      case VexForm::Rvm: case VexForm::MaskLoad: list({reg, v, vectorRm}); break;
      case VexForm::Rvmr: list({reg, v, vectorRm, vector(d_.immediate >> 4 & (d_.mode == CodeSize::k64 ? 15 : 7), l)}); return;
      case VexForm::Mr: list({vectorRm, reg}); break;
      case VexForm::Mvr: list({vector(d_.rm, false), v, reg}); break;
      case VexForm::MaskStore: list({vectorRm, v, reg}); break;
      case VexForm::Vmi: list({v, vectorRm}); break;
      case VexForm::RmGpr: list({gprReg, vectorRm}); break;
      case VexForm::MrGpr: list({generalRm, reg}); break;
      case VexForm::RmFromGpr: list({reg, generalRm}); break;
      case VexForm::RvmGpr: list({reg, v, generalRm}); break;
      case VexForm::Memory: add(memory(bytes)); break;
      case VexForm::MaskStoreDi: list({reg, vector(d_.rm, false)}); break;
      case VexForm::Gather: list({reg, memory(0), v}); break;
      case VexForm::None: break;
    }
    if (row.imm8) immediate(1);
  }

  const Decoded& d_;
  const uint64_t address_;
  std::string out_;
  unsigned operands_ = 0;
};

}  // namespace

std::string mnemonic(const Decoded& d) {
  if (d.simd) return vectorName(d.simd->mnemonic, d.rex & 8, d.memory);
  if (d.vex) return vectorName(d.vex->mnemonic, d.vexW && d.mode == CodeSize::k64, d.memory);
  if (d.x87) return d.x87->mnemonic;
  const char* const known = nameByEncoding(d);
  std::string name = known ? known : opName(d.op);
  for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c);
  if (movesXsaveArea(d.op)) return d.operandSize == 8 ? name + "64" : name;
  switch (d.op) {
    case Op::Jcc: return std::string("j") + kConditions[d.opcode & 15];
    case Op::Cmov: case Op::Set: return name + kConditions[d.opcode & 15];
    default: return d.row && d.row->form == Form::Str ? name + (d.operandSize == 1 ? "b" : bySize(d.operandSize, "w", "d", "q")) : name;
  }
}

std::string disassemble(const Decoded& d, uint64_t address) { return Text(d, address).all(); }

std::vector<DisassembledLine> disassemble(const uint8_t* bytes, size_t count, CodeSize mode, uint64_t address) {
  std::vector<DisassembledLine> lines;
  for (size_t at = 0; at < count;) {
    Decoded d;
    const DecodeStatus status = decode(bytes + at, static_cast<unsigned>(std::min<size_t>(count - at, 15)), mode, d);
    if (status == DecodeStatus::Truncated) break;
    if (status == DecodeStatus::Ok) lines.push_back({d.length, disassemble(d, address + at)});
    else lines.push_back({1, "(no instruction)"});
    at += lines.back().length;
  }
  return lines;
}

}  // namespace lodge::x86
