// A FileTransfer that has to wait, on a worker thread, behind a Promise.
#pragma once

#include <napi.h>

#include <cerrno>
#include <memory>

#include "io/file_io.h"

namespace lodge::addon {

/** An Error with `code` and `errno` as Node's own file calls have them. */
Napi::Error fileError(Napi::Env env, int error);

class FileWorker : public Napi::AsyncWorker {
 public:
  static Napi::Value start(Napi::Env env, std::unique_ptr<FileTransfer> transfer);
  [[noreturn]] static Napi::Value fault(Napi::Env env, int error);

 protected:
  void Execute() override { transfer_->run(); }
  void OnOK() override;

 private:
  FileWorker(Napi::Env env, std::unique_ptr<FileTransfer> transfer)
      : Napi::AsyncWorker(env, "lodge file"), transfer_(std::move(transfer)), deferred_(Napi::Promise::Deferred::New(env)) {}

  std::unique_ptr<FileTransfer> transfer_;
  Napi::Promise::Deferred deferred_;
};

/** Zeroes a range of a file on a worker thread; the promise says whether the host can. */
class ZeroWorker : public Napi::AsyncWorker {
 public:
  static Napi::Value start(Napi::Env env, int fd, uint64_t offset, uint64_t bytes, ZeroKind kind);

 protected:
  void Execute() override { error_ = zeroFileRange(fd_, offset_, bytes_, kind_); }
  void OnOK() override;

 private:
  ZeroWorker(Napi::Env env, int fd, uint64_t offset, uint64_t bytes, ZeroKind kind)
      : Napi::AsyncWorker(env, "lodge file"), fd_(fd), offset_(offset), bytes_(bytes), kind_(kind),
        deferred_(Napi::Promise::Deferred::New(env)) {}

  const int fd_;
  const uint64_t offset_, bytes_;
  const ZeroKind kind_;
  int error_ = 0;
  Napi::Promise::Deferred deferred_;
};

}  // namespace lodge::addon
