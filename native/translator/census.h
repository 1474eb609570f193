// LODGE_TRACE=translator: once a second, on standard error, what a vCPU's time in this tier went into. Costs nothing but a test of
// a pointer while it is off.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "x86/interpreter/core.h"

namespace lodge::translator {

class Census {
 public:
  /** nullptr: nobody asked. */
  static std::unique_ptr<Census> make(const x86::Core& core);

  struct Row {
    uint64_t count = 0, cycles = 0;
  };
  /** Adds the time it lives to a row; a null census costs one test. */
  class Timer {
   public:
    Timer(const std::unique_ptr<Census>& census, Row Census::*row) : row_(census ? &(census.get()->*row) : nullptr) {
      if (row_) from_ = now();
    }
    ~Timer() {
      if (!row_) return;
      ++row_->count;
      row_->cycles += now() - from_;
    }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

   private:
    Row* row_;
    uint64_t from_ = 0;
  };

  Row runs;          ///< times the run loop came to this tier
  Row inside;        ///< translated code, and what it calls
  Row finds;         ///< jumps whose target had to be looked for outside translated code
  Row translations;
  /** Instructions the interpreter executed for translated code; `memory`: because of what they access. */
  void step(x86::Op op, bool memory, uint64_t cycles) {
    Row& row = steps_[static_cast<size_t>(op) * 2 + memory];
    ++row.count;
    row.cycles += cycles;
  }
  /** Prints and starts over when a second has passed. */
  void report();
  static uint64_t now() { return __builtin_ia32_rdtsc(); }

 private:
  explicit Census(const x86::Core& core);
  void restart();

  const x86::Core& core_;
  std::vector<Row> steps_;
  uint64_t since_ = 0, walks_ = 0, misses_ = 0, interrupts_ = 0, exceptions_ = 0, invalidations_ = 0, evictions_ = 0;
};

}  // namespace lodge::translator
