// The upkeep of what is remembered of translations: flushes, INVLPG, PCIDs, pages whose writes are to be seen, and fetches. SDM vol. 3
// §4.10.
#include <cstring>

#include "x86/interpreter/core.h"

namespace lodge::x86 {

void Core::flushTlb(bool globals) {
  if (!globals) return enterSpace(space->pcid, false);
  ++globalGeneration;
  for (Tlb& t : tlbs) {
    if (!t.used) continue;
    for (unsigned n = 0; n < kTlbEntries; ++n) {
      t.entry(n).read() = t.entry(n).write() = noTag(n);
      t.page[n] = 1;
    }
    std::memset(t.local, 0, sizeof t.local);
    t.used = false;
  }
  std::memset(largePages, 0, sizeof largePages);
  space = spaces;
  forgetSpaces(~0ull);
  space->pcid = state.cr4 & kCr4Pcide ? state.cr3 & 0xfff : 0;
  space->walkGeneration = walkGeneration = ++newestWalkGeneration;
  walkSalt = 0;
  newGeneration();
}

void Core::flushLocals() {
  for (Tlb& t : tlbs) {
    if (!t.used) continue;
    for (unsigned word = 0; word < kTlbEntries / 64; ++word) {
      for (uint64_t bits = t.local[word]; bits; bits &= bits - 1) {
        const unsigned n = word * 64 + static_cast<unsigned>(__builtin_ctzll(bits));
        if (t.entry(n).info() & kTlbGlobal) continue;
        t.entry(n).read() = t.entry(n).write() = noTag(n);
        t.page[n] = 1;
      }
      t.local[word] = 0;
    }
  }
}

void Core::enterSpace(uint64_t pcid, bool keep) {
  flushLocals();
  if (pcid != space->pcid) {
    AddressSpace* found = nullptr;
    for (AddressSpace& s : spaces) {
      if (s.walkGeneration && s.pcid == pcid) found = &s;
    }
    if (!found) {
      nextSpace = (nextSpace + 1) % kSpaces;
      if (&spaces[nextSpace] == space) nextSpace = (nextSpace + 1) % kSpaces;
      found = &spaces[nextSpace];
      found->pcid = pcid;
      keep = false;
    }
    space = found;
    walkSalt = static_cast<uint64_t>(found - spaces) * kWalkSalt;
  }
  if (!keep) {
    space->walkGeneration = ++newestWalkGeneration;
    space->generation = ++generation;
    std::memset(space->fetched, 0, sizeof space->fetched);
  }
  walkGeneration = space->walkGeneration;
  if (kernelLocal) {
    kernelLocal = false;
    kernelGeneration = ++generation;
  }
  updateMode();
}

void Core::forgetSpaces(uint64_t pcid) {
  for (AddressSpace& s : spaces) {
    if (&s != space && (pcid == ~0ull || s.pcid == pcid)) s.walkGeneration = 0;
  }
}

void Core::invalidatePage(uint64_t linear) {
  const uint64_t page = linear & ~kPageMask;
  const bool large = inBloom(largePages, linear >> 30);
  if (large) {
    space->walkGeneration = walkGeneration = ++newestWalkGeneration;
    ++globalGeneration;
  } else {
    for (Privilege who : {kUser, kSupervisor, kSupervisorUserAllowed}) walkEntry(linear, who).tag = 1;
  }
  for (Tlb& t : tlbs) {
    if (!t.used) continue;
    const unsigned index = linear >> 12 & (kTlbEntries - 1);
    const auto drop = [&](unsigned n) {
      t.entry(n).read() = t.entry(n).write() = noTag(n);
      t.page[n] = 1;
    };
    if (t.page[index] == page) drop(index);
    if (!large) continue;
    for (unsigned n = 0; n < kTlbEntries; ++n) {
      if ((t.entry(n).info() & kTlbLarge) && t.page[n] >> 30 == linear >> 30) drop(n);
    }
  }
  if (large || inBloom(sharedFetches[linear >> 63], linear >> 12)) {
    newGeneration();
  } else if (inBloom(space->fetched, linear >> 12)) {
    space->generation = ++generation;
    std::memset(space->fetched, 0, sizeof space->fetched);
    updateMode();
  }
}

bool Core::dropWriteAccess(Gpa page) {
  bool had = false;
  for (Tlb& t : tlbs) {
    if (!t.used) continue;
    for (unsigned n = 0; n < kTlbEntries; ++n) {
      TlbEntry& e = t.entry(n);
      if ((e.info() & kAddressMask) != page || (e.write() & 1)) continue;
      e.write() = noTag(n);
      had = true;
    }
  }
  return had;
}

void Core::dirtyTaken() {
  for (Tlb& t : tlbs) {
    if (!t.used) continue;
    for (unsigned n = 0; n < kTlbEntries; ++n) {
      TlbEntry& e = t.entry(n);
      if (!(e.info() & kTlbTracked) || (e.write() & 1)) continue;
      e.write() = e.read() = noTag(n);
      t.page[n] = 1;
      memory.markDirty(e.info() & kAddressMask);  // it may have been written since the bits were taken
    }
  }
}

bool Core::fetchPage(uint64_t linear, Gpa& page) {
  FetchEntry& f = fetches[linear >> 12 & (kFetchEntries - 1)];
  if (f.page == (linear & ~kPageMask) && f.key == (fetchKey & kPlaceKey)) {
    page = f.gpa;
    return true;
  }
  uint64_t info;
  if (!walk(linear, Access::Fetch, cpl == 3 ? kUser : kSupervisor, page, info)) return false;
  f = {linear & ~kPageMask, fetchKey & kPlaceKey, page};
  const bool global = info & kTlbGlobal;
  if (cpl == 3 && !global) {
    setBloom(space->fetched, linear >> 12);
  } else {
    setBloom(sharedFetches[linear >> 63], linear >> 12);
    kernelLocal |= !global;
  }
  return true;
}

void Core::newGeneration() {
  kernelGeneration = ++generation;
  kernelLocal = false;
  for (AddressSpace& s : spaces) {
    s.generation = ++generation;
    std::memset(s.fetched, 0, sizeof s.fetched);
  }
  std::memset(sharedFetches, 0, sizeof sharedFetches);
  updateMode();
}

}  // namespace lodge::x86
