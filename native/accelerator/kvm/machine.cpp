#include "accelerator/kvm/machine.h"

#include <linux/kvm.h>
#include <sched.h>
#include <time.h>
#include <x86intrin.h>

#include <cstring>

#include "accelerator/cpu_state.h"
#include "accelerator/kvm/signal.h"

namespace lodge::kvm {
namespace {

constexpr const char* kDestroyed = "The machine has been destroyed.";
constexpr const char* kNotPaused = "The machine must be paused for this.";

constexpr unsigned kIoApicPins = 24, kIsaInterrupts = 16;
/** The 8254's channel 0 in no mode, as before a guest first programs it: KVM then runs no timer for it. */
constexpr uint8_t kPitModeNone = 0xff;
/** An MSI (SDM vol. 3 §11.11) that is an NMI for the local APIC with number 0. */
constexpr uint64_t kMsiWindow = 0xfee00000;
constexpr uint32_t kMsiNmi = 4 << 8;

}  // namespace

std::unique_ptr<Machine> KvmMachine::create(const MachineConfig& config, Error& error) {
  if (config.cpus == 0 || config.cpus > kMaxCpus) {
    error = "A machine has between 1 and " + std::to_string(kMaxCpus) + " processors.";
    return nullptr;
  }
  std::unique_ptr<KvmMachine> machine(new KvmMachine(config));
  error = machine->build(config.cpus);
  if (!error.empty()) return nullptr;
  return machine;
}

Error KvmMachine::build(unsigned cpus) {
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
    if (error = vcpus_.back()->open(device_, vm_, cpus); !error.empty()) return error;
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

// ---- running and parking -----------------------------------------------------------------------------------------------------

bool KvmMachine::enter(Vcpu& vcpu) noexcept {
  vcpu.mode.store(Vcpu::Mode::Running, std::memory_order_seq_cst);
  if (stop_.load(std::memory_order_seq_cst) == 0 && !vcpu.kicked()) return true;
  vcpu.mode.store(Vcpu::Mode::Idle, std::memory_order_seq_cst);

  std::unique_lock hold(runLock_);
  for (;;) {
    const uint32_t stop = stop_.load(std::memory_order_relaxed);
    if (stop & kEnd) return false;
    if (stop == 0) {
      vcpu.unkick();
      break;
    }
    // A pause is at an instruction boundary: kicked, KVM_RUN completes the access and returns. While the world is stopped even
    // that would be too much, so such a vCPU waits without counting as parked.
    if (vcpu.unfinished() && !(stop & kWorld)) break;
    const bool counts = !vcpu.unfinished();
    parked_ += counts;
    if (settled()) allParked_.notify_all();
    if (stop & kPause) reportIfSettled();
    parkChanged_.wait(hold);
    parked_ -= counts;
  }
  vcpu.mode.store(Vcpu::Mode::Running, std::memory_order_seq_cst);
  return true;
}

/** Under runLock_. */
void KvmMachine::requestStop(uint32_t flag) {
  stop_.fetch_or(flag, std::memory_order_seq_cst);
  for (auto& vcpu : vcpus_) vcpu->kick();
}

/** Under runLock_, after anything that may have completed a pause. */
void KvmMachine::reportIfSettled() {
  if (!atRest()) return;
  freeze();
  for (Event& event : stopEvents_) exits_.push(std::move(event));
  stopEvents_.clear();
  if (pauseWanted_) exits_.push(Event{});
  pauseWanted_ = false;
}

void KvmMachine::stopped(Vcpu& vcpu, bool tripleFault, const std::string& message) noexcept {
  CpuSnapshot snapshot{};
  vcpu.get(snapshot);
  Event event;
  event.kind = Event::Kind::Stopped;
  event.vcpu = vcpu.index();
  event.tripleFault = tripleFault;
  event.message = message;
  event.snapshot = std::make_shared<const CpuSnapshot>(std::move(snapshot));
  vcpu.mode.store(Vcpu::Mode::Idle, std::memory_order_seq_cst);
  std::lock_guard hold(runLock_);
  if (stop_.load(std::memory_order_relaxed) & kEnd) return;
  stopEvents_.push_back(std::move(event));
  requestStop(kPause);  // enter() parks this vCPU too
}

Error KvmMachine::start() {
  if (destroyed_) return kDestroyed;
  if (started_) return "The machine has been started already.";
  {
    std::lock_guard hold(runLock_);
    started_ = true;
  }
  bool complete = true;
  for (auto& vcpu : vcpus_) complete = complete && vcpu->start();
  if (complete) {
    std::unique_lock hold(runLock_);
    allParked_.wait(hold, [&] { return settled(); });
    return {};
  }
  destroy();
  return "The host has no threads left for the virtual processors.";
}

void KvmMachine::pause() {
  if (destroyed_) return;
  std::lock_guard hold(runLock_);
  pauseWanted_ = true;
  requestStop(kPause);
  reportIfSettled();
}

void KvmMachine::resume() {
  if (destroyed_ || !started_) return;
  std::lock_guard hold(runLock_);
  if (!(stop_.load(std::memory_order_relaxed) & kPause)) return;
  pauseWanted_ = false;
  thaw();
  stop_.fetch_and(~static_cast<uint32_t>(kPause), std::memory_order_seq_cst);
  parkChanged_.notify_all();
}

void KvmMachine::destroy() {
  if (destroyed_) return;
  destroyed_ = true;
  {
    std::lock_guard hold(runLock_);
    exits_.abandon();
    requestStop(kEnd);
    parkChanged_.notify_all();
  }
  for (auto& vcpu : vcpus_) vcpu->join();
  vcpus_.clear();
}

/** On the owner's thread, which is the only one that answers exits: a vCPU that waits for an answer stays where it is. */
template <class Change>
void KvmMachine::withWorldStopped(Change change) {
  {
    std::lock_guard hold(runLock_);
    requestStop(kWorld);
  }
  for (auto& vcpu : vcpus_) {
    for (unsigned tries = 0; vcpu->mode.load(std::memory_order_seq_cst) == Vcpu::Mode::Running; ++tries) {
      if (tries < 100) {
        sched_yield();
      } else {
        const timespec pause{0, 20'000};
        nanosleep(&pause, nullptr);
      }
    }
  }
  change();
  std::lock_guard hold(runLock_);
  stop_.fetch_and(~static_cast<uint32_t>(kWorld), std::memory_order_seq_cst);
  parkChanged_.notify_all();
}

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
  for (auto& vcpu : vcpus_) vcpu->freeze(now);
  call(vm_, KVM_GET_CLOCK, &clock_);
}

void KvmMachine::thaw() noexcept {
  if (!frozen_) return;
  frozen_ = false;
  const uint64_t now = __rdtsc();
  for (auto& vcpu : vcpus_) vcpu->thaw(now);
  kvm_clock_data clock{};
  clock.clock = clock_.clock;
  call(vm_, KVM_SET_CLOCK, &clock);
  // Last: it also forgets ticks that were due, and an acknowledgement it waits for.
  call(vm_, KVM_SET_PIT2, &pit_);
}

// ---- memory and doorbells ------------------------------------------------------------------------------------------------------

Error KvmMachine::map(RegionId region, uint64_t offset, Gpa gpa, uint64_t bytes) {
  if (destroyed_) return kDestroyed;
  Error error;
  withWorldStopped([&] {
    error = memory_->map(region, offset, gpa, bytes);
    if (error.empty()) error = slots_->mapped(region, offset, gpa, bytes);
  });
  return error;
}

Error KvmMachine::unmap(Gpa gpa, uint64_t bytes) {
  if (destroyed_) return kDestroyed;
  Error error;
  withWorldStopped([&] {
    error = memory_->unmap(gpa, bytes);
    if (error.empty()) error = slots_->unmapped(gpa, bytes);
  });
  return error;
}

bool KvmMachine::takeDirty(RegionId region, uint8_t* bitmap, uint64_t bitmapBytes) {
  if (!destroyed_) slots_->harvest(region);
  return memory_->takeDirty(region, bitmap, bitmapBytes);
}

Error KvmMachine::addDoorbell(DoorbellKind kind, uint64_t address, unsigned width, uint32_t id) {
  if (destroyed_) return kDestroyed;
  const Doorbell bell{kind, static_cast<uint8_t>(width), id, address};
  if (doorbells_.taken(bell)) return "There is a doorbell with this number or at this address.";
  withWorldStopped([&] { doorbells_.add(bell); });
  return {};
}

void KvmMachine::removeDoorbell(uint32_t id) {
  if (destroyed_) return;
  withWorldStopped([&] { doorbells_.remove(id); });
}

bool KvmMachine::ring(DoorbellKind kind, uint64_t address, unsigned width, const void* data) noexcept {
  const Doorbell* const bell = doorbells_.find(kind, address, width);
  if (bell == nullptr) return false;
  uint64_t value = 0;
  std::memcpy(&value, data, width);
  exits_.ring(bell->id, value);
  return true;
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

/** The board's NMI line: the bootstrap processor's, without leaving KVM_RUN for it. */
void KvmMachine::nmi() { sendMsi(kMsiWindow, kMsiNmi); }

// ---- state ---------------------------------------------------------------------------------------------------------------------

Error KvmMachine::reset() {
  if (destroyed_) return kDestroyed;
  std::lock_guard hold(runLock_);
  if (!atRest()) return kNotPaused;
  freeze();
  for (const kvm_irqchip& chip : chips_) {
    if (const int result = call(vm_, KVM_SET_IRQCHIP, &chip); result < 0) return hostError("KVM cannot reset its interrupt controllers", result);
  }
  pit_ = pitAtPowerOn_;
  for (auto& vcpu : vcpus_) {
    if (Error error = vcpu->reset(); !error.empty()) return error;
  }
  return {};
}

Error KvmMachine::getState(unsigned index, CpuSnapshot& out) {
  if (destroyed_) return kDestroyed;
  if (index >= vcpus_.size()) return "There is no such processor.";
  std::lock_guard hold(runLock_);
  return atRest() ? vcpus_[index]->get(out) : kNotPaused;
}

Error KvmMachine::setState(unsigned index, const CpuSnapshot& in) {
  if (destroyed_) return kDestroyed;
  if (index >= vcpus_.size()) return "There is no such processor.";
  std::lock_guard hold(runLock_);
  if (!atRest()) return kNotPaused;
  if (Error error = impossible(in.state); !error.empty()) return error;
  CpuSnapshot before{};
  if (Error error = vcpus_[index]->get(before); !error.empty()) return error;
  Error error = vcpus_[index]->set(in);
  if (!error.empty()) vcpus_[index]->set(before);
  return error;
}

std::vector<VcpuStats> KvmMachine::stats() {
  std::vector<VcpuStats> all;
  for (auto& vcpu : vcpus_) all.push_back(vcpu->stats());
  return all;
}

}  // namespace lodge::kvm
