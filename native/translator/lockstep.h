// The check mode: translator and interpreter in lockstep. A stretch of translated code (some units, linked as ever)
// is executed, its end is kept, and everything it did is undone. Then the interpreter executes from the same state; it has to come
// through the state that translated code ended in, registers and memory alike. From there it goes on, as the reference. The first
// difference stops the machine and shows both states.
//
// So that everything happens once: the stretch ends in front of an instruction that cannot be repeated (ports, MMIO, time, system
// registers, faults), which the interpreter alone executes; devices wait at the gate of guest memory meanwhile, and interrupts are
// taken between stretches. Flags are compared where they are live and defined. FPU instruction and data pointers are not compared.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "x86/interpreter/core.h"
#include "x86/interpreter/memory_log.h"

namespace lodge::translator {

/** What is outside the processor, out of reach while a stretch is executed. */
class SealedEnvironment final : public x86::Environment {
 public:
  explicit SealedEnvironment(Environment& outside) : outside_(outside) {}
  void seal(bool sealed) { sealed_ = sealed, breached_ = false; }
  /** Something was asked that cannot be refused: the stretch is not to be compared. */
  bool breached() const { return breached_; }

  x86::IoStatus portIn(uint16_t port, unsigned width, unsigned count, void* data) noexcept override {
    return sealed_ ? x86::IoStatus::Abandoned : outside_.portIn(port, width, count, data);
  }
  x86::IoStatus portOut(uint16_t port, unsigned width, unsigned count, const void* data) noexcept override {
    return sealed_ ? x86::IoStatus::Abandoned : outside_.portOut(port, width, count, data);
  }
  x86::IoStatus mmioRead(Gpa gpa, unsigned width, void* data) noexcept override {
    return sealed_ ? x86::IoStatus::Abandoned : outside_.mmioRead(gpa, width, data);
  }
  x86::IoStatus mmioWrite(Gpa gpa, unsigned width, const void* data) noexcept override {
    return sealed_ ? x86::IoStatus::Abandoned : outside_.mmioWrite(gpa, width, data);
  }
  void sample() noexcept override { open().sample(); }
  bool interruptPending() noexcept override { return open().interruptPending(); }
  int acknowledgeInterrupt() noexcept override { return open().acknowledgeInterrupt(); }
  uint64_t readTsc() noexcept override { return open().readTsc(); }
  void writeTsc(uint64_t value) noexcept override { open().writeTsc(value); }
  uint64_t readTpr() noexcept override { return open().readTpr(); }
  void writeTpr(uint64_t cr8) noexcept override { open().writeTpr(cr8); }
  bool readApicMsr(uint32_t msr, uint64_t& value) noexcept override { return open().readApicMsr(msr, value); }
  bool writeApicMsr(uint32_t msr, uint64_t value) noexcept override { return open().writeApicMsr(msr, value); }
  void kick(uint32_t apicId) noexcept override { open().kick(apicId); }
  void setPvEoi(uint64_t msr) noexcept override { open().setPvEoi(msr); }
  uint64_t stolenTime() noexcept override { return open().stolenTime(); }

 private:
  Environment& open() {
    breached_ |= sealed_;
    return outside_;
  }
  Environment& outside_;
  bool sealed_ = false, breached_ = false;
};

/** Registers as they are between two instructions, with what the host holds of them. */
struct Registers {
  x86::State state;
  uint16_t ax = 0;
  void take(x86::Core& core);
  void putBack(x86::Core& core) const;
  uint64_t flags() const;
  /** Arithmetic flags that differ, and kOtherThanFlags. `narrow`: upper halves of general registers mean nothing. */
  uint32_t difference(const Registers& other, bool narrow) const;
};
constexpr uint32_t kOtherThanFlags = 1u << 31;

class Lockstep {
 public:
  using Outcome = x86::SecondTier::Outcome;

  Lockstep(x86::Core& core, std::unique_ptr<SealedEnvironment> environment);
  bool valid() const { return log_.valid(); }

  /** `code` executes translated code from state.rip on, and calls begin() first. */
  Outcome run(const std::function<Outcome()>& code);
  void begin();
  /** Translated code is about to be left, with these flags alive; `polled`: for a request alone. */
  void leaves(uint32_t live, bool polled) { live_ = live, polled_ = polled; }

  /** The instruction does nothing but change registers and memory, as both say. */
  static bool repeatable(const x86::Decoded& d);

 private:
  struct Piece {
    Gpa gpa, second;  ///< of its first byte; of the page in which its last instruction ends, if that is another, else ~0
    uint16_t bytes;
    x86::CodeSize size;
  };

  Outcome interpretOne();
  bool follow();
  bool sameRegisters();
  bool sameMemory() const;
  std::vector<uint8_t> bytesOf(const Piece& piece) const;
  uint32_t undefinedFlags(uint32_t wanted) const;
  std::string report(const Registers& interpreted, const std::string& why) const;

  x86::Core& c_;
  std::unique_ptr<SealedEnvironment> environment_;
  x86::MemoryLog log_;
  Registers before_, translated_, interpreted_;
  bool begun_ = false, polled_ = false;
  uint32_t live_ = x86::kArith;
  std::vector<Piece> path_;  ///< what the interpreter executed of this stretch
  std::string why_;          ///< the interpreter could not go on
};

/** Both states, and what the stretch began with: registers, then memory that differs. */
std::string describeDifference(const x86::Core& core, const x86::MemoryLog& log, const Registers& before, const Registers& translated,
                               const Registers& interpreted, const std::string& why);

}  // namespace lodge::translator
