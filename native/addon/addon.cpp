// lodge.node: see types.ts for what it offers.
#include <cpuid.h>
#include <napi.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>

#include "addon/arguments.h"
#include "addon/machine_object.h"
#include "x86/disassembler.h"

namespace lodge::addon {
namespace {

constexpr unsigned kAbiVersion = 8;

std::string cpuVendor() {
  unsigned a = 0, words[3] = {};
  __get_cpuid(0, &a, &words[0], &words[2], &words[1]);
  return std::string(reinterpret_cast<const char*>(words), sizeof words);
}

std::string cpuModel() {
  unsigned words[12] = {}, highest = 0, b, c, d;
  __get_cpuid(0x80000000, &highest, &b, &c, &d);
  if (highest < 0x80000004) return cpuVendor();
  for (unsigned i = 0; i < 3; ++i) {
    __get_cpuid(0x80000002 + i, &words[i * 4], &words[i * 4 + 1], &words[i * 4 + 2], &words[i * 4 + 3]);
  }
  std::string name(reinterpret_cast<const char*>(words), strnlen(reinterpret_cast<const char*>(words), sizeof words));
  name.erase(0, name.find_first_not_of(' '));
  name.erase(name.find_last_not_of(' ') + 1);
  return name;
}

/** A field of /proc/meminfo in bytes, 0 when it is not there. */
uint64_t meminfo(const std::string& wanted) {
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  uint64_t kibibytes;
  while (file >> name >> kibibytes) {
    std::getline(file, unit);
    if (name == wanted + ":") return kibibytes * 1024;
  }
  return 0;
}

Napi::Value hostInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object out = Napi::Object::New(env);
  out.Set("cpuModel", cpuModel());
  out.Set("cpuVendor", cpuVendor());
  out.Set("logicalCpus", Napi::Number::New(env, static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN))));
  out.Set("memoryBytes", Napi::Number::New(env, static_cast<double>(meminfo("MemTotal"))));
  out.Set("availableBytes", Napi::Number::New(env, static_cast<double>(meminfo("MemAvailable"))));
  return out;
}

Napi::Value probeAccelerators(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array out = Napi::Array::New(env);
  uint32_t index = 0;
  for (const Accelerator* accelerator : accelerators()) {
    const Probe probe = accelerator->probe();
    Napi::Array tiers = Napi::Array::New(env);
    for (uint32_t i = 0; i < probe.tiers.size(); ++i) tiers.Set(i, probe.tiers[i]);
    Napi::Object item = Napi::Object::New(env);
    item.Set("kind", accelerator->kind());
    item.Set("available", probe.available);
    item.Set("onlyByName", probe.onlyByName);
    item.Set("reason", probe.reason);
    item.Set("tiers", tiers);
    out.Set(index++, item);
  }
  return out;
}

/** disassemble(code, bits, address): [{length, text}] */
Napi::Value disassemble(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Bytes code = bytes(info[0], "code");
  const uint64_t bits = integer(info[1], "bits");
  if (bits != 16 && bits != 32 && bits != 64) fail(env, "bits must be 16, 32 or 64.");
  const x86::CodeSize size = bits == 16 ? x86::CodeSize::k16 : bits == 32 ? x86::CodeSize::k32 : x86::CodeSize::k64;
  Napi::Array out = Napi::Array::New(env);
  uint32_t index = 0;
  for (const x86::DisassembledLine& line : x86::disassemble(code.data, code.size, size, bigint(info[2], "address"))) {
    Napi::Object item = Napi::Object::New(env);
    item.Set("length", Napi::Number::New(env, line.length));
    item.Set("text", line.text);
    out.Set(index++, item);
  }
  return out;
}

struct PerEnvironment {
  Napi::FunctionReference machineClass;
};

Napi::Value createMachine(const Napi::CallbackInfo& info) {
  return info.Env().GetInstanceData<PerEnvironment>()->machineClass.New({info[0]});
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* const data = new PerEnvironment;
  data->machineClass = Napi::Persistent(MachineObject::define(env));
  env.SetInstanceData(data);
  exports.Set("abiVersion", Napi::Number::New(env, kAbiVersion));
  exports.Set("hostInfo", Napi::Function::New<hostInfo>(env, "hostInfo"));
  exports.Set("probeAccelerators", Napi::Function::New<probeAccelerators>(env, "probeAccelerators"));
  exports.Set("disassemble", Napi::Function::New<disassemble>(env, "disassemble"));
  exports.Set("createMachine", Napi::Function::New<createMachine>(env, "createMachine"));
  return exports;
}

}  // namespace
}  // namespace lodge::addon

static Napi::Object initAddon(Napi::Env env, Napi::Object exports) { return lodge::addon::init(env, exports); }
NODE_API_MODULE(lodge, initAddon)
