// Moves the guest's x87 state between the Core and the host's registers.
#pragma once

#include "x86/interpreter/core.h"

namespace lodge::translator {

/** Leaves vector registers alone. Only with all exceptions masked and none pending. */
void loadX87(x86::Core* core);
/** The way back: what HostFpScope promises holds again. */
void storeX87(x86::Core* core);

}  // namespace lodge::translator
