#include "translator/code_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace lodge::translator {

CodeCache::CodeCache(size_t bytes) {
  fd_ = ::memfd_create("lodge-code", MFD_CLOEXEC);
  if (fd_ < 0 || ::ftruncate(fd_, static_cast<off_t>(bytes)) != 0) return;
  void* const w = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (w == MAP_FAILED) return;
  void* const x = ::mmap(nullptr, bytes, PROT_READ | PROT_EXEC, MAP_SHARED, fd_, 0);
  if (x == MAP_FAILED) {
    ::munmap(w, bytes);
    return;
  }
  writable_ = static_cast<uint8_t*>(w);
  executable_ = static_cast<uint8_t*>(x);
  bytes_ = bytes;
}

CodeCache::~CodeCache() {
  if (writable_) {
    ::munmap(writable_, bytes_);
    ::munmap(executable_, bytes_);
  }
  if (fd_ >= 0) ::close(fd_);
}

void CodeCache::flush() {
  const size_t page = 4096, from = (kept_ + page - 1) & ~(page - 1), to = (used_ + page - 1) & ~(page - 1);
  if (to > from)
    ::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(from), static_cast<off_t>(to - from));
  used_ = kept_;
}

}  // namespace lodge::translator
