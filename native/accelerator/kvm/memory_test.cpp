#include "accelerator/kvm/kvm_fixture.h"
#include "accelerator/kvm/slots.h"
#include "testing/test.h"

using namespace lodge;
using namespace lodge::kvm;
using namespace lodge::kvm::testing;

TEST(kvm_mmio_rom_and_doorbells) {
  if (!present()) return;
  Owner owner;
  RegionId rom = 0;
  CHECK_OK(owner.machine->memory()->addRegion(RegionKind::Rom, kPageBytes, rom));
  CHECK_OK(owner.machine->map(rom, 0, 0x10000, kPageBytes));
  const uint16_t romWord = 0x55aa;
  CHECK(owner.machine->memory()->write(0x10000, &romWord, 2));
  CHECK_OK(owner.machine->unmap(0x20000, kPageBytes));
  CHECK_OK(owner.machine->addDoorbell(DoorbellKind::Mmio, 0x20010, 2, 42));
  CHECK_OK(owner.machine->addDoorbell(DoorbellKind::Port, 0x90, 1, 43));
  CHECK(!owner.machine->addDoorbell(DoorbellKind::Mmio, 0x20010, 2, 44).empty());
  owner.load({0xb8, 0x00, 0x10, 0x8e, 0xd8,              // mov ds, 1000h
              0xc7, 0x06, 0x00, 0x00, 0x34, 0x12,        // mov word [0], 1234h: the ROM keeps what it has
              0xa1, 0x00, 0x00, 0xe7, 0x80,              // mov ax, [0]; out 80h, ax
              0xb8, 0x00, 0x20, 0x8e, 0xd8,              // mov ds, 2000h
              0xc7, 0x06, 0x10, 0x00, 0x05, 0x00,        // mov word [10h], 5: doorbell 42
              0xb0, 0x07, 0xe6, 0x90,                    // out 90h, 7: doorbell 43
              0xa1, 0x20, 0x00,                          // mov ax, [20h]
              0xa3, 0x22, 0x00, 0xe7, 0x80, 0xf4});      // mov [22h], ax; out 80h, ax; hlt
  std::vector<uint64_t> seen;
  owner.onExit = [&](ExitKind kind, uint64_t address, unsigned width, unsigned, uint8_t* data) {
    uint16_t value = 0xbeef;
    if (kind == ExitKind::MmioRead) std::memcpy(data, &value, 2);
    std::memcpy(&value, data, 2);
    seen.push_back(address << 32 | static_cast<uint64_t>(kind) << 24 | width << 16 | value);
  };
  owner.run();
  CHECK(owner.serveUntil([&] { return seen.size() == 4 && owner.events.size() == 2; }));
  CHECK_EQ(seen[0], 0x80ull << 32 | 0x020255aa);
  CHECK_EQ(seen[1], 0x20020ull << 32 | 0x0302beef);
  CHECK_EQ(seen[2], 0x20022ull << 32 | 0x0402beef);
  CHECK_EQ(seen[3], 0x80ull << 32 | 0x0202beef);
  CHECK_EQ(owner.events[0].doorbell, 42u);
  CHECK_EQ(owner.events[0].value, 5u);
  CHECK_EQ(owner.events[1].doorbell, 43u);
  CHECK_EQ(owner.events[1].value, 7u);
  owner.machine->removeDoorbell(42);
  CHECK_OK(owner.machine->addDoorbell(DoorbellKind::Mmio, 0x20010, 2, 44));
}

