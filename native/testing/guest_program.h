// Test support: a program for a bare PC in real mode, assembled into the test itself, that tells by port writes what it saw. The
// same bytes run on every tier of Lodge's processor and, as a second opinion, on KVM.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lodge::x86::testing {

struct GuestProgram {
  const uint8_t *begin, *end;
  uint32_t argument = 0;  ///< in EBX
};
/** Where its first byte lies, and where it starts: 0:7C00. */
constexpr uint64_t kProgramAt = 0x7c00;
/** The port that its words go to; the last of them is kProgramEnd. */
constexpr uint16_t kProgramPort = 0x80;
constexpr uint32_t kProgramEnd = 0xffffffff;

/** What it wrote, without the end. Words behind it say how it ended otherwise. */
std::vector<uint32_t> runProgram(const GuestProgram& program);
/** The same on KVM, as far as that goes: `why` says where there is none, or what of the program it could not run. */
std::vector<uint32_t> runProgramOnKvm(const GuestProgram& program, std::string& why);
/** Compares word by word. `part`: the words that there are. */
void checkWords(const char* who, const std::vector<uint32_t>& words, const std::vector<uint32_t>& expected, const char* file,
                int line, bool part = false);

}  // namespace lodge::x86::testing
