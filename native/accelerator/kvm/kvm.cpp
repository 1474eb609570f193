#include "accelerator/kvm/kvm.h"

namespace lodge {
namespace {

constexpr const char* kReason = "Lodge's KVM accelerator is not included in this build.";

class Kvm final : public Accelerator {
 public:
  const char* kind() const override { return "kvm"; }
  Probe probe() const override { return {false, kReason, {}}; }
  std::unique_ptr<Machine> create(const MachineConfig&, const std::string&, Error& error) const override {
    error = kReason;
    return nullptr;
  }
};

}  // namespace

const Accelerator& kvmAccelerator() {
  static const Kvm kvm;
  return kvm;
}

}  // namespace lodge
