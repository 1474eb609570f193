#include "addon/file_worker.h"

#include <cstring>

namespace lodge::addon {

Napi::Error fileError(Napi::Env env, int number) {
  const char* const name = strerrorname_np(number);
  Napi::Error error = Napi::Error::New(env, number == EFAULT ? "A range of the transfer is not RAM."
                                                             : std::string("The file transfer failed: ") + std::strerror(number) + ".");
  error.Set("errno", Napi::Number::New(env, -number));
  error.Set("code", Napi::String::New(env, name != nullptr ? name : "EIO"));
  return error;
}

Napi::Value FileWorker::fault(Napi::Env env, int error) { throw fileError(env, error); }

Napi::Value FileWorker::start(Napi::Env env, std::unique_ptr<FileTransfer> transfer) {
  auto* worker = new FileWorker(env, std::move(transfer));  // deletes itself when done
  const Napi::Promise promise = worker->deferred_.Promise();
  worker->Queue();
  return promise;
}

void FileWorker::OnOK() {
  transfer_->finish();
  if (transfer_->error() != 0) {
    deferred_.Reject(fileError(Env(), transfer_->error()).Value());
  } else {
    deferred_.Resolve(Napi::Number::New(Env(), static_cast<double>(transfer_->done())));
  }
}

Napi::Value ZeroWorker::start(Napi::Env env, int fd, uint64_t offset, uint64_t bytes, ZeroKind kind) {
  auto* worker = new ZeroWorker(env, fd, offset, bytes, kind);  // deletes itself when done
  const Napi::Promise promise = worker->deferred_.Promise();
  worker->Queue();
  return promise;
}

void ZeroWorker::OnOK() {
  if (error_ != 0 && error_ != EOPNOTSUPP) {
    deferred_.Reject(fileError(Env(), error_).Value());
  } else {
    deferred_.Resolve(Napi::Boolean::New(Env(), error_ == 0));
  }
}

}  // namespace lodge::addon
