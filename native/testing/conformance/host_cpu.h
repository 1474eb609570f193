// Runs conformance cases on the host's processor. One at a time in a process, which must be one that nothing else depends on.
#pragma once

#include "testing/conformance/image.h"

namespace lodge::x86::conformance {

class HostCpu {
 public:
  HostCpu();
  ~HostCpu();
  HostCpu(const HostCpu&) = delete;
  HostCpu& operator=(const HostCpu&) = delete;
  void run(const Case& c, Result& out);
  /** The first `length` bytes of the case, where the code's page ends and none follows. It always ends with a fault of some kind. */
  void runAtPageEnd(const Case& c, unsigned length, Result& out);
  uint8_t* data() { return data_; }

 private:
  void enter(const Case& c, uint64_t at);
  uint8_t *code_ = nullptr, *stub_ = nullptr, *data_ = nullptr;
};

}  // namespace lodge::x86::conformance
