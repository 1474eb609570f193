// The host's side of KVM (Linux, Documentation/virt/kvm/api.rst): descriptors, calls, and what has to be there.
#pragma once

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cstdint>
#include <string>
#include <utility>

#include "accelerator/accelerator.h"

namespace lodge::kvm {

// Structures of the kernel that end in an array of any length, and the calls that take them. The kernel's headers declare such
// arrays behind an empty structure, which has a size in C++: their sizeof, and with it the number of the call, comes out wrong.
template <unsigned kRoom>
struct CpuidList {  // kvm_cpuid2
  uint32_t count = kRoom, pad = 0;
  kvm_cpuid_entry2 entries[kRoom]{};
};
struct OneMsr {  // kvm_msrs
  uint32_t count = 1, pad = 0;
  kvm_msr_entry entry{};
};
template <unsigned kRoom>
struct IrqRoutes {  // kvm_irq_routing
  uint32_t count = 0, flags = 0;
  kvm_irq_routing_entry entries[kRoom]{};
};
struct Xsave {  // kvm_xsave
  uint8_t area[4096]{};
};
struct SignalMask {  // kvm_signal_mask
  uint32_t bytes = 8;
  uint8_t set[8]{};
};
constexpr unsigned long kGetMsrIndexList = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x02, 4), kGetSupportedCpuid = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x05, 8),
                        kSetGsiRouting = _IOC(_IOC_WRITE, KVMIO, 0x6a, 8), kGetMsrs = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x88, 8),
                        kSetMsrs = _IOC(_IOC_WRITE, KVMIO, 0x89, 8), kSetSignalMask = _IOC(_IOC_WRITE, KVMIO, 0x8b, 4),
                        kGetXsave = _IOC(_IOC_READ, KVMIO, 0xa4, 4096), kSetXsave = _IOC(_IOC_WRITE, KVMIO, 0xa5, 4096),
                        kSetCpuid2 = _IOC(_IOC_WRITE, KVMIO, 0x90, 8);

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& from) noexcept : fd_(std::exchange(from.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& from) noexcept {
    std::swap(fd_, from.fd_);
    return *this;
  }
  ~Descriptor();

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/** ioctl(2); 0 or more is its result, below zero is -errno. Repeated when a signal came between, so not for KVM_RUN. */
int call(const Descriptor& on, unsigned long request, const void* argument = nullptr) noexcept;
int call(const Descriptor& on, unsigned long request, unsigned long argument) noexcept;

/** The device, once it is known to have all that Lodge needs; else `error` is a sentence for the user. */
Descriptor openDevice(Error& error);
/** A virtual machine without anything in it. */
Descriptor createVm(const Descriptor& device, Error& error);
int extension(const Descriptor& device, unsigned capability) noexcept;

/** "What failed: the reason." */
Error hostError(const char* what, int result);

}  // namespace lodge::kvm
