// The interpreter against the host's processor, over all the instruction tables. LODGE_FUZZ_CASES and LODGE_FUZZ_SEED change how many and
// which; LODGE_FUZZ_ONLY takes the rows whose name contains it; LODGE_FUZZ_COVERAGE=1 prints what each row got.
#include <cstdlib>

#include "testing/conformance/differential.h"
#include "testing/test.h"

namespace lodge::x86 {
namespace {

TEST(differential_fuzzing_of_the_interpreter) {
  conformance::Options options;
  if (const char* cases = std::getenv("LODGE_FUZZ_CASES")) options.cases = std::strtoull(cases, nullptr, 0);
  if (const char* seed = std::getenv("LODGE_FUZZ_SEED")) options.seed = std::strtoull(seed, nullptr, 0);
  if (const char* only = std::getenv("LODGE_FUZZ_ONLY")) options.only = only;
  options.printCoverage = std::getenv("LODGE_FUZZ_COVERAGE") != nullptr;
  const conformance::Summary s = conformance::runDifferential(options);
  for (const std::string& d : s.differences) ::lodge::testing::fail(__FILE__, __LINE__, d);
  if (options.only.empty() && options.cases >= 100'000)
    for (const std::string& row : s.uncovered) ::lodge::testing::fail(__FILE__, __LINE__, "never generated: " + row);
  std::printf("differential: %llu cases (%llu ran, %llu faulted), %u rows: %u covered, %u left out with a reason, %zu missed\n",
              static_cast<unsigned long long>(s.cases), static_cast<unsigned long long>(s.ran), static_cast<unsigned long long>(s.faulted), s.rows,
              s.covered, s.excluded, s.uncovered.size());
}

}  // namespace
}  // namespace lodge::x86
