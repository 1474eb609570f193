// CpuState of types.ts ↔ CpuSnapshot.
#pragma once

#include <napi.h>

#include "accelerator/accelerator.h"

namespace lodge::addon {

Napi::Object toJs(Napi::Env env, const CpuSnapshot& snapshot);
/** Throws a TypeError that names the field. */
CpuSnapshot fromJs(Napi::Value value);

}  // namespace lodge::addon
