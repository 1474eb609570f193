#include "accelerator/accelerator.h"

#include "accelerator/kvm/kvm.h"
#include "accelerator/software/software.h"

namespace lodge {

const std::vector<const Accelerator*>& accelerators() {
  static const std::vector<const Accelerator*> all{&kvmAccelerator(), &softwareAccelerator()};
  return all;
}

}  // namespace lodge
