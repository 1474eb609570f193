// Several processors that call one another awake, on every tier: rings of processors that pass a token on by interrupt or by
// KVM_HC_KICK_CPU and halt in between, and TLB flushes that spare who is halted. Nothing else wakes a processor here, so one lost
// interrupt, kick or wake-up stops the ring for good; a busy host only makes it slow.
//
// LODGE_SMP_ROUNDS: how often each processor gets the token (default 5000).
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "accelerator/clock.h"
#include "accelerator/software/machine.h"
#include "testing/test.h"
#include "translator/translator.h"

// The guests' code, 32-bit with flat segments, for address 8000h. EBP is the processor's page:
//   0 tokens in the mail   4 tokens passed on   8 page of the next processor   12 the next one's number, as ICR high has it
//   16 the same, plain     20 wrong             24 called                      28 period of its timer, or 0
//   40h steal time (its byte 16: preempted)     80h paravirtual EOI
asm(R"(
.pushsection .rodata
.code32
.intel_syntax noprefix
.set eoi, 0xfee000b0
.set icr, 0xfee00300
.set called, 24
.set period, 28
.set preempted, 0x50
.set shared, 0x1f000       # 0 expected   4 acknowledged   8 seen   12 ready
.set table, 0x12000        # of the 4 MiB at 400000h

.globl lodge_smp_code
lodge_smp_code:
  jmp byInterrupt
  .balign 16
  jmp byKick
  .balign 16
  jmp flusher
  .balign 16
  jmp flushed
  .balign 16
  jmp onToken
  .balign 16
  jmp onTimer
  .balign 16
  jmp onFlush
  .balign 16
  jmp rewriter
  .balign 16
  jmp runner

prepare:
  mov dword ptr ds:[0xfee000f0], 0x1ff
  lea eax, [ebp + 0x40]
  or eax, 1
  xor edx, edx
  mov ecx, 0x4b564d03
  wrmsr
  lea eax, [ebp + 0x80]
  or eax, 1
  mov ecx, 0x4b564d04
  wrmsr
  mov eax, [ebp + period]
  test eax, eax
  jz 1f
  mov dword ptr ds:[0xfee003e0], 0xb
  mov dword ptr ds:[0xfee00320], 0x20041
  mov dword ptr ds:[0xfee00380], eax
1: lock inc dword ptr ds:[shared + 12]
2: pause                     # a local APIC that is not enabled yet takes no interrupts
  cmp dword ptr ds:[shared + 12], 4
  jb 2b
  ret

byInterrupt:
  call prepare
1: cli
  xor eax, eax
  xchg eax, [ebp + called]
  test eax, eax
  jnz 2f
  sti
  hlt
  jmp 1b
2: sti
3: cmp dword ptr [ebp], 0
  je 1b
  lock dec dword ptr [ebp]
  inc dword ptr [ebp + 4]
  mov esi, [ebp + 8]
  lock inc dword ptr [esi]
  mov eax, [ebp + 12]
  mov ds:[icr + 16], eax
  mov dword ptr ds:[icr], 0x40
  jmp 3b

byKick:
  call prepare
1: cmp dword ptr [ebp], 0
  jne 2f
  hlt
  jmp 1b
2: lock dec dword ptr [ebp]
  inc dword ptr [ebp + 4]
  mov esi, [ebp + 8]
  lock inc dword ptr [esi]
  mov eax, 5
  xor ebx, ebx
  mov ecx, [ebp + 16]
  vmcall
  jmp 1b

flusher:
  call prepare
  xor edi, edi
1: inc edi
  mov eax, edi
  and eax, 1
  shl eax, 12
  add eax, 0x14000
  mov [eax], edi
  or eax, 7
  mov ds:[table], eax
  xor ebx, ebx
  mov esi, [ebp + 8]
2: mov al, [esi + preempted]
  test al, 1
  jz 3f
  mov cl, al
  or cl, 2
  lock cmpxchg [esi + preempted], cl
  je 4f
3: mov edx, 0x42
  call send
  inc ebx
4: mov esi, [esi + 8]
  cmp esi, ebp
  jne 2b
5: pause
  cmp ds:[shared + 4], ebx
  jne 5b
  mov dword ptr ds:[shared + 4], 0
  mov ds:[shared], edi
  xor ebx, ebx
  mov esi, [ebp + 8]
6: lock inc dword ptr [esi]
  mov edx, 0x40
  call send
  inc ebx
  mov esi, [esi + 8]
  cmp esi, ebp
  jne 6b
7: pause
  cmp ds:[shared + 8], ebx
  jne 7b
  mov dword ptr ds:[shared + 8], 0
  inc dword ptr [ebp + 4]
  jmp 1b
send:                        # vector EDX to the processor whose page is ESI
  mov eax, esi
  sub eax, 0x20000
  shl eax, 12
  mov ds:[icr + 16], eax
  mov ds:[icr], edx
  ret

flushed:
  call prepare
1: cli
  xor eax, eax
  xchg eax, [ebp + called]
  test eax, eax
  jnz 2f
  sti
  hlt
  jmp 1b
2: sti
  cmp dword ptr [ebp], 0
  je 1b
  lock dec dword ptr [ebp]
  mov eax, ds:[shared]
  cmp ds:[0x400000], eax
  jae 3f
  inc dword ptr [ebp + 20]
3: inc dword ptr [ebp + 4]
  lock inc dword ptr ds:[shared + 8]
  jmp 1b

.set published, 0x60       # of the processor's own page
rewriter:                    # a function of its own, data and one that its neighbour runs, in a page that others write, too
  mov esi, [ebp + period]
  xor edi, edi
1: inc edi
  mov [esi + 0x101], edi
  lea eax, [esi + 0x100]
  call eax
  cmp eax, edi
  je 2f
  inc dword ptr [ebp + 20]
2: inc dword ptr [esi + 0x200]
  mov [esi + 1], edi
  lock or dword ptr [esp], 0
  mov ecx, 2                 # a processor hears of another's decoding where it looks for requests, as every loop does
4: dec ecx
  jnz 4b
  mov [ebp + published], edi
  mov edx, [ebp + 8]
3: pause
  cmp [edx + published], edi
  jne 3b
  mov [ebp + 4], edi
  jmp 1b

runner:
  mov esi, [ebp + period]
  xor edi, edi
1: pause
  mov edx, [ebp + 8]
  cmp [edx + published], edi
  je 1b
  inc edi
  xor eax, eax
  cpuid                      # serializes
  call esi
  cmp eax, edi
  je 2f
  inc dword ptr [ebp + 20]
2: mov [ebp + 4], edi
  mov [ebp + published], edi
  jmp 1b

onToken:
  mov dword ptr [ebp + called], 1
end:
  btr dword ptr [ebp + 0x80], 0
  jc 1f
  mov dword ptr ds:[eoi], 0
1: iretd
onTimer:
  jmp end
onFlush:
  push eax
  mov eax, cr3
  mov cr3, eax
  lock inc dword ptr ds:[shared + 4]
  pop eax
  jmp end

.globl lodge_smp_code_end
lodge_smp_code_end:
.att_syntax prefix
.code64
.popsection
)");
extern "C" const uint8_t lodge_smp_code[], lodge_smp_code_end[];

