// What the interpreter's parts share: the vCPU's hot state, decoded instructions and blocks, the software TLB.
//
// A handler executes one decoded instruction and tail-calls the next one's handler, so that a block runs without
// returning. It returns up only at a block's end that is not chained (Continue), for a fault (Fault) or to leave run()
// (Leave). Inside a block state.rip stays at the block's first instruction: the instruction at hand is at
// state.rip + insn->offset. A handler commits nothing before its last possible fault.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "memory/physical_memory.h"
#include "x86/cpu.h"
#include "x86/cpuid.h"
#include "x86/fp/vex_thunks.h"
#include "x86/instruction.h"
#include "x86/interpreter/caches.h"
#include "x86/state.h"

namespace lodge::x86 {

enum class Exec : uint32_t {
  Next,      ///< builds without sibling calls only: run core.cursor
  Continue,  ///< state.rip is where execution goes on
  Fault,     ///< core.fault says what; core.cursor is the instruction
  Leave,     ///< leave run() with core.exit; state.rip is where execution will go on
  Stepped,   ///< the instructions the second tier asked for are through
};

struct Core;
struct Insn;
struct Block;
using Handler = Exec (*)(Core&, const Insn*);

/** Instruction flags. */
enum InsnFlag : uint8_t { kInsnRepF3 = 1, kInsnRepF2 = 2, kInsnLock = 4, kInsnRex = 8, kInsnMemory = 16, kInsnRawRip = 32 };

/** Registers are addressed by their distance from the Core's start: in bytes (reg, rm) or in 8-byte units (base, index). */
struct Insn {
  Handler fn;
  uint16_t offset;       ///< from the block's first byte
  uint8_t length;
  uint8_t scale;         ///< shift count for the index
  uint8_t reg, rm;       ///< byte offset of the register (high bytes: + 1); plain numbers in system and SIMD handlers
  uint8_t base, index;   ///< 8-byte units
  uint8_t segmentBase;   ///< 8-byte units: FS or GS base in 64-bit mode, else the zero slot
  uint8_t segment;
  uint8_t sizes;         ///< operand size | address size << 4
  uint8_t flags;
  uint16_t row;          ///< SIMD function or x87 row number; condition code
  uint16_t ordinal;      ///< position in the block
  union {
    struct { int32_t disp, imm; };
    int64_t imm64;       ///< instructions with a 64-bit immediate have no displacement and the other way round
  };
  unsigned operandSize() const { return sizes & 15; }
  unsigned addressSize() const { return sizes >> 4; }
};
static_assert(sizeof(Insn) == 32);

/** A remembered successor. `linear` and `key` are checked unless the target lies in the same page as the branch. */
struct Link {
  Block* target = nullptr;
  uint64_t linear = 0;
  uint64_t key = 0;
  Link* nextIncoming = nullptr;
};

/** Straight-line code inside one page; only a block of a single instruction may reach into the next page. */
struct Block {
  Gpa gpa;
  Gpa secondPage;        ///< page of the tail of a page-crossing instruction, else ~0
  Block* hashNext;
  Link* incoming;
  Link links[2];         ///< taken, fall-through
  uint32_t mode;
  uint16_t count;        ///< instructions
  uint16_t bytes;
  bool dead;
  Insn insns[];
};

/**
 * A faster tier (the translator). It keeps code of its own, keyed like blocks, and uses the interpreter for single
 * instructions. All calls come on the vCPU's thread.
 */
class SecondTier {
 public:
  enum class Outcome : uint8_t {
    Again,      ///< state.rip is where execution goes on; requests may be waiting
    Interpret,  ///< not for this tier: the interpreter runs one block at state.rip
    Fault,      ///< Core::fault, to be delivered at state.rip
    Leave,      ///< leave run() with Core::exit
  };
  virtual ~SecondTier() = default;
  virtual Outcome run() noexcept = 0;
  /** Bytes of a page changed: forgets what was made of them. Returns the chunks of the page that still hold code. */
  virtual uint64_t invalidate(Gpa page, unsigned first, unsigned bytes) noexcept = 0;
  virtual void flush() noexcept = 0;
  /** State that is kept in host registers goes back into the Core. */
  virtual void settle() noexcept = 0;
};

/** What the second tier keeps where its code can address it: the Core is what its stack pointer points at. */
/** `place`: what the code was made of, whatever the mapping: guest-physical page << 16 | mode. */
struct TierJump { uint64_t linear = 1, key = 0; const uint8_t* code = nullptr; uint64_t place = 0; };
constexpr unsigned kTierJumps = 8192;
/** Index of a target, as translated code computes it in two instructions: bits 5 … 17 of a product. */
constexpr uint32_t kTierJumpFactor = 0x9e3779b1;
inline unsigned tierJumpIndex(uint64_t linear) { return static_cast<uint32_t>(linear) * kTierJumpFactor >> 5 & (kTierJumps - 1); }
constexpr uint64_t kGateClosed = ~0ull;
constexpr unsigned kHeats = 1024;
struct TierFrame {
  uint64_t hostStack = 0;   ///< stack pointer outside
  uint64_t codePage = 0;    ///< linear address of the page that holds the code at hand
  uint64_t key = 0;         ///< generation and mode: which TierJumps may be taken
  std::atomic<uint64_t> gate{0};  ///< the key, while no request waits
  uint64_t temporary = 0;
  uint64_t argument = 0;    ///< of an exit
  uint32_t budget = 0;      ///< units to go, where they are counted
  uint32_t x87Loaded = 0;   ///< the guest's x87 state is in the host's registers
  const void* units = nullptr;  ///< the tier's own table of what it has translated
  uint32_t turns = 0;       ///< of a loop: until it runs in strips, and then until the strip's end
  uint64_t borrowed[8] = {};  ///< guest registers whose host registers a strip uses
  uint32_t split = 0;         ///< a strip's table lies in two pages: from splitAt on its addend is splitHigh, before splitLow
  uint64_t splitAt = 0, splitLow = 0, splitHigh = 0;
  uint32_t pageNumber = (kTlbEntries - 1) << 12;  ///< bits of an address that are its TLB entry's number
  uint64_t negated = 0;       ///< codePage, subtracted from 0, of the trace at hand
  uint32_t heat[kHeats] = {}; ///< entries to go until the path from a unit is recorded; units share them
  uint64_t windows[8] = {};   ///< addends of pages that the unit at hand has checked
};

/** Watch, Break: the access would have touched a debugger's watchpoint, or a breakpoint of the guest's; the instruction is undone and to
 * be executed again. */
enum class FaultKind : uint8_t { None, Exception, Abandoned, Internal, Watch, Break };
struct FaultInfo {
  FaultKind kind = FaultKind::None;
  uint8_t vector = 0;
  bool hasError = false;
  bool trap = false;  ///< state.rip is where it is to be reported: a switch of tasks left the instruction behind
  uint32_t error = 0;
  bool resume = false;  ///< the flags saved have RF set, though it is not of a vector that says so by itself
};

/** How a slow write ends, once its bytes lie at the pointer slowWrite() gave. */
enum class PendingWrite : uint8_t { None, Code, Scratch };
/** One page's share of a write that goes through scratch, or of a write to a page that holds code. */
struct WritePart { Gpa gpa; uint8_t* host; uint64_t info; unsigned bytes; };

/** Descriptor bits 40–55, as SegmentRegister::attributes has them. */
enum FpBlock : uint8_t { kFpEm = 1, kFpTs = 2, kFpNoOsfxsr = 4 };
enum Attribute : uint16_t {
  kAttrAccessed = 1, kAttrWritable = 2 /**< readable, for code */, kAttrExpandDown = 4 /**< conforming, for code */, kAttrCode = 8,
  kAttrS = 0x10, kAttrP = 0x80, kAttrL = 0x2000, kAttrDb = 0x4000, kAttrG = 0x8000,
};
inline unsigned attrDpl(uint16_t a) { return a >> 5 & 3; }

enum Cr0 : uint64_t { kCr0Pe = 1, kCr0Mp = 2, kCr0Em = 4, kCr0Ts = 8, kCr0Et = 16, kCr0Ne = 32, kCr0Wp = 1u << 16, kCr0Am = 1u << 18,
  kCr0Nw = 1u << 29, kCr0Cd = 1u << 30, kCr0Pg = 1u << 31 };
enum Cr4 : uint64_t { kCr4Vme = 1, kCr4Pvi = 2, kCr4Tsd = 4, kCr4De = 8, kCr4Pse = 16, kCr4Pae = 32, kCr4Mce = 64, kCr4Pge = 128,
  kCr4Pce = 256, kCr4Osfxsr = 512, kCr4Osxmmexcpt = 1024, kCr4Umip = 1u << 11, kCr4Fsgsbase = 1u << 16, kCr4Smep = 1u << 20,
  kCr4Smap = 1u << 21, kCr4Pcide = 1u << 17, kCr4Osxsave = 1u << 18 };
enum Dr6 : uint64_t { kDr6Bd = 1u << 13, kDr6Bs = 1u << 14, kDr6Bt = 1u << 15 };
enum DebugCtl : uint64_t { kDebugCtlBtf = 2 /**< EFLAGS.TF traps behind taken branches alone */ };
enum Dr7 : uint64_t { kDr7Gd = 1u << 13, kDr7Local = 0x155 /**< L0–L3, LE */ };
enum Efer : uint64_t { kEferSce = 1, kEferLme = 1u << 8, kEferLma = 1u << 10, kEferNxe = 1u << 11 };

/** Decode mode: what a block's instructions depend on besides their bytes. */
enum ModeBit : uint32_t {
  kModeCodeSize = 3,
  kModeSingle = 4,
  /** 32-bit code whose CS, SS, DS and ES have base 0 and allow every access in 4 GiB; SS is a 32-bit stack. */
  kModeFlat = 16,
  kModeFlatFs = 32,  ///< the same for FS and GS, but for the base
  kModeFlatGs = 64,
};
/** Bits of Core::fetchKey that say where code lies, which is all that its translation depends on. */
constexpr uint64_t kPlaceKey = ~uint64_t{kModeCodeSize | kModeFlat | kModeFlatFs | kModeFlatGs};

/** Kept in Core::requests while blocks are to be run one at a time: makes every chained jump return. */
constexpr uint32_t kRequestStep = 1u << 31;
class MemoryLog;

struct Core {
  State state{};
  uint64_t zero = 0;          ///< stands in for an absent base or index
  Tlb* tlb = nullptr;         ///< for the current privilege
  Block* block = nullptr;
  uint64_t fetchKey = 0;      ///< mode, privilege and generation of translations; changes whenever cached jumps may be wrong
  uint64_t codeBase = 0;      ///< CS base; 0 in 64-bit mode
  uint64_t icount = 0;
  std::atomic<uint32_t> requests{0};
  /** Arithmetic flags as LAHF and SETO leave them in AX: AH = SF ZF 0 AF 0 PF 1 CF, AL = OF. */
  uint16_t ax = 0x0200;
  uint8_t cpl = 0;
  CodeSize codeSize = CodeSize::k16;
  bool stack64 = false;
  bool blockDead = false;     ///< the block at hand was overwritten, or what it reads is somewhere else now
  bool shadow = false;        ///< STI or a load of SS: no interrupt before the next instruction is through
  bool interruptMaybe = false;  ///< the controller may have a vector that IF holds back
  bool stepHeld = false;      ///< no single-step trap behind the instruction at hand, although TF was set before it
  bool nmiBlocked = false, nmiPending = false;
  uint8_t fpBlocked = 0;      ///< FpBlock bits: why SIMD or x87 instructions may not run now
  bool vexBlocked = true;     ///< VEX vector instructions may not: vexRefused() raises why
  PendingWrite pending = PendingWrite::None;
  uint8_t pendingParts = 0;
  const Insn* cursor = nullptr;
  uint64_t nextRip = 0;       ///< block-ending handlers leave their successor here
  Link* pendingLink = nullptr;
  uint64_t pendingLinear = 0;
  WritePart parts[2] = {};
  alignas(64) uint8_t scratch[576] = {};  ///< the largest operand is FXSAVE's 512 bytes
  TierFrame frame;
  const FpFn* fpTable = nullptr;  ///< fpFunctions
  FpOperands fp{state, nullptr, nullptr, 0, 4, false, 0, 0, 0, 0};
  alignas(64) uint8_t fpBuffer[512] = {};  ///< what SIMD and x87 stores leave behind
  FaultInfo fault;
  RunExit exit = RunExit::Halted;