TEST(kvm_flash_is_read_without_an_exit_while_it_is_mapped) {
  if (!present()) return;
  Owner owner;
  RegionId flash = 0;
  CHECK_OK(owner.machine->memory()->addRegion(RegionKind::Flash, kPageBytes, flash));
  CHECK_OK(owner.machine->map(flash, 0, 0x10000, kPageBytes));
  const uint16_t kept = 0x55aa;
  std::memcpy(owner.machine->memory()->regionHost(flash), &kept, 2);
  owner.load({0xb8, 0x00, 0x10, 0x8e, 0xd8,              // mov ds, 1000h
              0xa1, 0x00, 0x00, 0xe7, 0x80,              // mov ax, [0]; out 80h, ax
              0xc7, 0x06, 0x00, 0x00, 0x70, 0x00,        // mov word [0], 70h: a command; its device takes the window away
              0xa1, 0x00, 0x00, 0xe7, 0x80,              // mov ax, [0]; out 80h, ax
              0xc7, 0x06, 0x00, 0x00, 0xff, 0x00,        // mov word [0], 0ffh: and gives it back
              0xa1, 0x00, 0x00, 0xe7, 0x80, 0xf4});      // mov ax, [0]; out 80h, ax; hlt
  std::vector<uint64_t> seen;
  owner.onExit = [&](ExitKind kind, uint64_t address, unsigned, unsigned, uint8_t* data) {
    uint16_t value = 0x8080;
    if (kind == ExitKind::MmioRead) std::memcpy(data, &value, 2);
    std::memcpy(&value, data, 2);
    seen.push_back(address << 32 | static_cast<uint64_t>(kind) << 16 | value);
    if (kind != ExitKind::MmioWrite) return;
    if (value == 0xff) CHECK_OK(owner.machine->map(flash, 0, 0x10000, kPageBytes));
    else CHECK_OK(owner.machine->unmap(0x10000, kPageBytes));
  };
  owner.run();
  CHECK(owner.serveUntil([&] { return seen.size() == 6; }));
  const auto is = [&](size_t n, ExitKind kind, uint64_t address, uint16_t value) {
    return seen[n] == (address << 32 | static_cast<uint64_t>(kind) << 16 | value);
  };
  CHECK(is(0, ExitKind::PortOut, 0x80, kept));
  CHECK(is(1, ExitKind::MmioWrite, 0x10000, 0x70));
  CHECK(is(2, ExitKind::MmioRead, 0x10000, 0x8080));
  CHECK(is(3, ExitKind::PortOut, 0x80, 0x8080));
  CHECK(is(4, ExitKind::MmioWrite, 0x10000, 0xff));
  CHECK(is(5, ExitKind::PortOut, 0x80, kept));
}

TEST(kvm_slots_are_split_and_joined) {
  if (!present()) return;
  Error error;
  const Descriptor device = openDevice(error), vm = createVm(device, error);
  CHECK_OK(error);
  PhysicalMemory memory;
  RegionId ram = 0, other = 0;
  CHECK_OK(memory.addRegion(RegionKind::Ram, 1 << 20, ram));
  CHECK_OK(memory.addRegion(RegionKind::Rom, 1 << 16, other));
  Slots slots(vm, memory, 3);
  const auto map = [&](RegionId region, uint64_t offset, Gpa gpa, uint64_t bytes) {
    const Error mapped = memory.map(region, offset, gpa, bytes);
    return mapped.empty() ? slots.mapped(region, offset, gpa, bytes) : mapped;
  };
  for (unsigned round = 0; round < 50; ++round) {
    CHECK_OK(map(ram, 0, 0, 1 << 20));
    CHECK_EQ(slots.count(), 1u);
    CHECK_OK(map(other, 0, 0xc0000, 1 << 16));
    CHECK_EQ(slots.count(), 3u);
    // The same RAM back where it was.
    CHECK_OK(map(ram, 0xc0000, 0xc0000, 0x8000));
    CHECK_EQ(slots.count(), 3u);
    CHECK_OK(map(ram, 0xc8000, 0xc8000, 0x8000));
    CHECK_EQ(slots.count(), 1u);
    CHECK_OK(memory.unmap(0x1000, 0x1000));
    CHECK_OK(slots.unmapped(0x1000, 0x1000));
    CHECK_EQ(slots.count(), 2u);
    // RAM of another place does not join.
    CHECK_OK(map(ram, 0x5000, 0x1000, 0x1000));
    CHECK_EQ(slots.count(), 3u);
  }
  CHECK(map(other, 0, 0x80000, kPageBytes).find("slot") != std::string::npos);
}

