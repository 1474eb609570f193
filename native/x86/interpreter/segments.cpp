// Segment loading and far control transfers. SDM vol. 3, chapters 3 and 5.
#include <cstring>

#include "x86/interpreter/core.h"

namespace lodge::x86 {
namespace {

/** System descriptor types (S = 0). */
enum SystemType : unsigned { kTss16 = 1, kLdtType = 2, kCallGate16 = 4, kTaskGate = 5, kTss32 = 9, kCallGate32 = 12 };

unsigned typeOf(uint16_t attributes) { return attributes & 15; }
bool isSystem(uint16_t attributes) { return !(attributes & kAttrS); }
bool isCode(uint16_t a) { return (a & (kAttrS | kAttrCode)) == (kAttrS | kAttrCode); }
bool isWritableData(uint16_t a) { return (a & (kAttrS | kAttrCode | kAttrWritable)) == (kAttrS | kAttrWritable); }
bool isConforming(uint16_t a) { return a & kAttrExpandDown; }
uint32_t codeOf(uint16_t selector) { return selector & 0xfffc; }

}  // namespace

SegmentRegister Core::unpack(uint16_t selector, const Descriptor& d) {
  SegmentRegister s;
  s.base = d.low >> 16 | (d.high & 0xff) << 16 | (d.high & 0xff000000);
  s.limit = (d.low & 0xffff) | (d.high & 0xf0000);
  s.attributes = static_cast<uint16_t>(d.high >> 8 & 0xf0ff);
  if (s.attributes & kAttrG) s.limit = s.limit << 12 | 0xfff;
  s.selector = selector;
  return s;
}

bool Core::readDescriptor(uint16_t selector, Descriptor& out, uint8_t vector) {
  uint64_t base = state.gdtr.base;
  uint64_t limit = state.gdtr.limit;
  if (selector & 4) {
    const SegmentRegister& ldt = state.seg[kLdtr];
    if (!(ldt.attributes & kAttrP)) return raise(vector, codeOf(selector));
    base = ldt.base;
    limit = ldt.limit;
  }
  if ((selector & 0xfff8u) + 7 > limit) return raise(vector, codeOf(selector));
  out.address = base + (selector & 0xfff8);
  uint64_t raw;
  if (!load<uint64_t>(out.address, raw, kSupervisor)) return false;
  out.low = static_cast<uint32_t>(raw);
  out.high = static_cast<uint32_t>(raw >> 32);
  return true;
}

bool Core::setAccessed(const Descriptor& d) {
  if (d.high & 0x100) return true;
  return store<uint8_t>(d.address + 5, static_cast<uint8_t>(d.high >> 8 | 1), kSupervisor);
}

void Core::setRealSegment(Seg seg, uint16_t selector) {
  SegmentRegister& s = state.seg[seg];
  s.selector = selector;
  s.base = static_cast<uint32_t>(selector) << 4;
  if (v86()) {
    s.limit = 0xffff;
    s.attributes = 0xf3;
  } else {
    // Real mode keeps the limit, which is how "unreal mode" works.
    s.attributes = static_cast<uint16_t>((s.attributes & (kAttrDb | kAttrG)) | 0x93);
  }
}

void Core::setCs(const SegmentRegister& cs, unsigned newCpl) {
  const bool limitChanged = cs.limit != state.seg[kCs].limit;
  state.seg[kCs] = cs;
  cpl = static_cast<uint8_t>(newCpl);
  if (limitChanged && !(cs.attributes & kAttrL))
    newGeneration();
  else
    updateMode();
}

bool Core::loadSegment(Seg seg, uint16_t selector) {
  if (!protectedMode()) {
    setRealSegment(seg, selector);
    return true;
  }
  if ((selector & 0xfffc) == 0) {
    if (seg == kSs && !(codeSize == CodeSize::k64 && cpl < 3 && (selector & 3) == cpl)) return raise(kGP, 0);
    state.seg[seg] = SegmentRegister{};
    state.seg[seg].selector = selector;
    if (seg == kSs) state.seg[seg].attributes = static_cast<uint16_t>(cpl << 5);
    return true;
  }
  if (seg == kSs) {
    SegmentRegister ss;
    if (!stackSegment(selector, cpl, kGP, ss)) return false;
    state.seg[kSs] = ss;
    return true;
  }
  Descriptor d;
  if (!readDescriptor(selector, d, kGP)) return false;
  SegmentRegister s = unpack(selector, d);
  const uint16_t a = s.attributes;
  if (isSystem(a) || (isCode(a) && !(a & kAttrWritable))) return raise(kGP, codeOf(selector));
  if (!(isCode(a) && isConforming(a)) && ((selector & 3u) > attrDpl(a) || cpl > attrDpl(a))) return raise(kGP, codeOf(selector));
  if (!(a & kAttrP)) return raise(kNP, codeOf(selector));
  if (!setAccessed(d)) return false;
  s.attributes |= kAttrAccessed;
  state.seg[seg] = s;
  return true;
}

bool Core::stackSegment(uint16_t selector, unsigned level, uint8_t vector, SegmentRegister& out) {
  if ((selector & 0xfffc) == 0) return raise(vector, vector == kTS ? codeOf(selector) : 0);
  Descriptor d;
  if (!readDescriptor(selector, d, vector)) return false;
  out = unpack(selector, d);
  if (!isWritableData(out.attributes) || (selector & 3u) != level || attrDpl(out.attributes) != level)
    return raise(vector, codeOf(selector));
  if (!(out.attributes & kAttrP)) return raise(kSS, codeOf(selector));
  if (!setAccessed(d)) return false;
  out.attributes |= kAttrAccessed;
  return true;
}

// ---- stacks ----------------------------------------------------------------------------------------------------------

Core::Stack Core::currentStack() const {
  Stack s;
  s.ss = state.seg[kSs];
  s.sp = state.gpr[kRsp];
  s.mask = stackMask();
  s.who = privilege();
  s.wide = codeSize == CodeSize::k64;
  return s;
}

bool Core::stackAddress(const Stack& s, uint64_t sp, unsigned size, uint64_t& linear) {
  if (s.wide) {
    if (!canonical(sp) || !canonical(sp + size - 1)) return raise(kSS, s.error);
    linear = sp;
    return true;
  }
  const uint64_t last = sp + size - 1;
  const bool down = (s.ss.attributes & (kAttrCode | kAttrExpandDown)) == kAttrExpandDown;
  const bool outside =
      down ? sp <= s.ss.limit || last > (s.ss.attributes & kAttrDb ? 0xffffffffull : 0xffffull) : last > s.ss.limit;
  if (outside) return raise(kSS, s.error);
  linear = (s.ss.base + sp) & 0xffffffff;
  return true;
}
bool Core::push(Stack& s, uint64_t value, unsigned size) {
  const uint64_t sp = (s.sp - size) & s.mask;
  uint64_t linear;
  if (!stackAddress(s, sp, size, linear) || !storeSized(linear, value, size, s.who)) return false;
  s.sp = (s.sp & ~s.mask) | sp;
  return true;
}
bool Core::pop(Stack& s, uint64_t& value, unsigned size) {
  uint64_t linear;
  if (!stackAddress(s, s.sp & s.mask, size, linear) || !loadSized(linear, value, size, s.who)) return false;
  s.sp = (s.sp & ~s.mask) | ((s.sp + size) & s.mask);
  return true;
}
void Core::setStackPointer(const Stack& s) {
  state.gpr[kRsp] = s.mask == 0xffff ? (state.gpr[kRsp] & ~0xffffull) | (s.sp & 0xffff) : s.sp & s.mask;
}

/** The stack the TSS names for a more privileged level. SS is only read, not loaded. */
bool Core::innerStack(unsigned level, Stack& out, uint8_t vector) {
  const SegmentRegister& tr = state.seg[kTr];
  out.who = level == 3 ? kUser : kSupervisor;
  if (longMode()) {
    const uint32_t at = 4 + 8 * level;
    if (at + 7 > tr.limit) return raise(kTS, codeOf(tr.selector));
    if (!load<uint64_t>(tr.base + at, out.sp, kSupervisor)) return false;
    out.ss = SegmentRegister{};
    out.ss.selector = static_cast<uint16_t>(level);
    out.ss.attributes = static_cast<uint16_t>(level << 5);
    out.mask = ~0ull;
    out.wide = true;
    return true;
  }
  uint16_t selector;
  if (typeOf(tr.attributes) & 8) {
    const uint32_t at = 4 + 8 * level;
    if (at + 5 > tr.limit) return raise(kTS, codeOf(tr.selector));
    uint32_t sp;
    if (!load<uint32_t>(tr.base + at, sp, kSupervisor) || !load<uint16_t>(tr.base + at + 4, selector, kSupervisor)) return false;
    out.sp = sp;
  } else {
    const uint32_t at = 2 + 4 * level;
    if (at + 3 > tr.limit) return raise(kTS, codeOf(tr.selector));
    uint16_t sp;
    if (!load<uint16_t>(tr.base + at, sp, kSupervisor) || !load<uint16_t>(tr.base + at + 2, selector, kSupervisor)) return false;
    out.sp = sp;
  }
  if (!stackSegment(selector, level, vector, out.ss)) return false;
  out.error = codeOf(selector);
  out.mask = out.ss.attributes & kAttrDb ? 0xffffffffull : 0xffffull;
  out.wide = false;
  return true;
}

bool Core::codeOffsetValid(uint64_t offset, const SegmentRegister& cs) const {
  if ((state.efer & kEferLma) && (cs.attributes & kAttrL)) return canonical(offset);
  return offset <= cs.limit;
}

/** After a return to a less privileged level: data segments it may not use become null (SDM vol. 2, RET). */
void Core::dropOuterSegments() {
  for (Seg seg : {kEs, kDs, kFs, kGs}) {
    SegmentRegister& s = state.seg[seg];
    const uint16_t a = s.attributes;
    if (!(a & kAttrP)) continue;
    if (attrDpl(a) < cpl && !(isCode(a) && isConforming(a))) s = SegmentRegister{};
  }
}

// ---- far transfers ---------------------------------------------------------------------------------------------------

bool Core::farTransfer(uint16_t selector, uint64_t offset, unsigned size, bool call) {
  Stack stack = currentStack();
  if (!protectedMode()) {
    offset &= size == 2 ? 0xffffull : 0xffffffffull;
    if (offset > state.seg[kCs].limit) return raise(kGP, 0);
    if (call) {
      if (!push(stack, state.seg[kCs].selector, size) || !push(stack, nextRip, size)) return false;
      setStackPointer(stack);
    }
    setRealSegment(kCs, selector);
    nextRip = offset;
    updateMode();
    return true;
  }
  if ((selector & 0xfffc) == 0) return raise(kGP, 0);
  Descriptor d;
  if (!readDescriptor(selector, d, kGP)) return false;
  SegmentRegister cs = unpack(selector, d);
  const uint16_t a = cs.attributes;
  if (isSystem(a)) {
    switch (typeOf(a)) {
      case kCallGate32:
        return throughCallGate(selector, d, call);
      case kCallGate16:
        return longMode() ? raise(kGP, codeOf(selector)) : throughCallGate(selector, d, call);
      case kTss16:
      case kTss32:
      case kTaskGate: {
        if (longMode()) return raise(kGP, codeOf(selector));
        if (attrDpl(a) < cpl || attrDpl(a) < (selector & 3u)) return raise(kGP, codeOf(selector));
        if (!(a & kAttrP)) return raise(kNP, codeOf(selector));
        const uint16_t tss = typeOf(a) == kTaskGate ? static_cast<uint16_t>(d.low >> 16) : selector;
        return switchTask(tss, call ? Switch::Call : Switch::Jump, false, 0);
      }
      default:
        return raise(kGP, codeOf(selector));
    }
  }
  if (!isCode(a)) return raise(kGP, codeOf(selector));
  if (isConforming(a) ? attrDpl(a) > cpl : (selector & 3u) > cpl || attrDpl(a) != cpl) return raise(kGP, codeOf(selector));
  if (!(a & kAttrP)) return raise(kNP, codeOf(selector));
  if (longMode() && (a & kAttrL) && (a & kAttrDb)) return raise(kGP, codeOf(selector));
  if (size == 2)
    offset &= 0xffff;
  else if (size == 4 || !(longMode() && (a & kAttrL)))
    offset &= 0xffffffff;
  if (!codeOffsetValid(offset, cs)) return raise(kGP, 0);
  if (!setAccessed(d)) return false;
  cs.attributes |= kAttrAccessed;
  cs.selector = static_cast<uint16_t>(codeOf(selector) | cpl);
  if (call) {
    if (!push(stack, state.seg[kCs].selector, size) || !push(stack, nextRip, size)) return false;
    setStackPointer(stack);
  }
  setCs(cs, cpl);
  nextRip = offset;
  return true;
}

bool Core::throughCallGate(uint16_t selector, const Descriptor& gate, bool call) {
  const auto gateAttributes = static_cast<uint16_t>(gate.high >> 8 & 0xff);
  const bool lm = longMode();
  if (attrDpl(gateAttributes) < cpl || attrDpl(gateAttributes) < (selector & 3u)) return raise(kGP, codeOf(selector));
  if (!(gateAttributes & kAttrP)) return raise(kNP, codeOf(selector));
  const bool wide = typeOf(gateAttributes) == kCallGate32;
  uint64_t offset = (gate.low & 0xffff) | (wide ? gate.high & 0xffff0000u : 0);
  if (lm) {
    uint64_t upper;
    if ((selector & 0xfff8u) + 15 > (selector & 4 ? state.seg[kLdtr].limit : state.gdtr.limit))
      return raise(kGP, codeOf(selector));
    if (!load<uint64_t>(gate.address + 8, upper, kSupervisor)) return false;
    if (upper >> 40 & 0x1f) return raise(kGP, codeOf(selector));
    offset |= upper << 32;
  }
  const auto target = static_cast<uint16_t>(gate.low >> 16);
  if ((target & 0xfffc) == 0) return raise(kGP, 0);
  Descriptor d;
  if (!readDescriptor(target, d, kGP)) return false;
  SegmentRegister cs = unpack(target, d);
  const uint16_t a = cs.attributes;
  if (isSystem(a) || !isCode(a) || attrDpl(a) > cpl) return raise(kGP, codeOf(target));
  if (lm && (!(a & kAttrL) || (a & kAttrDb))) return raise(kGP, codeOf(target));
  if (!call && !isConforming(a) && attrDpl(a) != cpl) return raise(kGP, codeOf(target));
  if (!(a & kAttrP)) return raise(kNP, codeOf(target));
  if (!codeOffsetValid(offset, cs)) return raise(kGP, 0);
  const unsigned size = lm ? 8 : wide ? 4 : 2;
  Stack stack = currentStack();
  unsigned newCpl = cpl;
  if (call && !isConforming(a) && attrDpl(a) < cpl) {
    newCpl = attrDpl(a);
    Stack inner;
    if (!innerStack(newCpl, inner, kTS)) return false;
    if (!push(inner, state.seg[kSs].selector, size) || !push(inner, state.gpr[kRsp], size)) return false;
    const unsigned parameters = lm ? 0 : gate.high & 31;
    for (unsigned n = parameters; n-- > 0;) {
      uint64_t linear, value;
      if (!stackAddress(stack, (stack.sp + n * size) & stack.mask, size, linear) || !loadSized(linear, value, size, stack.who))
        return false;
      if (!push(inner, value, size)) return false;
    }
    stack = inner;
  }
  if (call && (!push(stack, state.seg[kCs].selector, size) || !push(stack, nextRip, size))) return false;
  if (!setAccessed(d)) return false;
  cs.attributes |= kAttrAccessed;
  cs.selector = static_cast<uint16_t>(codeOf(target) | newCpl);
  if (newCpl != cpl) state.seg[kSs] = stack.ss;
  setCs(cs, newCpl);
  if (call) setStackPointer(stack);
  nextRip = offset;
  return true;
}

bool Core::farReturn(unsigned size, unsigned popBytes) {
  Stack stack = currentStack();
  uint64_t rip, selector64;
  if (!pop(stack, rip, size) || !pop(stack, selector64, size)) return false;
  const auto selector = static_cast<uint16_t>(selector64);
  if (!protectedMode()) {
    if (rip > state.seg[kCs].limit) return raise(kGP, 0);
    stack.sp = (stack.sp & ~stack.mask) | ((stack.sp + popBytes) & stack.mask);
    setStackPointer(stack);
    setRealSegment(kCs, selector);
    nextRip = rip;
    updateMode();
    return true;
  }
  if ((selector & 0xfffc) == 0) return raise(kGP, 0);
  const unsigned rpl = selector & 3;
  Descriptor d;
  if (!readDescriptor(selector, d, kGP)) return false;
  SegmentRegister cs = unpack(selector, d);
  const uint16_t a = cs.attributes;
  if (isSystem(a) || !isCode(a) || rpl < cpl) return raise(kGP, codeOf(selector));
  if (isConforming(a) ? attrDpl(a) > rpl : attrDpl(a) != rpl) return raise(kGP, codeOf(selector));
  if (longMode() && (a & kAttrL) && (a & kAttrDb)) return raise(kGP, codeOf(selector));
  if (!(a & kAttrP)) return raise(kNP, codeOf(selector));
  if (!codeOffsetValid(rip, cs)) return raise(kGP, 0);
  stack.sp = (stack.sp & ~stack.mask) | ((stack.sp + popBytes) & stack.mask);
  if (rpl == cpl) {
    if (!setAccessed(d)) return false;
    setStackPointer(stack);
    setCs(cs, cpl);
    nextRip = rip;
    return true;
  }
  uint64_t sp, ss64;
  if (!pop(stack, sp, size) || !pop(stack, ss64, size)) return false;
  const auto ssSelector = static_cast<uint16_t>(ss64);
  SegmentRegister ss;
  if ((ssSelector & 0xfffc) == 0 && longMode() && (a & kAttrL) && rpl < 3) {
    ss.selector = ssSelector;
    ss.attributes = static_cast<uint16_t>(rpl << 5);
  } else if (!stackSegment(ssSelector, rpl, kGP, ss)) {
    return false;
  }
  if (!setAccessed(d)) return false;
  state.seg[kSs] = ss;
  setCs(cs, rpl);
  const uint64_t mask = stackMask();
  sp += popBytes;
  state.gpr[kRsp] = mask == 0xffff ? (state.gpr[kRsp] & ~mask) | (sp & mask) : sp & mask;
  dropOuterSegments();
  nextRip = rip;
  return true;
}

bool Core::loadLdt(uint16_t selector) {
  if ((selector & 0xfffc) == 0) {
    state.seg[kLdtr] = SegmentRegister{};
    state.seg[kLdtr].selector = selector;
    return true;
  }
  if (selector & 4) return raise(kGP, codeOf(selector));
  Descriptor d;
  if (!readDescriptor(selector, d, kGP)) return false;
  SegmentRegister s = unpack(selector, d);
  if (!isSystem(s.attributes) || typeOf(s.attributes) != kLdtType) return raise(kGP, codeOf(selector));
  if (!(s.attributes & kAttrP)) return raise(kNP, codeOf(selector));
  if (longMode()) {
    uint32_t upper;
    if (!load<uint32_t>(d.address + 8, upper, kSupervisor)) return false;
    s.base |= static_cast<uint64_t>(upper) << 32;
    if (!canonical(s.base)) return raise(kGP, codeOf(selector));
  }
  state.seg[kLdtr] = s;
  return true;
}

bool Core::loadTaskRegister(uint16_t selector) {
  if ((selector & 0xfffc) == 0) return raise(kGP, 0);
  if (selector & 4) return raise(kGP, codeOf(selector));
  Descriptor d;
  if (!readDescriptor(selector, d, kGP)) return false;
  SegmentRegister s = unpack(selector, d);
  const unsigned type = typeOf(s.attributes);
  if (!isSystem(s.attributes) || (type != kTss32 && (longMode() || type != kTss16))) return raise(kGP, codeOf(selector));
  if (!(s.attributes & kAttrP)) return raise(kNP, codeOf(selector));
  if (longMode()) {
    uint32_t upper;
    if (!load<uint32_t>(d.address + 8, upper, kSupervisor)) return false;
    s.base |= static_cast<uint64_t>(upper) << 32;
    if (!canonical(s.base)) return raise(kGP, codeOf(selector));
  }
  if (!store<uint8_t>(d.address + 5, static_cast<uint8_t>(d.high >> 8 | 2), kSupervisor)) return false;  // busy
  s.attributes |= 2;
  state.seg[kTr] = s;
  return true;
}

}  // namespace lodge::x86
