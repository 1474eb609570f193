// The instruction corpus: a text file for each group of instructions, with registers and memory before and behind as the host's processor
// left them. It is made where it is to be used, from the instruction tables and a seed; its files then run on every tier, and on other
// computers. Cases are single instructions, and runs of several that make one long block.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86::conformance {

struct CorpusSummary {
  unsigned files = 0, cases = 0, chains = 0;
  uint64_t bytes = 0;
  std::vector<std::string> failures;
};
/** Writes NAME.corpus for each group into a folder that exists. */
CorpusSummary writeCorpus(const std::string& folder, uint64_t seed, unsigned casesPerRow);
/** Runs all files of a folder on a processor made by `factory`. */
CorpusSummary runCorpus(const std::string& folder, x86::testing::CpuFactory factory);

}  // namespace lodge::x86::conformance
