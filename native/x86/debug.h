// What a debugger outside the guest asks of its processors, and what they tell it. All addresses are linear.
#pragma once

#include <cstdint>
#include <vector>

namespace lodge::x86 {

struct Watchpoint {
  uint64_t address = 0;
  uint32_t bytes = 1;
  bool onRead = false, onWrite = true;
};

struct DebugPoints {
  std::vector<uint64_t> breakpoints;  ///< sorted
  std::vector<Watchpoint> watchpoints;
  bool empty() const { return breakpoints.empty() && watchpoints.empty(); }
};

struct DebugStop {
  enum class Cause : uint8_t {
    Breakpoint,  ///< before the instruction at `address`, whenever execution comes there or starts there
    Watchpoint,  ///< behind the instruction that accessed a byte of the watchpoint at `address`
    Step,
  };
  Cause cause = Cause::Step;
  uint64_t address = 0;
};

}  // namespace lodge::x86
