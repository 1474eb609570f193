// The doorbells of one machine: guest writes that become events without waiting for the owner. Changes only while no vCPU runs.
//
// Every accelerator matches them on the vCPU's thread, KVM too: an ioeventfd would lose the value written, and its reader
// would be one more thread between the guest and the owner.
#pragma once

#include <vector>

#include "accelerator/accelerator.h"

namespace lodge {

struct Doorbell {
  DoorbellKind kind;
  uint8_t width;
  uint32_t id;
  uint64_t address;
};

class Doorbells {
 public:
  bool taken(const Doorbell& bell) const noexcept;
  void add(const Doorbell& bell);
  void remove(uint32_t id);
  /** nullptr: this write rings none. */
  const Doorbell* find(DoorbellKind kind, uint64_t address, unsigned width) const noexcept;

 private:
  std::vector<Doorbell> all_;  // sorted by kind and address
};

}  // namespace lodge
