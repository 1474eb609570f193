#include "accelerator/kvm/kvm.h"

#include "accelerator/kvm/host.h"
#include "accelerator/kvm/machine.h"
#include "accelerator/kvm/trial.h"

namespace lodge {
namespace {

class Kvm final : public Accelerator {
 public:
  const char* kind() const override { return "kvm"; }

  Probe probe() const override {
    Error error;
    const kvm::Descriptor device = kvm::openDevice(error);
    if (!device) return {false, false, error, {}};
    // What the processor and its KVM can do does not change while a program runs.
    static const Error verdict = kvm::selfTest(device);
    if (verdict.empty()) return {true, false, "Runs guests on the processor itself, through KVM.", {}};
    return {false, true, verdict, {}};
  }

  std::unique_ptr<Machine> create(const MachineConfig& config, const std::string& tier, Error& error) const override {
    if (tier != "auto") {
      error = "KVM runs guests on the processor: it has no " + tier + ".";
      return nullptr;
    }
    if (!config.tracePath.empty()) {
      error = "KVM runs guests on the processor, which does not tell what it executes.";
      return nullptr;
    }
    return kvm::KvmMachine::create(config, error);
  }
};

}  // namespace

const Accelerator& kvmAccelerator() {
  static const Kvm kvm;
  return kvm;
}

}  // namespace lodge
