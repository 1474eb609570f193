#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "io/file_io.h"
#include "io/pixels.h"
#include "testing/test.h"

using namespace lodge;

namespace {

struct File {
  int fd = memfd_create("test", MFD_CLOEXEC);
  explicit File(const std::vector<uint8_t>& content) { CHECK(write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size())); }
  ~File() { close(fd); }
};

std::vector<uint8_t> pattern(size_t bytes) {
  std::vector<uint8_t> all(bytes);
  for (size_t i = 0; i < bytes; ++i) all[i] = static_cast<uint8_t>(i * 31 + (i >> 8));
  return all;
}

std::shared_ptr<PhysicalMemory> memoryWithHole(RegionId& ram, RegionId& rom) {
  auto memory = std::make_shared<PhysicalMemory>();
  CHECK(memory->addRegion(RegionKind::Ram, 0x10000, ram).empty());
  CHECK(memory->addRegion(RegionKind::Rom, 0x1000, rom).empty());
  CHECK(memory->map(ram, 0, 0, 0x4000).empty());
  CHECK(memory->map(ram, 0x8000, 0x4000, 0x8000).empty());  // contiguous for the guest, not for the host
  CHECK(memory->map(rom, 0, 0xf0000, 0x1000).empty());
  return memory;
}

}  // namespace

TEST(file_transfer_scatters_and_gathers) {
  RegionId ram, rom;
  auto memory = memoryWithHole(ram, rom);
  const auto content = pattern(0x9000);
  File file(content);
  FileTransfer read(memory, FileTransfer::Direction::FileToGuest, file.fd, 0x10);
  CHECK(read.resolve({{0x3f00, 0x1200}, {0x100, 1}, {0x200, 0}, {0x6000, 0x3000}}));
  if (!read.tryNow()) read.run();
  read.finish();
  CHECK_EQ(read.error(), 0);
  CHECK_EQ(read.done(), 0x4201u);
  std::vector<uint8_t> got(0x1200);
  CHECK(memory->read(0x3f00, got.data(), got.size()));
  CHECK(std::memcmp(got.data(), content.data() + 0x10, got.size()) == 0);
  CHECK_EQ(memory->page(0).host[0x100], content[0x1210]);
  got.resize(0x3000);
  CHECK(memory->read(0x6000, got.data(), got.size()));
  CHECK(std::memcmp(got.data(), content.data() + 0x1211, got.size()) == 0);

  FileTransfer write(memory, FileTransfer::Direction::GuestToFile, file.fd, 0x20000);
  CHECK(write.resolve({{0x3f00, 0x1200}, {0xf0000, 4}}));
  if (!write.tryNow()) write.run();
  CHECK_EQ(write.done(), 0x1204u);
  got.resize(0x1200);
  CHECK(pread(file.fd, got.data(), got.size(), 0x20000) == 0x1200);
  CHECK(std::memcmp(got.data(), content.data() + 0x10, got.size()) == 0);
}

