// Whether this KVM runs 64-bit guest code on the processor itself. Some do not: a KVM that is itself a guest's, made for
// paravirtual kernels only, interprets everything else, far more slowly than Lodge's own CPU would run it.
#pragma once

#include <string>

#include "accelerator/kvm/host.h"

namespace lodge::kvm {

/** Empty when a short 64-bit guest program with paging and SSE ran right and at the processor's speed; else the reason. */
Error selfTest(const Descriptor& device);

}  // namespace lodge::kvm
