// Conversions and checks of a vCPU's architectural state at the edge of the engine, where it may come from a saved machine.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "x86/state.h"

namespace lodge {

using FxsaveImage = std::array<uint8_t, 512>;

/** FXSAVE64 layout (SDM vol. 2, FXSAVE): x87 registers in stack order, tags in physical order. */
FxsaveImage packFxsave(const x86::State& state);
/** False when the image could not have come from FXSAVE64 (reserved MXCSR bits). */
bool unpackFxsave(const FxsaveImage& image, x86::State& state);

/** Empty, or the sentence that says why no processor can be in this state (SDM vol. 3 §27.3.1 has the rules). */
std::string impossible(const x86::State& state);

}  // namespace lodge
