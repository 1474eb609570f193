#include "addon/cpu_state.h"

#include <cstring>

#include "accelerator/cpu_state.h"
#include "addon/arguments.h"

namespace lodge::addon {
namespace {

using x86::State;

constexpr const char* kSegmentNames[x86::kSegCount] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};
constexpr const char* kActivityNames[] = {"runnable", "halted", "waitForSipi"};

struct Field {
  const char* name;
  uint64_t State::*member;
};
constexpr Field kFields[] = {{"rip", &State::rip}, {"rflags", &State::rflags}, {"cr0", &State::cr0},   {"cr2", &State::cr2},
                             {"cr3", &State::cr3}, {"cr4", &State::cr4},       {"cr8", &State::cr8},   {"efer", &State::efer}, {"xcr0", &State::xcr0}};
/** dr0–dr3, dr6, dr7 */
constexpr unsigned kDebugRegisters[] = {0, 1, 2, 3, 6, 7};

Napi::Object table(Napi::Env env, const x86::DescriptorTable& from) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("base", Napi::BigInt::New(env, from.base));
  out.Set("limit", Napi::Number::New(env, from.limit));
  return out;
}

x86::DescriptorTable table(Napi::Object state, const char* name) {
  const Napi::Object from = object(state.Get(name), name);
  return {bigint(from.Get("base"), "base"), static_cast<uint16_t>(integer(from.Get("limit"), "limit", 0xffff))};
}

Napi::Array array(Napi::Object state, const char* name, uint32_t length) {
  const Napi::Value value = state.Get(name);
  if (!value.IsArray() || value.As<Napi::Array>().Length() != length) {
    fail(state.Env(), std::string(name) + " must be an array of " + std::to_string(length) + " bigints.");
  }
  return value.As<Napi::Array>();
}

}  // namespace

Napi::Object toJs(Napi::Env env, const CpuSnapshot& snapshot) {
  const State& state = snapshot.state;
  Napi::Object out = Napi::Object::New(env);
  for (const Field& field : kFields) out.Set(field.name, Napi::BigInt::New(env, state.*field.member));

  Napi::Array gpr = Napi::Array::New(env, 16);
  for (uint32_t i = 0; i < 16; ++i) gpr.Set(i, Napi::BigInt::New(env, state.gpr[i]));
  out.Set("gpr", gpr);

  Napi::Object segments = Napi::Object::New(env);
  for (unsigned i = 0; i < x86::kSegCount; ++i) {
    const x86::SegmentRegister& from = state.seg[i];
    Napi::Object segment = Napi::Object::New(env);
    segment.Set("selector", Napi::Number::New(env, from.selector));
    segment.Set("base", Napi::BigInt::New(env, from.base));
    segment.Set("limit", Napi::Number::New(env, from.limit));
    segment.Set("attributes", Napi::Number::New(env, from.attributes));
    segments.Set(kSegmentNames[i], segment);
  }
  out.Set("segments", segments);
  out.Set("gdtr", table(env, state.gdtr));
  out.Set("idtr", table(env, state.idtr));

  Napi::Array dr = Napi::Array::New(env, std::size(kDebugRegisters));
  for (uint32_t i = 0; i < std::size(kDebugRegisters); ++i) dr.Set(i, Napi::BigInt::New(env, state.dr[kDebugRegisters[i]]));
  out.Set("dr", dr);

  const FxsaveImage image = packFxsave(state);
  Napi::Uint8Array fxsave = Napi::Uint8Array::New(env, image.size());
  std::memcpy(fxsave.Data(), image.data(), image.size());
  out.Set("fxsave", fxsave);

  constexpr size_t kHalf = 16;
  Napi::Uint8Array high = Napi::Uint8Array::New(env, 16 * kHalf);
  for (size_t i = 0; i < 16; ++i) std::memcpy(high.Data() + kHalf * i, state.vec[i].bytes + kHalf, kHalf);
  out.Set("ymmHigh", high);

  Napi::Object msrs = Napi::Object::New(env);
  for (const auto& [msr, value] : snapshot.msrs) msrs.Set(std::to_string(msr), Napi::BigInt::New(env, value));
  out.Set("msrs", msrs);
  out.Set("activity", kActivityNames[static_cast<unsigned>(state.activity)]);
  return out;
}

CpuSnapshot fromJs(Napi::Value value) {
  const Napi::Object from = object(value, "state");
  const Napi::Env env = from.Env();
  CpuSnapshot out{};
  State& state = out.state;
  for (const Field& field : kFields) state.*field.member = bigint(from.Get(field.name), field.name);

  const Napi::Array gpr = array(from, "gpr", 16);
  for (uint32_t i = 0; i < 16; ++i) state.gpr[i] = bigint(gpr.Get(i), "gpr");

  const Napi::Object segments = object(from.Get("segments"), "segments");
  for (unsigned i = 0; i < x86::kSegCount; ++i) {
    const Napi::Object segment = object(segments.Get(kSegmentNames[i]), kSegmentNames[i]);
    state.seg[i].selector = static_cast<uint16_t>(integer(segment.Get("selector"), "selector", 0xffff));
    state.seg[i].base = bigint(segment.Get("base"), "base");
    state.seg[i].limit = static_cast<uint32_t>(integer(segment.Get("limit"), "limit", 0xffffffff));
    state.seg[i].attributes = static_cast<uint16_t>(integer(segment.Get("attributes"), "attributes", 0xffff));
  }
  state.gdtr = table(from, "gdtr");
  state.idtr = table(from, "idtr");

  const Napi::Array dr = array(from, "dr", std::size(kDebugRegisters));
  for (uint32_t i = 0; i < std::size(kDebugRegisters); ++i) state.dr[kDebugRegisters[i]] = bigint(dr.Get(i), "dr");

  const Bytes fxsave = bytes(from.Get("fxsave"), "fxsave");
  FxsaveImage image;
  if (fxsave.size != image.size()) fail(env, "fxsave must have 512 bytes.");
  std::memcpy(image.data(), fxsave.data, image.size());
  if (!unpackFxsave(image, state)) fail(env, "fxsave has reserved MXCSR bits set.");

  const Bytes high = bytes(from.Get("ymmHigh"), "ymmHigh");
  if (high.size != 256) fail(env, "ymmHigh must have 256 bytes.");
  for (size_t i = 0; i < 16; ++i) std::memcpy(state.vec[i].bytes + 16, static_cast<const uint8_t*>(high.data) + 16 * i, 16);

  const Napi::Object msrs = object(from.Get("msrs"), "msrs");
  const Napi::Array names = msrs.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = names.Get(i).ToString().Utf8Value();
    const bool decimal = !name.empty() && name.size() <= 10 && name.find_first_not_of("0123456789") == std::string::npos;
    const uint64_t index = decimal ? std::stoull(name) : ~0ull;
    if (index > 0xffffffff) fail(env, "msrs has a name that is not an MSR number: " + name);
    out.msrs.emplace_back(static_cast<uint32_t>(index), bigint(msrs.Get(name), "An MSR"));
  }

  const std::string activity = text(from.Get("activity"), "activity");
  for (unsigned i = 0; i < std::size(kActivityNames); ++i) {
    if (activity != kActivityNames[i]) continue;
    state.activity = static_cast<x86::Activity>(i);
    return out;
  }
  fail(env, "activity must be 'runnable', 'halted' or 'waitForSipi'.");
}

}  // namespace lodge::addon
