#include "accelerator/kvm/host.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace lodge::kvm {
namespace {

constexpr int kApiVersion = 12;  // frozen since Linux 2.6.22

/** KVM_CAP_IMMEDIATE_EXIT is the youngest: Linux 4.11. */
constexpr unsigned kNeeded[] = {KVM_CAP_IRQCHIP,       KVM_CAP_USER_MEMORY,  KVM_CAP_PIT2,      KVM_CAP_PIT_STATE2, KVM_CAP_EXT_CPUID,
                                KVM_CAP_READONLY_MEM,  KVM_CAP_SIGNAL_MSI,   KVM_CAP_MP_STATE,  KVM_CAP_VCPU_EVENTS,
                                KVM_CAP_DEBUGREGS,     KVM_CAP_IRQ_ROUTING,  KVM_CAP_GET_TSC_KHZ, KVM_CAP_IMMEDIATE_EXIT,
                                KVM_CAP_XSAVE, KVM_CAP_SET_TSS_ADDR,  KVM_CAP_SET_IDENTITY_MAP_ADDR};

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

int call(const Descriptor& on, unsigned long request, const void* argument) noexcept {
  int result;
  do result = ioctl(on.get(), request, argument);
  while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : result;
}

int call(const Descriptor& on, unsigned long request, unsigned long argument) noexcept {
  return call(on, request, reinterpret_cast<const void*>(argument));
}

Error hostError(const char* what, int result) { return std::string(what) + ": " + std::strerror(-result) + "."; }

int extension(const Descriptor& device, unsigned capability) noexcept {
  return call(device, KVM_CHECK_EXTENSION, static_cast<unsigned long>(capability));
}

Descriptor openDevice(Error& error) {
  Descriptor device(open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!device) {
    switch (errno) {
      case ENOENT: error = "There is no /dev/kvm: hardware virtualization is switched off in this computer's firmware, or its system does not offer it."; break;
      case EACCES:
      case EPERM: error = "You may not use /dev/kvm: add your account to the group “kvm”, then log in again."; break;
      case ENODEV:
      case ENXIO: error = "The KVM module finds no hardware virtualization on this computer."; break;
      default: error = hostError("The device /dev/kvm does not open", -errno);
    }
    return {};
  }
  if (call(device, KVM_GET_API_VERSION) != kApiVersion) {
    error = "The device /dev/kvm does not speak KVM's interface of version 12.";
    return {};
  }
  for (unsigned capability : kNeeded) {
    if (extension(device, capability) > 0) continue;
    error = "The KVM of this computer lacks something that Lodge needs (capability " + std::to_string(capability) + "); Linux 4.11 or newer has it.";
    return {};
  }
  return device;
}

Descriptor createVm(const Descriptor& device, Error& error) {
  const int vm = call(device, KVM_CREATE_VM);
  if (vm >= 0) return Descriptor(vm);
  error = vm == -EBUSY ? "Another program is using the processor's virtualization; KVM and it cannot share it."
                       : hostError("KVM cannot make a virtual machine", vm);
  return {};
}

}  // namespace lodge::kvm
