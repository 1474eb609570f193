#include "accelerator/doorbells.h"

#include <algorithm>

namespace lodge {
namespace {

bool before(const Doorbell& a, const Doorbell& b) { return a.kind != b.kind ? a.kind < b.kind : a.address < b.address; }

}  // namespace

bool Doorbells::taken(const Doorbell& bell) const noexcept {
  return std::any_of(all_.begin(), all_.end(), [&](const Doorbell& d) {
    return d.id == bell.id || (d.kind == bell.kind && d.address == bell.address && d.width == bell.width);
  });
}

void Doorbells::add(const Doorbell& bell) { all_.insert(std::upper_bound(all_.begin(), all_.end(), bell, before), bell); }

void Doorbells::remove(uint32_t id) {
  std::erase_if(all_, [&](const Doorbell& bell) { return bell.id == id; });
}

const Doorbell* Doorbells::find(DoorbellKind kind, uint64_t address, unsigned width) const noexcept {
  auto at = std::lower_bound(all_.begin(), all_.end(), Doorbell{kind, 0, 0, address}, before);
  for (; at != all_.end() && at->kind == kind && at->address == address; ++at) {
    if (at->width == width) return &*at;
  }
  return nullptr;
}

}  // namespace lodge
