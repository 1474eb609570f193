// Break- and watchpoints of a debugger outside the guest. Without any, one pointer is looked at between blocks and on the slow path
// of memory accesses. Code in a page that has a breakpoint runs instruction by instruction, without links, and so passes the run
// loop's check each time; a page that has a watchpoint is never in the fast tags of the TLB. All other pages run at full speed.
#include <algorithm>

#include "x86/interpreter/debugger.h"

namespace lodge::x86 {
namespace {

void addPages(std::vector<uint64_t>& pages, uint64_t first, uint64_t last) {
  for (uint64_t page = first & ~kPageMask;; page += kPageBytes) {
    pages.push_back(page);
    if (page == (last & ~kPageMask)) break;
  }
}
void tidy(std::vector<uint64_t>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}
bool has(const std::vector<uint64_t>& values, uint64_t value) { return std::binary_search(values.begin(), values.end(), value); }

uint64_t linearRip(const Core& c) {
  const uint64_t linear = c.state.rip + c.codeBase;
  return c.codeSize == CodeSize::k64 ? linear : linear & 0xffffffff;
}

}  // namespace

void Core::setDebugPoints(const DebugPoints& points) {
  debugger.reset();
  if (!points.empty()) {
    debugger = std::make_unique<Debugger>();
    debugger->breakpoints = points.breakpoints;
    tidy(debugger->breakpoints);
    debugger->watchpoints = points.watchpoints;
    for (const uint64_t at : debugger->breakpoints) debugger->codePages.push_back(at & ~kPageMask);
    for (const Watchpoint& w : debugger->watchpoints) addPages(debugger->dataPages, w.address, w.address + w.bytes - 1);
    tidy(debugger->codePages);
    tidy(debugger->dataPages);
  }
  // Chained blocks and fast TLB tags know nothing of the new points.
  flushBlocks();
  flushTlb(true);
}

bool Core::debugPage() const { return has(debugger->codePages, linearRip(*this) & ~kPageMask); }

bool Core::breakpointHere() {
  const uint64_t linear = linearRip(*this);
  if (!has(debugger->breakpoints, linear)) return false;
  debugStop = {DebugStop::Cause::Breakpoint, linear};
  return true;
}

bool Core::watchesPage(uint64_t linear) const {
  return (debugger && has(debugger->dataPages, linear & ~kPageMask)) || dataBreaksAt(linear & ~kPageMask, kPageBytes, true);
}

bool Core::watched(uint64_t linear, unsigned size, bool read, bool write) {
  if (debugger && !watchHit) {
    for (const Watchpoint& w : debugger->watchpoints) {
      // Either begins inside the other, also where addresses wrap.
      const bool touches = linear - w.address < w.bytes || w.address - linear < size;
      if (!touches || !((read && w.onRead) || (write && w.onWrite))) continue;
      debugStop = {DebugStop::Cause::Watchpoint, w.address};
      fault = FaultInfo{FaultKind::Watch, 0, false, false, 0};
      return true;
    }
  }
  const unsigned hit = dataBreaksAt(linear, size, write);
  if (hit && !replaying) {
    fault = FaultInfo{FaultKind::Break, 0, false, false, 0};
    return true;
  }
  traps |= hit;
  return false;
}

}  // namespace lodge::x86
