#include "translator/census.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace lodge::translator {

using namespace x86;

std::unique_ptr<Census> Census::make(const Core& core) {
  const char* traces = std::getenv("LODGE_TRACE");
  if (!traces || !std::strstr(traces, "translator")) return nullptr;
  return std::unique_ptr<Census>(new Census(core));
}

Census::Census(const Core& core) : core_(core), steps_(2 * (static_cast<size_t>(Op::kCount))) { restart(); }

void Census::restart() {
  runs = inside = finds = translations = Row{};
  std::fill(steps_.begin(), steps_.end(), Row{});
  walks_ = core_.counters.pageWalks.value();
  misses_ = core_.counters.tlbMisses.value();
  interrupts_ = core_.counters.interrupts.value();
  exceptions_ = core_.counters.exceptions.value();
  invalidations_ = core_.tierCounters.invalidations.value();
  evictions_ = core_.tierCounters.flushes.value();
  since_ = now();
}

void Census::report() {
  constexpr size_t kShown = 16;
  const uint64_t passed = now() - since_;
  if (passed < core_.config.tscHz) return;
  const auto share = [&](const Row& row) { return 100.0 * static_cast<double>(row.cycles) / static_cast<double>(passed); };
  const auto n = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  std::fprintf(stderr, "vCPU %u: %llu runs, %.1f %% in them; %llu finds %.1f %%, %llu translations %.1f %%; %llu page walks, "
               "%llu TLB misses, %llu interrupts, %llu exceptions, %llu invalidations, %llu evictions\n",
               core_.config.index, n(runs.count), share(inside), n(finds.count), share(finds), n(translations.count),
               share(translations), n(core_.counters.pageWalks.value() - walks_), n(core_.counters.tlbMisses.value() - misses_),
               n(core_.counters.interrupts.value() - interrupts_), n(core_.counters.exceptions.value() - exceptions_),
               n(core_.tierCounters.invalidations.value() - invalidations_),
               n(core_.tierCounters.flushes.value() - evictions_));
  std::vector<size_t> order;
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (steps_[i].count) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return steps_[a].cycles > steps_[b].cycles; });
  if (order.size() > kShown) order.resize(kShown);
  for (const size_t i : order) {
    std::fprintf(stderr, "  %s%s: %llu times, %.2f %%, %llu cycles each\n", opName(static_cast<Op>(i / 2)),
                 i % 2 ? " (memory)" : "", n(steps_[i].count), share(steps_[i]), n(steps_[i].cycles / steps_[i].count));
  }
  restart();
}

}  // namespace lodge::translator
