// What runs guests: the interface of every accelerator, and of the machines it makes. One thread, called the owner here (the
// JS thread), makes all calls unless a comment says otherwise.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "accelerator/sampling.h"
#include "memory/physical_memory.h"
#include "x86/counters.h"
#include "x86/debug.h"
#include "x86/cpuid.h"
#include "x86/state.h"

namespace lodge {

/** An empty `error` is success; else one sentence for the caller. */
using Error = std::string;

/** Layout of an exit record; addon/types.ts has the same numbers. */
namespace exit_record {
constexpr unsigned kStride = 8192, kKind = 0, kWidth = 4, kCount = 8, kAddressLow = 16, kAddressHigh = 20, kData = 4096,
                   kDataBytes = 4096;
}
/** Of the first record: the writes that serve() hands over with kServePosted, {u16 port, u16 width, u32 value} each. */
namespace posted_write {
constexpr unsigned kCount = 1024, kFirst = 1032, kBytes = 8, kMost = 64;
}
/**
 * Of the first record: a word for each quick port. Reads give kValue if kRead; writes of v are posted if kWrite and (v & mask) is match,
 * and the owner is called for them if kSoon.
 */
namespace quick_port {
constexpr unsigned kWords = 2048, kPorts = 64;
constexpr uint32_t kRead = 1, kWrite = 2, kSoon = 4;
constexpr unsigned kValueShift = 8, kMaskShift = 16, kMatchShift = 24;
}
enum class ExitKind : uint32_t { PortIn = 1, PortOut = 2, MmioRead = 3, MmioWrite = 4 };

constexpr int kServeIdle = -1, kServeEvents = -2, kServePosted = -3;

constexpr unsigned kMaxCpus = 64;

/** Architectural state of one vCPU and the MSRs that State does not hold, or that the local APIC holds. */
struct CpuSnapshot {
  x86::State state;
  std::vector<std::pair<uint32_t, uint64_t>> msrs;
};

struct Event {
  enum class Kind : uint8_t { Doorbell, Paused, Stopped, Debug };
  Kind kind = Kind::Paused;
  uint32_t doorbell = 0;  ///< Doorbell: its id and the value written
  uint64_t value = 0;
  unsigned vcpu = 0;      ///< Stopped and Debug: who
  x86::DebugStop debug;   ///< Debug: why
  bool tripleFault = false;  ///< Stopped: why, and the state at that moment
  std::string message;
  std::shared_ptr<const CpuSnapshot> snapshot;
};

/** Since the vCPU was made. */
struct VcpuStats {
  double cpuSeconds = 0;
  double withheldSeconds = 0;             ///< kept from running by the cap or the quota
  std::optional<double> waitedSeconds;    ///< ready to run, while the host ran something else
  uint64_t exits[4] = {};  ///< that waited for the owner, by ExitKind - 1
  uint64_t doorbells = 0;  ///< that did not
  uint64_t quick = 0;      ///< accesses of quick ports
  // What the accelerator cannot tell is absent.
  bool halted = false;
  std::optional<double> haltedSeconds;
  std::optional<uint64_t> instructions;
  const x86::CpuCounters* cpu = nullptr;  ///< alive as long as the machine
  const x86::TierCounters* translator = nullptr;

  uint64_t allExits() const { return exits[0] + exits[1] + exits[2] + exits[3]; }
};

enum class DoorbellKind : uint8_t { Mmio, Port };

/** How a parked vCPU goes on. Step: one instruction, then a Debug event; interrupts wait, unless the processor is halted. */
enum class Go : uint8_t { Run, Step, Hold };

struct MachineConfig {
  unsigned cpus = 1;
  const x86::CpuModel* cpuModel = nullptr;  ///< null: the default
  size_t codeCacheBytes = size_t{256} << 20;  ///< for translated code, all vCPUs together
  std::string tracePath;     ///< of the execution trace (x86/trace.h); empty: none
  size_t traceInstructions = 0;
  /** `cpus` exit records, alive as long as the machine. */
  uint8_t* exitRecords = nullptr;
  /** Any thread: the owner should call serve() soon. Not called again before it has. */
  std::function<void()> wake;
};

class Machine {
 public:
  virtual ~Machine() = default;

