// The guest's own breakpoints: DR0–DR3 as DR7 arms them (SDM vol. 3, chapter 18). While one for instructions or data is armed,
// the interpreter alone runs: a page with an instruction breakpoint goes instruction by instruction, a page with a data
// breakpoint is never in the fast tags of the TLB, and all others run as ever. An instruction that touches a data breakpoint is
// undone and executed once more by itself, so that the trap comes behind it and behind nothing else.
#include "x86/interpreter/core.h"

namespace lodge::x86 {
namespace {

enum Kind : unsigned { kExecute, kWrite, kPort, kAccess };

Kind kindOf(uint64_t dr7, unsigned n) { return static_cast<Kind>(dr7 >> (16 + 4 * n) & 3); }
uint64_t bytesOf(uint64_t dr7, unsigned n) {
  static constexpr uint8_t kBytes[] = {1, 2, 8, 4};
  return kBytes[dr7 >> (18 + 4 * n) & 3];
}
bool overlap(uint64_t a, uint64_t bytesA, uint64_t b, uint64_t bytesB) { return a - b < bytesB || b - a < bytesA; }
/** The processor ignores address bits below the length. */
uint64_t startOf(const State& s, unsigned n) { return s.dr[n] & ~(bytesOf(s.dr[7], n) - 1); }

}  // namespace

void Core::armBreaks() {
  codeBreaks = dataBreaks = portBreaks = 0;
  for (unsigned n = 0; n < 4; ++n) {
    if (!(state.dr[7] >> (2 * n) & 3)) continue;
    const Kind kind = kindOf(state.dr[7], n);
    const auto bit = static_cast<uint8_t>(1u << n);
    if (kind == kExecute)
      codeBreaks |= bit;
    else if (kind != kPort)
      dataBreaks |= bit;
    else if (state.cr4 & kCr4De)
      portBreaks |= bit;
  }
}

void Core::updateBreaks() {
  const bool before = codeBreaks || dataBreaks;
  armBreaks();
  // Chained blocks and fast TLB tags know nothing of what is armed.
  if (before || codeBreaks || dataBreaks) flushTlb(true);
}

unsigned Core::codeBreaksAt(uint64_t linear, uint64_t mask) const {
  unsigned hit = 0;
  for (unsigned n = 0; n < 4; ++n) {
    if ((codeBreaks >> n & 1) && !((state.dr[n] ^ linear) & mask)) hit |= 1u << n;
  }
  return hit;
}

unsigned Core::dataBreaksAt(uint64_t linear, uint64_t bytes, bool write) const {
  unsigned hit = 0;
  for (unsigned n = 0; n < 4; ++n) {
    if (!(dataBreaks >> n & 1) || (!write && kindOf(state.dr[7], n) == kWrite)) continue;
    if (overlap(linear, bytes, startOf(state, n), bytesOf(state.dr[7], n))) hit |= 1u << n;
  }
  return hit;
}

void Core::touchedPort(uint16_t port, unsigned bytes) {
  for (unsigned n = 0; n < 4; ++n) {
    if (!(portBreaks >> n & 1) || !overlap(port, bytes, startOf(state, n), bytesOf(state.dr[7], n))) continue;
    traps |= 1u << n;
    blockDead = true;  // the trap is due behind this instruction
  }
}

bool Core::deliverTraps() {
  state.dr[6] |= traps;
  traps = 0;
  state.activity = Activity::Runnable;
  raise(kDB);
  return deliverFault();
}

}  // namespace lodge::x86
