// The way from a TLB miss in translated code back into it, when an earlier walk already knows the translation.
#pragma once

#include <cstdint>

#include "x86/interpreter/core.h"

namespace lodge::translator {

/** `access`: Privilege | kRefillWrite. */
constexpr uint32_t kRefillWrite = 4;
/**
 * Enters the page of `linear` into the TLB. 0: it cannot, or it already is there, so that the check failed for another reason.
 * Leaves vector registers alone, which hold the guest's.
 */
uint64_t refill(x86::Core* core, uint64_t linear, uint32_t access);

}  // namespace lodge::translator
