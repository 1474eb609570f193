#include "testing/conformance/host_cpu.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace lodge::x86::conformance {
namespace {

constexpr uint64_t kStub = 0x50010000, kContext = 0x50012000;

/** What the generated code addresses. All of it below 2 GiB, so that one encoding of an address serves both code sizes. */
struct Context {
  Image image;
  uint64_t hostRsp;
  uint32_t farOffset;
  uint16_t farSelector;
  uint32_t taken;
  uint32_t mxcsr;
};
Context& context() { return *reinterpret_cast<Context*>(kContext); }

struct Fault {
  int vector;
  uint32_t error;
  uint64_t address, rip;
} volatile fault;
uint64_t resume64, resume32;

void onSignal(int, siginfo_t*, void* data) {
  auto& regs = static_cast<ucontext_t*>(data)->uc_mcontext.gregs;
  fault.vector = static_cast<int>(regs[REG_TRAPNO]);
  fault.error = static_cast<uint32_t>(regs[REG_ERR]);
  fault.address = static_cast<uint64_t>(regs[REG_CR2]);
  fault.rip = static_cast<uint64_t>(regs[REG_RIP]);
  const bool narrow = (regs[REG_CSGSFS] & 0xffff) == kUserCode32;
  regs[REG_RIP] = static_cast<greg_t>(narrow ? resume32 : resume64);
}

class Emitter {
 public:
  explicit Emitter(uint8_t* at) : at_(at) {}
  uint64_t here() const { return reinterpret_cast<uint64_t>(at_); }
  void bytes(std::initializer_list<unsigned> list) {
    for (unsigned b : list) *at_++ = static_cast<uint8_t>(b);
  }
  void dword(uint64_t value) {
    const auto v = static_cast<uint32_t>(value);
    std::memcpy(at_, &v, 4);
    at_ += 4;
  }
  void jump(uint64_t target) {
    bytes({0xe9});
    dword(target - (here() + 4));
  }
  /** An instruction with the operand [field] of the context, in 64-bit code. */
  void field64(std::initializer_list<unsigned> opcode, unsigned reg, size_t field) {
    bytes(opcode);
    bytes({reg << 3 | 4, 0x25});
    dword(kContext + field);
  }
  void field32(std::initializer_list<unsigned> opcode, unsigned reg, size_t field) {
    bytes(opcode);
    bytes({reg << 3 | 5});
    dword(kContext + field);
  }
  void moves64(unsigned opcode) {
    for (unsigned r = 0; r < 16; ++r)
      field64({0x48 | (r >> 3) << 2, opcode}, r & 7, offsetof(Context, image) + offsetof(Image, gpr) + 8 * r);
  }
  /** By SS, which no case changes. */
  void moves32(unsigned opcode) {
    for (unsigned r = 0; r < 8; ++r) field32({0x36, opcode}, r, offsetof(Context, image) + offsetof(Image, gpr) + 8 * r);
  }