  // Less hot.
  /** The newest of the generations below, which cached jumps, links and fetches carry: none is ever used twice. */
  uint64_t generation = 1;
  uint64_t kernelGeneration = 1;  ///< of what is fetched outside user mode; survives loads of CR3, as kernels are global
  bool kernelLocal = false;       ///< but not this one: something was fetched that is not global
  AddressSpace spaces[kSpaces];
  AddressSpace* space = spaces;   ///< the one at hand
  unsigned nextSpace = 0;         ///< to be forgotten when another one comes
  uint64_t generationNow() const { return cpl == 3 ? space->generation : kernelGeneration; }
  uint32_t modeBits = 0;      ///< ModeBit of the code at hand
  Tlb tlbs[kPrivileges];
  Tlb noTlb;                  ///< stays empty: every access takes the slow path (alignment checks)
  WalkEntry walks[kWalkEntries];
  uint64_t walkGeneration = 1, globalGeneration = 1;
  uint64_t newestWalkGeneration = 1;
  uint64_t walkSalt = 0;          ///< of the address space at hand
  JumpEntry jumps[kJumpEntries];
  TierJump tierJumps[kTierJumps];
  FetchEntry fetches[kFetchEntries];
  uint64_t largePages[64] = {};   ///< hashed 1 GiB regions that large TLB entries came from
  /** Hashed linear pages of either half that cached jumps of several spaces may lead to. */
  uint64_t sharedFetches[2][512] = {};
  uint64_t pdptes[4] = {};        ///< loaded with CR3 when PAE paging is on without long mode
  CpuCounters counters;
  TierCounters tierCounters;
  CpuConfig config;
  PhysicalMemory& memory;
  Environment& env;
  std::string message;

