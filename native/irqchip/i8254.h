// The 8254 interval timer of a PC (Intel 8254 data sheet 231164) and port 61h (82371SB, NMI status and control). Channel 0
// is the timer interrupt (gate always high), channel 1 the refresh request, channel 2 the speaker, gated by port 61h.
// Offered: modes 0–5, binary and BCD, all access modes, counter latch and read-back. Counts are computed from the clock,
// never ticked. A count is taken as loaded when its last byte is written (the chip: at the next CLK, < 1 µs later).
// Not thread-safe: IrqChip's lock. Times are the machine's nanoseconds.
#pragma once

#include <cstdint>

namespace lodge {

constexpr uint64_t kNever = ~0ull;
constexpr uint64_t kPitHz = 1193182;

class I8254 {
 public:
  void reset(uint64_t now) noexcept;
  /** Ports 40h–43h and 61h. */
  uint8_t read(uint16_t port, uint64_t now) noexcept;
  void write(uint16_t port, uint8_t value, uint64_t now) noexcept;

  /** When channel 0's output rises next; kNever if it will not. */
  uint64_t nextEdge() const noexcept;
  /** Number of rising edges of channel 0 since the last call. */
  uint64_t takeEdges(uint64_t now) noexcept;
  /** Between two edges of a periodic channel 0, in ns; 0 when it is not periodic. */
  uint64_t period() const noexcept;

 private:
  struct Channel {
    uint8_t mode = 3, access = 3;
    bool bcd = false, gate = true;
    bool counting = false;       // a count was loaded (modes 1 and 5: and the gate has triggered)
    bool nullCount = true;       // written, not loaded yet
    bool writeHigh = false, readHigh = false;
    uint8_t lowByte = 0;
    uint32_t reload = 0x10000;   // 1–10000h, or 1–10000 in BCD
    uint32_t pendingReload = 0;  // modes 2 and 3: taken over at the end of the period that ends at pendingAtTick
    uint64_t pendingAtTick = 0;
    uint64_t start = 0;          // when `held` was right
    uint64_t held = 0;           // ticks counted before `start` (the gate stopped modes 0 and 4)
    uint64_t edgesTaken = 0;
    uint8_t latchedBytes = 0;    // bytes of `latch` still to be read
    uint16_t latch = 0;
    bool statusLatched = false;
    uint8_t status = 0;

    bool periodic() const noexcept { return mode == 2 || mode == 3; }
    bool running() const noexcept { return counting && (gate || mode == 1 || mode == 5); }
    uint64_t ticks(uint64_t now) const noexcept;
    uint64_t timeOfTick(uint64_t tick) const noexcept;
    void sync(uint64_t now) noexcept;
    uint16_t count(uint64_t now) const noexcept;
    bool output(uint64_t now) const noexcept;
    void setGate(bool level, uint64_t now) noexcept;
    void control(uint8_t value) noexcept;
    void load(uint16_t value, uint64_t now) noexcept;
    void writeByte(uint8_t value, uint64_t now) noexcept;
    uint8_t readByte(uint64_t now) noexcept;
    void latchCount(uint64_t now) noexcept;
    void latchStatus(uint64_t now) noexcept;
    uint64_t edgeTick() const noexcept { return mode == 4 || mode == 5 ? reload + 1 : reload; }
  };

  Channel channels_[3];
  uint8_t port61_ = 0;  // bits 0–3 as written
};

}  // namespace lodge
