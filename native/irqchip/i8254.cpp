#include "irqchip/i8254.h"

namespace lodge {
namespace {

using Wide = unsigned __int128;
constexpr uint64_t kSecond = 1'000'000'000;

uint64_t ticksIn(uint64_t ns) { return static_cast<uint64_t>(static_cast<Wide>(ns) * kPitHz / kSecond); }
/** The first nanosecond at which ticksIn() gives `ticks`. */
uint64_t nsOf(uint64_t ticks) { return static_cast<uint64_t>((static_cast<Wide>(ticks) * kSecond + kPitHz - 1) / kPitHz); }

uint16_t toBcd(uint32_t value) {
  return static_cast<uint16_t>(value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 | value / 1000 % 10 << 12);
}
uint32_t fromBcd(uint16_t value) { return (value & 15) + (value >> 4 & 15) * 10 + (value >> 8 & 15) * 100 + (value >> 12) * 1000; }

}  // namespace

uint64_t I8254::Channel::ticks(uint64_t now) const noexcept {
  return held + (running() && now > start ? ticksIn(now - start) : 0);
}

uint64_t I8254::Channel::timeOfTick(uint64_t tick) const noexcept {
  return tick <= held ? start : start + nsOf(tick - held);
}

/** Takes over a count written during the last period, once that has ended. */
void I8254::Channel::sync(uint64_t now) noexcept {
  if (pendingReload == 0 || ticks(now) < pendingAtTick) return;
  // Edges of the old period that nobody took yet stay owed: edgesTaken goes negative modulo 2^64 and comes back in takeEdges.
  edgesTaken -= pendingAtTick / reload;
  start = timeOfTick(pendingAtTick);
  held = 0;
  reload = pendingReload;
  pendingReload = 0;
  nullCount = false;
}

uint16_t I8254::Channel::count(uint64_t now) const noexcept {
  const uint32_t modulus = bcd ? 10000 : 0x10000;
  const uint64_t elapsed = ticks(now);
  uint64_t value = reload;
  if (counting) {
    switch (mode) {
      case 2: value = reload - elapsed % reload; break;
      // Counts by two through each half; an odd count spends its extra tick in the high half.
      case 3: value = (reload & ~1u) - elapsed * 2 % reload / 2 * 2; break;
      default: value = (reload + modulus - elapsed % modulus) % modulus;
    }
  }
  value %= modulus;
  return bcd ? toBcd(static_cast<uint32_t>(value)) : static_cast<uint16_t>(value);
}

bool I8254::Channel::output(uint64_t now) const noexcept {
  const uint64_t elapsed = ticks(now);
  switch (mode) {
    case 0: return counting && elapsed >= reload;
    case 1: return !counting || elapsed >= reload;
    case 2: return !running() || elapsed % reload != reload - 1;
    case 3: return !running() || elapsed % reload < (reload + 1) / 2;
    default: return !counting || elapsed != reload;
  }
}

void I8254::Channel::setGate(bool level, uint64_t now) noexcept {
  if (level == gate) return;
  sync(now);
  const uint64_t elapsed = ticks(now);
  gate = level;
  switch (mode) {
    case 0:
    case 4:  // the gate only holds the count
      held = elapsed;
      start = now;
      break;
    case 2:
    case 3:  // a rising gate starts a new period
      if (level) {
        held = 0;
        start = now;
        edgesTaken = 0;
      }
      break;
    default:  // 1 and 5: a rising gate triggers
      if (level && !nullCount) {
        counting = true;
        held = 0;
        start = now;
        edgesTaken = 0;
      }
  }
}

void I8254::Channel::control(uint8_t value) noexcept {
  access = value >> 4 & 3;
  mode = value >> 1 & 7;
  if (mode > 5) mode &= 3;  // x10 and x11 are modes 2 and 3
  bcd = value & 1;
  counting = writeHigh = readHigh = statusLatched = false;
  nullCount = true;
  latchedBytes = 0;
  pendingReload = 0;
  held = 0;
  edgesTaken = 0;
}

void I8254::Channel::load(uint16_t value, uint64_t now) noexcept {
  const uint32_t maximum = bcd ? 10000 : 0x10000;
  uint32_t wanted = bcd ? fromBcd(value) : value;
  if (wanted == 0 || wanted > maximum) wanted = maximum;
  sync(now);
  if (periodic() && counting) {
    pendingReload = wanted;
    pendingAtTick = (ticks(now) / reload + 1) * reload;
    nullCount = true;
    return;
  }
  reload = wanted;
  nullCount = false;
  held = 0;
  start = now;
  edgesTaken = 0;
  counting = mode != 1 && mode != 5;  // those wait for the gate
}

void I8254::Channel::writeByte(uint8_t value, uint64_t now) noexcept {
  switch (access) {
    case 1: load(value, now); break;
    case 2: load(static_cast<uint16_t>(value << 8), now); break;
    default:
      if (!writeHigh) {
        lowByte = value;
        writeHigh = true;
        if (mode == 0) counting = false;  // the first byte stops a mode 0 count
      } else {
        writeHigh = false;
        load(static_cast<uint16_t>(value << 8 | lowByte), now);
      }
  }
}

void I8254::Channel::latchCount(uint64_t now) noexcept {
  if (latchedBytes != 0) return;  // the first latch stays until it is read
  latch = count(now);
  latchedBytes = access == 3 ? 2 : 1;
  readHigh = false;
}

void I8254::Channel::latchStatus(uint64_t now) noexcept {
  if (statusLatched) return;
  statusLatched = true;
  status = static_cast<uint8_t>((output(now) ? 0x80 : 0) | (nullCount ? 0x40 : 0) | access << 4 | mode << 1 | (bcd ? 1 : 0));
}

uint8_t I8254::Channel::readByte(uint64_t now) noexcept {
  if (statusLatched) {
    statusLatched = false;
    return status;
  }
  const uint16_t value = latchedBytes != 0 ? latch : count(now);
  bool high = access == 2;
  if (access == 3) {
    high = readHigh;
    readHigh = !readHigh;
  }
  if (latchedBytes != 0) --latchedBytes;
  return static_cast<uint8_t>(high ? value >> 8 : value);
}

void I8254::reset(uint64_t now) noexcept {
  for (Channel& channel : channels_) {
    channel = Channel{};
    channel.start = now;
  }
  channels_[2].gate = false;
  port61_ = 0;
}

uint8_t I8254::read(uint16_t port, uint64_t now) noexcept {
  for (Channel& channel : channels_) channel.sync(now);
  if (port == 0x61) {
    // Bit 4 toggles with every refresh request; PCs have channel 1 at 18 ticks, 15.1 µs, whatever is programmed.
    const uint8_t refresh = ticksIn(now) / 18 & 1 ? 0x10 : 0;
    return static_cast<uint8_t>(port61_ | refresh | (channels_[2].output(now) ? 0x20 : 0));
  }
  return port >= 0x40 && port <= 0x42 ? channels_[port - 0x40].readByte(now) : 0xff;
}

void I8254::write(uint16_t port, uint8_t value, uint64_t now) noexcept {
  for (Channel& channel : channels_) channel.sync(now);
  if (port == 0x61) {
    port61_ = value & 0x0f;
    channels_[2].setGate(value & 1, now);
  } else if (port == 0x43) {
    const unsigned select = value >> 6;
    if (select == 3) {  // read-back: bits 1–3 name channels, bits 4 and 5 are active low
      for (unsigned i = 0; i < 3; ++i) {
        if (!(value >> (i + 1) & 1)) continue;
        if (!(value & 0x20)) channels_[i].latchCount(now);
        if (!(value & 0x10)) channels_[i].latchStatus(now);
      }
    } else if ((value & 0x30) == 0) {
      channels_[select].latchCount(now);
    } else {
      channels_[select].control(value);
    }
  } else if (port >= 0x40 && port <= 0x42) {
    channels_[port - 0x40].writeByte(value, now);
  }
}

uint64_t I8254::nextEdge() const noexcept {
  const Channel& c = channels_[0];
  if (!c.running()) return kNever;
  if (!c.periodic()) return c.edgesTaken == 0 ? c.timeOfTick(c.edgeTick()) : kNever;
  if (static_cast<int64_t>(c.edgesTaken) < 0) return c.start;  // owed from the period before, see sync()
  const uint64_t next = (c.edgesTaken + 1) * c.reload;
  return c.timeOfTick(c.pendingReload != 0 && c.pendingAtTick < next ? c.pendingAtTick : next);
}

uint64_t I8254::takeEdges(uint64_t now) noexcept {
  Channel& c = channels_[0];
  c.sync(now);
  if (!c.running()) return 0;
  uint64_t passed;
  if (c.periodic()) {
    passed = c.ticks(now) / c.reload;
  } else {
    passed = c.ticks(now) >= c.edgeTick() ? 1 : 0;
  }
  const uint64_t edges = passed - c.edgesTaken;
  c.edgesTaken = passed;
  return edges;
}

uint64_t I8254::period() const noexcept {
  const Channel& c = channels_[0];
  return c.running() && c.periodic() ? nsOf(c.reload) : 0;
}

}  // namespace lodge
