// Linear to physical: page walks of all paging modes (SDM vol. 3, chapter 4), what the TLB is filled with, and the slow
// path of every memory access: page-crossing, MMIO, ROM, dirty-tracked pages, pages that hold decoded code.
#include <algorithm>
#include <cstring>

#include "x86/interpreter/core.h"
#include "x86/interpreter/memory_log.h"

namespace lodge::x86 {
namespace {

enum Pte : uint64_t { kPteP = 1, kPteW = 2, kPteU = 4, kPteA = 32, kPteD = 64, kPtePs = 128, kPteG = 256, kPteNx = 1ull << 63 };
enum PageFault : uint32_t { kPfPresent = 1, kPfWrite = 2, kPfUser = 4, kPfReserved = 8, kPfFetch = 16 };

constexpr uint64_t kReservedAddress = ((1ull << 52) - 1) & ~kPhysicalMask;

}  // namespace

Privilege Core::privilege() const {
  if (cpl == 3) return kUser;
  return (state.cr4 & kCr4Smap) && (state.rflags & kAc) ? kSupervisorUserAllowed : kSupervisor;
}

bool Core::walk(uint64_t linear, Access access, Privilege who, Gpa& page, uint64_t& info) {
  if (!(state.cr0 & kCr0Pg)) {
    page = linear & 0xffffffffull & ~kPageMask;
    info = page | kTlbMayWrite;
    return true;
  }
  counters.pageWalks.add();
  const bool write = access == Access::Write, fetch = access == Access::Fetch;
  const bool nxe = state.efer & kEferNxe, pae = state.cr4 & kCr4Pae;
  uint32_t error = (write ? +kPfWrite : 0u) | (who == kUser ? +kPfUser : 0u);
  if (fetch && ((nxe && pae) || (state.cr4 & kCr4Smep))) error |= kPfFetch;
  const auto fault = [&](uint32_t bits) {
    state.cr2 = linear;
    return raise(kPF, error | bits);
  };

  for (unsigned attempt = 0;; ++attempt) {
    bool writable = true, user = true, nx = false, lost = false;
    uint64_t table;
    unsigned level, entryBytes = 8;
    if (longMode()) {
      table = state.cr3 & kAddressMask;
      level = 4;
    } else if (pae) {
      const uint64_t pdpte = pdptes[linear >> 30 & 3];
      if (!(pdpte & kPteP)) return fault(0);
      table = pdpte & kAddressMask;
      level = 2;
    } else {
      table = state.cr3 & 0xfffff000ull;
      level = 2;
      entryBytes = 4;
    }
    for (;; --level) {
      const unsigned shift = entryBytes == 8 ? 12 + 9 * (level - 1) : 12 + 10 * (level - 1);
      const Gpa at = table + (linear >> shift & (entryBytes == 8 ? 511 : 1023)) * entryBytes;
      const PageEntry backing = memory.page(at);
      uint8_t* host = backing.host ? backing.host + (at & kPageMask) : nullptr;
      uint64_t pte = 0;
      if (host)
        pte = entryBytes == 8 ? __atomic_load_n(reinterpret_cast<uint64_t*>(host), __ATOMIC_ACQUIRE)
                              : __atomic_load_n(reinterpret_cast<uint32_t*>(host), __ATOMIC_ACQUIRE);
      if (!(pte & kPteP)) return fault(0);
      bool large = false, reserved = false;
      if (entryBytes == 8) {
        const bool gigabyte = level == 3 && features.has(Feature::Page1G);
        large = level == 1 || ((pte & kPtePs) && (level == 2 || (gigabyte && longMode())));
        reserved = (pte & kReservedAddress) || ((pte & kPteNx) && !nxe) || (level >= 3 && !gigabyte && longMode() && (pte & kPtePs));
        if (!longMode()) reserved |= (pte & 0x7ff0000000000000ull) != 0;
        if (large && level > 1) reserved |= (pte & ((1ull << shift) - 1) & ~0x1fffull) != 0;
      } else {
        large = level == 1 || ((pte & kPtePs) && (state.cr4 & kCr4Pse));
        if (large && level == 2) reserved = pte & (features.has(Feature::Pse36) ? 0x200000u : 0x3fe000u);
      }
      if (reserved) return fault(kPfPresent | kPfReserved);
      writable &= (pte & kPteW) != 0;
      user &= (pte & kPteU) != 0;
      nx |= entryBytes == 8 && (pte & kPteNx);
      uint64_t set = kPteA;
      if (large) {
        bool refused = false;
        if (who == kUser)
          refused = !user || (write && !writable);
        else
          refused = (write && !writable && (state.cr0 & kCr0Wp)) || (fetch && user && (state.cr4 & kCr4Smep)) ||
                    (!fetch && user && who == kSupervisor && (state.cr4 & kCr4Smap));
        if (refused || (fetch && nx)) return fault(kPfPresent);
        if (write) set |= kPteD;
      }
      if ((pte & set) != set && backing.writable) {
        if (log) log->touch(backing.host, true);
        // Another processor may change the entry meanwhile: then its new value decides, from the start.
        bool stored;
        if (entryBytes == 8) {
          stored = __atomic_compare_exchange_n(reinterpret_cast<uint64_t*>(host), &pte, pte | set, false, __ATOMIC_ACQ_REL,
                                               __ATOMIC_RELAXED);
        } else {
          uint32_t expected = static_cast<uint32_t>(pte);
          stored = __atomic_compare_exchange_n(reinterpret_cast<uint32_t*>(host), &expected, static_cast<uint32_t>(pte | set),
                                               false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
        }
        if (!stored && attempt < 1000) {
          lost = true;
          break;
        }
        pte |= set;
        if (backing.tracked) memory.markDirty(at & ~kPageMask);
        if (memory.isCode(at & ~kPageMask)) wroteCode(at, entryBytes);
      }
      if (!large) {
        table = entryBytes == 8 ? pte & kAddressMask : pte & 0xfffff000ull;
        continue;
      }
      uint64_t base = pte & kAddressMask;
      if (entryBytes == 4 && level == 2) base = (pte & 0xffc00000ull) | (pte & 0x1fe000ull) << 19;
      const uint64_t within = (1ull << shift) - 1;
      page = ((base & ~within) | (linear & within)) & ~kPageMask;
      info = page;
      const bool mayWrite = (pte & kPteD) && (writable || (who != kUser && !(state.cr0 & kCr0Wp)));
      if (mayWrite) info |= kTlbMayWrite;
      if ((pte & kPteG) && (state.cr4 & kCr4Pge)) info |= kTlbGlobal;
      if (level > 1) {
        info |= kTlbLarge;
        setBloom(largePages, linear >> 30);
      }
      break;
    }
    if (!lost) return true;
  }
}

TlbEntry* Core::install(uint64_t linear, Access access, Privilege who, uint64_t addend, uint64_t info) {
  Tlb& t = tlbs[who];
  const unsigned index = linear >> 12 & (kTlbEntries - 1);
  TlbEntry& e = t.entry(index);
  const uint64_t linearPage = linear & ~kPageMask;
  const Gpa page = info & kAddressMask;
  e.read() = info & kTlbMmio ? noTag(index) : linearPage;
  e.write() = noTag(index);
  if (access == Access::Write && !(info & (kTlbMmio | kTlbRom)) && !memory.isCode(page)) {
    if (info & kTlbTracked) memory.markDirty(page);
    e.write() = linearPage;
    if (log) log->granted(e, index);
  }
  if ((debugger || dataBreaks) && watchesPage(linear)) e.read() = e.write() = 1;
  e.addend() = addend;
  e.info() = info;
  t.page[index] = linearPage;
  if (!(info & kTlbGlobal)) t.local[index >> 6] |= 1ull << (index & 63);
  t.used = true;
  return &e;
}

TlbEntry* Core::fill(uint64_t linear, Access access, Privilege who) {
  Gpa page;
  uint64_t info;
  if (!walk(linear, access, who, page, info)) return nullptr;
  const PageEntry backing = memory.page(page);
  const uint64_t linearPage = linear & ~kPageMask;
  uint64_t addend = 0;
  if (!backing.host) {
    info |= kTlbMmio;
  } else {
    if (!backing.writable) info |= kTlbRom;
    if (backing.tracked) info |= kTlbTracked;
    addend = reinterpret_cast<uint64_t>(backing.host) - linearPage;
  }
  // A global page in the lower half would lie in a slot of every space, and INVLPG would have to find them all.
  if (!((info & kTlbGlobal) && (state.cr4 & kCr4Pcide) && !(linear >> 63))) {
    walkEntry(linear, who) = {linearPage | who, info & kTlbGlobal ? globalGeneration : walkGeneration, addend, info,
                              memory.codeFlag(page)};
  }
  if (log) log->filled(linear, who);
  return install(linear, access, who, addend, info);
}

TlbEntry* Core::lookup(uint64_t linear, Access access, Privilege who) {
  TlbEntry* const e = lookupEntry(linear, access, who);
  if (log && e && access == Access::Write && !(e->info() & kTlbMmio) &&
      !log->touch(reinterpret_cast<uint8_t*>((linear & ~kPageMask) + e->addend()), false)) {
    abandoned();
    return nullptr;
  }
  return e;
}

/** Translation without a walk when the TLB knows enough, whatever kind of page it is. */
TlbEntry* Core::lookupEntry(uint64_t linear, Access access, Privilege who) {
  Tlb& t = tlbs[who];
  const unsigned index = linear >> 12 & (kTlbEntries - 1);
  TlbEntry& e = t.entry(index);
  if (t.page[index] == (linear & ~kPageMask)) {
    if (access == Access::Read) return &e;
    if (e.info() & kTlbMayWrite) {
      // Plain RAM whose write tag was withheld or dropped is worth another look: it may be fast again.
      if (e.write() == t.page[index] || (e.info() & (kTlbMmio | kTlbRom)) || memory.isCode(e.info() & kAddressMask)) return &e;
      return install(linear, access, who, e.addend(), e.info());
    }
    return fill(linear, access, who);
  }
  counters.tlbMisses.add();
  const WalkEntry& w = walkEntry(linear, who);
  if (w.tag == ((linear & ~kPageMask) | who) && w.generation == (w.info & kTlbGlobal ? globalGeneration : walkGeneration) &&
      (access == Access::Read || (w.info & kTlbMayWrite))) {
    return install(linear, access, who, w.addend, w.info);
  }
  return fill(linear, access, who);
}

// ---- effective addresses ---------------------------------------------------------------------------------------------

uint64_t Core::effectiveOffset(const Insn* i) const {
  const auto* units = reinterpret_cast<const uint64_t*>(this);
  uint64_t offset = units[i->base] + (units[i->index] << i->scale) + static_cast<uint64_t>(static_cast<int64_t>(i->disp));
  if (i->flags & kInsnRawRip) offset += i->offset + i->length;
  switch (i->addressSize()) {
    case 2:
      return offset & 0xffff;
    case 4:
      return offset & 0xffffffff;
    default:
      return offset;
  }
}

bool Core::linearAddress(unsigned segment, uint64_t offset, unsigned size, bool write, uint64_t& linear) {
  const SegmentRegister& s = state.seg[segment];
  if (codeSize == CodeSize::k64) {
    linear = offset;
    if (segment >= kFs) linear += s.base;
    if (!canonical(linear) || !canonical(linear + size - 1)) return raise(segment == kSs ? kSS : kGP, 0);
  } else {
    const uint8_t vector = segment == kSs ? kSS : kGP;
    offset &= 0xffffffff;
    if (protectedMode()) {
      if (!(s.attributes & kAttrP)) return raise(vector, 0);
      const bool code = s.attributes & kAttrCode, rw = s.attributes & kAttrWritable;
      if (write ? (code || !rw) : (code && !rw)) return raise(vector, 0);
    }
    const uint64_t last = offset + size - 1;
    if ((s.attributes & (kAttrCode | kAttrExpandDown)) == kAttrExpandDown) {
      if (offset <= s.limit || last > ((s.attributes & kAttrDb) ? 0xffffffffull : 0xffffull)) return raise(vector, 0);
    } else if (last > s.limit) {
      return raise(vector, 0);
    }
    linear = (s.base + offset) & 0xffffffff;
  }
  if (tlb == &noTlb && size <= 8 && (linear & (size - 1))) return raise(kAC, 0);
  return true;
}

uint64_t Core::stackMask() const {
  if (codeSize == CodeSize::k64) return ~0ull;
  return state.seg[kSs].attributes & kAttrDb ? 0xffffffffull : 0xffffull;
}
bool Core::stackLinear(uint64_t sp, unsigned size, bool write, uint64_t& linear) {
  return linearAddress(kSs, sp, size, write, linear);
}

// ---- slow accesses ---------------------------------------------------------------------------------------------------

bool Core::scratchRead(unsigned at, uint64_t linear, unsigned size, const TlbEntry& e) {
  if (!(e.info() & kTlbMmio)) {
    std::memcpy(scratch + at, reinterpret_cast<const uint8_t*>(linear + e.addend()), size);
    return true;
  }
  Gpa gpa = (e.info() & kAddressMask) | (linear & kPageMask);
  while (size > 0) {
    unsigned width = 8;
    while (width > size || (size != width && (gpa & (width - 1)))) width >>= 1;
    if (env.mmioRead(gpa, width, scratch + at) != IoStatus::Done) return abandoned();
    gpa += width;
    at += width;
    size -= width;
  }
  return true;
}

const void* Core::readAt(uint64_t linear, unsigned size, Privilege who) {
  if (watching && watched(linear, size, true, false)) return nullptr;
  const unsigned room = static_cast<unsigned>(kPageBytes - (linear & kPageMask));
  const TlbEntry* first = lookup(linear, Access::Read, who);
  if (!first) return nullptr;
  if (size <= room) {
    if (!(first->info() & kTlbMmio)) return reinterpret_cast<const void*>(linear + first->addend());
    return scratchRead(0, linear, size, *first) ? scratch : nullptr;
  }
  // The two pages never share a TLB slot: their numbers differ by one.
  uint64_t next = linear + room;
  if (codeSize != CodeSize::k64 && !longMode()) next &= 0xffffffff;
  const TlbEntry* second = lookup(next, Access::Read, who);
  if (!second) return nullptr;
  return scratchRead(0, linear, room, *first) && scratchRead(room, next, size - room, *second) ? scratch : nullptr;
}

void* Core::writeAt(uint64_t linear, unsigned size, Privilege who, bool read) {
  pending = PendingWrite::None;
  if (watching && watched(linear, size, read, true)) return nullptr;
  const unsigned room = static_cast<unsigned>(kPageBytes - (linear & kPageMask));
  const auto part = [&](uint64_t address, unsigned bytes, const TlbEntry& e) {
    const Gpa page = e.info() & kAddressMask;
    const bool exits = e.info() & kTlbMmio || (e.info() & kTlbRom && memory.page(page).writesExit);
    uint8_t* host = exits ? nullptr : reinterpret_cast<uint8_t*>(address + e.addend());
    return WritePart{page | (address & kPageMask), host, e.info(), bytes};
  };
  const TlbEntry* first = lookup(linear, Access::Write, who);
  if (!first) return nullptr;
  if (size <= room) {
    if (!(first->info() & (kTlbMmio | kTlbRom))) {
      if (first->info() & kTlbTracked) memory.markDirty(first->info() & kAddressMask);
      if (first->write() != (linear & ~kPageMask)) {
        pending = PendingWrite::Code;
        parts[0] = part(linear, size, *first);
      }
      return reinterpret_cast<void*>(linear + first->addend());
    }
    parts[0] = part(linear, size, *first);
    pendingParts = 1;
    if (read && !scratchRead(0, linear, size, *first)) return nullptr;
    pending = PendingWrite::Scratch;
    return scratch;
  }
  uint64_t next = linear + room;
  if (codeSize != CodeSize::k64 && !longMode()) next &= 0xffffffff;
  const TlbEntry* second = lookup(next, Access::Write, who);
  if (!second) return nullptr;
  parts[0] = part(linear, room, *first);
  parts[1] = part(next, size - room, *second);
  pendingParts = 2;
  if (read && !(scratchRead(0, linear, room, *first) && scratchRead(room, next, size - room, *second))) return nullptr;
  pending = PendingWrite::Scratch;
  return scratch;
}

/**
 * The write may have been an EOI or a change of priority. If it changed the map of memory, as commands to flash do, the next
 * instruction already must not see the old one.
 */
void Core::wroteToDevice() {
  if (post(kRequestInterrupt) & kRequestTlbFlush) blockDead = true;
}

bool Core::slowCommit() {
  const PendingWrite kind = pending;
  pending = PendingWrite::None;
  if (kind == PendingWrite::None) return true;
  if (kind == PendingWrite::Code) {
    wroteCode(parts[0].gpa, parts[0].bytes);
    return true;
  }
  const uint8_t* from = scratch;
  for (unsigned n = 0; n < pendingParts; ++n) {
    const WritePart& p = parts[n];
    if (p.host) {
      if (!(p.info & kTlbRom)) {
        std::memcpy(p.host, from, p.bytes);
        if (p.info & kTlbTracked) memory.markDirty(p.gpa & ~kPageMask);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (memory.isCode(p.gpa & ~kPageMask)) wroteCode(p.gpa, p.bytes);
      }
    } else {
      beforeSignal();
      Gpa gpa = p.gpa;
      unsigned left = p.bytes, at = 0;
      while (left > 0) {
        unsigned width = 8;
        while (width > left || (left != width && (gpa & (width - 1)))) width >>= 1;
        if (env.mmioWrite(gpa, width, from + at) != IoStatus::Done) return abandoned();
        gpa += width;
        at += width;
        left -= width;
      }
      wroteToDevice();
    }
    from += p.bytes;
  }
  return true;
}

bool Core::alignmentFault(const Insn* i, unsigned alignment, unsigned size, bool write) {
  if (!(effectiveLinear(i) & (alignment - 1))) return false;
  uint64_t linear;
  if (size <= 32 || linearAddress(i->segment, effectiveOffset(i), size, write, linear)) raise(kGP, 0);
  return true;
}
const void* Core::slowRead(const Insn* i, unsigned size) {
  uint64_t linear;
  if (!linearAddress(i->segment, effectiveOffset(i), size, false, linear)) return nullptr;
  return readAt(linear, size, privilege());
}
void* Core::slowWrite(const Insn* i, unsigned size, bool read) {
  uint64_t linear;
  if (!linearAddress(i->segment, effectiveOffset(i), size, true, linear)) return nullptr;
  return writeAt(linear, size, privilege(), read);
}
bool Core::storeSized(uint64_t linear, uint64_t value, unsigned size, Privilege who) {
  void* to = writeAt(linear, size, who, false);
  if (!to) return false;
  std::memcpy(to, &value, size);
  return slowCommit();
}
bool Core::loadSized(uint64_t linear, uint64_t& value, unsigned size, Privilege who) {
  const void* from = readAt(linear, size, who);
  if (!from) return false;
  value = 0;
  std::memcpy(&value, from, size);
  return true;
}
bool Core::probeWrite(uint64_t linear, unsigned size, Privilege who) {
  if (!lookup(linear, Access::Write, who)) return false;
  const uint64_t last = linear + size - 1;
  return (linear ^ last) < kPageBytes || lookup(last, Access::Write, who);
}

// ---- modes ----------------------------------------------------------------------------------------------------------

uint32_t Core::flatness() const {
  // Compared as one word each: limit and base, and the attributes that decide what is allowed.
  constexpr uint16_t mask = kAttrP | kAttrS | kAttrCode | kAttrExpandDown | kAttrWritable;
  const auto allowsAll = [&](unsigned s) {
    return state.seg[s].limit == 0xffffffff && (state.seg[s].attributes & mask) == (kAttrP | kAttrS | kAttrWritable);
  };
  const auto flat = [&](unsigned s) { return state.seg[s].base == 0 && allowsAll(s); };
  // An offset that wraps around the top of FS or GS may or may not fault (SDM vol. 3 §5.3): their base is free.
  uint32_t bits = (allowsAll(kFs) ? +kModeFlatFs : 0u) | (allowsAll(kGs) ? +kModeFlatGs : 0u);
  const SegmentRegister& cs = state.seg[kCs];
  if (cs.base == 0 && cs.limit == 0xffffffff && flat(kSs) && (state.seg[kSs].attributes & kAttrDb) && flat(kDs) && flat(kEs))
    bits |= kModeFlat;
  return bits;
}

void Core::updateMode() {
  const uint16_t cs = state.seg[kCs].attributes;
  const bool lma = state.efer & kEferLma;
  if (lma && (cs & kAttrL))
    codeSize = CodeSize::k64;
  else if ((state.cr0 & kCr0Pe) && !(state.rflags & kVm) && (cs & kAttrDb))
    codeSize = CodeSize::k32;
  else
    codeSize = CodeSize::k16;
  codeBase = codeSize == CodeSize::k64 ? 0 : state.seg[kCs].base;
  modeBits = static_cast<uint32_t>(codeSize) | (codeSize == CodeSize::k32 ? flatness() : 0);
  fetchKey = generationNow() << 8 | modeBits | (cpl == 3 ? 8 : 0);
  updateFp();
  tlb = cpl == 3 && (state.cr0 & kCr0Am) && (state.rflags & kAc) ? &noTlb : &tlbs[privilege()];
}

}  // namespace lodge::x86