  // SIMD functions by Insn::row: the row's own, or one specialised for an immediate.
  std::vector<FpFn> fpFunctions;
  std::vector<const FpRow*> fpRows;
  std::unordered_map<uint32_t, uint16_t> fpSpecial;
  FeatureSet features;     ///< what CPUID shows; all others are #UD
  bool intelRules = false; ///< where the vendors' processors differ
  VexThunks vexThunks;
  const VexThunks::Entry* vexTable = nullptr;  ///< vexThunks.entries()

  // Block cache.
  static constexpr unsigned kHashBits = 16;
  static constexpr size_t kArenaBytes = size_t{96} << 20;
  std::vector<Block*> hash;
  std::unordered_map<Gpa, CodePage> codePages;
  uint8_t* arena = nullptr;
  size_t arenaUsed = 0;

  SecondTier* tier = nullptr;
  uint32_t tierEntries = 0;  ///< of either tier, for kTierSampling
  bool tierRan = false;   ///< it was the second tier that came to state.rip
  MemoryLog* log = nullptr;  ///< what is about to be written is kept there: see memory_log.h
  bool tierMode = false;  ///< the code at hand is for the second tier: blocks are run one at a time, unchained

  // Pages other threads wrote; see onCodePageWritten.
  std::mutex queueLock;
  std::vector<Gpa> writtenPages;
  std::vector<Gpa> markedPages;  ///< pages another vCPU decodes from: see CodeObserver::onCodeMarked
  Gpa ownWrite = ~0ull;  ///< page this vCPU reports with codeWritten() right now
  std::atomic<uint64_t> runner{0};  ///< identity of the thread inside run(); 0: none
  std::atomic<uint8_t>* startup = nullptr;

