// Reading JavaScript values with a clear error for each that is wrong. Only addon/ includes napi.h.
#pragma once

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <string>

namespace lodge::addon {

constexpr double kMaxSafe = 9007199254740991.0;

[[noreturn]] inline void fail(Napi::Env env, const std::string& message) { throw Napi::TypeError::New(env, message); }

/** An integer in [0, max]. */
inline uint64_t integer(Napi::Value value, const char* name, double max = kMaxSafe) {
  if (!value.IsNumber()) fail(value.Env(), std::string(name) + " must be a number.");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= max) || std::floor(number) != number) {
    fail(value.Env(), std::string(name) + " must be a whole number from 0 to " + std::to_string(static_cast<uint64_t>(max)) + ".");
  }
  return static_cast<uint64_t>(number);
}

/** A guest-physical address from a guest: whatever is not one comes back as ~0, which nothing backs. */
inline uint64_t guestAddress(Napi::Value value) {
  if (!value.IsNumber()) fail(value.Env(), "A guest-physical address must be a number.");
  const double number = value.As<Napi::Number>().DoubleValue();
  return number >= 0 && number <= kMaxSafe && std::floor(number) == number ? static_cast<uint64_t>(number) : ~0ull;
}

inline bool boolean(Napi::Value value, const char* name) {
  if (!value.IsBoolean()) fail(value.Env(), std::string(name) + " must be true or false.");
  return value.As<Napi::Boolean>().Value();
}

inline std::string text(Napi::Value value, const char* name) {
  if (!value.IsString()) fail(value.Env(), std::string(name) + " must be a string.");
  return value.As<Napi::String>().Utf8Value();
}

inline Napi::Object object(Napi::Value value, const char* name) {
  if (!value.IsObject()) fail(value.Env(), std::string(name) + " must be an object.");
  return value.As<Napi::Object>();
}

struct Bytes {
  uint8_t* data;
  size_t size;
};

inline Bytes bytes(Napi::Value value, const char* name) {
  if (value.IsTypedArray()) {
    napi_typedarray_type type;
    void* data;
    size_t length;
    napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr);
    if (type == napi_uint8_array || type == napi_uint8_clamped_array) return {static_cast<uint8_t*>(data), length};
  }
  fail(value.Env(), std::string(name) + " must be a Uint8Array.");
}

inline uint64_t bigint(Napi::Value value, const char* name) {
  if (value.IsBigInt()) {
    bool lossless = false;
    const uint64_t number = value.As<Napi::BigInt>().Uint64Value(&lossless);
    if (lossless) return number;
  }
  fail(value.Env(), std::string(name) + " must be a bigint of 64 bits, not negative.");
}

}  // namespace lodge::addon
