#include "x86/fp/vex_thunks.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <initializer_list>

#include "x86/fp/simd_support.h"

namespace lodge::x86 {
namespace {

constexpr size_t kThunkBytes = 96;
constexpr size_t kArenaBytes = VexThunks::kMaxEntries * kThunkBytes;

class Emitter {
 public:
  explicit Emitter(uint8_t* at) : at_(at) {}
  void bytes(std::initializer_list<unsigned> list) {
    for (unsigned b : list) *at_++ = static_cast<uint8_t>(b);
  }
  /** register = [rdi + field] */
  void pointer(unsigned reg, size_t field) { bytes({0x48, 0x8b, 0x47 | reg << 3, static_cast<unsigned>(field)}); }
  /** VMOVDQU ymm, [register] or [register], ymm */
  void load(unsigned ymm, unsigned reg) { bytes({0xc5, 0xfe, 0x6f, ymm << 3 | reg}); }
  void store(unsigned ymm, unsigned reg) { bytes({0xc5, 0xfe, 0x7f, ymm << 3 | reg}); }

 private:
  uint8_t* at_;
};

// The registers a function uses. YMM0 is the destination (and a source, where it is one).
enum : unsigned { kRaxReg = 0, kRcxReg = 1, kRdxReg = 2, kDst = 0, kV = 1, kSrc = 2, kLast = 3 };

void emit(uint8_t* at, const VexVariant& x) {
  const VexRow& row = *x.row;
  Emitter out(at);
  out.bytes({0xf3, 0x0f, 0x1e, 0xfa});  // endbr64
  const bool fromGpr = row.form == VexForm::RmFromGpr || row.form == VexForm::RvmGpr;
  const bool toGpr = row.form == VexForm::RmGpr || row.form == VexForm::MrGpr;
  const bool stores = row.form == VexForm::Mr || row.form == VexForm::Mvr || row.form == VexForm::MrGpr;
  out.pointer(kRdxReg, offsetof(VexOperands, dst));
  out.pointer(kRcxReg, offsetof(VexOperands, src));
  if (row.usesV() && row.form != VexForm::Vmi) {
    out.pointer(kRaxReg, offsetof(VexOperands, v));
    out.load(kV, kRaxReg);
  }
  if (row.form == VexForm::Rvmr) {
    out.pointer(kRaxReg, offsetof(VexOperands, last));
    out.load(kLast, kRaxReg);
  }
  if ((row.attributes & kVexReadsDst) || row.form == VexForm::Compare) out.load(kDst, kRdxReg);
  // The source is read from memory where it is the guest's or a general register, else from a vector register.
  const bool memorySource = fromGpr || (x.memory && !stores);
  const bool memoryTarget = x.memory && row.form == VexForm::Mr;
  if (!memorySource) out.load(kSrc, kRcxReg);

  unsigned reg, rm, mod = 3, v = 0;
  switch (row.form) {
    case VexForm::Mr:
    case VexForm::Mvr:
    case VexForm::MrGpr:
      reg = kSrc;
      rm = memoryTarget ? unsigned{kRdxReg} : unsigned{kDst};  // EAX, for general registers
      break;
    case VexForm::Vmi:
      reg = static_cast<unsigned>(row.extension);
      rm = kSrc;
      v = kDst;
      break;
    default:
      reg = kDst;
      rm = memorySource ? unsigned{kRcxReg} : unsigned{kSrc};
  }
  if (memorySource || memoryTarget) mod = 0;
  if (row.usesV() && row.form != VexForm::Vmi) v = kV;
  const bool w = row.w == VexW::W1 || (row.w == VexW::Any && x.wide);
  const bool l = row.l != VexL::Ignored && x.l;
  out.bytes({0xc4, 0xe0u | (static_cast<unsigned>(row.map) + 1), (w ? 0x80u : 0) | (~v & 15) << 3 | (l ? 4u : 0) | static_cast<unsigned>(row.prefix),
             row.opcode, mod << 6 | reg << 3 | rm});
  if (row.form == VexForm::Rvmr)
    out.bytes({kLast << 4});
  else if (row.imm8)
    out.bytes({x.imm});

  if (row.attributes & kFpWritesFlags) {
    out.bytes({0x9c, 0x58, 0x48, 0x89, 0x47, offsetof(VexOperands, flags)});  // pushfq; pop rax; mov [rdi + flags], rax
  } else if (toGpr) {
    out.bytes({0x48, 0x89, 0x02});  // mov [rdx], rax
  } else if (!memoryTarget) {
    out.store(kDst, kRdxReg);
  }
  out.bytes({0xc5, 0xf8, 0x77, 0xc3});  // vzeroupper; ret
}

uint64_t keyOf(const VexVariant& x) {
  const bool imm = x.row->imm8 && x.row->form != VexForm::Rvmr;
  return static_cast<uint64_t>(x.row - kVexRows) << 16 | (x.l ? 1u << 8 : 0) | (x.wide ? 1u << 9 : 0) | (x.memory ? 1u << 10 : 0) |
         (imm ? x.imm : 0u);
}

/** VCVTPS2PH takes no notice of FTZ, by which tininess shows elsewhere: an exact half that is denormal is a tiny one. */
uint32_t tinyHalves(const void* result, unsigned bytes) {
  for (unsigned at = 0; at < bytes; at += 2) {
    uint16_t half;
    std::memcpy(&half, static_cast<const uint8_t*>(result) + at, 2);
    if ((half & 0x7fff) != 0 && (half & 0x7c00) == 0) return fpbits::kUe;
  }
  return 0;
}

/** The products of VDPPS and VDPPD, which raise their exceptions before the sums do. Elements left out count as zero. */
struct Products {
  alignas(16) uint8_t a[32] = {}, b[32] = {};
  unsigned element;

