// The few hand-made pieces of code around translated code: the way in, the ways out, and the call of the interpreter.
#pragma once

#include "translator/code_cache.h"
#include "translator/lowering.h"

namespace lodge::translator {

/** (core, site) → 0: translated code goes on; else it is left. */
using StepFunction = uint32_t (*)(x86::Core*, uint32_t);
/** (core, linear address, access): see refill(). */
using RefillFunction = uint32_t (*)(x86::Core*, uint64_t, uint32_t);
using LoadX87Function = void (*)(x86::Core*);
/** Loads the guest's registers and jumps to `code`; comes back when translated code leaves. */
using EnterFunction = void (*)(x86::Core*, const uint8_t* code);


/** Writes them into the cache, which keeps them. `wide`: vector registers have 32 bytes. `routines` are addresses in the writable mapping, as code to be written sees them. */
EnterFunction makeRoutines(CodeCache& cache, const CoreLayout& layout, bool wide, StepFunction step, RefillFunction refill,
                           LoadX87Function loadX87,
                           Routines& routines);

}  // namespace lodge::translator
