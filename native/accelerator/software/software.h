// The accelerator that needs nothing of the host but a thread a vCPU: Lodge's own CPU.
#pragma once

#include "accelerator/accelerator.h"

namespace lodge {

const Accelerator& softwareAccelerator();

}  // namespace lodge
