// Memory for translated code: one memfd mapped twice, writable and executable, so that no page is ever both.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lodge::translator {

class CodeCache {
 public:
  explicit CodeCache(size_t bytes);
  ~CodeCache();
  CodeCache(const CodeCache&) = delete;
  CodeCache& operator=(const CodeCache&) = delete;

  /** False: the host would not give executable memory. */
  bool valid() const { return writable_ != nullptr; }
  uint8_t* next() const { return writable_ + used_; }
  uint8_t* end() const { return writable_ + bytes_; }
  size_t room() const { return bytes_ - used_; }
  size_t used() const { return used_; }
  void take(size_t bytes) { used_ = (used_ + bytes + 15) & ~size_t{15}; }
  /** What has been taken so far survives flush(). */
  void keep() { kept_ = used_; }
  /** Forgets everything else and gives its pages back. */
  void flush();

  const uint8_t* executable(const uint8_t* writable) const { return executable_ + (writable - writable_); }

 private:
  int fd_ = -1;
  size_t bytes_ = 0, used_ = 0, kept_ = 0;
  uint8_t* writable_ = nullptr;
  uint8_t* executable_ = nullptr;
};

}  // namespace lodge::translator
