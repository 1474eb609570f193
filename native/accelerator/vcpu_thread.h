// The thread of one virtual processor, as the life cycle (threaded_machine.h) sees it.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cstdint>
#include <optional>

#include "accelerator/accelerator.h"

namespace lodge {

/** What is blocked in the threads of a machine: all but the signals an instruction of the thread itself raises. */
sigset_t machineSignalMask() noexcept;
/** A thread with that mask. False: the host has none to give. */
bool startMachineThread(pthread_t& thread, void* (*main)(void*), void* argument) noexcept;

class VcpuThread {
 public:
  explicit VcpuThread(unsigned index) : index_(index) {}
  /** Whoever derives joins in its own destructor: run() is its. */
  virtual ~VcpuThread() = default;
  VcpuThread(const VcpuThread&) = delete;
  VcpuThread& operator=(const VcpuThread&) = delete;

  unsigned index() const noexcept { return index_; }
  /** False: the host has no thread to give. */
  bool start();
  void join();

  /** What the thread is doing, for stopping the world: only Running touches guest memory, the physical map or the doorbells. */
  enum class Mode : uint8_t { Idle, Running, Waiting };
  std::atomic<Mode> mode{Mode::Idle};

  /** Any thread: the guest stops running soon, and runs no more until mayRun() on the vCPU's own thread. */
  virtual void stopRunning() noexcept = 0;
  virtual void mayRun() noexcept = 0;
  virtual bool stopWanted() const noexcept = 0;
  /** On its thread or while parked: an access the guest began is complete only after it ran again. */
  virtual bool unfinished() const noexcept { return false; }
  /** How it goes on from where it is parked. Before mayRun(). */
  virtual void goOn(Go how) noexcept = 0;
  virtual VcpuStats stats() noexcept = 0;

  // For the governor (governor.h).
  /** CPU time of the thread in nanoseconds; any thread. */
  uint64_t cpuNanoseconds() const noexcept;
  /** Nanoseconds it was ready to run while the host ran something else; any thread. Nothing where the host does not tell. */
  std::optional<uint64_t> waitedNanoseconds() const noexcept;
  /** Nanoseconds it was kept from running by the cap or the quota. */
  std::atomic<uint64_t> withheld{0};

  /** The sampling thread: so many periods have passed. */
  virtual void sampleTick(uint32_t ticks) noexcept = 0;
  SampleBuffer samples;

 protected:
  virtual void run() noexcept = 0;
  bool started() const noexcept { return started_; }
  pthread_t thread() const noexcept { return thread_; }
  double cpuSeconds() const noexcept { return static_cast<double>(cpuNanoseconds()) / 1e9; }
  /** What every kind of vCPU knows of itself. */
  VcpuStats commonStats() const noexcept;

  x86::Counter exits_[4], doorbells_, quick_;  ///< written on the vCPU's thread

 private:
  const unsigned index_;
  pthread_t thread_{};
  std::atomic<int> id_{0};  // the host's number of the thread, once it runs
  bool started_ = false;
};

}  // namespace lodge
