// Runs conformance cases as user-mode code on one of Lodge's own processors: the tier is a parameter.
#pragma once

#include "testing/conformance/image.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86::conformance {

class GuestCpu {
 public:
  explicit GuestCpu(x86::testing::CpuFactory factory = x86::testing::makeTestCpu, const CpuModel* model = nullptr);
  void run(const Case& c, Result& out);
  uint8_t* data() { return data_; }

 private:
  x86::testing::Guest guest_;
  State base_[2];  ///< 64-bit, 32-bit
  uint8_t* data_;
};

}  // namespace lodge::x86::conformance
