#include "accelerator/kvm/slots.h"

#include <algorithm>
#include <bit>

namespace lodge::kvm {

int Slots::tell(const Slot& slot, uint64_t bytes) noexcept {
  kvm_userspace_memory_region region{};
  region.slot = slot.id;
  region.flags = bytes != 0 ? slot.flags : 0;
  region.guest_phys_addr = slot.gpa;
  region.memory_size = bytes;
  region.userspace_addr = reinterpret_cast<uint64_t>(slot.host);
  return call(vm_, KVM_SET_USER_MEMORY_REGION, &region);
}

void Slots::remove(size_t index) noexcept {
  harvest(slots_[index]);
  tell(slots_[index], 0);
  slots_.erase(slots_.begin() + static_cast<ptrdiff_t>(index));
}

/** Grows a neighbour rather than being a slot of its own where it can: remapping to and fro must not use up the slots. */
Error Slots::add(Slot slot) {
  for (size_t i = slots_.size(); i-- > 0;) {
    if (slot.continues(slots_[i])) {
      slot.gpa = slots_[i].gpa, slot.offset = slots_[i].offset, slot.host = slots_[i].host, slot.bytes += slots_[i].bytes;
    } else if (slots_[i].continues(slot)) {
      slot.bytes += slots_[i].bytes;
    } else {
      continue;
    }
    remove(i);
  }
  slot.id = 0;
  const auto taken = [&](const Slot& other) { return other.id == slot.id; };
  while (std::any_of(slots_.begin(), slots_.end(), taken)) ++slot.id;
  if (slot.id >= limit_) return "KVM has no memory slot left for this mapping.";
  if (const int result = tell(slot, slot.bytes); result < 0) return hostError("KVM refuses a part of guest memory", result);
  slots_.push_back(slot);
  return {};
}

Error Slots::unmapped(Gpa gpa, uint64_t bytes) {
  const Gpa end = gpa + bytes;
  std::vector<Slot> rests;
  for (size_t i = slots_.size(); i-- > 0;) {
    const Slot slot = slots_[i];
    if (slot.end() <= gpa || slot.gpa >= end) continue;
    if (slot.gpa < gpa) {
      rests.push_back(slot);
      rests.back().bytes = gpa - slot.gpa;
    }
    if (slot.end() > end) {
      const uint64_t cut = end - slot.gpa;
      rests.push_back(slot);
      rests.back().gpa = end, rests.back().bytes -= cut, rests.back().offset += cut, rests.back().host += cut;
    }
    remove(i);
  }
  for (const Slot& rest : rests) {
    if (Error error = add(rest); !error.empty()) return error;
  }
  return {};
}

Error Slots::mapped(RegionId region, uint64_t offset, Gpa gpa, uint64_t bytes) {
  if (Error error = unmapped(gpa, bytes); !error.empty()) return error;
  const PageEntry first = memory_.page(gpa);
  const uint32_t flags = (first.writable ? 0u : KVM_MEM_READONLY) | (first.tracked ? KVM_MEM_LOG_DIRTY_PAGES : 0u);
  return add({gpa, bytes, region, offset, first.host, flags, 0});
}

void Slots::harvest(const Slot& slot) noexcept {
  if (!(slot.flags & KVM_MEM_LOG_DIRTY_PAGES)) return;
  const uint64_t words = (slot.bytes / kPageBytes + 63) / 64;
  if (log_.size() < words) log_.resize(words);
  std::fill_n(log_.begin(), words, 0);
  kvm_dirty_log log{};
  log.slot = slot.id;
  log.dirty_bitmap = log_.data();
  if (call(vm_, KVM_GET_DIRTY_LOG, &log) < 0) return;
  for (uint64_t word = 0; word < words; ++word) {
    for (uint64_t bits = log_[word]; bits != 0; bits &= bits - 1) {
      const uint64_t page = word * 64 + static_cast<unsigned>(std::countr_zero(bits));
      memory_.regionWrote(slot.region, slot.offset + page * kPageBytes, kPageBytes);
    }
  }
}

void Slots::harvest(RegionId region) noexcept {
  for (const Slot& slot : slots_) {
    if (slot.region == region) harvest(slot);
  }
}

}  // namespace lodge::kvm
