#include "x86/trace.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <new>

#include "x86/disassembler.h"

namespace lodge::x86 {
namespace {

/** Where the rows of a table begin in the counts, behind the operations of the integer and system set. */
size_t simdKinds() { return static_cast<size_t>(Op::kCount); }
size_t vexKinds() { return simdKinds() + kSimdRowCount; }
size_t x87Kinds() { return vexKinds() + kVexRowCount; }
size_t allKinds() { return x87Kinds() + kX87RowCount; }

size_t kindOf(const Decoded& d) {
  if (d.simd) return simdKinds() + static_cast<size_t>(d.simd - kSimdRows);
  if (d.vex) return vexKinds() + static_cast<size_t>(d.vex - kVexRows);
  if (d.x87) return x87Kinds() + static_cast<size_t>(d.x87 - kX87Rows);
  return static_cast<size_t>(d.op);
}
const char* kindName(size_t kind) {
  if (kind >= x87Kinds()) return kX87Rows[kind - x87Kinds()].mnemonic;
  if (kind >= vexKinds()) return kVexRows[kind - vexKinds()].mnemonic;
  if (kind >= simdKinds()) return kSimdRows[kind - simdKinds()].mnemonic;
  return opName(static_cast<Op>(kind));
}

}  // namespace

void InstructionTrace::record(uint64_t linear, uint64_t rip, CodeSize size, unsigned cpl, const uint8_t* bytes, unsigned available) noexcept {
  Decoded d;
  const bool valid = decode(bytes, available, size, d) == DecodeStatus::Ok;
  Entry& e = ring_[recorded_ % capacity_];
  e.linear = linear;
  e.rip = rip;
  e.length = valid ? d.length : static_cast<uint8_t>(available);
  e.size = static_cast<uint8_t>(size) & 3;
  e.cpl = cpl & 3;
  std::memcpy(e.bytes, bytes, e.length);
  ++recorded_;
  ++counts_[valid ? kindOf(d) : static_cast<size_t>(Op::Invalid)];
}

std::shared_ptr<TraceFile> TraceFile::open(const std::string& path, size_t last, unsigned cpus, std::string& error) {
  std::FILE* const file = std::fopen(path.c_str(), "we");
  if (!file) {
    error = "The execution trace cannot be written to " + path + ": " + std::strerror(errno) + ".";
    return nullptr;
  }
  std::shared_ptr<TraceFile> trace(new TraceFile(file, cpus));
  for (InstructionTrace& processor : trace->processors_) {
    processor.ring_.reset(new (std::nothrow) InstructionTrace::Entry[last]);
    if (!processor.ring_) {
      error = "There is no memory for an execution trace of " + std::to_string(last) + " instructions a processor.";
      return nullptr;
    }
    processor.capacity_ = last;
    processor.counts_.resize(allKinds());
  }
  return trace;
}

TraceFile::~TraceFile() {
  for (unsigned n = 0; n < processors_.size(); ++n) writeInstructions(n);
  writeCounts();
  const bool failed = std::ferror(file_);
  if (std::fclose(file_) != 0 || failed) std::fputs("lodge: the execution trace could not be written completely\n", stderr);
}

/** Lines of processor, number of the instruction, code size and privilege, linear address, bytes, the instruction as text. */
void TraceFile::writeInstructions(unsigned index) const {
  static constexpr const char* kSizes[] = {"16", "32", "64"};
  static constexpr char kDigits[] = "0123456789abcdef";
  const InstructionTrace& of = processors_[index];
  const uint64_t kept = std::min<uint64_t>(of.recorded_, of.capacity_);
  for (uint64_t n = of.recorded_ - kept; n < of.recorded_; ++n) {
    const InstructionTrace::Entry& e = of.ring_[n % of.capacity_];
    char bytes[3 * InstructionTrace::kMaxBytes + 1];
    char* to = bytes;
    for (unsigned k = 0; k < e.length; ++k) {
      *to++ = kDigits[e.bytes[k] >> 4];
      *to++ = kDigits[e.bytes[k] & 15];
      *to++ = ' ';
    }
    *to = 0;
    Decoded d;
    const bool valid = decode(e.bytes, e.length, static_cast<CodeSize>(e.size), d) == DecodeStatus::Ok;
    std::fprintf(file_, "%u %llu %s.%u %016llx %s%s\n", index, static_cast<unsigned long long>(n), kSizes[e.size], e.cpl,
                 static_cast<unsigned long long>(e.linear), bytes, valid ? disassemble(d, e.rip).c_str() : "(no instruction)");
  }
}

/** Of all processors and of everything that was executed, not only of what is in the rings; the most frequent first. */
void TraceFile::writeCounts() const {
  std::map<std::string, uint64_t> counts;  // rows of one name are one
  uint64_t total = 0;
  for (const InstructionTrace& processor : processors_) {
    for (size_t kind = 0; kind < processor.counts_.size(); ++kind) {
      if (processor.counts_[kind]) counts[kindName(kind)] += processor.counts_[kind];
    }
    total += processor.recorded_;
  }
  std::vector<std::pair<std::string, uint64_t>> order(counts.begin(), counts.end());
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  std::fprintf(file_, "# %llu instructions\n", static_cast<unsigned long long>(total));
  for (const auto& [name, count] : order) {
    std::fprintf(file_, "# %12llu %6.2f %% %s\n", static_cast<unsigned long long>(count),
                 100.0 * static_cast<double>(count) / static_cast<double>(total), name.c_str());
  }
}

}  // namespace lodge::x86