using namespace lodge;

namespace {

enum Entry : uint32_t {
  kByInterrupt = 0x8000, kByKick = 0x8010, kFlusher = 0x8020, kFlushed = 0x8030, kRewriter = 0x8070, kRunner = 0x8080
};
constexpr Gpa kGdt = 0x800, kIdt = 0x1000, kPageDirectory = 0x11000, kPageTable = 0x12000, kShared = 0x1f000;
constexpr unsigned kCpus = 4;
constexpr Gpa pageOf(unsigned cpu) { return 0x20000 + 0x1000 * cpu; }
enum Field : unsigned { kMail = 0, kPassed = 4, kNext = 8, kNextIcr = 12, kNextId = 16, kWrong = 20, kPeriod = 28 };

/** Code that translated code calls may not touch vector registers, and a sanitizer's part of it does. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr std::initializer_list<bool> kTranslated{false};
#else
constexpr std::initializer_list<bool> kTranslated{false, true};
#endif

/** With no sign of life for so long nobody is coming: far more than a busy host keeps a thread waiting. */
constexpr auto kPatience = std::chrono::seconds(30);

unsigned rounds() {
  const char* const wanted = std::getenv("LODGE_SMP_ROUNDS");
  return wanted != nullptr ? static_cast<unsigned>(std::strtoul(wanted, nullptr, 10)) : 5000;
}

class Ring {
 public:
  explicit Ring(bool translated) {
    MachineConfig config;
    config.cpus = kCpus;
    config.exitRecords = records_;
    config.wake = [] {};
    Error error;
    machine_ = software::SoftwareMachine::create(
        config,
        [translated](const x86::CpuConfig& cpu, PhysicalMemory& memory, x86::Environment& env) {
          translator::Options options;
          options.cacheBytes = 4 << 20;
          return translated ? translator::makeTranslator(cpu, memory, env, options) : x86::makeInterpreter(cpu, memory, env);
        },
        error);
    CHECK_EQ(error.size(), 0u);
    RegionId ram;
    CHECK_EQ(machine_->memory()->addRegion(RegionKind::Ram, 1 << 20, ram).size(), 0u);
    CHECK_EQ(machine_->map(ram, 0, 0, 1 << 20).size(), 0u);
    machine_->memory()->write(0x8000, lodge_smp_code, static_cast<uint64_t>(lodge_smp_code_end - lodge_smp_code));
    put<uint64_t>(kGdt + 8, 0x00cf9b000000ffff);
    put<uint64_t>(kGdt + 16, 0x00cf93000000ffff);
    for (unsigned n = 0; n < 3; ++n) put<uint64_t>(kIdt + (0x40 + n) * 8, (0x8040 + 16 * n) | 0x8ull << 16 | 0x8eull << 40);
    // The first 4 MiB and those of the local APIC as they are, 400000h through a table.
    put<uint32_t>(kPageDirectory, 0x87);
    put<uint32_t>(kPageDirectory + 4, kPageTable | 7);
    put<uint32_t>(kPageDirectory + (0xfee00000u >> 22) * 4, 0xfec00087);
    put<uint32_t>(kPageTable, 0x14007);
    for (unsigned n = 0; n < kCpus; ++n) {
      const unsigned next = (n + 1) % kCpus;
      put<uint32_t>(pageOf(n) + kNext, static_cast<uint32_t>(pageOf(next)));
      put<uint32_t>(pageOf(n) + kNextIcr, next << 24);
      put<uint32_t>(pageOf(n) + kNextId, next);
    }
  }

