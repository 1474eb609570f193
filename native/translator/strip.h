// Strips: iterations of a loop that need no TLB checks of their own.
//
// When a unit is a loop and each address in it moves by a fixed distance per iteration, a look at the first iteration's pages
// tells how many iterations stay inside them. These run as a strip: accesses go straight to host memory, through registers
// that the loop does not use, and the interrupt poll is made once a strip. Nothing in a strip can fault or miss.
#pragma once

#include <optional>
#include <vector>

#include "translator/lowering.h"

namespace lodge::translator {

/** Bytes that iterations access through one register. Offsets are from the address's value at the iteration's start. */
struct StripWindow {
  /** What the window's register holds: host address less … */
  enum class Through : uint8_t {
    Whole,    ///< displacement: nothing of the address changes
    Base,     ///< index, which changes
    Linear,   ///< the whole linear address
  };
  Through through = Through::Whole;
  Address address;         ///< without its index when that is only known to be bounded
  int64_t low = 0, high = 0;
  int64_t stride = 0;      ///< bytes by which all of it moves in an iteration
  bool write = false;
  uint8_t aligned = 0;     ///< `alignedAt` must be so aligned, as all such accesses then are
  int64_t alignedAt = 0;
  uint8_t reg = 0;
};

constexpr uint8_t kNoWindow = 0xff;

struct StripPlan {
  size_t last = 0;                ///< the item that jumps back
  std::vector<StripWindow> windows;
  std::vector<uint8_t> windowOf;  ///< of each item's access, or kNoWindow
  /** Host registers that hold nothing of the guest's in the loop, and lend themselves to windows and, if left, the counter. */
  std::vector<uint8_t> borrowed;
  uint8_t counter = kNoReg;
};

/** nullopt: the unit is no loop, or not such a one. Unit::liveIn must be known. */
std::optional<StripPlan> planStrip(const Unit& unit);

}  // namespace lodge::translator
