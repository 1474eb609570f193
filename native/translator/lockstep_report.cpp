// What is shown of a difference between translator and interpreter.
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "translator/lockstep.h"

namespace lodge::translator {

using namespace x86;

namespace {

constexpr unsigned kShownWords = 16, kShownBytes = 48;

[[gnu::format(printf, 2, 3)]] void line(std::string& out, const char* format, ...) {
  char text[320];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  out += '\n';
  out += text;
}

using Word = unsigned long long;

void row(std::string& out, const char* name, uint64_t before, uint64_t translated, uint64_t interpreted) {
  line(out, "%c %-8s %16llx  %16llx  %16llx", translated == interpreted ? ' ' : '*', name, Word{before}, Word{translated},
       Word{interpreted});
}

std::string hex(const uint8_t* bytes, unsigned count) {
  std::string text;
  char digits[3];
  for (unsigned n = count; n-- > 0;) {
    std::snprintf(digits, sizeof digits, "%02x", bytes[n]);
    text += digits;
  }
  return text;
}

/** Wide registers: only those that differ. */
void wide(std::string& out, const char* name, unsigned n, unsigned bytes, const uint8_t* before, const uint8_t* translated,
          const uint8_t* interpreted) {
  if (std::memcmp(translated, interpreted, bytes) == 0) return;
  line(out, "* %s%u before      %s", name, n, hex(before, bytes).c_str());
  line(out, "* %s%u translated  %s", name, n, hex(translated, bytes).c_str());
  line(out, "* %s%u interpreted %s", name, n, hex(interpreted, bytes).c_str());
}

}  // namespace

std::string describeDifference(const Core& c, const MemoryLog& log, const Registers& before, const Registers& translated,
                               const Registers& interpreted, const std::string& why) {
  static constexpr const char* kNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                           "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
  const State &b = before.state, &t = translated.state, &i = interpreted.state;
  std::string out = "Translator and interpreter differ. " + why;
  line(out, "  %-8s %16s  %16s  %16s", "", "before", "translator", "interpreter");
  row(out, "rip", b.rip, t.rip, i.rip);
  row(out, "rflags", before.flags(), translated.flags(), interpreted.flags());
  for (unsigned n = 0; n < 16; ++n) row(out, kNames[n], b.gpr[n], t.gpr[n], i.gpr[n]);
  row(out, "mxcsr", b.mxcsr, t.mxcsr, i.mxcsr);
  row(out, "fcw", b.x87.control, t.x87.control, i.x87.control);
  row(out, "fsw", b.x87.status, t.x87.status, i.x87.status);
  row(out, "ftw", b.x87.tagValid, t.x87.tagValid, i.x87.tagValid);
  row(out, "cr2", b.cr2, t.cr2, i.cr2);
  for (unsigned n = 0; n < 8; ++n) wide(out, "r", n, 10, b.x87.r[n].bytes, t.x87.r[n].bytes, i.x87.r[n].bytes);
  for (unsigned n = 0; n < 16; ++n) wide(out, "ymm", n, 32, b.vec[n].bytes, t.vec[n].bytes, i.vec[n].bytes);
  line(out, "  cs %x base %llx, cr0 %llx cr3 %llx cr4 %llx efer %llx", b.seg[kCs].selector, Word{b.seg[kCs].base}, Word{b.cr0},
       Word{b.cr3}, Word{b.cr4}, Word{b.efer});
  unsigned shown = 0;
  for (unsigned n = 0; n < log.count() && shown < kShownWords; ++n) {
    for (unsigned at = 0; at < kPageBytes && shown < kShownWords; at += 8) {
      uint64_t x, y, z;
      std::memcpy(&x, log.before(n) + at, 8);
      std::memcpy(&y, log.after(n) + at, 8);
      std::memcpy(&z, log.host(n) + at, 8);
      if (y == z) continue;
      line(out, "* page %u + %03x %16llx  %16llx  %16llx", n, at, Word{x}, Word{y}, Word{z});
      ++shown;
    }
  }
  Gpa page;
  uint64_t info;
  const uint64_t linear = b.rip + (c.codeSize == CodeSize::k64 ? 0 : b.seg[kCs].base);
  Core& walker = const_cast<Core&>(c);
  if (walker.walk(linear, Core::Access::Fetch, c.cpl == 3 ? kUser : kSupervisor, page, info)) {
    const unsigned offset = static_cast<unsigned>(linear & kPageMask);
    const uint8_t* const host = c.memory.page(page).host;
    std::string code;
    char digits[4];
    for (unsigned n = offset; host && n < kPageBytes && n < offset + kShownBytes; ++n) {
      std::snprintf(digits, sizeof digits, " %02x", host[n]);
      code += digits;
    }
    line(out, "  code at %llx (physical %llx):%s", Word{linear}, Word{page | offset}, code.c_str());
  }
  return out;
}

}  // namespace lodge::translator
