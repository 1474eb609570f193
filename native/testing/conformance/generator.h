// Makes conformance cases: an encoding, random operands, and registers that lead memory operands where something can happen.
#pragma once

#include "testing/conformance/encodings.h"
#include "testing/conformance/image.h"
#include "testing/host_oracle.h"

namespace lodge::x86::conformance {

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}
  /** False: nothing came of this attempt (the bytes are another instruction). */
  bool make(const Encoding& e, CodeSize size, Case& c);
  /** Fresh contents of the data pages. */
  void fill(uint8_t* data);
  /** Values that mean something to this instruction, where its memory operand lies. */
  void plant(const Encoding& e, const Case& c, uint8_t* data);
  uint64_t bits() { return random_.bits(); }
  unsigned below(unsigned n) { return random_.below(n); }

 private:
  bool encode(const Encoding& e, CodeSize size, Case& c);
  void registers(Case& c);
  uint64_t integer();
  uint64_t target(const Encoding& e, const Case& c);
  bool address(const Encoding& e, Case& c);
  bool special(const Encoding& e, Case& c);
  bool redecode(Case& c);
  bool oneIn(unsigned n) { return random_.oneIn(n); }

  oracle::Random random_;
  uint64_t operandAt_ = 0;
};

}  // namespace lodge::x86::conformance
