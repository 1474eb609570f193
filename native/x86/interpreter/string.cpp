// String instructions and port I/O. Repeats move whole page-bounded runs at once where both sides are plain memory; the
// registers always show how far they came, so a fault or an interrupt in between restarts the rest.
#include <algorithm>
#include <cstring>

#include "x86/interpreter/exec.h"

namespace lodge::x86 {
namespace {

enum class Progress { Done, Fault, Again };

constexpr uint64_t kRunLimit = 65536;  ///< elements between two looks at the requests

void setMasked(Core& c, Gpr r, uint64_t value, uint64_t mask) {
  c.state.gpr[r] = mask == 0xffff ? (c.state.gpr[r] & ~mask) | (value & mask) : value & mask;
}
bool repeats(const Insn* i) { return i->flags & (kInsnRepF3 | kInsnRepF2); }

/** Elements of `size` bytes from an offset upwards, or downwards, that lie in one page and before the address wraps. */
uint64_t elementsInPage(uint64_t linear, uint64_t offset, uint64_t mask, unsigned size, bool down) {
  uint64_t above = (kPageBytes - (linear & kPageMask)) / size;
  if (mask != ~0ull) above = std::min(above, (mask - offset + 1) / size);
  if (!down || above == 0) return above;
  return std::min((linear & kPageMask) / size, offset / size) + 1;
}

/**
 * A run of memory: host pointer to the first of `n` elements (n shrinks to what is contiguous; when it goes `down`, the others lie
 * below that), or nullptr when it must go element by element (MMIO, page-crossing, segment limit near). `fault` tells a real fault
 * apart.
 */
uint8_t* run(Core& c, unsigned segment, uint64_t offset, uint64_t mask, unsigned size, bool down, uint64_t& n, bool write,
             bool& fault, Gpa& gpa) {
  uint64_t linear;
  fault = true;
  if (!c.linearAddress(segment, offset, size, write, linear)) return nullptr;
  uint64_t fit = std::min(n, elementsInPage(linear, offset, mask, size, down));
  if (fit == 0) {
    fault = false;
    return nullptr;
  }
  if (!c.long64() && fit > 1) {
    uint64_t whole;
    const uint64_t lowest = down ? offset - (fit - 1) * size : offset;
    if (!c.linearAddress(segment, lowest, static_cast<unsigned>(fit * size), write, whole)) {
      c.fault.kind = FaultKind::None;
      fit = 1;
    }
  }
  TlbEntry* e = c.lookup(linear, write ? Core::Access::Write : Core::Access::Read, c.privilege());
  if (!e) return nullptr;
  fault = false;
  if (UNLIKELY(c.debugger || c.dataBreaks) && c.watchesPage(linear)) return nullptr;
  if (e->info() & (kTlbMmio | (write ? +kTlbRom : 0))) return nullptr;
  n = fit;
  gpa = (e->info() & ~uint64_t{kPageMask} & ((1ull << 52) - 1)) | (linear & kPageMask);
  if (write) {
    if (e->info() & kTlbTracked) c.memory.markDirty(gpa & ~kPageMask);
    if (e->write() == (linear & ~kPageMask)) gpa = ~0ull;  // no decoded code here
  } else {
    gpa = ~0ull;
  }
  return reinterpret_cast<uint8_t*>(linear + e->addend());
}

template <class T>
bool loadElement(Core& c, unsigned segment, uint64_t offset, T& value) {
  uint64_t linear;
  return c.linearAddress(segment, offset, sizeof(T), false, linear) && c.load<T>(linear, value, c.privilege());
}
template <class T>
bool storeElement(Core& c, uint64_t offset, T value) {
  uint64_t linear;
  return c.linearAddress(kEs, offset, sizeof(T), true, linear) && c.store<T>(linear, value, c.privilege());
}

/** From the element both pointers are at, `n` of them. Where the target overlaps what is still to be read, the pattern propagates. */
template <class T>
void copyRun(uint8_t* to, const uint8_t* from, uint64_t n, bool down) {
  const int64_t bytes = static_cast<int64_t>(n * sizeof(T)), ahead = down ? from - to : to - from;
  if (ahead <= 0 || ahead >= bytes) {
    const uint64_t back = down ? bytes - sizeof(T) : 0;
    std::memmove(to - back, from - back, n * sizeof(T));
    return;
  }
  const int64_t step = down ? -static_cast<int64_t>(sizeof(T)) : sizeof(T);
  for (; n > 0; --n, to += step, from += step) std::memmove(to, from, sizeof(T));
}
template <class T>
void fillRun(uint8_t* to, T value, uint64_t n) {
  if constexpr (sizeof(T) == 1) {
    std::memset(to, value, n);
  } else {
    auto* p = reinterpret_cast<Unaligned<T>*>(to);
    for (; n > 0; --n) *p++ = value;
  }
}

/** Tells of a run of writes to decoded code; `gpa` as run() says it. */
template <class T>
void wroteRun(Core& c, Gpa gpa, uint64_t n, bool down) {
  if (gpa != ~0ull) c.wroteCode(down ? gpa - (n - 1) * sizeof(T) : gpa, static_cast<unsigned>(n * sizeof(T)));
}

template <class T>
Progress movs(Core& c, const Insn* i) {
  const uint64_t mask = addressMask(i);
  const bool down = c.state.rflags & kDf, rep = repeats(i);
  uint64_t left = rep ? c.state.gpr[kRcx] & mask : 1;
  for (uint64_t budget = kRunLimit; left > 0;) {
    const uint64_t from = c.state.gpr[kRsi] & mask, to = c.state.gpr[kRdi] & mask;
    uint64_t done = std::min(left, budget);
    bool fault;
    Gpa none, code;
    const uint8_t* source = run(c, i->segment, from, mask, sizeof(T), down, done, false, fault, none);
    if (fault) return Progress::Fault;
    uint8_t* target = source ? run(c, kEs, to, mask, sizeof(T), down, done, true, fault, code) : nullptr;
    if (fault) return Progress::Fault;
    if (target) {
      copyRun<T>(target, source, done, down);
      wroteRun<T>(c, code, done, down);
    } else {
      done = 1;
      T value;
      if (!loadElement<T>(c, i->segment, from, value) || !storeElement<T>(c, to, value)) return Progress::Fault;
    }
    const uint64_t step = down ? 0 - done * sizeof(T) : done * sizeof(T);
    setMasked(c, kRsi, from + step, mask);
    setMasked(c, kRdi, to + step, mask);
    left -= done;
    if (rep) setMasked(c, kRcx, left, mask);
    budget -= std::min(budget, done);
    if (left > 0 && (c.blockDead || budget == 0 || c.requests.load(std::memory_order_relaxed))) return Progress::Again;
  }
  return Progress::Done;
}

template <class T>
Progress stos(Core& c, const Insn* i) {
  const uint64_t mask = addressMask(i);
  const bool down = c.state.rflags & kDf, rep = repeats(i);
  uint64_t left = rep ? c.state.gpr[kRcx] & mask : 1;
  const T value = reg<T>(c, 0);
  for (uint64_t budget = kRunLimit; left > 0;) {
    const uint64_t to = c.state.gpr[kRdi] & mask;
    uint64_t done = std::min(left, budget);
    bool fault;
    Gpa code;
    uint8_t* target = run(c, kEs, to, mask, sizeof(T), down, done, true, fault, code);
    if (fault) return Progress::Fault;
    if (target) {
      fillRun<T>(down ? target - (done - 1) * sizeof(T) : target, value, done);
      wroteRun<T>(c, code, done, down);
    } else {
      done = 1;
      if (!storeElement<T>(c, to, value)) return Progress::Fault;
    }
    setMasked(c, kRdi, to + (down ? 0 - done * sizeof(T) : done * sizeof(T)), mask);
    left -= done;
    if (rep) setMasked(c, kRcx, left, mask);
    budget -= std::min(budget, done);
    if (left > 0 && (c.blockDead || budget == 0 || c.requests.load(std::memory_order_relaxed))) return Progress::Again;
  }
  return Progress::Done;
}

template <class T>
Progress lods(Core& c, const Insn* i) {
  const uint64_t mask = addressMask(i);
  const bool down = c.state.rflags & kDf, rep = repeats(i);
  uint64_t left = rep ? c.state.gpr[kRcx] & mask : 1;
  for (uint64_t budget = 4096; left > 0;) {
    const uint64_t from = c.state.gpr[kRsi] & mask;
    T value;
    if (!loadElement<T>(c, i->segment, from, value)) return Progress::Fault;
    setReg<T>(c, 0, value);
    setMasked(c, kRsi, down ? from - sizeof(T) : from + sizeof(T), mask);
    --left;
    if (rep) setMasked(c, kRcx, left, mask);
    if (left > 0 && (--budget == 0 || c.requests.load(std::memory_order_relaxed))) return Progress::Again;
  }
  return Progress::Done;
}

template <class T>
uint16_t compareFlags(T a, T b) {
  uint32_t f;
  asm("cmp %[b], %[a]\n\t" FLAGS_OUT : "=&a"(f) : [a] "q"(a), [b] "q"(b) : "cc");
  return static_cast<uint16_t>(f);
}

/** SCAS compares the accumulator with ES:[DI], CMPS DS:[SI] with ES:[DI]. F3 goes on while equal, F2 while different. */
template <class T, bool Scan>
Progress compareString(Core& c, const Insn* i) {
  const uint64_t mask = addressMask(i);
  const bool down = c.state.rflags & kDf, rep = repeats(i), whileEqual = i->flags & kInsnRepF3;
  uint64_t left = rep ? c.state.gpr[kRcx] & mask : 1;
  for (uint64_t budget = kRunLimit; left > 0;) {
    const uint64_t from = c.state.gpr[kRsi] & mask, to = c.state.gpr[kRdi] & mask;
    T a = reg<T>(c, 0), b = 0;
    uint64_t done = 1;
    bool compared = false;
    if (!down && rep) {
      uint64_t n = std::min(left, budget);
      bool fault = false;
      Gpa none;
      const uint8_t* first = nullptr;
      if constexpr (!Scan) {
        first = run(c, i->segment, from, mask, sizeof(T), false, n, false, fault, none);
        if (fault) return Progress::Fault;
      }
      const uint8_t* second = Scan || first ? run(c, kEs, to, mask, sizeof(T), false, n, false, fault, none) : nullptr;
      if (fault) return Progress::Fault;
      if (second) {
        uint64_t k = 0;
        for (; k < n; ++k) {
          if constexpr (!Scan) std::memcpy(&a, first + k * sizeof(T), sizeof(T));
          std::memcpy(&b, second + k * sizeof(T), sizeof(T));
          if ((a == b) != whileEqual) break;
        }
        done = std::min(k + 1, n);
        compared = true;
      }
    }
    if (!compared) {
      if constexpr (!Scan) {
        if (!loadElement<T>(c, i->segment, from, a)) return Progress::Fault;
      }
      if (!loadElement<T>(c, kEs, to, b)) return Progress::Fault;
    }
    c.ax = compareFlags<T>(a, b);
    const uint64_t step = down ? 0 - sizeof(T) : done * sizeof(T);
    if constexpr (!Scan) setMasked(c, kRsi, from + step, mask);
    setMasked(c, kRdi, to + step, mask);
    left -= done;
    if (rep) {
      setMasked(c, kRcx, left, mask);
      if ((a == b) != whileEqual) break;
    }
    budget -= std::min(budget, done);
    if (left > 0 && (budget == 0 || c.requests.load(std::memory_order_relaxed))) return Progress::Again;
  }
  return Progress::Done;
}

bool portDone(Core& c, IoStatus status) {
  if (status != IoStatus::Done) return c.abandoned();
  c.wroteToDevice();
  return true;
}

template <class T>
Progress outs(Core& c, const Insn* i) {
  const uint64_t mask = addressMask(i);
  const bool down = c.state.rflags & kDf, rep = repeats(i);
  const auto port = static_cast<uint16_t>(c.state.gpr[kRdx]);
  if (!c.ioAllowed(port, sizeof(T))) return Progress::Fault;
  uint64_t left = rep ? c.state.gpr[kRcx] & mask : 1;
  while (left > 0) {
    const uint64_t from = c.state.gpr[kRsi] & mask;
    uint64_t done = 1;
    const uint8_t* source = nullptr;
    T value;
    if (!down) {
      uint64_t n = c.portBreaks ? 1 : std::min<uint64_t>(left, kPageBytes / sizeof(T));
      bool fault;
      Gpa none;
      source = run(c, i->segment, from, mask, sizeof(T), false, n, false, fault, none);
      if (fault) return Progress::Fault;
      if (source) done = n;
    }
    if (!source) {
      if (!loadElement<T>(c, i->segment, from, value)) return Progress::Fault;
      source = reinterpret_cast<const uint8_t*>(&value);
    }
    if (!portDone(c, c.env.portOut(port, sizeof(T), static_cast<unsigned>(done), source))) return Progress::Fault;
    if (UNLIKELY(c.portBreaks)) c.touchedPort(port, sizeof(T));
    setMasked(c, kRsi, down ? from - sizeof(T) : from + done * sizeof(T), mask);
    left -= done;
    if (rep) setMasked(c, kRcx, left, mask);
    if (left > 0) return Progress::Again;
  }
  return Progress::Done;
}

template <class T>
Progress ins(Core& c, const Insn* i) {
  const uint64_t mask = addressMask(i);
  const bool down = c.state.rflags & kDf, rep = repeats(i);
  const auto port = static_cast<uint16_t>(c.state.gpr[kRdx]);
  if (!c.ioAllowed(port, sizeof(T))) return Progress::Fault;
  uint64_t left = rep ? c.state.gpr[kRcx] & mask : 1;
  while (left > 0) {
    const uint64_t to = c.state.gpr[kRdi] & mask;
    uint64_t done = 1;
    uint8_t* target = nullptr;
    Gpa code = ~0ull;
    if (!down) {
      uint64_t n = c.portBreaks ? 1 : std::min<uint64_t>(left, kPageBytes / sizeof(T));
      bool fault;
      target = run(c, kEs, to, mask, sizeof(T), false, n, true, fault, code);
      if (fault) return Progress::Fault;
      if (target) done = n;
    }
    if (target) {
      if (!portDone(c, c.env.portIn(port, sizeof(T), static_cast<unsigned>(done), target))) return Progress::Fault;
      if (code != ~0ull) c.wroteCode(code, static_cast<unsigned>(done * sizeof(T)));
    } else {
      // The destination must be writable before the device is asked: its answer cannot be asked for twice.
      uint64_t linear;
      T value;
      if (!c.linearAddress(kEs, to, sizeof(T), true, linear) || !c.probeWrite(linear, sizeof(T), c.privilege()))
        return Progress::Fault;
      if (c.watching && c.watched(linear, sizeof(T), false, true)) return Progress::Fault;
      if (!portDone(c, c.env.portIn(port, sizeof(T), 1, &value))) return Progress::Fault;
      if (!c.store<T>(linear, value, c.privilege())) return Progress::Fault;
    }
    if (UNLIKELY(c.portBreaks)) c.touchedPort(port, sizeof(T));
    setMasked(c, kRdi, down ? to - sizeof(T) : to + done * sizeof(T), mask);
    left -= done;
    if (rep) setMasked(c, kRcx, left, mask);
    if (left > 0) return Progress::Again;
  }
  return Progress::Done;
}

template <Progress (*F)(Core&, const Insn*)>
Exec stringHandler(Core& c, const Insn* i) {
  const Progress p = F(c, i);
  if (UNLIKELY(p == Progress::Fault)) return faulted(c, i);
  if (UNLIKELY(p == Progress::Again)) {
    c.icount -= static_cast<uint64_t>(c.block->count) - i->ordinal;
    c.state.rip += i->offset;
    if (c.codeBreaks) c.state.rflags |= kRf;  // the rest is no new instruction
    return Exec::Continue;
  }
  if (UNLIKELY(c.blockDead)) return leaveBlock(c, i);
  NEXT;
}

// ---- IN, OUT -----------------------------------------------------------------------------------------------------------

template <class T, bool Imm>
bool in(Core& c, const Insn* i) {
  const auto port = static_cast<uint16_t>(Imm ? static_cast<uint8_t>(i->imm) : c.state.gpr[kRdx]);
  T value = 0;
  if (!c.ioAllowed(port, sizeof(T)) || !portDone(c, c.env.portIn(port, sizeof(T), 1, &value))) return false;
  if (UNLIKELY(c.portBreaks)) c.touchedPort(port, sizeof(T));
  setReg<T>(c, 0, value);
  return true;
}
template <class T, bool Imm>
bool out(Core& c, const Insn* i) {
  const auto port = static_cast<uint16_t>(Imm ? static_cast<uint8_t>(i->imm) : c.state.gpr[kRdx]);
  const T value = reg<T>(c, 0);
  if (!c.ioAllowed(port, sizeof(T)) || !portDone(c, c.env.portOut(port, sizeof(T), 1, &value))) return false;
  if (UNLIKELY(c.portBreaks)) c.touchedPort(port, sizeof(T));
  return true;
}

/** Byte, word and dword only: string I/O and IN/OUT with REX.W still move 32 bits. */
template <class F>
Handler byPortSize(unsigned size, F f) {
  switch (size) {
    case 1:
      return f(uint8_t{});
    case 2:
      return f(uint16_t{});
    default:
      return f(uint32_t{});
  }
}

}  // namespace

Handler bindString(const Binding& b) {
  const Decoded& d = b.d;
  b.i.imm = static_cast<int32_t>(d.immediate);
  const unsigned size = d.operandSize;
  switch (d.op) {
    case Op::Movs:
      return bySize(size, [](auto t) -> Handler { return stringHandler<movs<decltype(t)>>; });
    case Op::Stos:
      return bySize(size, [](auto t) -> Handler { return stringHandler<stos<decltype(t)>>; });
    case Op::Lods:
      return bySize(size, [](auto t) -> Handler { return stringHandler<lods<decltype(t)>>; });
    case Op::Cmps:
      return bySize(size, [](auto t) -> Handler { return stringHandler<compareString<decltype(t), false>>; });
    case Op::Scas:
      return bySize(size, [](auto t) -> Handler { return stringHandler<compareString<decltype(t), true>>; });
    case Op::Ins:
      return byPortSize(size, [](auto t) -> Handler { return stringHandler<ins<decltype(t)>>; });
    case Op::Outs:
      return byPortSize(size, [](auto t) -> Handler { return stringHandler<outs<decltype(t)>>; });
    case Op::In:
      return byPortSize(size, [&](auto t) -> Handler {
        using T = decltype(t);
        return d.row->form == Form::I ? plain<in<T, true>> : plain<in<T, false>>;
      });
    case Op::Out:
      return byPortSize(size, [&](auto t) -> Handler {
        using T = decltype(t);
        return d.row->form == Form::I ? plain<out<T, true>> : plain<out<T, false>>;
      });
    default:
      return nullptr;
  }
}

}  // namespace lodge::x86
