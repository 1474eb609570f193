// Moving bytes between a file and guest memory without a copy in between: preadv and pwritev straight on guest pages.
// Ranges of a file that become zeroes without a byte being written.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "memory/physical_memory.h"

namespace lodge {

struct GuestRange {
  Gpa gpa;
  uint64_t bytes;
};

/** One transfer; created on the owner's thread, run() may continue on a worker, finish() is the owner's again. */
class FileTransfer {
 public:
  enum class Direction : uint8_t { FileToGuest, GuestToFile };

  FileTransfer(std::shared_ptr<PhysicalMemory> memory, Direction direction, int fd, uint64_t offset)
      : memory_(std::move(memory)), direction_(direction), fd_(fd), offset_(offset) {}

  /** False: some byte is not RAM (for a write: not RAM or ROM). */
  bool resolve(const std::vector<GuestRange>& ranges);
  /** What the page cache gives without waiting. True: complete (or failed: see error()). */
  bool tryNow() noexcept { return transfer(true); }
  void run() noexcept { transfer(false); }
  /** Marks what was written to guest memory dirty, and code in it changed. */
  void finish() noexcept;

  Direction direction() const { return direction_; }
  uint64_t bytes() const;
  uint64_t done() const { return done_; }
  /** errno, or 0. */
  int error() const { return error_; }

 private:
  struct Piece {
    uint8_t* host;
    uint64_t bytes;
  };
  bool transfer(bool nowait) noexcept;

  const std::shared_ptr<PhysicalMemory> memory_;
  const Direction direction_;
  const int fd_;
  const uint64_t offset_;
  std::vector<GuestRange> ranges_;
  std::vector<Piece> pieces_;
  size_t piece_ = 0;         // first piece not complete
  uint64_t pieceDone_ = 0;   // bytes of it that are
  uint64_t done_ = 0;
  int error_ = 0;
};

/**
 * Whether the owner's thread may write by itself. A write goes to the host's page cache in less time than a worker thread's two
 * hand-overs take, a small one in a tenth; but some file systems never promise not to wait, and where the host has to slow its writers down it may
 * take long. So it is tried, and left alone for a while after it took long: longer each time, and the less often it happens the shorter.
 */
class WriteGate {
 public:
  static constexpr uint64_t kMostBytes = 1 << 20, kLongNs = 2'000'000;
  static constexpr uint64_t kFirstPauseNs = 250'000'000, kLastPauseNs = 16'000'000'000;
  /** So many that were quick, and the next pause is the first again. */
  static constexpr unsigned kTrustedAfter = 256;

  bool open(uint64_t now) const noexcept { return now >= closedUntil_; }
  /** One was tried, from `began` to `ended`; nanoseconds of a clock that does not jump. `slept`: not only for want of a processor. */
  void tried(uint64_t began, uint64_t ended, bool slept) noexcept;

 private:
  uint64_t closedUntil_ = 0, pause_ = kFirstPauseNs;
  unsigned quick_ = 0;
};

/** Keep: the file's blocks stay its own. GiveBack: they are the host's again. Both read as zeroes and leave the length alone. */
enum class ZeroKind : uint8_t { Keep, GiveBack };
/** How often the calling thread has waited for anything but a processor. */
uint64_t timesSlept() noexcept;

/** errno, or 0. EOPNOTSUPP: the host's file system cannot do this, and nothing was changed. May wait. */
int zeroFileRange(int fd, uint64_t offset, uint64_t bytes, ZeroKind kind) noexcept;

}  // namespace lodge
