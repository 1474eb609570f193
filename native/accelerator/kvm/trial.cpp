#include "accelerator/kvm/trial.h"

#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>

#include "accelerator/clock.h"
#include "accelerator/futex.h"
#include "accelerator/kvm/signal.h"
#include "accelerator/vcpu_thread.h"

namespace lodge::kvm {
namespace {

// Guest-physical layout. One page is mapped twice: at its own address, and at kAlias through page tables of four levels.
constexpr uint64_t kMemoryBytes = 0x8000, kPml4 = 0x1000, kCode = 0x4000, kData = 0x6000, kAlias = 0x8040201000;

/** Six instructions each: a tenth of a millisecond on a processor. */
constexpr uint64_t kRounds = 100'000;
/** CPU time for all of it: 40 ns an instruction, where a processor needs 1 and an interpreter in the kernel 500 and more. */
constexpr uint64_t kCpuLimitNs = 25'000'000;
/** However little of that the thread was given. */
constexpr uint64_t kWallLimitNs = 2'000'000'000, kStepNs = 1'000'000;

// In: rbx kAlias, rcx kRounds, edx 1, rax 0. Out: rax and the word at kData the sum below, rsi kRounds counted in xmm0.
constexpr uint8_t kProgram[] = {
    0x66, 0x0f, 0xef, 0xc0,                          //        pxor xmm0, xmm0
    0xf2, 0x0f, 0x2a, 0xca,                          //        cvtsi2sd xmm1, edx
    0x0f, 0x20, 0xdf, 0x0f, 0x22, 0xdf,              //        mov rdi, cr3; mov cr3, rdi
    0x0f, 0x01, 0x3b,                                //        invlpg [rbx]
    0x0f, 0x01, 0xf8, 0x0f, 0x01, 0xf8,              //        swapgs; swapgs
    0x48, 0x8d, 0x04, 0x40,                          // again: lea rax, [rax + rax * 2]
    0x48, 0x01, 0xc8,                                //        add rax, rcx
    0x48, 0x89, 0x03,                                //        mov [rbx], rax
    0xf2, 0x0f, 0x58, 0xc1,                          //        addsd xmm0, xmm1
    0x48, 0xff, 0xc9, 0x75, 0xed,                    //        dec rcx; jnz again
    0xf2, 0x48, 0x0f, 0x2c, 0xf0,                    //        cvttsd2si rsi, xmm0
    0x48, 0x8b, 0x3c, 0x25, 0x00, 0x60, 0x00, 0x00,  //        mov rdi, [kData]
    0xe6, 0x80,                                      //        out 80h, al
};

constexpr uint64_t expectedSum() {
  uint64_t sum = 0;
  for (uint64_t n = kRounds; n > 0; --n) sum = sum * 3 + n;
  return sum;
}

constexpr const char* kInterprets =
    "The KVM of this computer interprets 64-bit guests instead of running them on the processor; Lodge’s own processor is faster.";

struct Mapped {
  uint8_t* at = nullptr;
  size_t bytes = 0;
  ~Mapped() {
    if (at != nullptr) munmap(at, bytes);
  }
  bool map(size_t size, int fd) {
    void* got = mmap(nullptr, size, PROT_READ | PROT_WRITE, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
    if (got == MAP_FAILED) return false;
    at = static_cast<uint8_t*>(got), bytes = size;
    return true;
  }
};

void build(uint8_t* memory) {
  const auto entry = [&](uint64_t table, uint64_t index, uint64_t value) { std::memcpy(memory + table + index * 8, &value, 8); };
  constexpr uint64_t kPresentWritable = 3;
  // Identity for the first 2 MiB through one set of tables, the alias through entries 1, 1, 1, 1 of another.
  entry(kPml4, 0, 0x2000 | kPresentWritable);
  entry(0x2000, 0, 0x3000 | kPresentWritable);
  entry(0x3000, 0, 0x83);  // one large page
  entry(kPml4, 1, 0x5000 | kPresentWritable);
  entry(0x5000, 1, 0x7000 | kPresentWritable);
  entry(0x7000, 1, 0x0000 | kPresentWritable);
  entry(0x0000, 1, kData | kPresentWritable);
  std::memcpy(memory + kCode, kProgram, sizeof kProgram);
}

bool enterLongMode(const Descriptor& vcpu) {
  kvm_sregs sregs;
  if (call(vcpu, KVM_GET_SREGS, &sregs) < 0) return false;
  kvm_segment code{};
  code.limit = 0xffffffff, code.selector = 8, code.type = 11, code.present = 1, code.s = 1, code.l = 1, code.g = 1;
  kvm_segment data = code;
  data.selector = 16, data.type = 3, data.l = 0, data.db = 1;
  sregs.cs = code;
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
  sregs.cr0 = 0x80000033;  // PG, NE, ET, MP, PE
  sregs.cr3 = kPml4;
  sregs.cr4 = 0x620;  // OSXMMEXCPT, OSFXSR, PAE
  sregs.efer = 0x500;  // LMA, LME
  kvm_regs regs{};
  regs.rip = kCode, regs.rflags = 2, regs.rbx = kAlias, regs.rcx = kRounds, regs.rdx = 1;
  return call(vcpu, KVM_SET_SREGS, &sregs) >= 0 && call(vcpu, KVM_SET_REGS, &regs) >= 0;
}

bool giveCpuid(const Descriptor& device, const Descriptor& vcpu) {
  const auto list = std::make_unique<CpuidList<256>>();
  return call(device, kGetSupportedCpuid, list.get()) >= 0 && call(vcpu, kSetCpuid2, list.get()) >= 0;
}

uint64_t cpuNs(clockid_t clock) {
  timespec spent{};
  clock_gettime(clock, &spent);
  return static_cast<uint64_t>(spent.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(spent.tv_nsec);
}

struct Runner {
  const Descriptor& vcpu;
  kvm_run* run;
  std::atomic<uint32_t> done{0};
  std::atomic<bool> enough{false};
  int result = 0;
  uint64_t spentNs = 0;

  static void* main(void* self) {
    auto& r = *static_cast<Runner*>(self);
    const uint64_t before = cpuNs(CLOCK_THREAD_CPUTIME_ID);
    do {
      r.result = ioctl(r.vcpu.get(), KVM_RUN, nullptr) < 0 ? -errno : 0;
      takeKicks();
    } while ((r.result == -EINTR || r.result == -EAGAIN) && !r.enough.load());
    r.spentNs = cpuNs(CLOCK_THREAD_CPUTIME_ID) - before;
    r.done.store(1, std::memory_order_seq_cst);
    futexWake(r.done);
    return nullptr;
  }
};

}  // namespace

Error selfTest(const Descriptor& device) {
  Mapped memory, page;
  Error error;
  const Descriptor vm = createVm(device, error);
  if (!vm) return error;
  call(vm, KVM_SET_IDENTITY_MAP_ADDR, &kIdentityMapPage);
  call(vm, KVM_SET_TSS_ADDR, kTssPages);
  if (!memory.map(kMemoryBytes, -1)) return hostError("The host has no memory for a test of KVM", -errno);
  build(memory.at);
  kvm_userspace_memory_region slot{};
  slot.memory_size = kMemoryBytes;
  slot.userspace_addr = reinterpret_cast<uint64_t>(memory.at);
  if (const int r = call(vm, KVM_SET_USER_MEMORY_REGION, &slot); r < 0) return hostError("KVM refuses guest memory", r);
  const int fd = call(vm, KVM_CREATE_VCPU, 0ul);
  if (fd < 0) return hostError("KVM cannot make a virtual processor", fd);
  const Descriptor vcpu(fd);
  const int pageBytes = call(device, KVM_GET_VCPU_MMAP_SIZE);
  if (pageBytes <= 0 || !page.map(static_cast<size_t>(pageBytes), vcpu.get())) return "KVM does not share a virtual processor's state.";
  if (!giveCpuid(device, vcpu) || !enterLongMode(vcpu)) return "KVM refuses to begin in 64-bit mode.";
  if (const int r = allowKicks(vcpu); r < 0) return hostError("KVM refuses a signal mask", r);

  Runner runner{vcpu, reinterpret_cast<kvm_run*>(page.at)};
  pthread_t thread;
  if (!startMachineThread(thread, Runner::main, &runner)) return "The host has no threads left for a test of KVM.";
  clockid_t clock;
  const bool measurable = pthread_getcpuclockid(thread, &clock) == 0;
  const uint64_t start = monotonicNs();
  while (runner.done.load(std::memory_order_seq_cst) == 0) {
    const uint64_t now = monotonicNs();
    if (now - start > kWallLimitNs || (measurable && cpuNs(clock) > kCpuLimitNs)) {
      runner.enough.store(true);
      __atomic_store_n(&runner.run->immediate_exit, uint8_t{1}, __ATOMIC_SEQ_CST);
      pthread_kill(thread, kickSignal());
      break;
    }
    futexWait(runner.done, 0, now + kStepNs);
  }
  pthread_join(thread, nullptr);

  kvm_regs regs;
  uint64_t stored;
  std::memcpy(&stored, memory.at + kData, sizeof stored);
  constexpr uint64_t sum = expectedSum();
  if (runner.result < 0 && !runner.enough.load()) return hostError("KVM cannot run 64-bit code", runner.result);
  const bool finished = runner.result == 0 && runner.run->exit_reason == KVM_EXIT_IO && runner.run->io.port == 0x80;
  if (!finished || runner.spentNs > kCpuLimitNs) return kInterprets;
  if (call(vcpu, KVM_GET_REGS, &regs) < 0 || regs.rax != sum || regs.rdi != sum || stored != sum || regs.rsi != kRounds) {
    return "The KVM of this computer computes wrongly in 64-bit mode.";
  }
  return {};
}

}  // namespace lodge::kvm
