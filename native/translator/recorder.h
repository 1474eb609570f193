// The path that execution takes from a place which it often comes to: where the interpreter's blocks begin, until the path has been
// there before, or leaves the mode or the address space.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "memory/physical_memory.h"

namespace lodge::translator {

class Recorder {
 public:
  struct Step {
    uint64_t linear;
    Gpa page;
  };
  enum class Next : uint8_t { Same /**< nothing has been executed since */, New, Over };

  bool active() const { return !path_.empty(); }
  uint64_t key() const { return key_; }
  const std::vector<Step>& path() const { return path_; }

  uint64_t stack() const { return stack_; }

  /** `stack`: the stack pointer there. */
  void begin(uint64_t linear, Gpa page, uint64_t key, uint64_t stack) {
    stack_ = stack;
    path_.assign(1, {linear, page});
    key_ = key;
    repeated_ = 0;
  }
  void end() { path_.clear(); }
  void add(uint64_t linear, Gpa page) { path_.push_back({linear, page}); }
  /** What coming to this place means. A request may have been served in between; a block that jumps to itself shows by and by. */
  Next comesTo(uint64_t linear) {
    if (path_.back().linear == linear) return ++repeated_ < kMaxRepeated ? Next::Same : Next::Over;
    const bool known = std::any_of(path_.begin(), path_.end(), [&](const Step& s) { return s.linear == linear; });
    return known || path_.size() == kMaxSteps ? Next::Over : Next::New;
  }
  /** What comes from a path that was cut short, by an interrupt say, is not worth it. */
  bool substantial() const { return path_.size() >= kFewSteps; }

 private:
  static constexpr size_t kMaxSteps = 64, kFewSteps = 8;
  static constexpr unsigned kMaxRepeated = 4;
  std::vector<Step> path_;
  uint64_t key_ = 0, stack_ = 0;
  unsigned repeated_ = 0;
};

}  // namespace lodge::translator
