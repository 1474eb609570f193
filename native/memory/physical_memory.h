// Guest-physical memory: memfd-backed regions, the map from guest-physical pages to them, dirty tracking of regions that
// ask for it, and the tracking of pages that hold translated or decoded code.
//
// Threads: map() and unmap() only while every vCPU is parked or before they start, or under the stop-the-world that the
// accelerator provides; page(), read(), write() from any thread at any time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

namespace lodge {

using Gpa = uint64_t;
constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kPageMask = kPageBytes - 1;
/** Guest-physical address width offered to guests (CPUID 8000_0008h). */
constexpr unsigned kPhysicalAddressBits = 40;

enum class RegionKind : uint8_t { Ram, Rom, Vram, Flash };
using RegionId = uint32_t;

/** What one guest-physical page is. Copied by value; valid until the next map()/unmap(). */
struct PageEntry {
  uint8_t* host = nullptr;  ///< first byte of the page; nullptr: not backed, accesses are MMIO
  bool writable = false;    ///< false for ROM: guest writes are dropped
  bool writesExit = false;  ///< of what is not writable: guest writes are MMIO
  bool tracked = false;     ///< writes must be reported with markDirty() (once until the next takeDirty())
};

/** Told when bytes of a page that was marked as code change, from the thread that changes them. */
class CodeObserver {
 public:
  virtual ~CodeObserver() = default;
  virtual void onCodePageWritten(Gpa page) noexcept = 0;
  /** takeDirty() ran: cached permission to write tracked pages without markDirty() must be dropped. */
  virtual void onDirtyTaken() noexcept = 0;
  /**
   * markCode() set the flag of a page that did not have it, on the thread that calls markCode(). A vCPU that may still hold
   * fast write permission for the page (in its TLB) has to drop it and, as it may have written meanwhile, codeWritten() it.
   */
  virtual void onCodeMarked(Gpa page) noexcept { (void)page; }
};

/** Keeps devices out of guest memory while a processor tries something there that they must not see. Open until it is used. */
class DeviceGate {
 public:
  /** A device holds this while it reads or writes guest memory. */
  [[nodiscard]] std::shared_lock<std::shared_mutex> pass() const {
    return used_.load(std::memory_order_relaxed) ? std::shared_lock(lock_) : std::shared_lock<std::shared_mutex>();
  }
  /** Before the machine starts. */
  void use() { used_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] std::unique_lock<std::shared_mutex> close() { return std::unique_lock(lock_); }

 private:
  mutable std::shared_mutex lock_;
  std::atomic<bool> used_{false};
};

class PhysicalMemory {
 public:
  PhysicalMemory();
  ~PhysicalMemory();
  PhysicalMemory(const PhysicalMemory&) = delete;
  PhysicalMemory& operator=(const PhysicalMemory&) = delete;

  /** Errors are one sentence; empty means success. */
  std::string addRegion(RegionKind kind, uint64_t bytes, RegionId& out);
  std::string map(RegionId region, uint64_t regionOffset, Gpa gpa, uint64_t bytes);
  std::string unmap(Gpa gpa, uint64_t bytes);

  /** Lock-free, wait-free: a two-level table indexed by page number. Never faults, whatever the address. */
  PageEntry page(Gpa gpa) const noexcept;

  /** DMA. All or nothing; false when any byte is not backed. write() fills ROM, marks dirty and reports code pages. */
  bool read(Gpa gpa, void* into, uint64_t bytes) const noexcept;
  bool write(Gpa gpa, const void* from, uint64_t bytes) noexcept;
  bool fill(Gpa gpa, uint64_t bytes, uint8_t value) noexcept;
  /** Host address of [gpa, gpa + bytes) when contiguous in one region, else nullptr. Caller reports writes with wrote(). */
  uint8_t* range(Gpa gpa, uint64_t bytes) const noexcept;
  void wrote(Gpa gpa, uint64_t bytes) noexcept;

  uint8_t* regionHost(RegionId region) const noexcept;
  uint64_t regionBytes(RegionId region) const noexcept;
  /** Bytes of a region were changed through regionHost(): as wrote(), wherever the region is mapped. */
  void regionWrote(RegionId region, uint64_t offset, uint64_t bytes) noexcept;

  // Dirty tracking (regions of kind Vram), one bit a page, set atomically.
  void markDirty(Gpa page) noexcept;
  /** Moves the bits into `bitmap`; true if any was set. Calls onDirtyTaken() on every observer. */
  bool takeDirty(RegionId region, uint8_t* bitmap, uint64_t bitmapBytes) noexcept;

  // Code tracking: one flag a page of RAM, whose bits are the vCPUs that may hold code of it. Others' code is of no concern to a vCPU
  // that alone holds some: it sets its bit before it decodes, and who writes looks at the bits behind the write and a fence.
  /** Who else may hold code of the page: the flag before. Bit 7 is nobody's: observers are being told of a write. */
  uint8_t markCode(Gpa page, uint8_t holder) noexcept;
  bool isCode(Gpa page) const noexcept { return codeHolders(page) != 0; }
  uint8_t codeHolders(Gpa page) const noexcept;
  /** The flag itself, or nullptr; valid as long as the page stays mapped. */
  const std::atomic<uint8_t>* codeFlag(Gpa page) const noexcept;
  /** A vCPU is about to let its guest write this page: every observer hears of it, and the flag is cleared. */
  void codeWritten(Gpa page) noexcept;
  /** What reads and writes on behalf of a device passes it; the functions above do not by themselves. */
  DeviceGate gate;

  void addObserver(CodeObserver* observer);
  void removeObserver(CodeObserver* observer);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lodge
