// The few hand-made pieces of code around translated code: the way in, the ways out, and the call of the interpreter.
#pragma once

#include "translator/code_cache.h"
#include "translator/lowering.h"

namespace lodge::translator {

/** What the routines call. */
struct Callees {
  /** (core, site) → 0: translated code goes on; 1: it is left; 2: it goes on at frame.temporary. */
  uint32_t (*step)(x86::Core*, uint32_t);
  /** (core, linear address, access): see refill(). */
  uint64_t (*refill)(x86::Core*, uint64_t, uint32_t);
  uint64_t (*lookup)(x86::Core*);
  void (*loadX87)(x86::Core*);
};
/** Loads the guest's registers and jumps to `code`; comes back when translated code leaves. */
using EnterFunction = void (*)(x86::Core*, const uint8_t* code);

/**
 * Writes them into the cache, which keeps them. `wide`: vector registers have 32 bytes. `routines` are addresses in the writable
 * mapping, as code to be written sees them.
 */
EnterFunction makeRoutines(CodeCache& cache, const CoreLayout& layout, bool wide, const Callees& callees, Routines& routines);

}  // namespace lodge::translator
