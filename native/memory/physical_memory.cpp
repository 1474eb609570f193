#include "memory/physical_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <new>
#include <shared_mutex>

#ifdef __SANITIZE_THREAD__
extern "C" void AnnotateBenignRaceSized(const char* file, int line, const volatile void* memory, long bytes, const char* why);
#endif

namespace lodge {
namespace {

/** In a page's flag while observers hear of it: whoever finds a holder's bit, or 0, knows that everybody has heard. */
constexpr uint8_t kCodeTelling = 0x80;

constexpr unsigned kLeafBits = 14;
constexpr unsigned kRootBits = kPhysicalAddressBits - 12 - kLeafBits;
constexpr uint64_t kLeafEntries = 1ull << kLeafBits;
constexpr uint64_t kRootEntries = 1ull << kRootBits;
constexpr uint64_t kAddressLimit = 1ull << kPhysicalAddressBits;

/** A PC has RAM below and above 4 GiB, some ROMs and one or two framebuffers; hot-added memory is the rest. */
constexpr unsigned kMaxRegions = 256;

// A leaf entry is one word, so that it can be replaced atomically: the host page's address (user addresses end below 2^47),
// the region in the top 16 bits and flags in the page offset. Zero: not backed.
using Entry = uint64_t;
constexpr Entry kBacked = 1, kWritable = 2, kTracked = 4, kWritesExit = 8;
constexpr unsigned kRegionShift = 48;
constexpr Entry kHostMask = ((1ull << kRegionShift) - 1) & ~kPageMask;

struct Leaf {
  std::array<std::atomic<Entry>, kLeafEntries> entries;
};

uint8_t* hostOf(Entry entry) { return reinterpret_cast<uint8_t*>(entry & kHostMask); }
unsigned regionOf(Entry entry) { return static_cast<unsigned>(entry >> kRegionShift); }

struct Region {
  RegionKind kind;
  uint64_t bytes;
  int fd = -1;
  uint8_t* host = nullptr;
  std::unique_ptr<std::atomic<uint8_t>[]> code;    // one flag a page
  std::unique_ptr<std::atomic<uint64_t>[]> dirty;  // one bit a page; Vram only

  uint64_t pages() const { return bytes / kPageBytes; }
  ~Region() {
    if (host != nullptr) munmap(host, bytes);
    if (fd >= 0) close(fd);
  }
};

struct Mapping {
  Gpa gpa;
  uint64_t bytes;
  unsigned region;
  uint64_t offset;
};

std::string hostError(const char* what) { return std::string(what) + ": " + std::strerror(errno) + "."; }

bool inAddressSpace(Gpa gpa, uint64_t bytes) { return gpa < kAddressLimit && bytes <= kAddressLimit - gpa; }

}  // namespace

struct PhysicalMemory::Impl {
  std::unique_ptr<std::atomic<Leaf*>[]> root{new std::atomic<Leaf*>[kRootEntries]()};
  std::array<std::atomic<Region*>, kMaxRegions> regions{};
  std::atomic<unsigned> regionCount{0};

  // Guards `mappings` and `observers`. Held shared while observers are told, so an observer must not add or remove observers,
  // nor map or unmap. Innermost but for the observers' own queues: see accelerator/software/machine.h for the order.
  mutable std::shared_mutex lock;
  mutable std::mutex codeLock;  ///< one flag of a page at a time changes
  std::vector<Mapping> mappings;
  std::vector<CodeObserver*> observers;

  Entry entry(Gpa gpa) const {
    if (gpa >= kAddressLimit) return 0;
    const Leaf* leaf = root[gpa >> (12 + kLeafBits)].load(std::memory_order_acquire);
    if (leaf == nullptr) return 0;
    return leaf->entries[(gpa >> 12) & (kLeafEntries - 1)].load(std::memory_order_acquire);
  }

  Region* region(RegionId id) const { return id < kMaxRegions ? regions[id].load(std::memory_order_acquire) : nullptr; }

  uint64_t pageIndex(Entry e, const Region& r) const { return static_cast<uint64_t>(hostOf(e) - r.host) / kPageBytes; }

