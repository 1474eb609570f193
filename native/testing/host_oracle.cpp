#include "testing/host_oracle.h"

#include <cstddef>
#include <cstdio>
#include <sys/mman.h>
#include <ucontext.h>

namespace lodge::x86::oracle {

namespace {

constexpr size_t kCodeBytes = 4096;

/** What the generated code addresses from R15. */
struct alignas(64) Frame {
  uint8_t hostFx[512];
  Context context;
};

// The handler finds where to resume here; tests are single-threaded. A fault outside run() is the test's own, and ends it.
volatile uint64_t resumeAt = 0;
volatile int raised = 0;

void onSignal(int number, siginfo_t*, void* data) {
  if (resumeAt == 0) {
    signal(number, SIG_DFL);
    return;
  }
  raised = number;
  static_cast<ucontext_t*>(data)->uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(resumeAt);
}

class Emitter {
 public:
  explicit Emitter(uint8_t* at) : at_(at) {}
  void bytes(std::initializer_list<uint8_t> list) {
    for (uint8_t b : list) *at_++ = b;
  }
  void bytes(const std::vector<uint8_t>& list) {
    for (uint8_t b : list) *at_++ = b;
  }
  /** opcode with ModRM [R15 + offset]; rex must have B set. */
  void atR15(std::initializer_list<uint8_t> rexAndOpcode, unsigned reg, size_t offset) {
    bytes(rexAndOpcode);
    *at_++ = static_cast<uint8_t>(0x87 | (reg & 7) << 3);
    const auto displacement = static_cast<uint32_t>(offset);
    std::memcpy(at_, &displacement, 4);
    at_ += 4;
  }
  uint8_t* at() const { return at_; }

