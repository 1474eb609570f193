#include "accelerator/cpu_state.h"

#include <cstring>

namespace lodge {
namespace {

constexpr uint32_t kMxcsrMask = 0xffff;

template <class T>
void put(FxsaveImage& image, size_t at, T value) {
  std::memcpy(image.data() + at, &value, sizeof value);
}
template <class T>
T get(const FxsaveImage& image, size_t at) {
  T value;
  std::memcpy(&value, image.data() + at, sizeof value);
  return value;
}

bool canonical(uint64_t address) { return static_cast<uint64_t>(static_cast<int64_t>(address << 16) >> 16) == address; }

}  // namespace

FxsaveImage packFxsave(const x86::State& state) {
  FxsaveImage image{};
  const x86::X87State& x87 = state.x87;
  put<uint16_t>(image, 0, x87.control);
  put<uint16_t>(image, 2, x87.status);
  put<uint8_t>(image, 4, x87.tagValid);
  put<uint16_t>(image, 6, x87.opcode);
  put<uint64_t>(image, 8, x87.instructionPointer);
  put<uint64_t>(image, 16, x87.dataPointer);
  put<uint32_t>(image, 24, state.mxcsr);
  put<uint32_t>(image, 28, kMxcsrMask);
  const unsigned top = x87.status >> 11 & 7;
  for (unsigned i = 0; i < 8; ++i) std::memcpy(&image[32 + i * 16], x87.r[(top + i) & 7].bytes, 10);
  for (unsigned i = 0; i < 16; ++i) std::memcpy(&image[160 + i * 16], state.vec[i].bytes, 16);
  return image;
}

bool unpackFxsave(const FxsaveImage& image, x86::State& state) {
  const uint32_t mxcsr = get<uint32_t>(image, 24);
  if (mxcsr & ~kMxcsrMask) return false;
  x86::X87State& x87 = state.x87;
  x87.control = get<uint16_t>(image, 0);
  x87.status = get<uint16_t>(image, 2);
  x87.tagValid = get<uint8_t>(image, 4);
  x87.opcode = get<uint16_t>(image, 6) & 0x7ff;
  x87.instructionPointer = get<uint64_t>(image, 8);
  x87.dataPointer = get<uint64_t>(image, 16);
  state.mxcsr = mxcsr;
  const unsigned top = x87.status >> 11 & 7;
  for (unsigned i = 0; i < 8; ++i) {
    x86::X87Register& r = x87.r[(top + i) & 7];
    std::memset(r.bytes, 0, sizeof r.bytes);
    std::memcpy(r.bytes, &image[32 + i * 16], 10);
  }
  for (unsigned i = 0; i < 16; ++i) {
    std::memcpy(state.vec[i].bytes, &image[160 + i * 16], 16);
  }
  return true;
}

std::string impossible(const x86::State& state) {
  constexpr uint64_t cr0Defined = 0xe005003f;
  constexpr uint64_t pe = 1, nw = 1u << 29, cd = 1u << 30, pg = 1u << 31, pae = 1u << 5;
  constexpr uint64_t sce = 1, lme = 1u << 8, lma = 1u << 10, nxe = 1u << 11, svme = 1u << 12, ffxsr = 1u << 14;
  if (state.cr0 & ~cr0Defined) return "CR0 has reserved bits set.";
  if (state.cr0 & pg && !(state.cr0 & pe)) return "CR0 has paging without protection.";
  if (state.cr0 & nw && !(state.cr0 & cd)) return "CR0 has NW without CD.";
  if (state.cr4 >> 32) return "CR4 has reserved bits set.";
  if ((state.xcr0 & ~7ull) || !(state.xcr0 & 1) || (state.xcr0 & 6) == 4) return "XCR0 has a combination of bits that no processor takes.";
  if (state.cr8 > 15) return "CR8 is larger than 15.";
  if (state.efer & ~(sce | lme | lma | nxe | svme | ffxsr)) return "EFER has reserved bits set.";
  const bool longMode = state.efer & lma;
  if (longMode != ((state.efer & lme) && (state.cr0 & pg))) return "EFER.LMA does not agree with EFER.LME and CR0.PG.";
  if (longMode && !(state.cr4 & pae)) return "Long mode without CR4.PAE.";
  if (!(state.rflags & 2) || state.rflags & ~0x3f7fd7ull) return "RFLAGS has reserved bits wrong.";
  if (!canonical(state.rip)) return "RIP is not canonical.";
  if (!longMode && state.rip >> 32) return "RIP is above 4 GiB outside long mode.";
  for (unsigned i : {x86::kFs, x86::kGs, x86::kTr, x86::kLdtr}) {
    if (!canonical(state.seg[i].base)) return "A segment base is not canonical.";
  }
  if (!canonical(state.gdtr.base) || !canonical(state.idtr.base)) return "A descriptor table base is not canonical.";
  if (state.dr[6] >> 32 || state.dr[7] >> 32) return "DR6 or DR7 has its upper half set.";
  return {};
}

}  // namespace lodge
