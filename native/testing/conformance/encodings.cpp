#include "testing/conformance/encodings.h"

#include <cstdio>
#include <cstring>

namespace lodge::x86::conformance {
namespace {

struct TableRow {
  uint8_t opcode;
  unsigned count;
  Row row;
};
constexpr TableRow kOneByte[] = {
#define ROW(opcode, n, op, form, width, writes, undefined, attributes) {opcode, n, Row{Op::op, form, width, writes, undefined, attributes}},
#include "x86/tables/one_byte.inc"
#undef ROW
};
constexpr TableRow kTwoByte[] = {
#define ROW(opcode, n, op, form, width, writes, undefined, attributes) {opcode, n, Row{Op::op, form, width, writes, undefined, attributes}},
#include "x86/tables/two_byte.inc"
#undef ROW
};
struct GroupRow {
  unsigned group;
  int8_t reg;
  Row row;
};
constexpr GroupRow kGroups[] = {
#define GROUP(group, reg, name, form, width, writes, undefined, attributes) {group, reg, Row{Op::name, form, width, writes, undefined, attributes}},
#include "x86/tables/groups.inc"
#undef GROUP
};
struct ExtraRow {
  uint8_t key, prefix;
  Row row;
};
constexpr ExtraRow kRegisterForms[] = {
#define GROUP(...)
#define MODRM(modrm, op, attributes) {modrm, 0, Row{Op::op, Form::None, Width::None, kNone, kNone, attributes}},
#include "x86/tables/groups.inc"
#undef MODRM
};
constexpr ExtraRow kMap38[] = {
#define MAP38(opcode, prefix, op, form, width, writes, attributes) {opcode, prefix, Row{Op::op, form, width, writes, kNone, attributes}},
#include "x86/tables/groups.inc"
#undef MAP38
#undef GROUP
};
struct VexInteger {
  FpMap map;
  uint8_t opcode;
  FpPrefix prefix;
  int8_t extension;
  Row row;
};
constexpr VexInteger kVexIntegers[] = {
#define VEXI(map, opcode, prefix, reg, op, form, width, writes, undefined, attributes) \
  {FpMap::map, opcode, FpPrefix::prefix, reg, Row{Op::op, form, width, writes, undefined, attributes}},
#include "x86/tables/vex_integer.inc"
#undef VEXI
};

const char* excludedOp(Op op) {
  switch (op) {
    case Op::Cpuid:
    case Op::Rdtsc:
    case Op::Rdtscp:
    case Op::Rdpid:
    case Op::Rdrand:
    case Op::Rdseed:
    case Op::Rdpmc:
      return "its result is the processor's own";
    case Op::Sgdt:
    case Op::Sidt:
    case Op::Sldt:
    case Op::Str:
    case Op::Smsw:
      return "under UMIP the host's kernel answers it";
    case Op::Syscall:
    case Op::Sysenter:
      return "it enters the host's kernel";
    case Op::Icebp:
      return "hypervisors report it before or behind the instruction";
    case Op::Vmcall:
      return "it enters the host's hypervisor";
    case Op::Rdfsbase:
    case Op::Wrfsbase:
      return "FS is the test's own thread pointer";
    case Op::Xsave:
    case Op::Xsaveopt:
    case Op::Xsavec:
    case Op::Xrstor:
    case Op::Xgetbv:
      return "which components are in use is the processor's choice; vex_test.cpp";
    default:
      return nullptr;
  }
}
const char* excludedFp(const char* mnemonic) {
  for (const char* name : {"fxsave", "fnstenv", "fnsave"})
    if (!std::strcmp(name, mnemonic)) return "saved x87 pointers differ among processors; layouts_test.cpp";
  for (const char* name : {"fcomi", "fcomip", "fucomi", "fucomip"})
    if (!std::strcmp(name, mnemonic)) return nullptr;
  return nullptr;
}

bool hasModRm(Form form) {
  switch (form) {
    case Form::MR: case Form::RM: case Form::MI: case Form::M: case Form::M1: case Form::MC: case Form::RMI: case Form::MRI:
    case Form::MRC: case Form::SR: case Form::CR: case Form::RVM: case Form::RMV: case Form::VM: return true;
    default: return false;
  }
}

class Builder {
 public:
  std::vector<Encoding> all;

  void row(const char* table, uint8_t map, uint8_t opcode, unsigned count, uint8_t prefix, const Row& r) {
    if (r.attributes & kGroup) {
      group(table, map, opcode, r);
      return;
    }
    Encoding e = base(table, map, opcode, prefix, r);
    e.opcodes = static_cast<uint8_t>(count);
    const bool loadsSs = (map == 0 && opcode == 0x17) || (map == 1 && opcode == 0xb2), loadsFs = map == 1 && opcode == 0xa1;
    if ((loadsSs && (r.op == Op::PopSeg || r.op == Op::Lds)) || (loadsFs && r.op == Op::PopSeg)) e.excluded = "SS and FS are the test's own";
    if (r.op != Op::X87) all.push_back(e);
  }
  Encoding base(const char* table, uint8_t map, uint8_t opcode, uint8_t prefix, const Row& r) {
    Encoding e;
    e.table = table;
    e.name = opName(r.op);
    e.map = map;
    e.opcode = opcode;
    e.prefix = prefix;
    e.op = r.op;
    e.attributes = r.attributes;
    e.modrm = hasModRm(r.form);
    e.excluded = excludedOp(r.op);
    return e;
  }