  // A debugger outside the guest (debug.cpp).
  std::unique_ptr<struct Debugger> debugger;  ///< nullptr: it has set no points
  class InstructionTrace* trace = nullptr;    ///< whoever runs executes an instruction at a time and records each; nullptr: nobody asked
  /** The instruction at hand, which lies at `gpa` and, where that page ends too soon, goes on in `secondPage`. */
  void recordInstruction(Gpa gpa, Gpa secondPage);
  bool stepping = false;                       ///< it wants to hear behind the next instruction
  bool watching = false;                       ///< accesses are the instruction's at hand, and are compared with watch- and breakpoints
  bool watchHit = false;                       ///< the instruction at hand touches one: debugStop is due behind it
  DebugStop debugStop;
  void setDebugPoints(const DebugPoints& points);
  bool stepped();
  bool debugPage() const;                      ///< instructions in the page at hand are looked at one by one
  bool breakpointHere();
  bool watchesPage(uint64_t linear) const;
  /** True: a watchpoint is touched, and fault says so. */
  bool watched(uint64_t linear, unsigned size, bool read, bool write);

  // The guest's debug registers (breaks.cpp). Bit n: DRn is armed.
  uint8_t codeBreaks = 0, dataBreaks = 0, portBreaks = 0;
  bool replaying = false;  ///< the instruction at hand touches a data breakpoint, and is executed for the second time
  uint32_t traps = 0;      ///< bits of DR6: #DB is due at the next instruction boundary, but behind a load of SS
  void armBreaks();        ///< from DR7 and CR4
  void updateBreaks();     ///< the same after a change
  /** RF means something only where instruction breakpoints are armed; nothing would clear it elsewhere. */
  void dropResume() {
    if (!codeBreaks) state.rflags &= ~uint64_t{kRf};
  }
  unsigned codeBreaksAt(uint64_t linear, uint64_t mask = ~0ull) const;
  unsigned dataBreaksAt(uint64_t linear, uint64_t bytes, bool write) const;
  void touchedPort(uint16_t port, unsigned bytes);
  bool trapDue() const { return traps && !(shadow && stepHeld); }
  bool deliverTraps();

