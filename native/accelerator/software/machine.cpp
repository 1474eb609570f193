#include "accelerator/software/machine.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

#include <cstring>

#include "accelerator/cpu_state.h"
#include "accelerator/futex.h"

namespace lodge::software {
namespace {

constexpr const char* kDestroyed = "The machine has been destroyed.";
constexpr const char* kNotPaused = "The machine must be paused for this.";

}  // namespace

std::unique_ptr<Machine> SoftwareMachine::create(const MachineConfig& config, const CpuFactory& factory, Error& error) {
  if (config.cpus == 0 || config.cpus > kMaxCpus) {
    error = "A machine has between 1 and " + std::to_string(kMaxCpus) + " processors.";
    return nullptr;
  }
  std::unique_ptr<SoftwareMachine> machine(new SoftwareMachine(config));
  for (auto& vcpu : machine->vcpus_) {
    x86::CpuConfig cpu;
    cpu.index = vcpu->index();
    cpu.count = config.cpus;
    cpu.tscHz = hostTscHz();
    vcpu->setCpu(factory(cpu, *machine->memory_, *vcpu));
    vcpu->cpu().reset();
    vcpu->cpu().request(x86::kRequestStop);  // as the machine starts paused
  }
  return machine;
}

SoftwareMachine::SoftwareMachine(const MachineConfig& config)
    : vcpus_([&] {
        std::vector<std::unique_ptr<Vcpu>> all;
        for (unsigned i = 0; i < config.cpus; ++i) all.push_back(std::make_unique<Vcpu>(*this, i));
        return all;
      }()),
      chip_(config.cpus, *this), exits_(config.cpus, config.exitRecords, config.wake) {}

SoftwareMachine::~SoftwareMachine() {
  destroy();
  vcpus_.clear();  // the cores leave PhysicalMemory's observers while the rest still stands
}

// ---- running and parking ---------------------------------------------------------------------------------------------------

bool SoftwareMachine::enter(Vcpu& vcpu) noexcept {
  vcpu.mode.store(Vcpu::Mode::Running, std::memory_order_seq_cst);
  // Without a stop request the flags are clear: whoever sets one sets the other, and the request is cleared only below.
  if (stop_.load(std::memory_order_seq_cst) == 0 && !(vcpu.cpu().requests() & x86::kRequestStop)) return true;
  vcpu.mode.store(Vcpu::Mode::Idle, std::memory_order_seq_cst);

  std::unique_lock hold(runLock_);
  for (;;) {
    const uint32_t stop = stop_.load(std::memory_order_relaxed);
    if (stop & kEnd) return false;
    if (stop == 0) break;
    ++parked_;
    if (settled()) allParked_.notify_all();
    if (stop & kPause) reportIfSettled();
    parkChanged_.wait(hold);
    --parked_;
  }
  vcpu.cpu().clearRequest(x86::kRequestStop);
  vcpu.mode.store(Vcpu::Mode::Running, std::memory_order_seq_cst);
  return true;
}

/** Under runLock_. */
void SoftwareMachine::requestStop(uint32_t flag) {
  stop_.fetch_or(flag, std::memory_order_seq_cst);
  for (auto& vcpu : vcpus_) vcpu->request(x86::kRequestStop);
}

/** Under runLock_, after anything that may have completed a pause. */
void SoftwareMachine::reportIfSettled() {
  if (!settled() || !(stop_.load(std::memory_order_relaxed) & kPause)) return;
  clock_.freeze();
  for (Event& event : stopEvents_) exits_.push(std::move(event));
  stopEvents_.clear();
  if (pauseWanted_) exits_.push(Event{});
  pauseWanted_ = false;
}

void SoftwareMachine::stopped(Vcpu& vcpu, bool tripleFault, const std::string& message) noexcept {
  Event event;
  event.kind = Event::Kind::Stopped;
  event.vcpu = vcpu.index();
  event.tripleFault = tripleFault;
  event.message = message;
  event.snapshot = std::make_shared<const CpuSnapshot>(snapshot(vcpu));
  vcpu.mode.store(Vcpu::Mode::Idle, std::memory_order_seq_cst);
  std::lock_guard hold(runLock_);
  if (stop_.load(std::memory_order_relaxed) & kEnd) return;
  stopEvents_.push_back(std::move(event));
  requestStop(kPause);  // enter() parks this vCPU too
}

Error SoftwareMachine::start() {
  if (destroyed_) return kDestroyed;
  if (started_) return "The machine has been started already.";
  {
    std::lock_guard hold(runLock_);
    started_ = true;
  }
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const auto timerMain = [](void* self) -> void* {
    static_cast<SoftwareMachine*>(self)->runTimers();
    return nullptr;
  };
  timerStarted_ = pthread_create(&timer_, nullptr, timerMain, this) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  bool complete = timerStarted_;
  if (timerStarted_) pthread_setname_np(timer_, "timers");
  for (auto& vcpu : vcpus_) complete = complete && vcpu->start();
  if (complete) {
    std::unique_lock hold(runLock_);
    allParked_.wait(hold, [&] { return settled(); });
    return {};
  }
  destroy();
  return "The host has no threads left for the virtual processors.";
}

void SoftwareMachine::pause() {
  if (destroyed_) return;
  std::lock_guard hold(runLock_);
  pauseWanted_ = true;
  requestStop(kPause);
  reportIfSettled();
}

void SoftwareMachine::resume() {
  if (destroyed_ || !started_) return;
  {
    std::lock_guard hold(runLock_);
    if (!(stop_.load(std::memory_order_relaxed) & kPause)) return;
    pauseWanted_ = false;
    clock_.thaw();
    stop_.fetch_and(~static_cast<uint32_t>(kPause), std::memory_order_seq_cst);
    parkChanged_.notify_all();
  }
  timerSooner();
}

void SoftwareMachine::destroy() {
  if (destroyed_) return;
  destroyed_ = true;
  {
    std::lock_guard hold(runLock_);
    exits_.abandon();
    requestStop(kEnd);
    parkChanged_.notify_all();
  }
  timerSooner();
  for (auto& vcpu : vcpus_) vcpu->join();
  if (timerStarted_) pthread_join(timer_, nullptr);
  timerStarted_ = false;
}

/** On the owner's thread, which is the only one that answers exits: a vCPU that waits for an answer stays where it is. */
template <class Change>
void SoftwareMachine::withWorldStopped(Change change) {
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

// ---- memory and doorbells --------------------------------------------------------------------------------------------------

Error SoftwareMachine::map(RegionId region, uint64_t offset, Gpa gpa, uint64_t bytes) {
  if (destroyed_) return kDestroyed;
  Error error;
  withWorldStopped([&] {
    error = memory_->map(region, offset, gpa, bytes);
    for (auto& vcpu : vcpus_) vcpu->request(x86::kRequestTlbFlush);
  });
  return error;
}

Error SoftwareMachine::unmap(Gpa gpa, uint64_t bytes) {
  if (destroyed_) return kDestroyed;
  Error error;
  withWorldStopped([&] {
    error = memory_->unmap(gpa, bytes);
    for (auto& vcpu : vcpus_) vcpu->request(x86::kRequestTlbFlush);
  });
  return error;
}

Error SoftwareMachine::addDoorbell(DoorbellKind kind, uint64_t address, unsigned width, uint32_t id) {
  if (destroyed_) return kDestroyed;
  const Doorbell bell{kind, static_cast<uint8_t>(width), id, address};
  if (doorbells_.taken(bell)) return "There is a doorbell with this number or at this address.";
  withWorldStopped([&] { doorbells_.add(bell); });
  return {};
}

void SoftwareMachine::removeDoorbell(uint32_t id) {
  if (destroyed_) return;
  withWorldStopped([&] { doorbells_.remove(id); });
}

bool SoftwareMachine::ring(DoorbellKind kind, uint64_t address, unsigned width, const void* data) noexcept {
  const Doorbell* const bell = doorbells_.find(kind, address, width);
  if (bell == nullptr) return false;
  uint64_t value = 0;
  std::memcpy(&value, data, width);
  exits_.ring(bell->id, value);
  return true;
}

// ---- state -----------------------------------------------------------------------------------------------------------------

Error SoftwareMachine::reset() {
  if (destroyed_) return kDestroyed;
  std::lock_guard hold(runLock_);
  if (!settled() || !(stop_.load(std::memory_order_relaxed) & kPause)) return kNotPaused;
  chip_.reset();
  for (auto& vcpu : vcpus_) {
    vcpu->cpu().clearRequest(~static_cast<uint32_t>(x86::kRequestStop));
    vcpu->cpu().reset();
    vcpu->cpu().request(x86::kRequestTlbFlush);
    vcpu->resetTsc(clock_.tsc());
  }
  return {};
}

CpuSnapshot SoftwareMachine::snapshot(Vcpu& vcpu) noexcept {
  CpuSnapshot out;
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
  return out;
}

Error SoftwareMachine::getState(unsigned index, CpuSnapshot& out) {
  if (destroyed_) return kDestroyed;
  if (index >= vcpus_.size()) return "There is no such processor.";
  std::lock_guard hold(runLock_);
  if (!settled() || !(stop_.load(std::memory_order_relaxed) & kPause)) return kNotPaused;
  out = snapshot(*vcpus_[index]);
  return {};
}

Error SoftwareMachine::setState(unsigned index, const CpuSnapshot& in) {
  if (destroyed_) return kDestroyed;
  if (index >= vcpus_.size()) return "There is no such processor.";
  std::lock_guard hold(runLock_);
  if (!settled() || !(stop_.load(std::memory_order_relaxed) & kPause)) return kNotPaused;
  if (Error error = impossible(in.state); !error.empty()) return error;

  Vcpu& vcpu = *vcpus_[index];
  const CpuSnapshot before = snapshot(vcpu);
  const auto apply = [&](const CpuSnapshot& wanted) -> Error {
    // MSRs that State holds come from the list: the caller's State has only the fields CpuState names.
    x86::State& state = vcpu.cpu().state();
    const x86::State kept = state;
    state = wanted.state;
    state.star = kept.star, state.lstar = kept.lstar, state.cstar = kept.cstar, state.sfmask = kept.sfmask;
    state.kernelGsBase = kept.kernelGsBase, state.tscAux = kept.tscAux, state.pat = kept.pat;
    state.sysenterCs = kept.sysenterCs, state.sysenterEsp = kept.sysenterEsp, state.sysenterEip = kept.sysenterEip;
    state.apicBase = kept.apicBase, state.miscEnable = kept.miscEnable, state.xcr0 = kept.xcr0;
    vcpu.cpu().stateChanged();
    chip_.writeCr8(index, wanted.state.cr8);
    for (const auto& [msr, value] : wanted.msrs) {
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
  };
  Error error = apply(in);
  if (!error.empty()) apply(before);
  return error;
}

// ---- owner -----------------------------------------------------------------------------------------------------------------

int SoftwareMachine::serve(int completed, unsigned spinMicros) {
  return destroyed_ ? kServeIdle : exits_.serve(completed, spinMicros);
}

std::vector<VcpuStats> SoftwareMachine::stats() {
  std::vector<VcpuStats> all;
  for (auto& vcpu : vcpus_) all.push_back(vcpu->stats());
  return all;
}

// ---- timers ----------------------------------------------------------------------------------------------------------------

void SoftwareMachine::startup(unsigned vcpu, uint8_t vector) noexcept {
  vcpus_[vcpu]->cpu().startupVector.store(vector, std::memory_order_relaxed);
  vcpus_[vcpu]->request(x86::kRequestStartup);
}

void SoftwareMachine::timerSooner() noexcept {
  timerWord_.fetch_add(1, std::memory_order_seq_cst);
  futexWake(timerWord_);
}

void SoftwareMachine::runTimers() noexcept {
  prctl(PR_SET_TIMERSLACK, 1);  // the default lets the kernel be 50 µs late
  while (!(stop_.load(std::memory_order_seq_cst) & kEnd)) {
    const uint32_t seen = timerWord_.load(std::memory_order_seq_cst);
    if (stop_.load(std::memory_order_seq_cst) & kEnd) break;
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
