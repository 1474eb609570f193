// What a vCPU remembers of translations and of code: the software TLB, the walks behind it, jumps and fetches, address spaces.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "memory/physical_memory.h"
#include "x86/cpuid.h"

namespace lodge::x86 {

struct Block;

constexpr uint64_t kPhysicalMask = (1ull << kPhysicalAddressBits) - 1;
constexpr uint64_t kAddressMask = kPhysicalMask & ~kPageMask;

/** Sets of numbers that may hold more than were put in: one bit for each hash. */
template <size_t Words>
inline unsigned bloom(const uint64_t (&)[Words], uint64_t number) {
  return static_cast<unsigned>((number ^ number >> 12) & (Words * 64 - 1));
}
template <size_t Words>
inline void setBloom(uint64_t (&bits)[Words], uint64_t number) {
  const unsigned n = bloom(bits, number);
  bits[n >> 6] |= 1ull << (n & 63);
}
template <size_t Words>
inline bool inBloom(const uint64_t (&bits)[Words], uint64_t number) {
  const unsigned n = bloom(bits, number);
  return bits[n >> 6] >> (n & 63) & 1;
}

enum TlbFlag : uint64_t {
  kTlbMmio = 1, kTlbRom = 2, kTlbTracked = 4, kTlbMayWrite = 8, kTlbGlobal = 16, kTlbLarge = 32,
};
constexpr unsigned kTlbEntries = 1024;
/**
 * Tags are linear pages; bit 0 marks one that stands for none. The words of an entry lie in arrays of their own, one behind another
 * in the Tlb, so that the number of a page is an index with a scale that addresses have.
 */
class TlbEntry {
 public:
  uint64_t& read() { return word(0); }
  uint64_t& write() { return word(1); }
  uint64_t& addend() { return word(2); }  ///< host address - linear address
  uint64_t& info() { return word(3); }    ///< guest-physical page | TlbFlag
  uint64_t read() const { return word(0); }
  uint64_t write() const { return word(1); }
  uint64_t addend() const { return word(2); }
  uint64_t info() const { return word(3); }
  /** Bytes from an entry's first word to another. */
  static constexpr int32_t kRead = 0, kWrite = 8 * kTlbEntries, kAddend = 2 * kWrite, kInfo = 3 * kWrite;

 private:
  uint64_t& word(unsigned n) { return *(&first_ + size_t{n} * kTlbEntries); }
  uint64_t word(unsigned n) const { return *(&first_ + size_t{n} * kTlbEntries); }
  uint64_t first_;
};
/** A tag for slot n that no linear address has, and that differs from every address of the slot above the page offset, too. */
constexpr uint64_t noTag(unsigned n) { return static_cast<uint64_t>(n ^ 1) << 12 | 1; }
struct Tlb {
  uint64_t words[4][kTlbEntries] = {};
  TlbEntry& entry(unsigned n) { return reinterpret_cast<TlbEntry&>(words[0][n]); }
  uint64_t page[kTlbEntries];  ///< linear page `info` speaks of, whatever the fast tags say; 1: none
  uint64_t local[kTlbEntries / 64] = {};  ///< one bit an entry: all that may hold what is not global
  bool used = false;           ///< holds anything since the last flush
};
/** Second level: what walks found, for all privileges. A flush is a new generation. */
struct WalkEntry {
  uint64_t tag = 1;         ///< linear page | Privilege
  uint64_t generation = 0;
  uint64_t addend = 0;
  uint64_t info = 0;
  const std::atomic<uint8_t>* code = nullptr;  ///< set when the page holds decoded code
};
constexpr unsigned kWalkEntries = 8192;
/** Who accesses: the index of a TLB. */
enum Privilege : unsigned { kUser, kSupervisor, kSupervisorUserAllowed /**< SMAP lifted by EFLAGS.AC */, kPrivileges };

struct JumpEntry { uint64_t linear = 1, key = 0; Block* block = nullptr; };
constexpr unsigned kJumpEntries = 4096;
struct FetchEntry { uint64_t page = 1, key = 0; Gpa gpa = 0; };
constexpr unsigned kFetchEntries = 1024;

/**
 * What is remembered of an address space while another one is in use: which of its translations still hold. With PCIDs a few
 * spaces are kept (SDM vol. 3 §4.10.1); without them there is only ever the first.
 */
struct AddressSpace {
  uint64_t pcid = 0;
  uint64_t generation = 0;      ///< of what is fetched in user mode
  uint64_t walkGeneration = 0;  ///< of WalkEntries that are not global; 0: nothing is known of this space
  uint64_t fetched[64] = {};    ///< hashed linear pages that cached jumps of this generation may lead to
};
constexpr unsigned kSpaces = 8;  ///< Linux uses six PCIDs at a time
/** Lower halves of address spaces, whose addresses are the same in all, use different slots of Core::walks. */
constexpr uint64_t kWalkSalt = 0x9c5;

struct CodePage {
  uint64_t chunks = 0;  ///< bit n: bytes 64n … 64n + 63 hold decoded code
  std::vector<Block*> blocks;
  uint64_t tierChunks = 0;  ///< the same for what the second tier made of them
  bool empty() const { return blocks.empty() && tierChunks == 0; }
};

}  // namespace lodge::x86
