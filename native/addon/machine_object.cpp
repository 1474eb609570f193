#include "addon/machine_object.h"

#include <atomic>
#include <cstring>

#include "accelerator/clock.h"
#include "addon/arguments.h"
#include "addon/cpu_state.h"
#include "addon/file_worker.h"
#include "io/pixels.h"
#include "x86/trace.h"

namespace lodge::addon {
namespace {

void check(Napi::Env env, const Error& error) {
  if (!error.empty()) throw Napi::Error::New(env, error);
}

constexpr const char* kDebugCauses[] = {"breakpoint", "watchpoint", "step"};
/** Each access to a watched page is slow: more is not a watchpoint. */
constexpr uint32_t kMaxWatchBytes = 1 << 16;
/** By ExitKind - 1. */
constexpr const char* kExitNames[] = {"portIn", "portOut", "mmioRead", "mmioWrite"};
constexpr const char* kGoNames[] = {"run", "step", "hold"};

const Accelerator* findAccelerator(const std::string& kind) {
  for (const Accelerator* accelerator : accelerators()) {
    if (kind == accelerator->kind()) return accelerator;
  }
  return nullptr;
}

}  // namespace

Napi::Function MachineObject::define(Napi::Env env) {
#define METHOD(name) InstanceMethod<&MachineObject::name>(#name)
  return DefineClass(env, "NativeMachine",
                     {METHOD(addRegion),   METHOD(mapRegion),    METHOD(unmap),          METHOD(memRead),     METHOD(memWrite),
                      METHOD(memReadU16),  METHOD(memReadU32),   METHOD(memReadU64),     METHOD(memWriteU16), METHOD(memWriteU32),
                      METHOD(memFill),     METHOD(regionRead),   METHOD(regionWrite),    METHOD(takeDirty),   METHOD(convertPixels),
                      METHOD(fileRead),    METHOD(fileWrite),    METHOD(fileZero),       METHOD(setIrq),         METHOD(sendMsi),     METHOD(nmi),
                      METHOD(addDoorbell), METHOD(removeDoorbell), METHOD(addQuickPort), METHOD(removeQuickPort), METHOD(start),        METHOD(pause),       METHOD(resume),
                      METHOD(reset),       METHOD(destroy),      METHOD(getCpuState),    METHOD(setCpuState), METHOD(serve),
                      METHOD(takeEvents),  METHOD(stats),        METHOD(setDebugPoints), METHOD(setCpuCap),
                      METHOD(setCpuQuota),
                      METHOD(startSampling), METHOD(stopSampling), METHOD(takeSamples)});
#undef METHOD
}

MachineObject::MachineObject(Info info) : Napi::ObjectWrap<MachineObject>(info) {
  const Napi::Env env = info.Env();
  const Napi::Object options = object(info[0], "options");
  const std::string kind = text(options.Get("accelerator"), "accelerator");
  const Accelerator* const accelerator = findAccelerator(kind);
  if (accelerator == nullptr) fail(env, "There is no accelerator called " + kind + ".");
  const std::string tier = text(options.Get("tier"), "tier");
  cpus_ = static_cast<unsigned>(integer(options.Get("cpus"), "cpus", kMaxCpus));

  const Napi::Value buffer = options.Get("exitBuffer");
  if (!buffer.IsArrayBuffer()) fail(env, "exitBuffer must be an ArrayBuffer.");
  Napi::ArrayBuffer records = buffer.As<Napi::ArrayBuffer>();
  if (cpus_ == 0 || records.ByteLength() < static_cast<size_t>(cpus_) * exit_record::kStride) {
    fail(env, "exitBuffer must have " + std::to_string(exit_record::kStride) + " bytes a processor, and there must be one.");
  }
  const Napi::Value onWake = options.Get("onWake");
  if (!onWake.IsFunction()) fail(env, "onWake must be a function.");

  MachineConfig config;
  config.cpus = cpus_;
  if (const Napi::Value model = options.Get("cpuModel"); !model.IsUndefined()) {
    const std::string name = text(model, "cpuModel");
    config.cpuModel = x86::findCpuModel(name);
    if (config.cpuModel == nullptr) fail(env, "There is no processor model called " + name + ".");
  }
  if (const Napi::Value cache = options.Get("codeCacheMiB"); !cache.IsUndefined())
    config.codeCacheBytes = size_t{integer(cache, "codeCacheMiB", 65536)} << 20;
  if (const Napi::Value value = options.Get("trace"); !value.IsUndefined()) {
    const Napi::Object trace = object(value, "trace");
    config.tracePath = text(trace.Get("path"), "trace.path");
    config.traceInstructions = integer(trace.Get("last"), "trace.last", x86::kMaxTraceInstructions);
    if (config.tracePath.empty() || config.traceInstructions == 0) fail(env, "A trace needs a path, and one instruction at least.");
  }
  config.exitRecords = static_cast<uint8_t*>(records.Data());
  config.wake = [this] { wake_.NonBlockingCall(); };
  Error error;
  machine_ = accelerator->create(config, tier, error);
  check(env, error);

  exitBuffer_ = Napi::Persistent(records);
  wake_ = Napi::ThreadSafeFunction::New(env, onWake.As<Napi::Function>(), "lodge wake", 0, 1);
  wake_.Unref(env);  // a machine that was never started does not keep the program alive
  // Registered after the wake function, so that it runs before that one's own: no thread calls it any more then.
  napi_add_env_cleanup_hook(env, onEnvironmentEnds, this);
}

MachineObject::~MachineObject() { end(); }

void MachineObject::onEnvironmentEnds(void* self) { static_cast<MachineObject*>(self)->end(); }

void MachineObject::end() {
  if (machine_ == nullptr) return;
  machine_->destroy();
  machine_.reset();
  if (!wake_) return;
  napi_remove_env_cleanup_hook(Env(), onEnvironmentEnds, this);
  wake_.Release();
  exitBuffer_.Reset();
}

Machine& MachineObject::machine(Info info) const {
  if (machine_ == nullptr) throw Napi::Error::New(info.Env(), "The machine has been destroyed.");
  return *machine_;
}

// ---- memory ----------------------------------------------------------------------------------------------------------------

Napi::Value MachineObject::addRegion(Info info) {
  const std::string kind = text(info[0], "kind");
  const uint64_t size = integer(info[1], "bytes");
  static constexpr std::pair<const char*, RegionKind> kKinds[] = {
      {"ram", RegionKind::Ram}, {"rom", RegionKind::Rom}, {"vram", RegionKind::Vram}, {"flash", RegionKind::Flash}};
  const auto* const found = std::find_if(std::begin(kKinds), std::end(kKinds), [&](const auto& each) { return kind == each.first; });
  if (found == std::end(kKinds)) fail(info.Env(), "kind must be 'ram', 'rom', 'vram' or 'flash'.");
  RegionId region = 0;
  check(info.Env(), memory(info).addRegion(found->second, size, region));
  return Napi::Number::New(info.Env(), region);
}

void MachineObject::mapRegion(Info info) {
  const auto region = static_cast<RegionId>(integer(info[0], "region", 0xffffffff));
  check(info.Env(), machine(info).map(region, integer(info[1], "regionOffset"), integer(info[2], "gpa"), integer(info[3], "bytes")));
}

void MachineObject::unmap(Info info) {
  check(info.Env(), machine(info).unmap(integer(info[0], "gpa"), integer(info[1], "bytes")));
}

Napi::Value MachineObject::memRead(Info info) {
  const Bytes into = bytes(info[1], "into");
  const auto pass = memory(info).gate.pass();
  return Napi::Boolean::New(info.Env(), memory(info).read(guestAddress(info[0]), into.data, into.size));
}

Napi::Value MachineObject::memWrite(Info info) {
  const Bytes from = bytes(info[1], "from");
  const auto pass = memory(info).gate.pass();
  return Napi::Boolean::New(info.Env(), memory(info).write(guestAddress(info[0]), from.data, from.size));
}

// Ring indices and descriptors are shared with running vCPUs: one that lies in one page is read and written in one access,
// and a write is ordered against a later read (a used index against the event index after it), which x86 alone would not.
template <class T>
bool MachineObject::load(Info info, T& value) const {
  const uint64_t gpa = guestAddress(info[0]);
  const auto pass = memory(info).gate.pass();
  const uint8_t* const host = memory(info).range(gpa, sizeof(T));
  if (host == nullptr) return memory(info).read(gpa, &value, sizeof(T));
  std::memcpy(&value, host, sizeof(T));
  std::atomic_thread_fence(std::memory_order_acquire);
  return true;
}

template <class T>
bool MachineObject::store(Info info, T value) const {
  const uint64_t gpa = guestAddress(info[0]);
  PhysicalMemory& memory = this->memory(info);
  const auto pass = memory.gate.pass();
  uint8_t* const host = memory.range(gpa, sizeof(T));
  if (host == nullptr) return memory.write(gpa, &value, sizeof(T));
  std::atomic_thread_fence(std::memory_order_release);
  std::memcpy(host, &value, sizeof(T));
  memory.wrote(gpa, sizeof(T));
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return true;
}

Napi::Value MachineObject::memReadU16(Info info) {
  uint16_t value;
  return load(info, value) ? Napi::Number::New(info.Env(), value) : info.Env().Undefined();
}

Napi::Value MachineObject::memReadU32(Info info) {
  uint32_t value;
  return load(info, value) ? Napi::Number::New(info.Env(), value) : info.Env().Undefined();
}

Napi::Value MachineObject::memReadU64(Info info) {
  uint64_t value;
  if (!load(info, value)) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), value > (1ull << 53) ? HUGE_VAL : static_cast<double>(value));
}

