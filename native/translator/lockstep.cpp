#include "translator/lockstep.h"

#include <algorithm>
#include <cstring>

#include "x86/fp/host_fp.h"
#include "x86/interpreter/exec.h"

namespace lodge::translator {

using namespace x86;

namespace {

/** Blocks the interpreter may need for a stretch; far more than any takes. */
constexpr unsigned kMaxBlocks = 1 << 18;
/** Units of a stretch, less one. */
constexpr uint32_t kBudget = 24;

/** Bits of a page-table entry that a walk sets. */
constexpr uint8_t kWalkBits = 0x60;

bool samePage(const uint8_t* a, const uint8_t* b, bool walked) {
  if (std::memcmp(a, b, kPageBytes) == 0) return true;
  if (!walked) return false;
  for (unsigned n = 0; n < kPageBytes; ++n) {
    if ((a[n] ^ b[n]) & (n % 4 == 0 ? ~kWalkBits : 0xff)) return false;
  }
  return true;
}

}  // namespace

// ---- registers --------------------------------------------------------------------------------------------------------------

void Registers::take(Core& c) {
  c.tier->settle();
  wholeStatus(c.state.x87);
  state = c.state;
  state.mxcsr = guestMxcsr(c.state);
  ax = c.ax;
}

void Registers::putBack(Core& c) const {
  c.tier->settle();
  c.state = state;
  c.ax = ax;
  setGuestMxcsr(c.state, state.mxcsr);
  // As at the beginning of a HostFpScope.
  asm volatile("fninit\n\tfldcw %0" : : "m"(c.state.x87.control));
  c.state.x87.lastStatus = c.state.x87.status;
  c.updateMode();
}

uint64_t Registers::flags() const {
  return (state.rflags & ~uint64_t{kArith}) | (ax >> 8 & 0xd5) | static_cast<uint64_t>(ax & 1) << 11 | 2;
}

uint32_t Registers::difference(const Registers& other, bool narrow) const {
  const State &s = state, &o = other.state;
  uint64_t gprs = 0;
  for (unsigned r = 0; r < 16; ++r) gprs |= s.gpr[r] ^ o.gpr[r];
  bool more = narrow ? static_cast<uint32_t>(gprs) != 0 : gprs != 0;
  more |= ((s.rflags ^ o.rflags) & ~uint64_t{kArith}) || s.mxcsr != o.mxcsr || s.cr2 != o.cr2 ||
          std::memcmp(s.vec, o.vec, sizeof s.vec) != 0;
  for (unsigned n = 0; n < kSegCount; ++n) {
    const SegmentRegister &a = s.seg[n], &b = o.seg[n];
    more |= a.base != b.base || a.limit != b.limit || a.selector != b.selector || a.attributes != b.attributes;
  }
  // C1 is the processor's own behind FCOMI and its kin.
  more |= s.x87.control != o.x87.control || ((s.x87.status ^ o.x87.status) & ~fpbits::kC1) || s.x87.tagValid != o.x87.tagValid;
  for (unsigned n = 0; n < 8; ++n) more |= std::memcmp(s.x87.r[n].bytes, o.x87.r[n].bytes, 10) != 0;
  return static_cast<uint32_t>((flags() ^ other.flags()) & kArith) | (more ? kOtherThanFlags : 0);
}

// ---- the stretch ------------------------------------------------------------------------------------------------------------

Lockstep::Lockstep(Core& core, std::unique_ptr<SealedEnvironment> environment) : c_(core), environment_(std::move(environment)) {
  core.memory.gate.use();
  core.log = &log_;
}

void Lockstep::begin() {
  before_.take(c_);
  log_.begin(c_);
  c_.frame.budget = kBudget;
  environment_->seal(true);
  begun_ = true;
}

Lockstep::Outcome Lockstep::run(const std::function<Outcome()>& code) {
  bool progress, matches = true;
  {
    const auto closed = c_.memory.gate.close();
    begun_ = polled_ = false;
    live_ = kArith;
    const Outcome outcome = code();
    if (!begun_) return outcome;
    translated_.take(c_);
    const bool breached = environment_->breached();
    log_.undo(c_);
    progress = !breached && (translated_.state.rip != before_.state.rip || translated_.difference(before_, c_.codeSize != CodeSize::k64));
    for (unsigned n = 0; !progress && !breached && n < log_.count(); ++n)
      progress = !samePage(log_.before(n), log_.after(n), log_.walked(n));
    before_.putBack(c_);
    if (progress) matches = follow();
    log_.end();
    environment_->seal(false);
  }
  if (!matches) {
    c_.message = report(interpreted_, why_);
    c_.exit = RunExit::InternalError;
    return Outcome::Leave;
  }
  if (progress) {
    c_.tierCounters.checks.add();
    return Outcome::Again;
  }
  return polled_ ? Outcome::Again : interpretOne();
}

/** What must not be done twice. */
Lockstep::Outcome Lockstep::interpretOne() {
  c_.tierMode = true;
  Block* const block = c_.findBlock(true);
  if (!block) return Outcome::Fault;
  const uint32_t earlierTraps = c_.traps;
  switch (c_.runBlock(block, true)) {
    case Exec::Fault:
      if (!c_.fault.trap) c_.traps = earlierTraps;
      return Outcome::Fault;
    case Exec::Leave:
      return Outcome::Leave;
    default:
      return Outcome::Again;
  }
}

/** The interpreter's turn, until it is where translated code ended. */
bool Lockstep::follow() {
  path_.clear();
  why_.clear();
  c_.tierMode = true;
  const uint64_t end = translated_.state.rip;
  bool came = false;
  for (unsigned n = 0; n < kMaxBlocks && why_.empty(); ++n) {
    Block* block = c_.findBlock(false);
    // Not past the end: it may lie in the middle of what is a block here.
    if (block && end > c_.state.rip && end - c_.state.rip < block->bytes) block = c_.findBlock(true);
    if (!block) {
      why_ = "The interpreter cannot fetch what translated code went through.";
      break;
    }
    path_.push_back({block->gpa, block->secondPage, block->bytes, static_cast<CodeSize>(block->mode & kModeCodeSize)});
    c_.shadow = c_.blockDead = c_.stepHeld = false;
    const Exec how = c_.runBlock(block, true);
    if (how == Exec::Leave) why_ = "The interpreter stops where translated code goes on.";
    if (how == Exec::Fault) {
      why_ = c_.fault.kind == FaultKind::Exception
                 ? "The interpreter raises exception " + std::to_string(c_.fault.vector) + " where translated code goes on."
                 : "The interpreter accesses a device where translated code does not.";
    }
    if (c_.state.rip != end) continue;
    if (sameRegisters() && sameMemory()) return true;
    // The first time is what a reader wants to see, unless it was a loop.
    if (!came) interpreted_.take(c_);
    came = true;
  }
  if (!came) interpreted_.take(c_);
  if (came) why_ = "Their states differ.";
  else if (why_.empty()) why_ = "The interpreter does not come to where translated code ended.";
  return false;
}

bool Lockstep::sameRegisters() {
  // A loop passes here often.
  if (c_.codeSize == CodeSize::k64 && std::memcmp(c_.state.gpr, translated_.state.gpr, sizeof c_.state.gpr) != 0) return false;
  Registers now;
  now.take(c_);
  const uint32_t different = now.difference(translated_, c_.codeSize != CodeSize::k64) & (live_ | kOtherThanFlags);
  return !different || (!(different & kOtherThanFlags) && !(different & ~undefinedFlags(different)));
}

bool Lockstep::sameMemory() const {
  for (unsigned n = 0; n < log_.count(); ++n) {
    if (!samePage(log_.host(n), log_.after(n), log_.walked(n))) return false;
  }
  return true;
}

/** The code of a piece as it is now; less of it where it is not in memory. */
std::vector<uint8_t> Lockstep::bytesOf(const Piece& piece) const {
  std::vector<uint8_t> bytes;
  const auto append = [&](Gpa gpa, size_t count) {
    const uint8_t* const host = c_.memory.page(gpa & ~kPageMask).host;
    if (host) bytes.insert(bytes.end(), host + (gpa & kPageMask), host + (gpa & kPageMask) + count);
    return host != nullptr;
  };
  const size_t here = std::min<size_t>(piece.bytes, kPageBytes - (piece.gpa & kPageMask));
  if (append(piece.gpa, here) && here < piece.bytes && piece.second != ~0ull) append(piece.second, piece.bytes - here);
  return bytes;
}

/** Those among the wanted flags that the last instruction to write them left undefined. */
uint32_t Lockstep::undefinedFlags(uint32_t wanted) const {
  uint32_t undefined = 0;
  for (size_t n = path_.size(); n-- > 0 && wanted;) {
    const Piece& piece = path_[n];
    const std::vector<uint8_t> bytes = bytesOf(piece);
    if (bytes.empty()) break;
    std::vector<Decoded> run;
    for (size_t at = 0; at < bytes.size();) {
      Decoded d;
      if (decode(bytes.data() + at, static_cast<unsigned>(bytes.size() - at), piece.size, d) != DecodeStatus::Ok) break;
      admit(d, c_.features);
      run.push_back(d);
      at += d.length;
    }
    for (size_t i = run.size(); i-- > 0 && wanted;) {
      const Decoded& d = run[i];
      if (!d.row || d.op == Op::Simd || d.op == Op::Vex || d.op == Op::X87) continue;
      uint32_t loose = d.row->undefined;
      const bool shifts = d.op >= Op::Rol && d.op <= Op::Sar;
      // With the count known, less is undefined; with a count of zero, nothing is written.
      if (shifts && d.opcode < 0xd2) {
        const unsigned count = d.opcode >= 0xd0 ? 1 : static_cast<unsigned>(d.immediate) & (d.operandSize == 8 ? 63 : 31);
        if (count == 0) continue;
        if (count == 1) loose &= ~uint32_t{kOf};
        if (count <= d.operandSize * 8u) loose &= ~uint32_t{kCf};
      }
      undefined |= loose & wanted;
      wanted &= ~d.row->writes;
    }
  }
  return undefined;
}

std::string Lockstep::report(const Registers& interpreted, const std::string& why) const {
  return describeDifference(c_, log_, before_, translated_, interpreted, why);
}

bool Lockstep::repeatable(const Decoded& d) {
  if (movesXsaveArea(d.op)) return false;  // it leaves pointers of the FPU in memory
  switch (d.op) {
    case Op::Simd:
      return d.simd->form != FpForm::Memory;
    case Op::Vex:
      return d.vex->form != VexForm::Memory;
    case Op::X87:
      return !(d.x87->attributes & kX87Control) && d.x87->memoryBytes <= 10;
    case Op::Jcc:
    case Op::Jmp:
    case Op::Call:
    case Op::Ret:
    case Op::Jcxz:
    case Op::Loop:
      return true;
    // What takes the time, or a device's.
    case Op::In:
    case Op::Out:
    case Op::Ins:
    case Op::Outs:
    case Op::Rdtsc:
    case Op::Rdtscp:
    case Op::Rdpmc:
    case Op::Rdrand:
    case Op::Rdseed:
    case Op::Vmcall:
    // What makes undefined flags a value.
    case Op::Pushf:
    // What another privilege level or another decoding follows from.
    case Op::Cli:
    case Op::Sti:
    case Op::Stac:
    case Op::Clac:
    case Op::Swapgs:
    case Op::Wrfsbase:
    case Op::Wrgsbase:
      return false;
    // Many pages in one go.
    case Op::Movs:
    case Op::Stos:
    case Op::Lods:
    case Op::Scas:
    case Op::Cmps:
      return !d.rep;
    default:
      return d.row && !(d.row->attributes & (kRing0 | kEnds));
  }
}

}  // namespace lodge::translator
