#include "translator/lookup.h"

#include "translator/translation.h"

namespace lodge::translator {

using namespace x86;

[[gnu::target("general-regs-only")]] uint64_t lookup(Core* c) {
  uint64_t* const gate = reinterpret_cast<uint64_t*>(&c->frame.gate);
  if (__atomic_load_n(gate, __ATOMIC_RELAXED) != c->frame.key) __atomic_exchange_n(gate, c->frame.key, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(reinterpret_cast<const uint32_t*>(&c->requests), __ATOMIC_ACQUIRE)) return 0;
  const uint64_t rip = c->state.rip;
  const bool valid = c->codeSize == CodeSize::k64 ? static_cast<uint64_t>(static_cast<int64_t>(rip << 16) >> 16) == rip : !(rip >> 32);
  const uint64_t page = rip & ~kPageMask;
  const FetchEntry& f = c->fetches[rip >> 12 & (kFetchEntries - 1)];
  if (!valid || f.page != page || f.key != (c->fetchKey & kPlaceKey)) return 0;
  const auto mode = static_cast<uint32_t>(c->frame.key & ((1u << kModeBits) - 1));
  TierJump& jump = c->tierJumps[tierJumpIndex(rip)];
  // Often only the generation is another one.
  if (jump.linear == rip && jump.place == (f.gpa << kModeBits | mode)) {
    jump.key = c->frame.key;
    c->frame.codePage = page;
    return reinterpret_cast<uint64_t>(jump.code);
  }
  const Gpa gpa = f.gpa | (rip & kPageMask);
  const uint64_t home = LODGE_UNIT_HOME(rip, mode);
  for (const Translation* t = static_cast<const Translation* const*>(c->frame.units)[LODGE_UNIT_HASH(gpa, mode)]; t; t = t->hashNext) {
    if (t->gpa != gpa || t->mode != mode || t->home != home || !(t->anyFlags || t->saved) || t->interpreted || t->second != ~0ull) continue;
    const Translation* best = t->trace ? t->trace : t;
    for (size_t n = 0; n < best->mores; ++n) {
      const uint64_t other = page + static_cast<uint64_t>(best->more[n].distance);
      const FetchEntry& g = c->fetches[other >> 12 & (kFetchEntries - 1)];
      if (g.page != other || g.key != (c->fetchKey & kPlaceKey)) return 0;
      if (g.gpa != best->more[n].page) best = t;
    }
    jump.linear = rip;
    jump.key = c->frame.key;
    jump.code = best->entry;
    jump.place = t->trace ? ~uint64_t{0} : f.gpa << kModeBits | mode;
    c->frame.codePage = page;
    return reinterpret_cast<uint64_t>(best->entry);
  }
  return 0;
}

}  // namespace lodge::translator