Napi::Value MachineObject::memWriteU16(Info info) {
  return Napi::Boolean::New(info.Env(), store(info, static_cast<uint16_t>(integer(info[1], "value", 0xffff))));
}

Napi::Value MachineObject::memWriteU32(Info info) {
  return Napi::Boolean::New(info.Env(), store(info, static_cast<uint32_t>(integer(info[1], "value", 0xffffffff))));
}

Napi::Value MachineObject::memFill(Info info) {
  const uint64_t gpa = guestAddress(info[0]), size = guestAddress(info[1]);
  const auto value = static_cast<int>(integer(info[2], "value", 255));
  const auto pass = memory(info).gate.pass();
  return Napi::Boolean::New(info.Env(), memory(info).fill(gpa, size, static_cast<uint8_t>(value)));
}

Napi::Value MachineObject::regionRead(Info info) {
  const auto region = static_cast<RegionId>(integer(info[0], "region", 0xffffffff));
  const uint64_t offset = guestAddress(info[1]), size = memory(info).regionBytes(region);
  const Bytes into = bytes(info[2], "into");
  const bool inside = size != 0 && offset <= size && into.size <= size - offset;
  const auto pass = memory(info).gate.pass();
  if (inside && into.size != 0) std::memcpy(into.data, memory(info).regionHost(region) + offset, into.size);
  return Napi::Boolean::New(info.Env(), inside);
}

