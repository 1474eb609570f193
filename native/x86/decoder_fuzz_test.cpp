// The decoder on any bytes in any mode: it never reads beyond what it is given, its answers agree with each other, and lengths are the
// host's. LODGE_DECODER_CASES changes how many.
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "testing/conformance/lengths.h"
#include "testing/host_oracle.h"
#include "testing/test.h"
#include "x86/instruction.h"

namespace lodge::x86 {
namespace {

uint64_t wanted(uint64_t cases) {
  const char* const text = std::getenv("LODGE_DECODER_CASES");
  return text ? std::strtoull(text, nullptr, 0) : cases;
}

TEST(decoder_takes_any_bytes_in_any_mode) {
  // The bytes end where a page does, and the next one is absent.
  auto* const pages = static_cast<uint8_t*>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ::mprotect(pages + 4096, 4096, PROT_NONE);
  oracle::Random random(0xdec0de);
  unsigned reported = 0;
  for (uint64_t n = wanted(300'000); n > 0 && reported < 5; --n) {
    uint8_t bytes[15];
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.bits());
    static constexpr uint8_t kOften[] = {0x0f, 0x66, 0xf2, 0xf3, 0xc4, 0xc5, 0x48, 0x41, 0x67, 0xf0, 0x2e};
    for (unsigned k = 0; k < 4 && random.oneIn(2); ++k) bytes[k] = kOften[random.below(sizeof kOften)];
    const auto mode = static_cast<CodeSize>(random.below(3));
    Decoded whole, part;
    std::memcpy(pages + 4096 - 15, bytes, 15);
    const DecodeStatus status = decode(pages + 4096 - 15, 15, mode, whole);
    const unsigned cut = random.below(15);
    std::memcpy(pages + 4096 - cut, bytes, cut);
    const DecodeStatus shorter = decode(pages + 4096 - cut, cut, mode, part);
    bool agree;
    if (status == DecodeStatus::Ok) {
      agree = whole.length >= 1 && whole.length <= 15 && whole.op != Op::Invalid && whole.row;
      agree &= cut >= whole.length ? shorter == DecodeStatus::Ok && part.length == whole.length && part.op == whole.op
                                   : shorter == DecodeStatus::Truncated || shorter == DecodeStatus::Undefined;
      if (shorter == DecodeStatus::Undefined && cut < whole.length) agree = false;
    } else if (status == DecodeStatus::Undefined) {
      agree = shorter == DecodeStatus::Undefined || shorter == DecodeStatus::Truncated;
    } else {
      agree = status == DecodeStatus::TooLong && (shorter == DecodeStatus::Truncated || shorter == DecodeStatus::Undefined);
    }
    if (agree) continue;
    ++reported;
    std::string text = "mode " + std::to_string(static_cast<int>(mode)) + " cut " + std::to_string(cut) + " status " +
                       std::to_string(static_cast<int>(status)) + " then " + std::to_string(static_cast<int>(shorter)) + ":";
    char piece[4];
    for (uint8_t b : bytes) std::snprintf(piece, sizeof piece, " %02x", b), text += piece;
    ::lodge::testing::fail(__FILE__, __LINE__, text);
  }
  ::munmap(pages, 8192);
}

TEST(decoded_lengths_are_the_hosts) {
  const conformance::LengthSummary s = conformance::compareLengths(wanted(100'000), 5);
  for (const std::string& d : s.differences) ::lodge::testing::fail(__FILE__, __LINE__, d);
  std::printf("lengths: %llu byte strings, %llu of them instructions\n", static_cast<unsigned long long>(s.instructions),
              static_cast<unsigned long long>(s.compared));
}

}  // namespace
}  // namespace lodge::x86
