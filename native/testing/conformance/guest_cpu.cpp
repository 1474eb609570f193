#include "testing/conformance/guest_cpu.h"

#include <cstring>

#include "x86/fp/host_fp.h"

namespace lodge::x86::conformance {
namespace {

using namespace x86::testing;

/** The kernel's half of the address space holds all that the processor itself looks at. */
constexpr uint64_t kHigh = 0xffffffff80000000;
constexpr Gpa kDataGpa = 0x100000, kCodeGpa = 0x110000, kStubs = 0x11000;
constexpr uint64_t kStack = kHigh + 0x1f000;

template <class T>
T get(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
template <class T>
void put(uint8_t* at, T value) { std::memcpy(at, &value, sizeof value); }

void toState(const Image& image, State& s) {
  const uint8_t* const fx = image.xsave;
  s.x87.control = get<uint16_t>(fx);
  s.x87.status = get<uint16_t>(fx + 2);
  s.x87.tagValid = fx[4];
  s.mxcsr = get<uint32_t>(fx + 24);
  const unsigned top = s.x87.status >> 11 & 7;
  for (unsigned i = 0; i < 8; ++i) std::memcpy(s.x87.r[(top + i) & 7].bytes, fx + 32 + 16 * i, 10);
  for (unsigned i = 0; i < 16; ++i) {
    std::memcpy(s.vec[i].bytes, fx + 160 + 16 * i, 16);
    std::memcpy(s.vec[i].bytes + 16, fx + 576 + 16 * i, 16);
  }
  std::memcpy(s.gpr, image.gpr, sizeof s.gpr);
  s.rflags = image.flags;
}
void fromState(const State& s, Image& image) {
  uint8_t* const fx = image.xsave;
  put(fx, s.x87.control);
  put(fx + 2, s.x87.status);
  fx[4] = s.x87.tagValid;
  put(fx + 24, s.mxcsr);
  const unsigned top = s.x87.status >> 11 & 7;
  for (unsigned i = 0; i < 8; ++i) std::memcpy(fx + 32 + 16 * i, s.x87.r[(top + i) & 7].bytes, 10);
  for (unsigned i = 0; i < 16; ++i) {
    std::memcpy(fx + 160 + 16 * i, s.vec[i].bytes, 16);
    std::memcpy(fx + 576 + 16 * i, s.vec[i].bytes + 16, 16);
  }
  std::memcpy(image.gpr, s.gpr, sizeof s.gpr);
  image.flags = s.rflags;
}

constexpr bool hasError(int vector) {
  return vector == kDF || (vector >= kTS && vector <= kPF) || vector == kAC;
}

}  // namespace

GuestCpu::GuestCpu(CpuFactory factory, const CpuModel* model) : guest_(kRamBytes, std::move(factory), model) {
  Guest& g = guest_;
  g.enter64(kCodePage, 3);
  for (uint64_t p = 0; p < 0x80000; p += 4096) {
    g.mapPage(kHigh + p, p, 3);
    g.mapPage(p, 0, 0);
  }
  for (unsigned p = 0; p < 2; ++p) g.mapPage(kDataAt + p * 4096, kDataGpa + p * 4096, 7);
  g.mapPage(kDataAt + kWritableBytes, kDataGpa + kWritableBytes, 5);
  g.mapPage(kCodePage, kCodeGpa, 7);
  g.put<uint64_t>(kGdt + 0x18, Guest::descriptor(0, 0xfffff, 0x93, 0xc));
  g.put<uint64_t>(kGdt + 0x20, Guest::descriptor(0, 0xfffff, 0xfb, 0xc));
  g.put<uint64_t>(kGdt + 0x28, Guest::descriptor(0, 0xfffff, 0xf3, 0xc));
  g.put<uint64_t>(kGdt + 0x30, Guest::descriptor(0, 0xfffff, 0xfb, 0xa));
  for (unsigned v = 0; v < 32; ++v) {
    g.gate(v, kHigh + kStubs + v, 0xe, v == kBP || v == kOF ? 3 : 0);
    g.put<uint8_t>(kStubs + v, 0xf4);
  }
  g.put<uint64_t>(kTss + 4, kStack);
  g.put<uint16_t>(kTss + 0x66, 0x8000);
  State& s = g.state();
  s.gdtr.base = kHigh + kGdt;
  s.idtr.base = kHigh + kIdt;
  s.seg[kTr] = {kHigh + kTss, 0x67, 0x40, 0x8b};
  for (Seg seg : {kSs, kDs, kEs, kGs}) s.seg[seg] = g.flat(kUserData, 0xc0f3);
  s.seg[kFs] = s.seg[kLdtr] = SegmentRegister{};
  s.seg[kCs] = g.flat(kUserCode64, 0xa0fb);
  s.cr4 |= 1u << 18 | 1u << 16 | 1u << 11;  // OSXSAVE, FSGSBASE, UMIP
  s.cr0 |= 1u << 18;                        // AM
  s.xcr0 = 7;
  base_[0] = base_[1] = s;
  base_[1].seg[kCs] = g.flat(kUserCode32, 0xc0fb);
  data_ = g.at(kDataGpa);
}

void GuestCpu::run(const Case& c, Result& out) {
  Guest& g = guest_;
  uint8_t code[kCaseBytes + kTakenDistance + 1];
  std::memset(code, 0xf4, sizeof code);
  std::memcpy(code, c.bytes, c.length);
  g.memory.write(kCodeGpa + (c.at - kCodePage), code, c.length + kTakenDistance + 1u);
  State& s = g.state();
  s = base_[c.size == CodeSize::k32];
  toState(c.before, s);
  s.rip = c.at;
  s.activity = Activity::Runnable;
  g.cpu->stateChanged();
  const RunExit exit = g.run();
  const uint64_t handler = s.rip - 1 - kHigh - kStubs;
  out.lost = exit != RunExit::Halted || handler >= 32;
  if (out.lost) return;
  out.vector = static_cast<int>(handler);
  uint64_t frame[6] = {};
  const unsigned words = hasError(out.vector) ? 6 : 5;
  g.memory.read(s.gpr[kRsp] - kHigh, frame + (6 - words), 8 * words);
  out.error = static_cast<uint32_t>(frame[0]);
  out.address = out.vector == kPF ? s.cr2 : 0;
  State saved = s;
  saved.rflags = frame[3];
  saved.gpr[kRsp] = frame[4];
  out.after = c.before;
  fromState(saved, out.after);
  const uint64_t end = c.at + c.length;
  out.rip = frame[1] - c.at;
  if (out.vector == kGP && (frame[1] == end || frame[1] == end + kTakenDistance) && out.error == 0) {
    // The HLT behind it.
    out.vector = -1;
    out.rip = frame[1] - end;
  }
}

}  // namespace lodge::x86::conformance