  void markDirty(Entry e) const {
    const Region& r = *region(regionOf(e));
    const uint64_t index = pageIndex(e, r);
    r.dirty[index / 64].fetch_or(1ull << (index % 64), std::memory_order_release);
  }

  std::atomic<uint8_t>& codeFlag(Entry e) const {
    const Region& r = *region(regionOf(e));
    return r.code[pageIndex(e, r)];
  }

  /** Clears the flag and names to every observer each guest-physical address this page of the region is visible at. */
  void reportCode(const Region& r, unsigned id, uint64_t index) const {
    std::atomic<uint8_t>& flag = r.code[index];
    if (flag.load(std::memory_order_acquire) == 0) return;
    const std::lock_guard<std::mutex> turn(codeLock);
    if (flag.load(std::memory_order_relaxed) == 0) return;
    flag.store(kCodeTelling, std::memory_order_seq_cst);
    tellOfCode(r, id, index);
    flag.store(0, std::memory_order_seq_cst);
  }
  void tellOfCode(const Region& r, unsigned id, uint64_t index) const {
    const uint64_t offset = index * kPageBytes;
    std::shared_lock hold(lock);
    for (const Mapping& m : mappings) {
      if (m.region != id || offset < m.offset || offset - m.offset >= m.bytes) continue;
      for (CodeObserver* observer : observers) observer->onCodePageWritten(m.gpa + (offset - m.offset));
    }
  }

  void reportCode(Entry e) const {
    const Region& r = *region(regionOf(e));
    reportCode(r, regionOf(e), pageIndex(e, r));
  }

  void wroteEntry(Entry e) const {
    if (e & kTracked) markDirty(e);
    if (codeFlag(e).load(std::memory_order_acquire) != 0) reportCode(e);
  }

  bool backed(Gpa gpa, uint64_t bytes) const {
    if (bytes == 0) return true;
    if (!inAddressSpace(gpa, bytes)) return false;
    for (Gpa at = gpa & ~kPageMask; at < gpa + bytes; at += kPageBytes) {
      if (entry(at) == 0) return false;
    }
    return true;
  }

  /** Code seen through these addresses is about to become something else. */
  void forgetCode(Gpa gpa, uint64_t bytes) const {
    for (Gpa at = gpa; at < gpa + bytes; at += kPageBytes) {
      const Entry e = entry(at);
      if (e != 0) reportCode(e);
    }
  }