Napi::Value MachineObject::regionWrite(Info info) {
  const auto region = static_cast<RegionId>(integer(info[0], "region", 0xffffffff));
  const uint64_t offset = guestAddress(info[1]), size = memory(info).regionBytes(region);
  const Bytes from = bytes(info[2], "from");
  const bool inside = size != 0 && offset <= size && from.size <= size - offset;
  const auto pass = memory(info).gate.pass();
  if (inside && from.size != 0) {
    std::memcpy(memory(info).regionHost(region) + offset, from.data, from.size);
    memory(info).regionWrote(region, offset, from.size);
  }
  return Napi::Boolean::New(info.Env(), inside);
}

Napi::Value MachineObject::takeDirty(Info info) {
  const auto region = static_cast<RegionId>(integer(info[0], "region", 0xffffffff));
  const Bytes bitmap = bytes(info[1], "bitmap");
  const uint64_t pages = memory(info).regionBytes(region) / kPageBytes;
  if (pages == 0) fail(info.Env(), "There is no such memory region.");
  if (bitmap.size < (pages + 7) / 8) fail(info.Env(), "bitmap must have a bit for each page of the region.");
  return Napi::Boolean::New(info.Env(), machine(info).takeDirty(region, bitmap.data, bitmap.size));
}

void MachineObject::convertPixels(Info info) {
  const Napi::Env env = info.Env();
  const Napi::Object options = object(info[0], "options");
  const auto region = static_cast<RegionId>(integer(options.Get("region"), "region", 0xffffffff));
  const std::string format = text(options.Get("format"), "format");
  PixelRect rect;
  if (format == "pal8") rect.format = PixelFormat::Pal8;
  else if (format == "rgb555") rect.format = PixelFormat::Rgb555;
  else if (format == "rgb565") rect.format = PixelFormat::Rgb565;
  else if (format == "rgb888") rect.format = PixelFormat::Rgb888;
  else if (format == "xrgb8888") rect.format = PixelFormat::Xrgb8888;
  else fail(env, "There is no pixel format called " + format + ".");
  rect.offset = integer(options.Get("offset"), "offset");
  rect.stride = integer(options.Get("stride"), "stride");
  rect.x = static_cast<uint32_t>(integer(options.Get("x"), "x", 0xffffff));
  rect.y = static_cast<uint32_t>(integer(options.Get("y"), "y", 0xffffff));
  rect.width = static_cast<uint32_t>(integer(options.Get("width"), "width", 0xffffff));
  rect.height = static_cast<uint32_t>(integer(options.Get("height"), "height", 0xffffff));
  if (!fits(rect, memory(info).regionBytes(region))) fail(env, "The rectangle reaches past its memory region.");
  const Bytes out = bytes(info[1], "out");
  if (out.size / 4 < static_cast<uint64_t>(rect.width) * rect.height) fail(env, "out must have four bytes a pixel.");

  const uint32_t* palette = nullptr;
  if (rect.format == PixelFormat::Pal8) {
    const Napi::Value given = options.Get("palette");
    if (!given.IsTypedArray() || given.As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array ||
        given.As<Napi::TypedArray>().ElementLength() < 256) {
      fail(env, "palette must be a Uint32Array of 256 entries.");
    }
    palette = given.As<Napi::Uint32Array>().Data();
  }
  if (rect.width == 0 || rect.height == 0) return;
  lodge::convertPixels(rect, memory(info).regionHost(region), palette, out.data);
}

