// Doorbells that KVM rings by itself (KVM_IOEVENTFD): the guest's write ends in the kernel, and a thread passes it on. What was written does
// not get here, so they are for registers whose address says it all.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "accelerator/doorbells.h"
#include "accelerator/kvm/host.h"

namespace lodge::kvm {

class IoEventFds {
 public:
  /** `rung` comes from the thread; for a doorbell that is removed meanwhile, possibly once more. */
  IoEventFds(const Descriptor& vm, std::function<void(uint32_t id)> rung);
  ~IoEventFds();
  IoEventFds(const IoEventFds&) = delete;
  IoEventFds& operator=(const IoEventFds&) = delete;

  /** What the host does not take goes on being an exit of the vCPU. */
  void add(const Doorbell& bell) noexcept;
  void remove(uint32_t id) noexcept;

 private:
  struct Bell {
    Descriptor event;
    kvm_ioeventfd assigned;
  };
  bool start() noexcept;
  bool watch(const Descriptor& event, uint64_t token) noexcept;
  void listen() noexcept;

  const Descriptor& vm_;
  const std::function<void(uint32_t id)> rung_;
  Descriptor epoll_, end_;
  std::mutex lock_;
  std::map<uint32_t, Bell> bells_;
  std::thread listener_;  ///< from the first doorbell on
};

}  // namespace lodge::kvm
