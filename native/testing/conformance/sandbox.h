// A child process in which instructions run on the host that may do anything.
#pragma once

#include <cstdint>

namespace lodge::x86::conformance {

/** Only what computing and reporting need: an instruction that gets out of hand meets the host's kernel here. */
void enterSandbox();

/** Runs `body` in a child. 0: it came to its end; else waitpid's status, or -1. It is killed when `progress` stands still for 20 s. */
int runInChild(void (*body)(void*), void* context, const uint64_t* progress);

/** Zeroed memory that a child shares. Null: there is none. */
void* sharedMemory(uint64_t bytes);
void freeShared(void* memory, uint64_t bytes);

}  // namespace lodge::x86::conformance
