// The interpreter against the host CPU: random user-mode integer instructions in 64-bit and in compatibility mode, random
// registers, flags and memory. The host runs the same bytes at the same linear addresses of data. LODGE_CASES sets how many.
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstring>

#include "testing/test.h"
#include "x86/instruction.h"
#include "x86/interpreter/guest_fixture.h"

namespace lodge::x86 {
namespace {

constexpr uint64_t kDataAt = 0x70000000;  ///< the same linear address on both sides
constexpr unsigned kDataBytes = 4 * 4096;
constexpr uint64_t kCodeAt = 0x300000000, kCodeAt32 = 0x58000000;
constexpr uint64_t kHostCodeAt = 0x50000000;  ///< out of reach of bit offsets from the data, and below 4 GiB for 32-bit code
constexpr uint16_t kHostCode64 = 0x33, kHostCode32 = 0x23, kHostData = 0x2b;  ///< Linux's selectors for user mode
constexpr Gpa kDataGpa = 0x100000, kCodeGpa = 0x110000;

struct Context {
  uint64_t gpr[16], flags, hostRsp;
  uint32_t farOffset;
  uint16_t farSelector;
};

class Host {
 public:
  Host() {
    page_ = static_cast<uint8_t*>(::mmap(reinterpret_cast<void*>(kHostCodeAt), 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    data = static_cast<uint8_t*>(::mmap(reinterpret_cast<void*>(kDataAt), kDataBytes, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    static uint8_t stack[65536];
    stack_t alternate{};
    alternate.ss_sp = stack;
    alternate.ss_size = sizeof stack;
    ::sigaltstack(&alternate, nullptr);
    struct sigaction action {};
    action.sa_handler = [](int) { siglongjmp(escape, 1); };
    action.sa_flags = SA_ONSTACK | SA_NODEFER;
    for (int s : {SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGTRAP}) ::sigaction(s, &action, &old_[s]);
  }
  ~Host() {
    for (int s : {SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGTRAP}) ::sigaction(s, &old_[s], nullptr);
    ::munmap(page_, 8192);
    ::munmap(data, kDataBytes);
  }
  Context& context() { return *reinterpret_cast<Context*>(page_ + 4096); }
  /** False: the instruction faulted. */
  bool run(const uint8_t* bytes, unsigned length, CodeSize size) {
    at_ = page_;
    for (uint8_t b : {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57}) *at_++ = b;
    move(0x89, kRsp, offsetof(Context, hostRsp));
    if (size == CodeSize::k32) {
      for (uint8_t b : {0xb8, int{kHostData}, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0})
        *at_++ = b;  // mov eax,data; mov ds,eax; mov es,eax
    }
    *at_++ = 0xff;
    *at_++ = 0x35;
    relative(offsetof(Context, flags));  // PUSH flags
    *at_++ = 0x9d;
    if (size == CodeSize::k64) {
      for (unsigned r = 0; r < 16; ++r) move(0x8b, r, r * 8);
      std::memcpy(at_, bytes, length);
      at_ += length;
      for (unsigned r = 0; r < 16; ++r) move(0x89, r, r * 8);
    } else {
      *at_++ = 0xff;
      *at_++ = 0x2d;
      relative(offsetof(Context, farOffset));  // JMP FAR
      context().farOffset = static_cast<uint32_t>(reinterpret_cast<uint64_t>(at_));
      context().farSelector = kHostCode32;
      for (unsigned r = 0; r < 8; ++r) move32(0x8b, r, r * 8);
      std::memcpy(at_, bytes, length);
      at_ += length;
      for (unsigned r = 0; r < 8; ++r) move32(0x89, r, r * 8);
      *at_++ = 0xea;
      const auto back = static_cast<uint32_t>(reinterpret_cast<uint64_t>(at_ + 6));
      std::memcpy(at_, &back, 4);
      std::memcpy(at_ + 4, &kHostCode64, 2);
      at_ += 6;
    }
    move(0x8b, kRsp, offsetof(Context, hostRsp));
    *at_++ = 0x9c;
    *at_++ = 0x8f;
    *at_++ = 0x05;
    relative(offsetof(Context, flags));  // POP flags
    *at_++ = 0xfc;
    for (uint8_t b : {0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3}) *at_++ = b;
    if (sigsetjmp(escape, 0)) {
      asm volatile("cld" ::: "cc");
      return false;
    }
    reinterpret_cast<void (*)()>(page_)();
    return true;
  }
  uint8_t* data;

 private:
  void relative(uint64_t field) {
    const auto distance = static_cast<int32_t>(page_ + 4096 + field - (at_ + 4));
    std::memcpy(at_, &distance, 4);
    at_ += 4;
  }
  void move(uint8_t opcode, unsigned r, uint64_t field) {
    *at_++ = static_cast<uint8_t>(0x48 | (r & 8) >> 1);
    *at_++ = opcode;
    *at_++ = static_cast<uint8_t>(5 | (r & 7) << 3);
    relative(field);
  }
  void move32(uint8_t opcode, unsigned r, uint64_t field) {
    *at_++ = opcode;
    *at_++ = static_cast<uint8_t>(5 | r << 3);
    const auto address = static_cast<uint32_t>(reinterpret_cast<uint64_t>(page_ + 4096 + field));
    std::memcpy(at_, &address, 4);
    at_ += 4;
  }
  static sigjmp_buf escape;
  struct sigaction old_[65];
  uint8_t *page_, *at_ = nullptr;
};
sigjmp_buf Host::escape;

uint64_t seed = 0x9e3779b97f4a7c15;
uint64_t random64() {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed * 0x2545f4914f6cdd1d;
}
uint64_t operandValue() {
  static constexpr uint64_t kSpecial[] = {
      0, 1, ~0ull, 0x7f, 0x80, 0x7fff, 0x8000, 0x7fffffff, 0x80000000, 0x7fffffffffffffff, 1ull << 63, 0xffffffff};
  switch (random64() % 4) {
    case 0:
      return kSpecial[random64() % 12];
    case 1:
      return random64() & 0xff;
    default:
      return random64();
  }
}

bool compared(Op op) {
  switch (op) {
    case Op::Add:
    case Op::Or:
    case Op::Adc:
    case Op::Sbb:
    case Op::And:
    case Op::Sub:
    case Op::Xor:
    case Op::Cmp:
    case Op::Rol:
    case Op::Ror:
    case Op::Rcl:
    case Op::Rcr:
    case Op::Shl:
    case Op::Shr:
    case Op::Sar:
    case Op::Test:
    case Op::Not:
    case Op::Neg:
    case Op::Mul:
    case Op::Imul:
    case Op::Div:
    case Op::Idiv:
    case Op::Inc:
    case Op::Dec:
    case Op::Imul2:
    case Op::Mov:
    case Op::Movsxd:
    case Op::Movzx:
    case Op::Movsx:
    case Op::Lea:
    case Op::Xchg:
    case Op::Xadd:
    case Op::Cmpxchg:
    case Op::Cmpxchg8b:
    case Op::Bswap:
    case Op::Movbe:
    case Op::Movnti:
    case Op::Cmov:
    case Op::Set:
    case Op::Bt:
    case Op::Bts:
    case Op::Btr:
    case Op::Btc:
    case Op::Bsf:
    case Op::Bsr:
    case Op::Lzcnt:
    case Op::Popcnt:
    case Op::Crc32:
    case Op::Shld:
    case Op::Shrd:
    case Op::Push:
    case Op::Pop:
    case Op::Pushf:
    case Op::Pusha:
    case Op::Popa:
    case Op::Daa:
    case Op::Das:
    case Op::Aaa:
    case Op::Aas:
    case Op::Aam:
    case Op::Aad:
    case Op::Salc:
    case Op::Enter:
    case Op::Leave:
    case Op::Movs:
    case Op::Cmps:
    case Op::Stos:
    case Op::Lods:
    case Op::Scas:
    case Op::Xlat:
    case Op::Cbw:
    case Op::Cwd:
    case Op::Sahf:
    case Op::Lahf:
    case Op::Cmc:
    case Op::Clc:
    case Op::Stc:
    case Op::Cld:
    case Op::Std:
    case Op::Nop:
    case Op::Pause:
    case Op::Fence:
      return true;
    default:
      return false;
  }
}

/** What the architecture leaves undefined and this case cannot pin down. */
uint32_t undefinedFlags(const Decoded& d, const Context& in) {
  uint32_t mask = d.row->undefined;
  if (d.op == Op::Rol || d.op == Op::Ror || d.op == Op::Rcl || d.op == Op::Rcr || d.op == Op::Shl || d.op == Op::Shr ||
      d.op == Op::Sar) {
    const bool byCl = d.opcode >= 0xd2;
    const unsigned count = (byCl               ? in.gpr[kRcx] & 0xff
                            : d.opcode >= 0xd0 ? 1
                                               : d.immediate & 0xff) &
                           (d.operandSize == 8 ? 63 : 31);
    if (count == 0) mask = 0;
    if (count == 1) mask &= ~uint32_t{kOf | kCf};
    if (count <= d.operandSize * 8u) mask &= ~uint32_t{kCf};
  }
  if (d.op == Op::Shld || d.op == Op::Shrd) {
    const unsigned count = (d.row->form == Form::MRC ? in.gpr[kRcx] & 0xff : d.immediate & 0xff) & (d.operandSize == 8 ? 63 : 31);
    if (count == 0) mask = 0;
    if (count > d.operandSize * 8u) mask = kArith;
  }
  return mask;
}

void compareWithHost(CodeSize size) {
  const bool wide = size == CodeSize::k64;
  const char* wanted = ::getenv("LODGE_CASES");
  const unsigned cases = wanted ? static_cast<unsigned>(::atoi(wanted)) : 60000;
  if (const char* start = ::getenv("LODGE_SEED")) seed = ::strtoull(start, nullptr, 0);
  Host host;
  testing::Guest guest;
  const uint64_t codeAt = wide ? kCodeAt : kCodeAt32;
  guest.enter64(codeAt);
  if (!wide) guest.state().seg[kCs] = guest.flat(testing::kCode32, 0xc09b);
  for (unsigned p = 0; p < 4; ++p) guest.mapPage(kDataAt + p * 4096, kDataGpa + p * 4096, 7);
  guest.mapPage(codeAt, kCodeGpa, 7);
  guest.put<uint64_t>(testing::kIdt, 0);
  const State base = guest.state();
  uint8_t* guestData = guest.at(kDataGpa);
  static uint8_t initial[kDataBytes];

  unsigned done = 0, faults = 0, differences = 0, seen[static_cast<unsigned>(Op::kCount)] = {};
  while (done < cases && differences < 20) {
    // Prefixes, opcode, operands at random; the decoder says what came out.
    uint8_t bytes[24];
    unsigned n = 0;
    if (random64() % 8 == 0) bytes[n++] = 0x66;
    if (random64() % 8 == 0) bytes[n++] = random64() & 1 ? 0xf2 : 0xf3;
    if (random64() % 12 == 0) bytes[n++] = 0xf0;
    if (random64() % 24 == 0) bytes[n++] = 0x67;
    if (!wide && random64() % 24 == 0) bytes[n++] = static_cast<uint8_t>(0x26 | (random64() & 0x18));
    if (wide && (random64() & 1)) bytes[n++] = static_cast<uint8_t>(0x40 | (random64() & 15));
    switch (random64() % 8) {
      case 0:
      case 1:
        bytes[n++] = 0x0f;
        break;
      case 2:
        if (random64() % 4 == 0) {
          bytes[n++] = 0x0f;
          bytes[n++] = 0x38;
          bytes[n++] = static_cast<uint8_t>(0xf0 | (random64() & 1));
        }
        break;
      case 3:
        // These need a prefix and two opcode bytes at once, which 60,000 cases may never draw.
        if (random64() % 16 == 0) {
          bytes[n++] = 0xf3;
          bytes[n++] = 0x0f;
          bytes[n++] = random64() & 1 ? 0xb8 : 0xbd;  // POPCNT, LZCNT
        }
        break;
      default:
        break;
    }
    const unsigned opcodeAt = n;
    for (unsigned k = 0; k < 12; ++k) bytes[n++] = static_cast<uint8_t>(random64());
    (void)opcodeAt;
    Decoded d;
    if (decode(bytes, n, size, d) != DecodeStatus::Ok || !compared(d.op)) continue;
    const bool absolute = d.row->form == Form::FD || d.row->form == Form::TD;
    const bool string = d.row->form == Form::Str;
    if (!wide) {
      // 16-bit addresses are below what user mode may map.
      if (d.addressSize == 2 && (d.memory || absolute || string || d.op == Op::Xlat)) continue;
      if (absolute) {
        const auto address = static_cast<uint32_t>(kDataAt + 8192 + (random64() & 0x3ff));
        std::memcpy(bytes + d.length - 4, &address, 4);
        decode(bytes, n, size, d);
      }
    }
    if ((d.op == Op::Bsf && d.rep == 0xf3) ||  // TZCNT to the host, which has BMI1
        d.segment >= kFs || d.base == kRipRegister)
      continue;
    // Memory: base RBX (any address register with a pointer in it would do), index RSI, small displacement.
    Context in{};
    for (unsigned r = 0; r < (wide ? 16 : 8); ++r) in.gpr[r] = wide ? operandValue() : operandValue() & 0xffffffff;
    if (d.memory && d.op != Op::Lea) {
      if (d.base != kRbx && d.base != kR13 && d.base != kRbp && d.base != kRsp && d.base != kR12) continue;
      if (d.displacement < -1024 || d.displacement > 1024) continue;
    }
    in.gpr[kRsp] = kDataAt + 8192 + (random64() & 0xf8);
    if (d.memory || d.op == Op::Xlat || d.op == Op::Leave) {
      if (d.base < 16)
        in.gpr[d.base] = kDataAt + 8192 + (random64() % 8 ? random64() & 0x1f8 : random64() & 0x3ff) * (random64() % 64 ? 1 : 0);
      if (d.index < 16 && d.index != d.base) {
        in.gpr[d.index] = random64() & 0x3f;
        // Now and then the address comes out right only because it wraps at 4 GiB.
        if (!wide && d.base != kRsp && random64() % 4 == 0) {
          in.gpr[d.index] = random64() & 0xffffffff;
          in.gpr[d.base] = (in.gpr[d.base] - (in.gpr[d.index] << d.scale)) & 0xffffffff;
        }
      }
      if (d.op == Op::Xlat) in.gpr[kRbx] = kDataAt + 4096;
    }
    if (d.op == Op::Leave || d.op == Op::Enter) in.gpr[kRbp] = kDataAt + 8192;
    if (d.op == Op::Cmpxchg8b && random64() & 1) in.gpr[kRax] = in.gpr[kRdx] = 0;
    if (string) {
      in.gpr[kRsi] = kDataAt + 6000 + (random64() & 0xfff);
      in.gpr[kRdi] = random64() % 4 ? kDataAt + 6000 + (random64() & 0xfff) : in.gpr[kRsi] + (random64() & 31);
      in.gpr[kRcx] = random64() % 4 ? random64() & 15 : random64() & 255;
    }
    if (d.op == Op::Enter && (d.immediate > 2048 || (bytes[d.length - 1] & 31) > 8)) continue;
    in.flags = 2 | (random64() & (kArith | (string || d.op == Op::Std ? +kDf : 0)));
    if (d.op == Op::Pushf) in.flags = 0x202;

    for (unsigned k = 0; k < kDataBytes; k += 8) {
      const uint64_t v = k & 0x20 ? 0 : random64();
      std::memcpy(initial + k, &v, 8);
      if (k > 6000 && k < 14000 && (k & 0x1f) == 0 && (d.op == Op::Cmps || d.op == Op::Scas))
        std::memset(initial + k, static_cast<int>(in.gpr[kRax] & 0xff), 8);
    }
    std::memcpy(guestData, initial, kDataBytes);
    State& s = guest.state();
    s = base;
    std::memcpy(s.gpr, in.gpr, sizeof s.gpr);
    s.rflags = in.flags;
    uint8_t code[20];
    std::memcpy(code, bytes, d.length);
    code[d.length] = 0xf4;
    const unsigned codeOffset = random64() & 0xff0;
    if (codeOffset + 16 > 4096) continue;
    guest.memory.write(kCodeGpa + codeOffset, code, d.length + 1u);
    s.rip = codeAt + codeOffset;
    // Half of the cases take the path on which every access is checked against its segment.
    if (!wide && (random64() & 1)) s.seg[kDs].limit = s.seg[kEs].limit = 0xffffefff;
    s.activity = Activity::Runnable;
    guest.cpu->stateChanged();
    const RunExit exit = guest.run();
    const bool guestFault = exit != RunExit::Halted;

    std::memcpy(host.data, initial, kDataBytes);
    host.context() = in;
    const bool hostFault = !host.run(bytes, d.length, size);
    const Context& out = host.context();
    ++done;
    ++seen[static_cast<unsigned>(d.op)];
    bool equal = guestFault == hostFault;
    if (equal && guestFault) {
      ++faults;
      continue;
    }
    uint32_t mask = kArith | kDf;
    if (d.op != Op::Pushf) mask &= ~undefinedFlags(d, in);
    if (equal) {
      equal = ((guest.state().rflags ^ out.flags) & mask) == 0;
      for (unsigned r = 0; r < 16; ++r) equal &= guest.state().gpr[r] == out.gpr[r];
      equal &= std::memcmp(guestData, host.data, kDataBytes) == 0;
    }
    if (equal) continue;
    ++differences;
    std::string text = opName(d.op);
    char piece[96];
    for (unsigned k = 0; k < d.length; ++k) {
      std::snprintf(piece, sizeof piece, " %02x", bytes[k]);
      text += piece;
    }
    std::snprintf(piece, sizeof piece, " case %u guest %s host %s", done, guestFault ? "faults" : "runs",
                  hostFault ? "faults" : "runs");
    text += piece;
    if (!guestFault && !hostFault) {
      std::snprintf(piece, sizeof piece, " flags in %03llx guest %03llx host %03llx", static_cast<unsigned long long>(in.flags),
                    static_cast<unsigned long long>(guest.state().rflags & mask),
                    static_cast<unsigned long long>(out.flags & mask));
      text += piece;
      for (unsigned r = 0; r < 16; ++r) {
        if (guest.state().gpr[r] == out.gpr[r]) continue;
        std::snprintf(piece, sizeof piece, " r%u in %llx guest %llx host %llx", r, static_cast<unsigned long long>(in.gpr[r]),
                      static_cast<unsigned long long>(guest.state().gpr[r]), static_cast<unsigned long long>(out.gpr[r]));
        text += piece;
      }
      for (unsigned k = 0; k < kDataBytes; ++k) {
        if (guestData[k] == host.data[k]) continue;
        std::snprintf(piece, sizeof piece, " mem+%x guest %02x host %02x", k, guestData[k], host.data[k]);
        text += piece;
        break;
      }
    }
    ::lodge::testing::fail(__FILE__, __LINE__, text);
  }
  CHECK(faults < done / 4);
  for (unsigned op = 0; op < static_cast<unsigned>(Op::kCount); ++op) {
    const bool only32 = op == static_cast<unsigned>(Op::Pusha) || op == static_cast<unsigned>(Op::Popa) ||
                        (op >= static_cast<unsigned>(Op::Daa) && op <= static_cast<unsigned>(Op::Aad)) ||
                        op == static_cast<unsigned>(Op::Salc);
    const bool exists = wide ? !only32 : op != static_cast<unsigned>(Op::Movsxd);
    if (cases >= 60000 && exists && compared(static_cast<Op>(op)) && seen[op] == 0) {
      ::lodge::testing::fail(__FILE__, __LINE__, std::string("never generated: ") + opName(static_cast<Op>(op)));
    }
  }
}

TEST(interpreterAgreesWithHostCpu) { compareWithHost(CodeSize::k64); }
TEST(interpreterAgreesWithHostCpuIn32BitCode) { compareWithHost(CodeSize::k32); }

}  // namespace
}  // namespace lodge::x86
