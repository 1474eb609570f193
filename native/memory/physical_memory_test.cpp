#include "memory/physical_memory.h"

#include <cstring>
#include <thread>

#include "testing/test.h"

using namespace lodge;

namespace {

struct Recorder : CodeObserver {
  std::vector<Gpa> written, marked;
  int dirtyTaken = 0;
  void onCodePageWritten(Gpa page) noexcept override { written.push_back(page); }
  void onDirtyTaken() noexcept override { ++dirtyTaken; }
  void onCodeMarked(Gpa page) noexcept override { marked.push_back(page); }
};

constexpr Gpa kTop = 1ull << kPhysicalAddressBits;

}  // namespace

TEST(memory_map_rejects_what_does_not_fit) {
  PhysicalMemory memory;
  RegionId region = 99;
  CHECK(!memory.addRegion(RegionKind::Ram, 0, region).empty());
  CHECK(!memory.addRegion(RegionKind::Ram, 4097, region).empty());
  CHECK(!memory.addRegion(RegionKind::Ram, kTop * 2, region).empty());
  CHECK_EQ(region, 99u);
  CHECK(memory.addRegion(RegionKind::Ram, 0x10000, region).empty());
  CHECK_EQ(memory.regionBytes(region), 0x10000u);
  CHECK(!memory.map(region + 1, 0, 0, 0x1000).empty());
  CHECK(!memory.map(region, 0x800, 0, 0x1000).empty());
  CHECK(!memory.map(region, 0, 0, 0x11000).empty());
  CHECK(!memory.map(region, 0x10000, 0, 0x1000).empty());
  CHECK(!memory.map(region, ~kPageMask, 0, 0x2000).empty());
  CHECK(!memory.map(region, 0, kTop - 0x1000, 0x2000).empty());
  CHECK(memory.map(region, 0, kTop - 0x1000, 0x1000).empty());
  CHECK(memory.page(kTop - 1).host == memory.regionHost(region));
  CHECK(memory.page(kTop).host == nullptr);
  CHECK(memory.page(~0ull).host == nullptr);
  CHECK(memory.regionHost(77) == nullptr);
}

TEST(memory_dma_is_all_or_nothing) {
  PhysicalMemory memory;
  RegionId low, high;
  CHECK(memory.addRegion(RegionKind::Ram, 0x2000, low).empty());
  CHECK(memory.addRegion(RegionKind::Ram, 0x2000, high).empty());
  CHECK(memory.map(low, 0, 0x1000, 0x2000).empty());
  CHECK(memory.map(high, 0x1000, 0x3000, 0x1000).empty());
  uint8_t data[0x1800], back[0x1800] = {};
  for (unsigned i = 0; i < sizeof data; ++i) data[i] = static_cast<uint8_t>(i * 7);
  CHECK(memory.write(0x2700, data, 0x1800));  // 900h bytes in `low`, F00h in the second page of `high`
  CHECK(memory.read(0x2700, back, 0x1800));
  CHECK(std::memcmp(data, back, sizeof data) == 0);
  CHECK(std::memcmp(memory.regionHost(high) + 0x1000, data + 0x900, 0xf00) == 0);
  CHECK(!memory.write(0x2701, back, 0x1900));
  CHECK(memory.regionHost(low)[0x1701] == data[1]);
  CHECK(!memory.read(0xfff, back, 2));
  CHECK(!memory.read(~0ull, back, 2));
  CHECK(!memory.read(0x2000, back, ~0ull));
  CHECK(memory.read(0x9999999, back, 0));
  CHECK(memory.range(0x1ffc, 8) == memory.regionHost(low) + 0xffc);
  CHECK(memory.range(0x2ffc, 8) == nullptr);  // two regions
  CHECK(memory.range(0x3ffc, 8) == nullptr);  // hole
}

TEST(memory_rom_takes_dma_and_is_not_writable) {
  PhysicalMemory memory;
  RegionId rom;
  CHECK(memory.addRegion(RegionKind::Rom, 0x1000, rom).empty());
  CHECK(memory.map(rom, 0, 0xff000, 0x1000).empty());
  CHECK(!memory.page(0xff000).writable);
  CHECK(!memory.page(0xff000).tracked);
  const uint8_t value = 0xea;
  CHECK(memory.write(0xffff0, &value, 1));
  CHECK_EQ(memory.page(0xffff0).host[0xff0], 0xea);
}

TEST(memory_flash_is_not_writable_and_its_writes_exit) {
  PhysicalMemory memory;
  RegionId flash, rom;
  CHECK(memory.addRegion(RegionKind::Flash, 0x1000, flash).empty());
  CHECK(memory.addRegion(RegionKind::Rom, 0x1000, rom).empty());
  CHECK(memory.map(flash, 0, 0xfe000, 0x1000).empty());
  CHECK(memory.map(rom, 0, 0xff000, 0x1000).empty());
  const PageEntry page = memory.page(0xfe000);
  CHECK(page.host == memory.regionHost(flash));
  CHECK(!page.writable && page.writesExit && !page.tracked);
  CHECK(!memory.page(0xff000).writesExit);
}