// ---- files -----------------------------------------------------------------------------------------------------------------

Napi::Value MachineObject::transfer(Info info, bool toGuest) {
  const Napi::Env env = info.Env();
  const auto fd = static_cast<int>(integer(info[0], "fd", 0x7fffffff));
  const uint64_t offset = integer(info[1], "fileOffset");
  const Napi::Value given = info[2];
  if (!given.IsTypedArray() || given.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) {
    fail(env, "ranges must be a Float64Array.");
  }
  const Napi::Float64Array pairs = given.As<Napi::Float64Array>();
  if (pairs.ElementLength() % 2 != 0) fail(env, "ranges must hold pairs of address and length.");
  std::vector<GuestRange> ranges;
  for (size_t i = 0; i < pairs.ElementLength(); i += 2) {
    const double gpa = pairs[i], size = pairs[i + 1];
    // A chain longer than the address space would only be walked to find that it is not RAM.
    const bool possible = gpa >= 0 && size >= 0 && gpa <= kMaxSafe && size <= kMaxSafe && std::floor(gpa) == gpa && std::floor(size) == size;
    if (!possible) return FileWorker::fault(env, EFAULT);
    ranges.push_back({static_cast<Gpa>(gpa), static_cast<uint64_t>(size)});
  }
  using Direction = FileTransfer::Direction;
  auto work = std::make_unique<FileTransfer>(machine(info).memory(), toGuest ? Direction::FileToGuest : Direction::GuestToFile, fd, offset);
  if (!work->resolve(ranges)) return FileWorker::fault(env, EFAULT);
  if (work->tryNow() || writeHere(*work)) {
    work->finish();
    if (work->error() != 0) return FileWorker::fault(env, work->error());
    return Napi::Number::New(env, static_cast<double>(work->done()));
  }
  return FileWorker::start(env, std::move(work));
}

