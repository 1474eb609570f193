#include <napi.h>
static Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("abiVersion", 1);
  return exports;
}
NODE_API_MODULE(lodge, init)
