// Decoded code: blocks keyed by guest-physical address and mode, their links, and what happens when code is written.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "x86/interpreter/exec.h"

namespace lodge::x86 {
namespace {

constexpr unsigned kMaxInsns = 64;  ///< bounds how long a request waits, together with what string instructions do
constexpr uint8_t kZeroUnit = static_cast<uint8_t>(unitOf(sizeof(State)));
static_assert(offsetof(State, gpr) == 0 && sizeof(State) / 8 < 256);

size_t hashOf(Gpa gpa, uint32_t mode) {
  return (gpa ^ gpa >> 14 ^ mode << 13 ^ mode << 7) & ((size_t{1} << Core::kHashBits) - 1);
}

uint64_t chunksOf(unsigned first, unsigned bytes) {
  const unsigned from = first >> 6, to = (first + bytes - 1) >> 6;
  return (~0ull >> (63 - (to - from))) << from;
}

Exec singleEndHandler(Core& c, const Insn* i) {
  c.state.rip += i->offset;
  return Exec::Continue;
}

void describeOperands(const Decoded& d, Insn& i) {
  i.length = d.length;
  i.sizes = static_cast<uint8_t>(d.operandSize | d.addressSize << 4);
  i.segment = d.segment;
  i.scale = d.scale;
  i.flags = static_cast<uint8_t>((d.rep == 0xf3   ? kInsnRepF3
                                  : d.rep == 0xf2 ? kInsnRepF2
                                                  : 0) |
                                 (d.lock ? kInsnLock : 0) | (d.rex ? kInsnRex : 0) | (d.memory ? kInsnMemory : 0));
  i.base = d.base == kNoRegister ? kZeroUnit : d.base == kRipRegister ? kRipUnit : d.base;
  i.index = d.index == kNoRegister ? kZeroUnit : d.index;
  i.segmentBase = d.segment >= kFs ? segmentUnit(d.segment) : kZeroUnit;  // the others have none where this is looked at
  int64_t displacement = d.displacement;
  if (d.base == kRipRegister) {
    // Relative to the next instruction; the block's start is what the rip slot holds.
    displacement += i.offset + d.length;
    if (displacement != static_cast<int32_t>(displacement) || d.addressSize != 8) {
      displacement = d.displacement;
      i.flags |= kInsnRawRip;
    }
  }
  i.disp = static_cast<int32_t>(displacement);
}

Handler bind(const Binding& b) {
  using Binder = Handler (*)(const Binding&);
  static constexpr Binder kBinders[] = {bindMove,  bindAlu, bindStack,  bindBranch,   bindBits,   bindVex,
                                        bindXsave, bindFp,  bindString, bindTransfer, bindSystem, bindDescriptors};
  for (Binder binder : kBinders) {
    if (Handler h = binder(b)) return h;
  }
  return undefinedHandler;
}

}  // namespace

Ea eaOf(const Binding& b) {
  if (b.d.mode == CodeSize::k32 && b.d.addressSize == 4) {
    const unsigned s = b.d.segment;
    const bool flat = s == kFs ? b.mode & kModeFlatFs : s == kGs ? b.mode & kModeFlatGs : s != kCs && (b.mode & kModeFlat);
    return flat ? Ea::Flat : Ea::Slow;
  }
  if (b.d.mode != CodeSize::k64 || b.d.addressSize != 8 || (b.i.flags & kInsnRawRip)) return Ea::Slow;
  if (b.i.index != kZeroUnit || b.i.segmentBase != kZeroUnit) return Ea::Full;
  return Ea::Base;
}

uint8_t regOffset(const Decoded& d, unsigned number, unsigned size) {
  // Without REX, byte registers 4–7 are AH, CH, DH, BH.
  if (size == 1 && !d.rex && number >= 4 && number < 8) return static_cast<uint8_t>((number - 4) * 8 + 1);
  return static_cast<uint8_t>(number * 8);
}

Exec undefinedHandler(Core& c, const Insn* i) {
  c.raise(kUD);
  return faulted(c, i);
}
Exec tooLongHandler(Core& c, const Insn* i) {
  c.raise(kGP, 0);
  return faulted(c, i);
}
/** First instruction of a block that was overwritten: look for what is there now. */
Exec deadBlockHandler(Core& c, const Insn*) {
  c.icount -= c.block->count;
  return Exec::Continue;
}

CodePage& Core::watchCode(Gpa page) {
  CodePage& info = codePages[page];
  if (info.empty() || !(memory.codeHolders(page) & codeHolder())) {
    const bool shared = memory.markCode(page, codeHolder());
    if (dropWriteAccess(page) && shared) {
      // This vCPU may have written since another decoded, and has not come to be told so.
      reportWritten(page);
      memory.markCode(page, codeHolder());
    }
  }
  return info;
}

void Core::bindInsn(const Decoded& d, Insn& i, uint16_t offset, uint32_t mode) {
  i = Insn{};
  i.offset = offset;
  describeOperands(d, i);
  i.fn = bind(Binding{*this, d, i, mode, false, true});
}

Block* Core::decodeBlock(Gpa gpa, uint64_t linear, uint32_t mode, const uint8_t* host) {
  static const std::vector<uint8_t> kOpenBus(kPageBytes, 0xff);
  const uint8_t* bytes = host ? host : kOpenBus.data();
  const Gpa page = gpa & ~kPageMask;
  const unsigned start = static_cast<unsigned>(gpa & kPageMask);
  const auto size = static_cast<CodeSize>(mode & kModeCodeSize);
  const unsigned limit = mode & kModeSingle ? 1 : kMaxInsns;

  const size_t room = sizeof(Block) + (kMaxInsns + 1) * sizeof(Insn);
  if (arenaUsed + room > kArenaBytes) flushBlocks();

  // Protect first, decode then: a write in between is noticed.
  if (host) {
    watchCode(page);
  }

  auto* block = new (arena + arenaUsed) Block{};
  block->gpa = gpa;
  block->secondPage = ~0ull;
  block->mode = mode;
  unsigned at = start, count = 0;
  bool ended = false;
  uint8_t joined[16];
  while (!ended && count < limit && at < kPageBytes) {
    Insn& i = block->insns[count];
    i = Insn{};
    i.offset = static_cast<uint16_t>(at - start);
    i.ordinal = static_cast<uint16_t>(count);
    Decoded d;
    DecodeStatus status = decode(bytes + at, static_cast<unsigned>(kPageBytes - at), size, d);
    if (status == DecodeStatus::Truncated) {
      if (count > 0) break;
      // Alone in its block: the tail lies in the next page, which may be absent.
      const unsigned here = static_cast<unsigned>(kPageBytes - at);
      uint64_t next = (linear & ~kPageMask) + kPageBytes;
      if (size != CodeSize::k64) next &= 0xffffffff;
      Gpa second;
      if (!fetchPage(next, second)) return nullptr;
      const uint8_t* more = memory.page(second).host;
      std::memcpy(joined, bytes + at, here);
      if (more)
        std::memcpy(joined + here, more, 15 - here);
      else
        std::memset(joined + here, 0xff, 15 - here);
      status = decode(joined, 15, size, d);
      block->secondPage = second;
      if (more) {
        CodePage& info = watchCode(second);
        info.blocks.push_back(block);
        info.chunks |= 1;
      }
      ended = true;
    }
    ++count;
    if (status != DecodeStatus::Ok) {
      i.fn = status == DecodeStatus::TooLong ? tooLongHandler : undefinedHandler;
      i.length = 1;
      at += 1;
      ended = true;
      break;
    }
    if (!admit(d, features)) {
      i.fn = undefinedHandler;
      i.length = 1;
      at += 1;
      break;
    }
    describeOperands(d, i);
    const int64_t target = static_cast<int64_t>(at + d.length) + static_cast<int64_t>(d.immediate);
    const Binding binding{
        *this, d, i, mode, target >= 0 && target < static_cast<int64_t>(kPageBytes), at + d.length >= kPageBytes};
    i.fn = bind(binding);
    at += d.length;
    if (d.row->attributes & kEnds) ended = true;
  }
  block->count = static_cast<uint16_t>(count);
  block->bytes = static_cast<uint16_t>(at - start);
  Insn& end = block->insns[count];
  end = Insn{};
  end.offset = block->bytes;
  end.ordinal = static_cast<uint16_t>(count);
  end.row = at < kPageBytes;
  end.fn = mode & kModeSingle ? singleEndHandler : blockEndHandler;
  arenaUsed += (sizeof(Block) + (count + 1) * sizeof(Insn) + 63) & ~size_t{63};

  if (host) {
    CodePage& info = codePages[page];
    info.blocks.push_back(block);
    info.chunks |= chunksOf(start, std::min<unsigned>(block->bytes, static_cast<unsigned>(kPageBytes) - start));
  }
  Block*& bucket = hash[hashOf(gpa, mode)];
  block->hashNext = bucket;
  bucket = block;
  counters.blocksDecoded.add();
  counters.blocksCached.add();
  return block;
}

Block* Core::findBlock(bool single) {
  // Segment loads of every kind end up here before the next instruction runs.
  if (codeSize == CodeSize::k32 && modeBits != (static_cast<uint32_t>(codeSize) | flatness())) updateMode();
  const uint64_t rip = state.rip;
  uint64_t linear = rip + codeBase;
  if (codeSize != CodeSize::k64) {
    if (rip > state.seg[kCs].limit) {
      raise(kGP, 0);
      return nullptr;
    }
    linear &= 0xffffffff;
  } else if (!canonical(rip)) {
    raise(kGP, 0);
    return nullptr;
  }
  JumpEntry& jump = jumpEntry(*this, rip + codeBase);
  Block* block = nullptr;
  if (!single && jump.linear == rip + codeBase && jump.key == fetchKey && !jump.block->dead) {
    block = jump.block;
  } else {
    Gpa page;
    if (!fetchPage(linear, page)) return nullptr;
    const Gpa gpa = page | (linear & kPageMask);
    const uint32_t mode = modeBits | (single ? +kModeSingle : 0u);
    Gpa second = ~0ull;
    for (block = hash[hashOf(gpa, mode)]; block; block = block->hashNext) {
      if (block->gpa != gpa || block->mode != mode) continue;
      if (block->secondPage == ~0ull) break;
      uint64_t next = (linear & ~kPageMask) + kPageBytes;
      if (codeSize != CodeSize::k64) next &= 0xffffffff;
      if (second == ~0ull && !fetchPage(next, second)) return nullptr;
      if (block->secondPage == second) break;
    }
    if (!block) {
      block = decodeBlock(gpa, linear, mode, memory.page(page).host);
      if (!block) return nullptr;
    }
    if (codeSize != CodeSize::k64 && rip + block->bytes - 1 > state.seg[kCs].limit) {
      if (!single) return findBlock(true);
      raise(kGP, 0);
      return nullptr;
    }
    if (!single && !tierMode) jump = {rip + codeBase, fetchKey, block};
  }
  if (pendingLink && !single && !tierMode && pendingLinear == rip + codeBase) link(*pendingLink, block, pendingLinear);
  pendingLink = nullptr;
  return block;
}

void Core::link(Link& from, Block* to, uint64_t linear) {
  // What an unkeyed link leads to must be decided by the branch's own page alone.
  if (to->secondPage != ~0ull) return;
  if (from.target == to) {
    from.linear = linear;
    from.key = fetchKey;
    return;
  }
  if (from.target) {
    for (Link** at = &from.target->incoming; *at; at = &(*at)->nextIncoming) {
      if (*at == &from) {
        *at = from.nextIncoming;
        break;
      }
    }
  }
  from.target = to;
  from.linear = linear;
  from.key = fetchKey;
  from.nextIncoming = to->incoming;
  to->incoming = &from;
}

void Core::killBlock(Block* b) {
  if (b->dead) return;
  b->dead = true;
  counters.blocksInvalidated.add();
  counters.blocksCached.set(counters.blocksCached.value() - 1);
  for (Block** at = &hash[hashOf(b->gpa, b->mode)]; *at; at = &(*at)->hashNext) {
    if (*at == b) {
      *at = b->hashNext;
      break;
    }
  }
  for (Link* l = b->incoming; l;) {
    Link* next = l->nextIncoming;
    l->target = nullptr;
    l->key = 0;
    l->nextIncoming = nullptr;
    l = next;
  }
  b->incoming = nullptr;
  b->insns[0].fn = deadBlockHandler;
  if (b == block) blockDead = true;
}

void Core::invalidateCode(Gpa page, unsigned first, unsigned bytes) {
  const auto found = codePages.find(page);
  if (found == codePages.end()) return;
  CodePage& info = found->second;
  if (info.tierChunks & chunksOf(first, bytes)) info.tierChunks = tier->invalidate(page, first, bytes);
  const unsigned last = first + bytes;
  uint64_t chunks = 0;
  size_t kept = 0;
  for (Block* b : info.blocks) {
    if (b->dead) continue;
    const bool tail = (b->gpa & ~kPageMask) != page;
    const unsigned from = tail ? 0 : static_cast<unsigned>(b->gpa & kPageMask);
    const unsigned to = tail ? 15 : std::min<unsigned>(from + b->bytes, static_cast<unsigned>(kPageBytes));
    if (from < last && first < to) {
      killBlock(b);
    } else {
      info.blocks[kept++] = b;
      chunks |= chunksOf(from, to - from);
    }
  }
  info.blocks.resize(kept);
  info.chunks = chunks;
}

/** Whether another vCPU may have decoded any part of the page before what this one wrote last was seen by it. */
bool Core::othersHold(Gpa page) const {
  if (config.count == 1) return false;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const unsigned own = config.index < kSharedHolder ? codeHolder() : 0u;
  return memory.codeHolders(page) & ~own;
}

/** This vCPU wrote bytes of a page flagged as code. */
void Core::wroteCode(Gpa gpa, unsigned bytes) {
  const Gpa page = gpa & ~kPageMask;
  const unsigned first = static_cast<unsigned>(gpa & kPageMask);
  const auto found = codePages.find(page);
  if (othersHold(page)) {
    invalidateCode(page, 0, static_cast<unsigned>(kPageBytes));
    if (found != codePages.end()) codePages.erase(page);
    reportWritten(page);
    return;
  }
  if (found != codePages.end() && ((found->second.chunks | found->second.tierChunks) & chunksOf(first, bytes)))
    invalidateCode(page, first, bytes);
  if (found == codePages.end() || found->second.empty()) {
    if (found != codePages.end()) codePages.erase(found);
    reportWritten(page);
  }
}

void Core::reportWritten(Gpa page) {
  ownWrite = page;
  memory.codeWritten(page);
  ownWrite = ~0ull;
}

void Core::tellOfWrites() {
  std::vector<Gpa> marked;
  {
    const std::lock_guard<std::mutex> lock(queueLock);
    marked.swap(markedPages);
  }
  for (const Gpa page : marked) {
    // What this vCPU wrote between the other's decoding and now went unnoticed.
    if (dropWriteAccess(page)) memory.codeWritten(page);
  }
}

void Core::takeWrittenPages() {
  tellOfWrites();
  std::vector<Gpa> pages;
  {
    const std::lock_guard<std::mutex> lock(queueLock);
    pages.swap(writtenPages);
  }
  for (const Gpa page : pages) {
    invalidateCode(page, 0, static_cast<unsigned>(kPageBytes));
    codePages.erase(page);
  }
}

/** The arena is full: forget everything. Only from findBlock(), where no handler is on the stack. */
void Core::flushBlocks() {
  counters.cacheFlushes.add();
  counters.blocksCached.set(0);
  std::fill(hash.begin(), hash.end(), nullptr);
  codePages.clear();
  std::fill(std::begin(jumps), std::end(jumps), JumpEntry{});
  arenaUsed = 0;
  block = nullptr;
  pendingLink = nullptr;
  if (tier) tier->flush();
  ::madvise(arena, kArenaBytes, MADV_DONTNEED);
  newGeneration();
}

}  // namespace lodge::x86
