// Host code of one instruction.
#include "translator/lowering.h"

namespace lodge::translator {

using namespace x86;

/** The guest's instruction with other operands. */
void Lowering::same(const Item& it) {
  const Decoded& d = it.d;
  const auto map = static_cast<Map>(it.map);
  unsigned prefixes = it.prefixes;
  if (it.x87) {
    if (d.memory) {
      e_.encode(0, kMap1, d.opcode, d.modrm >> 3 & 7, operandAt(it.access));
    } else {
      e_.u8(d.opcode);
      e_.u8(d.modrm);
    }
    return;
  }
  if (it.vex) return sameVex(it);
  if (it.raw) {
    if (prefixes & k66) e_.u8(0x66);
    if (prefixes & kRexW) e_.u8(0x48);
    if (map != kMap1) e_.u8(0x0f);
    e_.u8(d.opcode);
    immediate(it);
    return;
  }
  // Byte registers 4–7: SPL … DIL with any REX prefix, AH … BH without.
  if (d.rex && (it.byteReg || it.byteRm)) prefixes |= kRex;
  const bool stackByte = d.rex != 0;
  const auto gprOf = [&](uint8_t gpr, bool byte) -> uint8_t { return byte && !stackByte && gpr >= 4 && gpr < 8 ? gpr : hostOf(gpr); };

  if (!d.hasModRm) {  // register in the opcode: MOV r, imm and BSWAP
    const bool mapped = inHost(d.rm);
    const bool byte = d.opcode >= 0xb0 && d.opcode < 0xb8 && map == kMap1;
    const uint8_t host = mapped ? gprOf(d.rm, byte) : kR15;
    if (!mapped && (it.rmRead || d.operandSize < 4)) loadGpr(kR15, d.rm);
    if (prefixes & k66) e_.u8(0x66);
    const unsigned rex = (prefixes & kRexW ? 8u : 0u) | host >> 3;
    if (rex || (byte && d.rex)) e_.u8(0x40 | rex);
    if (map != kMap1) e_.u8(0x0f);
    e_.u8((d.opcode & 0xf8u) | (host & 7));
    immediate(it);
    if (!mapped) storeGpr(d.rm, kR15);
    return;
  }

  uint8_t reg = d.modrm >> 3 & 7;
  bool storeReg = false, storeRm = false;
  if (it.regBank == Bank::Vector) {
    reg = d.reg;
  } else if (it.regBank == Bank::Gpr) {
    if (inHost(d.reg)) {
      reg = gprOf(d.reg, it.byteReg);
    } else {
      reg = kR15;
      if (it.regRead || d.operandSize < 4) loadGpr(kR15, d.reg);
      storeReg = it.regWritten;
    }
  }
  Operand rm;
  uint8_t rmScratch = kR14;
  if (it.access.present) {
    rm = operandAt(it.access);
  } else if (it.rmBank == Bank::Vector) {
    rm = inRegister(d.rm);
  } else if (inHost(d.rm)) {
    rm = inRegister(gprOf(d.rm, it.byteRm));
  } else {
    const bool bits = d.op == Op::Bt || d.op == Op::Bts || d.op == Op::Btr || d.op == Op::Btc;
    if (it.rmWritten || bits) {
      rmScratch = it.regBank == Bank::Gpr && !inHost(d.reg) ? kR14 : kR15;
      if (it.rmRead || d.operandSize < 4) loadGpr(rmScratch, d.rm);
      // XCHG and XADD of one register with itself need one copy of it.
      if (it.regBank == Bank::Gpr && d.reg == d.rm && !inHost(d.reg)) rmScratch = kR15;
      rm = inRegister(rmScratch);
      storeRm = it.rmWritten;
    } else {
      rm = slot(d.rm);
    }
  }
  e_.encode(prefixes, map, d.opcode, reg, rm);
  immediate(it);
  if (storeReg) storeGpr(d.reg, kR15);
  if (storeRm) storeGpr(d.rm, rmScratch);
}

void Lowering::sameVex(const Item& it) {
  const Decoded& d = it.d;
  if (it.raw) {
    e_.bytes(it.bytes, d.length);
    return;
  }
  // Registers that are in the Core: a source in R15 may share it with the destination, which is written last.
  uint8_t reg = d.modrm >> 3 & 7, v = d.v;
  bool storeReg = false, storeV = false, storeRm = false;
  if (it.vBank == Bank::Gpr) {
    if (inHost(d.v)) {
      v = hostOf(d.v);
    } else {
      v = kR15;
      if (!it.vWritten) loadGpr(kR15, d.v);
      storeV = it.vWritten;
    }
  }
  if (it.regBank == Bank::Vector) {
    reg = d.reg;
  } else if (it.regBank == Bank::Gpr) {
    reg = inHost(d.reg) ? hostOf(d.reg) : kR15;
    storeReg = !inHost(d.reg);
  }
  Operand rm;
  if (it.access.present) {
    rm = operandAt(it.access);
  } else if (it.rmBank == Bank::Vector) {
    rm = inRegister(d.rm);
  } else if (inHost(d.rm)) {
    rm = inRegister(hostOf(d.rm));
  } else if (it.rmWritten) {
    rm = inRegister(kR15);
    storeRm = true;
  } else {
    rm = slot(d.rm);
  }
  e_.encodeVex(it.vexPrefix, it.vexW, d.vexL, static_cast<Map>(it.map), d.opcode, reg, v, rm);
  // The register in imm8 is one of eight outside 64-bit mode.
  if (d.op == Op::Vex && d.vex->form == VexForm::Rvmr && unit_->size != CodeSize::k64) e_.u8(d.immediate & 0x7f);
  else immediate(it);
  if (storeV) storeGpr(d.v, kR15);
  if (storeReg) storeGpr(d.reg, kR15);
  if (storeRm) storeGpr(d.rm, kR15);
}

void Lowering::lea(const Item& it) {
  const Decoded& d = it.d;
  const int64_t disp = it.access.disp;
  const Address& a = it.access.address;
  const bool mapped = inHost(d.reg);
  if (simple(a) && mapped && d.operandSize >= 4 && (a.base != kNoRegister || a.index != kNoRegister)) {
    const Operand m{true, 0, a.base == kNoRegister ? kNoReg : hostOf(a.base), a.index == kNoRegister ? kNoReg : hostOf(a.index),
                    a.scale, static_cast<int32_t>(disp)};
    // In 32-bit code both widths are 32 bits; in 64-bit code the operand's decides what is kept.
    e_.encode(d.operandSize == 8 ? kRexW : 0, kMap1, 0x8d, hostOf(d.reg), m);
    return;
  }
  const uint8_t to = usesGroupRegister(it) ? kR14 : kR15;
  effective(to, a, disp);
  if (d.operandSize == 2) {
    loadGpr(kR15, d.reg);
    e_.encode(k66, kMap1, 0x8b, kR15, inRegister(kR14));
    storeGpr(d.reg, kR15);
  } else {
    if (d.operandSize == 4) e_.op32(0x8b, to, inRegister(to));
    storeGpr(d.reg, to);
  }
}

/** What could raise #DE on the host is left to the interpreter: quotients too large, or possibly so. */
void Lowering::divide(const Item& it) {
  const Decoded& d = it.d;
  const unsigned wide = d.operandSize == 8 ? kRexW : 0;
  if (it.access.present) e_.encode(wide, kMap1, 0x8b, kR14, operandAt(it.access));
  else if (inHost(d.rm)) e_.encode(wide, kMap1, 0x8b, kR14, inRegister(hostOf(d.rm)));
  else e_.encode(wide, kMap1, 0x8b, kR14, slot(d.rm));
  const auto slow = [&](uint8_t* from) { leaveToStep(from, it, SiteKind::Run); };
  const bool grouped = group_.active;
  if (d.op == Op::Div) {
    e_.encode(wide, kMap1, 0x3b, kRdx, inRegister(kR14));
    slow(e_.jumpIf(3));  // not below
  } else {
    e_.encode(wide, kMap1, 0x8b, kR15, inRegister(kRax));
    e_.encode(wide, kMap1, 0xc1, 7, inRegister(kR15)), e_.u8(d.operandSize == 8 ? 63 : 31);
    e_.encode(wide, kMap1, 0x3b, kR15, inRegister(kRdx));
    slow(e_.jumpIf(kNotEqual));
    e_.encode(wide, kMap1, 0x8d, kR15, at(kR14, 1));
    e_.encode(wide, kMap1, 0x83, 7, inRegister(kR15)), e_.u8(1);
    slow(e_.jumpIf(6));  // divisor 0 or -1
  }
  e_.encode(wide, kMap1, 0xf7, d.op == Op::Div ? 6 : 7, inRegister(kR14));
  if (!grouped) {
    for (Stub& s : group_.pending) {
      s.resume = e_.position();
      stubs_.push_back(s);
    }
    group_.pending.clear();
  }
}

void Lowering::push(size_t i) {
  const Item& it = unit_->items[i];
  const bool wide = unit_->size == CodeSize::k64;
  const unsigned w = wide ? kRexW : 0;
  if (it.source.present) {
    // The stack is checked already; R14 is needed for the source. Its address is kept, as nothing can fail any more after it.
    e_.store64(frame(at_.argument), kR14);
    checkAlone(i, it.source);
    e_.encode(w, kMap1, 0x8b, kR15, aloneAt(it.source));
    e_.load64(kR14, frame(at_.argument));
    e_.encode(w, kMap1, 0x89, kR15, operandAt(it.access));
  } else if (it.rmBank == Bank::Gpr) {
    uint8_t from = hostOf(it.d.rm);
    if (!inHost(it.d.rm)) {
      loadGpr(kR15, it.d.rm);
      from = kR15;
    }
    e_.encode(w, kMap1, 0x89, from, operandAt(it.access));
  } else {
    e_.encode(w, kMap1, 0xc7, 0, operandAt(it.access));
    e_.u32(static_cast<uint32_t>(it.d.immediate));
  }
  if (wide) e_.lea64(kStack, at(kStack, -8));
  else e_.lea32(kStack, at(kStack, -4));
}

void Lowering::returnAddress(uint8_t to, int64_t target) {
  e_.load64(to, frame(at_.codePage));
  for (; target > INT32_MAX; target -= INT32_MAX) e_.lea64(to, at(to, INT32_MAX));
  if (unit_->size == CodeSize::k64) e_.lea64(to, at(to, static_cast<int32_t>(target)));
  else e_.lea32(to, at(to, static_cast<int32_t>(target)));
}

void Lowering::call(size_t i) {
  const Item& it = unit_->items[i];
  const bool wide = unit_->size == CodeSize::k64;
  const int64_t back = it.offset + it.d.length, target = back + static_cast<int64_t>(it.d.immediate);
  const bool last = i + 1 == unit_->items.size(), here = target >= 0 && target < static_cast<int64_t>(kPageBytes);
  const bool cached = last && unit_->privilege == kUser && !here;
  if (cached) clobberFlags(kArith);
  returnAddress(kR15, back);
  e_.encode(wide ? kRexW : 0, kMap1, 0x89, kR15, operandAt(it.access));
  if (wide) e_.lea64(kStack, at(kStack, -8));
  else e_.lea32(kStack, at(kStack, -4));
  if (!last) return;  // a trace, which goes on there
  unit_->open = false;
  if (!cached) return exitTo(target);
  const Operand there = at(kR15, static_cast<int32_t>(it.d.immediate));
  if (wide) e_.lea64(kR15, there);
  else e_.lea32(kR15, there);
  jumpCached(addSite(SiteSpec{SiteKind::Lookup}));
}

void Lowering::callFar(size_t i) {
  const Item& it = unit_->items[i];
  const bool wide = unit_->size == CodeSize::k64;
  const unsigned w = wide ? kRexW : 0;
  if (i + 1 == unit_->items.size()) clobberFlags(live_[i]);
  if (it.source.present) {
    e_.store64(frame(at_.argument), kR14);
    checkAlone(i, it.source);
    e_.encode(w, kMap1, 0x8b, kR15, aloneAt(it.source));
    e_.store64(frame(at_.temporary), kR15);
    e_.load64(kR14, frame(at_.argument));
  } else {
    loadGpr(kR15, it.d.rm);
    if (!wide) e_.op32(0x8b, kR15, inRegister(kR15));
    e_.store64(frame(at_.temporary), kR15);
  }
  returnAddress(kR15, it.offset + it.d.length);
  e_.encode(w, kMap1, 0x89, kR15, operandAt(it.access));
  if (wide) e_.lea64(kStack, at(kStack, -8));
  else e_.lea32(kStack, at(kStack, -4));
  e_.load64(kR15, frame(at_.temporary));
  goTo(i);
}

/** In front of the first x87 instruction of a unit, and of the first after the interpreter may have taken the state. */
void Lowering::x87(size_t i) {
  clobberFlags(i == 0 ? unit_->liveIn : live_[i - 1]);
  e_.alu32(7, frame(at_.x87Loaded), 0);
  Stub s{e_.jumpIf(4), 0, nullptr, FlagsIn::Dead, 0, Stub::Kind::LoadX87};
  s.resume = e_.position();
  stubs_.push_back(s);
  x87Loaded_ = true;
}

/** A control word that unmasks exceptions is the interpreter's. */
void Lowering::loadControl(const Item& it) {
  clobberFlags(live_[index_]);
  const Operand m = operandAt(it.access);
  e_.encode(0, kMap0F, 0xb7, kR15, m);
  e_.encode(0, kMap1, 0xf7, 2, inRegister(kR15));                        // NOT
  e_.encode(kRex, kMap1, 0xf6, 0, inRegister(kR15)), e_.u8(0x3f);        // TEST R15B
  leaveToStep(e_.jumpIf(kNotEqual), it, SiteKind::End);
  e_.encode(0, kMap1, 0xd9, 5, m);
  e_.encode(0, kMap1, 0xd9, 7, frame(at_.x87Control));  // FNSTCW: without the bits that do not exist
}

void Lowering::step(const Item& it, SiteKind kind) {
  x87Loaded_ = false;
  if (flags_ == FlagsIn::Host) saveFlags();
  SiteSpec site = siteOf(it, kind);
  site.instruction = true;
  e_.moveImm32(kR15, addSite(site));
  e_.callTo(routines_.step);
  flags_ = FlagsIn::Both;
}

}  // namespace lodge::translator
