// A unit of translated code, and how it is found: by guest-physical address, mode and where it expects the flags.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "memory/physical_memory.h"

namespace lodge::translator {

struct Translation {
  Gpa gpa = 0;
  uint32_t mode = 0;
  bool anyFlags = false;       ///< does not look at the flags it is entered with
  bool saved = false;          ///< expects them in Core::ax
  bool dead = false;
  bool interpreted = false;    ///< nothing here can be translated
  uint64_t chunks = 0;         ///< of the page, as CodePage has them
  uint8_t* code = nullptr;     ///< writable
  const uint8_t* entry = nullptr;  ///< executable
  uint8_t* deadEnd = nullptr;  ///< what the entry jumps to once this is dead
  Translation* hashNext = nullptr;
  std::vector<uint32_t> incoming;  ///< link sites patched to lead here
};

constexpr unsigned kHashBits = 16;
/** A macro, as functions for general registers only call no others. */
#define LODGE_UNIT_HASH(gpa, mode) \
  (((gpa) ^ (gpa) >> 14 ^ uint64_t{mode} * 0x9e37) & ((size_t{1} << ::lodge::translator::kHashBits) - 1))
/** TierFrame::key is a generation and, below it, the mode. */
constexpr unsigned kModeBits = 16;

}  // namespace lodge::translator
