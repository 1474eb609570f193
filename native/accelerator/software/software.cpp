#include "accelerator/software/software.h"

#include <algorithm>

#include "accelerator/software/machine.h"
#include "translator/translator.h"
#include "x86/trace.h"

namespace lodge {
namespace {

class Software final : public Accelerator {
 public:
  const char* kind() const override { return "software"; }
  Probe probe() const override { return {true, false, "Runs on every 64-bit processor, without help from the host.", {"interpreter", "translator", "lockstep"}}; }
  std::unique_ptr<Machine> create(const MachineConfig& config, const std::string& tier, Error& error) const override {
    if (tier == "lockstep" && config.cpus != 1) {
      error = "Lockstep checks machines with one processor.";
      return nullptr;
    }
    std::shared_ptr<x86::TraceFile> trace;
    if (!config.tracePath.empty()) {
      if (tier == "lockstep") {
        error = "Lockstep executes everything twice: it cannot be traced.";
        return nullptr;
      }
      trace = x86::TraceFile::open(config.tracePath, config.traceInstructions, config.cpus, error);
      if (!trace) return nullptr;
    }
    const auto traced = [trace](x86::CpuConfig cpu) {
      cpu.trace = trace;
      return cpu;
    };
    if (tier == "auto" || tier == "translator" || tier == "lockstep") {
      // The cache is the machine's: each processor has its share of it.
      translator::Options options;
      options.cacheBytes = std::max(translator::kLeastCacheBytes, config.codeCacheBytes / std::max(1u, config.cpus));
      if (tier == "auto") options.heat = translator::kHeat;
      options.lockstep = tier == "lockstep";
      return software::SoftwareMachine::create(
          config,
          [options, traced](const x86::CpuConfig& cpu, PhysicalMemory& memory, x86::Environment& env) {
            return translator::makeTranslator(traced(cpu), memory, env, options);
          },
          error);
    }
    if (tier != "interpreter") {
      error = "This build has no " + tier + " for the software accelerator.";
      return nullptr;
    }
    return software::SoftwareMachine::create(
        config,
        [traced](const x86::CpuConfig& cpu, PhysicalMemory& memory, x86::Environment& env) {
          return x86::makeInterpreter(traced(cpu), memory, env);
        },
        error);
  }
};

}  // namespace

const Accelerator& softwareAccelerator() {
  static const Software software;
  return software;
}

}  // namespace lodge