  Products(const VexOperands& o, unsigned elementBytes, unsigned bytes, unsigned selected) : element(elementBytes) {
    for (unsigned at = 0; at < bytes; at += element) {
      if (!(selected >> (at % 16 / element) & 1)) continue;
      std::memcpy(a + at, static_cast<const uint8_t*>(o.v) + at, element);
      std::memcpy(b + at, static_cast<const uint8_t*>(o.src) + at, element);
    }
  }
  static uint32_t attempt(void* context) {
    auto& p = *static_cast<Products*>(context);
    for (unsigned lane = 0; lane < 32; lane += 16) {
      __m128i d = simd::load16(p.a + lane);
      if (p.element == 4)
        LODGE_XMM_FP("mulps", d, simd::load16(p.b + lane));
      else
        LODGE_XMM_FP("mulpd", d, simd::load16(p.b + lane));
    }
    return 0;
  }
};

struct Attempt {
  const State* state;
  unsigned halves;  ///< bytes of a result of VCVTPS2PH, else 0
  VexFn function;
  VexOperands* operands;
  const void* before;
  unsigned bytes;
};

}  // namespace

VexThunks::~VexThunks() {
  if (write_) ::munmap(write_, kArenaBytes);
  if (execute_) ::munmap(execute_, kArenaBytes);
}

bool VexThunks::map() {
  const int fd = ::memfd_create("lodge-vex", MFD_CLOEXEC);
  if (fd < 0) return false;
  void *w = MAP_FAILED, *x = MAP_FAILED;
  if (::ftruncate(fd, kArenaBytes) == 0) {
    w = ::mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    x = ::mmap(nullptr, kArenaBytes, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_NORESERVE, fd, 0);
  }
  ::close(fd);
  if (w != MAP_FAILED) write_ = static_cast<uint8_t*>(w);
  if (x != MAP_FAILED) execute_ = static_cast<uint8_t*>(x);
  return write_ && execute_;
}

int VexThunks::find(const VexVariant& asked) {
  VexVariant variant = asked;
  // What does not change the instruction makes no second function.
  if (variant.row->l == VexL::Ignored) variant.l = false;
  if (variant.row->memoryBytes[0] != 0 && variant.row->form != VexForm::RmGpr) variant.wide = false;
  const uint64_t key = keyOf(variant);
  const auto found = index_.find(key);
  if (found != index_.end()) return found->second;
  if (refused_) return -1;
  if (!execute_ && !map()) {
    refused_ = true;
    return -1;
  }
  emit(write_ + used_, variant);
  const auto number = static_cast<uint16_t>(entries_.size());
  entries_.push_back({reinterpret_cast<VexFn>(execute_ + used_), variant.row});
  used_ += kThunkBytes;
  index_.emplace(key, number);
  return number;
}

int vexUnmasked(State& state, const VexThunks::Entry& entry, VexOperands& o, unsigned bytes, bool l, uint8_t imm) noexcept {
  const VexRow& row = *entry.row;
  const VexFn function = entry.function;
  const unsigned halves = row.form == VexForm::Mr ? row.memoryBytes[l] : 0;  // VCVTPS2PH
  if (row.map == FpMap::M0F3A && (row.opcode == 0x40 || row.opcode == 0x41)) {
    Products products(o, row.opcode == 0x40 ? 4 : 8, l ? 32 : 16, imm >> 4);
    const int vector = simd::withUnmaskedExceptions(state, Products::attempt, &products);
    if (vector >= 0) return vector;
  }
  alignas(32) uint8_t result[32], before[32];
  void* const dst = o.dst;
  std::memcpy(before, dst, bytes);
  VexOperands trial = o;
  trial.dst = result;
  Attempt attempt{&state, halves, function, &trial, before, bytes};
  const int vector = simd::withUnmaskedExceptions(
      state,
      [](void* context) {
        auto& a = *static_cast<Attempt*>(context);
        std::memcpy(a.operands->dst, a.before, a.bytes);
        a.function(a.operands);
        const bool underflowMasked = a.state->mxcsr >> 7 & fpbits::kUe;
        return underflowMasked ? 0u : tinyHalves(a.operands->dst, a.halves);
      },
      &attempt);
  if (vector >= 0) return vector;
  std::memcpy(dst, result, bytes);
  o.flags = trial.flags;
  return -1;
}

}  // namespace lodge::x86