  uint64_t debugCtl = 0;

  // MSRs that are only kept.
  std::unordered_map<uint32_t, uint64_t> storedMsrs;
  uint64_t tscAdjust = 0;

  // Paravirtualization (paravirt.cpp).
  uint64_t clockMsr = 0;         ///< guest-physical address | enabled
  uint64_t systemTimeBase = 0;   ///< nanoseconds at systemTimeTsc
  uint64_t systemTimeTsc = 0;
  uint64_t stealMsr = 0;         ///< guest-physical address | enabled
  uint64_t stealBase = 0;        ///< Environment::stolenTime() when the guest began to count, less what it had counted
  uint64_t stealPublishedTsc = 0;
  uint64_t pvEoiMsr = 0;
  bool kicked = false;           ///< the next HLT ends at once
  uint64_t systemTime();
  void publishClock();
  void publishWallClock(Gpa gpa);
  void tscJumps(uint64_t value);
  bool readKvmMsr(uint32_t index, uint64_t& value) const;
  bool writeKvmMsr(uint32_t index, uint64_t value);
  void resetParavirt();
  /** Before the guest runs, and behind: it is told which processors do not run. */
  void paravirtEnter();
  void paravirtLeave();
  void publishSteal();
  int64_t hypercall(uint64_t number, const uint64_t (&arguments)[4]);

  Core(const CpuConfig& config, PhysicalMemory& memory, Environment& env);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // ---- faults ----------------------------------------------------------------------------------------------
  /** All return false, so that a caller can `return raise(…)`. */
  bool raise(uint8_t vector);
  bool raise(uint8_t vector, uint32_t error);
  bool abandoned();

  // ---- flags and mode --------------------------------------------------------------------------------------
  uint64_t flags() const;
  /** Loads RFLAGS whole; the caller masks what the instruction may change. */
  void setFlags(uint64_t value);
  bool realMode() const { return !(state.cr0 & kCr0Pe); }
  bool v86() const { return state.rflags & kVm; }
  bool protectedMode() const { return (state.cr0 & kCr0Pe) && !(state.rflags & kVm); }
  bool longMode() const { return state.efer & kEferLma; }
  bool long64() const { return codeSize == CodeSize::k64; }
  unsigned iopl() const { return state.rflags >> 12 & 3; }
  /** Derives codeSize, stack size, TLB and fetch key from the architectural state. Call after any change of it. */
  void updateMode();
  uint32_t flatness() const;  ///< kModeFlat…
  void newGeneration();
  void updateFp();  ///< fpBlocked and vexBlocked from the mode, CR0, CR4 and XCR0
  bool vexRefused();
  uint64_t stackMask() const;

