#include "translator/routines.h"

namespace lodge::translator {

using namespace x86;

namespace {

constexpr uint8_t kCalleeSaved[] = {kRbx, kRbp, 12, 13, 14, 15};

uint8_t hostOf(unsigned gpr) { return static_cast<uint8_t>(gpr == kRsp ? 13 : gpr); }

class Writer {
 public:
  Writer(Emitter& e, const CoreLayout& at, bool wide) : e_(e), at_(at), wide_(wide) {}
  /** `below`: how far RSP is below the Core. */
  Operand core(int32_t offset, int32_t below) const { return lodge::translator::at(kCoreReg, offset + below); }
  void storeVectors(int32_t below) {
    moveVectors(true, wide_, below);
    // Compiled code outside uses SSE, which some processors slow down while the upper halves are not zero.
    if (wide_) zeroUpper();
  }
  /**
   * While upper halves may hold something, each SSE instruction waits for what was in its destination before. So they are
   * loaded only when one of them is not zero. Clobbers the flags.
   */
  void loadVectors(int32_t below) {
    uint8_t *wide = nullptr, *done = nullptr;
    if (wide_) {
      constexpr uint8_t kSums = 4;
      for (uint8_t n = 0; n < 16; ++n) {  // VMOVUPS and VORPS
        const Operand upper = vector(n, 16, below);
        if (n < kSums) e_.encodeVex(0, false, false, kMap0F, 0x10, n, 0, upper);
        else e_.encodeVex(0, false, false, kMap0F, 0x56, n % kSums, n % kSums, upper);
      }
      for (uint8_t n = 1; n < kSums; ++n) e_.encodeVex(0, false, false, kMap0F, 0x56, 0, 0, inRegister(n));
      e_.encodeVex(1, false, false, kMap0F38, 0x17, 0, 0, inRegister(0));  // VPTEST
      wide = e_.jumpIf(kNotEqual);
      zeroUpper();
    }
    moveVectors(false, false, below);
    if (wide_) {
      done = e_.jump();
      e_.land(wide);
      moveVectors(false, true, below);
      e_.land(done);
    }
  }
  void gprs(bool store, int32_t below) {
    for (unsigned g = 0; g < 13; ++g) e_.op64(store ? 0x89 : 0x8b, hostOf(g), core(static_cast<int32_t>(g) * 8, below));
  }
  void loadFlags(int32_t below) {
    e_.encode(0, kMap0F, 0xb7, kRax, core(at_.ax, below));
    e_.u8(0x04), e_.u8(0x7f);
    e_.u8(0x9e);
  }
  void leave() {
    e_.load64(kCoreReg, core(at_.hostStack, 0));
    e_.alu64(0, inRegister(4), 8);
    for (unsigned n = sizeof kCalleeSaved; n-- > 0;) {
      if (kCalleeSaved[n] >= 8) e_.u8(0x41);
      e_.u8(0x58u | (kCalleeSaved[n] & 7));
    }
    e_.u8(0xc3);
  }

 private:
  Operand vector(uint8_t n, int32_t offset, int32_t below) const {
    return core(at_.vectors + static_cast<int32_t>(sizeof(VectorRegister)) * n + offset, below);
  }
  void moveVectors(bool store, bool wide, int32_t below) {
    for (uint8_t n = 0; n < 16; ++n) {
      if (wide) e_.encodeVex(0, false, true, kMap0F, store ? 0x11 : 0x10, n, 0, vector(n, 0, below));
      else e_.encode(0, kMap0F, store ? 0x11 : 0x10, n, vector(n, 0, below));
    }
  }
  void zeroUpper() { e_.u8(0xc5), e_.u8(0xf8), e_.u8(0x77); }

