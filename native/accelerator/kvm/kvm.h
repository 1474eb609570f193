// Hardware virtualization through /dev/kvm.
#pragma once

#include "accelerator/accelerator.h"

namespace lodge {

const Accelerator& kvmAccelerator();

}  // namespace lodge
