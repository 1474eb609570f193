// The instruction corpus on every tier: LODGE_CORPUS names a folder of files made elsewhere; without it they are made by the host and
// thrown away. LODGE_CORPUS_OUT keeps them.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "testing/conformance/corpus.h"
#include "testing/test.h"

namespace lodge::x86 {
namespace {

constexpr uint64_t kSeed = 20;
constexpr unsigned kCasesPerRow = 2;

std::unique_ptr<Cpu> translated(const CpuConfig& config, PhysicalMemory& memory, Environment& env, unsigned instructions) {
  translator::Options options;
  options.cacheBytes = 16 << 20;
  options.exactFlags = true;
  if (instructions != 0) options.maxInstructions = instructions;
  return translator::makeTranslator(config, memory, env, options);
}

TEST(instructionCorpusOnEveryTier) {
  namespace fs = std::filesystem;
  const char* const given = std::getenv("LODGE_CORPUS");
  const char* const kept = std::getenv("LODGE_CORPUS_OUT");
  const std::string folder = given ? given : kept ? kept : (fs::temp_directory_path() / ("lodge-corpus-" + std::to_string(::getpid()))).string();
  unsigned cases = 0, chains = 0;
  if (!given) {
    fs::create_directories(folder);
    const conformance::CorpusSummary made = conformance::writeCorpus(folder, kSeed, kCasesPerRow);
    for (const std::string& f : made.failures) ::lodge::testing::fail(__FILE__, __LINE__, f);
    std::printf("corpus: %u files, %u instructions, %u runs, %llu KiB\n", made.files, made.cases, made.chains,
                static_cast<unsigned long long>(made.bytes >> 10));
    CHECK(made.files > 20 && made.cases > 4000 && made.chains > 300);
    cases = made.cases;
    chains = made.chains;
  }
  struct Tier { const char* name; testing::CpuFactory factory; };
  const Tier tiers[] = {
      {"interpreter", makeInterpreter},
      {"translator-1", [](const CpuConfig& c, PhysicalMemory& m, Environment& e) { return translated(c, m, e, 1); }},
      {"translator", [](const CpuConfig& c, PhysicalMemory& m, Environment& e) { return translated(c, m, e, 0); }},
  };
  for (const Tier& tier : tiers) {
    const conformance::CorpusSummary ran = conformance::runCorpus(folder, tier.factory);
    for (const std::string& f : ran.failures) ::lodge::testing::fail(__FILE__, __LINE__, std::string(tier.name) + ": " + f);
    CHECK(ran.cases > 0 && ran.chains > 0);
    if (given) continue;
    CHECK_EQ(ran.cases, cases);
    CHECK_EQ(ran.chains, chains);
  }
  std::error_code ignored;
  if (!given && !kept) fs::remove_all(folder, ignored);
}

}  // namespace
}  // namespace lodge::x86