  // ---- memory (mmu.cpp) ------------------------------------------------------------------------------------
  enum class Access : uint8_t { Read, Write, Fetch };
  /** Page walk with checks, A/D updates and TLB fill. nullptr: #PF raised. */
  TlbEntry* fill(uint64_t linear, Access access, Privilege privilege);
  TlbEntry* lookup(uint64_t linear, Access access, Privilege privilege);
  TlbEntry* lookupEntry(uint64_t linear, Access access, Privilege privilege);
  TlbEntry* install(uint64_t linear, Access access, Privilege privilege, uint64_t addend, uint64_t info);
  WalkEntry& walkEntry(uint64_t linear, Privilege privilege) {
    return walks[(linear >> 12 ^ uint64_t{privilege} << 11 ^ (linear >> 63 ? 0 : walkSalt)) & (kWalkEntries - 1)];
  }
  bool scratchRead(unsigned at, uint64_t linear, unsigned size, const TlbEntry& e);
  bool walk(uint64_t linear, Access access, Privilege privilege, Gpa& page, uint64_t& info);
  Privilege privilege() const;
  /** Effective → linear, with segment and canonical checks. */
  bool linearAddress(unsigned segment, uint64_t offset, unsigned size, bool write, uint64_t& linear);
  uint64_t effectiveOffset(const Insn* i) const;
  /** Without checks: for alignment tests. */
  uint64_t effectiveLinear(const Insn* i) const {
    return effectiveOffset(i) + (codeSize == CodeSize::k64 && i->segment < kFs ? 0 : state.seg[i->segment].base);
  }
  /** True: the operand is not aligned to `alignment` (a power of two) and a fault is raised. That of its segment comes first for the
   * images of FXSAVE and its kin only. */
  bool alignmentFault(const Insn* i, unsigned alignment, unsigned size, bool write);
  /** The bytes of the memory operand, wherever they lie: host memory or scratch. nullptr: fault raised. */
  const void* slowRead(const Insn* i, unsigned size);
  /** Where to write (and, after `read`, what is there now). slowCommit() follows, and may still be abandoned. */
  void* slowWrite(const Insn* i, unsigned size, bool read);
  bool slowCommit();
  /** A device has had a write of this instruction. */
  void wroteToDevice();
  const void* readAt(uint64_t linear, unsigned size, Privilege who);
  void* writeAt(uint64_t linear, unsigned size, Privilege who, bool read);
  template <class T>
  bool load(uint64_t linear, T& value, Privilege who) {
    const void* from = readAt(linear, sizeof(T), who);
    if (!from) return false;
    __builtin_memcpy(&value, from, sizeof(T));
    return true;
  }
  template <class T>
  bool store(uint64_t linear, T value, Privilege who) {
    void* to = writeAt(linear, sizeof(T), who, false);
    if (!to) return false;
    __builtin_memcpy(to, &value, sizeof(T));
    return slowCommit();
  }
  bool storeSized(uint64_t linear, uint64_t value, unsigned size, Privilege who);
  bool loadSized(uint64_t linear, uint64_t& value, unsigned size, Privilege who);
  /** Checks that [linear, linear + size) may be written, without writing. */
  bool probeWrite(uint64_t linear, unsigned size, Privilege who);
  void flushTlb(bool globals);
  /** Another address space is in use from now on. `keep`: what is known of it still holds. */
  void enterSpace(uint64_t pcid, bool keep);
  /** Nothing that is known of an address space which is not at hand holds any more; ~0: of all of them. */
  void forgetSpaces(uint64_t pcid);
  void flushLocals();
  void invalidatePage(uint64_t linear);
  bool dropWriteAccess(Gpa page);  ///< true when there was any
  void dirtyTaken();

