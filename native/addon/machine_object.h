// NativeMachine of types.ts.
#pragma once

#include <napi.h>

#include <memory>

#include "accelerator/accelerator.h"
#include "io/file_io.h"

namespace lodge::addon {

class MachineObject : public Napi::ObjectWrap<MachineObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit MachineObject(const Napi::CallbackInfo& info);
  ~MachineObject() override;

 private:
  using Info = const Napi::CallbackInfo&;

  Napi::Value addRegion(Info info);
  void mapRegion(Info info);
  void unmap(Info info);
  Napi::Value memRead(Info info);
  Napi::Value memWrite(Info info);
  Napi::Value memReadU16(Info info);
  Napi::Value memReadU32(Info info);
  Napi::Value memReadU64(Info info);
  Napi::Value memWriteU16(Info info);
  Napi::Value memWriteU32(Info info);
  Napi::Value memFill(Info info);
  Napi::Value regionRead(Info info);
  Napi::Value regionWrite(Info info);
  Napi::Value takeDirty(Info info);
  void convertPixels(Info info);
  Napi::Value fileRead(Info info);
  Napi::Value fileWrite(Info info);
  Napi::Value fileZero(Info info);
  void setIrq(Info info);
  void sendMsi(Info info);
  void nmi(Info info);
  void addDoorbell(Info info);
  void removeDoorbell(Info info);
  void addQuickPort(Info info);
  void removeQuickPort(Info info);
  void start(Info info);
  void pause(Info info);
  void resume(Info info);
  void reset(Info info);
  void destroy(Info info);
  Napi::Value getCpuState(Info info);
  void setCpuState(Info info);
  void setDebugPoints(Info info);
  void setCpuCap(Info info);
  void setCpuQuota(Info info);
  Napi::Value serve(Info info);
  Napi::Value takeEvents(Info info);
  Napi::Value stats(Info info);
  void startSampling(Info info);
  void stopSampling(Info info);
  Napi::Value takeSamples(Info info);

  /** Throws when the machine was destroyed. */
  Machine& machine(Info info) const;
  PhysicalMemory& memory(Info info) const { return *machine(info).memory(); }
  template <class T>
  bool load(Info info, T& value) const;
  template <class T>
  bool store(Info info, T value) const;
  Napi::Value transfer(Info info, bool toGuest);
  bool writeHere(FileTransfer& transfer);
  void end();
  static void onEnvironmentEnds(void* self);

  std::unique_ptr<Machine> machine_;
  Napi::Reference<Napi::ArrayBuffer> exitBuffer_;
  Napi::ThreadSafeFunction wake_;
  unsigned cpus_ = 0;
  WriteGate writeGate_;
};

}  // namespace lodge::addon
