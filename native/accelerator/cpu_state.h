// Conversions and checks of a vCPU's architectural state at the edge of the engine, where it may come from a saved machine.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "x86/state.h"

namespace lodge {

constexpr uint32_t kMsrTsc = 0x10, kMsrApicBase = 0x1b, kMsrTscDeadline = 0x6e0;

/** What a snapshot has beyond those and State's own fields, where the core has it: SDM vol. 4 table 2-2, AMD APM vol. 2 appendix A. */
constexpr uint32_t kSavedMsrs[] = {
    0x3b, 0x174, 0x175, 0x176, 0x1a0, 0x200, 0x201, 0x202, 0x203, 0x204, 0x205, 0x206, 0x207, 0x208, 0x209, 0x20a, 0x20b,
    0x20c, 0x20d, 0x20e, 0x20f, 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f, 0x277, 0x2ff,
    0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102, 0xc0000103,
};

using FxsaveImage = std::array<uint8_t, 512>;

/** FXSAVE64 layout (SDM vol. 2, FXSAVE): x87 registers in stack order, tags in physical order. */
FxsaveImage packFxsave(const x86::State& state);
/** The upper halves of YMM registers stay. False when the image could not have come from FXSAVE64 (reserved MXCSR bits). */
bool unpackFxsave(const FxsaveImage& image, x86::State& state);

/** Empty, or the sentence that says why no processor can be in this state (SDM vol. 3 §27.3.1 has the rules). */
std::string impossible(const x86::State& state);

}  // namespace lodge
