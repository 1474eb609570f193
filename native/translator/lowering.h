// Turns a run of guest instructions into host code.
//
// Host registers. RSP points at the vCPU's Core and is the stack for calls out of translated code as well. RAX … R12 hold the
// guest registers of the same number, but RSP, which is in R13. Guest R13, R14 and R15 stay in the Core. R14 and R15 are
// scratch: R14 holds the host address that the accesses of a group share, or what leads to it, R15 nothing from one instruction to the next.
// XMM registers are the guest's. EFLAGS holds the guest's arithmetic flags, or Core::ax does: see FlagsIn.
//
// Memory. A group is a run of instructions whose accesses lie in one page, at fixed distances from one address. Its TLB check
// comes first; when that fails, the interpreter executes the whole run. So an instruction commits nothing before everything
// it accesses has been checked, and all faults are the interpreter's.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "translator/emitter.h"
#include "translator/item.h"
#include "translator/translation.h"
#include "x86/interpreter/core.h"

namespace lodge::translator {

/** Host registers with a duty of their own; see above. */
constexpr uint8_t kR14 = 14, kR15 = 15, kStack = 13, kCoreReg = 4;
/** Condition code of JNE. */
constexpr unsigned kNotEqual = 5;

/** Distances from the Core's start of what translated code touches. */
struct CoreLayout {
  int32_t ax, requests, codePage, key, gate, temporary, argument, rip, rflags, vectors, jumps, hostStack, x87Loaded, x87Control, budget,
      turns, borrowed, split, splitAt, splitLow, splitHigh, windows, pageNumber, negated, heat, interruptMaybe, kernelGsBase, tlbPointer,
      tlb[x86::kPrivileges], selectors[6];
  /** The host extracts bits in a cycle or so: some processors have PEXT as a long microprogram. */
  bool extracts;
  explicit CoreLayout(const x86::Core& core);
};

/** Routines that translated code jumps to; executable addresses seen from the writable mapping. */
struct Routines {
  const uint8_t* step = nullptr;         ///< called: R15 names the site
  const uint8_t* refill = nullptr;       ///< called: R14 linear address, R15 access; ZF: in vain
  const uint8_t* lookup = nullptr;       ///< jumped to: state.rip is where to, flags are saved; goes there, or as exitSaved
  const uint8_t* loadX87 = nullptr;      ///< called: the guest's x87 state goes into the host
  const uint8_t *exitHost = nullptr, *exitSaved = nullptr;  ///< leave; frame.argument says why
};

/** Where the guest's arithmetic flags are. */
enum class FlagsIn : uint8_t { Host, Saved /**< Core::ax */, Both, Dead };

/** A place in translated code that needs help from outside. */
enum class SiteKind : uint8_t {
  Run,     ///< the interpreter executes instructions, then translated code goes on
  End,     ///< the same, and then looks up what comes next
  Link,    ///< a jump to a known place, to be patched
  Lookup,  ///< state.rip holds the target
  Poll,    ///< a request is waiting
  Hot,     ///< the unit has been entered so often that the path from here is worth a trace
};
struct SiteSpec {
  SiteKind kind;
  int32_t offset = 0;        ///< from frame.codePage: of the first instruction, or of the target
  uint8_t count = 0;         ///< instructions
  int32_t endOffset = 0;     ///< behind the last of them
  bool x87 = false;          ///< Run: x87 state is in the host before, and has to be after it
  bool saved = false;        ///< Link: the flags are in Core::ax
  bool far = false;          ///< Link: the target lies in another page, which frame.codePage says by then
  bool shared = false;       ///< Run, End: of a check that accesses of several instructions share
  bool careful = false;      ///< Link: to a careful unit
  bool instruction = false;  ///< Run: the interpreter executes it whatever it accesses
  uint32_t live = x86::kArith;  ///< flags that mean something when translated code is left here; filled in by addSite()
  bool indirect = false;     ///< Lookup: the instruction at `offset` took its target from a register or from memory
  int32_t undo = 0;          ///< Lookup: what the instruction changed the stack pointer by
  uint8_t* patch = nullptr;  ///< Link: distance field, and what it leads to until it is linked
  uint8_t* stub = nullptr;
};

struct Unit {
  std::vector<Item> items;
  uint16_t start = 0;            ///< offset in the page
  int32_t end = 0;               ///< where execution goes on behind the last item, when that is no jump
  bool open = true;              ///< it does
  bool counted = false;          ///< TierFrame::budget, not a request, says when to leave
  bool tail = false;             ///< there lies an instruction that reaches into the next page
  bool keepFlags = false;        ///< all flags matter everywhere
  uint32_t liveIn = 0;           ///< flags that are read before they are written
  uint32_t liveOut = x86::kArith;  ///< flags that matter behind the last item
  int32_t aheadFrom = 0, aheadTo = 0;  ///< bytes that say so, from the page's start
  x86::Privilege privilege = x86::kSupervisor;
  x86::CodeSize size = x86::CodeSize::k64;
  uint32_t mode = 0;             ///< Translation::mode
  bool doors = false;            ///< STAC and CLAC end it
  /** Offsets of instructions whose shared checks often span two pages: in a trace they share none, else they lead to a careful unit. */
  std::vector<int32_t> apart;
  bool careful = false;          ///< no accesses share a check
  /** A path through calls, returns and pages, on which each item follows the one before. Where it is left, a guard tells. */
  bool trace = false;
  /** Of a trace: the stack pointer in its page when the path was recorded. Most often it is the same again. */
  std::optional<int64_t> stack;
  int heat = -1;                 ///< of TierFrame::heat: what counts the unit's entries by cached jumps; -1: nothing does
};

/** Fills in Unit::liveIn and, for each item, the flags that matter after it. */
std::vector<uint32_t> liveFlags(Unit& unit);

/** Flags that the code at an offset of a page may read before it writes them, as its bytes up to `end` say. */
uint32_t flagsNeeded(const uint8_t* page, unsigned offset, const Setting& setting, unsigned& end);

struct StripPlan;
struct StripWindow;

class Lowering {
 public:
  Lowering(Emitter& out, const CoreLayout& layout, const Routines& routines, uint32_t firstSite);
  ~Lowering();
  /** `flags`: where they are at entry. */
  void lower(Unit& unit, FlagsIn flags);
  std::vector<SiteSpec> sites;
  /** The unit behind its look for requests, which whoever comes here from outside or by a cached jump has had. Or its start. */
  uint8_t* entered() const { return entered_; }
  /** The same, counted; nullptr: Unit::heat asks for none. */
  uint8_t* counted() const { return counted_; }

