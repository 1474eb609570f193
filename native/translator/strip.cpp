#include "translator/strip.h"

#include <algorithm>
#include <array>

namespace lodge::translator {

using namespace x86;

namespace {

constexpr uint64_t kUnbounded = ~0ull;
constexpr int64_t kMaxStride = 1024;    ///< with a longer one, a strip is too short to pay
constexpr int64_t kMaxMoving = 512;     ///< bytes of a window that moves
constexpr int64_t kMaxGap = 256;        ///< between accesses that share a window
constexpr int64_t kPage = static_cast<int64_t>(kPageBytes);
constexpr size_t kMaxWindows = 6;       ///< each costs a check at the start of a strip

/** Largest values that registers can hold, through one iteration. */
class Bounds {
 public:
  Bounds() { at_.fill(kUnbounded); }
  uint64_t of(uint8_t gpr) const { return at_[gpr]; }
  void after(const Item& item) {
    const Decoded& d = item.d;
    uint8_t to = kNoRegister;
    uint64_t bound = kUnbounded;
    if (item.kind == Kind::Same && !item.vex && d.operandSize >= 4) {
      const bool registers = item.regBank == Bank::Gpr && item.rmBank == Bank::Gpr;
      const uint64_t all = d.operandSize == 8 ? ~0ull : 0xffffffffull;
      if (d.op == Op::Movzx) {
        to = d.reg;
        bound = d.rmSize == 1 ? 0xff : 0xffff;
      } else if (d.op == Op::Mov && registers && d.operandSize == 4) {
        to = d.opcode == 0x8b ? d.reg : d.rm;
        bound = std::min(all, at_[d.opcode == 0x8b ? d.rm : d.reg]);
      } else if (d.op == Op::And && item.immediateBytes && item.rmBank == Bank::Gpr) {
        to = d.rm;
        bound = std::min(at_[to], static_cast<uint64_t>(d.immediate) & all);
      } else if (d.op == Op::Shr && item.rmBank == Bank::Gpr && (d.opcode == 0xc1 || d.opcode == 0xd1)) {
        const unsigned count = d.opcode == 0xd1 ? 1 : static_cast<unsigned>(d.immediate) & (d.operandSize == 8 ? 63 : 31);
        to = d.rm;
        bound = std::min(all, at_[to]) >> count;
      }
    }
    for (uint8_t g = 0; g < 16; ++g)
      if (item.gprsWritten >> g & 1) at_[g] = g == to ? bound : kUnbounded;
  }