TEST(write_gate_closes_after_a_long_write_and_opens_again) {
  using G = WriteGate;
  WriteGate gate;
  uint64_t now = 1'000'000'000;
  const auto took = [&](uint64_t ns, bool slept = true) { gate.tried(now, now + ns, slept), now += ns; };
  const auto closedFor = [&] {
    uint64_t ns = 0;
    while (!gate.open(now + ns)) ns += 50'000'000;
    now += ns;
    return ns;
  };
  CHECK(gate.open(now));
  for (int i = 0; i < 3; ++i) took(G::kLongNs);
  took(G::kLongNs * 10, false);
  CHECK(gate.open(now));
  // Twice as long each time, up to a limit, even if some are quick in between.
  for (uint64_t pause = G::kFirstPauseNs; pause < G::kLastPauseNs; pause *= 2) {
    took(G::kLongNs + 1);
    CHECK_EQ(closedFor(), pause);
    for (unsigned i = 1; i < G::kTrustedAfter; ++i) took(3000);
  }
  for (int i = 0; i < 2; ++i) {
    took(1'000'000'000);
    CHECK_EQ(closedFor(), G::kLastPauseNs);
  }
  for (unsigned i = 0; i < G::kTrustedAfter; ++i) took(3000);
  took(G::kLongNs + 1);
  CHECK_EQ(closedFor(), G::kFirstPauseNs);
}

TEST(file_ranges_become_zeroes_and_give_their_blocks_back) {
  const auto content = pattern(64 * 4096);
  File file(content);
  const auto blocks = [&file] {
    struct stat info;
    CHECK(fstat(file.fd, &info) == 0);
    CHECK_EQ(info.st_size, static_cast<off_t>(64 * 4096));
    return info.st_blocks;
  };
  const auto before = blocks();
  CHECK_EQ(zeroFileRange(file.fd, 4096 + 100, 8 * 4096, ZeroKind::GiveBack), 0);
  CHECK(blocks() <= before - 7 * 8);
  std::vector<uint8_t> got(content.size()), expected = content;
  std::fill_n(expected.begin() + 4096 + 100, 8 * 4096, 0);
  CHECK(pread(file.fd, got.data(), got.size(), 0) == static_cast<ssize_t>(got.size()));
  CHECK(got == expected);

  // Past the end nothing happens, and the file stays as long as it is.
  CHECK_EQ(zeroFileRange(file.fd, 64 * 4096, 4096, ZeroKind::GiveBack), 0);
  CHECK_EQ(zeroFileRange(file.fd, 7, 0, ZeroKind::Keep), 0);
  CHECK_EQ(blocks(), before - 7 * 8);
  const int kept = zeroFileRange(file.fd, 20 * 4096, 4096, ZeroKind::Keep);
  CHECK(kept == 0 || kept == EOPNOTSUPP);  // not every file system has it
  CHECK_EQ(zeroFileRange(file.fd, ~0ull, 1, ZeroKind::GiveBack), EFBIG);
  CHECK_EQ(zeroFileRange(-1, 0, 4096, ZeroKind::GiveBack), EBADF);
}

TEST(file_transfer_faults_and_ends) {
  RegionId ram, rom;
  auto memory = memoryWithHole(ram, rom);
  File file(pattern(0x1000));
  using Direction = FileTransfer::Direction;
  CHECK(!FileTransfer(memory, Direction::FileToGuest, file.fd, 0).resolve({{0xb000, 0x1001}}));
  CHECK(!FileTransfer(memory, Direction::FileToGuest, file.fd, 0).resolve({{0xf0000, 1}}));  // ROM
  CHECK(!FileTransfer(memory, Direction::FileToGuest, file.fd, 0).resolve({{~0ull, 4096}}));
  CHECK(!FileTransfer(memory, Direction::FileToGuest, file.fd, 0).resolve({{0, ~0ull}}));

  FileTransfer past(memory, Direction::FileToGuest, file.fd, 0xf00);
  CHECK(past.resolve({{0, 0x1000}}));
  if (!past.tryNow()) past.run();
  CHECK_EQ(past.error(), 0);
  CHECK_EQ(past.done(), 0x100u);

  FileTransfer bad(memory, Direction::FileToGuest, 999999, 0);
  CHECK(bad.resolve({{0, 16}}));
  CHECK(!bad.tryNow());
  bad.run();
  CHECK_EQ(bad.error(), EBADF);
}

TEST(file_transfer_of_more_pieces_than_one_call_takes) {
  auto memory = std::make_shared<PhysicalMemory>();
  RegionId ram;
  CHECK(memory->addRegion(RegionKind::Ram, 2048 * kPageBytes, ram).empty());
  CHECK(memory->map(ram, 0, 0, 2048 * kPageBytes).empty());
  const auto content = pattern(3 * 1000);
  File file(content);
  std::vector<GuestRange> ranges;
  for (uint64_t i = 0; i < 1000; ++i) ranges.push_back({(i * 2 + 1) * kPageBytes, 3});
  FileTransfer read(memory, FileTransfer::Direction::FileToGuest, file.fd, 0);
  CHECK(read.resolve(ranges));
  if (!read.tryNow()) read.run();
  CHECK_EQ(read.done(), 3000u);
  CHECK(std::memcmp(memory->page(1999 * kPageBytes).host, content.data() + 2997, 3) == 0);
}

TEST(file_transfer_marks_dirty_pages) {
  auto memory = std::make_shared<PhysicalMemory>();
  RegionId vram;
  CHECK(memory->addRegion(RegionKind::Vram, 8 * kPageBytes, vram).empty());
  CHECK(memory->map(vram, 0, 0, 8 * kPageBytes).empty());
  File file(pattern(0x1800));
  FileTransfer read(memory, FileTransfer::Direction::FileToGuest, file.fd, 0);
  CHECK(read.resolve({{0x2000, 0x4000}}));  // 6 KiB of it come
  if (!read.tryNow()) read.run();
  read.finish();
  uint8_t bitmap = 0;
  CHECK(memory->takeDirty(vram, &bitmap, 1));
  CHECK_EQ(bitmap, 0x0c);
}

TEST(pixels_of_every_format) {
  uint8_t frame[64] = {}, out[16];
  uint32_t palette[256] = {};
  palette[7] = 0x123456;
  const auto convert = [&](PixelFormat format, std::initializer_list<uint8_t> bytes) {
    std::memset(frame, 0, sizeof frame);
    unsigned at = 1 + 10 * 2 + bytesPerPixel(format);  // offset 1, line 2, x 1
    for (uint8_t byte : bytes) frame[at++] = byte;
    const PixelRect rect{1, 10, format, 1, 2, 2, 1};
    CHECK(fits(rect, sizeof frame));
    std::memset(out, 0xcc, sizeof out);
    convertPixels(rect, frame, palette, out);
    CHECK_EQ(out[8], 0xcc);
    return static_cast<uint32_t>(out[0]) << 24 | out[1] << 16 | out[2] << 8 | out[3];
  };
  CHECK_EQ(convert(PixelFormat::Pal8, {7}), 0x123456ffu);
  CHECK_EQ(convert(PixelFormat::Rgb555, {0x1f, 0x7c}), 0xff00ffffu);
  CHECK_EQ(convert(PixelFormat::Rgb565, {0xe0, 0x87}), 0x84ff00ffu);
  CHECK_EQ(convert(PixelFormat::Rgb888, {1, 2, 3}), 0x030201ffu);
  CHECK_EQ(convert(PixelFormat::Xrgb8888, {1, 2, 3, 9}), 0x030201ffu);
}

TEST(pixels_outside_do_not_fit) {
  CHECK(fits({0, 40, PixelFormat::Xrgb8888, 0, 0, 10, 10}, 400));
  CHECK(!fits({1, 40, PixelFormat::Xrgb8888, 0, 0, 10, 10}, 400));
  CHECK(!fits({0, 40, PixelFormat::Xrgb8888, 1, 0, 10, 10}, 400));
  CHECK(!fits({0, ~0ull, PixelFormat::Xrgb8888, 0, 1, 1, 2}, 400));
  CHECK(!fits({~0ull, ~0ull, PixelFormat::Pal8, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, ~0ull));
  CHECK(fits({~0ull, 0, PixelFormat::Pal8, 0, 0, 0, 5}, 0));
}