  // ---- blocks (blocks.cpp) ---------------------------------------------------------------------------------
  /** The block at state.rip in the current mode, decoded when new. nullptr: fault raised, to be reported at state.rip. */
  Block* findBlock(bool single);
  bool fetchPage(uint64_t linear, Gpa& page);
  Block* decodeBlock(Gpa gpa, uint64_t linear, uint32_t mode, const uint8_t* host);
  /** Runs it, and, unless it is `alone`, what follows it by links. A fault leaves state.rip at the instruction. */
  Exec runBlock(Block* next, bool alone);
  /** From now on writes to the page are noticed. */
  CodePage& watchCode(Gpa page);
  /** One decoded instruction `offset` bytes behind state.rip as its handler runs it. */
  void bindInsn(const Decoded& d, Insn& i, uint16_t offset, uint32_t mode);
  void invalidateCode(Gpa page, unsigned first, unsigned bytes);
  void killBlock(Block* block);
  void flushBlocks();
  void link(Link& from, Block* to, uint64_t linear);
  void wroteCode(Gpa gpa, unsigned bytes);
  void reportWritten(Gpa page);
  /** In the flags of PhysicalMemory::markCode(): the last holder's bit is of all vCPUs from the seventh on. */
  static constexpr unsigned kSharedHolder = 6;
  uint8_t codeHolder() const { return static_cast<uint8_t>(1u << (config.index < kSharedHolder ? config.index : kSharedHolder)); }
  bool othersHold(Gpa page) const;
  void takeWrittenPages();
  /** Other vCPUs hear of code that this one may have written since they decoded it. */
  void tellOfWrites();
  /** A request, from any thread: code that looks for requests finds it, and the second tier's jumps do, which look for none. */
  uint32_t post(uint32_t bits) {
    const uint32_t before = requests.fetch_or(bits, std::memory_order_seq_cst);
    frame.gate.store(kGateClosed, std::memory_order_relaxed);
    return before;
  }
  /** Before an access that may be an interrupt to another vCPU, which then runs what was written before (SDM vol. 3 §8.1.3). */
  void beforeSignal() {
    if (requests.load(std::memory_order_acquire) & kRequestInvalidateCode) tellOfWrites();
  }

  // ---- segments (segments.cpp) -----------------------------------------------------------------------------
  struct Descriptor { uint32_t low = 0, high = 0; uint64_t address = 0; };
  /** A stack that may not be the current one: what transfers to another privilege level push to and pop from. */
  struct Stack {
    SegmentRegister ss;
    uint64_t sp = 0;
    uint64_t mask = ~0ull;
    Privilege who = kSupervisor;
    bool wide = false;  ///< 64-bit mode: no base, no limit
    uint32_t error = 0;  ///< code of #SS: the selector of a stack that is about to be loaded
  };
  bool readDescriptor(uint16_t selector, Descriptor& out, uint8_t vector);
  static SegmentRegister unpack(uint16_t selector, const Descriptor& d);
  bool setAccessed(const Descriptor& d);
  void setRealSegment(Seg seg, uint16_t selector);
  void setCs(const SegmentRegister& cs, unsigned newCpl);
  bool loadSegment(Seg seg, uint16_t selector);
  /** Checks and fetches a stack segment for privilege `cpl`. */
  bool stackSegment(uint16_t selector, unsigned cpl, uint8_t vector, SegmentRegister& out);
  bool farTransfer(uint16_t selector, uint64_t offset, unsigned size, bool call);
  bool throughCallGate(uint16_t selector, const Descriptor& gate, bool call);
  bool farReturn(unsigned size, unsigned popBytes);
  bool loadLdt(uint16_t selector);
  bool loadTaskRegister(uint16_t selector);
  Stack currentStack() const;
  bool innerStack(unsigned cpl, Stack& out, uint8_t vector);
  bool stackAddress(const Stack& s, uint64_t sp, unsigned size, uint64_t& linear);
  bool push(Stack& s, uint64_t value, unsigned size);
  bool pop(Stack& s, uint64_t& value, unsigned size);
  void setStackPointer(const Stack& s);
  bool stackLinear(uint64_t sp, unsigned size, bool write, uint64_t& linear);
  bool codeOffsetValid(uint64_t offset, const SegmentRegister& cs) const;
  void dropOuterSegments();

