// The second tier of the software CPU: x86-64 to x86-64 translation of 64-bit code and of 32-bit code with flat segments.
//
// Code is keyed by guest-physical address and mode, never by linear address, so it survives changes of page tables; jumps
// within a page are patched, all others go through a table of linear targets that is keyed by the generation of
// translations. The interpreter executes what is rare, everything that faults, and every access that is not plain RAM.
#pragma once

#include <cstdint>
#include <memory>

#include "x86/cpu.h"

namespace lodge::translator {

/** With less, hardly anything would be kept from one use to the next. */
constexpr size_t kLeastCacheBytes = size_t{1} << 20;
/** Options::heat of a machine that is not told which tier to use; 0: what is met for the first time is translated. */
constexpr unsigned kHeat = 0;

struct Options {
  size_t cacheBytes = size_t{256} << 20;  ///< of code and what is kept about it, for this vCPU
  /** Times a place is interpreted before it is translated. */
  unsigned heat = 0;
  unsigned maxInstructions = 96;          ///< in one unit
  /** Times a place is come to by cached jumps before the path from there becomes a trace; 0: none does. */
  unsigned traceHeat = 1000;
  /** Not in user mode alone: kernels leave most of their traces early, as each system call goes another way. */
  bool traceKernels = false;
  /** Everything is executed by the interpreter as well, and compared: see lockstep.h. For machines with one processor. */
  bool lockstep = false;
  /** For tests: may change the code of a unit that was just made. */
  void (*spoil)(uint8_t* code, size_t bytes) = nullptr;
  /** All flags are kept at all times, as if something might look at them behind any instruction. */
  bool exactFlags = false;
};

/** The interpreter with this tier on top; the interpreter alone where the host gives no executable memory. */
std::unique_ptr<x86::Cpu> makeTranslator(const x86::CpuConfig&, PhysicalMemory&, x86::Environment&, const Options& = {});

}  // namespace lodge::translator
