#include "translator/translator.h"

#include <malloc.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <unordered_map>
#include <utility>
#include <vector>

#include "translator/census.h"
#include "translator/code_cache.h"
#include "translator/collector.h"
#include "translator/refill.h"
#include "translator/lockstep.h"
#include "translator/lookup.h"
#include "translator/lowering.h"
#include "translator/recorder.h"
#include "translator/routines.h"
#include "translator/translation.h"
#include "translator/x87.h"
#include "x86/fp/host_fp.h"
#include "x86/interpreter/exec.h"

namespace lodge::translator {

using namespace x86;

namespace {

using Outcome = SecondTier::Outcome;

constexpr size_t kUnitRoom = 64 << 10;  ///< code of one unit at most

struct Site {
  SiteSpec spec;
  Translation* owner = nullptr;
  bool repeatable = true; ///< executed once more from the same state it does the same: Lockstep::repeatable()
  uint32_t steps = 0;  ///< of a shared check
  bool needsX87 = false;  ///< an instruction of it looks at the x87 state
  Op op = Op::Invalid;    ///< of the first, when there are insns
  Insn* insns = nullptr;  ///< made when first needed: `count` of them and the one that stops
};

/** What is remembered of the places in the guest's code beyond their translations; those with the same hash share it. */
struct Place {
  uint8_t heat = 0;        ///< executions by the interpreter since it was last translated or written
  uint8_t shortLives = 0;  ///< translations in a row that were written soon after they were made
};
constexpr uint32_t kShortLife = 64;     ///< fewer units than this were made in the meantime
constexpr uint8_t kShortLivesFree = 4;  ///< for code that is written once more while it comes to be
constexpr uint8_t kShortLifeHeat = 200;
/** Steps of a shared check before it leads to a careful unit. */
constexpr uint32_t kMaxSharedSteps = 64;
/** Entries before a trace is made anew, when such a check was in one. */
constexpr uint32_t kHeatAgain = 16;

uint64_t chunkMask(unsigned from, unsigned to) {  // bytes from … to - 1 of a page
  const unsigned first = from >> 6, last = (to - 1) >> 6;
  return (~0ull >> (63 - (last - first))) << first;
}

/** Behind the instructions of a site. */
Exec steppedHandler(Core& c, const Insn* i) {
  c.cursor = i;
  return Exec::Stepped;
}

class Translator final : public SecondTier {
 public:
  Translator(Core& core, const Options& options)
      : c_(core), options_(options), collector_(core, core.trace ? 1 : options.maxInstructions), cache_(options.cacheBytes), layout_(core), hash_(size_t{1} << kHashBits), census_(Census::make(core)) {
    if (!cache_.valid()) return;
    enter_ = makeRoutines(cache_, layout_, core.features.has(Feature::Avx), {stepFromCode, refill, lookup, loadX87}, routines_);
    core.frame.units = hash_.data();
    std::fill(std::begin(core.frame.heat), std::end(core.frame.heat), options.traceHeat);
    stepBlock_ = static_cast<Block*>(::operator new(sizeof(Block)));
    new (stepBlock_) Block{};
    stepBlock_->count = 1;
    stepBlock_->secondPage = ~0ull;
    core.tierCounters.codeLimit.set(options.cacheBytes);
  }
  ~Translator() override { ::operator delete(stepBlock_); }
  bool valid() const { return cache_.valid() && (!lockstep_ || lockstep_->valid()); }
  void check(std::unique_ptr<SealedEnvironment> environment) {
    lockstep_ = std::make_unique<Lockstep>(c_, std::move(environment));
    collector_.checked = true;
  }

  Outcome run() noexcept override {
    return lockstep_ ? lockstep_->run([this] { return runCode(); }) : runCode();
  }
  uint64_t invalidate(Gpa page, unsigned first, unsigned bytes) noexcept override;
  void flush() noexcept override;
  void settle() noexcept override {
    if (c_.frame.x87Loaded) storeX87(&c_);
  }

 private:
  static uint32_t stepFromCode(Core* core, uint32_t number) {
    auto* const self = static_cast<Translator*>(core->tier);
    if (!self->census_) return self->step(number);
    const uint64_t from = Census::now();
    const uint64_t flushes = self->flushes_;
    const uint32_t out = self->step(number);
    if (self->flushes_ != flushes) return out;
    const Site& site = self->sites_[number];
    self->census_->step(site.op, !site.spec.instruction, Census::now() - from);
    return out;
  }

