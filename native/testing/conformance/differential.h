// The differential fuzzer: every row of the instruction tables that user mode can run, in 64- and 32-bit code, on the host's processor
// and on one of Lodge's, with the same random operands. Registers, defined flags, memory, MXCSR, x87 and YMM state and faults must agree.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "testing/conformance/encodings.h"
#include "testing/conformance/image.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86::conformance {

struct Options {
  uint64_t cases = 200'000;
  uint64_t seed = 1;
  unsigned maxReports = 20;
  std::string only;              ///< rows whose name contains this
  bool printCoverage = false;
  x86::testing::CpuFactory factory = x86::testing::makeTestCpu;
};
struct Summary {
  uint64_t cases = 0, ran = 0, faulted = 0;
  unsigned rows = 0, covered = 0, excluded = 0;
  std::vector<std::string> differences, uncovered;
};

/** Empty, or the first difference that matters between what a case did on the host and on a guest. Memory is the caller's. */
std::string difference(const Encoding& e, const Case& c, Result& host, Result& guest);
/** A shift by more than a 16-bit operand has leaves the destination undefined, too. */
bool undefinedResult(const Case& c);

/** In a child process that may do little more than compute; what happens to it is reported as a difference. */
Summary runDifferential(const Options& options);

}  // namespace lodge::x86::conformance
