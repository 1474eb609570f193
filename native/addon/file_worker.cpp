#include "addon/file_worker.h"

#include <cstring>

namespace lodge::addon {

Napi::Error FileWorker::makeError(Napi::Env env, int number) {
  const char* const name = strerrorname_np(number);
  Napi::Error error = Napi::Error::New(env, number == EFAULT ? "A range of the transfer is not RAM."
                                                             : std::string("The file transfer failed: ") + std::strerror(number) + ".");
  error.Set("errno", Napi::Number::New(env, -number));
  error.Set("code", Napi::String::New(env, name != nullptr ? name : "EIO"));
  return error;
}

Napi::Value FileWorker::fault(Napi::Env env, int error) { throw makeError(env, error); }

Napi::Value FileWorker::start(Napi::Env env, std::unique_ptr<FileTransfer> transfer) {
  auto* worker = new FileWorker(env, std::move(transfer));  // deletes itself when done
  const Napi::Promise promise = worker->deferred_.Promise();
  worker->Queue();
  return promise;
}

void FileWorker::OnOK() {
  transfer_->finish();
  if (transfer_->error() != 0) {
    deferred_.Reject(makeError(Env(), transfer_->error()).Value());
  } else {
    deferred_.Resolve(Napi::Number::New(Env(), static_cast<double>(transfer_->done())));
  }
}

}  // namespace lodge::addon