 private:
  struct Stub {
    uint8_t* from;       ///< distance field to land
    uint32_t site;
    uint8_t* resume;     ///< Run
    FlagsIn flags;
    int64_t target = 0;  ///< Jump, StripExit: distance from the page's start; Careful: bytes that were checked
    enum class Kind : uint8_t { Run, Careful, Link, Poll, Jump, LoadX87, StripMiss, StripExit, Guard } kind;
    uint8_t* retry = nullptr;  ///< Run, Careful and StripMiss, of a failed TLB check: where that begins
    Access access = {};
    int64_t low = 0;
  };
  /**
   * What an earlier check of the unit has shown: the bytes from `low` to `high` - 1 off the address, as its base is now, lie in one
   * page that may be accessed so. The page's addend is in the Core.
   */
  struct Window {
    Address address;
    int64_t low, high;
    bool write;
    unsigned slot;       ///< of TierFrame::windows
    size_t firstSite;    ///< that came after it: those must not come back to code that relies on it
  };
  /** What accesses share a check, from one on. */
  struct Reach {
    size_t last;         ///< of the group
    size_t branch = 0;   ///< the first in the group; 0: none
    int64_t low, high;   ///< of all of them
    bool write;
    bool again = false;  ///< some come behind the group
  };
  struct Group {
    size_t last = 0;
    int64_t low = 0;     ///< of the shared address, relative to the base's value at the start
    int64_t drift = 0;   ///< by how much the base has changed since
    bool active = false;
    std::vector<Stub> pending;
  };

  // Registers.
  static bool inHost(uint8_t gpr) { return gpr < 13; }
  static uint8_t hostOf(uint8_t gpr) { return gpr == x86::kRsp ? 13 : gpr; }
  Operand slot(uint8_t gpr) const { return at(4, gpr * 8); }
  Operand frame(int32_t offset) const { return at(4, offset); }
  void loadGpr(uint8_t to, uint8_t gpr);
  void storeGpr(uint8_t gpr, uint8_t from);

  // Flags.
  void saveFlags();
  void restoreFlags();
  /** Host flags are about to be clobbered. */
  void clobberFlags(uint32_t live);