 private:
  uint8_t* at_;
};

uint8_t* mapAt(uint64_t address, size_t bytes, int protection) {
  void* const p = ::mmap(reinterpret_cast<void*>(address), bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (p != reinterpret_cast<void*>(address)) {
    std::perror("conformance: a fixed address is taken");
    std::abort();
  }
  return static_cast<uint8_t*>(p);
}

/** Where things are in the stub page. */
constexpr unsigned kEnter64 = 0, kEnter32 = 0x200, kLeave64 = 0x400, kTaken64 = 0x3e0, kLeave32 = 0x800, kTaken32 = 0x7e0, kTail = 0xa00;

}  // namespace

HostCpu::HostCpu() {
  constexpr int kAll = PROT_READ | PROT_WRITE | PROT_EXEC;
  code_ = mapAt(kCodePage, 4096, kAll);
  stub_ = mapAt(kStub, 4096, kAll);
  mapAt(kContext, 8192, PROT_READ | PROT_WRITE);
  data_ = mapAt(kDataAt, kReadableBytes, PROT_READ | PROT_WRITE);
  ::mprotect(data_ + kWritableBytes, kReadableBytes - kWritableBytes, PROT_READ);
  context().mxcsr = 0x1f80;
  std::memset(code_, 0xcc, 4096);

  const auto enter = [&](Emitter& out, bool narrow) {
    out.bytes({0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57});  // push rbx, rbp, r12–r15
    out.field64({0x48, 0x89}, 4, offsetof(Context, hostRsp));
    out.bytes({0xb8, kUserData, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xe8});  // mov eax, data; mov ds, es, gs
    out.bytes({0xb8, 7, 0, 0, 0, 0x31, 0xd2});
    out.field64({0x48, 0x0f, 0xae}, 5, offsetof(Context, image) + offsetof(Image, xsave));  // xrstor64
    out.field64({0xff}, 6, offsetof(Context, image) + offsetof(Image, flags));             // push, popfq
    out.bytes({0x9d});
    if (!narrow) {
      out.moves64(0x8b);
      return;
    }
    out.field64({0xff}, 5, offsetof(Context, farOffset));  // jmp far
    context().farOffset = static_cast<uint32_t>(out.here());
    context().farSelector = kUserCode32;
    out.moves32(0x8b);
  };
  Emitter e64(stub_ + kEnter64);
  enter(e64, false);
  e64.field64({0xff}, 4, sizeof(Context));  // jmp [target]
  Emitter e32(stub_ + kEnter32);
  enter(e32, true);
  e32.field32({0xff}, 4, sizeof(Context));

  Emitter t64(stub_ + kTaken64);
  t64.field64({0xc7}, 0, offsetof(Context, taken));
  t64.dword(1);
  t64.jump(kStub + kLeave64);
  Emitter t32(stub_ + kTaken32);
  t32.field32({0x36, 0xc7}, 0, offsetof(Context, taken));
  t32.dword(1);
  t32.jump(kStub + kLeave32);
  Emitter l64(stub_ + kLeave64);
  l64.moves64(0x89);
  l64.jump(kStub + kTail);
  Emitter l32(stub_ + kLeave32);
  l32.moves32(0x89);
  l32.bytes({0xea});
  l32.dword(kStub + kTail);
  l32.bytes({kUserCode64, 0});

  Emitter tail(stub_ + kTail);
  tail.field64({0x48, 0x8b}, 4, offsetof(Context, hostRsp));
  tail.bytes({0x9c});  // pushfq; pop
  tail.field64({0x8f}, 0, offsetof(Context, image) + offsetof(Image, flags));
  tail.bytes({0x6a, 2, 0x9d});  // DF, AC and the like
  tail.bytes({0xb8, kUserData, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xe8, 0x8e, 0xd0});
  tail.bytes({0xb8, 7, 0, 0, 0, 0x31, 0xd2});
  tail.field64({0x48, 0x0f, 0xae}, 4, offsetof(Context, image) + offsetof(Image, xsave));  // xsave64
  tail.bytes({0xdb, 0xe3});
  tail.field64({0x0f, 0xae}, 2, offsetof(Context, mxcsr));
  tail.bytes({0xc5, 0xf8, 0x77});  // vzeroupper
  tail.bytes({0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3});
  resume64 = kStub + kLeave64;
  resume32 = kStub + kLeave32;

  static uint8_t stack[1 << 16];
  stack_t alternate{};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof stack;
  ::sigaltstack(&alternate, nullptr);
  struct sigaction action {};
  action.sa_sigaction = onSignal;
  action.sa_flags = SA_ONSTACK | SA_NODEFER | SA_SIGINFO;
  for (int s : {SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGTRAP}) ::sigaction(s, &action, nullptr);
}

HostCpu::~HostCpu() {
  for (int s : {SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGTRAP}) ::signal(s, SIG_DFL);
  ::munmap(code_, 4096);
  ::munmap(stub_, 4096);
  ::munmap(reinterpret_cast<void*>(kContext), 8192);
  ::munmap(data_, kReadableBytes);
}

void HostCpu::enter(const Case& c, uint64_t at) {
  Context& x = context();
  x.image = c.before;
  x.taken = 0;
  std::memcpy(&x + 1, &at, 8);
  fault.vector = -1;
  reinterpret_cast<void (*)()>(kStub + (c.size == CodeSize::k32 ? kEnter32 : kEnter64))();
}

void HostCpu::runAtPageEnd(const Case& c, unsigned length, Result& out) {
  const uint64_t at = kCodePage + 4096 - length;
  std::memcpy(code_ + 4096 - length, c.bytes, length);
  enter(c, at);
  out.vector = fault.vector;
  out.error = fault.error;
  out.address = fault.address;
  out.rip = fault.rip - at;
}

void HostCpu::run(const Case& c, Result& out) {
  const bool narrow = c.size == CodeSize::k32;
  uint8_t* const at = code_ + (c.at - kCodePage);
  std::memcpy(at, c.bytes, c.length);
  Emitter end(at + c.length);
  end.jump(kStub + (narrow ? kLeave32 : kLeave64));
  Emitter taken(at + c.length + kTakenDistance);
  taken.jump(kStub + (narrow ? kTaken32 : kTaken64));
  enter(c, c.at);
  const Context& x = context();
  out.vector = fault.vector;
  out.error = fault.vector < 0 ? 0 : fault.error;
  out.address = fault.vector == kPF ? fault.address : 0;
  out.rip = fault.vector < 0 ? (x.taken ? kTakenDistance : 0) : fault.rip - c.at;
  out.lost = false;
  out.after = x.image;
}

}  // namespace lodge::x86::conformance