  Outcome runCode();
  /** Execution comes back here after few units, which are not linked to one another. */
  bool stepwise() const { return lockstep_ || c_.trace; }
  uint32_t currentMode();
  /** What comes to a place: by a link, or by a way that looks for it each time. */
  struct Way {
    bool saved = true;    ///< with the flags in Core::ax
    bool careful = false;
    bool link = false;
  };
  Translation* find(uint64_t linear, Way way, Outcome& why);
  bool lower(Unit& unit, Translation& t, bool saved);
  /** Entries of a unit by cached jumps are counted, as a trace may begin there. */
  bool mayCount(const Unit& unit) const {
    return options_.traceHeat && !stepwise() && unit.size == CodeSize::k64 && !unit.careful &&
           (unit.privilege == kUser || options_.traceKernels);
  }
  bool lies(const Translation& t, uint64_t linear);
  void recordFrom(Translation& head);
  bool recording();
  void makeTrace();
  const uint8_t* goOn();
  bool openGate();
  /** A #DB is due, or may become due in any instruction: those are the interpreter's. */
  bool debugDue() const { return (c_.state.rflags & kTf) || c_.traps || c_.codeBreaks || c_.dataBreaks || c_.debugger || c_.stepping; }
  Translation* translate(Gpa gpa, uint64_t home, uint32_t mode, bool saved, Gpa second);
  bool hotEnough(Place& place);
  Translation* known(Gpa gpa, uint64_t home, uint32_t mode, bool saved, Gpa second = ~0ull) const;
  void covers(Extent& e, unsigned from, unsigned to);
  void covers(Extent& e, const Unit& unit);
  uint64_t chunksIn(const Translation& t, Gpa page) const;
  const Extent* extentAt(const Translation& t, int64_t distance) const;
  bool touches(const Translation& t, Gpa page, unsigned from, unsigned to) const;
  void overwritten(Translation& t);
  void kill(Translation& t);
  void takeCare(Site& site);
  uint32_t step(uint32_t site);
  bool prepare(Site& site);
  void linkLeft();
  void link(Site& from, uint32_t number, Translation& to);
  void unlink(const Site& site);
  void dropFarLinks();

  /** Memory of what is kept about the code in the cache, for which the cache's limit holds too. */
  size_t tableBytes() const {
    return translations_.size() * sizeof(Translation) + sites_.size() * sizeof(Site) + spans_.size() * sizeof(Span) + insnBytes_;
  }
  static size_t hashOf(Gpa gpa, uint32_t mode) { return LODGE_UNIT_HASH(gpa, mode); }