/** A write that will probably not wait; see WriteGate. */
bool MachineObject::writeHere(FileTransfer& transfer) {
  if (transfer.direction() != FileTransfer::Direction::GuestToFile || transfer.bytes() > WriteGate::kMostBytes) return false;
  const uint64_t began = monotonicNs();
  if (!writeGate_.open(began)) return false;
  const uint64_t slept = timesSlept();
  transfer.run();
  writeGate_.tried(began, monotonicNs(), timesSlept() != slept);
  return true;
}

Napi::Value MachineObject::fileRead(Info info) { return transfer(info, true); }
Napi::Value MachineObject::fileWrite(Info info) { return transfer(info, false); }

Napi::Value MachineObject::fileZero(Info info) {
  return ZeroWorker::start(info.Env(), static_cast<int>(integer(info[0], "fd", 0x7fffffff)), integer(info[1], "fileOffset"),
                           integer(info[2], "bytes"), boolean(info[3], "giveBack") ? ZeroKind::GiveBack : ZeroKind::Keep);
}

// ---- interrupts and doorbells ----------------------------------------------------------------------------------------------

void MachineObject::setIrq(Info info) {
  machine(info).setIrq(static_cast<unsigned>(integer(info[0], "gsi", 23)), boolean(info[1], "level"));
}

void MachineObject::sendMsi(Info info) {
  // Address and data come from a guest's tables: what is not an MSI goes nowhere.
  machine(info).sendMsi(guestAddress(info[0]), static_cast<uint32_t>(integer(info[1], "data", 0xffffffff)));
}

void MachineObject::nmi(Info info) { machine(info).nmi(); }

void MachineObject::addDoorbell(Info info) {
  const std::string kind = text(info[0], "kind");
  if (kind != "mmio" && kind != "port") fail(info.Env(), "kind must be 'mmio' or 'port'.");
  const uint64_t address = integer(info[1], "address", kind == "port" ? 0xffff : kMaxSafe);
  const auto width = static_cast<unsigned>(integer(info[2], "width", 4));
  if (width != 1 && width != 2 && width != 4) fail(info.Env(), "width must be 1, 2 or 4.");
  check(info.Env(), machine(info).addDoorbell(kind == "mmio" ? DoorbellKind::Mmio : DoorbellKind::Port, address, width,
                                              static_cast<uint32_t>(integer(info[3], "id", 0xffffffff))));
}

void MachineObject::removeDoorbell(Info info) {
  machine(info).removeDoorbell(static_cast<uint32_t>(integer(info[0], "id", 0xffffffff)));
}

void MachineObject::addQuickPort(Info info) {
  const auto port = static_cast<uint16_t>(integer(info[0], "port", 0xffff));
  const auto width = static_cast<unsigned>(integer(info[1], "width", 4));
  if (width != 1 && width != 2 && width != 4) fail(info.Env(), "width must be 1, 2 or 4.");
  check(info.Env(), machine(info).addQuickPort(port, width, static_cast<unsigned>(integer(info[2], "number", quick_port::kPorts - 1))));
}

void MachineObject::removeQuickPort(Info info) {
  machine(info).removeQuickPort(static_cast<unsigned>(integer(info[0], "number", quick_port::kPorts - 1)));
}

// ---- run control -----------------------------------------------------------------------------------------------------------

void MachineObject::start(Info info) {
  check(info.Env(), machine(info).start());
  wake_.Ref(info.Env());
}

void MachineObject::pause(Info info) { machine(info).pause(); }
void MachineObject::resume(Info info) {
  std::vector<Go> how;
  if (!info[0].IsUndefined()) {
    if (!info[0].IsArray()) fail(info.Env(), "how must be an array.");
    const Napi::Array given = info[0].As<Napi::Array>();
    if (given.Length() > cpus_) fail(info.Env(), "how has more entries than there are processors.");
    for (uint32_t i = 0; i < given.Length(); ++i) {
      const std::string name = text(given.Get(i), "how");
      unsigned go = 0;
      while (go < std::size(kGoNames) && name != kGoNames[go]) ++go;
      if (go == std::size(kGoNames)) fail(info.Env(), "how must be of 'run', 'step' and 'hold'.");
      how.push_back(static_cast<Go>(go));
    }
  }
  machine(info).resume(how);
}
void MachineObject::reset(Info info) { check(info.Env(), machine(info).reset()); }
void MachineObject::destroy(Info) { end(); }

