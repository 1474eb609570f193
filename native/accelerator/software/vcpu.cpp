#include "accelerator/software/vcpu.h"

#include <fcntl.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <thread>

#include "accelerator/clock.h"
#include "accelerator/futex.h"
#include "accelerator/software/machine.h"

namespace lodge::software {

using x86::IoStatus;

// ---- thread ----------------------------------------------------------------------------------------------------------------

Vcpu::~Vcpu() {
  join();
  if (schedstat_ >= 0) close(schedstat_);
}

void Vcpu::run() noexcept {
  while (machine_.enter(*this)) {
    const x86::RunExit reason = cpu_->run();
    switch (reason) {
      case x86::RunExit::Halted: sleep(false); break;
      case x86::RunExit::WaitForSipi: sleep(true); break;
      case x86::RunExit::StopRequested: break;
      case x86::RunExit::Abandoned: break;  // the machine is ending: enter() says so
      case x86::RunExit::TripleFault: machine_.stopped(*this, true, "The guest had a triple fault."); break;
      case x86::RunExit::Debug: machine_.debugStopped(*this, cpu_->debugStop()); break;
      case x86::RunExit::InternalError: machine_.stopped(*this, false, cpu_->message()); break;
    }
  }
}

namespace {

constexpr uint64_t kPatienceMicros = 10;

/** Counts the time it lives. */
class HaltedTime {
 public:
  HaltedTime(x86::Counter& total, std::atomic<uint64_t>& since, HaltPoll& poll) : total_(total), since_(since), poll_(poll) {
    since_.store(monotonicNs(), std::memory_order_relaxed);
  }
  ~HaltedTime() {
    const uint64_t began = since_.exchange(0, std::memory_order_relaxed), halted = monotonicNs() - began;
    total_.add(halted);
    poll_.halted(halted / 1000);
  }

