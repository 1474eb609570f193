// An execution trace: the last instructions that each processor of a machine began, and how often each kind was begun. A
// machine that is traced executes an instruction at a time, on either tier; one that is not has no trace, and pays nothing.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "x86/cpu.h"
#include "x86/instruction.h"

namespace lodge::x86 {

constexpr size_t kMaxTraceInstructions = 1'000'000;  // of a processor

/** One processor's, written on its thread alone. */
class InstructionTrace {
 public:
  static constexpr unsigned kMaxBytes = 15;

  /** `bytes`: what lies at `linear`, where rIP is `rip`; `available` (at most kMaxBytes) of them. */
  void record(uint64_t linear, uint64_t rip, CodeSize size, unsigned cpl, const uint8_t* bytes, unsigned available) noexcept;

 private:
  friend class TraceFile;
  struct Entry {
    uint64_t linear, rip;
    uint8_t length;  ///< of the instruction; of what there is where that is none
    uint8_t size : 2, cpl : 2;
    uint8_t bytes[kMaxBytes];
  };

  std::unique_ptr<Entry[]> ring_;
  size_t capacity_ = 0;
  uint64_t recorded_ = 0;
  std::vector<uint64_t> counts_;  ///< by kindOf()
};

/** A machine's. The file is written when the last processor that records into it is gone. */
class TraceFile {
 public:
  /** nullptr: `error` says why. `last` is at least 1, and kMaxTraceInstructions at most. */
  static std::shared_ptr<TraceFile> open(const std::string& path, size_t last, unsigned cpus, std::string& error);
  ~TraceFile();
  TraceFile(const TraceFile&) = delete;
  TraceFile& operator=(const TraceFile&) = delete;

  InstructionTrace& processor(unsigned index) { return processors_[index]; }

 private:
  TraceFile(std::FILE* file, unsigned cpus) : file_(file), processors_(cpus) {}
  void writeInstructions(unsigned index) const;
  void writeCounts() const;

  std::FILE* file_;
  std::vector<InstructionTrace> processors_;
};

}  // namespace lodge::x86