void MachineObject::setCpuCap(Info info) {
  check(info.Env(), machine(info).setCpuCap(static_cast<unsigned>(integer(info[0], "percent", 100))));
}

void MachineObject::setCpuQuota(Info info) {
  if (!info[0].IsNumber()) fail(info.Env(), "processors must be a number.");
  check(info.Env(), machine(info).setCpuQuota(info[0].As<Napi::Number>().DoubleValue()));
}

void MachineObject::setDebugPoints(Info info) {
  const Napi::Object from = object(info[0], "points");
  x86::DebugPoints points;
  if (!from.Get("breakpoints").IsArray() || !from.Get("watchpoints").IsArray()) fail(info.Env(), "points must have two arrays.");
  const Napi::Array breakpoints = from.Get("breakpoints").As<Napi::Array>(), watchpoints = from.Get("watchpoints").As<Napi::Array>();
  for (uint32_t i = 0; i < breakpoints.Length(); ++i) points.breakpoints.push_back(bigint(breakpoints.Get(i), "A breakpoint"));
  for (uint32_t i = 0; i < watchpoints.Length(); ++i) {
    const Napi::Object watch = object(watchpoints.Get(i), "A watchpoint");
    const auto size = static_cast<uint32_t>(integer(watch.Get("bytes"), "bytes", kMaxWatchBytes));
    if (size == 0) fail(info.Env(), "A watchpoint has at least one byte.");
    points.watchpoints.push_back({bigint(watch.Get("address"), "address"), size, boolean(watch.Get("onRead"), "onRead"),
                                  boolean(watch.Get("onWrite"), "onWrite")});
  }
  check(info.Env(), machine(info).setDebugPoints(points));
}

Napi::Value MachineObject::getCpuState(Info info) {
  CpuSnapshot snapshot;
  check(info.Env(), machine(info).getState(static_cast<unsigned>(integer(info[0], "vcpu", kMaxCpus)), snapshot));
  return toJs(info.Env(), snapshot);
}

void MachineObject::setCpuState(Info info) {
  const auto vcpu = static_cast<unsigned>(integer(info[0], "vcpu", kMaxCpus));
  check(info.Env(), machine(info).setState(vcpu, fromJs(info[1])));
}

// After destroy() an exit loop finds nothing more to do, rather than an exception in its callback.
Napi::Value MachineObject::serve(Info info) {
  if (machine_ == nullptr) return Napi::Number::New(info.Env(), kServeIdle);
  if (!info[0].IsNumber() || !info[1].IsNumber()) fail(info.Env(), "serve takes two numbers.");
  const int32_t completed = info[0].As<Napi::Number>().Int32Value();
  if (completed >= static_cast<int32_t>(cpus_)) fail(info.Env(), "There is no such processor.");
  const int32_t spin = info[1].As<Napi::Number>().Int32Value();
  return Napi::Number::New(info.Env(), machine_->serve(completed, spin < 0 ? 0 : static_cast<unsigned>(spin)));
}

Napi::Value MachineObject::takeEvents(Info info) {
  const Napi::Env env = info.Env();
  Napi::Array out = Napi::Array::New(env);
  if (machine_ == nullptr) return out;
  uint32_t count = 0;
  for (const Event& event : machine_->takeEvents()) {
    Napi::Object item = Napi::Object::New(env);
    switch (event.kind) {
      case Event::Kind::Doorbell:
        item.Set("type", "doorbell");
        item.Set("id", Napi::Number::New(env, event.doorbell));
        item.Set("value", Napi::Number::New(env, static_cast<double>(event.value)));
        break;
      case Event::Kind::Debug:
        item.Set("type", "debug");
        item.Set("vcpu", Napi::Number::New(env, event.vcpu));
        item.Set("cause", kDebugCauses[static_cast<unsigned>(event.debug.cause)]);
        item.Set("address", Napi::BigInt::New(env, event.debug.address));
        break;
      case Event::Kind::Paused: item.Set("type", "paused"); break;
      case Event::Kind::Stopped:
        item.Set("type", "stopped");
        item.Set("vcpu", Napi::Number::New(env, event.vcpu));
        item.Set("reason", event.tripleFault ? "tripleFault" : "internalError");
        item.Set("message", event.message);
        item.Set("state", toJs(env, *event.snapshot));
        break;
    }
    out.Set(count++, item);
  }
  return out;
}

