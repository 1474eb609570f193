// A unit of translated code, and how it is found: by guest-physical address, mode and where it expects the flags.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "memory/physical_memory.h"

namespace lodge::translator {

/** Bytes of a page, from … to - 1. */
struct Span {
  uint16_t from, to;
};

/** What a unit was made of in one page. */
struct Extent {
  Gpa page = 0;
  int64_t distance = 0;    ///< of its linear address from that of the unit's first page
  uint64_t chunks = 0;     ///< as CodePage has them
  uint32_t firstSpan = 0;  ///< of the bytes that were translated; precise where chunks are not
  uint32_t spans = 0;
};

struct Translation {
  Gpa gpa = 0;
  uint32_t mode = 0;
  uint64_t home = 0;           ///< LODGE_UNIT_HOME where it was translated
  Gpa second = ~0ull;          ///< page of the tail, of a unit that is one instruction across two pages
  bool anyFlags = false;       ///< does not look at the flags it is entered with
  bool saved = false;          ///< expects them in Core::ax
  bool dead = false;
  bool interpreted = false;    ///< nothing here can be translated
  uint32_t born = 0;           ///< units that had been translated before, modulo 2^32
  Extent own;                  ///< in the page of gpa
  /** Of a trace: the other pages. They must lie where they did; so it is found by way of its head, and by cached jumps alone. */
  const Extent* more = nullptr;
  size_t mores = 0;
  Translation* trace = nullptr;  ///< what is executed in place of this one where a cached jump leads here
  uint16_t heat = 0;             ///< of TierFrame::heat, when entries are counted
  Translation* head = nullptr;   ///< of a trace: the unit that begins where it does
  uint8_t* code = nullptr;     ///< writable: begins with a look for requests
  uint8_t* entered = nullptr;  ///< writable, behind it
  const uint8_t* entry = nullptr;  ///< executable, the same, or `counted`
  const uint8_t* counted = nullptr;  ///< executable: counts entries until they are worth a trace; nullptr: none do
  uint8_t* deadEnd = nullptr;  ///< what the entry jumps to once this is dead
  Translation* hashNext = nullptr;
  std::vector<uint32_t> incoming;  ///< link sites patched to lead here
  /** Where its tail lies has to be looked up anew for every generation: it is found through the table of targets alone. */
  bool crosses() const { return second != ~0ull; }
};

constexpr unsigned kHashBits = 16;
/** A macro, as functions for general registers only call no others. */
#define LODGE_UNIT_HASH(gpa, mode) \
  (((gpa) ^ (gpa) >> 14 ^ uint64_t{mode} * 0x9e37) & ((size_t{1} << ::lodge::translator::kHashBits) - 1))
/** TierFrame::key is a generation and, below it, the mode. */
constexpr unsigned kModeBits = 16;

/** Bits of a translation's mode beyond x86::ModeBit, which stays below them. */
enum : uint32_t {
  kModePrivilege = 3u << 8,
  kModePrivilegeShift = 8,
  kModeNoVectors = 1u << 10,  ///< SIMD instructions fault, or the guest unmasked their exceptions
  kModeNoX87 = 1u << 11,      ///< the same for x87 instructions
  kModeNoVex = 1u << 12,      ///< and for VEX-encoded ones
  kModeSmap = 1u << 13,       ///< outside user mode: EFLAGS.AC chooses the TLB
  kModeCareful = 1u << 14,    ///< of translations alone: no accesses share a check
};
constexpr uint32_t kNoMode = ~0u;

/** Links into other pages hold at one linear address: outside user mode, which alone has them, code mapped twice is translated twice. */
#define LODGE_UNIT_HOME(linear, mode) \
  (((mode) & ::lodge::translator::kModePrivilege) >> ::lodge::translator::kModePrivilegeShift ? (linear) & ~::lodge::kPageMask : uint64_t{0})

}  // namespace lodge::translator