  Core& c_;
  const Options options_;
  Collector collector_;
  CodeCache cache_;
  CoreLayout layout_;
  Routines routines_;
  EnterFunction enter_ = nullptr;
  std::vector<Translation*> hash_;
  std::vector<Place> places_{size_t{1} << kHashBits};
  std::deque<Translation> translations_;
  std::deque<Site> sites_;
  std::deque<std::vector<Insn>> insns_;
  size_t insnBytes_ = 0;
  std::vector<Span> spans_;
  std::deque<std::vector<Extent>> extents_;  ///< Translation::more
  Recorder recorder_;
  std::unordered_map<Gpa, std::vector<Translation*>> pages_;
  /** Links into other pages, and the generation of the kernel's fetches in which all of them hold. */
  std::vector<uint32_t> farLinks_;
  std::unordered_map<Gpa, std::vector<uint16_t>> apart_;  ///< by page: Unit::apart
  uint64_t farGeneration_ = 0;
  Block* stepBlock_ = nullptr;
  Translation* stepping_ = nullptr;
  uint64_t flushes_ = 0;
  std::unique_ptr<Lockstep> lockstep_;  ///< nullptr: not asked for
  std::unique_ptr<Census> census_;  ///< nullptr: nobody asked
  bool left_ = false;      ///< the last exit was step()'s
  Exec how_ = Exec::Continue;
  uint32_t mode_ = kNoMode;
  static constexpr uint32_t kNoSite = ~0u;
  uint32_t leftBy_ = kNoSite;  ///< in lockstep: the link by which code was left last
  uint64_t leftFlushes_ = 0, leftFor_ = 0;
};

/** What translations depend on besides bytes; kNoMode: this tier has nothing for it. */
uint32_t Translator::currentMode() {
  if (c_.codeSize == CodeSize::k16 || c_.tlb == &c_.noTlb || c_.cpl == 1 || c_.cpl == 2) return kNoMode;
  if (c_.codeSize == CodeSize::k32) {
    // As in findBlock(): loads of segment registers end up here.
    if (c_.modeBits != (static_cast<uint32_t>(c_.codeSize) | c_.flatness())) c_.updateMode();
    if (!(c_.modeBits & kModeFlat)) return kNoMode;
  }
  const bool vectors = !c_.fpBlocked && (c_.state.mxcsr & kMxcsrMasks) == kMxcsrMasks;
  const X87State& fp = c_.state.x87;
  const bool x87 = !(c_.fpBlocked & (kFpEm | kFpTs)) && (fp.control & fpbits::kExceptions) == fpbits::kExceptions &&
                   !(fp.status & fpbits::kErrorSummary);
  return c_.modeBits | static_cast<uint32_t>(c_.privilege()) << kModePrivilegeShift | (vectors ? 0 : +kModeNoVectors) |
         (x87 ? 0 : +kModeNoX87) | (c_.vexBlocked ? +kModeNoVex : 0) | (c_.cpl == 0 && (c_.state.cr4 & kCr4Smap) ? +kModeSmap : 0);
}

/** `second`: of one that crosses, the page its tail has to lie in; ~0: any. */
Translation* Translator::known(Gpa gpa, uint64_t home, uint32_t mode, bool saved, Gpa second) const {
  for (Translation* t = hash_[hashOf(gpa, mode)]; t; t = t->hashNext) {
    if (t->gpa == gpa && t->mode == mode && t->home == home && (t->anyFlags || t->saved == saved) &&
        (second == ~0ull || t->second == second))
      return t;
  }
  return nullptr;
}

/** The translation for a linear address in the current mode, made when there is none. nullptr: see `why`. */
Translation* Translator::find(uint64_t linear, Way way, Outcome& why) {
  const bool saved = way.saved, careful = way.careful;
  const uint32_t mode = mode_ | (careful ? +kModeCareful : 0);
  const Census::Timer timer(census_, &Census::finds);
  why = Outcome::Interpret;
  if (c_.codeSize == CodeSize::k64 ? !canonical(linear) : linear > 0xffffffff) return nullptr;
  Gpa page;
  if (!c_.fetchPage(linear, page)) {
    why = Outcome::Fault;
    return nullptr;
  }
  const Gpa gpa = page | (linear & kPageMask);
  const uint64_t home = LODGE_UNIT_HOME(linear, mode_);
  Translation* t = known(gpa, home, mode, saved);
  Gpa second = ~0ull;
  if (t ? t->crosses() : collector_.reachesOut(gpa, mode_)) {
    uint64_t next = (linear & ~kPageMask) + kPageBytes;
    if (c_.codeSize != CodeSize::k64) next &= 0xffffffff;
    if (!c_.fetchPage(next, second)) {
      why = Outcome::Fault;
      return nullptr;
    }
    t = known(gpa, home, mode, saved, second);
  }
  if (!t) {
    if (!hotEnough(places_[hashOf(gpa, mode)])) return nullptr;
    const Census::Timer timer(census_, &Census::translations);
    t = translate(gpa, home, mode, saved, second);
  }
  if (!t || t->interpreted) return nullptr;
  if (way.link || careful || !(t->anyFlags || t->saved)) return t;
  const uint64_t place = t->crosses() || t->trace ? ~0ull : page << kModeBits | mode_;
  if (t->trace && lies(*t->trace, linear)) t = t->trace;
  c_.tierJumps[tierJumpIndex(linear)] = {linear, c_.frame.key, t->entry, place};
  return t;
}

/** The pages of a trace are where they were when it was made. */
bool Translator::lies(const Translation& t, uint64_t linear) {
  return std::all_of(t.more, t.more + t.mores, [&](const Extent& e) {
    const uint64_t at = (linear & ~kPageMask) + static_cast<uint64_t>(e.distance);
    Gpa page;
    return canonical(at) && c_.fetchPage(at, page) && page == e.page;
  });
}

/**
 * Whether to translate what is executed there. Code that the guest writes again and again would be translated for nothing each time: it
 * is left to the interpreter until it has been executed for a while without that.
 */
bool Translator::hotEnough(Place& place) {
  const unsigned wanted = place.shortLives < kShortLivesFree ? options_.heat : std::max<unsigned>(options_.heat, kShortLifeHeat);
  if (place.heat < wanted) {
    ++place.heat;
    return false;
  }
  if (wanted) c_.tierCounters.tierUps.add();
  return true;
}

Translation* Translator::translate(Gpa gpa, uint64_t home, uint32_t mode, bool saved, Gpa second) {
  const Gpa page = gpa & ~kPageMask;
  const uint8_t* const host = c_.memory.page(page).host;
  if (!host) return nullptr;
  if (cache_.used() + tableBytes() + 2 * kUnitRoom > options_.cacheBytes) {
    flush();
    c_.tierCounters.flushes.add();
    for (auto& [where, info] : c_.codePages) info.tierChunks = 0;
    c_.newGeneration();
    c_.frame.key = c_.generationNow() << kModeBits | mode_;
  }
  // Protect first, decode then: a write in between is noticed.
  c_.watchCode(page);
  Unit unit;
  Translation& t = translations_.emplace_back();
  t.gpa = gpa;
  t.mode = mode;
  t.home = home;
  t.born = static_cast<uint32_t>(c_.tierCounters.units.value());
  const unsigned start = static_cast<unsigned>(gpa & kPageMask);
  t.second = second;
  t.own.page = page;
  t.own.firstSpan = static_cast<uint32_t>(spans_.size());
  if (second != ~0ull && c_.memory.page(second).host) c_.watchCode(second).tierChunks |= 1;
  const auto isKnown = [&](Gpa at, bool savedThere) { return known(at, home, mode, savedThere) != nullptr; };
  if (!(second != ~0ull ? collector_.collectCrossing(gpa, second, mode, unit) : collector_.collect(gpa, mode, host, isKnown, unit))) {
    t.interpreted = t.anyFlags = true;
    covers(t.own, start, start + 15);
  } else {
    if (const auto found = apart_.find(page); found != apart_.end()) unit.apart.assign(found->second.begin(), found->second.end());
    if (second == ~0ull && mayCount(unit)) unit.heat = t.heat = static_cast<uint16_t>(translations_.size() % kHeats);
    if (!lower(unit, t, saved)) {
      t.interpreted = true;
      t.dead = true;
      return nullptr;
    }
    covers(t.own, unit);
  }
  Translation*& bucket = hash_[hashOf(gpa, mode)];
  t.hashNext = bucket;
  bucket = &t;
  c_.codePages[page].tierChunks |= t.own.chunks;
  pages_[page].push_back(&t);
  if (t.crosses() && t.second != page) pages_[second].push_back(&t);
  return &t;
}

/** Makes host code of a unit. False: there is too much of it. */
bool Translator::lower(Unit& unit, Translation& t, bool saved) {
  Emitter e(cache_.next(), cache_.next() + kUnitRoom);
  const auto firstSite = static_cast<uint32_t>(sites_.size());
  if (options_.exactFlags) unit.keepFlags = true;
  unit.counted = stepwise();
  Lowering lowering(e, layout_, routines_, firstSite);
  lowering.lower(unit, saved ? FlagsIn::Saved : FlagsIn::Host);
  if (e.full()) return false;
  t.code = cache_.next();
  t.entered = lowering.entered();
  if (lowering.counted()) t.counted = cache_.executable(lowering.counted());
  t.entry = t.counted ? t.counted : cache_.executable(t.entered);
  t.saved = saved;
  t.anyFlags = unit.liveIn == 0;
  for (const SiteSpec& spec : lowering.sites) {
    sites_.push_back(Site{spec, &t});
    if (spec.kind == SiteKind::Poll) t.deadEnd = spec.stub;
  }
  const auto bytes = static_cast<size_t>(e.position() - cache_.next());
  if (options_.spoil) options_.spoil(t.code, bytes);
  cache_.take(bytes);
  c_.tierCounters.units.add();
  c_.tierCounters.codeBytes.set(cache_.used() + tableBytes());
  return true;
}

/** A unit has been come to so often that the interpreter shows the way on from there, for a trace. */
void Translator::recordFrom(Translation& head) {
  head.entry = cache_.executable(head.entered);
  for (uint32_t& heat : c_.frame.heat) {
    if (heat == 0) heat = options_.traceHeat;
  }
  TierJump& jump = c_.tierJumps[tierJumpIndex(c_.state.rip)];
  if (jump.linear == c_.state.rip) jump.linear = 1;
  if (!head.dead) recorder_.begin(c_.state.rip, head.own.page, c_.frame.key, c_.state.gpr[kRsp]);
}

/** Where execution is now is part of the path, to be interpreted. Else the path is over, and has become a trace if it may. */
bool Translator::recording() {
  const uint64_t rip = c_.state.rip;
  if (mode_ != kNoMode && c_.frame.key == recorder_.key() && !debugDue()) {
    Gpa page;
    const Recorder::Next next = recorder_.comesTo(rip);
    if (next == Recorder::Next::Same) return true;
    if (next == Recorder::Next::New && canonical(rip) && c_.fetchPage(rip, page)) {
      recorder_.add(rip, page);
      return true;
    }
  }
  makeTrace();
  recorder_.end();
  return false;
}

void Translator::makeTrace() {
  const std::vector<Recorder::Step>& path = recorder_.path();
  const uint64_t base = path[0].linear & ~kPageMask;
  const auto mode = static_cast<uint32_t>(recorder_.key() & ((1u << kModeBits) - 1));
  const Gpa gpa = path[0].page | (path[0].linear & kPageMask);
  Translation* const head = known(gpa, LODGE_UNIT_HOME(path[0].linear, mode), mode, true);
  if (!head || head->trace || !head->counted || cache_.used() + tableBytes() + 2 * kUnitRoom > options_.cacheBytes) return;
  if (!recorder_.substantial() && c_.frame.key != recorder_.key()) {
    head->entry = head->counted;
    return;
  }
  std::vector<int64_t> distances;
  constexpr int64_t kFar = int64_t{1} << 28;
  for (const Recorder::Step& step : path) {
    const auto distance = static_cast<int64_t>(step.linear - base);
    if (distance > kFar || distance < -kFar) break;
    distances.push_back(distance);
  }
  std::vector<Extent> extents;
  Unit unit;
  unit.stack = static_cast<int64_t>(recorder_.stack() & kPageMask);
  const auto pageOf = [&](int64_t distance) -> const uint8_t* {
    const auto known = std::find_if(extents.begin(), extents.end(), [&](const Extent& e) { return e.distance == distance; });
    if (known != extents.end()) return c_.memory.page(known->page).host;
    const auto step = std::find_if(path.begin(), path.end(), [&](const Recorder::Step& s) {
      return static_cast<int64_t>((s.linear & ~kPageMask) - base) == distance;
    });
    if (step == path.end() || !c_.memory.page(step->page).host) return nullptr;
    c_.watchCode(step->page);
    extents.push_back({step->page, distance, 0, 0, 0});
    if (const auto found = apart_.find(step->page); found != apart_.end()) {
      for (const uint16_t offset : found->second) unit.apart.push_back(static_cast<int32_t>(distance + offset));
    }
    return c_.memory.page(step->page).host;
  };
  if (!collector_.collectTrace(gpa, mode, distances, pageOf, unit)) return;
  Translation& t = translations_.emplace_back();
  t.gpa = gpa;
  t.mode = mode;
  t.home = head->home;
  if (!lower(unit, t, true)) {
    t.interpreted = t.dead = true;
    return;
  }
  for (Extent& e : extents) {
    e.firstSpan = static_cast<uint32_t>(spans_.size());
    covers(e, unit);
    c_.codePages[e.page].tierChunks |= e.chunks;
    std::vector<Translation*>& there = pages_[e.page];
    if (there.empty() || there.back() != &t) there.push_back(&t);
  }
  t.own = extents[0];
  const std::vector<Extent>& more = extents_.emplace_back(extents.begin() + 1, extents.end());
  t.more = more.data();
  t.mores = more.size();
  t.head = head;
  c_.tierCounters.traces.add();
  head->trace = &t;
  TierJump& jump = c_.tierJumps[tierJumpIndex(path[0].linear)];
  if (jump.linear == path[0].linear) jump.linear = 1;
}

void Translator::link(Site& from, uint32_t number, Translation& to) {
  if (from.owner->dead || to.dead || to.crosses()) return;
  if (from.spec.far) {
    // While CR3 alone decides where the kernel's pages lie, they would not hold for long.
    if (c_.kernelLocal || farGeneration_ != c_.kernelGeneration) return;
    farLinks_.push_back(number);
  }
  Emitter e(from.spec.patch, from.spec.patch + 4);
  e.aim(from.spec.patch, to.code);
  to.incoming.push_back(number);
}

void Translator::unlink(const Site& site) {
  if (site.owner->dead) return;  // a jump to its dead end may be where the link was
  const SiteSpec& s = site.spec;
  Emitter e(s.patch, s.patch + 4);
  e.aim(s.patch, s.stub);
}

/** Before anything is executed under another generation of the kernel's fetches. */
void Translator::dropFarLinks() {
  for (const uint32_t number : farLinks_) unlink(sites_[number]);
  farLinks_.clear();
  farGeneration_ = c_.kernelGeneration;
}

/** Adds bytes to those that the translation made last depends on. */
void Translator::covers(Extent& e, unsigned from, unsigned to) {
  to = std::min(to, static_cast<unsigned>(kPageBytes));
  e.chunks |= chunkMask(from, to);
  if (e.spans && spans_.back().to == from) {
    spans_.back().to = static_cast<uint16_t>(to);
  } else {
    spans_.push_back({static_cast<uint16_t>(from), static_cast<uint16_t>(to)});
    ++e.spans;
  }
}

/** The same with all that a unit is made of in one page. */
void Translator::covers(Extent& e, const Unit& unit) {
  const auto inPage = [&](int64_t from, int64_t to) {
    if ((from & ~static_cast<int64_t>(kPageMask)) == e.distance)
      covers(e, static_cast<unsigned>(from - e.distance), static_cast<unsigned>(to - e.distance));
  };
  for (const Item& i : unit.items) inPage(i.offset, i.offset + i.d.length);
  if (unit.aheadTo > unit.aheadFrom) inPage(unit.aheadFrom, unit.aheadTo);
}

/** What it was made of at a distance from where its first page begins; nullptr: nothing. */
const Extent* Translator::extentAt(const Translation& t, int64_t distance) const {
  if (distance == 0) return &t.own;
  const Extent* const found = std::find_if(t.more, t.more + t.mores, [&](const Extent& e) { return e.distance == distance; });
  return found == t.more + t.mores ? nullptr : found;
}

uint64_t Translator::chunksIn(const Translation& t, Gpa page) const {
  uint64_t chunks = (t.own.page == page ? t.own.chunks : 0) | (t.second == page ? 1 : 0);
  for (size_t n = 0; n < t.mores; ++n) chunks |= t.more[n].page == page ? t.more[n].chunks : 0;
  return chunks;
}

/** It was made of some of these bytes. Data beside code, as boot loaders have it, is not it. */
bool Translator::touches(const Translation& t, Gpa page, unsigned from, unsigned to) const {
  if (t.second == page && from < 15) return true;
  const auto within = [&](const Extent& e) {
    const auto first = spans_.begin() + e.firstSpan;
    return e.page == page && std::any_of(first, first + e.spans, [&](const Span& s) { return s.from < to && from < s.to; });
  };
  return within(t.own) || std::any_of(t.more, t.more + t.mores, within);
}

/** Its bytes were written. */
void Translator::overwritten(Translation& t) {
  c_.tierCounters.invalidations.add();
  if (t.head) return kill(t);
  Place& place = places_[hashOf(t.gpa, t.mode)];
  place.heat = 0;
  if (static_cast<uint32_t>(c_.tierCounters.units.value()) - t.born >= kShortLife) place.shortLives = 0;
  else if (place.shortLives < kShortLivesFree) ++place.shortLives;
  kill(t);
}

void Translator::kill(Translation& t) {
  t.dead = true;
  for (Translation** at = &hash_[hashOf(t.gpa, t.mode)]; *at; at = &(*at)->hashNext) {
    if (*at == &t) {
      *at = t.hashNext;
      break;
    }
  }
  for (const uint32_t number : t.incoming) unlink(sites_[number]);
  t.incoming.clear();
  for (uint8_t* const at : {t.code, t.entered}) {
    if (!at) continue;
    Emitter e(at, at + 5);
    e.jumpTo(t.deadEnd);
  }
  if (&t == stepping_) c_.blockDead = true;
  if (t.head) {
    t.head->trace = nullptr;
    t.head->entry = t.head->counted;
    t.head = nullptr;
  }
  if (t.trace) kill(*t.trace);
}

uint64_t Translator::invalidate(Gpa page, unsigned first, unsigned bytes) noexcept {
  const auto found = pages_.find(page);
  if (found == pages_.end()) return 0;
  const uint64_t hit = chunkMask(first, first + bytes);
  uint64_t left = 0;
  size_t kept = 0;
  for (Translation* t : found->second) {
    if (t->dead) continue;  // its other page's doing
    const uint64_t chunks = chunksIn(*t, page);
    if ((chunks & hit) && touches(*t, page, first, first + bytes)) {
      overwritten(*t);
    } else {
      left |= chunks;
      found->second[kept++] = t;
    }
  }
  found->second.resize(kept);
  if (kept == 0) pages_.erase(found);
  return left;
}

void Translator::flush() noexcept {
  std::fill(hash_.begin(), hash_.end(), nullptr);
  std::fill(std::begin(c_.tierJumps), std::end(c_.tierJumps), TierJump{});
  translations_.clear();
  sites_.clear();
  insns_.clear();
  insnBytes_ = 0;
  spans_.clear();
  extents_.clear();
  recorder_.end();
  farLinks_.clear();
  apart_.clear();
  pages_.clear();
  cache_.flush();
  ++flushes_;
  c_.tierCounters.codeBytes.set(0);
  ::malloc_trim(0);  // the tables are many small allocations, which the C library would keep
}

/** Decodes what a site runs. False: other bytes are there than were translated. */
bool Translator::prepare(Site& site) {
  const bool crosses = site.owner->crosses();
  const uint8_t* const joined = crosses ? collector_.join(site.owner->gpa, site.owner->second) : nullptr;
  if (crosses && !joined) return false;
  std::vector<Insn>& run = insns_.emplace_back();
  run.resize(site.spec.count + 1u);
  insnBytes_ += sizeof run + run.capacity() * sizeof(Insn);
  int64_t at = site.spec.offset;
  for (unsigned n = 0; n < site.spec.count; ++n) {
    Decoded d;
    const auto offset = static_cast<unsigned>(at & static_cast<int64_t>(kPageMask));
    const Extent* const extent = extentAt(*site.owner, at - offset);
    const uint8_t* const host = extent ? c_.memory.page(extent->page).host : nullptr;
    if (!host) return false;
    const DecodeStatus status = crosses ? decode(joined, 15, c_.codeSize, d)
                                        : decode(host + offset, static_cast<unsigned>(kPageBytes) - offset, c_.codeSize, d);
    if (status != DecodeStatus::Ok) return false;
    if (!admit(d, c_.features)) return false;
    // FXSAVE and its kin, MMX, EMMS, FWAIT.
    if (d.op == Op::X87 || d.op == Op::Fwait || movesXsaveArea(d.op) ||
        (d.op == Op::Simd && ((d.simd->attributes & kFpMmx) || d.simd->form == FpForm::Memory || d.simd->form == FpForm::None ||
                              d.simd->form == FpForm::XmmMmx || d.simd->form == FpForm::MmxXmm)))
      site.needsX87 = true;
    if (n == 0) site.op = d.op;
    if (lockstep_ && !Lockstep::repeatable(d)) site.repeatable = false;
    c_.bindInsn(d, run[n], static_cast<uint16_t>(at - site.spec.offset), c_.modeBits);
    at += d.length;
  }
  if (at != site.spec.endOffset) return false;
  Insn& stop = run[site.spec.count];
  stop = Insn{};
  stop.offset = static_cast<uint16_t>(at - site.spec.offset);
  stop.fn = steppedHandler;
  site.insns = run.data();
  return true;
}

/**
 * A group that the interpreter executes again and again lies across two pages, as a stack does that happens to stand at a page's
 * start. When the unit is made anew, its check leads to a careful one.
 */
void Translator::takeCare(Site& site) {
  Translation& owner = *site.owner;
  if (owner.dead || owner.crosses()) return;
  const auto offset = static_cast<uint16_t>(site.spec.offset & static_cast<int32_t>(kPageMask));
  const Extent* const extent = extentAt(owner, site.spec.offset - offset);
  if (!extent) return;
  apart_[extent->page].push_back(offset);
  if (owner.head) c_.frame.heat[owner.head->heat] = kHeatAgain;
  kill(owner);
}

/** Called from translated code, with all guest state in the Core. */
uint32_t Translator::step(uint32_t number) {
  Site& site = sites_[number];
  left_ = true;
  c_.state.rip = c_.frame.codePage + static_cast<uint64_t>(int64_t{site.spec.offset});
  if (c_.codeSize != CodeSize::k64) c_.state.rip &= 0xffffffff;
  if (!site.insns && !prepare(site)) {
    how_ = Exec::Continue;
    return 1;
  }
  if (lockstep_) {
    lockstep_->leaves(site.spec.live, false);
    if (!site.repeatable) {
      how_ = Exec::Continue;
      return 1;
    }
  }
  if (site.spec.shared && ++site.steps == kMaxSharedSteps) takeCare(site);
  if (site.needsX87) settle();
  c_.block = stepBlock_;
  c_.blockDead = c_.stepHeld = false;
  stepping_ = site.owner;
  const uint32_t earlierTraps = c_.traps;
  Exec how = site.insns[0].fn(c_, site.insns);
  while (how == Exec::Next) how = c_.cursor->fn(c_, c_.cursor);
  stepping_ = nullptr;
  c_.pendingLink = nullptr;
  if (farGeneration_ != c_.kernelGeneration) dropFarLinks();
  if (how == Exec::Stepped) {
    if (site.spec.kind == SiteKind::Run && !site.owner->dead && !debugDue()) {
      left_ = false;
      if (site.spec.x87 && !c_.frame.x87Loaded) loadX87(&c_);
      return 0;
    }
    c_.state.rip += static_cast<uint64_t>(int64_t{site.spec.endOffset} - site.spec.offset);
    how = Exec::Continue;
  } else if (how == Exec::Fault) {
    if (!c_.fault.trap) {
      c_.state.rip += c_.cursor->offset;
      c_.traps = earlierTraps;
    }
    if (c_.fault.kind == FaultKind::Exception && !lockstep_) how = c_.deliverFault() ? Exec::Continue : Exec::Leave;
  }
  if (how == Exec::Continue && !stepwise()) {
    // A new unit may empty the cache, so the site is not looked at any more.
    if (const uint8_t* const code = goOn()) {
      left_ = false;
      c_.frame.temporary = reinterpret_cast<uint64_t>(code);
      return 2;
    }
  }
  how_ = how;
  return 1;
}

/** In lockstep nothing is looked for while code runs: the jump by which it was left is linked before it runs again. */
void Translator::linkLeft() {
  const uint32_t number = std::exchange(leftBy_, kNoSite);
  if (number == kNoSite || leftFlushes_ != flushes_ || leftFor_ != c_.state.rip) return;
  if (sites_[number].owner->dead || (sites_[number].owner->mode & ~kModeCareful) != mode_) return;
  Outcome why;
  const SiteSpec& spec = sites_[number].spec;
  Translation* const to = find(c_.state.rip, {spec.saved, spec.careful, true}, why);
  if (to && leftFlushes_ == flushes_) link(sites_[number], number, *to);
}

/** Lets cached jumps be taken, which closes again with the next request. False: one is waiting. */
bool Translator::openGate() {
  if (c_.frame.gate.load(std::memory_order_relaxed) != c_.frame.key) c_.frame.gate.exchange(c_.frame.key, std::memory_order_seq_cst);
  return !c_.requests.load(std::memory_order_acquire);
}

/** The code for state.rip when the run loop would do nothing but come back for it; else nullptr. */
const uint8_t* Translator::goOn() {
  if (c_.shadow || c_.nmiPending || c_.state.activity != Activity::Runnable ||
      debugDue() || (c_.interruptMaybe && (c_.state.rflags & kIf)))
    return nullptr;
  if (farGeneration_ != c_.kernelGeneration) dropFarLinks();
  mode_ = currentMode();
  if (mode_ == kNoMode) return nullptr;
  c_.frame.key = c_.generationNow() << kModeBits | mode_;
  const uint64_t rip = c_.state.rip;
  const TierJump& jump = c_.tierJumps[tierJumpIndex(rip)];
  const uint8_t* code;
  if (jump.linear == rip && jump.key == c_.frame.key) {
    code = jump.code;
  } else {
    Outcome why;
    const Translation* const t = find(rip, {}, why);  // a fault is found again
    if (!t) return nullptr;
    code = t->entry;
  }
  if (!openGate()) return nullptr;
  c_.frame.codePage = rip & ~kPageMask;
  return code;
}

Outcome Translator::runCode() {
  if (census_) {
    census_->report();
    ++census_->runs.count;
  }
  if (farGeneration_ != c_.kernelGeneration) dropFarLinks();
  mode_ = currentMode();
  if (mode_ != kNoMode) c_.frame.key = c_.generationNow() << kModeBits | mode_;
  if (recorder_.active() && recording()) {
    c_.tierMode = true;
    return Outcome::Interpret;
  }
  if (mode_ == kNoMode) return Outcome::Interpret;
  if (lockstep_) linkLeft();
  Outcome why;
  Translation* t = nullptr;
  const TierJump& jump = c_.tierJumps[tierJumpIndex(c_.state.rip)];
  const uint8_t* code;
  if (!c_.trace && jump.linear == c_.state.rip && jump.key == c_.frame.key) {
    code = jump.code;
  } else {
    t = find(c_.state.rip, {}, why);
    if (!t) {
      c_.tierMode = true;
      return why;
    }
    code = t->entry;
  }
  for (;;) {
    if (!stepwise() && !openGate()) return Outcome::Again;
    if (lockstep_) lockstep_->begin();
    if (c_.trace) {
      c_.recordInstruction(t->gpa, t->second);
      c_.frame.budget = 2;  // its entry takes one, and that of the next the other
    }
    c_.frame.codePage = c_.state.rip & ~kPageMask;
    left_ = false;
    {
      const Census::Timer timer(census_, &Census::inside);
      enter_(&c_, code);
    }
    mode_ = static_cast<uint32_t>(c_.frame.key & ((1u << kModeBits) - 1));  // translated code may change it
    if (left_) {
      switch (how_) {
        case Exec::Fault:
          return Outcome::Fault;
        case Exec::Leave:
          return Outcome::Leave;
        default:
          return Outcome::Again;
      }
    }
    const auto number = static_cast<uint32_t>(c_.frame.argument);
    const SiteSpec spec = sites_[number].spec;
    if (spec.indirect && c_.codeSize == CodeSize::k64 && !canonical(c_.state.rip)) {
      // The instruction that went there faults, and has done nothing.
      c_.state.rip = c_.frame.codePage + static_cast<uint64_t>(int64_t{spec.offset});
      c_.state.gpr[kRsp] -= static_cast<uint64_t>(int64_t{spec.undo});
      c_.tierMode = true;
      return Outcome::Interpret;
    }
    if (lockstep_) lockstep_->leaves(spec.live, spec.kind == SiteKind::Poll);
    bool saved = true;
    if (spec.kind != SiteKind::Lookup) {
      c_.state.rip = c_.frame.codePage + static_cast<uint64_t>(int64_t{spec.offset});
      if (spec.kind == SiteKind::Hot) {
        recordFrom(*sites_[number].owner);
        c_.tierMode = true;
        return Outcome::Interpret;
      }
      if (spec.kind == SiteKind::Poll) {
        // The entry of something that died leads here, too.
        if (sites_[number].owner->dead) c_.tierJumps[tierJumpIndex(c_.state.rip)].linear = 1;
        return Outcome::Again;
      }
      saved = spec.saved;
    }
    if (lockstep_) {
      leftBy_ = spec.kind == SiteKind::Link ? number : kNoSite;
      leftFlushes_ = flushes_;
      leftFor_ = c_.state.rip;
    }
    if (stepwise()) return Outcome::Again;
    const uint64_t flushes = flushes_;
    t = find(c_.state.rip, {saved, spec.careful, spec.kind == SiteKind::Link}, why);
    if (!t) {
      c_.tierMode = true;
      return why;
    }
    if (spec.kind == SiteKind::Link && flushes == flushes_) link(sites_[number], number, *t);
    code = t->entry;
  }
}

}  // namespace

std::unique_ptr<Cpu> makeTranslator(const CpuConfig& config, PhysicalMemory& memory, Environment& env, const Options& options) {
  std::unique_ptr<SealedEnvironment> sealed;
  if (options.lockstep) sealed = std::make_unique<SealedEnvironment>(env);
  Environment& outside = sealed ? *sealed : env;
  return makeTieredCpu(config, memory, outside, [&](Core& core) -> std::unique_ptr<SecondTier> {
    auto tier = std::make_unique<Translator>(core, options);
    if (sealed) tier->check(std::move(sealed));
    if (!tier->valid()) return nullptr;
    return tier;
  });
}

}  // namespace lodge::translator
