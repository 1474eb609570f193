#include "translator/collector.h"

#include <algorithm>
#include <cstring>

#include "translator/translation.h"

namespace lodge::translator {

using namespace x86;

namespace {

constexpr size_t kMaxTrace = 224;      ///< instructions
constexpr unsigned kMaxBranches = 8;  ///< conditional ones inside a unit

int64_t pageStart(int64_t at) { return at & ~static_cast<int64_t>(kPageMask); }

bool offsetReachesOut(const uint8_t* page, unsigned offset, CodeSize size) {
  const unsigned left = static_cast<unsigned>(kPageBytes) - offset;
  Decoded d;
  return left < 15 && decode(page + offset, left, size, d) == DecodeStatus::Truncated;
}

}  // namespace

Setting Collector::settingOf(uint32_t mode, const FeatureSet& features) {
  Setting setting;
  setting.size = static_cast<CodeSize>(mode & kModeCodeSize);
  setting.flatFs = mode & kModeFlatFs;
  setting.flatGs = mode & kModeFlatGs;
  setting.user = (mode & kModePrivilege) >> kModePrivilegeShift == kUser;
  setting.vectors = !(mode & kModeNoVectors);
  setting.x87 = !(mode & kModeNoX87);
  setting.vex = !(mode & kModeNoVex);
  setting.features = features;
  return setting;
}

bool Collector::reachesOut(Gpa gpa, uint32_t mode) const {
  const uint8_t* const host = c_.memory.page(gpa & ~kPageMask).host;
  return host && offsetReachesOut(host, static_cast<unsigned>(gpa & kPageMask), static_cast<CodeSize>(mode & kModeCodeSize));
}

const uint8_t* Collector::join(Gpa gpa, Gpa second) {
  const unsigned offset = static_cast<unsigned>(gpa & kPageMask), here = static_cast<unsigned>(kPageBytes) - offset;
  const uint8_t *const first = c_.memory.page(gpa & ~kPageMask).host, *const more = c_.memory.page(second).host;
  if (!first || !more || here >= 15) return nullptr;
  std::memcpy(joined_, first + offset, here);
  std::memcpy(joined_ + here, more, 15);
  return joined_;
}

Setting Collector::openUnit(Gpa gpa, uint32_t mode, Unit& unit) const {
  Setting setting = settingOf(mode, c_.features);
  setting.checked = checked;
  unit.size = setting.size;
  unit.mode = mode & ~kModeCareful;
  unit.careful = mode & kModeCareful;
  unit.doors = mode & kModeSmap;
  unit.privilege = static_cast<Privilege>((mode & kModePrivilege) >> kModePrivilegeShift);
  unit.start = static_cast<uint16_t>(gpa & kPageMask);
  return setting;
}

bool Collector::collectCrossing(Gpa gpa, Gpa second, uint32_t mode, Unit& unit) {
  const Setting setting = openUnit(gpa, mode, unit);
  Item item;
  const uint8_t* const bytes = join(gpa, second);
  if (!bytes || !describe(bytes, 15, unit.start, setting, item)) return false;
  unit.items.push_back(item);
  unit.end = unit.start + item.d.length;
  return true;
}

bool Collector::collectTrace(Gpa gpa, uint32_t mode, const std::vector<int64_t>& path, const PageOf& pageOf, Unit& unit) const {
  const Setting setting = openUnit(gpa, mode, unit);
  unit.trace = true;
  int64_t at = unit.start;
  size_t next = 1;  // of the path
  bool worth = false;
  const auto follows = [&](int64_t target) {
    if (next == path.size() || path[next] != target) return false;
    ++next;
    at = target;
    return true;
  };
  while (unit.items.size() < kMaxTrace) {
    const uint8_t* const host = pageOf(pageStart(at));
    Item item;
    const auto offset = static_cast<unsigned>(at - pageStart(at));
    if (!host || !describe(host + offset, static_cast<unsigned>(kPageBytes) - offset, static_cast<int32_t>(at), setting, item)) break;
    unit.items.push_back(item);
    at += item.d.length;
    if (item.kind == Kind::StepEnd || (item.kind == Kind::UserDoor && unit.doors)) break;
    if (item.kind < Kind::Jcc || item.kind > Kind::Ret) {
      follows(at);
      worth = worth || at >= static_cast<int64_t>(kPageBytes) || at < 0;
      continue;
    }
    const int64_t target = at + static_cast<int64_t>(item.d.immediate);
    const bool indirect = item.kind >= Kind::JmpFar;
    if (indirect ? next == path.size() || !follows(path[next]) : !follows(target) && (item.kind != Kind::Jcc || !follows(at))) break;
    worth = worth || item.kind >= Kind::Call || (item.kind == Kind::Jcc && at == target);
  }
  if (unit.items.empty() || !worth) return false;
  const Item& last = unit.items.back();
  at = last.offset + last.d.length;
  unit.end = static_cast<int32_t>(at);
  if (last.kind == Kind::Jmp || last.kind == Kind::Call) at += static_cast<int64_t>(last.d.immediate);
  else if (last.kind > Kind::Jmp && last.kind != Kind::FlagBit) return true;
  const uint8_t* const host = pageOf(pageStart(at));
  const auto offset = static_cast<unsigned>(at - pageStart(at));
  // What reaches into the next page is found by the table alone.
  unit.tail = host && unit.open && offsetReachesOut(host, offset, setting.size);
  if (host) {
    unsigned end;
    unit.liveOut = flagsNeeded(host, offset, setting, end);
    unit.aheadFrom = static_cast<int32_t>(at);
    unit.aheadTo = static_cast<int32_t>(pageStart(at) + end);
  }
  return true;
}

bool Collector::collect(Gpa gpa, uint32_t mode, const uint8_t* host, const Known& known, Unit& unit) const {
  const Setting setting = openUnit(gpa, mode, unit);
  const Gpa page = gpa & ~kPageMask;
  unsigned at = unit.start, branches = 0;
  while (at < kPageBytes && unit.items.size() < maxInstructions_) {
    Item item;
    if (!describe(host + at, static_cast<unsigned>(kPageBytes) - at, static_cast<int32_t>(at), setting, item)) break;
    unit.items.push_back(item);
    const Decoded& d = item.d;
    at += d.length;
    if (item.kind == Kind::StepEnd || (item.kind == Kind::UserDoor && unit.doors)) break;
    if (item.kind == Kind::Jmp) {
      const int64_t target = static_cast<int64_t>(at) + static_cast<int64_t>(d.immediate);
      const bool inPage = target >= 0 && target < static_cast<int64_t>(kPageBytes);
      const bool seen = inPage && std::any_of(unit.items.begin(), unit.items.end(),
                                              [&](const Item& i) { return i.offset == target; });
      if (!inPage || seen || ++branches > kMaxBranches || known(page | static_cast<Gpa>(target), true)) break;
      // Followed: but only when at least one instruction comes of it.
      Item next;
      if (unit.items.size() >= maxInstructions_ ||
          !describe(host + target, static_cast<unsigned>(kPageBytes - target), static_cast<int32_t>(target), setting, next))
        break;
      at = static_cast<unsigned>(target);
      continue;
    }
    if (item.kind == Kind::Jcc) {
      if (++branches > kMaxBranches || known(page | at, false)) break;
      continue;
    }
    if (item.kind >= Kind::Call && item.kind <= Kind::Ret) break;
  }
  unit.end = static_cast<int32_t>(at);
  unit.tail = at < kPageBytes && reachesOut(page | at, mode);
  if (unit.items.empty()) return false;
  // Where it goes on in this page tells which flags matter there.
  const Item& last = unit.items.back();
  int64_t next = at;
  if (last.kind == Kind::Jmp || last.kind == Kind::Call) next = last.offset + last.d.length + static_cast<int64_t>(last.d.immediate);
  else if (last.kind > Kind::Jmp && last.kind != Kind::FlagBit) next = -1;
  if (next >= 0 && next < static_cast<int64_t>(kPageBytes)) {
    unsigned end;
    unit.liveOut = flagsNeeded(host, static_cast<unsigned>(next), setting, end);
    unit.aheadFrom = static_cast<int32_t>(next);
    unit.aheadTo = static_cast<int32_t>(end);
  }
  return true;
}

}  // namespace lodge::translator