  const std::shared_ptr<PhysicalMemory>& memory() const { return memory_; }
  virtual Error map(RegionId region, uint64_t offset, Gpa gpa, uint64_t bytes) = 0;
  virtual Error unmap(Gpa gpa, uint64_t bytes) = 0;
  /** PhysicalMemory::takeDirty() with whatever else knows of writes. */
  virtual bool takeDirty(RegionId region, uint8_t* bitmap, uint64_t bitmapBytes) {
    return memory_->takeDirty(region, bitmap, bitmapBytes);
  }

  // Any thread.
  virtual void setIrq(unsigned gsi, bool level) = 0;
  virtual void sendMsi(uint64_t address, uint32_t data) = 0;
  virtual void nmi() = 0;

  virtual Error addDoorbell(DoorbellKind kind, uint64_t address, unsigned width, uint32_t id) = 0;
  virtual void removeDoorbell(uint32_t id) = 0;

  /** See quick_ports.h. `number` is that of its word; a word that says nothing makes every access wait. */
  virtual Error addQuickPort(uint16_t port, unsigned width, unsigned number) = 0;
  virtual void removeQuickPort(unsigned number) = 0;

  virtual Error start() = 0;
  virtual void pause() = 0;
  /** `how`: a vCPU each; those that are not named run. Only one that all are parked for (a pause that was waited for) may hold or step. */
  virtual void resume(const std::vector<Go>& how) = 0;
  void resume() { resume({}); }
  virtual Error reset() = 0;
  /** Ends the threads. Every other call afterwards is an Error or does nothing. */
  virtual void destroy() = 0;

  /** Only while paused. Replaces those before. An Error when this accelerator cannot watch for so many. */
  virtual Error setDebugPoints(const x86::DebugPoints& points) = 0;

  /** Of a host processor each vCPU may use at most so many percent, 1–100. The guest's clock goes on; Error where it cannot be done. */
  virtual Error setCpuCap(unsigned percent) = 0;
  /** All vCPUs together may use so many of the host's processors (a fraction, too; 0: no limit), as long as the cap allows it. */
  virtual Error setCpuQuota(double processors) = 0;

  virtual Error getState(unsigned vcpu, CpuSnapshot& out) = 0;
  virtual Error setState(unsigned vcpu, const CpuSnapshot& in) = 0;

  /** The exit of `completed` is answered (-1: none); then as NativeMachine.serve in addon/types.ts. */
  virtual int serve(int completed, unsigned spinMicros) = 0;
  virtual std::vector<Event> takeEvents() = 0;
  virtual std::vector<VcpuStats> stats() = 0;

  /** From a machine that was started: see sampling.h. Samples have to be taken every few seconds, or are lost. */
  virtual Error startSampling(unsigned hertz) = 0;
  virtual void stopSampling() = 0;
  virtual Samples takeSamples() = 0;

 protected:
  std::shared_ptr<PhysicalMemory> memory_ = std::make_shared<PhysicalMemory>();
};

struct Probe {
  bool available = false;
  /** Not available, but runs some guests for those who ask for it by name; `reason` says what it lacks. */
  bool onlyByName = false;
  std::string reason;
  std::vector<std::string> tiers;
};

class Accelerator {
 public:
  virtual ~Accelerator() = default;
  virtual const char* kind() const = 0;
  virtual Probe probe() const = 0;
  virtual std::unique_ptr<Machine> create(const MachineConfig& config, const std::string& tier, Error& error) const = 0;
};

/** Best first. */
const std::vector<const Accelerator*>& accelerators();

}  // namespace lodge
