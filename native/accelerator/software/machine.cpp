#include "accelerator/software/machine.h"

#include <sys/prctl.h>

#include "accelerator/cpu_state.h"
#include "accelerator/futex.h"

namespace lodge::software {

std::unique_ptr<Machine> SoftwareMachine::create(const MachineConfig& config, const CpuFactory& factory, Error& error) {
  if (error = checkCpus(config.cpus); !error.empty()) return nullptr;
  std::unique_ptr<SoftwareMachine> machine(new SoftwareMachine(config));
  for (unsigned i = 0; i < config.cpus; ++i) {
    x86::CpuConfig cpu;
    cpu.index = i;
    cpu.count = config.cpus;
    cpu.model = config.cpuModel;
    cpu.tscHz = hostTscHz();
    Vcpu& vcpu = machine->vcpu(i);
    vcpu.setCpu(factory(cpu, *machine->memory_, vcpu));
    vcpu.cpu().reset();
    vcpu.stopRunning();  // as the machine starts paused
  }
  return machine;
}

SoftwareMachine::SoftwareMachine(const MachineConfig& config) : ThreadedMachine(config), chip_(config.cpus, *this) {
  for (unsigned i = 0; i < config.cpus; ++i) vcpus_.push_back(std::make_unique<Vcpu>(*this, i));
}

SoftwareMachine::~SoftwareMachine() {
  destroy();
  vcpus_.clear();  // the cores leave PhysicalMemory's observers while the rest still stands
}

bool SoftwareMachine::startHelpers() {
  const auto timerMain = [](void* self) -> void* {
    static_cast<SoftwareMachine*>(self)->runTimers();
    return nullptr;
  };
  timerStarted_ = startMachineThread(timer_, timerMain, this);
  if (timerStarted_) pthread_setname_np(timer_, "timers");
  return timerStarted_;
}

void SoftwareMachine::joinHelpers() {
  if (timerStarted_) pthread_join(timer_, nullptr);
  timerStarted_ = false;
}

Error SoftwareMachine::mapped(RegionId, uint64_t, Gpa gpa, uint64_t bytes) { return unmapped(gpa, bytes); }

Error SoftwareMachine::unmapped(Gpa, uint64_t) {
  for (size_t i = 0; i < vcpus_.size(); ++i) vcpu(i).request(x86::kRequestTlbFlush);
  return {};
}

// ---- state -----------------------------------------------------------------------------------------------------------------

Error SoftwareMachine::resetParts() {
  chip_.reset();
  for (size_t i = 0; i < vcpus_.size(); ++i) {
    x86::Cpu& cpu = vcpu(i).cpu();
    cpu.clearRequest(~static_cast<uint32_t>(x86::kRequestStop));
    cpu.reset();
    cpu.request(x86::kRequestTlbFlush);
    vcpu(i).resetTsc(clock_.tsc());
  }
  return {};
}

Error SoftwareMachine::applyDebugPoints(const x86::DebugPoints& points) {
  for (size_t i = 0; i < vcpus_.size(); ++i) vcpu(i).cpu().setDebugPoints(points);
  return {};
}

Error SoftwareMachine::readState(VcpuThread& of, CpuSnapshot& out) noexcept {
  auto& vcpu = static_cast<Vcpu&>(of);
  out.state = vcpu.cpu().state();
  out.state.cr8 = chip_.readCr8(vcpu.index());
  uint64_t value;
  out.msrs.emplace_back(kMsrTsc, vcpu.tsc());
  if (chip_.readMsr(vcpu.index(), kMsrApicBase, value)) {
    out.state.apicBase = value;
    out.msrs.emplace_back(kMsrApicBase, value);
  }
  for (uint32_t msr : kSavedMsrs) {
    if (vcpu.cpu().readMsr(msr, value)) out.msrs.emplace_back(msr, value);
  }
  if (chip_.readMsr(vcpu.index(), kMsrTscDeadline, value)) out.msrs.emplace_back(kMsrTscDeadline, value);
  return {};
}

Error SoftwareMachine::writeState(VcpuThread& to, const CpuSnapshot& in) {
  auto& vcpu = static_cast<Vcpu&>(to);
  const unsigned index = vcpu.index();
  // MSRs that State holds come from the list: the caller's State has only the fields CpuState names.
  x86::State& state = vcpu.cpu().state();
  const x86::State kept = state;
  state = in.state;
  state.star = kept.star, state.lstar = kept.lstar, state.cstar = kept.cstar, state.sfmask = kept.sfmask;
  state.kernelGsBase = kept.kernelGsBase, state.tscAux = kept.tscAux, state.pat = kept.pat;
  state.sysenterCs = kept.sysenterCs, state.sysenterEsp = kept.sysenterEsp, state.sysenterEip = kept.sysenterEip;
  state.apicBase = kept.apicBase, state.miscEnable = kept.miscEnable;
  vcpu.cpu().stateChanged();
  chip_.writeCr8(index, in.state.cr8);
  for (const auto& [msr, value] : in.msrs) {
    bool done;
    if (msr == kMsrTsc) {
      vcpu.setTsc(value);
      chip_.tscChanged(index);
      done = true;
    } else if (msr == kMsrApicBase || msr == kMsrTscDeadline) {
      done = chip_.writeMsr(index, msr, value);
    } else {
      done = vcpu.cpu().writeMsr(msr, value);
    }
    if (!done) return "MSR " + std::to_string(msr) + " does not exist here or cannot have this value.";
  }
  return {};
}

// ---- timers ----------------------------------------------------------------------------------------------------------------

void SoftwareMachine::init(unsigned index) noexcept {
  vcpu(index).cpu().clearRequest(x86::kRequestStartup);  // one that came before found a processor that did not wait for it
  vcpu(index).request(x86::kRequestInit);
}

void SoftwareMachine::startup(unsigned index, uint8_t vector) noexcept {
  vcpu(index).cpu().startupVector.store(vector, std::memory_order_relaxed);
  vcpu(index).request(x86::kRequestStartup);
}

void SoftwareMachine::timerSooner() noexcept {
  timerWord_.fetch_add(1, std::memory_order_seq_cst);
  futexWake(timerWord_);
}

void SoftwareMachine::runTimers() noexcept {
  prctl(PR_SET_TIMERSLACK, 1);  // the default lets the kernel be 50 µs late
  while (!ending()) {
    const uint32_t seen = timerWord_.load(std::memory_order_seq_cst);
    if (ending()) break;
    // resume() thaws the clock before it changes the word.
    uint64_t deadline = ~0ull;
    if (!clock_.frozen()) {
      const uint64_t next = chip_.runTimers();
      if (next != kNever) deadline = clock_.hostTimeOf(next);
    }
    futexWait(timerWord_, seen, deadline);
  }
}

}  // namespace lodge::software