  /** Takes [gpa, gpa + bytes) out of the list, splitting what overlaps. Under the exclusive lock. */
  void removeMappings(Gpa gpa, uint64_t bytes) {
    std::vector<Mapping> kept;
    const Gpa end = gpa + bytes;
    for (const Mapping& m : mappings) {
      const Gpa mEnd = m.gpa + m.bytes;
      if (mEnd <= gpa || m.gpa >= end) {
        kept.push_back(m);
        continue;
      }
      if (m.gpa < gpa) kept.push_back({m.gpa, gpa - m.gpa, m.region, m.offset});
      if (mEnd > end) kept.push_back({end, mEnd - end, m.region, m.offset + (end - m.gpa)});
    }
    mappings = std::move(kept);
  }
};

PhysicalMemory::PhysicalMemory() : impl_(std::make_unique<Impl>()) {}

PhysicalMemory::~PhysicalMemory() {
  for (uint64_t i = 0; i < kRootEntries; ++i) {
    Leaf* leaf = impl_->root[i].load(std::memory_order_relaxed);
    if (leaf != nullptr) munmap(leaf, sizeof(Leaf));
  }
  for (auto& region : impl_->regions) delete region.load(std::memory_order_relaxed);
}

std::string PhysicalMemory::addRegion(RegionKind kind, uint64_t bytes, RegionId& out) {
  if (bytes == 0 || (bytes & kPageMask) != 0) return "A memory region must be a positive multiple of 4096 bytes.";
  if (bytes > kAddressLimit) return "A memory region cannot be larger than the guest-physical address space.";
  const unsigned id = impl_->regionCount.load(std::memory_order_relaxed);
  if (id == kMaxRegions) return "Too many memory regions.";

  auto region = std::make_unique<Region>();
  region->kind = kind;
  region->bytes = bytes;
  constexpr const char* kNames[] = {"lodge-ram", "lodge-rom", "lodge-vram", "lodge-flash"};
  region->fd = memfd_create(kNames[static_cast<size_t>(kind)], MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (region->fd < 0) return hostError("The host cannot create guest memory");
  if (ftruncate(region->fd, static_cast<off_t>(bytes)) != 0) return hostError("The host cannot size guest memory");
  // A file that could shrink would turn guest accesses into SIGBUS.
  if (fcntl(region->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) return hostError("The host cannot seal guest memory");
  void* host = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, region->fd, 0);
  if (host == MAP_FAILED) return hostError("The host cannot map guest memory");
  region->host = static_cast<uint8_t*>(host);
  // Both are hints: guest RAM does not belong in a core dump, and large pages help where the host grants them to shmem.
  madvise(host, bytes, MADV_DONTDUMP);
  if (kind == RegionKind::Ram) madvise(host, bytes, MADV_HUGEPAGE);
#ifdef __SANITIZE_THREAD__
  AnnotateBenignRaceSized(__FILE__, __LINE__, host, static_cast<long>(bytes), "what guest programs race for is theirs");
#endif

  region->code.reset(new (std::nothrow) std::atomic<uint8_t>[region->pages()]());
  if (region->code == nullptr) return "The host has no memory left for the page flags of this region.";
  if (kind == RegionKind::Vram) {
    region->dirty.reset(new (std::nothrow) std::atomic<uint64_t>[(region->pages() + 63) / 64]());
    if (region->dirty == nullptr) return "The host has no memory left for the dirty bitmap of this region.";
  }
  impl_->regions[id].store(region.release(), std::memory_order_release);
  impl_->regionCount.store(id + 1, std::memory_order_release);
  out = id;
  return {};
}

std::string PhysicalMemory::map(RegionId id, uint64_t regionOffset, Gpa gpa, uint64_t bytes) {
  Region* region = impl_->region(id);
  if (region == nullptr) return "There is no such memory region.";
  if (bytes == 0 || ((regionOffset | gpa | bytes) & kPageMask) != 0) return "Mappings must be whole pages of 4096 bytes.";
  if (regionOffset > region->bytes || bytes > region->bytes - regionOffset) return "The mapping reaches past its memory region.";
  if (!inAddressSpace(gpa, bytes)) return "The mapping reaches past the guest-physical address space.";

  // Every leaf first, so that a host without memory leaves the map as it was.
  for (Gpa at = gpa & ~((kLeafEntries << 12) - 1); at < gpa + bytes; at += kLeafEntries << 12) {
    std::atomic<Leaf*>& slot = impl_->root[at >> (12 + kLeafBits)];
    if (slot.load(std::memory_order_relaxed) != nullptr) continue;
    // Zero pages from mmap: a leaf of which a few entries are used costs one host page.
    void* leaf = mmap(nullptr, sizeof(Leaf), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (leaf == MAP_FAILED) return hostError("The host has no memory left for the guest's memory map");
    slot.store(static_cast<Leaf*>(leaf), std::memory_order_release);
  }
  impl_->forgetCode(gpa, bytes);

  std::unique_lock hold(impl_->lock);
  impl_->removeMappings(gpa, bytes);
  impl_->mappings.push_back({gpa, bytes, id, regionOffset});
  Entry flags = kBacked | static_cast<Entry>(id) << kRegionShift;
  if (region->kind == RegionKind::Ram || region->kind == RegionKind::Vram) flags |= kWritable;
  if (region->kind == RegionKind::Vram) flags |= kTracked;
  if (region->kind == RegionKind::Flash) flags |= kWritesExit;
  for (uint64_t done = 0; done < bytes; done += kPageBytes) {
    const Gpa at = gpa + done;
    Leaf* leaf = impl_->root[at >> (12 + kLeafBits)].load(std::memory_order_relaxed);
    const Entry host = reinterpret_cast<Entry>(region->host + regionOffset + done);
    leaf->entries[(at >> 12) & (kLeafEntries - 1)].store(host | flags, std::memory_order_release);
  }
  return {};
}

std::string PhysicalMemory::unmap(Gpa gpa, uint64_t bytes) {
  if (bytes == 0 || ((gpa | bytes) & kPageMask) != 0) return "Mappings must be whole pages of 4096 bytes.";
  if (!inAddressSpace(gpa, bytes)) return "The range reaches past the guest-physical address space.";
  impl_->forgetCode(gpa, bytes);

  std::unique_lock hold(impl_->lock);
  impl_->removeMappings(gpa, bytes);
  for (Gpa at = gpa; at < gpa + bytes; at += kPageBytes) {
    Leaf* leaf = impl_->root[at >> (12 + kLeafBits)].load(std::memory_order_relaxed);
    if (leaf != nullptr) leaf->entries[(at >> 12) & (kLeafEntries - 1)].store(0, std::memory_order_release);
  }
  return {};
}

PageEntry PhysicalMemory::page(Gpa gpa) const noexcept {
  const Entry e = impl_->entry(gpa);
  return {hostOf(e), (e & kWritable) != 0, (e & kWritesExit) != 0, (e & kTracked) != 0};
}

bool PhysicalMemory::read(Gpa gpa, void* into, uint64_t bytes) const noexcept {
  if (!impl_->backed(gpa, bytes)) return false;
  auto* to = static_cast<uint8_t*>(into);
  while (bytes != 0) {
    const uint64_t offset = gpa & kPageMask;
    const uint64_t part = std::min(bytes, kPageBytes - offset);
    std::memcpy(to, hostOf(impl_->entry(gpa)) + offset, part);
    to += part, gpa += part, bytes -= part;
  }
  return true;
}

bool PhysicalMemory::write(Gpa gpa, const void* from, uint64_t bytes) noexcept {
  if (!impl_->backed(gpa, bytes)) return false;
  auto* source = static_cast<const uint8_t*>(from);
  while (bytes != 0) {
    const uint64_t offset = gpa & kPageMask;
    const uint64_t part = std::min(bytes, kPageBytes - offset);
    const Entry e = impl_->entry(gpa);
    std::memcpy(hostOf(e) + offset, source, part);
    // After the bytes are there: a vCPU that decoded the page in between decoded it again, not for ever wrong.
    impl_->wroteEntry(e);
    source += part, gpa += part, bytes -= part;
  }
  return true;
}

bool PhysicalMemory::fill(Gpa gpa, uint64_t bytes, uint8_t value) noexcept {
  if (!impl_->backed(gpa, bytes)) return false;
  while (bytes != 0) {
    const uint64_t offset = gpa & kPageMask;
    const uint64_t part = std::min(bytes, kPageBytes - offset);
    const Entry e = impl_->entry(gpa);
    std::memset(hostOf(e) + offset, value, part);
    impl_->wroteEntry(e);
    gpa += part, bytes -= part;
  }
  return true;
}

uint8_t* PhysicalMemory::range(Gpa gpa, uint64_t bytes) const noexcept {
  if (!inAddressSpace(gpa, bytes)) return nullptr;
  const Entry first = impl_->entry(gpa);
  if (first == 0) return nullptr;
  uint8_t* const host = hostOf(first);
  const Gpa start = gpa & ~kPageMask;
  for (Gpa at = start + kPageBytes; at < gpa + bytes; at += kPageBytes) {
    const Entry e = impl_->entry(at);
    if (e == 0 || regionOf(e) != regionOf(first) || hostOf(e) != host + (at - start)) return nullptr;
  }
  return host + (gpa & kPageMask);
}

void PhysicalMemory::wrote(Gpa gpa, uint64_t bytes) noexcept {
  if (bytes == 0 || !inAddressSpace(gpa, bytes)) return;
  for (Gpa at = gpa & ~kPageMask; at < gpa + bytes; at += kPageBytes) {
    const Entry e = impl_->entry(at);
    if (e != 0) impl_->wroteEntry(e);
  }
}

void PhysicalMemory::regionWrote(RegionId id, uint64_t offset, uint64_t bytes) noexcept {
  const Region* region = impl_->region(id);
  if (region == nullptr || bytes == 0 || offset >= region->bytes) return;
  const uint64_t last = (std::min(bytes, region->bytes - offset) + offset - 1) / kPageBytes;
  for (uint64_t index = offset / kPageBytes; index <= last; ++index) {
    if (region->dirty != nullptr) region->dirty[index / 64].fetch_or(1ull << (index % 64), std::memory_order_release);
    if (region->code[index].load(std::memory_order_acquire) != 0) impl_->reportCode(*region, id, index);
  }
}

uint8_t* PhysicalMemory::regionHost(RegionId id) const noexcept {
  const Region* region = impl_->region(id);
  return region == nullptr ? nullptr : region->host;
}

uint64_t PhysicalMemory::regionBytes(RegionId id) const noexcept {
  const Region* region = impl_->region(id);
  return region == nullptr ? 0 : region->bytes;
}

void PhysicalMemory::markDirty(Gpa page) noexcept {
  const Entry e = impl_->entry(page);
  if (e & kTracked) impl_->markDirty(e);
}

bool PhysicalMemory::takeDirty(RegionId id, uint8_t* bitmap, uint64_t bitmapBytes) noexcept {
  const Region* region = impl_->region(id);
  if (region == nullptr || region->dirty == nullptr || bitmapBytes < (region->pages() + 7) / 8) return false;
  std::memset(bitmap, 0, bitmapBytes);
  bool any = false;
  for (uint64_t word = 0; word * 64 < region->pages(); ++word) {
    std::atomic<uint64_t>& slot = region->dirty[word];
    if (slot.load(std::memory_order_relaxed) == 0) continue;
    const uint64_t bits = slot.exchange(0, std::memory_order_acq_rel);
    any = true;
    for (unsigned i = 0; i < 8 && word * 8 + i < bitmapBytes; ++i) bitmap[word * 8 + i] = static_cast<uint8_t>(bits >> (i * 8));
  }
  // With no bit set no vCPU holds a permission it has not been asked to drop already: an idle screen wakes nobody.
  if (any) {
    std::shared_lock hold(impl_->lock);
    for (CodeObserver* observer : impl_->observers) observer->onDirtyTaken();
  }
  return any;
}

uint8_t PhysicalMemory::markCode(Gpa page, uint8_t holder) noexcept {
  const Entry e = impl_->entry(page);
  if (e == 0) return 0;
  std::atomic<uint8_t>& flag = impl_->codeFlag(e);
  const std::lock_guard<std::mutex> turn(impl_->codeLock);
  const uint8_t before = flag.load(std::memory_order_relaxed);
  if (before == 0) {
    flag.store(kCodeTelling, std::memory_order_seq_cst);
    std::shared_lock hold(impl_->lock);
    for (CodeObserver* observer : impl_->observers) observer->onCodeMarked(page & ~kPageMask);
  }
  // A full barrier: what is decoded from now on is what other vCPUs wrote before they looked at the flag.
  flag.store(before | holder, std::memory_order_seq_cst);
  return static_cast<uint8_t>(before & ~holder);
}

const std::atomic<uint8_t>* PhysicalMemory::codeFlag(Gpa gpa) const noexcept {
  const Entry e = impl_->entry(gpa);
  return e & kBacked ? &impl_->codeFlag(e) : nullptr;
}

uint8_t PhysicalMemory::codeHolders(Gpa page) const noexcept {
  const Entry e = impl_->entry(page);
  return e == 0 ? uint8_t{0} : impl_->codeFlag(e).load(std::memory_order_acquire);
}

void PhysicalMemory::codeWritten(Gpa page) noexcept {
  const Entry e = impl_->entry(page);
  if (e != 0) impl_->reportCode(e);
}

void PhysicalMemory::addObserver(CodeObserver* observer) {
  std::unique_lock hold(impl_->lock);
  impl_->observers.push_back(observer);
}

void PhysicalMemory::removeObserver(CodeObserver* observer) {
  std::unique_lock hold(impl_->lock);
  std::erase(impl_->observers, observer);
}

}  // namespace lodge