Napi::Value MachineObject::stats(Info info) {
  const Napi::Env env = info.Env();
  const auto number = [env](uint64_t value) { return Napi::Number::New(env, static_cast<double>(value)); };
  Napi::Array vcpus = Napi::Array::New(env);
  if (machine_ != nullptr) {
    uint32_t index = 0;
    for (const VcpuStats& from : machine_->stats()) {
      Napi::Object item = Napi::Object::New(env), exits = Napi::Object::New(env);
      for (unsigned kind = 0; kind < std::size(kExitNames); ++kind) exits.Set(kExitNames[kind], number(from.exits[kind]));
      item.Set("cpuSeconds", Napi::Number::New(env, from.cpuSeconds));
      item.Set("withheldSeconds", Napi::Number::New(env, from.withheldSeconds));
      if (from.waitedSeconds) item.Set("waitedSeconds", Napi::Number::New(env, *from.waitedSeconds));
      item.Set("halted", Napi::Boolean::New(env, from.halted));
      item.Set("exits", exits);
      item.Set("doorbells", number(from.doorbells));
      item.Set("quick", number(from.quick));
      if (from.haltedSeconds) item.Set("haltedSeconds", Napi::Number::New(env, *from.haltedSeconds));
      if (from.instructions) item.Set("instructions", number(*from.instructions));
      if (from.cpu != nullptr) {
        Napi::Object counters = Napi::Object::New(env);
#define LODGE_COUNTER(name) counters.Set(#name, number(from.cpu->name.value()));
        LODGE_CPU_COUNTERS(LODGE_COUNTER)
#undef LODGE_COUNTER
        item.Set("counters", counters);
      }
      if (from.translator != nullptr) {
        Napi::Object counters = Napi::Object::New(env);
#define LODGE_COUNTER(name) counters.Set(#name, number(from.translator->name.value()));
        LODGE_TIER_COUNTERS(LODGE_COUNTER)
#undef LODGE_COUNTER
        item.Set("translator", counters);
      }
      vcpus.Set(index++, item);
    }
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("vcpus", vcpus);
  return out;
}

void MachineObject::startSampling(Info info) {
  check(info.Env(), machine(info).startSampling(static_cast<unsigned>(integer(info[0], "hertz", kSampleRateMax))));
}

void MachineObject::stopSampling(Info) {
  if (machine_ != nullptr) machine_->stopSampling();
}

/** addon/types.ts says how samples are laid out. */
Napi::Value MachineObject::takeSamples(Info info) {
  const Napi::Env env = info.Env();
  const Samples samples = machine(info).takeSamples();
  Napi::BigUint64Array addresses = Napi::BigUint64Array::New(env, samples.taken.size());
  Napi::Uint32Array what = Napi::Uint32Array::New(env, samples.taken.size());
  for (size_t i = 0; i < samples.taken.size(); ++i) {
    const Sample& s = samples.taken[i];
    addresses[i] = s.place.linear;
    what[i] = (s.place.user ? 1u : 0u) | (s.device ? 2u : 0u) | (s.place.translated ? 4u : 0u) | uint32_t{s.vcpu} << 8 |
              uint32_t{s.ticks} << 16;
  }
  Napi::Array halted = Napi::Array::New(env);
  for (uint32_t i = 0; i < samples.halted.size(); ++i) halted.Set(i, Napi::Number::New(env, static_cast<double>(samples.halted[i])));
  Napi::Object out = Napi::Object::New(env);
  out.Set("addresses", addresses);
  out.Set("what", what);
  out.Set("halted", halted);
  out.Set("lost", Napi::Number::New(env, static_cast<double>(samples.lost)));
  return out;
}

}  // namespace lodge::addon