  template <class T>
  void put(Gpa gpa, T value) {
    machine_->memory()->write(gpa, &value, sizeof value);
  }
  uint32_t get(unsigned cpu, unsigned field) {
    return __atomic_load_n(reinterpret_cast<const uint32_t*>(machine_->memory()->range(pageOf(cpu) + field, 4)), __ATOMIC_RELAXED);
  }

  void enter(unsigned cpu, uint32_t entry, bool paging) {
    CpuSnapshot s{};
    CHECK_EQ(machine_->getState(cpu, s).size(), 0u);
    x86::State& state = s.state;
    state.cr0 = paging ? 0x80000031 : 0x31;
    state.cr3 = kPageDirectory;
    state.cr4 = 0x10;  // PSE
    state.seg[x86::kCs] = {0, 0xffffffff, 8, 0xc09b};
    for (unsigned i : {x86::kEs, x86::kSs, x86::kDs, x86::kFs, x86::kGs}) state.seg[i] = {0, 0xffffffff, 16, 0xc093};
    state.gdtr = {kGdt, 0x17}, state.idtr = {kIdt, 0x7ff};
    state.rip = entry, state.rflags = 2;
    state.gpr[x86::kRbp] = pageOf(cpu), state.gpr[x86::kRsp] = pageOf(cpu) + 0x1000;
    state.activity = x86::Activity::Runnable;
    CHECK_EQ(machine_->setState(cpu, s).size(), 0u);
  }

  void start() {
    CHECK_EQ(machine_->start().size(), 0u);
    machine_->resume();
  }

