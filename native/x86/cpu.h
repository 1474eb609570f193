// One software vCPU: what the accelerator (threads, exits, interrupts) and the CPU (decode, execute) know of each other.
//
// The thread that calls run() is the only one that touches the State meanwhile. Other threads reach the vCPU through
// request() alone, which is a single atomic OR plus, when the vCPU sleeps, whatever wakes its thread (the accelerator's
// business). Guest-caused errors never throw or abort: they become guest exceptions, or a Stop.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "memory/physical_memory.h"
#include "x86/counters.h"
#include "x86/debug.h"
#include "x86/state.h"

namespace lodge::x86 {

/** Work other threads can ask of a vCPU; checked between blocks (a few dozen instructions at most). */
enum Request : uint32_t {
  kRequestInterrupt = 1u << 0,   ///< the interrupt controller has, or may have, a vector
  kRequestNmi = 1u << 1,
  kRequestStop = 1u << 2,        ///< leave run() at the next instruction boundary (pause, reset, end)
  kRequestInvalidateCode = 1u << 3,  ///< pages queued by onCodePageWritten
  kRequestDirtyTaken = 1u << 4,
  kRequestInit = 1u << 5,        ///< INIT IPI
  kRequestStartup = 1u << 6,     ///< SIPI; vector in startupVector
  kRequestTlbFlush = 1u << 7,
  kRequestKick = 1u << 8,      ///< another processor's KVM_HC_KICK_CPU: ends HLT, whatever IF is
  kRequestSample = 1u << 9,    ///< Environment::sample() at the next boundary
};

enum class IoStatus : uint8_t { Done, Abandoned /**< the machine is ending: leave run() with the instruction undone */ };

/** Everything outside the CPU core, as one vCPU sees it. Implemented by the accelerator; called on the vCPU thread. */
class Environment {
 public:
  virtual ~Environment() = default;
  /** `count` elements of `width` bytes, packed at `data`; count > 1 for string I/O (at most 4096 bytes in all). */
  virtual IoStatus portIn(uint16_t port, unsigned width, unsigned count, void* data) noexcept = 0;
  virtual IoStatus portOut(uint16_t port, unsigned width, unsigned count, const void* data) noexcept = 0;
  /** width 1, 2, 4 or 8, never crossing a page. Includes the LAPIC page when the guest maps it. */
  virtual IoStatus mmioRead(Gpa gpa, unsigned width, void* data) noexcept = 0;
  virtual IoStatus mmioWrite(Gpa gpa, unsigned width, const void* data) noexcept = 0;

  /** Answers kRequestSample: Cpu::place() says where the processor is. */
  virtual void sample() noexcept {}

  /** True when an interrupt is waiting that the local APIC (TPR, PIC) would deliver now. */
  virtual bool interruptPending() noexcept = 0;
  /** INTA: takes the vector; -1 when it went away meanwhile. */
  virtual int acknowledgeInterrupt() noexcept = 0;
  /** Guest TSC now (host TSC scaled and offset; stands still while paused). */
  virtual uint64_t readTsc() noexcept = 0;
  virtual void writeTsc(uint64_t value) noexcept = 0;
  /** CR8 / APIC TPR are one. */
  virtual uint64_t readTpr() noexcept = 0;
  virtual void writeTpr(uint64_t cr8) noexcept = 0;
  /** MSRs that belong to the APIC (1Bh, TSC deadline 6E0h, x2APIC 800h–8FFh). False: #GP. */
  virtual bool readApicMsr(uint32_t msr, uint64_t& value) noexcept = 0;
  virtual bool writeApicMsr(uint32_t msr, uint64_t value) noexcept = 0;

  // Paravirtualization (interpreter/paravirt.cpp).
  /** KVM_HC_KICK_CPU. */
  virtual void kick(uint32_t apicId) noexcept = 0;
  /** MSR_KVM_PV_EOI_EN: guest-physical address | enabled. */
  virtual void setPvEoi(uint64_t msr) noexcept = 0;
  /** Nanoseconds this vCPU was ready to run while the host ran something else, since its thread began. */
  virtual uint64_t stolenTime() noexcept = 0;
};

enum class RunExit : uint8_t {
  Halted,       ///< HLT with nothing pending: sleep until a request, then run() again
  StopRequested,
  WaitForSipi,  ///< INIT was taken on an AP: sleep until kRequestStartup
  Abandoned,    ///< an Environment call said so
  TripleFault,
  Debug,        ///< a debugger's point or step: debugStop()
  InternalError,  ///< a bug in Lodge; message()
};

struct CpuModel;

struct CpuConfig {
  unsigned index = 0;       ///< APIC id; 0 is the bootstrap processor
  unsigned count = 1;
  uint64_t tscHz = 0;
  const CpuModel* model = nullptr;  ///< null: the default
  std::shared_ptr<class TraceFile> trace = {};  ///< executes an instruction at a time and records each there; null: does not
};

class Cpu {
 public:
  virtual ~Cpu() = default;

  virtual void reset() noexcept = 0;  ///< SDM vol. 3 §10.1.1; an AP then waits for SIPI
  /**
   * Runs until one of RunExit. Never returns in the middle of an instruction, except Abandoned (which undoes it). With
   * state().activity Halted (or WaitForSipi) it executes nothing: it serves requests, and returns Halted (WaitForSipi) again
   * unless one of them ended that. kRequestStop stays set until the accelerator clears it; run() clears the others it serves.
   */
  virtual RunExit run() noexcept = 0;
  virtual std::string message() const = 0;

  /** Only while not in run(). Complete and canonical (lazy flags materialised). */
  virtual State& state() noexcept = 0;
  /** After state() was changed from outside: drop every derived cache (TLB, lazy flags, mode). */
  virtual void stateChanged() noexcept = 0;
  virtual bool readMsr(uint32_t index, uint64_t& value) noexcept = 0;
  virtual bool writeMsr(uint32_t index, uint64_t value) noexcept = 0;

  /** Only while not in run(). */
  virtual void setDebugPoints(const DebugPoints& points) noexcept = 0;
  /**
   * The next run() ends as RunExit::Debug behind one instruction, or at the first one of an exception's handler. Interrupts wait
   * meanwhile, unless the processor is halted.
   */
  virtual void setStep(bool step) noexcept = 0;
  virtual DebugStop debugStop() const noexcept = 0;

  // Any thread.
  virtual void request(uint32_t requests) noexcept = 0;
  virtual uint32_t requests() const noexcept = 0;
  virtual void clearRequest(uint32_t requests) noexcept = 0;
  std::atomic<uint8_t> startupVector{0};
  virtual uint64_t instructions() const noexcept = 0;
  virtual const CpuCounters& counters() const noexcept = 0;
  /** Null: this processor has no second tier. With one, instructions() counts the interpreted ones alone. */
  virtual const TierCounters* tierCounters() const noexcept { return nullptr; }

  /** On the vCPU's thread only, also from within a call of Environment. */
  virtual Place place() const noexcept = 0;
};

/** The reference interpreter. Registers itself as CodeObserver of `memory`. */
std::unique_ptr<Cpu> makeInterpreter(const CpuConfig&, PhysicalMemory& memory, Environment&);

}  // namespace lodge::x86
