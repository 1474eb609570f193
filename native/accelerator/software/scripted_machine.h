// For the tests of SoftwareMachine: processors that are C++ functions.
#pragma once

#include "accelerator/software/machine.h"
#include "testing/machine_owner.h"

namespace lodge::software {
using x86::Activity;
using x86::IoStatus;
using x86::RunExit;

/** A processor whose instructions are calls of one function. */
class ScriptedCpu final : public x86::Cpu {
 public:
  enum class Step { Next, Halt, Fault, Abandoned };
  using Program = std::function<Step(ScriptedCpu&)>;

  ScriptedCpu(const x86::CpuConfig& config, PhysicalMemory& memory, x86::Environment& env, Program program)
      : config(config), memory(memory), env(env), program_(std::move(program)) {}

  void reset() noexcept override {
    state_ = {};
    state_.rflags = 2;
    state_.xcr0 = 1;
    state_.activity = config.index == 0 ? Activity::Runnable : Activity::WaitForSipi;
  }
  RunExit run() noexcept override {
    for (;;) {
      const uint32_t pending = requests_.load();
      if (pending & x86::kRequestTlbFlush) clearRequest(x86::kRequestTlbFlush);
      if (pending & x86::kRequestSample) {
        clearRequest(x86::kRequestSample);
        env.sample();
      }
      if (pending & x86::kRequestInit) {
        clearRequest(x86::kRequestInit);
        state_.activity = Activity::WaitForSipi;
      }
      if (pending & x86::kRequestStartup) {
        clearRequest(x86::kRequestStartup);
        if (state_.activity == Activity::WaitForSipi) {
          state_.activity = Activity::Runnable;
          state_.seg[x86::kCs].selector = static_cast<uint16_t>(startupVector.load() << 8);
        }
      }
      if (pending & x86::kRequestStop) return RunExit::StopRequested;
      if (state_.activity == Activity::WaitForSipi) return RunExit::WaitForSipi;
      if ((pending & x86::kRequestInterrupt) && (state_.rflags & x86::kIf)) {
        clearRequest(x86::kRequestInterrupt);
        if (const int vector = env.acknowledgeInterrupt(); vector >= 0) {
          state_.activity = Activity::Runnable;
          vectors.push_back(vector);
        }
        if (looksAgain && env.interruptPending()) request(x86::kRequestInterrupt);
      }
      if (state_.activity == Activity::Halted) return RunExit::Halted;
      switch (program_(*this)) {
        case Step::Next:
          ++state_.rip;
          instructions_.fetch_add(1, std::memory_order_relaxed);
          break;
        case Step::Halt:
          ++state_.rip;
          state_.activity = Activity::Halted;
          break;
        case Step::Fault: return RunExit::TripleFault;
        case Step::Abandoned: return RunExit::Abandoned;
      }
    }
  }
  std::string message() const override { return "scripted"; }
  x86::State& state() noexcept override { return state_; }
  void stateChanged() noexcept override {}
  bool readMsr(uint32_t index, uint64_t& value) noexcept override {
    value = lstar_;
    return index == 0xc0000082;
  }
  bool writeMsr(uint32_t index, uint64_t value) noexcept override {
    if (index != 0xc0000082) return false;
    lstar_ = value;
    return true;
  }
  void setDebugPoints(const x86::DebugPoints& points) noexcept override { debugPoints = points; }
  void setStep(bool) noexcept override {}
  x86::DebugStop debugStop() const noexcept override { return {}; }
  void request(uint32_t bits) noexcept override { requests_.fetch_or(bits); }
  uint32_t requests() const noexcept override { return requests_.load(); }
  void clearRequest(uint32_t bits) noexcept override { requests_.fetch_and(~bits); }
  uint64_t instructions() const noexcept override { return instructions_.load(std::memory_order_relaxed); }
  const x86::CpuCounters& counters() const noexcept override { return counters_; }
  x86::Place place() const noexcept override { return {state_.rip, false, false, state_.activity != Activity::Runnable}; }

  void apic(uint32_t offset, uint32_t value) { env.mmioWrite(0xfee00000 + offset, 4, &value); }
  Step out(uint16_t port, uint32_t value) {
    return env.portOut(port, 4, 1, &value) == IoStatus::Done ? Step::Next : Step::Abandoned;
  }

  const x86::CpuConfig config;
  PhysicalMemory& memory;
  x86::Environment& env;
  std::vector<int> vectors;
  x86::DebugPoints debugPoints;
  bool looksAgain = true;  ///< false: as in a handler that runs with interrupts off

 private:
  Program program_;
  x86::State state_;
  std::atomic<uint32_t> requests_{0};
  std::atomic<uint64_t> instructions_{0};
  uint64_t lstar_ = 0;
  x86::CpuCounters counters_;
};

/** The owner's side of a machine of scripted processors. */
struct Owner : testing::MachineOwner {
  std::function<void(unsigned vcpu, uint8_t* record)> onExit = [](unsigned, uint8_t*) {};

  explicit Owner(unsigned cpus, ScriptedCpu::Program program) {
    Error error;
    machine = SoftwareMachine::create(
        config(cpus), [program](const x86::CpuConfig& cpu, PhysicalMemory& memory, x86::Environment& env) {
          return std::make_unique<ScriptedCpu>(cpu, memory, env, program);
        }, error);
    CHECK_EQ(error.size(), 0u);
  }

  void exited(unsigned vcpu, uint8_t* record) override { onExit(vcpu, record); }
  bool pauseAndWait() {
    events.clear();
    machine->pause();
    return serveUntil([&] { return saw(Event::Kind::Paused); });
  }
};

}  // namespace lodge::software
