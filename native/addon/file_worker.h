// A FileTransfer that has to wait, on a worker thread, behind a Promise.
#pragma once

#include <napi.h>

#include <cerrno>
#include <memory>

#include "io/file_io.h"

namespace lodge::addon {

class FileWorker : public Napi::AsyncWorker {
 public:
  static Napi::Value start(Napi::Env env, std::unique_ptr<FileTransfer> transfer);
  /** Throws an Error with `code` and `errno` as Node's own file calls have them. */
  [[noreturn]] static Napi::Value fault(Napi::Env env, int error);

 protected:
  void Execute() override { transfer_->run(); }
  void OnOK() override;

 private:
  FileWorker(Napi::Env env, std::unique_ptr<FileTransfer> transfer)
      : Napi::AsyncWorker(env, "lodge file"), transfer_(std::move(transfer)), deferred_(Napi::Promise::Deferred::New(env)) {}
  static Napi::Error makeError(Napi::Env env, int error);

  std::unique_ptr<FileTransfer> transfer_;
  Napi::Promise::Deferred deferred_;
};

}  // namespace lodge::addon
