#include "accelerator/software/software.h"

#include "accelerator/software/machine.h"

namespace lodge {
namespace {

class Software final : public Accelerator {
 public:
  const char* kind() const override { return "software"; }
  Probe probe() const override { return {true, false, "Runs on every 64-bit processor, without help from the host.", {"interpreter"}}; }
  std::unique_ptr<Machine> create(const MachineConfig& config, const std::string& tier, Error& error) const override {
    if (tier != "auto" && tier != "interpreter") {
      error = "This build has no " + tier + " for the software accelerator.";
      return nullptr;
    }
    return software::SoftwareMachine::create(config, x86::makeInterpreter, error);
  }
};

}  // namespace

const Accelerator& softwareAccelerator() {
  static const Software software;
  return software;
}

}  // namespace lodge
