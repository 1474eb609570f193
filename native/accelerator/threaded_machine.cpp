#include "accelerator/threaded_machine.h"

#include <sched.h>
#include <time.h>

#include <chrono>
#include <cstring>

#include "accelerator/clock.h"
#include "accelerator/cpu_state.h"
#include "accelerator/futex.h"

namespace lodge {
namespace {

constexpr const char* kDestroyed = "The machine has been destroyed.";
constexpr const char* kNotPaused = "The machine must be paused for this.";
constexpr const char* kNoSuchCpu = "There is no such processor.";

}  // namespace

Error ThreadedMachine::checkCpus(unsigned cpus) {
  if (cpus != 0 && cpus <= kMaxCpus) return {};
  return "A machine has between 1 and " + std::to_string(kMaxCpus) + " processors.";
}

// ---- running and parking -----------------------------------------------------------------------------------------------------

bool ThreadedMachine::enter(VcpuThread& vcpu) noexcept {
  vcpu.mode.store(VcpuThread::Mode::Running, std::memory_order_seq_cst);
  // Whoever sets a stop flag also asks the vCPU to stop, and that request is taken back only below.
  if (stop_.load(std::memory_order_seq_cst) == 0 && !vcpu.stopWanted()) return true;
  vcpu.mode.store(VcpuThread::Mode::Idle, std::memory_order_seq_cst);

  std::unique_lock hold(runLock_);
  for (;;) {
    const uint32_t stop = stop_.load(std::memory_order_relaxed);
    if (stop & kEnd) return false;
    if (stop == 0 && !held(vcpu)) {
      vcpu.mayRun();
      break;
    }
    // A pause is at an instruction boundary: the vCPU goes on for as long as its access takes. While the world is stopped even
    // that would be too much, so such a vCPU waits without counting as parked.
    if (vcpu.unfinished() && !(stop & kWorld)) break;
    const bool counts = !vcpu.unfinished();
    parked_ += counts;
    if (settled()) allParked_.notify_all();
    if (stop & kPause) reportIfSettled();
    parkChanged_.wait(hold);
    parked_ -= counts;
  }
  vcpu.mode.store(VcpuThread::Mode::Running, std::memory_order_seq_cst);
  return true;
}

/** Under runLock_. */
void ThreadedMachine::requestStop(uint32_t flag) {
  stop_.fetch_or(flag, std::memory_order_seq_cst);
  for (auto& vcpu : vcpus_) vcpu->stopRunning();
}

/** Under runLock_, after anything that may have completed a pause. */
void ThreadedMachine::reportIfSettled() {
  if (!atRest()) return;
  freeze();
  for (Event& event : stopEvents_) exits_.push(std::move(event));
  stopEvents_.clear();
  if (pauseWanted_) exits_.push(Event{});
  pauseWanted_ = false;
}

void ThreadedMachine::stopWith(VcpuThread& vcpu, Event event) noexcept {
  event.vcpu = vcpu.index();
  vcpu.mode.store(VcpuThread::Mode::Idle, std::memory_order_seq_cst);
  std::lock_guard hold(runLock_);
  if (stop_.load(std::memory_order_relaxed) & kEnd) return;
  stopEvents_.push_back(std::move(event));
  requestStop(kPause);  // enter() parks this vCPU too
}

void ThreadedMachine::stopped(VcpuThread& vcpu, bool tripleFault, const std::string& message) noexcept {
  CpuSnapshot snapshot{};
  readState(vcpu, snapshot);
  Event event;
  event.kind = Event::Kind::Stopped;
  event.tripleFault = tripleFault;
  event.message = message;
  event.snapshot = std::make_shared<const CpuSnapshot>(std::move(snapshot));
  stopWith(vcpu, std::move(event));
}

void ThreadedMachine::debugStopped(VcpuThread& vcpu, const x86::DebugStop& stop) noexcept {
  Event event;
  event.kind = Event::Kind::Debug;
  event.debug = stop;
  stopWith(vcpu, std::move(event));
}

Error ThreadedMachine::start() {
  if (destroyed_) return kDestroyed;
  if (started_) return "The machine has been started already.";
  {
    std::lock_guard hold(runLock_);
    started_ = true;
  }
  bool complete = startHelpers();
  for (auto& vcpu : vcpus_) complete = complete && vcpu->start();
  if (complete) {
    std::unique_lock hold(runLock_);
    allParked_.wait(hold, [&] { return settled(); });
    return {};
  }
  destroy();
  return "The host has no threads left for the virtual processors.";
}

void ThreadedMachine::pause() {
  if (destroyed_) return;
  std::lock_guard hold(runLock_);
  pauseWanted_ = true;
  requestStop(kPause);
  reportIfSettled();
}

void ThreadedMachine::resume(const std::vector<Go>& how) {
  if (destroyed_ || !started_) return;
  std::lock_guard hold(runLock_);
  if (!(stop_.load(std::memory_order_relaxed) & kPause)) return;
  pauseWanted_ = false;
  held_ = 0;
  for (auto& vcpu : vcpus_) {
    const Go go = vcpu->index() < how.size() ? how[vcpu->index()] : Go::Run;
    if (go == Go::Hold) held_ |= 1ull << vcpu->index();
    // A pause that was not waited for may leave a vCPU running still.
    else if (settled()) vcpu->goOn(go);
  }
  governor_.restart(monotonicNs());
  thaw();
  stop_.fetch_and(~static_cast<uint32_t>(kPause), std::memory_order_seq_cst);
  parkChanged_.notify_all();
  runStateChanged();
}

void ThreadedMachine::destroy() {
  if (destroyed_) return;
  setCpuCap(100);
  setCpuQuota(0);
  destroyed_ = true;
  {
    std::lock_guard hold(runLock_);
    exits_.abandon();
    requestStop(kEnd);
    parkChanged_.notify_all();
    runStateChanged();
  }
  stopSampling();  // its thread speaks to the vCPUs'
  for (auto& vcpu : vcpus_) vcpu->join();
  joinHelpers();
}

/** On the owner's thread, which is the only one that answers exits: a vCPU that waits for an answer stays where it is. */
template <class Change>
void ThreadedMachine::withWorldStopped(Change change) {
  {
    std::lock_guard hold(runLock_);
    requestStop(kWorld);
  }
  for (auto& vcpu : vcpus_) {
    for (unsigned tries = 0; vcpu->mode.load(std::memory_order_seq_cst) == VcpuThread::Mode::Running; ++tries) {
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

// ---- cap and quota ------------------------------------------------------------------------------------------------------------

Error ThreadedMachine::setCpuCap(unsigned percent) {
  if (destroyed_) return kDestroyed;
  if (percent < 1 || percent > 100) return "The cap is a percentage from 1 to 100.";
  std::unique_lock hold(runLock_);
  governor_.setCap(percent, monotonicNs());
  return governed(std::move(hold));
}

Error ThreadedMachine::setCpuQuota(double processors) {
  if (destroyed_) return kDestroyed;
  if (!(processors >= 0)) return "A quota is a number of processors.";
  std::unique_lock hold(runLock_);
  governor_.setQuota(processors, monotonicNs());
  return governed(std::move(hold));
}

/** Under runLock_, which it gives back: the governor's thread begins or ends as it is needed. */
Error ThreadedMachine::governed(std::unique_lock<std::mutex> hold) {
  capped_.store(governor_.active(), std::memory_order_relaxed);
  waiting_ = 0;
  parkChanged_.notify_all();
  if (governor_.active() == governing_) return {};
  if (governor_.active()) {
    governorEnds_ = false;
    const auto main = [](void* self) -> void* {
      static_cast<ThreadedMachine*>(self)->govern();
      return nullptr;
    };
    governing_ = startMachineThread(governorThread_, main, this);
    if (governing_) return {};
    governor_.setCap(100, 0);
    governor_.setQuota(0, 0);
    capped_.store(false, std::memory_order_relaxed);
    return "The host has no thread left to watch the processors.";
  }
  governing_ = false;
  governorEnds_ = true;
  governorChanged_.notify_all();
  hold.unlock();
  pthread_join(governorThread_, nullptr);
  return {};
}

void ThreadedMachine::govern() noexcept {
  std::unique_lock hold(runLock_);
  uint64_t last = monotonicNs();
  std::vector<uint64_t> used(vcpus_.size());
  while (!governorEnds_) {
    governorChanged_.wait_for(hold, std::chrono::nanoseconds(Governor::kTickNs));
    const uint64_t now = monotonicNs(), passed = now - last;
    last = now;
    if (governorEnds_ || !started_ || stop_.load(std::memory_order_relaxed) != 0) continue;
    for (size_t i = 0; i < vcpus_.size(); ++i) {
      used[i] = vcpus_[i]->cpuNanoseconds();
      if (waiting_ >> i & 1) vcpus_[i]->withheld.fetch_add(passed, std::memory_order_relaxed);
    }
    const uint64_t before = waiting_;
    waiting_ = governor_.tick(now, used);
    for (auto& vcpu : vcpus_) {
      if ((waiting_ & ~before) >> vcpu->index() & 1) vcpu->stopRunning();
    }
    if (before & ~waiting_) parkChanged_.notify_all();
  }
}

// ---- memory and doorbells ------------------------------------------------------------------------------------------------------

Error ThreadedMachine::map(RegionId region, uint64_t offset, Gpa gpa, uint64_t bytes) {
  if (destroyed_) return kDestroyed;
  Error error;
  withWorldStopped([&] {
    error = memory_->map(region, offset, gpa, bytes);
    if (error.empty()) error = mapped(region, offset, gpa, bytes);
  });
  return error;
}

Error ThreadedMachine::unmap(Gpa gpa, uint64_t bytes) {
  if (destroyed_) return kDestroyed;
  Error error;
  withWorldStopped([&] {
    error = memory_->unmap(gpa, bytes);
    if (error.empty()) error = unmapped(gpa, bytes);
  });
  return error;
}

Error ThreadedMachine::addDoorbell(DoorbellKind kind, uint64_t address, unsigned width, uint32_t id) {
  if (destroyed_) return kDestroyed;
  const Doorbell bell{kind, static_cast<uint8_t>(width), id, address};
  if (doorbells_.taken(bell)) return "There is a doorbell with this number or at this address.";
  withWorldStopped([&] { doorbells_.add(bell); });
  return {};
}

void ThreadedMachine::removeDoorbell(uint32_t id) {
  if (destroyed_) return;
  withWorldStopped([&] { doorbells_.remove(id); });
}

bool ThreadedMachine::ring(DoorbellKind kind, uint64_t address, unsigned width, const void* data) noexcept {
  const Doorbell* const bell = doorbells_.find(kind, address, width);
  if (bell == nullptr) return false;
  uint64_t value = 0;
  std::memcpy(&value, data, width);
  exits_.ring(bell->id, value);
  return true;
}

Error ThreadedMachine::addQuickPort(uint16_t port, unsigned width, unsigned number) {
  if (destroyed_) return kDestroyed;
  bool added = false;
  withWorldStopped([&] { added = quickPorts_.add(port, width, number); });
  return added ? Error{} : "There is a quick port with this number or at this address, or too many of them.";
}

void ThreadedMachine::removeQuickPort(unsigned number) {
  if (destroyed_) return;
  withWorldStopped([&] { quickPorts_.remove(number); });
}

bool ThreadedMachine::quickIn(uint16_t port, unsigned width, void* data) noexcept {
  const int number = quickPorts_.find(port, width);
  return number >= 0 && exits_.quickRead(static_cast<unsigned>(number), width, data);
}

bool ThreadedMachine::quickOut(uint16_t port, unsigned width, const void* data) noexcept {
  const int number = quickPorts_.find(port, width);
  if (number < 0) return false;
  uint32_t value = 0;
  std::memcpy(&value, data, width);
  return exits_.post(static_cast<unsigned>(number), port, width, value);
}

// ---- state ---------------------------------------------------------------------------------------------------------------------

Error ThreadedMachine::reset() {
  if (destroyed_) return kDestroyed;
  std::lock_guard hold(runLock_);
  if (!atRest()) return kNotPaused;
  freeze();
  exits_.dropPosted();
  return resetParts();
}

Error ThreadedMachine::setDebugPoints(const x86::DebugPoints& points) {
  if (destroyed_) return kDestroyed;
  std::lock_guard hold(runLock_);
  return atRest() ? applyDebugPoints(points) : kNotPaused;
}

Error ThreadedMachine::getState(unsigned index, CpuSnapshot& out) {
  if (destroyed_) return kDestroyed;
  if (index >= vcpus_.size()) return kNoSuchCpu;
  std::lock_guard hold(runLock_);
  return atRest() ? readState(*vcpus_[index], out) : kNotPaused;
}

Error ThreadedMachine::setState(unsigned index, const CpuSnapshot& in) {
  if (destroyed_) return kDestroyed;
  if (index >= vcpus_.size()) return kNoSuchCpu;
  std::lock_guard hold(runLock_);
  if (!atRest()) return kNotPaused;
  if (Error error = impossible(in.state); !error.empty()) return error;
  CpuSnapshot before{};
  if (Error error = readState(*vcpus_[index], before); !error.empty()) return error;
  Error error = writeState(*vcpus_[index], in);
  if (!error.empty()) writeState(*vcpus_[index], before);
  return error;
}

std::vector<VcpuStats> ThreadedMachine::stats() {
  std::vector<VcpuStats> all;
  for (auto& vcpu : vcpus_) all.push_back(vcpu->stats());
  return all;
}

// ---- sampling ------------------------------------------------------------------------------------------------------------------

Error ThreadedMachine::startSampling(unsigned hertz) {
  if (destroyed_) return kDestroyed;
  if (!started_) return "Only a machine that was started can be profiled.";
  if (sampling_) return "The machine is being profiled already.";
  if (hertz < kSampleRateMin || hertz > kSampleRateMax) {
    return "Samples are taken " + std::to_string(kSampleRateMin) + " to " + std::to_string(kSampleRateMax) + " times a second.";
  }
  for (auto& vcpu : vcpus_) vcpu->samples.prepare();
  samplePeriodNs_ = 1'000'000'000 / hertz;
  samplerEnds_.store(0, std::memory_order_relaxed);
  const auto main = [](void* self) -> void* {
    static_cast<ThreadedMachine*>(self)->sampleLoop();
    return nullptr;
  };
  sampling_ = startMachineThread(sampler_, main, this);
  if (!sampling_) return "The host has no thread left to take samples.";
  pthread_setname_np(sampler_, "sampler");
  return {};
}

void ThreadedMachine::stopSampling() {
  if (!sampling_) return;
  sampling_ = false;
  samplerEnds_.store(1, std::memory_order_seq_cst);
  futexWake(samplerEnds_);
  pthread_join(sampler_, nullptr);
}

Samples ThreadedMachine::takeSamples() {
  Samples out;
  for (auto& vcpu : vcpus_) vcpu->samples.take(vcpu->index(), out);
  return out;
}

void ThreadedMachine::sampleLoop() noexcept {
  uint64_t due = monotonicNs() + samplePeriodNs_;
  while (samplerEnds_.load(std::memory_order_seq_cst) == 0) {
    const uint64_t now = monotonicNs();
    if (now < due) {
      futexWait(samplerEnds_, 0, due);
      continue;
    }
    // A busy host wakes this thread late: the ticks it missed count all the same.
    const uint64_t ticks = (now - due) / samplePeriodNs_ + 1;
    due += ticks * samplePeriodNs_;
    for (auto& vcpu : vcpus_) vcpu->sampleTick(static_cast<uint32_t>(ticks));
  }
}

}  // namespace lodge