  // ---- interrupts (interrupts.cpp) -------------------------------------------------------------------------
  enum class Source : uint8_t { Hardware, Exception, Software, Icebp };
  bool deliver(uint8_t vector, Source source, bool hasError, uint32_t error);
  bool deliverReal(uint8_t vector);
  bool deliverLong(uint8_t vector, Source source, bool hasError, uint32_t error);
  bool deliverProtected(uint8_t vector, Source source, bool hasError, uint32_t error);
  /** What virtual-8086 mode extensions (CR4.VME) make of IOPL-sensitive instructions while IOPL < 3. False: nothing, they are #GP. */
  bool virtualFlags(unsigned size) const { return (state.cr4 & kCr4Vme) && size == 2; }
  uint64_t virtualImage() const;  ///< the flags a task sees: IF is VIF, IOPL 3
  bool setVirtualImage(uint64_t image);
  /** Whether INT n of a V86 task goes to its own handler. False: a fault. */
  bool redirected(uint8_t vector, bool& to8086);
  bool deliverVirtual(uint8_t vector);
  /** Delivers fault; escalates to #DF and shutdown. False: triple fault. */
  bool deliverFault();
  bool iret(unsigned size);
  bool iretLong(unsigned size);
  bool iretProtected(unsigned size);

  // ---- hardware tasks (task.cpp) ---------------------------------------------------------------------------
  enum class Switch : uint8_t { Jump, Call, Interrupt, Return };
  bool switchTask(uint16_t selector, Switch how, bool hasError, uint32_t error);
  bool changeTask(uint16_t selector, Switch how, bool hasError, uint32_t error, bool& committed);

  // ---- system registers (system.cpp, msr.cpp, cpuid.cpp) ----------------------------------------------------
  bool setCr0(uint64_t value);
  bool setCr3(uint64_t value);
  bool setCr4(uint64_t value);
  bool loadPdptes(uint64_t cr3);
  /** What the model has no feature for does not exist to RDMSR and WRMSR. */
  bool msrOffered(uint32_t index) const;
  bool readMsr(uint32_t index, uint64_t& value);
  bool writeMsr(uint32_t index, uint64_t value);
  void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]) const;
  bool ioAllowed(uint16_t port, unsigned size);
  bool randomNumber(uint64_t& value);
  bool setXcr0(uint64_t value);

  void resetState();
  RunExit run();
  bool service();  ///< handles requests; false: leave run() with `exit`
};

constexpr unsigned unitOf(size_t offset) { return static_cast<unsigned>(offset / 8); }
constexpr uint8_t kRipUnit = unitOf(offsetof(State, rip));
constexpr uint8_t segmentUnit(unsigned s) { return static_cast<uint8_t>(unitOf(offsetof(State, seg)) + 2 * s); }

/** 57-bit paging is not offered. */
inline bool canonical(uint64_t address) { return static_cast<uint64_t>(static_cast<int64_t>(address << 16) >> 16) == address; }

/** Chooses the handler of a decoded instruction and fills in operands. Each returns nullptr when the Op is not its own. */
struct Binding {
  Core& core;
  const Decoded& d;
  Insn& i;
  uint32_t mode;  ///< ModeBit of the block
  bool samePage;  ///< relative branches: the target lies in the block's page
  bool fallsOut;  ///< the following instruction does not
};
Handler bindAlu(const Binding&);
Handler bindMove(const Binding&);
Handler bindStack(const Binding&);
Handler bindBits(const Binding&);
Handler bindBranch(const Binding&);
Handler bindString(const Binding&);
Handler bindSystem(const Binding&);
Handler bindTransfer(const Binding&);
Handler bindDescriptors(const Binding&);
Handler bindFp(const Binding&);
Handler bindVex(const Binding&);
Handler bindXsave(const Binding&);
/** The interpreter with a second tier on top. */
using TierFactory = std::function<std::unique_ptr<SecondTier>(Core&)>;
std::unique_ptr<Cpu> makeTieredCpu(const CpuConfig&, PhysicalMemory&, Environment&, const TierFactory&);

/** Faults that decoding found; and the pseudo-instruction behind a block that does not end in a branch. */
Exec undefinedHandler(Core&, const Insn*);
Exec tooLongHandler(Core&, const Insn*);
Exec deadBlockHandler(Core&, const Insn*);
Exec blockEndHandler(Core&, const Insn*);

}  // namespace lodge::x86
