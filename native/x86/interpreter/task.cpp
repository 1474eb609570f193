// Hardware task switching, 16- and 32-bit. SDM vol. 3, chapter 7.
#include "x86/interpreter/core.h"

namespace lodge::x86 {
namespace {

uint32_t codeOf(uint16_t selector) { return selector & 0xfffc; }

/** Field offsets of the two TSS layouts (SDM vol. 3, figures 7-2 and 7-10). */
struct Layout {
  unsigned width, ip, flags, registers, segments, segmentStride, segmentCount, ldt, minimum;
};
constexpr Layout k32{4, 0x20, 0x24, 0x28, 0x48, 4, 6, 0x60, 0x67};
constexpr Layout k16{2, 0x0e, 0x10, 0x12, 0x22, 2, 4, 0x2a, 0x2b};
constexpr Seg kOrder[6] = {kEs, kCs, kSs, kDs, kFs, kGs};

}  // namespace

bool Core::switchTask(uint16_t selector, Switch how, bool hasError, uint32_t error) {
  bool committed = false;
  if (changeTask(selector, how, hasError, error, committed)) return true;
  // The new task's fault, at its own first instruction.
  fault.trap = committed;
  return false;
}

bool Core::changeTask(uint16_t selector, Switch how, bool hasError, uint32_t error, bool& committed) {
  const uint8_t refusal = how == Switch::Return ? kTS : kGP;
  if ((selector & 4) || (selector & 0xfffc) == 0) return raise(refusal, codeOf(selector));
  Descriptor d;
  if (!readDescriptor(selector, d, refusal)) return false;
  SegmentRegister next = unpack(selector, d);
  const unsigned type = next.attributes & 31;
  const bool busy = type & 2;
  if ((type & ~10u) != 1 || busy != (how == Switch::Return)) return raise(refusal, codeOf(selector));
  if (!(next.attributes & kAttrP)) return raise(kNP, codeOf(selector));
  const Layout& to = type & 8 ? k32 : k16;
  if (next.limit < to.minimum) return raise(kTS, codeOf(selector));
  SegmentRegister& tr = state.seg[kTr];
  const Layout& from = tr.attributes & 8 ? k32 : k16;
  if (tr.limit < from.minimum) return raise(kTS, codeOf(tr.selector));

  // Everything that may fault is touched before anything is changed.
  if (!probeWrite(tr.base, from.minimum + 1, kSupervisor) || !probeWrite(next.base, to.minimum + 1, kSupervisor)) return false;
  uint64_t registers[8], ip, image, ldt;
  uint16_t selectors[6] = {};
  uint64_t cr3 = state.cr3;
  if (!loadSized(next.base + to.ip, ip, to.width, kSupervisor) ||
      !loadSized(next.base + to.flags, image, to.width, kSupervisor) || !loadSized(next.base + to.ldt, ldt, 2, kSupervisor)) {
    return false;
  }
  for (unsigned n = 0; n < 8; ++n) {
    if (!loadSized(next.base + to.registers + n * to.width, registers[n], to.width, kSupervisor)) return false;
  }
  uint8_t debugTrap = 0;
  if (to.width == 4 && !load<uint8_t>(next.base + 0x64, debugTrap, kSupervisor)) return false;
  for (unsigned n = 0; n < to.segmentCount; ++n) {
    if (!load<uint16_t>(next.base + to.segments + n * to.segmentStride, selectors[n], kSupervisor)) return false;
  }
  if (to.width == 4 && (state.cr0 & kCr0Pg) && !loadSized(next.base + 0x1c, cr3, 4, kSupervisor)) return false;

  uint64_t oldFlags = flags();
  if (how == Switch::Return) oldFlags &= ~uint64_t{kNt};
  bool saved = storeSized(tr.base + from.ip, nextRip, from.width, kSupervisor) &&
               storeSized(tr.base + from.flags, oldFlags, from.width, kSupervisor);
  for (unsigned n = 0; saved && n < 8; ++n)
    saved = storeSized(tr.base + from.registers + n * from.width, state.gpr[n], from.width, kSupervisor);
  for (unsigned n = 0; saved && n < from.segmentCount; ++n) {
    saved = store<uint16_t>(tr.base + from.segments + n * from.segmentStride, state.seg[kOrder[n]].selector, kSupervisor);
  }
  if (!saved) return false;
  Descriptor old;
  if (how == Switch::Jump || how == Switch::Return) {
    if (!readDescriptor(tr.selector, old, kTS)) return false;
    if (!store<uint8_t>(old.address + 5, static_cast<uint8_t>((old.high >> 8) & ~2u), kSupervisor)) return false;
  } else if (!store<uint16_t>(next.base, tr.selector, kSupervisor)) {
    return false;
  }
  if (how != Switch::Return && !store<uint8_t>(d.address + 5, static_cast<uint8_t>(d.high >> 8 | 2), kSupervisor)) return false;

  // From here on faults belong to the new task.
  committed = true;
  nextRip = state.rip = ip;
  next.attributes |= 2;
  tr = next;
  state.cr0 |= kCr0Ts;
  if (cr3 != state.cr3 && !setCr3(cr3)) return false;
  if (how == Switch::Call || how == Switch::Interrupt) image |= kNt;
  for (unsigned n = 0; n < 8; ++n) {
    state.gpr[n] = to.width == 4 ? registers[n] : (state.gpr[n] & ~0xffffull) | registers[n];
  }
  setFlags((image & 0x3f7fd7) | 2);
  dropResume();
  if (state.dr[7] & kDr7Local) {
    state.dr[7] &= ~uint64_t{kDr7Local};
    updateBreaks();
  }
  for (SegmentRegister& s : state.seg) {
    if (&s != &tr) s = SegmentRegister{};
  }
  for (unsigned n = 0; n < 6; ++n) state.seg[kOrder[n]].selector = selectors[n];
  state.seg[kLdtr].selector = static_cast<uint16_t>(ldt);
  updateFp();
  if (debugTrap & 1) traps |= kDr6Bt;
  if (v86()) {
    cpl = 3;
    for (unsigned n = 0; n < 6; ++n) setRealSegment(kOrder[n], selectors[n]);
    newGeneration();
    return loadLdt(static_cast<uint16_t>(ldt));
  }
  cpl = selectors[1] & 3;
  if (!loadLdt(static_cast<uint16_t>(ldt))) {
    fault.vector = kTS;
    return false;
  }
  Descriptor code;
  if ((selectors[1] & 0xfffc) == 0) return raise(kTS, 0);
  if (!readDescriptor(selectors[1], code, kTS)) return false;
  const SegmentRegister cs = unpack(selectors[1], code);
  const uint16_t a = cs.attributes;
  if ((a & (kAttrS | kAttrCode)) != (kAttrS | kAttrCode) || (a & kAttrExpandDown ? attrDpl(a) > cpl : attrDpl(a) != cpl)) {
    return raise(kTS, codeOf(selectors[1]));
  }
  if (!(a & kAttrP)) return raise(kNP, codeOf(selectors[1]));
  setCs(cs, cpl);
  newGeneration();
  SegmentRegister ss;
  if (!stackSegment(selectors[2], cpl, kTS, ss)) return false;
  state.seg[kSs] = ss;
  for (unsigned n : {0u, 3u, 4u, 5u}) {
    if (!loadSegment(kOrder[n], selectors[n])) {
      if (fault.vector == kGP) fault.vector = kTS;
      return false;
    }
  }
  if (ip > state.seg[kCs].limit) return raise(kGP, 0);
  if (hasError) {
    Stack stack = currentStack();
    if (!push(stack, error, to.width)) return false;
    setStackPointer(stack);
  }
  return true;
}

}  // namespace lodge::x86