 private:
  void group(const char* table, uint8_t map, uint8_t opcode, const Row& r) {
    const auto add = [&](unsigned number, uint8_t prefix) {
      for (const GroupRow& g : kGroups) {
        if (g.group != number) continue;
        Encoding e = base("groups.inc", map, opcode, prefix, g.row);
        e.attributes |= r.attributes & (kImm8 | kInvalid64 | kProtected);
        e.extension = g.reg;
        e.modrm = true;
        all.push_back(e);
      }
    };
    add(r.undefined, 0);
    if (r.undefined == 15) add(17, 0xf3), add(18, 0x66), add(19, 0);
    if (r.undefined == 9) add(20, 0xf3);
    if (r.undefined != 7) return;
    for (const ExtraRow& x : kRegisterForms) {
      Encoding e = base("groups.inc", map, opcode, 0, x.row);
      e.modrmFirst = e.modrmLast = x.key;
      e.modrm = true;
      all.push_back(e);
    }
    (void)table;
  }
};

constexpr uint8_t kPrefixes[] = {0, 0x66, 0xf3, 0xf2};
uint8_t prefixByte(FpPrefix p) { return kPrefixes[static_cast<unsigned>(p)]; }
uint8_t mapNumber(FpMap m) { return static_cast<uint8_t>(static_cast<unsigned>(m) + 1); }

std::vector<Encoding> build() {
  Builder b;
  for (const TableRow& r : kOneByte) b.row("one_byte.inc", 0, r.opcode, r.count, 0, r.row);
  // What the decoder makes of one opcode by mode or prefix.
  b.row("opcode_map.h", 0, 0x63, 1, 0, Row{Op::Movsxd, Form::RM, Width::V, kNone, kNone, kOnly64 | kRmDword});
  b.row("opcode_map.h", 0, 0x90, 1, 0xf3, Row{Op::Pause, Form::None, Width::None, kNone, kNone, kNone});
  b.row("opcode_map.h", 1, 0xbc, 1, 0xf3, Row{Op::Tzcnt, Form::RM, Width::V, kNone, kNone, kNone});
  b.row("opcode_map.h", 1, 0xbd, 1, 0xf3, Row{Op::Lzcnt, Form::RM, Width::V, kNone, kNone, kNone});
  for (const TableRow& r : kTwoByte) b.row("two_byte.inc", 1, r.opcode, r.count, r.row.op == Op::Popcnt ? 0xf3 : 0, r.row);
  for (const ExtraRow& x : kMap38) b.row("groups.inc", 2, x.key, 1, x.prefix, x.row);
  for (unsigned i = 0; i < kSimdRowCount; ++i) {
    const FpRow& r = kSimdRows[i];
    Encoding e;
    e.table = "simd.inc";
    e.name = r.mnemonic;
    e.map = mapNumber(r.map);
    e.opcode = r.opcode;
    e.prefix = prefixByte(r.prefix);
    e.extension = r.extension;
    e.op = Op::Simd;
    e.simd = &r;
    e.modrm = r.form != FpForm::None || r.extension >= 0;
    e.excluded = excludedFp(r.mnemonic);
    if (r.form == FpForm::None && r.extension >= 0) e.excluded = "a fence, which two_byte.inc decodes";
    if (!std::strcmp(r.mnemonic, "movnti")) e.excluded = "two_byte.inc decodes it";
    b.all.push_back(e);
  }
  for (unsigned i = 0; i < kX87RowCount; ++i) {
    const X87Row& r = kX87Rows[i];
    Encoding e;
    e.table = "x87.inc";
    e.name = r.mnemonic;
    e.opcode = r.opcode;
    e.op = Op::X87;
    e.x87 = &r;
    e.modrm = true;
    e.extension = r.extension;
    if (r.extension < 0) e.modrmFirst = r.modrmFirst, e.modrmLast = r.modrmLast;
    e.excluded = excludedFp(r.mnemonic);
    b.all.push_back(e);
  }
  for (unsigned i = 0; i < kVexRowCount; ++i) {
    const VexRow& r = kVexRows[i];
    Encoding e;
    e.table = "vex.inc";
    e.name = r.mnemonic;
    e.map = mapNumber(r.map);
    e.opcode = r.opcode;
    e.prefix = prefixByte(r.prefix);
    e.extension = r.extension;
    e.op = Op::Vex;
    e.vex = &r;
    e.modrm = r.form != VexForm::None;
    b.all.push_back(e);
  }
  for (const VexInteger& r : kVexIntegers) {
    Encoding e = b.base("vex_integer.inc", mapNumber(r.map), r.opcode, prefixByte(r.prefix), r.row);
    e.extension = r.extension;
    e.vexInteger = true;
    b.all.push_back(e);
  }
  return b.all;
}

}  // namespace

const std::vector<Encoding>& encodings() {
  static const std::vector<Encoding> all = build();
  return all;
}

}  // namespace lodge::x86::conformance