 private:
  std::array<uint64_t, 16> at_;
};

/** Every register the instruction names or implies. */
uint16_t mentioned(const Item& item) {
  const Decoded& d = item.d;
  uint32_t mask = item.gprsWritten;
  const auto add = [&](unsigned gpr) { if (gpr < 16) mask |= 1u << gpr; };
  const auto field = [&](unsigned gpr, bool byte) { add(byte && !d.rex && gpr >= 4 && gpr < 8 ? gpr - 4 : gpr); };
  add(item.access.address.base);
  add(item.access.address.index);
  if (item.regBank == Bank::Gpr) field(d.reg, item.byteReg);
  if (item.rmBank == Bank::Gpr) field(d.rm, item.byteRm);
  if (item.vBank == Bank::Gpr) add(d.v);
  // Implied: accumulators and counts. The opcodes are those of shifts by CL and of SSE4.2's string comparisons.
  const bool byCl = (item.map == kMap1 && (d.opcode == 0xd2 || d.opcode == 0xd3)) || (item.map == kMap0F && (d.opcode == 0xa5 || d.opcode == 0xad));
  const bool strings = item.map == kMap0F3A && d.opcode >= 0x60 && d.opcode <= 0x63;
  if (byCl) add(kRcx);
  if (item.raw || strings || d.op == Op::Mul || d.op == Op::Imul || d.op == Op::Cmpxchg || d.op == Op::Cmpxchg8b || d.op == Op::Mulx)
    mask |= 1u << kRax | 1u << kRdx | 1u << kRcx | 1u << kRbx;
  return static_cast<uint16_t>(mask);
}

bool eligible(const Item& item) {
  switch (item.kind) {
    case Kind::Same:
      // MASKMOVDQU has an operand that ModRM does not name.
      return !item.x87 && !(item.map == kMap0F && item.d.opcode == 0xf7 && (item.vex || item.d.op == Op::Simd));
    case Kind::Nop:
      return item.d.op != Op::Pause;
    case Kind::Lea:
    case Kind::Jcc:
    case Kind::Jmp:
      return true;
    default:
      return false;
  }
}

int64_t targetOf(const Item& item) { return item.offset + item.d.length + static_cast<int64_t>(item.d.immediate); }

/** One access, before it is known with which others it shares a window. */
struct Piece {
  StripWindow window;
  size_t item;
};

bool sameFamily(const StripWindow& a, const StripWindow& b) {
  return a.through == b.through && a.address == b.address && a.stride == b.stride;
}

bool merge(StripWindow& into, const StripWindow& from) {
  if (!sameFamily(into, from)) return false;
  const int64_t low = std::min(into.low, from.low), high = std::max(into.high, from.high);
  if (from.low - into.high > kMaxGap || high - low > (into.stride ? kMaxMoving : kPage)) return false;
  if (into.aligned && from.aligned && (into.alignedAt - from.alignedAt) % std::min(into.aligned, from.aligned) != 0) return false;
  if (from.aligned > into.aligned) {
    into.aligned = from.aligned;
    into.alignedAt = from.alignedAt;
  }
  into.low = low;
  into.high = high;
  into.write |= from.write;
  return true;
}

}  // namespace

std::optional<StripPlan> planStrip(const Unit& unit) {
  if (unit.size != CodeSize::k64 || unit.keepFlags || unit.liveIn != 0) return std::nullopt;
  StripPlan plan;
  const auto jumpsBack = [&](const Item& i) { return (i.kind == Kind::Jcc || i.kind == Kind::Jmp) && targetOf(i) == unit.start; };
  while (plan.last < unit.items.size() && eligible(unit.items[plan.last]) && !jumpsBack(unit.items[plan.last])) ++plan.last;
  if (plan.last == unit.items.size() || !jumpsBack(unit.items[plan.last])) return std::nullopt;

  // What an iteration does to registers.
  uint32_t used = 0, written = 0, unpredictable = 0;
  std::array<int64_t, 16> total{};
  for (size_t i = 0; i <= plan.last; ++i) {
    const Item& item = unit.items[i];
    used |= mentioned(item);
    written |= item.gprsWritten;
    for (uint8_t g = 0; g < 16; ++g) {
      const Change change = changeOf(item, g);
      if (change.known) total[g] += change.by;
      else unpredictable |= 1u << g;
    }
  }

  std::vector<Piece> pieces;
  std::array<int64_t, 16> drift{};
  Bounds bounds;
  for (size_t i = 0; i <= plan.last; ++i) {
    const Item& item = unit.items[i];
    const Access& access = item.access;
    if (access.present) {
      StripWindow w;
      w.address = access.address;
      const uint8_t base = access.address.base, index = access.address.index;
      const bool hasBase = base != kNoRegister && base != kRipRegister, hasIndex = index != kNoRegister;
      const bool baseMoves = hasBase && (written >> base & 1), indexMoves = hasIndex && (written >> index & 1);
      if (access.address.bytes != 8 || access.disp != static_cast<int32_t>(access.disp)) return std::nullopt;
      if (baseMoves && (unpredictable >> base & 1)) return std::nullopt;
      int64_t reach = 0;
      if (indexMoves && (unpredictable >> index & 1)) {
        if (baseMoves || bounds.of(index) > kPageBytes) return std::nullopt;
        reach = static_cast<int64_t>(bounds.of(index) << access.address.scale);
        w.through = StripWindow::Through::Base;
        w.address.index = kNoRegister;
        w.address.scale = 0;
      } else {
        w.low = access.disp;
        if (hasBase) w.stride += total[base], w.low += drift[base];
        if (hasIndex) w.stride += total[index] << access.address.scale, w.low += drift[index] << access.address.scale;
        w.low -= access.disp;
        if (baseMoves) w.through = StripWindow::Through::Linear;
        else if (indexMoves) w.through = StripWindow::Through::Base;
      }
      // An index in the Core would need the scratch register that the instruction may need itself.
      if (w.through == StripWindow::Through::Linear && hasIndex && index >= kR13) return std::nullopt;
      w.low += access.disp;
      w.high = w.low + reach + access.size;
      if (w.low != static_cast<int32_t>(w.low) || std::abs(w.stride) > kMaxStride) return std::nullopt;
      w.write = access.write;
      w.aligned = access.aligned;
      w.alignedAt = w.low;
      if (w.aligned && (reach || w.stride % w.aligned != 0)) return std::nullopt;
      if (w.high - w.low > (w.stride ? kMaxMoving : kPage)) return std::nullopt;
      pieces.push_back({w, i});
    }
    for (uint8_t g = 0; g < 16; ++g) drift[g] += changeOf(item, g).by;
    bounds.after(item);
  }
  if (pieces.empty()) return std::nullopt;

  // Neighbours share a window.
  plan.windowOf.assign(plan.last + 1, kNoWindow);
  std::stable_sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) { return a.window.low < b.window.low; });
  for (const Piece& piece : pieces) {
    size_t n = 0;
    while (n < plan.windows.size() && !merge(plan.windows[n], piece.window)) ++n;
    if (n == plan.windows.size()) plan.windows.push_back(piece.window);
    if (n >= kMaxWindows) return std::nullopt;
    plan.windowOf[piece.item] = static_cast<uint8_t>(n);
  }

  for (uint8_t g = 0; g < kR13 && plan.borrowed.size() <= plan.windows.size(); ++g)
    if (g != kRsp && !(used >> g & 1)) plan.borrowed.push_back(g);
  if (plan.borrowed.size() < plan.windows.size()) return std::nullopt;
  for (size_t n = 0; n < plan.windows.size(); ++n) plan.windows[n].reg = plan.borrowed[n];
  if (plan.borrowed.size() > plan.windows.size()) plan.counter = plan.borrowed.back();
  return plan;
}

}  // namespace lodge::translator
