#include "testing/conformance/corpus.h"

#include <dirent.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>

#include "testing/conformance/differential.h"
#include "testing/conformance/generator.h"
#include "testing/conformance/guest_cpu.h"
#include "testing/conformance/host_cpu.h"
#include "testing/conformance/sandbox.h"

namespace lodge::x86::conformance {
namespace {

constexpr const char* kMagic = "lodge corpus 1";
constexpr uint64_t kTextBytes = 32 << 20;
constexpr unsigned kChainsPerGroup = 24, kChainInstructions = 8;

/** The file a row belongs to. */
std::string groupOf(const Encoding& e) {
  std::string name = e.simd ? kFeatureRows[static_cast<unsigned>(e.simd->feature)].name
                     : e.vex ? kFeatureRows[static_cast<unsigned>(e.vex->feature[e.vex->l == VexL::L1])].name
                     : e.x87 ? "x87"
                             : "";
  if (name.empty()) {
    switch (e.op) {
      case Op::Add: case Op::Or: case Op::Adc: case Op::Sbb: case Op::And: case Op::Sub: case Op::Xor: case Op::Cmp: case Op::Test: case Op::Not:
      case Op::Neg: case Op::Inc: case Op::Dec: case Op::Adcx: case Op::Adox:
        return "arithmetic";
      case Op::Mul: case Op::Imul: case Op::Imul2: case Op::Div: case Op::Idiv: case Op::Mulx:
        return "multiply";
      case Op::Rol: case Op::Ror: case Op::Rcl: case Op::Rcr: case Op::Shl: case Op::Shr: case Op::Sal: case Op::Sar: case Op::Shld: case Op::Shrd:
      case Op::Shlx: case Op::Sarx: case Op::Shrx: case Op::Rorx:
        return "shift";
      case Op::Bt: case Op::Bts: case Op::Btr: case Op::Btc: case Op::Bsf: case Op::Bsr: case Op::Lzcnt: case Op::Tzcnt: case Op::Popcnt:
      case Op::Andn: case Op::Blsr: case Op::Blsmsk: case Op::Blsi: case Op::Bextr: case Op::Bzhi: case Op::Pext: case Op::Pdep: case Op::Crc32:
        return "bit";
      case Op::Jcc: case Op::Jmp: case Op::Call: case Op::Ret: case Op::Jcxz: case Op::Loop: case Op::JmpFar: case Op::CallFar: case Op::RetFar:
      case Op::Iret: case Op::IntN: case Op::Int3: case Op::Into: case Op::Icebp: case Op::Bound:
        return "branch";
      case Op::Push: case Op::Pop: case Op::PushSeg: case Op::PopSeg: case Op::Pusha: case Op::Popa: case Op::Pushf: case Op::Popf: case Op::Enter:
      case Op::Leave:
        return "stack";
      case Op::Movs: case Op::Cmps: case Op::Stos: case Op::Lods: case Op::Scas: case Op::Ins: case Op::Outs:
        return "string";
      case Op::Daa: case Op::Das: case Op::Aaa: case Op::Aas: case Op::Aam: case Op::Aad:
        return "decimal";
      case Op::Mov: case Op::Movsxd: case Op::Movzx: case Op::Movsx: case Op::Lea: case Op::Xchg: case Op::Xadd: case Op::Cmpxchg: case Op::Cmpxchg8b:
      case Op::Bswap: case Op::Movbe: case Op::Movnti: case Op::Cmov: case Op::Set: case Op::Xlat: case Op::Cbw: case Op::Cwd: case Op::Sahf:
      case Op::Lahf: case Op::Cmc: case Op::Clc: case Op::Stc: case Op::Cld: case Op::Std: case Op::Salc:
        return "move";
      default:
        return "system";
    }
  }
  std::transform(name.begin(), name.end(), name.begin(), [](char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}
bool chained(const std::string& group) {
  for (const char* other : {"branch", "stack", "string", "system", "x87", "mmx"}) {
    if (group == other) return false;
  }
  return true;
}

/** x87, SSE and YMM state that a number stands for. */
void expand(uint64_t seed, uint8_t* xsave) {
  oracle::Random random(seed);
  static oracle::Context x;
  const bool unmasked = (seed & 3) == 0;
  oracle::randomise(random, x, unmasked, unmasked);
  std::memset(xsave, 0, kXsaveBytes);
  std::memcpy(xsave, x.fx, 512);
  xsave[512] = 7;
  for (unsigned i = 0; i < 16; ++i) random.vector(xsave + 576 + 16 * i);
}
/** Contents of the data pages that a file starts from. */
void fill(uint64_t seed, uint8_t* data) {
  oracle::Random random(seed);
  for (unsigned at = 0; at < kReadableBytes; at += 16) random.vector(data + at);
}
const Encoding& chainEncoding() {
  static const Encoding e = [] {
    Encoding made{};
    made.table = "-";
    made.name = "chain";
    made.op = Op::Nop;
    return made;
  }();
  return e;
}

// ---- writing ---------------------------------------------------------------------------------------------------------

[[gnu::format(printf, 2, 3)]] void print(std::string& to, const char* format, ...) {
  char text[256];
  va_list list;
  va_start(list, format);
  std::vsnprintf(text, sizeof text, format, list);
  va_end(list);
  to += text;
}
/** What differs, as OFFSET=BYTES in runs. */
void printRuns(std::string& to, const char* key, const uint8_t* before, const uint8_t* after, unsigned bytes) {
  if (!std::memcmp(before, after, bytes)) return;
  to += key;
  for (unsigned at = 0; at < bytes; ++at) {
    if (before[at] == after[at]) continue;
    print(to, " %x=", at);
    for (; at < bytes && before[at] != after[at]; ++at) print(to, "%02x", after[at]);
  }
  to += '\n';
}
void printRegisters(std::string& to, const Image* before, const Image& after) {
  to += "reg";
  for (unsigned r = 0; r < 16; ++r) {
    if (before ? before->gpr[r] != after.gpr[r] : after.gpr[r] != 0) print(to, " %x=%llx", r, static_cast<unsigned long long>(after.gpr[r]));
  }
  to += '\n';
}

struct Output {
  uint64_t progress, used, cases, chains;
  bool finished;
  char text[kTextBytes];
};

struct Maker {
  HostCpu host;
  Generator generator;
  uint64_t seed;
  uint8_t pristine[kReadableBytes], planted[kReadableBytes];
  std::map<std::string, std::string> files;

  explicit Maker(uint64_t s) : generator(s), seed(s) {
    fill(seed, pristine);
    ::mprotect(host.data(), kReadableBytes, PROT_READ | PROT_WRITE);
    std::memcpy(host.data(), pristine, kReadableBytes);
    ::mprotect(host.data() + kWritableBytes, kReadableBytes - kWritableBytes, PROT_READ);
  }
  /** Runs a case on the host and writes it down. */
  void record(const Encoding& e, Case& c, uint64_t number, bool keepVectors, const std::string& group) {
    uint8_t vectors[kXsaveBytes];
    expand(number, vectors);
    if (!keepVectors) std::memcpy(c.before.xsave, vectors, kXsaveBytes);
    std::memcpy(planted, pristine, kReadableBytes);
    if (&e != &chainEncoding()) generator.plant(e, c, planted);
    std::memcpy(planted + kWritableBytes, pristine + kWritableBytes, kReadableBytes - kWritableBytes);
    std::memcpy(host.data(), planted, kWritableBytes);
    static Result result;
    host.run(c, result);
    std::string& to = files[group];
    print(to, "case %s %s\nin %u %llx ", e.table, e.name.c_str(), c.size == CodeSize::k64 ? 64 : 32, static_cast<unsigned long long>(c.at));
    for (unsigned n = 0; n < c.length; ++n) print(to, "%02x", c.bytes[n]);
    print(to, " %llx %llx\n", static_cast<unsigned long long>(c.before.flags), static_cast<unsigned long long>(number));
    printRegisters(to, nullptr, c.before);
    printRuns(to, "vec", vectors, c.before.xsave, kXsaveBytes);
    printRuns(to, "data", pristine, planted, kWritableBytes);
    print(to, "out %d %x %llx %llx %llx\n", result.vector, result.error, static_cast<unsigned long long>(result.address),
          static_cast<unsigned long long>(result.rip), static_cast<unsigned long long>(result.after.flags));
    printRegisters(to, &c.before, result.after);
    printRuns(to, "vec", c.before.xsave, result.after.xsave, kXsaveBytes);
    printRuns(to, "data", planted, host.data(), kWritableBytes);
  }
  /** A run of register forms; what leaves flags undefined is followed by a comparison. */
  bool chain(const std::vector<const Encoding*>& rows, CodeSize size, Case& c) {
    unsigned count = 0, used = 0;
    Case made, one;
    for (unsigned tries = 0; tries < 400 && count < kChainInstructions; ++tries) {
      const Encoding& e = *rows[generator.below(static_cast<unsigned>(rows.size()))];
      if (!e.exists(size) || !generator.make(e, size, one)) continue;
      const Decoded& d = one.decoded;
      if (d.memory || d.lock || (d.row && (d.row->attributes & kEnds)) || e.op == Op::Div || e.op == Op::Idiv || e.op == Op::Shld || e.op == Op::Shrd ||
          e.op == Op::Xlat || e.op == Op::Aam || used + one.length + 2u > kCaseBytes)
        continue;
      if (e.simd && (e.simd->form == FpForm::XmmMaskStore || (e.simd->attributes & kFpMmx))) continue;
      if (e.vex && e.vex->form == VexForm::MaskStoreDi) continue;
      Decoded admitted = d;
      if (!admit(admitted, implementedFeatures())) continue;
      if (count == 0) made = one;
      std::memcpy(made.bytes + used, one.bytes, one.length);
      used += one.length;
      if (!e.simd && !e.vex && d.row && d.row->undefined) {
        made.bytes[used++] = 0x38;  // cmp al, al
        made.bytes[used++] = 0xc0;
      }
      ++count;
    }
    if (count < 2) return false;
    c = made;
    c.length = static_cast<uint8_t>(used);
    const uint8_t nop[] = {0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90};
    return decode(nop, sizeof nop, size, c.decoded) == DecodeStatus::Ok;
  }
};

struct Job {
  Output& out;
  uint64_t seed;
  unsigned casesPerRow;
};
void make(Job& job) {
  auto maker = std::make_unique<Maker>(job.seed);
  enterSandbox();
  const FeatureSet features = implementedFeatures();
  std::map<std::string, std::vector<const Encoding*>> groups;
  uint64_t number = job.seed * 0x10000;
  for (const Encoding& e : encodings()) {
    if (e.excluded) continue;
    const std::string group = groupOf(e);
    groups[group].push_back(&e);
    for (const CodeSize size : {CodeSize::k64, CodeSize::k32}) {
      if (!e.exists(size)) continue;
      for (unsigned n = 0; n < job.casesPerRow; ++n) {
        static Case c;
        bool made = false;
        for (unsigned tries = 0; tries < 20 && !made; ++tries) {
          made = maker->generator.make(e, size, c);
          Decoded d = c.decoded;
          made = made && admit(d, features);
        }
        if (!made) continue;
        maker->record(e, c, ++number, e.vex && e.vex->form == VexForm::Gather, group);
        ++job.out.cases;
        ++job.out.progress;
      }
    }
  }
  for (const auto& [group, rows] : groups) {
    if (!chained(group)) continue;
    for (unsigned n = 0; n < kChainsPerGroup; ++n) {
      static Case c;
      if (!maker->chain(rows, n % 3 ? CodeSize::k64 : CodeSize::k32, c)) continue;
      maker->record(chainEncoding(), c, ++number, false, group);
      ++job.out.chains;
      ++job.out.progress;
    }
  }
  for (const auto& [group, text] : maker->files) {
    std::string whole;
    print(whole, "%s\ngroup %s\nmemory %llx\n", kMagic, group.c_str(), static_cast<unsigned long long>(job.seed));
    whole += text;
    const uint64_t needed = group.size() + 1 + sizeof(uint64_t) + whole.size();
    if (job.out.used + needed > kTextBytes) return;
    char* at = job.out.text + job.out.used;
    std::memcpy(at, group.c_str(), group.size() + 1);
    const uint64_t size = whole.size();
    std::memcpy(at + group.size() + 1, &size, sizeof size);
    std::memcpy(at + group.size() + 1 + sizeof size, whole.data(), size);
    job.out.used += needed;
  }
  job.out.finished = true;
}

// ---- reading ---------------------------------------------------------------------------------------------------------

bool readRuns(std::istringstream& line, uint8_t* to, unsigned bytes) {
  std::string item;
  while (line >> item) {
    const size_t sign = item.find('=');
    if (sign == std::string::npos) return false;
    uint64_t at = std::strtoull(item.c_str(), nullptr, 16);
    for (size_t n = sign + 1; n + 1 < item.size(); n += 2, ++at) {
      if (at >= bytes) return false;
      to[at] = static_cast<uint8_t>(std::strtoul(item.substr(n, 2).c_str(), nullptr, 16));
    }
  }
  return true;
}
bool readRegisters(std::istringstream& line, Image& to) {
  std::string item;
  while (line >> item) {
    const size_t sign = item.find('=');
    const unsigned long r = std::strtoul(item.c_str(), nullptr, 16);
    if (sign == std::string::npos || r > 15) return false;
    to.gpr[r] = std::strtoull(item.c_str() + sign + 1, nullptr, 16);
  }
  return true;
}

struct Runner {
  GuestCpu guest;
  CorpusSummary& summary;
  std::string file;
  uint8_t pristine[kReadableBytes], before[kWritableBytes], after[kWritableBytes];
  const Encoding* encoding = nullptr;
  Case c;
  Result expected;
  bool behind = false, known = false;

  Runner(x86::testing::CpuFactory factory, CorpusSummary& s) : guest(factory), summary(s) {}
  void fail(const std::string& what) {
    if (summary.failures.size() < 20) summary.failures.push_back(file + ", " + (encoding ? encoding->name : "beginning") + ": " + what);
  }
  void finish() {
    if (!encoding || !known) return;
    std::memcpy(guest.data(), before, kWritableBytes);
    static Result result;
    guest.run(c, result);
    std::string what = difference(*encoding, c, expected, result);
    if (what.empty() && !undefinedResult(c) && std::memcmp(guest.data(), after, kWritableBytes) != 0) what = "memory differs";
    if (!what.empty()) fail(what);
    ++(encoding == &chainEncoding() ? summary.chains : summary.cases);
    encoding = nullptr;
  }
  bool start(std::istringstream& line) {
    std::string table, name;
    if (!(line >> table)) return false;
    std::getline(line >> std::ws, name);
    encoding = nullptr;
    known = false;
    if (name == chainEncoding().name) encoding = &chainEncoding();
    for (const Encoding& e : encodings()) {
      if (!encoding && e.name == name && table == e.table) encoding = &e;
    }
    return encoding != nullptr;
  }
  bool in(std::istringstream& line) {
    unsigned size;
    uint64_t number;
    std::string code;
    c = Case{};
    if (!(line >> std::dec >> size >> std::hex >> c.at >> code >> c.before.flags >> number) || code.size() / 2 > kCaseBytes) return false;
    c.size = size == 64 ? CodeSize::k64 : CodeSize::k32;
    c.length = static_cast<uint8_t>(code.size() / 2);
    for (unsigned n = 0; n < c.length; ++n) c.bytes[n] = static_cast<uint8_t>(std::strtoul(code.substr(2 * n, 2).c_str(), nullptr, 16));
    if (c.at < kCodePage || c.at + c.length + kTakenDistance + 1 > kCodePage + 4096) return false;
    uint8_t padded[16] = {};
    std::memcpy(padded, c.bytes, std::min<unsigned>(c.length, 15));
    if (encoding == &chainEncoding()) std::memset(padded, 0x90, sizeof padded);
    if (decode(padded, 15, c.size, c.decoded) != DecodeStatus::Ok) return false;
    expand(number, c.before.xsave);
    std::memcpy(before, pristine, kWritableBytes);
    behind = false;
    Decoded d = c.decoded;
    known = admit(d, implementedFeatures());
    return true;
  }
  bool out(std::istringstream& line) {
    expected = Result{};
    expected.after = c.before;
    std::memcpy(after, before, kWritableBytes);
    behind = true;
    return static_cast<bool>(line >> std::dec >> expected.vector >> std::hex >> expected.error >> expected.address >> expected.rip >>
                             expected.after.flags);
  }
  bool take(const std::string& text) {
    std::istringstream line(text);
    std::string key;
    if (!(line >> key)) return true;
    if (key == "group") return true;
    if (key == "memory") {
      uint64_t seed;
      if (!(line >> std::hex >> seed)) return false;
      fill(seed, pristine);
      std::memcpy(guest.data(), pristine, kReadableBytes);
      return true;
    }
    if (key == "case") {
      finish();
      return start(line);
    }
    if (!encoding) return false;
    if (key == "in") return in(line);
    if (key == "out") return out(line);
    if (key == "reg") return readRegisters(line, behind ? expected.after : c.before);
    if (key == "vec") return readRuns(line, behind ? expected.after.xsave : c.before.xsave, kXsaveBytes);
    if (key == "data") return readRuns(line, behind ? after : before, kWritableBytes);
    return false;
  }
};

}  // namespace

CorpusSummary writeCorpus(const std::string& folder, uint64_t seed, unsigned casesPerRow) {
  CorpusSummary summary;
  void* const p = sharedMemory(sizeof(Output));
  if (!p) {
    summary.failures.push_back("no shared memory");
    return summary;
  }
  auto& out = *static_cast<Output*>(p);
  Job job{out, seed, casesPerRow};
  const int status = runInChild([](void* context) { make(*static_cast<Job*>(context)); }, &job, &out.progress);
  if (!out.finished) summary.failures.push_back("the child ended with status " + std::to_string(status) + " behind " + std::to_string(out.progress) + " cases");
  summary.cases = static_cast<unsigned>(out.cases);
  summary.chains = static_cast<unsigned>(out.chains);
  for (uint64_t at = 0; at < out.used;) {
    const std::string group = out.text + at;
    at += group.size() + 1;
    uint64_t size;
    std::memcpy(&size, out.text + at, sizeof size);
    at += sizeof size;
    std::ofstream file(folder + "/" + group + ".corpus", std::ios::binary);
    file.write(out.text + at, static_cast<std::streamsize>(size));
    if (!file.flush()) summary.failures.push_back("cannot write " + folder + "/" + group + ".corpus");
    at += size;
    summary.bytes += size;
    ++summary.files;
  }
  freeShared(p, sizeof(Output));
  return summary;
}

CorpusSummary runCorpus(const std::string& folder, x86::testing::CpuFactory factory) {
  CorpusSummary summary;
  std::vector<std::string> names;
  if (DIR* const d = ::opendir(folder.c_str())) {
    while (const dirent* entry = ::readdir(d)) {
      const std::string name = entry->d_name;
      if (name.ends_with(".corpus")) names.push_back(name);
    }
    ::closedir(d);
  }
  std::sort(names.begin(), names.end());
  auto runner = std::make_unique<Runner>(factory, summary);
  for (const std::string& name : names) {
    ++summary.files;
    runner->file = name;
    runner->encoding = nullptr;
    std::ifstream file(folder + "/" + name, std::ios::binary);
    std::string text;
    bool good = std::getline(file, text) && text == kMagic;
    for (unsigned line = 2; good && std::getline(file, text); ++line) {
      summary.bytes += text.size() + 1;
      good = runner->take(text);
      if (!good) runner->fail("line " + std::to_string(line) + " means nothing");
    }
    if (summary.bytes == 0) runner->fail("no corpus");
    runner->finish();
  }
  return summary;
}

}  // namespace lodge::x86::conformance
