#pragma once

#include "x86/interpreter/core.h"

namespace lodge::translator {

/**
 * Where translated code goes on for state.rip, when the table of targets does not know: the entry of a unit that takes its flags
 * from Core::ax, which the table then knows, too. 0: none, or the page it lies in is not at hand. Like refill() it leaves vector
 * registers alone.
 */
uint64_t lookup(x86::Core* core);

}  // namespace lodge::translator
