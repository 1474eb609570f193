#include "irqchip/irqchip.h"

#include <cstring>

#include "testing/test.h"

using namespace lodge;

namespace {

struct World final : IrqChip::Outside {
  uint64_t time = 1'000'000'000;
  unsigned interrupts[4] = {}, nmis[4] = {}, inits[4] = {}, sooner = 0;
  int startups[4] = {-1, -1, -1, -1};
  uint64_t now() const noexcept override { return time; }
  uint64_t tsc(unsigned) const noexcept override { return time * 2; }
  uint64_t tscHz() const noexcept override { return 2'000'000'000; }
  void interrupt(unsigned v) noexcept override { ++interrupts[v]; }
  void nmi(unsigned v) noexcept override { ++nmis[v]; }
  void init(unsigned v) noexcept override { ++inits[v]; }
  void startup(unsigned v, uint8_t vector) noexcept override { startups[v] = vector; }
  void timerSooner() noexcept override { ++sooner; }
};

struct Machine {
  World world;
  IrqChip chip;
  explicit Machine(unsigned cpus = 1) : chip(cpus, world) {}

  void out(uint16_t port, uint8_t value) { chip.writePort(port, value); }
  uint8_t in(uint16_t port) { return chip.readPort(port); }
  uint32_t apic(uint32_t offset, unsigned cpu = 0) {
    uint32_t value = 0;
    CHECK(chip.readMmio(cpu, 0xfee00000 + offset, 4, &value));
    return value;
  }
  void apic(uint32_t offset, uint32_t value, unsigned cpu) { CHECK(chip.writeMmio(cpu, 0xfee00000 + offset, 4, &value)); }
  uint32_t ioapic(uint8_t index) {
    uint32_t value = index;
    CHECK(chip.writeMmio(0, 0xfec00000, 4, &value));
    CHECK(chip.readMmio(0, 0xfec00010, 4, &value));
    return value;
  }
  void ioapic(uint8_t index, uint32_t value) {
    uint32_t select = index;
    chip.writeMmio(0, 0xfec00000, 4, &select);
    chip.writeMmio(0, 0xfec00010, 4, &value);
  }
  void route(unsigned pin, uint32_t low, uint32_t destination = 0) {
    ioapic(static_cast<uint8_t>(0x11 + pin * 2), destination << 24);
    ioapic(static_cast<uint8_t>(0x10 + pin * 2), low);
  }
  /** As every PC does: vectors 20h and 28h, and `mask`s. */
  void initPics(uint8_t master = 0, uint8_t slave = 0) {
    out(0x20, 0x11), out(0x21, 0x20), out(0x21, 4), out(0x21, 1), out(0x21, master);
    out(0xa0, 0x11), out(0xa1, 0x28), out(0xa1, 2), out(0xa1, 1), out(0xa1, slave);
  }
  void enableApic(unsigned cpu = 0) { apic(0xf0, 0x1ff, cpu); }
  void pulse(unsigned gsi) { chip.setIrq(gsi, true), chip.setIrq(gsi, false); }
  /** Runs the timers as the timer thread would until `until`. */
  void runUntil(uint64_t until) {
    for (;;) {
      const uint64_t next = chip.runTimers();
      if (next > until) break;
      world.time = std::max(world.time, next);
    }
    world.time = until;
    chip.runTimers();
  }
};

constexpr uint64_t kMs = 1'000'000;

}  // namespace

TEST(pic_delivers_by_priority_and_nests) {
  Machine m;
  CHECK(!m.chip.interruptPending(0));
  m.initPics();
  m.pulse(10);
  m.pulse(4);
  CHECK(m.chip.interruptPending(0));
  CHECK_EQ(m.chip.acknowledge(0), 0x2a);  // IRQ 10 through input 2 is above IRQ 4
  CHECK(!m.chip.interruptPending(0));     // 4 is below what is in service
  m.pulse(1);
  CHECK_EQ(m.chip.acknowledge(0), 0x21);
  m.out(0x20, 0x20);
  m.out(0xa0, 0x20), m.out(0x20, 0x20);
  CHECK_EQ(m.chip.acknowledge(0), 0x24);
  m.out(0x20, 0x0b);
  CHECK_EQ(m.in(0x20), 0x10);
  m.out(0x20, 0x64);  // specific EOI of 4
  CHECK_EQ(m.in(0x20), 0);
  m.out(0x20, 0x0a);
  CHECK_EQ(m.in(0x20), 0);
}

TEST(pic_masks_spurious_and_levels) {
  Machine m;
  m.initPics(0xfb, 0xff);
  m.pulse(9);
  CHECK(!m.chip.interruptPending(0));
  m.out(0xa1, 0xfd);
  CHECK(m.chip.interruptPending(0));
  m.out(0x4d1, 0xff);
  CHECK_EQ(m.in(0x4d1), 0xde);
  CHECK(!m.chip.interruptPending(0));  // level now, and the line is low
  m.chip.setIrq(9, true);
  CHECK(m.chip.interruptPending(0));
  CHECK_EQ(m.chip.acknowledge(0), 0x29);
  m.out(0xa0, 0x20), m.out(0x20, 0x20);
  CHECK(m.chip.interruptPending(0));  // the line is still high
  m.chip.setIrq(9, false);
  CHECK(!m.chip.interruptPending(0));

  I8259Pair pair;
  pair.reset();
  CHECK_EQ(pair.acknowledge(), 0x0f);  // IRQ 7 of a BIOS's base
}

TEST(pic_automatic_eoi_rotation_poll_and_special_mask) {
  Machine m;
  m.out(0x20, 0x11), m.out(0x21, 0x20), m.out(0x21, 4), m.out(0x21, 3), m.out(0x21, 0);  // AEOI
  m.out(0x20, 0x80);                                                                  // rotate in AEOI
  m.pulse(3), m.pulse(5);
  CHECK_EQ(m.chip.acknowledge(0), 0x23);
  m.pulse(3);
  CHECK_EQ(m.chip.acknowledge(0), 0x25);  // 3 is lowest now
  CHECK_EQ(m.chip.acknowledge(0), 0x23);
  m.initPics();
  m.pulse(6);
  m.out(0x20, 0x0c);
  CHECK_EQ(m.in(0x20), 0x86);
  CHECK(!m.chip.interruptPending(0));
  m.out(0x20, 0x20);
  m.out(0x20, 0x0c);
  CHECK_EQ(m.in(0x20), 0);
  m.out(0x20, 0xc3);  // lowest is 3: order 4 5 6 7 0 1 2 3
  m.pulse(1), m.pulse(4);
  CHECK_EQ(m.chip.acknowledge(0), 0x24);
  m.out(0x20, 0x68);  // special mask mode: masking 4 lets lower ones in while 4 is in service
  CHECK(!m.chip.interruptPending(0));
  m.out(0x21, 0x10);
  CHECK_EQ(m.chip.acknowledge(0), 0x21);
}

TEST(pit_counts_latches_and_reads_back) {
  Machine m;
  m.out(0x43, 0x34);  // channel 0, low then high, mode 2
  CHECK_EQ(m.in(0x40) & 0, 0);
  m.out(0x43, 0x34);
  m.out(0x43, 0xe2);  // status of channel 0: null count
  CHECK_EQ(m.in(0x40) & 0x7f, 0x74);
  m.out(0x40, 0x9c), m.out(0x40, 0x2e);  // 11932: 10 ms
  m.world.time += 5 * kMs;
  m.out(0x43, 0x00);
  m.world.time += 3 * kMs;  // a latched count stands still
  const unsigned low = m.in(0x40), count = low | m.in(0x40) << 8;
  CHECK(count >= 11932 - 5966 && count <= 11932 - 5964);
  m.out(0x43, 0xc2);  // latch status and count: status is read first
  CHECK_EQ(m.in(0x40), 0xb4);
  const unsigned again = m.in(0x40) | m.in(0x40) << 8;
  CHECK(again >= 11932 - 9546 && again <= 11932 - 9544);

  m.out(0x43, 0x31);  // mode 0, BCD
  m.out(0x40, 0x00), m.out(0x40, 0x10);  // 1000
  m.world.time += 838 * 10 + 400;
  m.out(0x43, 0x00);
  CHECK_EQ(m.in(0x40), 0x90);
  CHECK_EQ(m.in(0x40), 0x09);
}

TEST(pit_channel_2_shows_at_port_61) {
  Machine m;
  m.out(0x61, 0x00);
  m.out(0x43, 0xb0);  // channel 2, mode 0
  m.out(0x42, 0x9c), m.out(0x42, 0x2e);
  m.world.time += 20 * kMs;
  CHECK_EQ(m.in(0x61) & 0x23, 0x00);  // the gate holds it
  m.out(0x61, 0x01);
  m.world.time += 9 * kMs;
  CHECK_EQ(m.in(0x61) & 0x23, 0x01);
  m.world.time += 2 * kMs;
  CHECK_EQ(m.in(0x61) & 0x23, 0x21);
  const uint8_t before = m.in(0x61) & 0x10;
  m.world.time += 15'086;
  CHECK((m.in(0x61) & 0x10) != before);
  m.out(0x43, 0xb6);  // square wave
  m.out(0x42, 0x9c), m.out(0x42, 0x2e);
  CHECK_EQ(m.in(0x61) & 0x20, 0x20);
  m.world.time += 6 * kMs;
  CHECK_EQ(m.in(0x61) & 0x20, 0x00);
  m.world.time += 5 * kMs;
  CHECK_EQ(m.in(0x61) & 0x20, 0x20);
}

TEST(pit_ticks_are_counted_for_a_guest_that_keeps_up) {
  Machine m;
  m.initPics(0xfe, 0xff);
  m.out(0x43, 0x34), m.out(0x40, 0xa9), m.out(0x40, 0x04);  // 1193: 1 kHz
  CHECK(m.world.sooner > 0);
  unsigned ticks = 0;
  const uint64_t start = m.world.time;
  while (m.world.time < start + 1000 * kMs) {
    m.runUntil(m.world.time + kMs / 4);
    while (m.chip.interruptPending(0)) {
      CHECK_EQ(m.chip.acknowledge(0), 0x20);
      m.out(0x20, 0x20);
      ++ticks;
    }
  }
  CHECK(ticks >= 999 && ticks <= 1001);
}

TEST(pit_ticks_wait_for_a_slow_guest_and_do_not_storm) {
  Machine m;
  m.initPics(0xfe, 0xff);
  m.out(0x43, 0x34), m.out(0x40, 0xa9), m.out(0x40, 0x04);  // 1 kHz
  m.runUntil(m.world.time + 100 * kMs);  // interrupts off for 100 ms
  unsigned at = 0, most = 0;
  const auto drain = [&](uint64_t ns) {
    const uint64_t end = m.world.time + ns;
    unsigned all = 0;
    while (m.world.time < end) {
      at = 0;
      for (unsigned step = 0; step < 10; ++step) {
        m.runUntil(m.world.time + kMs / 10);
        while (m.chip.interruptPending(0)) m.chip.acknowledge(0), m.out(0x20, 0x20), ++at, ++all;
      }
      most = std::max(most, at);
    }
    return all;
  };
  const unsigned taken = drain(300 * kMs);
  CHECK(taken >= 398 && taken <= 401);  // none of 400 lost
  CHECK(most <= 3);
  m.runUntil(m.world.time + 10'000 * kMs);  // but ten seconds are not made up for
  const unsigned later = drain(3000 * kMs);
  CHECK(later >= 3990 && later <= 4010);
}

TEST(pit_one_shot_interrupts_once) {
  Machine m;
  m.initPics(0xfe, 0xff);
  m.out(0x43, 0x30), m.out(0x40, 0xa9), m.out(0x40, 0x04);
  m.runUntil(m.world.time + kMs / 2);
  CHECK(!m.chip.interruptPending(0));
  m.runUntil(m.world.time + kMs);
  CHECK_EQ(m.chip.acknowledge(0), 0x20);
  m.out(0x20, 0x20);
  CHECK_EQ(m.chip.runTimers(), kNever);
  m.runUntil(m.world.time + 100 * kMs);
  CHECK(!m.chip.interruptPending(0));
}

TEST(ioapic_registers_edges_and_levels) {
  Machine m(2);
  CHECK_EQ(m.ioapic(1), 0x00170020u);
  CHECK_EQ(m.ioapic(0x10 + 46), 0x10000u);
  CHECK_EQ(m.ioapic(0x10 + 48), 0u);
  m.enableApic(0), m.enableApic(1);
  m.chip.setIrq(20, true);
  m.route(20, 0x8000 | 0x41, 1);  // level, the line is high already
  CHECK_EQ(m.world.interrupts[1], 1u);
  CHECK_EQ(m.ioapic(0x10 + 40) & 0xffff, 0xc041u);  // remote IRR
  CHECK_EQ(m.chip.acknowledge(1), 0x41);
  m.apic(0xb0, 0, 1);  // EOI with the line high: again
  CHECK_EQ(m.chip.acknowledge(1), 0x41);
  m.chip.setIrq(20, false);
  m.apic(0xb0, 0, 1);
  CHECK(!m.chip.interruptPending(1));
  CHECK_EQ(m.ioapic(0x10 + 40) & 0x4000, 0u);

  m.route(4, 0x51);
  m.pulse(4), m.pulse(4);
  CHECK_EQ(m.chip.acknowledge(0), 0x51);
  m.pulse(4);  // in service: one more is remembered
  CHECK(!m.chip.interruptPending(0));
  m.apic(0xb0, 0, 0);
  CHECK_EQ(m.chip.acknowledge(0), 0x51);
  m.apic(0xb0, 0, 0);
  CHECK(!m.chip.interruptPending(0));
  m.ioapic(0x10 + 8, 0x10051);
  m.pulse(4);
  m.ioapic(0x10 + 8, 0x51);
  CHECK(!m.chip.interruptPending(0));  // an edge at a masked pin is gone

  m.route(5, 0x400);
  m.pulse(5);
  CHECK_EQ(m.world.nmis[0], 1u);
  m.route(0, 0x700);  // 8259s through pin 0
  m.apic(0x350, 0x10000, 0);
  m.initPics();
  m.pulse(1);
  CHECK_EQ(m.chip.acknowledge(0), 0x21);
}

TEST(ioapic_timer_is_pin_2) {
  Machine m;
  m.enableApic();
  m.route(2, 0x30);
  m.out(0x43, 0x34), m.out(0x40, 0xa9), m.out(0x40, 0x04);
  m.runUntil(m.world.time + 2 * kMs);
  CHECK_EQ(m.chip.acknowledge(0), 0x30);
}

TEST(apic_priorities) {
  Machine m;
  m.enableApic();
  CHECK_EQ(m.apic(0x30), 0x00050014u);
  CHECK_EQ(m.apic(0x20), 0u);
  m.chip.sendMsi(0xfee00000, 0x61);
  m.chip.sendMsi(0xfee00000, 0x83);
  CHECK_EQ(m.apic(0x240), 8u);
  m.chip.writeCr8(0, 8);
  CHECK_EQ(m.apic(0x80), 0x80u);
  CHECK(!m.chip.interruptPending(0));
  CHECK_EQ(m.chip.acknowledge(0), -1);
  m.world.interrupts[0] = 0;
  m.chip.writeCr8(0, 7);
  CHECK_EQ(m.world.interrupts[0], 1u);
  CHECK_EQ(m.chip.acknowledge(0), 0x83);
  CHECK_EQ(m.apic(0xa0), 0x80u);  // PPR
  CHECK_EQ(m.apic(0x140), 8u);    // ISR
  m.chip.sendMsi(0xfee00000, 0x8f);
  CHECK(!m.chip.interruptPending(0));  // same class
  m.chip.sendMsi(0xfee00000, 0x92);
  CHECK_EQ(m.chip.acknowledge(0), 0x92);
  m.apic(0xb0, 0, 0), m.apic(0xb0, 0, 0);
  CHECK_EQ(m.chip.acknowledge(0), 0x8f);
  m.apic(0xb0, 0, 0);
  CHECK(!m.chip.interruptPending(0));  // 61h is under the TPR
  m.chip.writeCr8(0, 0);
  CHECK_EQ(m.chip.acknowledge(0), 0x61);
}

TEST(apic_software_disabled_takes_no_vectors_but_nmi) {
  Machine m;
  m.chip.sendMsi(0xfee00000, 0x61);
  CHECK(!m.chip.interruptPending(0));
  m.chip.sendMsi(0xfee00000, 0x400);
  CHECK_EQ(m.world.nmis[0], 1u);
  m.apic(0x320, 0x40, 0);
  CHECK_EQ(m.apic(0x320), 0x10040u);  // the mask cannot be cleared
  m.chip.nmi();
  CHECK_EQ(m.world.nmis[0], 2u);
  m.apic(0xf0, 0xff, 0);  // and disabling masks every entry
  m.chip.nmi();
  CHECK_EQ(m.world.nmis[0], 2u);
}

TEST(apic_errors) {
  Machine m;
  m.enableApic();
  m.apic(0x370, 0xfe, 0);
  m.chip.sendMsi(0xfee00000, 0x05);
  CHECK_EQ(m.apic(0x280), 0u);
  m.apic(0x280, 0, 0);
  CHECK_EQ(m.apic(0x280), 0x40u);
  CHECK_EQ(m.chip.acknowledge(0), 0xfe);
  m.apic(0x300, 0x4003, 0);  // fixed IPI with vector 3 to itself
  m.apic(0x280, 0, 0);
  CHECK_EQ(m.apic(0x280), 0x60u);
}

TEST(apic_ipis) {
  Machine m(3);
  for (unsigned cpu = 0; cpu < 3; ++cpu) m.enableApic(cpu);
  m.apic(0x310, 1u << 24, 0);
  m.apic(0x300, 0x4500, 0);
  CHECK_EQ(m.world.inits[1], 1u);
  CHECK_EQ(m.apic(0xf0, 1), 0xffu);
  m.apic(0x300, 0x8500, 0);  // de-assert
  CHECK_EQ(m.world.inits[1], 1u);
  m.apic(0x300, 0x4699, 0);
  CHECK_EQ(m.world.startups[1], 0x99);
  m.enableApic(1);
  m.apic(0x300, 0xc0400, 0);  // NMI to all but self
  CHECK_EQ(m.world.nmis[0] * 100 + m.world.nmis[1] * 10 + m.world.nmis[2], 11u);
  m.apic(0x300, 0x80042, 1);  // fixed to all
  for (unsigned cpu = 0; cpu < 3; ++cpu) CHECK_EQ(m.chip.acknowledge(cpu), 0x42);
  for (unsigned cpu = 0; cpu < 3; ++cpu) m.apic(0xb0, 0, cpu);
  m.apic(0x300, 0x40043, 2);  // self
  CHECK_EQ(m.chip.acknowledge(2), 0x43);
  CHECK(!m.chip.interruptPending(0));
  m.apic(0xb0, 0, 2);

  // Logical, flat: bits 0 and 2.
  for (unsigned cpu = 0; cpu < 3; ++cpu) m.apic(0xd0, 1u << (24 + cpu), cpu);
  m.apic(0x310, 5u << 24, 0);
  m.apic(0x300, 0x4844, 0);
  CHECK_EQ(m.chip.acknowledge(0), 0x44);
  CHECK_EQ(m.chip.acknowledge(1), -1);
  CHECK_EQ(m.chip.acknowledge(2), 0x44);
  m.apic(0xb0, 0, 0), m.apic(0xb0, 0, 2);
  // Cluster 2, members 0 and 1.
  for (unsigned cpu = 0; cpu < 3; ++cpu) {
    m.apic(0xe0, 0x0fffffff, cpu);
    m.apic(0xd0, (0x20u | 1u << cpu) << 24, cpu);
  }
  m.apic(0x310, 0x23u << 24, 2);
  m.apic(0x300, 0x4845, 2);
  CHECK_EQ(m.chip.acknowledge(0), 0x45);
  CHECK_EQ(m.chip.acknowledge(1), 0x45);
  CHECK_EQ(m.chip.acknowledge(2), -1);
}

TEST(apic_lowest_priority_goes_to_one) {
  Machine m(2);
  m.enableApic(0), m.enableApic(1);
  m.chip.writeCr8(0, 5);
  m.chip.sendMsi(0xfeeff000, 0x191);
  CHECK_EQ(m.chip.acknowledge(0), -1);
  CHECK_EQ(m.chip.acknowledge(1), 0x91);
}

TEST(apic_timer_one_shot_and_count) {
  Machine m;
  m.enableApic();
  m.apic(0x320, 0xec, 0);
  m.apic(0x3e0, 0x3, 0);  // by 16
  m.apic(0x380, 1000, 0);
  CHECK_EQ(m.chip.runTimers(), m.world.time + 16000);
  m.world.time += 8000;
  CHECK_EQ(m.apic(0x390), 500u);
  m.apic(0x3e0, 0xb, 0);  // by 1: what is left runs faster
  CHECK_EQ(m.apic(0x390), 500u);
  CHECK_EQ(m.chip.runTimers(), m.world.time + 500);
  m.world.time += 500;
  m.chip.runTimers();
  CHECK_EQ(m.apic(0x390), 0u);
  CHECK_EQ(m.chip.acknowledge(0), 0xec);
  m.apic(0xb0, 0, 0);
  CHECK_EQ(m.chip.runTimers(), kNever);
  m.apic(0x380, 1000, 0);
  m.apic(0x380, 0, 0);
  CHECK_EQ(m.chip.runTimers(), kNever);
}

TEST(apic_timer_periodic_keeps_its_grid) {
  Machine m;
  m.enableApic();
  m.apic(0x3e0, 0xb, 0);
  m.apic(0x320, 0x200ec, 0);
  m.apic(0x380, kMs, 0);
  unsigned ticks = 0;
  const uint64_t end = m.world.time + 1000 * kMs;
  while (m.world.time < end) {
    m.world.time += 137'000;  // never on the grid
    m.chip.runTimers();
    if (m.chip.acknowledge(0) >= 0) ++ticks, m.apic(0xb0, 0, 0);
  }
  CHECK(ticks >= 999 && ticks <= 1001);
}

TEST(apic_timer_tsc_deadline) {
  Machine m;
  m.enableApic();
  uint64_t value = 0;
  CHECK(m.chip.writeMsr(0, 0x6e0, 12345));  // ignored outside the mode
  CHECK(m.chip.readMsr(0, 0x6e0, value));
  CHECK_EQ(value, 0u);
  m.apic(0x320, 0x400ec, 0);
  CHECK(m.chip.writeMsr(0, 0x6e0, m.world.tsc(0) + 2000));
  CHECK_EQ(m.chip.runTimers(), m.world.time + 1000);
  m.apic(0x380, 5, 0);
  CHECK_EQ(m.apic(0x390), 0u);
  m.world.time += 1000;
  m.chip.runTimers();
  CHECK_EQ(m.chip.acknowledge(0), 0xec);
  m.apic(0xb0, 0, 0);
  CHECK(m.chip.readMsr(0, 0x6e0, value));
  CHECK_EQ(value, 0u);
  CHECK(m.chip.writeMsr(0, 0x6e0, 1));  // in the past
  m.chip.runTimers();
  CHECK_EQ(m.chip.acknowledge(0), 0xec);
  m.apic(0xb0, 0, 0);
  CHECK(m.chip.writeMsr(0, 0x6e0, ~0ull));  // further away than time goes
  m.chip.runTimers();
  CHECK(!m.chip.interruptPending(0));
  m.apic(0x320, 0xec, 0);
  CHECK_EQ(m.chip.runTimers(), kNever);
}

TEST(apic_x2apic) {
  Machine m(2);
  m.enableApic(0), m.enableApic(1);
  uint64_t value;
  CHECK(!m.chip.readMsr(0, 0x802, value));
  CHECK(!m.chip.writeMsr(0, 0x1b, 0xfee00400));
  CHECK(!m.chip.writeMsr(0, 0x1b, 0xfee00801));
  for (unsigned cpu = 0; cpu < 2; ++cpu) CHECK(m.chip.writeMsr(cpu, 0x1b, 0xfee00c00));
  CHECK(!m.chip.writeMsr(0, 0x1b, 0xfee00800));
  CHECK(m.chip.readMsr(0, 0x1b, value));
  CHECK_EQ(value, 0xfee00d00u);
  CHECK(m.chip.readMsr(1, 0x802, value));
  CHECK_EQ(value, 1u);
  CHECK(m.chip.readMsr(1, 0x80d, value));
  CHECK_EQ(value, 2u);
  CHECK_EQ(m.apic(0x20, 1), 0xffffffffu);
  CHECK(!m.chip.readMsr(0, 0x80e, value));
  CHECK(!m.chip.writeMsr(0, 0x802, 1));
  CHECK(!m.chip.writeMsr(0, 0x80b, 1));
  CHECK(!m.chip.writeMsr(0, 0x808, 0x100));
  CHECK(m.chip.writeMsr(0, 0x830, 0x1'0000'4055ull));
  CHECK_EQ(m.chip.acknowledge(1), 0x55);
  CHECK(m.chip.writeMsr(1, 0x80b, 0));
  CHECK(m.chip.writeMsr(0, 0x830, 0x2'0000'4856ull));  // logical: cluster 0, member 1
  CHECK_EQ(m.chip.acknowledge(1), 0x56);
  CHECK(m.chip.writeMsr(0, 0x83f, 0x57));
  CHECK_EQ(m.chip.acknowledge(0), 0x57);
  CHECK(m.chip.writeMsr(0, 0x1b, 0xfee00000));  // off
  CHECK(!m.chip.writeMsr(0, 0x1b, 0xfee00c00));
}

TEST(apic_mmio_widths) {
  Machine m;
  uint8_t bytes[8];
  CHECK(m.chip.readMmio(0, 0xfee00032, 1, bytes));
  CHECK_EQ(bytes[0], 5);
  CHECK(m.chip.readMmio(0, 0xfee00030, 8, bytes));
  CHECK_EQ(bytes[0], 0x14);
  CHECK_EQ(bytes[4], 0);
  CHECK(m.chip.readMmio(0, 0xfee00038, 4, bytes));
  CHECK_EQ(bytes[0], 0);
  const uint8_t byte = 0x55;
  CHECK(m.chip.writeMmio(0, 0xfee00080, 1, &byte));  // not a register access
  CHECK_EQ(m.apic(0x80), 0u);
  CHECK(!m.chip.readMmio(0, 0xfee01000, 4, bytes));
}

TEST(eoi_is_deferred_only_when_nothing_depends_on_it) {
  Machine m(2);
  m.enableApic();
  m.route(5, 0x50 | 1 << 15);  // level-triggered
  m.chip.setIrq(5, true);
  int vector = m.chip.acknowledge(0);
  CHECK_EQ(vector, 0x50);
  CHECK(!m.chip.mayDeferEoi(0, vector));
  m.chip.setIrq(5, false);
  m.apic(0xb0, 0, 0);

  m.chip.sendMsi(0xfee00000, 0x61);
  m.chip.sendMsi(0xfee00000, 0x60);
  vector = m.chip.acknowledge(0);
  CHECK(!m.chip.mayDeferEoi(0, vector));  // 60h waits for it
  m.apic(0xb0, 0, 0);
  vector = m.chip.acknowledge(0);
  CHECK_EQ(vector, 0x60);
  CHECK(m.chip.mayDeferEoi(0, vector));

  // The chip still takes 60h to be in service: it asks the processor to look rather than keep a lower vector back for ever.
  const unsigned before = m.world.interrupts[0];
  m.chip.sendMsi(0xfee00000, 0x41);
  CHECK_EQ(m.world.interrupts[0], before + 1);
  CHECK(!m.chip.interruptPending(0));
  m.chip.finishEoi(0, true);
  CHECK(m.chip.interruptPending(0));
  CHECK_EQ(m.chip.acknowledge(0), 0x41);
  // Withdrawn: the guest's own EOI is still to come.
  CHECK(m.chip.mayDeferEoi(0, 0x41));
  m.chip.finishEoi(0, false);
  m.chip.sendMsi(0xfee00000, 0x42);
  CHECK(!m.chip.interruptPending(0));
  m.apic(0xb0, 0, 0);
  CHECK_EQ(m.chip.acknowledge(0), 0x42);
}
