#include "x86/trace.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

namespace lodge::x86 {

void InstructionTrace::record(uint64_t linear, CodeSize size, unsigned cpl, const uint8_t* bytes, unsigned available) noexcept {
  Decoded d;
  const bool valid = decode(bytes, available, size, d) == DecodeStatus::Ok;
  Entry& e = ring_[recorded_ % capacity_];
  e.linear = linear;
  e.op = valid ? d.op : Op::Invalid;
  e.length = valid ? d.length : static_cast<uint8_t>(available);
  e.size = static_cast<uint8_t>(size) & 3;
  e.cpl = cpl & 3;
  std::memcpy(e.bytes, bytes, e.length);
  ++recorded_;
  ++counts_[static_cast<size_t>(e.op)];
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
  }
  return trace;
}

TraceFile::~TraceFile() {
  for (unsigned n = 0; n < processors_.size(); ++n) writeInstructions(n);
  writeCounts();
  const bool failed = std::ferror(file_);
  if (std::fclose(file_) != 0 || failed) std::fputs("lodge: the execution trace could not be written completely\n", stderr);
}

/** Lines of processor, number of the instruction, code size and privilege, linear address, bytes, operation. */
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
    std::fprintf(file_, "%u %llu %s.%u %016llx %s%s\n", index, static_cast<unsigned long long>(n), kSizes[e.size], e.cpl,
                 static_cast<unsigned long long>(e.linear), bytes, opName(e.op));
  }
}

/** Of all processors and of everything that was executed, not only of what is in the rings; the most frequent first. */
void TraceFile::writeCounts() const {
  std::array<uint64_t, static_cast<size_t>(Op::kCount)> counts{};
  uint64_t total = 0;
  for (const InstructionTrace& processor : processors_) {
    for (size_t op = 0; op < counts.size(); ++op) counts[op] += processor.counts_[op];
    total += processor.recorded_;
  }
  std::vector<size_t> order;
  for (size_t op = 0; op < counts.size(); ++op) {
    if (counts[op]) order.push_back(op);
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return counts[a] > counts[b]; });
  std::fprintf(file_, "# %llu instructions\n", static_cast<unsigned long long>(total));
  for (const size_t op : order) {
    std::fprintf(file_, "# %12llu %6.2f %% %s\n", static_cast<unsigned long long>(counts[op]),
                 100.0 * static_cast<double>(counts[op]) / static_cast<double>(total), opName(static_cast<Op>(op)));
  }
}

}  // namespace lodge::x86
