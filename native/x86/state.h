// Architectural state of one x86-64 logical processor (Intel SDM vol. 1 ch. 3, vol. 3 ch. 2). Plain data, no behaviour.
#pragma once

#include <cstdint>

namespace lodge::x86 {

enum Gpr : uint8_t { kRax, kRcx, kRdx, kRbx, kRsp, kRbp, kRsi, kRdi, kR8, kR9, kR10, kR11, kR12, kR13, kR14, kR15 };
enum Seg : uint8_t { kEs, kCs, kSs, kDs, kFs, kGs, kLdtr, kTr, kSegCount };

/** RFLAGS bits. */
enum Flag : uint32_t {
  kCf = 1u << 0, kPf = 1u << 2, kAf = 1u << 4, kZf = 1u << 6, kSf = 1u << 7, kTf = 1u << 8, kIf = 1u << 9, kDf = 1u << 10,
  kOf = 1u << 11, kIopl = 3u << 12, kNt = 1u << 14, kRf = 1u << 16, kVm = 1u << 17, kAc = 1u << 18, kVif = 1u << 19,
  kVip = 1u << 20, kId = 1u << 21,
  kArith = kCf | kPf | kAf | kZf | kSf | kOf,
};

enum Vector : uint8_t { kDE = 0, kDB = 1, kNMI = 2, kBP = 3, kOF = 4, kBR = 5, kUD = 6, kNM = 7, kDF = 8, kTS = 10, kNP = 11,
  kSS = 12, kGP = 13, kPF = 14, kMF = 16, kAC = 17, kMC = 18, kXM = 19 };

struct SegmentRegister {
  uint64_t base = 0;
  uint32_t limit = 0;        ///< in bytes, granularity already applied
  uint16_t selector = 0;
  uint16_t attributes = 0;   ///< descriptor bits 40–55: type(4) S DPL(2) P limit-hi(4, ignored) AVL L D/B G
};

struct DescriptorTable { uint64_t base = 0; uint16_t limit = 0; };

/** One vector register, room for YMM. */
struct alignas(32) VectorRegister { uint8_t bytes[32]; };

/** x87: 80-bit values in *physical* register order (R0–R7); MMX registers alias the low 8 bytes. */
struct alignas(16) X87Register { uint8_t bytes[16]; };
struct X87State {
  X87Register r[8];
  uint16_t control = 0x037f;
  uint16_t status = 0;       ///< TOP in bits 11–13
  uint8_t tagValid = 0;      ///< FXSAVE's abridged tag: bit n set when physical register n is not empty
  uint16_t opcode = 0;
  uint16_t codeSelector = 0, dataSelector = 0;
  uint64_t instructionPointer = 0, dataPointer = 0;
  uint16_t lastStatus = 0;   ///< inside a HostFpScope only: see there
};

/** SDM vol. 3 §24.4.2 calls it the activity state. Shutdown is RunExit::TripleFault instead. */
enum class Activity : uint8_t { Runnable, Halted /**< rip is past the HLT */, WaitForSipi };

/** The interpreter's decoded instructions address registers by their distance from here: gpr comes first. */
struct State {
  uint64_t gpr[16];
  uint64_t rip;
  uint64_t rflags;           ///< interpreter may keep the arithmetic flags lazily elsewhere; whole here when parked
  SegmentRegister seg[kSegCount];
  DescriptorTable gdtr, idtr;
  uint64_t cr0, cr2, cr3, cr4, cr8, xcr0;
  uint64_t dr[8];
  uint64_t efer, star, lstar, cstar, sfmask, kernelGsBase, tscAux, pat, sysenterCs, sysenterEsp, sysenterEip, apicBase, miscEnable;
  X87State x87;
  uint32_t mxcsr = 0x1f80;
  VectorRegister vec[16];
  Activity activity = Activity::Runnable;
};

}  // namespace lodge::x86
