// What a conformance case is, and what comes out of it: the same for the host and for every tier.
#pragma once

#include <cstdint>

#include "x86/instruction.h"

namespace lodge::x86::conformance {

/** Linear addresses, the same on both sides. Behind the code comes a landing place for branches. */
constexpr uint64_t kCodePage = 0x50000000, kDataAt = 0x70000000;
/** Two pages to read and write, one to read; none before and behind. */
constexpr unsigned kWritableBytes = 2 * 4096, kReadableBytes = 3 * 4096;
/** A branch that is taken may go here, from the end of the instruction. */
constexpr unsigned kTakenDistance = 8;
/** Linux's selectors of user mode. */
constexpr uint16_t kUserCode32 = 0x23, kUserData = 0x2b, kUserCode64 = 0x33;

constexpr unsigned kXsaveBytes = 832;
/** Of code: an instruction, or a few without branches. */
constexpr unsigned kCaseBytes = 96;

struct Image {
  alignas(64) uint8_t xsave[kXsaveBytes];  ///< standard format: x87, SSE, YMM
  uint64_t gpr[16];
  uint64_t flags;
};

struct Case {
  CodeSize size = CodeSize::k64;
  uint64_t at = 0;         ///< linear address of the instruction, in kCodePage
  uint8_t bytes[kCaseBytes] = {};
  uint8_t length = 0;
  Decoded decoded;
  Image before;
};

struct Result {
  int vector = -1;         ///< -1: it ran
  uint32_t error = 0;
  uint64_t address = 0;    ///< CR2 of a page fault
  uint64_t rip = 0;        ///< relative to the end of the instruction; of a fault, to its beginning
  bool lost = false;       ///< it ended in no way that is known
  Image after;
};

}  // namespace lodge::x86::conformance
