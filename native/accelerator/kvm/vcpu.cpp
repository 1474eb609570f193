#include "accelerator/kvm/vcpu.h"

#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "accelerator/cpu_state.h"
#include "accelerator/kvm/cpuid.h"
#include "accelerator/kvm/machine.h"
#include "accelerator/kvm/signal.h"

namespace lodge::kvm {
namespace {

// Local APIC registers (SDM vol. 3, table 11-1).
constexpr unsigned kApicInitialCount = 0x380, kApicCurrentCount = 0x390;

uint32_t apicRegister(const kvm_lapic_state& apic, unsigned offset) {
  uint32_t value;
  std::memcpy(&value, apic.regs + offset, sizeof value);
  return value;
}

void setTimer(const Descriptor& vcpu, kvm_lapic_state& apic, uint32_t initial, uint32_t current) noexcept {
  std::memcpy(apic.regs + kApicInitialCount, &initial, sizeof initial);
  std::memcpy(apic.regs + kApicCurrentCount, &current, sizeof current);
  call(vcpu, KVM_SET_LAPIC, &apic);
}

}  // namespace

Vcpu::~Vcpu() {
  join();
  if (run_ != nullptr) munmap(run_, runBytes_);
}

Error Vcpu::open(const Descriptor& device, const Descriptor& vm, unsigned count, const x86::CpuModel* model) {
  const int fd = call(vm, KVM_CREATE_VCPU, static_cast<unsigned long>(index_));
  if (fd < 0) return hostError("KVM cannot make a virtual processor", fd);
  fd_ = Descriptor(fd);
  const int bytes = call(device, KVM_GET_VCPU_MMAP_SIZE);
  void* const shared = bytes > 0 ? mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
  if (shared == MAP_FAILED) return hostError("KVM does not share a virtual processor's state", -errno);
  run_ = static_cast<kvm_run*>(shared);
  runBytes_ = static_cast<size_t>(bytes);
  if (const int result = allowKicks(fd_); result < 0) return hostError("KVM refuses a signal mask", result);
  const int khz = call(fd_, KVM_GET_TSC_KHZ);
  if (khz <= 0) return "KVM does not know how fast its processors' clocks run.";
  if (Error error = setCpuid(device, fd_, index_, count, static_cast<uint64_t>(khz) * 1000, model); !error.empty()) return error;
  if (Error error = powerOn_.read(device, fd_); !error.empty()) return error;
  stopRunning();  // as the machine starts paused
  return {};
}

// ---- thread ------------------------------------------------------------------------------------------------------------------

void Vcpu::stopRunning() noexcept {
  // The flag stops a KVM_RUN that has not begun, the signal one that has; one signal a time is enough.
  if (__atomic_exchange_n(&run_->immediate_exit, uint8_t{1}, __ATOMIC_SEQ_CST) == 0 && started()) pthread_kill(thread(), kickSignal());
}

void Vcpu::nmi() noexcept {
  nmiWanted_.store(true, std::memory_order_seq_cst);
  stopRunning();  // enter() finds no reason to stay
}

void Vcpu::mayRun() noexcept { __atomic_store_n(&run_->immediate_exit, uint8_t{0}, __ATOMIC_SEQ_CST); }
bool Vcpu::stopWanted() const noexcept { return __atomic_load_n(&run_->immediate_exit, __ATOMIC_SEQ_CST) != 0; }

void Vcpu::run() noexcept {
  while (machine_.enter(*this)) {
    if (nmiWanted_.exchange(false, std::memory_order_seq_cst)) call(fd_, KVM_NMI, 0ul);
    const int result = ioctl(fd_.get(), KVM_RUN, nullptr) < 0 ? -errno : 0;
    // Whatever KVM_RUN says, it has completed the access of the exit before.
    unfinished_ = false;
    if (result == 0) {
      handleExit();
    } else if (result == -EINTR || result == -EAGAIN) {  // EAGAIN: while it waits for its SIPI
      takeKicks();
      if (samples.owes()) recordSample(false);
    } else {
      machine_.stopped(*this, false, hostError("KVM cannot go on with this guest", result));
    }
  }
}

void Vcpu::handleExit() noexcept {
  switch (run_->exit_reason) {
    case KVM_EXIT_IO:
      unfinished_ = true;
      portExit();
      break;
    case KVM_EXIT_MMIO:
      unfinished_ = true;
      mmioExit();
      break;
    case KVM_EXIT_INTR: takeKicks(); break;
    case KVM_EXIT_DEBUG: debugExit(); break;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_SET_TPR: break;
    case KVM_EXIT_SHUTDOWN: machine_.stopped(*this, true, "The guest had a triple fault."); break;
    default: machine_.stopped(*this, false, failure());
  }
}

std::string Vcpu::failure() const {
  char text[160];
  switch (run_->exit_reason) {
    case KVM_EXIT_INTERNAL_ERROR: {
      const auto& e = run_->emulation_failure;
      if (e.suberror != KVM_INTERNAL_ERROR_EMULATION) {
        std::snprintf(text, sizeof text, "KVM failed in itself (suberror %u).", e.suberror);
        return text;
      }
      std::string bytes;
      // ndata counts 64-bit words: flags, then the instruction's size and bytes.
      if (e.ndata >= 3 && e.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) {
        for (unsigned i = 0; i < std::min<unsigned>(e.insn_size, sizeof e.insn_bytes); ++i) {
          std::snprintf(text, sizeof text, " %02x", e.insn_bytes[i]);
          bytes += text;
        }
      }
      return "The KVM of this computer would have to interpret an instruction of the guest and cannot" +
             (bytes.empty() ? std::string() : " (bytes" + bytes + ")") + ". Lodge’s own processor can run this guest.";
    }
    case KVM_EXIT_FAIL_ENTRY:
      std::snprintf(text, sizeof text, "The processor refuses to enter the guest (reason %llx).",
                    static_cast<unsigned long long>(run_->fail_entry.hardware_entry_failure_reason));
      return text;
    default: std::snprintf(text, sizeof text, "KVM stopped for a reason Lodge does not know (%u).", run_->exit_reason); return text;
  }
}

VcpuStats Vcpu::stats() noexcept {
  // A halted processor waits inside KVM_RUN, which tells nobody; nor does KVM count instructions.
  return commonStats();
}

// ---- sampling ----------------------------------------------------------------------------------------------------------------

void Vcpu::sampleTick(uint32_t ticks) noexcept {
  const Mode now = mode.load(std::memory_order_relaxed);
  if (now == Mode::Idle) return;
  samples.owe(ticks);
  if (now == Mode::Running) pthread_kill(thread(), kickSignal());
}

void Vcpu::recordSample(bool device) noexcept {
  kvm_regs regs;
  kvm_sregs sregs;
  if (call(fd_, KVM_GET_REGS, &regs) < 0 || call(fd_, KVM_GET_SREGS, &sregs) < 0) return;
  kvm_mp_state activity{};
  call(fd_, KVM_GET_MP_STATE, &activity);
  const bool long64 = (sregs.efer & 1u << 10) && sregs.cs.l;
  samples.record({regs.rip + (long64 ? 0 : sregs.cs.base), (sregs.cr0 & 1) && sregs.ss.dpl == 3, false,
                  activity.mp_state != KVM_MP_STATE_RUNNABLE},
                 device);
}

// ---- exits -------------------------------------------------------------------------------------------------------------------

bool Vcpu::exchange(ExitKind kind, uint64_t address, unsigned width, unsigned count, void* data) noexcept {
  exits_[static_cast<unsigned>(kind) - 1].add();
  mode.store(Mode::Waiting, std::memory_order_seq_cst);
  const bool answered = machine_.exits().exchange(index_, kind, address, width, count, data);
  mode.store(Mode::Running, std::memory_order_seq_cst);
  if (samples.owes()) recordSample(true);
  return answered;
}

void Vcpu::portExit() noexcept {
  // The guest cannot reach these fields, but a copy cannot change under us either.
  const auto io = run_->io;
  auto* data = reinterpret_cast<uint8_t*>(run_) + io.data_offset;
  const bool out = io.direction == KVM_EXIT_IO_OUT;
  if (out && io.count == 1 && machine_.ring(DoorbellKind::Port, io.port, io.size, data)) {
    doorbells_.add();
    return;
  }
  if (io.count == 1 && (out ? machine_.quickOut(io.port, io.size, data) : machine_.quickIn(io.port, io.size, data))) {
    quick_.add();
    return;
  }
  const unsigned most = exit_record::kDataBytes / io.size;
  for (unsigned left = io.count; left != 0;) {
    const unsigned part = std::min(left, most);
    if (!exchange(out ? ExitKind::PortOut : ExitKind::PortIn, io.port, io.size, part, data)) return;
    data += part * io.size;
    left -= part;
  }
}

// Also every write to ROM and flash comes here. Accesses are of the widths the instruction set has, but for those that cross a page.
void Vcpu::mmioExit() noexcept {
  uint64_t at = run_->mmio.phys_addr;
  uint8_t* data = run_->mmio.data;
  const bool write = run_->mmio.is_write;
  PhysicalMemory& memory = *machine_.memory();
  for (unsigned left = std::min<unsigned>(run_->mmio.len, sizeof run_->mmio.data); left != 0;) {
    const unsigned width = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
    const PageEntry page = memory.page(at);
    if (page.host != nullptr && !(write && page.writesExit)) {
      if (!write) memory.read(at, data, width);
      else if (page.writable) memory.write(at, data, width);
    } else if (write && machine_.ring(DoorbellKind::Mmio, at, width, data)) {
      doorbells_.add();
    } else if (!exchange(write ? ExitKind::MmioWrite : ExitKind::MmioRead, at, width, 1, data)) {
      return;
    }
    at += width, data += width, left -= width;
  }
}

// ---- debugging -----------------------------------------------------------------------------------------------------------------

Error Vcpu::setDebugPoints(const x86::DebugPoints& points) noexcept {
  constexpr const char* kTooMany = "KVM watches for four addresses at most, and a watchpoint takes one for every 8 aligned bytes it touches.";
  uint64_t registers[8] = {}, starts[4] = {};
  unsigned used = 0;
  // DR7 (SDM vol. 3 §18.2.4): G0–G3, and for each its condition and length.
  const auto add = [&](uint64_t address, uint64_t start, unsigned condition, unsigned length) {
    if (used == 4) return false;
    registers[used] = address;
    starts[used] = start;
    registers[7] |= 2ull << used * 2 | static_cast<uint64_t>(condition | length << 2) << (16 + used * 4);
    ++used;
    return true;
  };
  for (const uint64_t address : points.breakpoints) {
    if (!add(address, address, 0, 0)) return kTooMany;
  }
  for (const x86::Watchpoint& watch : points.watchpoints) {
    // The hardware knows no watchpoint for reads alone.
    const unsigned condition = watch.onRead ? 3 : 1;
    for (uint64_t at = watch.address, left = watch.bytes; left != 0;) {
      unsigned width = 8;
      while (width > left || at % width != 0) width /= 2;
      const unsigned length = width == 8 ? 2 : width - 1;
      if (!add(at, watch.address, condition, length)) return kTooMany;
      at += width;
      left -= width;
    }
  }
  if (used != 0) registers[7] |= 0x600;  // GE, and the bit that is always set
  std::memcpy(debugRegisters_, registers, sizeof registers);
  std::memcpy(watchStarts_, starts, sizeof starts);
  return applyDebug();
}

void Vcpu::goOn(Go how) noexcept {
  const bool step = how == Go::Step;
  if (step == step_) return;
  step_ = step;
  applyDebug();
}

Error Vcpu::applyDebug() noexcept {
  kvm_guest_debug debug{};
  if (debugRegisters_[7] != 0) debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
  if (step_) debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_BLOCKIRQ;
  std::memcpy(debug.arch.debugreg, debugRegisters_, sizeof debugRegisters_);
  int result = call(fd_, KVM_SET_GUEST_DEBUG, &debug);
  if (result == -EINVAL && step_) {  // before Linux 5.19 interrupts cannot be held back
    debug.control &= ~static_cast<uint32_t>(KVM_GUESTDBG_BLOCKIRQ);
    result = call(fd_, KVM_SET_GUEST_DEBUG, &debug);
  }
  return result < 0 ? hostError("KVM cannot watch its processors", result) : Error{};
}

void Vcpu::debugExit() noexcept {
  const auto& debug = run_->debug.arch;
  x86::DebugStop stop;
  stop.address = debug.pc;
  for (unsigned i = 0; i < 4; ++i) {
    if (!(debug.dr6 >> i & 1) || !(debugRegisters_[7] >> i * 2 & 2)) continue;
    const bool code = (debugRegisters_[7] >> (16 + i * 4) & 3) == 0;
    stop.cause = code ? x86::DebugStop::Cause::Breakpoint : x86::DebugStop::Cause::Watchpoint;
    stop.address = watchStarts_[i];
    break;
  }
  if (step_) goOn(Go::Run);
  machine_.debugStopped(*this, stop);
}

// ---- state and time ----------------------------------------------------------------------------------------------------------

/** KVM_GET_DEVICE_ATTR or KVM_SET_DEVICE_ATTR of what the guest's TSC is ahead of the host's. False before Linux 5.16. */
bool Vcpu::tscOffset(unsigned long request, uint64_t& offset) const noexcept {
  kvm_device_attr attribute{};
  attribute.group = KVM_VCPU_TSC_CTRL;
  attribute.attr = KVM_VCPU_TSC_OFFSET;
  attribute.addr = reinterpret_cast<uint64_t>(&offset);
  return call(fd_, request, &attribute) == 0;
}

void Vcpu::freeze(uint64_t now) noexcept {
  uint64_t offset;
  if (tscOffset(KVM_GET_DEVICE_ATTR, offset)) timers_.tsc = now + offset;
  else readMsr(fd_, kMsrTsc, timers_.tsc);
  timers_.deadline = 0;
  if (readMsr(fd_, kMsrTscDeadline, timers_.deadline) && timers_.deadline != 0) writeMsr(fd_, kMsrTscDeadline, 0);
  timers_.initialCount = 0;
  kvm_lapic_state apic;
  if (call(fd_, KVM_GET_LAPIC, &apic) >= 0) {
    timers_.initialCount = apicRegister(apic, kApicInitialCount);
    timers_.currentCount = apicRegister(apic, kApicCurrentCount);
    if (timers_.initialCount != 0) setTimer(fd_, apic, 0, 0);
  }
  frozen_ = true;
}

void Vcpu::thaw(uint64_t now) noexcept {
  uint64_t offset = timers_.tsc - now;
  // Older systems take a new TSC by its value, and keep the old one when the two are less than a second apart.
  if (!tscOffset(KVM_SET_DEVICE_ATTR, offset)) writeMsr(fd_, kMsrTsc, timers_.tsc);
  kvm_lapic_state apic;
  if (timers_.initialCount != 0 && call(fd_, KVM_GET_LAPIC, &apic) >= 0) setTimer(fd_, apic, timers_.initialCount, timers_.currentCount);
  if (timers_.deadline != 0) writeMsr(fd_, kMsrTscDeadline, timers_.deadline);
  frozen_ = false;
}

Error Vcpu::reset() {
  timers_ = {};
  nmiWanted_.store(false, std::memory_order_relaxed);
  return powerOn_.write(fd_);
}

Error Vcpu::get(CpuSnapshot& out) const noexcept {
  uint64_t tsc = timers_.tsc, deadline = timers_.deadline;
  if (!frozen_) {
    readMsr(fd_, kMsrTsc, tsc);
    readMsr(fd_, kMsrTscDeadline, deadline);
  }
  out.msrs.emplace_back(kMsrTsc, tsc);
  Error error = getState(fd_, out);
  out.msrs.emplace_back(kMsrTscDeadline, deadline);
  return error;
}

Error Vcpu::set(const CpuSnapshot& in) {
  if (Error error = setState(fd_, in); !error.empty()) return error;
  for (const auto& [msr, value] : in.msrs) {
    if (msr == kMsrTsc) timers_.tsc = value;
    if (msr == kMsrTscDeadline) timers_.deadline = value;
  }
  return {};
}

}  // namespace lodge::kvm