 private:
  uint8_t* at_;
};

constexpr size_t kContext = offsetof(Frame, context);
constexpr bool harnessOwned(unsigned reg) { return reg == kRsp || reg == kR15; }

}  // namespace

Host::Host() {
  constexpr int kProtection = PROT_READ | PROT_WRITE | PROT_EXEC;
  code_ = static_cast<uint8_t*>(mmap(nullptr, kCodeBytes, kProtection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (code_ == MAP_FAILED) std::abort();
  struct sigaction action = {};
  action.sa_sigaction = onSignal;
  action.sa_flags = SA_SIGINFO;
  for (int i = 0; i < 4; ++i) sigaction(kSignals[i], &action, &previous_[i]);
}
Host::~Host() {
  for (int i = 0; i < 4; ++i) sigaction(kSignals[i], &previous_[i], nullptr);
  munmap(code_, kCodeBytes);
}

void Host::run(const std::vector<uint8_t>& instruction, Context& context) {
  alignas(64) static Frame frame;
  frame.context = context;

  Emitter out(code_);
  out.bytes({0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57});  // push rbx rbp r12-r15
  out.bytes({0x49, 0x89, 0xff});                                            // mov r15, rdi
  out.atR15({0x49, 0x0f, 0xae}, 0, 0);                                      // fxsave64 hostFx
  out.atR15({0x49, 0x0f, 0xae}, 1, kContext + offsetof(Context, fx));       // fxrstor64
  out.atR15({0x41, 0xff}, 6, kContext + offsetof(Context, rflags));         // push; popfq
  out.bytes({0x9d});
  for (unsigned r = 0; r < 16; ++r)
    if (!harnessOwned(r))
      out.atR15({static_cast<uint8_t>(0x49 | (r >> 3) << 2), 0x8b}, r, kContext + offsetof(Context, gpr) + 8 * r);
  out.bytes(instruction);
  resumeAt = reinterpret_cast<uint64_t>(out.at());
  out.bytes({0x9c});
  out.atR15({0x41, 0x8f}, 0, kContext + offsetof(Context, rflags));  // pushfq; pop
  for (unsigned r = 0; r < 16; ++r)
    if (!harnessOwned(r))
      out.atR15({static_cast<uint8_t>(0x49 | (r >> 3) << 2), 0x89}, r, kContext + offsetof(Context, gpr) + 8 * r);
  out.atR15({0x49, 0x0f, 0xae}, 0, kContext + offsetof(Context, fx));
  out.bytes({0xdb, 0xe3});  // fninit: an exception may be pending
  out.atR15({0x49, 0x0f, 0xae}, 1, 0);
  out.bytes({0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3});

  // R14 and RDI point into the frame's copy of the memory, and are given back as they came.
  const uint64_t shift = reinterpret_cast<uint64_t>(frame.context.memory) - reinterpret_cast<uint64_t>(context.memory);
  const auto base = reinterpret_cast<uint64_t>(context.memory);
  const auto inMemory = [&](uint64_t value) { return value - base < sizeof context.memory; };
  bool moved[16] = {};
  for (unsigned r : {unsigned{kR14}, unsigned{kRdi}})
    if (inMemory(frame.context.gpr[r])) {
      frame.context.gpr[r] += shift;
      moved[r] = true;
    }

  raised = 0;
  reinterpret_cast<void (*)(Frame*)>(code_)(&frame);
  resumeAt = 0;
  for (unsigned r = 0; r < 16; ++r)
    if (moved[r]) frame.context.gpr[r] -= shift;
  context = frame.context;
  context.signal = raised;
}

uint32_t Random::float32() {
  static constexpr uint32_t kSpecial[] = {0, 0x3f800000, 0x7f800000, 0x7fc00000, 0x7fa00000, 0x00000001, 0x007fffff, 0x00800000,
                                          0x7f7fffff, 0x4f000000, 0x4effffff, 0x5f000000, 0x3f000000, 0x40200000, 0x7fc12345,
                                          0x3f800001, 0x00400000, 0x20000000, 0x5f800000};
  const uint32_t sign = static_cast<uint32_t>(bits()) & 0x80000000;
  switch (below(6)) {
    case 0: return static_cast<uint32_t>(bits());
    case 1: return sign | (0x3f800000 + (below(64) - 32) * 0x400000 + (static_cast<uint32_t>(bits()) & 0x3fffff));
    case 2: return sign | (static_cast<uint32_t>(bits()) & 0x00ffffff);  // around the smallest normal
    default: return sign | kSpecial[below(sizeof kSpecial / 4)];
  }
}
uint64_t Random::float64() {
  static constexpr uint64_t kSpecial[] = {0, 0x3ff0000000000000, 0x7ff0000000000000, 0x7ff8000000000000, 0x7ff4000000000000, 1,
                                          0x000fffffffffffff, 0x0010000000000000, 0x7fefffffffffffff, 0x41e0000000000000,
                                          0x41dfffffffc00000, 0x43e0000000000000, 0x3fe0000000000000, 0x4004000000000000,
                                          0x7ff8000012345678, 0x3ff0000000000001, 0x36a0000000000000, 0x47efffffffffffff,
                                          0x3810000000000000, 0x380fffffffffffff};
  const uint64_t sign = bits() & 0x8000000000000000;
  switch (below(6)) {
    case 0: return bits();
    case 1: return sign | (0x3ff0000000000000 + (uint64_t{below(128)} - 64) * 0x10000000000000 + (bits() & 0xfffffffffffff));
    case 2: return sign | (bits() & 0x001fffffffffffff);
    default: return sign | kSpecial[below(sizeof kSpecial / 8)];
  }
}
void Random::float80(uint8_t* to) {
  static constexpr uint16_t kExponents[] = {0,      1,      2,      0x3c00, 0x3c01, 0x3bff, 0x3f80, 0x3f81,
                                            0x3ffd, 0x3ffe, 0x3fff, 0x4000, 0x4001, 0x400e, 0x401e, 0x403e,
                                            0x403f, 0x407e, 0x407f, 0x43fe, 0x43ff, 0x7ffe, 0x7fff};
  static constexpr uint64_t kSignificands[] = {0, 1, 0x8000000000000000, 0xc000000000000000, 0xa000000000000000,
                                               0xffffffffffffffff, 0x7fffffffffffffff, 0x8000000000000001,
                                               0xfffffffffffff800, 0x80000000000003ff, 0xffffff8000000000,
                                               0x4000000000000000};
  uint16_t exponent = oneIn(2) ? kExponents[below(sizeof kExponents / 2)] : static_cast<uint16_t>(0x3fff + below(80) - 40);
  if (oneIn(8)) exponent = static_cast<uint16_t>(bits() & 0x7fff);
  uint64_t significand = oneIn(2) ? kSignificands[below(sizeof kSignificands / 8)] : bits();
  // Mostly encodings that processors still support.
  if (!oneIn(8) && exponent != 0) significand |= 0x8000000000000000;
  if (oneIn(24)) exponent = 0, significand = 0;
  exponent |= static_cast<uint16_t>(bits() & 0x8000);
  std::memcpy(to, &significand, 8);
  std::memcpy(to + 8, &exponent, 2);
}
void Random::vector(uint8_t* to) {
  const unsigned kind = below(5);
  for (unsigned i = 0; i < 16; i += 8) {
    uint64_t value = bits();
    if (kind == 0)
      value = float32() | uint64_t{float32()} << 32;
    else if (kind == 1)
      value = float64();
    else if (kind == 2)
      for (unsigned b = 0; b < 64; b += 8) {
        constexpr uint8_t kBytes[] = {0, 1, 0x7f, 0x80, 0x81, 0xff, 'a', 'b'};
        value = (value & ~(uint64_t{0xff} << b)) | uint64_t{kBytes[below(8)]} << b;
      }
    else if (kind == 3)
      value = below(3) ? below(80) : uint64_t{0} - below(70);
    std::memcpy(to + i, &value, 8);
  }
}

namespace {
template <class T>
void put(uint8_t* at, T value) { std::memcpy(at, &value, sizeof value); }
template <class T>
T get(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
}  // namespace

void randomise(Random& random, Context& c, bool unmaskedSimd, bool unmaskedX87) {
  std::memset(&c, 0, sizeof c);
  uint16_t control = static_cast<uint16_t>(0x40 | (random.bits() & 0x1f00) | 0x3f);
  if (unmaskedX87) control = static_cast<uint16_t>(control & ~(random.bits() & 0x3f));
  uint16_t status = static_cast<uint16_t>(random.bits() & 0x7f7f);
  if (random.oneIn(2)) status &= 0x7f00;
  status &= static_cast<uint16_t>(~(~control & 0x3f));
  put(c.fx + 0, control);
  put(c.fx + 2, status);
  c.fx[4] = 0xff;  // tags: full, any, or mostly full
  if (random.oneIn(3)) c.fx[4] = static_cast<uint8_t>(random.bits());
  else if (random.oneIn(2)) c.fx[4] = static_cast<uint8_t>(random.bits() | random.bits());
  uint32_t mxcsr = static_cast<uint32_t>(random.bits() & 0xe07f) | 0x1f80;
  if (random.oneIn(2)) mxcsr &= ~0x3fu;
  if (unmaskedSimd) mxcsr &= ~static_cast<uint32_t>(random.bits() & 0x1f80);
  put(c.fx + 24, mxcsr);
  for (unsigned i = 0; i < 8; ++i) random.float80(c.fx + 32 + 16 * i);
  for (unsigned i = 0; i < 16; ++i) random.vector(c.fx + 160 + 16 * i);
  for (unsigned i = 0; i < 16; ++i) {
    const uint64_t value = random.bits();
    c.gpr[i] = random.oneIn(3) ? static_cast<uint64_t>(static_cast<int64_t>(value) >> random.below(64)) : value;
    if (random.oneIn(3)) c.gpr[i] = uint64_t{random.below(40)} - 20;
  }
  c.rflags = 0x202 | (random.bits() & kArith);
  for (unsigned i = 0; i < sizeof c.memory; i += 16) random.vector(c.memory + i);
}

void toState(const Context& c, State& s) {
  s.x87.control = get<uint16_t>(c.fx);
  s.x87.status = get<uint16_t>(c.fx + 2);
  s.x87.tagValid = c.fx[4];
  s.mxcsr = get<uint32_t>(c.fx + 24);
  const unsigned top = s.x87.status >> 11 & 7;
  for (unsigned i = 0; i < 8; ++i) std::memcpy(s.x87.r[(top + i) & 7].bytes, c.fx + 32 + 16 * i, 10);
  for (unsigned i = 0; i < 16; ++i) std::memcpy(s.vec[i].bytes, c.fx + 160 + 16 * i, 16);
  std::memcpy(s.gpr, c.gpr, sizeof s.gpr);
  s.rflags = c.rflags;
}
void fromState(const State& s, Context& c) {
  put(c.fx + 0, s.x87.control);
  put(c.fx + 2, s.x87.status);
  c.fx[4] = s.x87.tagValid;
  put(c.fx + 24, s.mxcsr);
  const unsigned top = s.x87.status >> 11 & 7;
  for (unsigned i = 0; i < 8; ++i) std::memcpy(c.fx + 32 + 16 * i, s.x87.r[(top + i) & 7].bytes, 10);
  for (unsigned i = 0; i < 16; ++i) std::memcpy(c.fx + 160 + 16 * i, s.vec[i].bytes, 16);
  std::memcpy(c.gpr, s.gpr, sizeof s.gpr);
  c.rflags = s.rflags;
}

std::string difference(const Context& host, const Context& ours) {
  char text[160] = "";
  const auto bytes = [&](const char* what, unsigned index, const uint8_t* a, const uint8_t* b, unsigned count) {
    if (text[0] || std::memcmp(a, b, count) == 0) return;
    int at = std::snprintf(text, sizeof text, "%s %u: host ", what, index);
    for (unsigned i = count; i--;) at += std::snprintf(text + at, sizeof text - static_cast<unsigned>(at), "%02x", a[i]);
    at += std::snprintf(text + at, sizeof text - static_cast<unsigned>(at), " ours ");
    for (unsigned i = count; i--;) at += std::snprintf(text + at, sizeof text - static_cast<unsigned>(at), "%02x", b[i]);
  };
  if (host.signal != ours.signal) std::snprintf(text, sizeof text, "signal: host %d ours %d", host.signal, ours.signal);
  for (unsigned i = 0; i < 16; ++i) bytes("xmm", i, host.fx + 160 + 16 * i, ours.fx + 160 + 16 * i, 16);
  bytes("mxcsr", 0, host.fx + 24, ours.fx + 24, 4);
  for (unsigned i = 0; i < 16; ++i)
    if (i != kRsp && i != kR15)
      bytes("gpr", i, reinterpret_cast<const uint8_t*>(&host.gpr[i]), reinterpret_cast<const uint8_t*>(&ours.gpr[i]), 8);
  const uint64_t hostFlags = host.rflags & kArith, ourFlags = ours.rflags & kArith;
  bytes("flags", 0, reinterpret_cast<const uint8_t*>(&hostFlags), reinterpret_cast<const uint8_t*>(&ourFlags), 4);
  bytes("x87 control", 0, host.fx, ours.fx, 2);
  bytes("x87 status", 0, host.fx + 2, ours.fx + 2, 2);
  bytes("x87 tags", 0, host.fx + 4, ours.fx + 4, 1);
  for (unsigned i = 0; i < 8; ++i) bytes("st", i, host.fx + 32 + 16 * i, ours.fx + 32 + 16 * i, 10);
  for (unsigned i = 0; i < sizeof host.memory; i += 16) bytes("memory", i, host.memory + i, ours.memory + i, 16);
  return text;
}

}  // namespace lodge::x86::oracle
