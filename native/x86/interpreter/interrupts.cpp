// Interrupt and exception delivery, and IRET. SDM vol. 3, chapter 6.
#include "x86/interpreter/core.h"

namespace lodge::x86 {
namespace {

enum GateType : unsigned { kTaskGate = 5, kInterrupt16 = 6, kTrap16 = 7, kInterrupt32 = 14, kTrap32 = 15 };

bool contributory(uint8_t vector) { return vector == kDE || (vector >= kTS && vector <= kGP); }
bool isFault(uint8_t vector) {
  return vector != kDB && vector != kBP && vector != kOF && vector != kDF && vector != kMC && vector != kNMI;
}
bool isCodeSegment(uint16_t a) { return (a & (kAttrS | kAttrCode)) == (kAttrS | kAttrCode); }
uint32_t codeOf(uint16_t selector) { return selector & 0xfffc; }

}  // namespace

bool Core::deliverReal(uint8_t vector) {
  if (vector * 4u + 3 > state.idtr.limit) return raise(kGP, 0);
  uint32_t entry;
  if (!load<uint32_t>((state.idtr.base + vector * 4u) & 0xffffffff, entry, kSupervisor)) return false;
  Stack stack = currentStack();
  if (!push(stack, flags() & 0xffff, 2) || !push(stack, state.seg[kCs].selector, 2) || !push(stack, state.rip, 2)) return false;
  setStackPointer(stack);
  state.rflags &= ~uint64_t{kIf | kTf | kAc | kRf};
  setRealSegment(kCs, static_cast<uint16_t>(entry >> 16));
  state.rip = entry & 0xffff;
  updateMode();
  return true;
}

// ---- virtual-8086 mode extensions: SDM vol. 3 §21.3 ---------------------------------------------------------------------

uint64_t Core::virtualImage() const {
  return (flags() & ~uint64_t{kIf}) | kIopl | (state.rflags & kVif ? +kIf : 0u);
}

bool Core::setVirtualImage(uint64_t image) {
  if ((image & kTf) || ((image & kIf) && (state.rflags & kVip))) return raise(kGP, 0);
  constexpr uint64_t change = kArith | kDf | kNt | kTf;
  setFlags((flags() & ~(change | kVif | kRf)) | (image & change) | (image & kIf ? +kVif : 0u));
  return true;
}

bool Core::redirected(uint8_t vector, bool& to8086) {
  to8086 = false;
  if (!(state.cr4 & kCr4Vme)) return true;
  // The 32 bytes that end where the I/O permission bitmap begins.
  const SegmentRegister& tr = state.seg[kTr];
  if (tr.limit < 0x67) return raise(kGP, 0);
  uint16_t end;
  uint8_t bits;
  if (!load<uint16_t>(tr.base + 0x66, end, kSupervisor)) return false;
  const uint32_t at = end - 32u + vector / 8u;
  if (at > tr.limit) return raise(kGP, 0);
  if (!load<uint8_t>(tr.base + at, bits, kSupervisor)) return false;
  to8086 = !(bits >> (vector & 7) & 1);
  return true;
}

/** INT n inside a virtual-8086 task, through the interrupt table at linear address 0. */
bool Core::deliverVirtual(uint8_t vector) {
  uint32_t entry;
  if (!load<uint32_t>(vector * 4u, entry, kUser)) return false;
  Stack stack = currentStack();
  const bool own = iopl() == 3;
  if (!push(stack, own ? flags() : virtualImage(), 2) || !push(stack, state.seg[kCs].selector, 2) || !push(stack, nextRip, 2)) return false;
  setStackPointer(stack);
  state.rflags &= ~uint64_t{kTf | kRf | kAc | (own ? kIf : kVif)};
  setRealSegment(kCs, static_cast<uint16_t>(entry >> 16));
  nextRip = entry & 0xffff;
  stepHeld = true;
  updateMode();
  return true;
}

bool Core::deliverLong(uint8_t vector, Source source, bool hasError, uint32_t error) {
  const uint32_t idtError = vector * 8u + 2;
  if (vector * 16u + 15 > state.idtr.limit) return raise(kGP, idtError);
  uint64_t low, high;
  const uint64_t at = state.idtr.base + vector * 16u;
  if (!load<uint64_t>(at, low, kSupervisor) || !load<uint64_t>(at + 8, high, kSupervisor)) return false;
  const auto gate = static_cast<uint16_t>(low >> 40 & 0xff);
  const unsigned type = gate & 31;
  if (type != kInterrupt32 && type != kTrap32) return raise(kGP, idtError);
  if (source == Source::Software && attrDpl(gate) < cpl) return raise(kGP, idtError);
  if (!(gate & kAttrP)) return raise(kNP, idtError);
  const uint64_t target = (low & 0xffff) | (low >> 32 & 0xffff0000) | high << 32;
  const auto selector = static_cast<uint16_t>(low >> 16);
  if ((selector & 0xfffc) == 0) return raise(kGP, 0);
  Descriptor d;
  if (!readDescriptor(selector, d, kGP)) return false;
  SegmentRegister cs = unpack(selector, d);
  const uint16_t a = cs.attributes;
  if (!isCodeSegment(a) || attrDpl(a) > cpl || !(a & kAttrL) || (a & kAttrDb)) return raise(kGP, codeOf(selector));
  if (!(a & kAttrP)) return raise(kNP, codeOf(selector));
  const unsigned newCpl = a & kAttrExpandDown ? cpl : attrDpl(a);
  const unsigned ist = low >> 32 & 7;
  Stack stack;
  stack.wide = true;
  stack.who = newCpl == 3 ? kUser : kSupervisor;
  if (ist != 0) {
    const uint32_t offset = 36 + 8 * (ist - 1);
    if (offset + 7 > state.seg[kTr].limit) return raise(kTS, codeOf(state.seg[kTr].selector));
    if (!load<uint64_t>(state.seg[kTr].base + offset, stack.sp, kSupervisor)) return false;
  } else if (newCpl != cpl) {
    if (!innerStack(newCpl, stack, kTS)) return false;
  } else {
    stack.sp = state.gpr[kRsp];
  }
  stack.sp &= ~15ull;
  uint64_t image = flags();
  if (source == Source::Exception && isFault(vector)) image |= kRf;
  if (!push(stack, state.seg[kSs].selector, 8) || !push(stack, state.gpr[kRsp], 8) || !push(stack, image, 8) ||
      !push(stack, state.seg[kCs].selector, 8) || !push(stack, state.rip, 8) || (hasError && !push(stack, error, 8))) {
    return false;
  }
  if (!canonical(target)) return raise(kGP, 0);
  if (!setAccessed(d)) return false;
  cs.selector = static_cast<uint16_t>(codeOf(selector) | newCpl);
  if (newCpl != cpl) {
    state.seg[kSs] = SegmentRegister{};
    state.seg[kSs].selector = static_cast<uint16_t>(newCpl);
    state.seg[kSs].attributes = static_cast<uint16_t>(newCpl << 5);
  }
  state.gpr[kRsp] = stack.sp;
  state.rflags &= ~uint64_t{kTf | kNt | kRf | kVm};
  if (type == kInterrupt32) state.rflags &= ~uint64_t{kIf};
  state.rip = target;
  setCs(cs, newCpl);
  return true;
}

bool Core::deliverProtected(uint8_t vector, Source source, bool hasError, uint32_t error) {
  const uint32_t idtError = vector * 8u + 2;
  if (vector * 8u + 7 > state.idtr.limit) return raise(kGP, idtError);
  uint64_t entry;
  if (!load<uint64_t>(state.idtr.base + vector * 8u, entry, kSupervisor)) return false;
  const auto gate = static_cast<uint16_t>(entry >> 40 & 0xff);
  const unsigned type = gate & 31;
  if (source == Source::Software && attrDpl(gate) < cpl) return raise(kGP, idtError);
  if (type != kTaskGate && type != kInterrupt16 && type != kTrap16 && type != kInterrupt32 && type != kTrap32)
    return raise(kGP, idtError);
  if (!(gate & kAttrP)) return raise(kNP, idtError);
  const auto selector = static_cast<uint16_t>(entry >> 16);
  if (type == kTaskGate) {
    nextRip = state.rip;
    const uint64_t old = state.rflags;
    if (source == Source::Exception && isFault(vector)) state.rflags |= kRf;
    if (!switchTask(selector, Switch::Interrupt, hasError, error)) {
      if (!fault.trap) state.rflags = old;
      return false;
    }
    state.rip = nextRip;
    return true;
  }
  const unsigned size = type & 8 ? 4 : 2;
  const uint64_t target = (entry & 0xffff) | (size == 4 ? entry >> 32 & 0xffff0000 : 0);
  if ((selector & 0xfffc) == 0) return raise(kGP, 0);
  Descriptor d;
  if (!readDescriptor(selector, d, kGP)) return false;
  SegmentRegister cs = unpack(selector, d);
  const uint16_t a = cs.attributes;
  if (!isCodeSegment(a) || attrDpl(a) > cpl) return raise(kGP, codeOf(selector));
  if (!(a & kAttrP)) return raise(kNP, codeOf(selector));
  const bool fromV86 = v86();
  const unsigned newCpl = a & kAttrExpandDown ? cpl : attrDpl(a);
  if (fromV86 && newCpl != 0) return raise(kGP, codeOf(selector));
  Stack stack = currentStack();
  const bool inner = newCpl < cpl;
  uint64_t image = flags();
  if (source == Source::Exception && isFault(vector)) image |= kRf;
  if (inner) {
    if (!innerStack(newCpl, stack, kTS)) return false;
    if (fromV86) {
      for (Seg s : {kGs, kFs, kDs, kEs}) {
        if (!push(stack, state.seg[s].selector, size)) return false;
      }
    }
    if (!push(stack, state.seg[kSs].selector, size) || !push(stack, state.gpr[kRsp], size)) return false;
  }
  if (!push(stack, image, size) || !push(stack, state.seg[kCs].selector, size) || !push(stack, state.rip, size) ||
      (hasError && !push(stack, error, size))) {
    return false;
  }
  if (target > cs.limit) return raise(kGP, 0);
  if (!setAccessed(d)) return false;
  cs.selector = static_cast<uint16_t>(codeOf(selector) | newCpl);
  state.rflags &= ~uint64_t{kTf | kNt | kRf | kVm};
  if (!(type & 1)) state.rflags &= ~uint64_t{kIf};
  if (inner) state.seg[kSs] = stack.ss;
  if (fromV86) {
    for (Seg s : {kGs, kFs, kDs, kEs}) state.seg[s] = SegmentRegister{};
  }
  setStackPointer(stack);
  state.rip = target;
  setCs(cs, newCpl);
  return true;
}

bool Core::deliver(uint8_t vector, Source source, bool hasError, uint32_t error) {
  pendingLink = nullptr;  // what runs next is not what the last branch led to, even if it lies at the same address
  bool done;
  if (realMode())
    done = deliverReal(vector);
  else if (longMode())
    done = deliverLong(vector, source, hasError, error);
  else
    done = deliverProtected(vector, source, hasError, error);
  if (!done && fault.kind == FaultKind::Exception && fault.hasError && fault.vector != kPF && source != Source::Software) {
    fault.error |= 1;  // EXT: the fault came while delivering an event the program did not ask for
  }
  return done;
}

bool Core::deliverFault() {
  FaultInfo first = fault;
  for (unsigned depth = 0;; ++depth) {
    if (first.kind == FaultKind::Abandoned) {
      exit = RunExit::Abandoned;
      return false;
    }
    if (first.kind == FaultKind::Internal) {
      exit = RunExit::InternalError;
      return false;
    }
    fault.kind = FaultKind::None;
    counters.exceptions.add();
    if (first.vector == kDB) {
      state.dr[7] &= ~uint64_t{kDr7Gd};
      debugCtl &= ~uint64_t{kDebugCtlBtf};
    }
    if (first.resume) state.rflags |= kRf;
    if (deliver(first.vector, Source::Exception, first.hasError && !realMode(), first.error)) return true;
    FaultInfo second = fault;
    if (second.kind == FaultKind::Exception) {
      if (first.vector == kDF || depth > 8) {
        exit = RunExit::TripleFault;
        return false;
      }
      const bool both = (contributory(first.vector) && contributory(second.vector)) ||
                        (first.vector == kPF && (second.vector == kPF || contributory(second.vector)));
      if (both) second = FaultInfo{FaultKind::Exception, kDF, true, false, 0};
    }
    first = second;
  }
}

// ---- IRET --------------------------------------------------------------------------------------------------------------

bool Core::iret(unsigned size) {
  if (longMode()) return iretLong(size);
  if (protectedMode()) return iretProtected(size);
  const bool extended = v86() && iopl() < 3;
  if (extended && !virtualFlags(size)) return raise(kGP, 0);
  Stack stack = currentStack();
  uint64_t rip, cs, image;
  if (!pop(stack, rip, size) || !pop(stack, cs, size) || !pop(stack, image, size)) return false;
  if (rip > state.seg[kCs].limit) return raise(kGP, 0);
  if (extended) {
    if (!setVirtualImage(image)) return false;
    setStackPointer(stack);
    setRealSegment(kCs, static_cast<uint16_t>(cs));
    nextRip = rip;
    nmiBlocked = false;
    updateMode();
    return true;
  }
  setStackPointer(stack);
  uint64_t change = kArith | kTf | kIf | kDf | kNt;
  if (!v86()) change |= kIopl;
  if (size == 4) change |= kAc | kId | kRf;
  setRealSegment(kCs, static_cast<uint16_t>(cs));
  setFlags((flags() & ~change) | (image & change));
  nextRip = rip;
  nmiBlocked = false;
  updateMode();
  return true;
}

bool Core::iretLong(unsigned size) {
  if (state.rflags & kNt) return raise(kGP, 0);
  Stack stack = currentStack();
  uint64_t rip, selector64, image, sp = 0, ss64 = 0;
  if (!pop(stack, rip, size) || !pop(stack, selector64, size) || !pop(stack, image, size)) return false;
  const auto selector = static_cast<uint16_t>(selector64);
  const unsigned rpl = selector & 3;
  const bool withStack = codeSize == CodeSize::k64 || rpl != cpl;
  if (withStack && (!pop(stack, sp, size) || !pop(stack, ss64, size))) return false;
  if ((selector & 0xfffc) == 0) return raise(kGP, 0);
  Descriptor d;
  if (!readDescriptor(selector, d, kGP)) return false;
  SegmentRegister cs = unpack(selector, d);
  const uint16_t a = cs.attributes;
  if (!isCodeSegment(a) || rpl < cpl) return raise(kGP, codeOf(selector));
  if (a & kAttrExpandDown ? attrDpl(a) > rpl : attrDpl(a) != rpl) return raise(kGP, codeOf(selector));
  if ((a & kAttrL) && (a & kAttrDb)) return raise(kGP, codeOf(selector));
  if (!(a & kAttrP)) return raise(kNP, codeOf(selector));
  if (!codeOffsetValid(rip, cs)) return raise(kGP, 0);
  SegmentRegister ss = state.seg[kSs];
  if (withStack) {
    const auto ssSelector = static_cast<uint16_t>(ss64);
    if ((ssSelector & 0xfffc) == 0) {
      if (!(a & kAttrL) || rpl == 3 || (ssSelector & 3u) != rpl) return raise(kGP, 0);
      ss = SegmentRegister{};
      ss.selector = ssSelector;
      ss.attributes = static_cast<uint16_t>(rpl << 5);
    } else if (!stackSegment(ssSelector, rpl, kGP, ss)) {
      return false;
    }
  }
  if (!setAccessed(d)) return false;
  uint64_t change = kArith | kTf | kDf | kNt | kRf | kAc | kId;
  if (size == 2) change &= 0xffff;
  if (cpl == 0) change |= kIopl;
  if (cpl <= iopl()) change |= kIf;
  const bool outward = rpl > cpl;
  state.seg[kSs] = ss;
  state.rflags = (flags() & ~change) | (image & change);
  setCs(cs, rpl);
  setFlags(state.rflags);
  if (withStack) {
    const uint64_t mask = stackMask();
    state.gpr[kRsp] = mask == 0xffff ? (state.gpr[kRsp] & ~mask) | (sp & mask) : sp & mask;
  } else {
    setStackPointer(stack);
  }
  if (outward) dropOuterSegments();
  nextRip = rip;
  nmiBlocked = false;
  return true;
}

bool Core::iretProtected(unsigned size) {
  if (state.rflags & kNt) {
    uint16_t back;
    if (!load<uint16_t>(state.seg[kTr].base, back, kSupervisor)) return false;
    if (!switchTask(back, Switch::Return, false, 0)) return false;
    nmiBlocked = false;
    return true;
  }
  Stack stack = currentStack();
  uint64_t rip, selector64, image;
  if (!pop(stack, rip, size) || !pop(stack, selector64, size) || !pop(stack, image, size)) return false;
  const auto selector = static_cast<uint16_t>(selector64);
  if (size == 4 && (image & kVm) && cpl == 0) {
    uint64_t values[6];  // ESP, SS, ES, DS, FS, GS
    for (uint64_t& v : values) {
      if (!pop(stack, v, 4)) return false;
    }
    if (rip > 0xffff) return raise(kGP, 0);
    state.rflags = image & 0x3f7fd7;
    cpl = 3;
    setFlags(state.rflags | 2);
    for (Seg s : {kCs, kSs, kEs, kDs, kFs, kGs}) {
      const uint64_t v = s == kCs   ? selector64
                         : s == kSs ? values[1]
                         : s == kEs ? values[2]
                         : s == kDs ? values[3]
                         : s == kFs ? values[4]
                                    : values[5];
      setRealSegment(s, static_cast<uint16_t>(v));
    }
    state.gpr[kRsp] = values[0];
    nextRip = rip;
    nmiBlocked = false;
    newGeneration();
    return true;
  }
  if ((selector & 0xfffc) == 0) return raise(kGP, 0);
  const unsigned rpl = selector & 3;
  Descriptor d;
  if (!readDescriptor(selector, d, kGP)) return false;
  SegmentRegister cs = unpack(selector, d);
  const uint16_t a = cs.attributes;
  if (!isCodeSegment(a) || rpl < cpl) return raise(kGP, codeOf(selector));
  if (a & kAttrExpandDown ? attrDpl(a) > rpl : attrDpl(a) != rpl) return raise(kGP, codeOf(selector));
  if (!(a & kAttrP)) return raise(kNP, codeOf(selector));
  if (rip > cs.limit) return raise(kGP, 0);
  uint64_t change = kArith | kTf | kDf | kNt | kRf;
  if (size == 4) change |= kAc | kId;
  if (cpl == 0) change |= kIopl | (size == 4 ? kVif | kVip : 0);
  if (cpl <= iopl()) change |= kIf;
  if (rpl > cpl) {
    uint64_t sp, ss64;
    if (!pop(stack, sp, size) || !pop(stack, ss64, size)) return false;
    SegmentRegister ss;
    if (!stackSegment(static_cast<uint16_t>(ss64), rpl, kGP, ss)) return false;
    if (!setAccessed(d)) return false;
    const uint64_t mask = ss.attributes & kAttrDb ? 0xffffffffull : 0xffffull;
    state.seg[kSs] = ss;
    state.gpr[kRsp] = mask == 0xffff ? (state.gpr[kRsp] & ~mask) | (sp & mask) : sp & mask;
    setCs(cs, rpl);
    dropOuterSegments();
  } else {
    if (!setAccessed(d)) return false;
    setStackPointer(stack);
    setCs(cs, cpl);
  }
  setFlags((flags() & ~change) | (image & change));
  nextRip = rip;
  nmiBlocked = false;
  return true;
}

}  // namespace lodge::x86
