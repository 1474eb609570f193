// KVM's memory slots, kept like PhysicalMemory's map. A slot cannot be split or resized, so what overlaps a change is taken out
// and its rest put back: only while no vCPU runs. The owner's thread alone.
#pragma once

#include <vector>

#include "accelerator/kvm/host.h"
#include "memory/physical_memory.h"

namespace lodge::kvm {

class Slots {
 public:
  Slots(const Descriptor& vm, PhysicalMemory& memory, unsigned limit) : vm_(vm), memory_(memory), limit_(limit) {}

  /** After PhysicalMemory::map() and unmap() of the same range. */
  Error mapped(RegionId region, uint64_t offset, Gpa gpa, uint64_t bytes);
  Error unmapped(Gpa gpa, uint64_t bytes);
  /** What guests wrote to this region goes to PhysicalMemory's dirty bits. */
  void harvest(RegionId region) noexcept;
  size_t count() const { return slots_.size(); }

 private:
  struct Slot {
    Gpa gpa;
    uint64_t bytes;
    RegionId region;
    uint64_t offset;
    uint8_t* host;
    uint32_t flags;
    uint32_t id;
    Gpa end() const { return gpa + bytes; }
    bool continues(const Slot& before) const {
      return before.end() == gpa && before.region == region && before.offset + before.bytes == offset && before.flags == flags;
    }
  };

  Error add(Slot slot);
  void remove(size_t index) noexcept;
  int tell(const Slot& slot, uint64_t bytes) noexcept;
  void harvest(const Slot& slot) noexcept;

  const Descriptor& vm_;
  PhysicalMemory& memory_;
  const unsigned limit_;
  std::vector<Slot> slots_;
  std::vector<uint64_t> log_;
};

}  // namespace lodge::kvm
