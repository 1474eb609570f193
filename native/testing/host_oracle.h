// Test support: one instruction run on the host CPU with a given register state, and random operands worth running it on.
#pragma once

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "x86/fp/host_fp.h"

namespace lodge::x86::oracle {

/** What an instruction can see and change: an FXSAVE64 image, general registers, RFLAGS and a piece of memory. */
struct alignas(64) Context {
  uint8_t fx[512];
  uint64_t gpr[16];   ///< RSP and R15 are the harness's own; R14 points at `memory` + an offset
  uint64_t rflags;
  int signal;         ///< 0, or the signal the instruction raised
  alignas(64) uint8_t memory[1024];
};

/** Executes `instruction` (64-bit code) on the host with `context`, which is updated. */
class Host {
 public:
  Host();
  ~Host();
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;
  void run(const std::vector<uint8_t>& instruction, Context& context);

 private:
  static constexpr int kSignals[4] = {SIGFPE, SIGSEGV, SIGILL, SIGBUS};
  uint8_t* code_;
  struct sigaction previous_[4];
};

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t bits() { return engine_(); }
  /** 0 … n - 1 */
  unsigned below(unsigned n) { return static_cast<unsigned>(engine_() % n); }
  bool oneIn(unsigned n) { return below(n) == 0; }

  uint32_t float32();
  uint64_t float64();
  /** 10 bytes: every class of the format, with the encodings the 387 stopped supporting. */
  void float80(uint8_t* to);
  /** 16 bytes that mean something as floats, doubles, integers or text. */
  void vector(uint8_t* to);

 private:
  std::mt19937_64 engine_;
};

/** Everything random; no exception is pending. `unmasked`: exceptions may be unmasked. */
void randomise(Random&, Context&, bool unmaskedSimd, bool unmaskedX87);

void toState(const Context&, State&);
/** The FXSAVE image and general registers of a State. Pointers are left zero: hosts differ in when they save them. */
void fromState(const State&, Context&);

/** Names the first difference between two results; empty when there is none. */
std::string difference(const Context& host, const Context& ours);

/** LODGE_TEST_CASES multiplies the number of cases. */
inline unsigned scaled(unsigned cases) {
  const char* factor = std::getenv("LODGE_TEST_CASES");
  return factor ? cases * static_cast<unsigned>(std::atoi(factor)) : cases;
}

}  // namespace lodge::x86::oracle