  Emitter& e_;
  const CoreLayout& at_;
  const bool wide_;
};

}  // namespace

EnterFunction makeRoutines(CodeCache& cache, const CoreLayout& at, bool wide, const Callees& callees, Routines& routines) {
  Emitter e(cache.next(), cache.end());
  Writer w(e, at, wide);

  // enter(rdi: core, rsi: code)
  uint8_t* const enter = e.position();
  for (uint8_t reg : kCalleeSaved) {
    if (reg >= 8) e.u8(0x41);
    e.u8(0x50u | (reg & 7));
  }
  e.alu64(5, inRegister(4), 8);  // the stack pointer is aligned where translated code calls out
  e.store64(lodge::translator::at(kRdi, at.hostStack), kCoreReg);
  e.move64(kCoreReg, kRdi);
  e.store64(w.core(at.temporary, 0), kRsi);
  w.loadVectors(0);
  w.loadFlags(0);
  w.gprs(false, 0);
  e.encode(0, kMap1, 0xff, 4, w.core(at.temporary, 0));

  // The flags are in the host.
  routines.exitHost = e.position();
  e.move64(kR15, kRax);
  e.u8(0x9f);
  e.encode(0, kMap0F, 0x90, 0, inRegister(kRax));
  e.encode(k66, kMap1, 0x89, kRax, w.core(at.ax, 0));
  e.move64(kRax, kR15);
  routines.exitSaved = e.position();
  w.gprs(true, 0);
  w.storeVectors(0);
  w.leave();

  // R15D: site. Called, so the return address lies below the Core.
  routines.step = e.position();
  w.gprs(true, 8);
  w.storeVectors(8);
  e.lea64(kRdi, w.core(0, 8));
  e.op32(0x8b, kRsi, inRegister(kR15));
  e.move64(kRbx, kCoreReg);
  e.load64(kCoreReg, w.core(at.hostStack, 8));
  e.moveImm64(kRax, reinterpret_cast<uint64_t>(callees.step));
  e.encode(0, kMap1, 0xff, 2, inRegister(kRax));
  e.move64(kCoreReg, kRbx);
  e.op32(0x85, kRax, inRegister(kRax));
  uint8_t* const out = e.jumpIf(5);
  w.loadVectors(8);
  w.loadFlags(8);
  w.gprs(false, 8);
  e.u8(0xc3);
  e.land(out);
  e.alu64(0, inRegister(4), 8);
  e.alu32(7, inRegister(kRax), 1);
  uint8_t* const elsewhere = e.jumpIf(kNotEqual);
  w.leave();
  e.land(elsewhere);
  w.loadVectors(0);
  w.loadFlags(0);
  w.gprs(false, 0);
  e.encode(0, kMap1, 0xff, 4, w.core(at.temporary, 0));

  // Calls of functions that leave vector registers alone: only what C++ may clobber is saved.
  constexpr uint8_t kClobbered[] = {kRax, kRcx, kRdx, kRsi, kRdi, kR8, kR9, kR10, kR11};
  const auto call = [&](const void* function, int32_t below, auto arguments) {
    for (uint8_t g : kClobbered) e.store64(w.core(g * 8, below), g);
    e.lea64(kRdi, w.core(0, below));
    arguments();
    e.move64(kR15, kCoreReg);
    e.load64(kCoreReg, w.core(at.hostStack, below));
    e.moveImm64(kRax, reinterpret_cast<uint64_t>(function));
    e.encode(0, kMap1, 0xff, 2, inRegister(kRax));
    e.move64(kCoreReg, kR15);
    e.move64(kR15, kRax);
    e.op64(0x85, kRax, inRegister(kRax));
    for (uint8_t g : kClobbered) e.load64(g, w.core(g * 8, below));
  };
  // R14: linear address, R15D: access. Leaves ZF set when it was in vain.
  routines.refill = e.position();
  call(reinterpret_cast<const void*>(callees.refill), 8, [&] {
    e.move64(kRsi, 14);
    e.op32(0x8b, kRdx, inRegister(kR15));
  });
  e.u8(0xc3);
  routines.loadX87 = e.position();
  call(reinterpret_cast<const void*>(callees.loadX87), 8, [] {});
  e.u8(0xc3);
  // Jumped to, so the Core is where the stack pointer is.
  routines.lookup = e.position();
  call(reinterpret_cast<const void*>(callees.lookup), 0, [] {});
  e.jumpIfTo(4, routines.exitSaved);
  e.encode(0, kMap1, 0xff, 4, inRegister(kR15));

  cache.take(static_cast<size_t>(e.position() - cache.next()));
  cache.keep();
  return reinterpret_cast<EnterFunction>(reinterpret_cast<uintptr_t>(cache.executable(enter)));
}

}  // namespace lodge::translator
