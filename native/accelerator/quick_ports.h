// Ports that a vCPU need not wait for. The device says ahead of time what a read gives, and which writes have no effect that the
// guest could notice before its next access that does wait: those are posted, and the device gets them, in order, before that access.
//
// What holds now is one word a port (quick_port in accelerator.h), which the owner stores and every vCPU loads. The table of ports
// changes only while no vCPU runs.
#pragma once

#include <cstdint>
#include <vector>

#include "accelerator/accelerator.h"

namespace lodge {

class QuickPorts {
 public:
  /** False: the number or the port is taken, or there is no such number. */
  bool add(uint16_t port, unsigned width, unsigned number);
  void remove(unsigned number);
  /** Its number; -1: accesses of this width at this port wait. */
  int find(uint16_t port, unsigned width) const noexcept;

 private:
  struct Entry {
    uint16_t port;
    uint8_t width, number;
  };
  std::vector<Entry> all_;  // sorted by port and width
};

}  // namespace lodge