  /** Until every processor passed the token on `wanted` times. False: they do not come to it. */
  bool passed(uint32_t wanted) {
    uint64_t before = 0;
    auto since = std::chrono::steady_clock::now();
    for (;;) {
      uint64_t sum = 0;
      uint32_t least = ~0u;
      for (unsigned n = 0; n < kCpus; ++n) sum += get(n, kPassed), least = std::min(least, get(n, kPassed));
      if (least >= wanted) return true;
      const auto now = std::chrono::steady_clock::now();
      if (sum != before) before = sum, since = now;
      if (now - since > kPatience) return explain();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  /** Pauses and goes on, as somebody at the controls might. */
  bool pauseAndResume() {
    machine_->pause();
    const auto began = std::chrono::steady_clock::now();
    CpuSnapshot s{};
    while (!machine_->getState(0, s).empty()) {
      if (std::chrono::steady_clock::now() - began > kPatience) return false;
      std::this_thread::yield();
    }
    machine_->resume();
    return true;
  }

  Machine& machine() { return *machine_; }

 private:
  bool explain() {
    const auto stats = machine_->stats();
    for (unsigned n = 0; n < kCpus; ++n) {
      std::fprintf(stderr, "  processor %u: mail %u, called %u, passed %u, %s, %.3f s\n", n, get(n, kMail), get(n, 24), get(n, kPassed),
                   stats[n].halted ? "asleep" : "awake", stats[n].cpuSeconds);
    }
    return false;
  }

  alignas(64) uint8_t records_[kCpus * exit_record::kStride] = {};
  std::unique_ptr<Machine> machine_;
};

/** `tokens` go round; so there are always some who sleep and some who are just about to. */
void goRound(Entry how, unsigned tokens, uint32_t timerPeriod, bool pauses) {
  for (const bool translated : kTranslated) {
    Ring ring(translated);
    for (unsigned n = 0; n < kCpus; ++n) {
      ring.put<uint32_t>(pageOf(n) + kPeriod, timerPeriod == 0 ? 0 : timerPeriod + 7919 * n);
      if (n < tokens) ring.put<uint32_t>(pageOf(n) + kMail, 1), ring.put<uint32_t>(pageOf(n) + 24, 1);
      ring.enter(n, how, false);
    }
    ring.start();
    const uint32_t wanted = rounds();
    if (pauses) {
      for (uint32_t at = 0; at < wanted; at += std::max(1u, wanted / 100)) {
        if (ring.passed(at) && ring.pauseAndResume()) continue;
        CHECK(!"the ring goes on, and can be paused");
        return;
      }
    }
    CHECK(ring.passed(wanted));
    ring.machine().destroy();
    uint32_t mail = 0;
    for (unsigned n = 0; n < kCpus; ++n) mail += ring.get(n, kMail);
    CHECK(mail <= tokens);
  }
}

}  // namespace

TEST(smp_interrupts_between_processors_that_halt) { goRound(kByInterrupt, 1, 0, false); }
TEST(smp_interrupts_among_timers_and_pauses) { goRound(kByInterrupt, 3, 100'000, true); }
TEST(smp_kicks_between_processors_that_halt_with_interrupts_off) { goRound(kByKick, 1, 0, false); }
TEST(smp_kicks_for_several_at_once_and_pauses) { goRound(kByKick, 2, 0, true); }

TEST(smp_tlb_flushes_spare_who_is_halted_and_nobody_sees_what_was_before) {
  for (const bool translated : kTranslated) {
    Ring ring(translated);
    for (unsigned n = 0; n < kCpus; ++n) ring.enter(n, n == 0 ? kFlusher : kFlushed, true);
    ring.start();
    CHECK(ring.passed(rounds() / 2));
    ring.machine().destroy();
    for (unsigned n = 0; n < kCpus; ++n) CHECK_EQ(ring.get(n, kWrong), 0u);
  }
}

/** SDM vol. 3 §8.1.3, by two pairs of processors in one page of code and data: one writes, the other runs it behind CPUID. */
TEST(smp_code_that_another_processor_writes_beside_code_that_it_runs) {
  constexpr Gpa kPage = 0x30000;
  constexpr unsigned kData = 0x200;
  for (const bool translated : kTranslated) {
    Ring ring(translated);
    for (unsigned n = 0; n < kCpus; ++n) {
      const Gpa base = kPage + 0x400 * (n / 2);
      ring.put<uint64_t>(base + 0x100 * (n & 1), 0x0000'c300'0000'00b8);  // mov eax,0; ret
      ring.put<uint32_t>(pageOf(n) + kNext, static_cast<uint32_t>(pageOf(n ^ 1)));
      ring.put<uint32_t>(pageOf(n) + kPeriod, static_cast<uint32_t>(base));
      ring.enter(n, n & 1 ? kRunner : kRewriter, false);
    }
    ring.start();
    CHECK(ring.passed(rounds()));
    ring.machine().destroy();
    for (unsigned n = 0; n < kCpus; ++n) CHECK_EQ(ring.get(n, kWrong), 0u);
    for (unsigned n = 0; n < kCpus; n += 2) {
      uint32_t counted;
      ring.machine().memory()->read(kPage + 0x200 * n + kData, &counted, sizeof counted);
      CHECK(counted >= ring.get(n, kPassed));
    }
  }
}
