#include "accelerator/quick_ports.h"

#include <algorithm>

namespace lodge {
namespace {

constexpr uint32_t key(uint16_t port, unsigned width) { return uint32_t{port} << 8 | width; }

}  // namespace

bool QuickPorts::add(uint16_t port, unsigned width, unsigned number) {
  if (number >= quick_port::kPorts || find(port, width) >= 0) return false;
  if (std::any_of(all_.begin(), all_.end(), [&](const Entry& e) { return e.number == number; })) return false;
  const Entry entry{port, static_cast<uint8_t>(width), static_cast<uint8_t>(number)};
  const auto before = [](const Entry& a, const Entry& b) { return key(a.port, a.width) < key(b.port, b.width); };
  all_.insert(std::upper_bound(all_.begin(), all_.end(), entry, before), entry);
  return true;
}

void QuickPorts::remove(unsigned number) {
  std::erase_if(all_, [&](const Entry& e) { return e.number == number; });
}

int QuickPorts::find(uint16_t port, unsigned width) const noexcept {
  const uint32_t wanted = key(port, width);
  const auto at = std::lower_bound(all_.begin(), all_.end(), wanted, [](const Entry& e, uint32_t k) { return key(e.port, e.width) < k; });
  return at != all_.end() && key(at->port, at->width) == wanted ? at->number : -1;
}

}  // namespace lodge
