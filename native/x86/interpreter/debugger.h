// What Core::debugger holds: see debug.cpp.
#pragma once

#include <vector>

#include "x86/interpreter/core.h"

namespace lodge::x86 {

struct Debugger {
  std::vector<uint64_t> breakpoints;
  std::vector<Watchpoint> watchpoints;
  // Linear pages that hold some of them. All sorted.
  std::vector<uint64_t> codePages, dataPages;
};

}  // namespace lodge::x86
