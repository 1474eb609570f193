// What the pages held that one vCPU writes: so that a stretch of code can be undone and executed again.
//
// While Core::log is set, a page gets into the log before the first write to it: the TLB lends write access only to pages that
// are in it, and every slow write asks for it. Walks that set accessed and dirty bits do, too. Other vCPUs and devices must not
// write meanwhile. Nothing here touches vector registers, which may hold the guest's.
#pragma once

#include <cstdint>
#include <memory>

#include "x86/interpreter/core.h"

namespace lodge::x86 {

class MemoryLog {
 public:
  static constexpr unsigned kPages = 512;

  /** False: no memory. */
  bool valid() const { return copies_ != nullptr; }
  MemoryLog();
  ~MemoryLog();
  MemoryLog(const MemoryLog&) = delete;
  MemoryLog& operator=(const MemoryLog&) = delete;

  /** From now on pages are kept; the log is empty. */
  void begin(Core& core) {
    revoke(core);
    count_ = undone_ = fills_ = 0;
    open_ = true;
  }
  void end() { open_ = false; }
  /** Everything is as it was at begin(); what the pages held before this call is kept as well. */
  void undo(Core& core);

  unsigned count() const { return count_; }
  /** How many of them undo() put back. */
  unsigned undone() const { return undone_; }
  const uint8_t* host(unsigned n) const { return pages_[n].host; }
  const uint8_t* before(unsigned n) const { return copies_ + size_t{2} * n * kPageBytes; }
  /** What undo() found. */
  const uint8_t* after(unsigned n) const { return before(n) + (n < undone_ ? kPageBytes : 0); }
  /** Accessed and dirty bits were set in it. */
  bool walked(unsigned n) const { return pages_[n].walked; }

  /** The page at `host` is about to be written. False: the log is full. */
  [[gnu::target("general-regs-only")]] bool touch(uint8_t* host, bool walked) {
    if (!open_) return true;
    for (unsigned n = count_; n-- > 0;) {
      if (pages_[n].host != host) continue;
      pages_[n].walked |= walked;
      return true;
    }
    if (count_ == kPages) return false;
    void* to = copies_ + size_t{2} * count_ * kPageBytes;
    const void* from = host;
    size_t words = kPageBytes / 8;
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
    pages_[count_++] = {host, walked};
    return true;
  }
  /** The TLB lends write access. */
  [[gnu::target("general-regs-only")]] void granted(TlbEntry& entry, unsigned slot) {
    if (grants_ < kGrants) granted_[grants_] = {&entry, slot};
    ++grants_;
  }
  /** A walk found a translation. */
  void filled(uint64_t linear, Privilege who) {
    if (!open_) return;
    if (fills_ < kFills) filled_[fills_] = {linear, who};
    ++fills_;
  }

 private:
  static constexpr unsigned kGrants = 256, kFills = 64;
  struct Page {
    uint8_t* host;
    bool walked;
  };
  struct Grant {
    TlbEntry* entry;
    unsigned slot;
  };
  struct Fill {
    uint64_t linear;
    Privilege who;
  };
  void revoke(Core& core);

  uint8_t* copies_ = nullptr;  ///< two pages each: as it was at first, and as undo() found it
  unsigned count_ = 0, undone_ = 0, grants_ = 0, fills_ = 0;
  bool open_ = false;
  Page pages_[kPages];
  Grant granted_[kGrants];
  Fill filled_[kFills];
};

}  // namespace lodge::x86
