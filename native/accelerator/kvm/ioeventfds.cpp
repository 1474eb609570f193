#include "accelerator/kvm/ioeventfds.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace lodge::kvm {
namespace {

/** Beyond the numbers that doorbells have. */
constexpr uint64_t kEnd = 1ull << 32;
constexpr int kAtOnce = 16;

}  // namespace

IoEventFds::IoEventFds(const Descriptor& vm, std::function<void(uint32_t id)> rung) : vm_(vm), rung_(std::move(rung)) {}

IoEventFds::~IoEventFds() {
  if (!listener_.joinable()) return;
  const uint64_t one = 1;
  while (write(end_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
  listener_.join();
}

bool IoEventFds::watch(const Descriptor& event, uint64_t token) noexcept {
  epoll_event interest{};
  interest.events = EPOLLIN;
  interest.data.u64 = token;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, event.get(), &interest) == 0;
}

bool IoEventFds::start() noexcept {
  if (listener_.joinable()) return true;
  epoll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
  end_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll_ || !end_ || !watch(end_, kEnd)) return false;
  try {
    listener_ = std::thread([this] { listen(); });
  } catch (const std::system_error&) {
    return false;
  }
  return true;
}

void IoEventFds::add(const Doorbell& bell) noexcept {
  if (!start()) return;
  Bell added{Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), {}};
  if (!added.event || !watch(added.event, bell.id)) return;
  added.assigned.addr = bell.address;
  added.assigned.len = bell.width;
  added.assigned.fd = added.event.get();
  added.assigned.flags = bell.kind == DoorbellKind::Port ? 1u << kvm_ioeventfd_flag_nr_pio : 0;
  // Before KVM knows it: a vCPU may ring it at once.
  const std::lock_guard hold(lock_);
  const auto [at, fresh] = bells_.try_emplace(bell.id, std::move(added));
  if (fresh && call(vm_, KVM_IOEVENTFD, &at->second.assigned) < 0) bells_.erase(at);
}

void IoEventFds::remove(uint32_t id) noexcept {
  const std::lock_guard hold(lock_);
  const auto at = bells_.find(id);
  if (at == bells_.end()) return;
  at->second.assigned.flags |= 1u << kvm_ioeventfd_flag_nr_deassign;
  call(vm_, KVM_IOEVENTFD, &at->second.assigned);
  bells_.erase(at);  // and closed, which takes it from the epoll set
}

void IoEventFds::listen() noexcept {
  epoll_event events[kAtOnce];
  for (;;) {
    const int count = epoll_wait(epoll_.get(), events, kAtOnce, -1);
    if (count < 0 && errno != EINTR) return;
    for (int n = 0; n < count; ++n) {
      if (events[n].data.u64 == kEnd) return;
      const auto id = static_cast<uint32_t>(events[n].data.u64);
      {
        const std::lock_guard hold(lock_);
        const auto at = bells_.find(id);
        uint64_t times;
        if (at == bells_.end() || read(at->second.event.get(), &times, sizeof times) != sizeof times) continue;
      }
      rung_(id);
    }
  }
}

}  // namespace lodge::kvm
