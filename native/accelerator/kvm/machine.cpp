#include "accelerator/kvm/machine.h"

#include <linux/kvm.h>
#include <x86intrin.h>

#include "accelerator/kvm/signal.h"

namespace lodge::kvm {
namespace {

constexpr unsigned kIoApicPins = 24, kIsaInterrupts = 16;
/** The 8254's channel 0 in no mode, as before a guest first programs it: KVM then runs no timer for it. */
constexpr uint8_t kPitModeNone = 0xff;
constexpr uint64_t kMsiWindow = 0xfee00000;

}  // namespace

std::unique_ptr<Machine> KvmMachine::create(const MachineConfig& config, Error& error) {
  if (error = checkCpus(config.cpus); !error.empty()) return nullptr;
  std::unique_ptr<KvmMachine> machine(new KvmMachine(config));
  error = machine->build(config.cpus, config.cpuModel);
  if (!error.empty()) return nullptr;
  return machine;
}

Error KvmMachine::build(unsigned cpus, const x86::CpuModel* model) {
  Error error;
  device_ = openDevice(error);
  if (!device_) return error;
  if (static_cast<int>(cpus) > extension(device_, KVM_CAP_MAX_VCPUS)) return "KVM on this computer does not have so many virtual processors.";
  vm_ = createVm(device_, error);
  if (!vm_) return error;
  int result;
  if ((result = call(vm_, KVM_SET_IDENTITY_MAP_ADDR, &kIdentityMapPage)) < 0 || (result = call(vm_, KVM_SET_TSS_ADDR, kTssPages)) < 0) {
    return hostError("KVM does not take the addresses of its own pages", result);
  }
  if ((result = call(vm_, KVM_CREATE_IRQCHIP)) < 0) return hostError("KVM has no interrupt controllers", result);
  kvm_pit_config pit{};
  pit.flags = KVM_PIT_SPEAKER_DUMMY;  // port 61h belongs to it
  if ((result = call(vm_, KVM_CREATE_PIT2, &pit)) < 0) return hostError("KVM has no interval timer", result);
  if (error = routeInterrupts(); !error.empty()) return error;
  for (unsigned i = 0; i < chips_.size(); ++i) {
    chips_[i].chip_id = i;  // KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC
    if ((result = call(vm_, KVM_GET_IRQCHIP, &chips_[i])) < 0) return hostError("KVM does not show its interrupt controllers", result);
  }
  if ((result = call(vm_, KVM_GET_PIT2, &pitAtPowerOn_)) < 0) return hostError("KVM does not show its interval timer", result);
  pit_ = pitAtPowerOn_;

  const int slots = extension(device_, KVM_CAP_NR_MEMSLOTS);
  slots_ = std::make_unique<Slots>(vm_, *memory_, slots > 0 ? static_cast<unsigned>(slots) : 32);
  for (unsigned i = 0; i < cpus; ++i) {
    vcpus_.push_back(std::make_unique<Vcpu>(*this, i));
    if (error = vcpu(i).open(device_, vm_, cpus, model); !error.empty()) return error;
  }
  return {};
}

/** As on the board: ISA interrupts reach the 8259s and the I/O APIC, the timer's its pin 2, pins 16 and up only that. */
Error KvmMachine::routeInterrupts() {
  IrqRoutes<kIoApicPins + kIsaInterrupts> table;
  const auto add = [&](unsigned gsi, unsigned chip, unsigned pin) {
    kvm_irq_routing_entry& entry = table.entries[table.count++];
    entry.gsi = gsi, entry.type = KVM_IRQ_ROUTING_IRQCHIP, entry.u.irqchip.irqchip = chip, entry.u.irqchip.pin = pin;
  };
  constexpr unsigned kCascade = 2;
  for (unsigned gsi = 0; gsi < kIoApicPins; ++gsi) {
    if (gsi < kIsaInterrupts && gsi != kCascade) add(gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi % 8);
    if (gsi == 0) add(gsi, KVM_IRQCHIP_IOAPIC, 2);
    else if (gsi != kCascade) add(gsi, KVM_IRQCHIP_IOAPIC, gsi);
  }
  const int result = call(vm_, kSetGsiRouting, &table);
  return result < 0 ? hostError("KVM does not take the interrupt wiring", result) : Error{};
}

KvmMachine::~KvmMachine() { destroy(); }

void KvmMachine::joinHelpers() { vcpus_.clear(); }

// ---- time: stands still from when the last vCPU has parked until resume() ------------------------------------------------------

void KvmMachine::freeze() noexcept {
  if (frozen_) return;
  frozen_ = true;
  if (call(vm_, KVM_GET_PIT2, &pit_) >= 0) {
    kvm_pit_state2 still = pit_;
    still.channels[0].mode = kPitModeNone;
    call(vm_, KVM_SET_PIT2, &still);
  }
  const uint64_t now = __rdtsc();
  for (size_t i = 0; i < vcpus_.size(); ++i) vcpu(i).freeze(now);
  call(vm_, KVM_GET_CLOCK, &clock_);
}

void KvmMachine::thaw() noexcept {
  if (!frozen_) return;
  frozen_ = false;
  const uint64_t now = __rdtsc();
  for (size_t i = 0; i < vcpus_.size(); ++i) vcpu(i).thaw(now);
  kvm_clock_data clock{};
  clock.clock = clock_.clock;
  call(vm_, KVM_SET_CLOCK, &clock);
  // Last: it also forgets ticks that were due, and an acknowledgement it waits for.
  call(vm_, KVM_SET_PIT2, &pit_);
}

// ---- memory ----------------------------------------------------------------------------------------------------------------------

Error KvmMachine::mapped(RegionId region, uint64_t offset, Gpa gpa, uint64_t bytes) { return slots_->mapped(region, offset, gpa, bytes); }
Error KvmMachine::unmapped(Gpa gpa, uint64_t bytes) { return slots_->unmapped(gpa, bytes); }

bool KvmMachine::takeDirty(RegionId region, uint8_t* bitmap, uint64_t bitmapBytes) {
  if (!destroyed()) slots_->harvest(region);
  return memory_->takeDirty(region, bitmap, bitmapBytes);
}

// ---- interrupts ----------------------------------------------------------------------------------------------------------------

void KvmMachine::setIrq(unsigned gsi, bool level) {
  if (gsi >= kIoApicPins) return;
  kvm_irq_level line{};
  line.irq = gsi, line.level = level;
  call(vm_, KVM_IRQ_LINE, &line);
}

void KvmMachine::sendMsi(uint64_t address, uint32_t data) {
  // Address and data come from a guest's tables: what does not lie in the local APICs' window is a write to nowhere.
  if (address >> 20 != kMsiWindow >> 20) return;
  kvm_msi msi{};
  msi.address_lo = static_cast<uint32_t>(address), msi.data = data;
  call(vm_, KVM_SIGNAL_MSI, &msi);
}

/** The board's NMI line: the bootstrap processor's. Not as an MSI, which not every KVM takes for an NMI. */
void KvmMachine::nmi() {
  if (!destroyed()) vcpu(0).nmi();
}

// ---- state ---------------------------------------------------------------------------------------------------------------------

Error KvmMachine::resetParts() {
  for (const kvm_irqchip& chip : chips_) {
    if (const int result = call(vm_, KVM_SET_IRQCHIP, &chip); result < 0) return hostError("KVM cannot reset its interrupt controllers", result);
  }
  pit_ = pitAtPowerOn_;
  for (size_t i = 0; i < vcpus_.size(); ++i) {
    if (Error error = vcpu(i).reset(); !error.empty()) return error;
  }
  return {};
}

Error KvmMachine::applyDebugPoints(const x86::DebugPoints& points) {
  for (size_t i = 0; i < vcpus_.size(); ++i) {
    const Error error = vcpu(i).setDebugPoints(points);
    if (error.empty()) continue;
    for (size_t k = 0; k < vcpus_.size(); ++k) vcpu(k).setDebugPoints({});
    return error;
  }
  return {};
}

Error KvmMachine::readState(VcpuThread& vcpu, CpuSnapshot& out) noexcept { return static_cast<Vcpu&>(vcpu).get(out); }
Error KvmMachine::writeState(VcpuThread& vcpu, const CpuSnapshot& in) { return static_cast<Vcpu&>(vcpu).set(in); }

}  // namespace lodge::kvm
