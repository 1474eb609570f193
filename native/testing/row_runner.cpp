#include "testing/row_runner.h"

namespace lodge::x86::oracle {

static bool regIsGpr(FpForm f) { return f == FpForm::GprXmm || f == FpForm::GprMmx || f == FpForm::RmGpr; }
static bool rmIsGpr(FpForm f) {
  return f == FpForm::XmmGpr || f == FpForm::MmxGpr || f == FpForm::RmGprXmm || f == FpForm::RmGprMmx;
}
static bool regIsMmx(FpForm f) {
  return f == FpForm::MmxRm || f == FpForm::RmMmx || f == FpForm::MmxXmm || f == FpForm::MmxGpr || f == FpForm::RmGprMmx ||
         f == FpForm::MmxMaskStore;
}
static bool rmIsMmx(FpForm f) {
  return f == FpForm::MmxRm || f == FpForm::RmMmx || f == FpForm::XmmMmx || f == FpForm::GprMmx ||
         f == FpForm::MmxRmImmShift || f == FpForm::MmxMaskStore;
}

static uint8_t secondImmediate(const Operands& o) { return static_cast<uint8_t>(o.imm ^ 0x15 ^ o.reg << 2); }

static unsigned randomGpr(Random& random) {
  for (;;) {
    const unsigned r = random.below(16);
    if (r != kRsp && r != kR14 && r != kR15) return r;
  }
}

Operands randomOperands(Random& random, const FpRow& row) {
  Operands o{};
  o.memory = !(row.attributes & kFpNoMemory) && row.form != FpForm::None && ((row.attributes & kFpNoRegister) || random.oneIn(2));
  o.reg = regIsGpr(row.form) ? randomGpr(random) : random.below(regIsMmx(row.form) ? 8 : 16);
  o.rm = rmIsGpr(row.form) ? randomGpr(random) : random.below(rmIsMmx(row.form) ? 8 : 16);
  if (!rmIsGpr(row.form) && !regIsGpr(row.form) && random.oneIn(8)) o.rm = o.reg;
  if (rmIsMmx(row.form)) o.rm &= 7;
  o.wide = random.oneIn(3);
  o.imm = static_cast<uint8_t>(random.oneIn(3) ? random.below(20) : random.bits());
  o.offset = 16 * random.below(8) + ((row.attributes & kFpAligned) ? 0 : random.below(16));
  return o;
}

std::vector<uint8_t> encode(const FpRow& row, const Operands& o) {
  std::vector<uint8_t> code;
  constexpr uint8_t kPrefixes[] = {0, 0x66, 0xf3, 0xf2};
  if (row.prefix != FpPrefix::None) code.push_back(kPrefixes[static_cast<unsigned>(row.prefix)]);
  const unsigned reg = row.extension >= 0 ? static_cast<unsigned>(row.extension) : o.reg;
  const unsigned rm = o.memory ? unsigned{kR14} : o.rm;
  const uint8_t rex = static_cast<uint8_t>(0x40 | o.wide << 3 | (reg >> 3) << 2 | rm >> 3);
  if (rex != 0x40) code.push_back(rex);
  code.push_back(0x0f);
  if (row.map == FpMap::M0F38) code.push_back(0x38);
  if (row.map == FpMap::M0F3A) code.push_back(0x3a);
  code.push_back(row.opcode);
  const bool hasModRm = row.form != FpForm::None || row.extension >= 0;
  if (hasModRm) code.push_back(static_cast<uint8_t>((o.memory ? 0 : 0xc0) | (reg & 7) << 3 | (rm & 7)));
  if (row.imm8) code.push_back(o.imm);
  if (row.attributes & kFpTwoImmediates) code.push_back(secondImmediate(o));
  return code;
}

int execute(const FpRow& row, const Operands& op, State& state, uint8_t* memory, bool byImmediate) {
  alignas(64) uint8_t buffer[512];
  std::memset(buffer, 0xcc, sizeof buffer);
  FpOperands o{state, buffer, nullptr, op.imm, static_cast<uint8_t>(op.wide ? 8 : 4), op.memory, 0, 0, 0, 0};
  if (row.attributes & kFpTwoImmediates) o.imm |= static_cast<uint32_t>(secondImmediate(op)) << 8;
  const unsigned bytes = row.memoryBytes ? row.memoryBytes : o.operandSize;
  // Exactly the operand's bytes are readable.
  std::vector<uint8_t> source(memory + op.offset, memory + op.offset + bytes);
  const auto xmm = [&](unsigned i) -> void* { return state.vec[i].bytes; };
  const auto mmx = [&](unsigned i) -> void* { return state.x87.r[i].bytes; };
  const auto gpr = [&](unsigned i) -> void* { return &state.gpr[i]; };
  const auto reg = regIsGpr(row.form) ? gpr(op.reg) : regIsMmx(row.form) ? mmx(op.reg & 7) : xmm(op.reg);
  const auto rm = rmIsGpr(row.form) ? gpr(op.rm) : rmIsMmx(row.form) ? mmx(op.rm & 7) : xmm(op.rm);
  const bool storing = row.attributes & kFpStore;
  switch (row.form) {
    case FpForm::XmmRmImmShift:
    case FpForm::MmxRmImmShift:
      o.dst = rm;
      o.src = rm;
      break;
    case FpForm::XmmMaskStore:
    case FpForm::MmxMaskStore:
      o.src = rm;
      o.imm = op.reg;
      break;
    case FpForm::Memory:
    case FpForm::None:
      o.src = source.data();
      break;
    default:
      if (storing) {
        o.src = reg;
        if (!op.memory) o.dst = rm;
      } else {
        o.dst = reg;
        o.src = op.memory ? source.data() : rm;
      }
  }
  const int fault = (byImmediate && row.byImmediate ? row.byImmediate[op.imm] : row.function)(o);
  if (fault >= 0) return fault;
  if (storing && op.memory) std::memcpy(memory + op.offset, buffer, row.attributes & kFpVariableStore ? o.storeBytes : bytes);
  if (row.form == FpForm::XmmMaskStore || row.form == FpForm::MmxMaskStore)
    for (unsigned i = 0; i < 16; ++i)
      if (o.storeMask >> i & 1) memory[op.offset + i] = buffer[i];
  if ((row.attributes & kFpWritesFlags) && o.flags != kFpFlagsKept) state.rflags = (state.rflags & ~uint64_t{kArith}) | o.flags;
  return -1;
}

static unsigned memoryBytes(const X87Row& row, unsigned operandSize) {
  if (row.memoryBytes == kX87Environment) return operandSize == 2 ? 14 : 28;
  if (row.memoryBytes == kX87Image) return operandSize == 2 ? 94 : 108;
  return row.memoryBytes;
}

X87Instruction randomInstruction(Random& random, const X87Row& row) {
  const bool image = row.memoryBytes == kX87Environment || row.memoryBytes == kX87Image;
  const unsigned modrm = row.extension >= 0 ? static_cast<unsigned>(row.extension) << 3 | 6
                                            : row.modrmFirst + random.below(row.modrmLast - row.modrmFirst + 1u);
  return {&row, static_cast<uint8_t>(modrm), image && random.oneIn(2) ? 2u : 4u};
}

std::vector<uint8_t> encode(const X87Instruction& x) {
  std::vector<uint8_t> code;
  if (x.operandSize == 2) code.push_back(0x66);
  if (x.memory()) code.push_back(0x41);  // REX.B: R14
  code.push_back(x.row->opcode);
  code.push_back(x.modrm);
  return code;
}

void execute(const X87Instruction& x, State& state, uint8_t* memory) {
  const X87Row& row = *x.row;
  const unsigned operandSize = x.operandSize;
  alignas(64) uint8_t buffer[512];
  std::memset(buffer, 0xcc, sizeof buffer);
  const bool hasMemory = x.memory();
  const unsigned bytes = memoryBytes(row, operandSize);
  std::vector<uint8_t> source(memory, memory + bytes);
  FpOperands o{state, buffer, source.data(), x.modrm, static_cast<uint8_t>(operandSize), hasMemory, 0,
               static_cast<uint32_t>(state.rflags & kArith), 0, 0};
  row.function(o);
  const unsigned stored = row.attributes & kFpVariableStore ? o.storeBytes : bytes;
  if ((row.attributes & kFpStore) && hasMemory) std::memcpy(memory, buffer, stored);
  if ((row.attributes & kFpWritesFlags) && o.flags != kFpFlagsKept) state.rflags = (state.rflags & ~uint64_t{kArith}) | o.flags;
}

static bool is(const X87Row& row, const char* name) { return std::strcmp(row.mnemonic, name) == 0; }

void operandFor(const X87Row& row, Random& random, uint8_t* to) {
  const auto put = [&](auto value) { std::memcpy(to, &value, sizeof value); };
  if (row.memoryBytes == kX87Environment || row.memoryBytes == kX87Image) {
    for (unsigned i = 0; i < 28; ++i) to[i] = static_cast<uint8_t>(random.bits());
    for (unsigned at : {14u, 28u})
      if (row.memoryBytes == kX87Image)
        for (unsigned i = 0; i < 8; ++i) random.float80(to + at + 10 * i);
    return;
  }
  if (is(row, "fldcw")) return put(static_cast<uint16_t>(random.bits()));
  if (is(row, "fbld")) {
    for (unsigned i = 0; i < 9; ++i) to[i] = static_cast<uint8_t>(random.below(10) << 4 | random.below(10));
    to[9] = random.oneIn(2) ? 0x80 : 0;
    return;
  }
  const bool integer = row.opcode & 1 && !is(row, "fld");
  if (row.memoryBytes == 10) return random.float80(to);
  if (row.memoryBytes == 8 && !integer) return put(random.float64());
  if (row.memoryBytes == 4 && (row.opcode == 0xd8 || row.opcode == 0xd9)) return put(random.float32());
  if (random.oneIn(2)) return put(uint64_t{random.below(7)} - 3);
  put(random.bits());
}

}  // namespace lodge::x86::oracle
