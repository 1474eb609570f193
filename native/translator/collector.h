// Which of the guest's instructions make up a unit.
#pragma once

#include <functional>

#include "translator/lowering.h"
#include "x86/interpreter/core.h"

namespace lodge::translator {

class Collector {
 public:
  /** There is a translation of what begins there, which takes the flags in this way. */
  using Known = std::function<bool(Gpa gpa, bool saved)>;

  Collector(x86::Core& core, unsigned maxInstructions) : c_(core), maxInstructions_(maxInstructions) {}

  bool checked = false;  ///< Setting::checked of all units

  /** The instruction there is not whole in its page. */
  bool reachesOut(Gpa gpa, uint32_t mode) const;
  /** The 15 bytes and more from gpa on, whose page ends before they do; valid until the next call. nullptr: that is no RAM. */
  const uint8_t* join(Gpa gpa, Gpa second);
  /** Fills an empty unit with what is executed from gpa on; `host`: its page. False: not one instruction can be translated. */
  bool collect(Gpa gpa, uint32_t mode, const uint8_t* host, const Known& known, Unit& unit) const;
  /** The same for the one instruction there, whose tail lies in the page `second`. */
  /** Host address of a page as it lies from the first one's start; nullptr: the path does not go there. */
  using PageOf = std::function<const uint8_t*(int64_t page)>;
  /**
   * Fills an empty unit with the instructions from gpa on along a path: distances, from the start of gpa's page, of where blocks begin. False:
   * it is no more than what collect() finds.
   */
  bool collectTrace(Gpa gpa, uint32_t mode, const std::vector<int64_t>& path, const PageOf& pageOf, Unit& unit) const;
  bool collectCrossing(Gpa gpa, Gpa second, uint32_t mode, Unit& unit);

 private:
  static Setting settingOf(uint32_t mode, const x86::FeatureSet& features);
  /** Writes down in an empty unit where it begins and in which mode; returns how its instructions are to be read. */
  Setting openUnit(Gpa gpa, uint32_t mode, Unit& unit) const;

  x86::Core& c_;
  const unsigned maxInstructions_;
  uint8_t joined_[30] = {};  ///< bytes around the end of a page
};

}  // namespace lodge::translator
