#include "translator/refill.h"

#include "x86/interpreter/memory_log.h"

namespace lodge::translator {

using namespace x86;

[[gnu::target("general-regs-only")]] uint64_t refill(Core* c, uint64_t linear, uint32_t access) {
  const unsigned who = access & 3;
  const bool write = access & kRefillWrite;
  const uint64_t page = linear & ~kPageMask;
  const uint64_t salt = linear >> 63 ? 0 : c->walkSalt;
  const WalkEntry& w = c->walks[(linear >> 12 ^ uint64_t{who} << 11 ^ salt) & (kWalkEntries - 1)];
  if (w.tag != (page | who) || w.generation != (w.info & kTlbGlobal ? c->globalGeneration : c->walkGeneration)) return 0;
  if (w.info & kTlbMmio) return 0;
  Tlb& t = c->tlbs[who];
  const unsigned index = linear >> 12 & (kTlbEntries - 1);
  TlbEntry& e = t.entry(index);
  if ((write ? e.write() : e.read()) == page) return 0;
  const bool writable = (w.info & (kTlbMayWrite | kTlbRom | kTlbTracked)) == kTlbMayWrite && w.code &&
                        !__atomic_load_n(reinterpret_cast<const uint8_t*>(w.code), __ATOMIC_ACQUIRE);
  if (write && !writable) return 0;
  if (c->log && write && !c->log->touch(reinterpret_cast<uint8_t*>(page + w.addend), false)) return 0;
  e.read() = page;
  // With a log only what is in it may be written without a question.
  e.write() = writable && (write || !c->log) ? page : noTag(index);
  if (c->log && write) c->log->granted(e, index);
  e.addend() = w.addend;
  e.info() = w.info;
  t.page[index] = page;
  if (!(w.info & kTlbGlobal)) t.local[index >> 6] |= 1ull << (index & 63);
  t.used = true;
  return 1;
}

}  // namespace lodge::translator