TEST(memory_unmap_splits_mappings) {
  PhysicalMemory memory;
  Recorder recorder;
  memory.addObserver(&recorder);
  RegionId ram;
  CHECK(memory.addRegion(RegionKind::Ram, 0x5000, ram).empty());
  CHECK(memory.map(ram, 0, 0, 0x5000).empty());
  CHECK(memory.unmap(0x2000, 0x1000).empty());
  CHECK(memory.page(0x1fff).host != nullptr);
  CHECK(memory.page(0x2000).host == nullptr);
  CHECK(memory.page(0x3000).host == memory.regionHost(ram) + 0x3000);
  memory.markCode(0x3123, 1);
  CHECK(memory.isCode(0x3000));
  memory.codeWritten(0x3000);
  CHECK_EQ(recorder.written.size(), 1u);
  CHECK_EQ(recorder.written[0], 0x3000u);
  memory.removeObserver(&recorder);
}

TEST(memory_code_pages_are_reported_at_every_alias) {
  PhysicalMemory memory;
  Recorder recorder;
  memory.addObserver(&recorder);
  RegionId ram;
  CHECK(memory.addRegion(RegionKind::Ram, 0x4000, ram).empty());
  CHECK(memory.map(ram, 0, 0, 0x4000).empty());
  CHECK(memory.map(ram, 0x2000, 0x100000, 0x1000).empty());
  CHECK_EQ(memory.markCode(0x2000, 1), 0u);
  CHECK_EQ(memory.markCode(0x2000, 1), 0u);
  CHECK_EQ(memory.markCode(0x2000, 4), 1u);
  CHECK_EQ(memory.markCode(0x2000, 1), 4u);
  CHECK_EQ(memory.codeHolders(0x100000), 5u);
  CHECK_EQ(recorder.marked.size(), 1u);
  CHECK(memory.isCode(0x100fff));
  const uint8_t byte = 0x90;
  CHECK(memory.write(0x1fff, &byte, 1));
  CHECK_EQ(recorder.written.size(), 0u);
  CHECK(memory.write(0x100010, &byte, 1));
  CHECK_EQ(recorder.written.size(), 2u);
  CHECK_EQ(recorder.written[0] + recorder.written[1], 0x102000u);
  CHECK(!memory.isCode(0x2000));
  CHECK(memory.write(0x2000, &byte, 1));
  CHECK_EQ(recorder.written.size(), 2u);

  // What a mapping replaces or an unmap removes is code that changed, too.
  memory.markCode(0x1000, 1);
  CHECK(memory.map(ram, 0, 0x1000, 0x1000).empty());
  CHECK_EQ(recorder.written.size(), 3u);
  memory.markCode(0x100000, 1);
  CHECK(memory.unmap(0x100000, 0x1000).empty());
  CHECK_EQ(recorder.written.size(), 5u);

  memory.markCode(0x3000, 1);
  memory.regionWrote(ram, 0x2fff, 2);
  CHECK_EQ(recorder.written.size(), 6u);
  memory.removeObserver(&recorder);
}

TEST(memory_dirty_bits_move_once) {
  PhysicalMemory memory;
  Recorder recorder;
  memory.addObserver(&recorder);
  RegionId vram, ram;
  CHECK(memory.addRegion(RegionKind::Vram, 70 * kPageBytes, vram).empty());
  CHECK(memory.addRegion(RegionKind::Ram, kPageBytes, ram).empty());
  CHECK(memory.map(vram, 0, 0xe0000000, 70 * kPageBytes).empty());
  CHECK(memory.map(ram, 0, 0, kPageBytes).empty());
  CHECK(memory.page(0xe0000000).tracked);
  uint8_t bitmap[9];
  CHECK(!memory.takeDirty(vram, bitmap, 8));
  CHECK(!memory.takeDirty(ram, bitmap, 9));
  CHECK(!memory.takeDirty(vram, bitmap, 9));
  CHECK_EQ(recorder.dirtyTaken, 0);
  memory.markDirty(0xe0000000 + 69 * kPageBytes);
  const uint16_t value = 1;
  CHECK(memory.write(0xe0000000 + 9 * kPageBytes - 1, &value, 2));
  memory.markDirty(0);  // not tracked
  CHECK(memory.takeDirty(vram, bitmap, 9));
  CHECK_EQ(bitmap[1], 0x03);
  CHECK_EQ(bitmap[8], 0x20);
  CHECK_EQ(bitmap[0], 0);
  CHECK_EQ(recorder.dirtyTaken, 1);
  CHECK(!memory.takeDirty(vram, bitmap, 9));
  memory.removeObserver(&recorder);
}

TEST(memory_dirty_bits_are_never_lost_between_threads) {
  PhysicalMemory memory;
  RegionId vram;
  CHECK(memory.addRegion(RegionKind::Vram, 256 * kPageBytes, vram).empty());
  CHECK(memory.map(vram, 0, 0, 256 * kPageBytes).empty());
  std::atomic<bool> done{false};
  unsigned seen[256] = {};
  std::thread writer([&] {
    for (unsigned page = 0; page < 256; ++page) memory.markDirty(page * kPageBytes);
    done.store(true);
  });
  for (bool last = false; !last;) {
    last = done.load();
    uint8_t bitmap[32];
    if (!memory.takeDirty(vram, bitmap, sizeof bitmap)) continue;
    for (unsigned page = 0; page < 256; ++page) seen[page] += bitmap[page >> 3] >> (page & 7) & 1;
  }
  writer.join();
  for (unsigned count : seen) CHECK_EQ(count, 1u);
}