 private:
  x86::Counter& total_;
  std::atomic<uint64_t>& since_;
  HaltPoll& poll_;
};

}  // namespace

/** Looks for a wake-up for as long as that has paid lately. */
bool Vcpu::awaited(uint32_t seen) noexcept {
  static const unsigned processors = std::thread::hardware_concurrency();
  if (poll_.micros() == 0 || machine_.capped()) return false;
  const bool mayPoll = machine_.polling.fetch_add(1, std::memory_order_relaxed) + 1 < processors;
  bool woken = false;
  const uint64_t start = hostTsc(), perMicro = hostTscHz() / 1'000'000, most = poll_.micros() * perMicro;
  for (uint64_t waited = 0; mayPoll && !woken && waited < most; waited = hostTsc() - start) {
    // Whoever will wake it may wait for this very processor.
    if (waited > kPatienceMicros * perMicro) sched_yield();
    else _mm_pause();
    woken = wakes_.load(std::memory_order_acquire) != seen;
  }
  machine_.polling.fetch_sub(1, std::memory_order_relaxed);
  return woken;
}

/** Until run() would do something: what that is depends on why it returned. */
void Vcpu::sleep(bool waitForSipi) noexcept {
  mode.store(Mode::Idle, std::memory_order_seq_cst);
  const HaltedTime time(haltedNs_, haltedSince_, poll_);
  const bool interruptible = !waitForSipi && (cpu_->state().rflags & x86::kIf);
  for (;;) {
    const uint32_t seen = wakes_.load(std::memory_order_seq_cst);
    const uint32_t requests = cpu_->requests();
    if (waitForSipi) {
      // INIT while waiting changes nothing, and an NMI waits for the startup.
      if (requests & (x86::kRequestStartup | x86::kRequestStop)) return;
    } else {
      // A request for an interrupt that IF or the priority holds back must not keep the thread awake. All others are taken
      // in by run() whatever the processor's state.
      if (requests & ~static_cast<uint32_t>(x86::kRequestInterrupt)) return;
      if (interruptible && interruptPending()) return;
    }
    if (awaited(seen)) continue;
    asleep_.store(true, std::memory_order_seq_cst);
    if (wakes_.load(std::memory_order_seq_cst) == seen) futexWait(wakes_, seen);
    asleep_.store(false, std::memory_order_seq_cst);
  }
}

void Vcpu::wake() noexcept {
  wakes_.fetch_add(1, std::memory_order_seq_cst);
  if (asleep_.load(std::memory_order_seq_cst)) futexWake(wakes_);
}

void Vcpu::request(uint32_t requests) noexcept {
  cpu_->request(requests);
  wake();
}

VcpuStats Vcpu::stats() noexcept {
  VcpuStats out = commonStats();
  const uint64_t total = haltedNs_.value(), since = haltedSince_.load(std::memory_order_relaxed), now = monotonicNs();
  out.halted = since != 0;
  out.haltedSeconds = static_cast<double>(total + (since != 0 && now > since ? now - since : 0)) / 1e9;
  out.cpu = &cpu_->counters();
  out.translator = cpu_->tierCounters();
  if (out.translator == nullptr) out.instructions = cpu_->instructions();
  return out;
}

void Vcpu::sampleTick(uint32_t ticks) noexcept {
  if (haltedSince_.load(std::memory_order_relaxed) != 0) {
    samples.halted(ticks);
  } else if (mode.load(std::memory_order_relaxed) != Mode::Idle) {
    samples.owe(ticks);
    cpu_->request(x86::kRequestSample);
  }
}

// ---- ports and MMIO ----------------------------------------------------------------------------------------------------------

IoStatus Vcpu::exit(ExitKind kind, uint64_t address, unsigned width, unsigned count, void* data) noexcept {
  exits_[static_cast<unsigned>(kind) - 1].add();
  mode.store(Mode::Waiting, std::memory_order_seq_cst);
  const bool answered = machine_.exits().exchange(index_, kind, address, width, count, data);
  mode.store(Mode::Running, std::memory_order_seq_cst);
  // The time it took belongs to the instruction that asked, not to what comes next.
  if (samples.owes()) samples.record(cpu_->place(), true);
  return answered ? IoStatus::Done : IoStatus::Abandoned;
}

// A wide access that begins at a port of the interrupt controllers goes to them byte by byte, as on an 8-bit bus; bytes past
// their ports read as ones.
IoStatus Vcpu::portIn(uint16_t port, unsigned width, unsigned count, void* data) noexcept {
  if (!IrqChip::ownsPort(port)) {
    if (count != 1 || !machine_.quickIn(port, width, data)) return exit(ExitKind::PortIn, port, width, count, data);
    quick_.add();
    return IoStatus::Done;
  }
  auto* bytes = static_cast<uint8_t*>(data);
  for (unsigned i = 0; i < width * count; ++i) {
    const auto at = static_cast<uint16_t>(port + i % width);
    bytes[i] = IrqChip::ownsPort(at) ? machine_.chip().readPort(at) : 0xff;
  }
  return IoStatus::Done;
}

IoStatus Vcpu::portOut(uint16_t port, unsigned width, unsigned count, const void* data) noexcept {
  if (IrqChip::ownsPort(port)) {
    auto* bytes = static_cast<const uint8_t*>(data);
    for (unsigned i = 0; i < width * count; ++i) {
      const auto at = static_cast<uint16_t>(port + i % width);
      if (IrqChip::ownsPort(at)) machine_.chip().writePort(at, bytes[i]);
    }
    return IoStatus::Done;
  }
  if (count == 1 && machine_.ring(DoorbellKind::Port, port, width, data)) {
    doorbells_.add();
    return IoStatus::Done;
  }
  if (count == 1 && machine_.quickOut(port, width, data)) {
    quick_.add();
    return IoStatus::Done;
  }
  return exit(ExitKind::PortOut, port, width, count, const_cast<void*>(data));
}

// FEC00000h–FEFFFFFFh is where the I/O APIC and the local APIC live; a local APIC that the guest moved elsewhere is not found.
static bool apicWindow(Gpa gpa) { return gpa >= 0xfec00000 && gpa < 0xff000000; }

IoStatus Vcpu::mmioRead(Gpa gpa, unsigned width, void* data) noexcept {
  if (apicWindow(gpa) && (takePvEoi(), machine_.chip().readMmio(index_, gpa, width, data))) return IoStatus::Done;
  return exit(ExitKind::MmioRead, gpa, width, 1, data);
}

IoStatus Vcpu::mmioWrite(Gpa gpa, unsigned width, const void* data) noexcept {
  if (apicWindow(gpa) && (takePvEoi(), machine_.chip().writeMmio(index_, gpa, width, data))) return IoStatus::Done;
  if (machine_.ring(DoorbellKind::Mmio, gpa, width, data)) {
    doorbells_.add();
    return IoStatus::Done;
  }
  return exit(ExitKind::MmioWrite, gpa, width, 1, const_cast<void*>(data));
}

// ---- interrupts and time -----------------------------------------------------------------------------------------------------

bool Vcpu::interruptPending() noexcept {
  takePvEoi();
  return machine_.chip().interruptPending(index_);
}

int Vcpu::acknowledgeInterrupt() noexcept {
  takePvEoi();
  const int vector = machine_.chip().acknowledge(index_);
  if (!(pvEoi_ & 1) || vector < 0) return vector;
  uint8_t* const word = machine_.memory()->range(pvEoi_ & ~1ull, 4);
  if (word != nullptr && machine_.chip().mayDeferEoi(index_, vector)) {
    __atomic_fetch_or(word, uint8_t{1}, __ATOMIC_SEQ_CST);
    pvEoiOffered_ = true;
  }
  return vector;
}
uint64_t Vcpu::readTpr() noexcept { return machine_.chip().readCr8(index_); }
void Vcpu::writeTpr(uint64_t cr8) noexcept { machine_.chip().writeCr8(index_, cr8); }
bool Vcpu::readApicMsr(uint32_t msr, uint64_t& value) noexcept {
  takePvEoi();
  return machine_.chip().readMsr(index_, msr, value);
}
bool Vcpu::writeApicMsr(uint32_t msr, uint64_t value) noexcept {
  takePvEoi();
  return machine_.chip().writeMsr(index_, msr, value);
}

// ---- paravirtualization --------------------------------------------------------------------------------------------------------

void Vcpu::kick(uint32_t apicId) noexcept { machine_.kick(apicId); }

void Vcpu::setPvEoi(uint64_t msr) noexcept {
  takePvEoi();
  pvEoi_ = msr;
}

/** Before anything looks at the local APIC: what the guest did with the offer. The offer ends with it. */
void Vcpu::takePvEoi() noexcept {
  if (!pvEoiOffered_) return;
  pvEoiOffered_ = false;
  uint8_t* const word = machine_.memory()->range(pvEoi_ & ~1ull, 4);
  const bool ended = word != nullptr && !(__atomic_fetch_and(word, uint8_t{0xfe}, __ATOMIC_SEQ_CST) & 1);
  machine_.chip().finishEoi(index_, ended);
}

uint64_t Vcpu::stolenTime() noexcept {
  const uint64_t capped = withheld.load(std::memory_order_relaxed);
  // “run time, time waited for a processor, …” in nanoseconds; a kernel without it steals nothing.
  if (schedstat_ < 0) schedstat_ = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
  char text[64];
  const ssize_t bytes = schedstat_ < 0 ? -1 : pread(schedstat_, text, sizeof text - 1, 0);
  if (bytes <= 0) return capped;
  text[bytes] = 0;
  unsigned long long ran = 0, waited = 0;
  return std::sscanf(text, "%llu %llu", &ran, &waited) == 2 ? waited + capped : capped;
}

uint64_t Vcpu::tsc() const noexcept { return machine_.clock().tsc() + tscOffset_.load(std::memory_order_relaxed); }

void Vcpu::setTsc(uint64_t value) noexcept { tscOffset_.store(value - machine_.clock().tsc(), std::memory_order_relaxed); }

void Vcpu::writeTsc(uint64_t value) noexcept {
  setTsc(value);
  machine_.chip().tscChanged(index_);
}

}  // namespace lodge::software