TEST(kvm_remapping_while_the_guest_runs) {
  if (!present()) return;
  Owner owner;
  RegionId banks = 0;
  CHECK_OK(owner.machine->memory()->addRegion(RegionKind::Ram, 2 * kPageBytes, banks));
  const uint8_t one = 1, two = 2;
  std::memcpy(owner.machine->memory()->regionHost(banks), &one, 1);
  std::memcpy(owner.machine->memory()->regionHost(banks) + kPageBytes, &two, 1);
  owner.load({0xb8, 0x00, 0x20, 0x8e, 0xd8,                    // mov ds, 2000h
              0xe6, 0x81, 0xa0, 0x00, 0x00, 0xe6, 0x80, 0xeb, 0xf7});  // again: out 81h, al; mov al, [0]; out 80h, al; jmp again
  unsigned bank = 0, wrong = 0, rounds = 0;
  owner.onExit = [&](ExitKind, uint64_t port, unsigned, unsigned, uint8_t* data) {
    if (port == 0x81) {
      bank = (bank + 1) % 3;
      CHECK_OK(bank == 2 ? owner.machine->unmap(0x20000, kPageBytes) : owner.machine->map(banks, bank * kPageBytes, 0x20000, kPageBytes));
    } else if (port == 0x20000) {
      *data = 3;
    } else {
      wrong += *data != bank + 1;
      ++rounds;
    }
  };
  owner.run();
  CHECK(owner.serveUntil([&] { return rounds >= 60; }));
  CHECK_EQ(wrong, 0u);
}

TEST(kvm_dirty_log) {
  if (!present()) return;
  Owner owner;
  RegionId vram = 0;
  CHECK_OK(owner.machine->memory()->addRegion(RegionKind::Vram, 16 * kPageBytes, vram));
  CHECK_OK(owner.machine->map(vram, 4 * kPageBytes, 0xa0000, 8 * kPageBytes));
  owner.load({0xb8, 0x00, 0xa0, 0x8e, 0xd8,                                      // mov ds, a000h
              0xe6, 0x80, 0xc6, 0x06, 0x10, 0x00, 0x01,                          // again: out 80h, al; mov byte [10h], 1
              0xc6, 0x06, 0x00, 0x50, 0x02, 0xe6, 0x80, 0xa0, 0x00, 0x20, 0xeb, 0xed});  // mov byte [5000h], 2; out 80h, al; mov al, [2000h]; jmp again
  unsigned stops = 0;
  uint8_t bitmap[2];
  const auto taken = [&] {
    const bool any = owner.machine->takeDirty(vram, bitmap, sizeof bitmap);
    return (any ? 0x10000u : 0) | bitmap[0] | static_cast<unsigned>(bitmap[1]) << 8;
  };
  owner.onExit = [&](ExitKind, uint64_t, unsigned, unsigned, uint8_t*) {
    const unsigned found = taken();
    // Pages 4 and 9 at every second stop; nothing in between, as reads leave no trace.
    CHECK_EQ(found, stops % 2 == 1 ? 0x10000u | 1u << 4 | 1u << 9 : 0u);
    CHECK_EQ(taken(), 0u);
    ++stops;
  };
  owner.run();
  CHECK(owner.serveUntil([&] { return stops >= 20; }));
  CHECK(owner.pause());
  // What was written before a slot goes is not forgotten with it.
  owner.onExit = [](ExitKind, uint64_t, unsigned, unsigned, uint8_t*) {};
  owner.machine->takeDirty(vram, bitmap, sizeof bitmap);
  const unsigned before = owner.exits;
  owner.machine->resume();
  CHECK(owner.serveUntil([&] { return owner.exits >= before + 4; }));
  CHECK(owner.pause());
  CHECK_OK(owner.machine->unmap(0xa0000, 8 * kPageBytes));
  CHECK_EQ(taken(), 0x10000u | 1u << 4 | 1u << 9);
}
