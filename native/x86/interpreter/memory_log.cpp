#include "x86/interpreter/memory_log.h"

#include <sys/mman.h>

#include <cstring>

namespace lodge::x86 {

namespace {
constexpr size_t kCopyBytes = size_t{2} * MemoryLog::kPages * kPageBytes;
}

MemoryLog::MemoryLog() {
  void* const p = ::mmap(nullptr, kCopyBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p != MAP_FAILED) copies_ = static_cast<uint8_t*>(p);
}
MemoryLog::~MemoryLog() {
  if (copies_) ::munmap(copies_, kCopyBytes);
}

void MemoryLog::revoke(Core& core) {
  if (grants_ <= kGrants) {
    for (unsigned n = 0; n < grants_; ++n) {
      if (!(granted_[n].entry->write() & 1)) granted_[n].entry->write() = noTag(granted_[n].slot);
    }
  } else {
    for (Tlb& t : core.tlbs) {
      for (unsigned n = 0; n < kTlbEntries; ++n) t.entry(n).write() = noTag(n);
    }
  }
  grants_ = 0;
}

void MemoryLog::undo(Core& core) {
  revoke(core);
  // A walk that is not repeated would not set its bits again.
  if (fills_ > kFills) {
    core.flushTlb(true);
  } else {
    for (unsigned n = 0; n < fills_; ++n) {
      const auto [linear, who] = filled_[n];
      core.walkEntry(linear, who).tag = 1;
      Tlb& t = core.tlbs[who];
      const unsigned slot = linear >> 12 & (kTlbEntries - 1);
      t.entry(slot).read() = t.entry(slot).write() = noTag(slot);
      t.page[slot] = 1;
    }
  }
  fills_ = 0;
  for (unsigned n = 0; n < count_; ++n) {
    uint8_t* const copy = copies_ + size_t{2} * n * kPageBytes;
    std::memcpy(copy + kPageBytes, pages_[n].host, kPageBytes);
    std::memcpy(pages_[n].host, copy, kPageBytes);
  }
  undone_ = count_;
}

}  // namespace lodge::x86
