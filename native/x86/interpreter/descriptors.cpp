// Instructions about descriptor tables and selectors: LGDT … LTR, LAR, LSL, VERR, VERW, ARPL.
#include "x86/interpreter/exec.h"

namespace lodge::x86 {
namespace {

// -------------------------------------------------------------------------------------------------------------

template <bool Idt>
bool storeTable(Core& c, const Insn* i) {
  if (c.cpl > 0 && (c.state.cr4 & kCr4Umip)) return c.raise(kGP, 0);
  const DescriptorTable& t = Idt ? c.state.idtr : c.state.gdtr;
  const unsigned size = i->operandSize() == 8 ? 10 : 6;
  auto* m = static_cast<uint8_t*>(c.slowWrite(i, size, false));
  if (!m) return false;
  __builtin_memcpy(m, &t.limit, 2);
  __builtin_memcpy(m + 2, &t.base, size - 2);
  return c.pending == PendingWrite::None || c.slowCommit();
}
template <bool Idt>
bool loadTable(Core& c, const Insn* i) {
  const unsigned size = i->operandSize() == 8 ? 10 : 6;
  const auto* m = static_cast<const uint8_t*>(c.slowRead(i, size));
  if (!m) return false;
  DescriptorTable t;
  __builtin_memcpy(&t.limit, m, 2);
  __builtin_memcpy(&t.base, m + 2, size - 2);
  if (size == 6 && (i->row & 1)) t.base &= 0xffffff;  // 16-bit operand size: 24-bit base
  if (size == 10 && !canonical(t.base)) return c.raise(kGP, 0);
  (Idt ? c.state.idtr : c.state.gdtr) = t;
  return true;
}
bool sldt(Core& c, const Insn* i) {
  if (c.cpl > 0 && (c.state.cr4 & kCr4Umip)) return c.raise(kGP, 0);
  return storeWord(c, i, c.state.seg[kLdtr].selector);
}
bool str(Core& c, const Insn* i) {
  if (c.cpl > 0 && (c.state.cr4 & kCr4Umip)) return c.raise(kGP, 0);
  return storeWord(c, i, c.state.seg[kTr].selector);
}
bool lldt(Core& c, const Insn* i) {
  uint16_t selector;
  return operand<uint16_t>(c, i, selector) && c.loadLdt(selector);
}
bool ltr(Core& c, const Insn* i) {
  uint16_t selector;
  return operand<uint16_t>(c, i, selector) && c.loadTaskRegister(selector);
}

void setZf(Core& c, bool on) { c.ax = static_cast<uint16_t>(on ? c.ax | 0x4000 : c.ax & ~0x4000); }

/** Finds the descriptor for LAR, LSL, VERR and VERW: an unusable selector is an answer, not a fault. */
bool inspect(Core& c, uint16_t selector, SegmentRegister& s, bool& found) {
  found = false;
  if ((selector & 0xfffc) == 0) return true;
  Core::Descriptor d;
  if (!c.readDescriptor(selector, d, kGP)) {
    if (c.fault.kind == FaultKind::Exception && c.fault.vector == kGP) {
      c.fault.kind = FaultKind::None;
      return true;
    }
    return false;
  }
  s = Core::unpack(selector, d);
  const bool conforming = (s.attributes & (kAttrS | kAttrCode | kAttrExpandDown)) == (kAttrS | kAttrCode | kAttrExpandDown);
  found = conforming || (attrDpl(s.attributes) >= c.cpl && attrDpl(s.attributes) >= (selector & 3u));
  return true;
}
template <bool Limit>
bool larLsl(Core& c, const Insn* i) {
  uint16_t selector;
  if (!operand<uint16_t>(c, i, selector)) return false;
  SegmentRegister s;
  bool found;
  if (!inspect(c, selector, s, found)) return false;
  if (found && !(s.attributes & kAttrS)) {
    const unsigned type = s.attributes & 15;
    const uint32_t legacy = Limit ? 0x0a0e : 0x1a3e;  // bit n: type n is acceptable
    const uint32_t wide = Limit ? 0x0a04 : 0x1a04;
    found = (c.longMode() ? wide : legacy) >> type & 1;
  }
  if (found) {
    uint64_t value = s.limit;
    if (!Limit) {
      Core::Descriptor d;
      if (!c.readDescriptor(selector, d, kGP)) return false;
      value = d.high & 0x00ffff00;  // bits 16–19 are undefined; processors let them through
    }
    if (i->operandSize() == 2)
      setReg<uint16_t>(c, i->reg, static_cast<uint16_t>(value));
    else
      setReg<uint64_t>(c, i->reg, value);
  }
  setZf(c, found);
  return true;
}
template <bool Write>
bool verify(Core& c, const Insn* i) {
  uint16_t selector;
  if (!operand<uint16_t>(c, i, selector)) return false;
  SegmentRegister s;
  bool found;
  if (!inspect(c, selector, s, found)) return false;
  const uint16_t a = s.attributes;
  if (found)
    found =
        (a & kAttrS) && (Write ? (a & (kAttrCode | kAttrWritable)) == kAttrWritable : !(a & kAttrCode) || (a & kAttrWritable));
  setZf(c, found);
  return true;
}
bool arpl(Core& c, const Insn* i) {
  const uint16_t source = reg<uint16_t>(c, i->reg);
  if (i->flags & kInsnMemory) {
    // Written only when there is something to adjust.
    uint16_t target;
    if (!operand<uint16_t>(c, i, target)) return false;
    const bool adjust = (target & 3) < (source & 3);
    if (adjust) {
      auto* m = static_cast<Unaligned<uint16_t>*>(c.slowWrite(i, 2, true));
      if (!m) return false;
      *m = static_cast<uint16_t>((target & ~3) | (source & 3));
      if (c.pending != PendingWrite::None && !c.slowCommit()) return false;
    }
    setZf(c, adjust);
    return true;
  }
  const uint16_t target = reg<uint16_t>(c, i->rm);
  const bool adjust = (target & 3) < (source & 3);
  if (adjust) setReg<uint16_t>(c, i->rm, static_cast<uint16_t>((target & ~3) | (source & 3)));
  setZf(c, adjust);
  return true;
}

}  // namespace

Handler bindDescriptors(const Binding& b) {
  const Decoded& d = b.d;
  Insn& i = b.i;
  const auto registers = [&] {
    i.reg = regOffset(d, d.reg, 8);
    i.rm = regOffset(d, d.rm, 8);
  };
  const auto rmRegister = [&](Handler h) -> Handler {
    i.rm = regOffset(d, d.rm, 8);
    return h;
  };
  switch (d.op) {
    case Op::Sgdt:
      return plain<storeTable<false>>;
    case Op::Sidt:
      return plain<storeTable<true>>;
    case Op::Lgdt:
    case Op::Lidt:
      i.row = (d.mode == CodeSize::k16) != d.operandSizePrefix;
      return d.op == Op::Lgdt ? plain<ring0<loadTable<false>>> : plain<ring0<loadTable<true>>>;
    case Op::Sldt:
      return rmRegister(plain<protectedOnly<sldt>>);
    case Op::Str:
      return rmRegister(plain<protectedOnly<str>>);
    case Op::Lldt:
      return rmRegister(ending<protectedRing0<lldt>>);
    case Op::Ltr:
      return rmRegister(ending<protectedRing0<ltr>>);
    case Op::Verr:
      return rmRegister(plain<protectedOnly<verify<false>>>);
    case Op::Verw:
      return rmRegister(plain<protectedOnly<verify<true>>>);
    case Op::Lar:
      registers();
      return plain<protectedOnly<larLsl<false>>>;
    case Op::Lsl:
      registers();
      return plain<protectedOnly<larLsl<true>>>;
    case Op::Arpl:
      registers();
      return plain<protectedOnly<arpl>>;
    default:
      return nullptr;
  }
}

}  // namespace lodge::x86
