// MOVS and STOS, alone and repeated, and LODS alone: upwards, with each operand inside one page.
#include "translator/lowering.h"

namespace lodge::translator {

using namespace x86;

/**
 * R14 := how far the host addresses are from the linear ones, from the element that RSI or RDI points at to the last of RCX elements, or
 * for that one alone. The first byte's TLB entry must be of the last byte's page: a run is shorter than what the TLB spans. Each operand is retried by itself, as both may want the same entry.
 */
void Lowering::checkString(const Item& it, uint8_t pointer, bool write) {
  const unsigned size = it.d.operandSize;
  const uint8_t scale = static_cast<uint8_t>(size == 8 ? 3 : size >> 1);
  uint8_t* const retry = e_.position();
  tlbIndex(pointer);
  e_.lea64(kR14, it.d.rep ? at(pointer, kRcx, scale, -1) : at(pointer, static_cast<int32_t>(size - 1)));
  e_.alu64(4, inRegister(kR14), -4096);
  e_.op64(0x3b, kR14, tlbWord(write ? TlbEntry::kWrite : TlbEntry::kRead));
  Access access;
  access.write = write;
  access.address.base = pointer;
  access.address.bytes = unit_->size == CodeSize::k64 ? 8 : 4;
  miss(e_.jumpIf(kNotEqual), siteOf(it, SiteKind::Run), retry, access, 0);
  e_.load64(kR14, tlbWord(TlbEntry::kAddend));
}

/** A run that ends within the page it begins in, as the host's own instruction does it. */
void Lowering::repeat(const Item& it) {
  const Decoded& d = it.d;
  const bool copies = d.op == Op::Movs;
  e_.op64(0x85, kRcx, inRegister(kRcx));
  uint8_t* const nothing = e_.jumpIf(4);
  e_.alu64(7, inRegister(kRcx), static_cast<int32_t>(kPageBytes));
  leaveToStep(e_.jumpIf(7), it, SiteKind::Run);
  if (copies) {
    checkString(it, kRsi, false);
    e_.store64(frame(at_.argument), kR14);
  }
  checkString(it, kRdi, true);
  if (copies) {
    e_.load64(kR15, frame(at_.argument));
    e_.op64(0x03, kRsi, inRegister(kR15));
  }
  e_.op64(0x03, kRdi, inRegister(kR14));
  e_.u8(0xf3);
  if (d.operandSize == 2) e_.u8(0x66);
  if (d.operandSize == 8) e_.u8(0x48);
  e_.u8(d.opcode);
  if (copies) e_.op64(0x2b, kRsi, inRegister(kR15));
  e_.op64(0x2b, kRdi, inRegister(kR14));
  e_.land(nothing);
}

/** Compilers that optimize for size write loops of these. */
void Lowering::element(const Item& it) {
  const Decoded& d = it.d;
  const bool wide = unit_->size == CodeSize::k64, byte = d.operandSize == 1;
  const unsigned prefixes = d.operandSize == 8 ? +kRexW : d.operandSize == 2 ? +k66 : +kNoPrefix;
  const uint8_t load = byte ? 0x8a : 0x8b, store = byte ? 0x88 : 0x89;
  const auto advance = [&](uint8_t pointer) {
    if (wide) e_.lea64(pointer, at(pointer, d.operandSize));
    else e_.lea32(pointer, at(pointer, d.operandSize));
  };
  if (d.op != Op::Stos) {
    checkString(it, kRsi, false);
    if (d.op == Op::Movs) e_.store64(frame(at_.argument), kR14);
    else e_.encode(prefixes, kMap1, load, kRax, at(kRsi, kR14, 0, 0));
  }
  if (d.op != Op::Lods) checkString(it, kRdi, true);
  if (d.op == Op::Movs) {
    e_.load64(kR15, frame(at_.argument));
    e_.encode(prefixes, kMap1, load, kR15, at(kRsi, kR15, 0, 0));
  }
  if (d.op != Op::Lods) {
    e_.encode(prefixes, kMap1, store, d.op == Op::Movs ? kR15 : +kRax, at(kRdi, kR14, 0, 0));
    advance(kRdi);
  }
  if (d.op != Op::Stos) advance(kRsi);
}

void Lowering::string(const Item& it) {
  clobberFlags(live_[index_]);
  e_.encode(0, kMap1, 0xf7, 0, frame(at_.rflags)), e_.u32(kDf);  // TEST
  leaveToStep(e_.jumpIf(kNotEqual), it, SiteKind::Run);
  if (unit_->size != CodeSize::k64) {
    // The upper halves of registers mean nothing in 32-bit code.
    for (uint8_t g : {kRcx, kRsi, kRdi}) {
      if (it.gprsWritten >> g & 1) e_.op32(0x8b, g, inRegister(g));
    }
  }
  if (it.d.rep) repeat(it);
  else element(it);
  closePending();
}

}  // namespace lodge::translator
