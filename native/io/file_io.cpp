#include "io/file_io.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <limits>

namespace lodge {

bool FileTransfer::resolve(const std::vector<GuestRange>& ranges) {
  for (const GuestRange& range : ranges) {
    Gpa at = range.gpa;
    for (uint64_t left = range.bytes; left != 0;) {
      const PageEntry page = memory_->page(at);
      if (page.host == nullptr || (direction_ == Direction::FileToGuest && !page.writable)) return false;
      const uint64_t within = at & kPageMask;
      const uint64_t part = std::min(left, kPageBytes - within);
      uint8_t* const host = page.host + within;
      if (!pieces_.empty() && pieces_.back().host + pieces_.back().bytes == host) {
        pieces_.back().bytes += part;
      } else {
        pieces_.push_back({host, part});
      }
      at += part, left -= part;
    }
  }
  ranges_ = ranges;
  return true;
}

bool FileTransfer::transfer(bool nowait) noexcept {
  const auto pass = memory_->gate.pass();
  while (piece_ < pieces_.size()) {
    iovec vectors[IOV_MAX > 256 ? 256 : IOV_MAX];
    unsigned count = 0;
    uint64_t skip = pieceDone_;
    for (size_t i = piece_; i < pieces_.size() && count < std::size(vectors); ++i) {
      vectors[count++] = {pieces_[i].host + skip, pieces_[i].bytes - skip};
      skip = 0;
    }
    const int flags = nowait ? RWF_NOWAIT : 0;
    const auto at = static_cast<off_t>(offset_ + done_);
    const ssize_t moved = direction_ == Direction::FileToGuest ? preadv2(fd_, vectors, static_cast<int>(count), at, flags)
                                                               : pwritev2(fd_, vectors, static_cast<int>(count), at, flags);
    if (moved < 0) {
      if (errno == EINTR) continue;
      if (nowait) return false;  // not cached, or not possible without waiting; the worker meets a real error again
      error_ = errno;
      return true;
    }
    if (moved == 0) {
      if (nowait) return false;
      // End of file; a write that makes no progress would be retried for ever.
      if (direction_ == Direction::GuestToFile) error_ = EIO;
      return true;
    }
    done_ += static_cast<uint64_t>(moved);
    for (auto left = static_cast<uint64_t>(moved); left != 0;) {
      const uint64_t part = std::min(left, pieces_[piece_].bytes - pieceDone_);
      left -= part;
      pieceDone_ += part;
      if (pieceDone_ == pieces_[piece_].bytes) ++piece_, pieceDone_ = 0;
    }
  }
  return true;
}

uint64_t FileTransfer::bytes() const {
  uint64_t sum = 0;
  for (const GuestRange& range : ranges_) sum += range.bytes;
  return sum;
}

void FileTransfer::finish() noexcept {
  if (direction_ != Direction::FileToGuest) return;
  uint64_t left = done_;
  for (const GuestRange& range : ranges_) {
    const uint64_t part = std::min(left, range.bytes);
    memory_->wrote(range.gpa, part);
    left -= part;
  }
}

void WriteGate::tried(uint64_t began, uint64_t ended, bool slept) noexcept {
  if (ended - began <= kLongNs || !slept) {
    if (++quick_ == kTrustedAfter) pause_ = kFirstPauseNs;
    return;
  }
  quick_ = 0;
  closedUntil_ = ended + pause_;
  pause_ = std::min(pause_ * 2, kLastPauseNs);
}

uint64_t timesSlept() noexcept {
  rusage used{};
  getrusage(RUSAGE_THREAD, &used);
  return static_cast<uint64_t>(used.ru_nvcsw);
}

int zeroFileRange(int fd, uint64_t offset, uint64_t bytes, ZeroKind kind) noexcept {
#if defined(FALLOC_FL_PUNCH_HOLE) && defined(FALLOC_FL_ZERO_RANGE)
  if (bytes == 0) return 0;
  constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<off_t>::max());
  if (offset > kLargest || bytes > kLargest - offset) return EFBIG;
  const int mode = (kind == ZeroKind::GiveBack ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;
  for (;;) {
    if (fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0) return 0;
    if (errno == EINTR) continue;
    // ENOSYS and EPERM: what some network and user-space file systems say instead, EPERM also of append-only files.
    return errno == ENOSYS || errno == EPERM ? EOPNOTSUPP : errno;
  }
#else
  (void)fd, (void)offset, (void)bytes, (void)kind;
  return EOPNOTSUPP;
#endif
}

}  // namespace lodge
