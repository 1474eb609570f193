// The decoder's idea of an instruction's length against the host's: an instruction that ends where a page does and the next page is
// absent runs, or faults in a way of its own; one that goes on there is a page fault of fetching, at its own address.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lodge::x86::conformance {

struct LengthSummary {
  uint64_t instructions = 0, compared = 0;
  std::vector<std::string> differences;
};
/** Random bytes in 64- and 32-bit code, in a sandboxed child process. */
LengthSummary compareLengths(uint64_t instructions, uint64_t seed);

}  // namespace lodge::x86::conformance