  // Memory.
  bool simple(const Address& a) const;
  bool offBase(const Address& a) const;
  bool offCore(const Address& a) const;
  bool windowable(const Address& a) const;
  Operand originOf(const Address& a) const;
  void effective(uint8_t to, const Address& a, int64_t disp);
  void miss(uint8_t* from, const SiteSpec& site, uint8_t* retry, const Access& access, int64_t low);
  void missCarefully(uint8_t* from, int32_t offset, uint8_t* retry, const Access& access, int64_t low, int64_t high);
  uint8_t* check(const Access& access, int64_t low, unsigned span, unsigned aligned);
  bool apart(const Item& item) const;
  Reach reach(size_t i) const;
  bool shares(const Item& next, const Address& address, const Item& first, bool grouped) const;
  void openGroup(size_t i);
  void keepWindow(Window window);
  bool reuseWindow(size_t i);
  void moveWindows(const Item& item);
  void moveStack(const Item& item);
  void closeGroup(size_t i);
  void closePending();
  /** For the interpreter to execute this instruction alone. */
  static SiteSpec siteOf(const Item& item, SiteKind kind);
  /** A jump that has it do so. */
  void leaveToStep(uint8_t* from, const Item& item, SiteKind kind);
  /** May load R14. */
  Operand operandAt(const Access& access);
  Operand aloneAt(const Access& access) const;
  bool usesGroupRegister(const Item& item) const;

  // Instructions.
  void item(size_t i);
  void same(const Item& item);
  void sameVex(const Item& item);
  void lea(const Item& item);
  void divide(const Item& item);
  void push(size_t i);
  void call(size_t i);
  void callFar(size_t i);
  void step(const Item& item, SiteKind kind);
  void flagBit(const Item& item);
  void sti(const Item& item);
  void swapGs();
  void userDoor(const Item& item);
  void readSegment(const Item& item);
  void pushFlags(size_t i);
  void bitString(size_t i);
  void string(const Item& item);
  void checkString(const Item& item, uint8_t pointer, bool write);
  void repeat(const Item& item);
  void element(const Item& item);
  void x87(size_t i);
  void loadControl(const Item& item);
  void tlbIndex(uint8_t linear);
  Operand tlbWord(int32_t word) const;
  void immediate(const Item& item);
  /** The second access of an instruction that has two. */
  void checkAlone(size_t i, const Access& access);

  // Strips (lowering_strip.cpp).
  void startTurns();
  void emitStrip();
  void openWindow(const StripWindow& window);
  void stripBody(const uint8_t* next);
  void restoreBorrowed();
  Operand operandInStrip(const Access& access);

  // Leaving.
  void exitTo(int64_t target);
  void exitFar(int64_t target);
  bool returnsTo(int64_t target) const;
  void goTo(size_t i);
  SiteSpec lookupSite(const Item& item) const;
  void guard(size_t i);
  void countEntries();
  void jumpCached(uint32_t site);
  void returnAddress(uint8_t to, int64_t target);
  void entry();
  void emitStubs();
  void refillFor(const Stub& stub);
  void leave(const Stub& stub);
  uint32_t addSite(const SiteSpec& s) {
    sites.push_back(s);
    if (s.kind == SiteKind::Poll) sites.back().live = unit_->liveIn;
    if (s.kind == SiteKind::Run || s.kind == SiteKind::End) sites.back().live = index_ == 0 ? unit_->liveIn : live_[index_ - 1];
    return firstSite_ + static_cast<uint32_t>(sites.size()) - 1;
  }

  Emitter& e_;
  const CoreLayout& at_;
  const Routines& routines_;
  const uint32_t firstSite_;
  Unit* unit_ = nullptr;
  std::vector<uint32_t> live_;
  std::vector<Stub> stubs_;
  FlagsIn flags_ = FlagsIn::Host;
  Group group_;
  std::vector<Window> windows_;
  size_t index_ = 0;
  std::optional<int64_t> stack_;  ///< Unit::stack, where the items so far have moved it
  bool x87Loaded_ = false;

  std::unique_ptr<StripPlan> strip_;
  bool inStrip_ = false, inSplit_ = false;
  uint8_t* entered_ = nullptr;
  uint8_t* counted_ = nullptr;
  uint8_t* again_ = nullptr;      ///< a loop's or trace's top, with its poll
  uint8_t* jumpBack_ = nullptr;   ///< distance field of the jump to the next iteration
  uint8_t* pastLoop_ = nullptr;   ///< behind that jump
  FlagsIn pastLoopFlags_ = FlagsIn::Host;
  uint8_t* stripFailed_ = nullptr;
};

}  // namespace lodge::translator
