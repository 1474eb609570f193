#include "accelerator/kvm/cpuid.h"

#include <linux/kvm_para.h>

#include <algorithm>
#include <memory>

#include "x86/cpuid.h"
#include "x86/fp_ops.h"

namespace lodge::kvm {
namespace {

/** Leaves with features in registers eax, ebx, ecx, edx (bits 0–3): a bit that KVM does not have is not offered. */
struct Features {
  uint32_t leaf;
  unsigned registers;
};
constexpr Features kFeatures[] = {{1, 0b1100},          {7, 0b1110},          {0xd, 0b0001},          {0x80000001, 0b1100},
                                  {0x80000007, 0b1000}, {0x80000008, 0b0010}, {0x80000021, 0b0101}};

/** Subleaves the policy's table has; SDM vol. 2, CPUID. */
struct Leaves {
  uint32_t first, last;
  unsigned subleaves;  // 0: the subleaf does not matter
};
constexpr Leaves kLeaves[] = {{0, 3, 0},   {4, 4, 4},     {5, 6, 0},     {7, 7, 1}, {8, 0xa, 0}, {0xb, 0xb, 3}, {0xc, 0xc, 1}, {0xd, 0xd, 3},
                              {0x40000000, 0x40000000, 0}, {0x40000010, 0x40000010, 0}, {0x40000100, 0x40000100, 0},
                              {0x80000000, 0x80000008, 0}, {0x80000021, 0x80000021, 0}};
constexpr uint32_t kFeatureLeaf = 0x40000101;

/** Paravirtual features that need nothing of Lodge. Not asynchronous page faults: their interrupt is not part of saved state. */
constexpr uint32_t kParavirtual = 1u << KVM_FEATURE_NOP_IO_DELAY | 1u << KVM_FEATURE_CLOCKSOURCE2 | 1u << KVM_FEATURE_PV_EOI |
                                  1u << KVM_FEATURE_PV_UNHALT | 1u << KVM_FEATURE_PV_SEND_IPI | 1u << KVM_FEATURE_CLOCKSOURCE_STABLE_BIT;

}  // namespace

Error setCpuid(const Descriptor& device, const Descriptor& vcpu, unsigned index, unsigned count, uint64_t tscHz, const x86::CpuModel* chosen) {
  using List = CpuidList<512>;  // KVM itself takes at most 256
  const auto supported = std::make_unique<List>(), offered = std::make_unique<List>();
  int result = call(device, kGetSupportedCpuid, supported.get());
  if (result < 0) return hostError("KVM does not say what its processors can do", result);
  const auto find = [&](uint32_t leaf, uint32_t subleaf) -> const kvm_cpuid_entry2* {
    const kvm_cpuid_entry2 *const all = supported->entries, *const end = all + supported->count;
    const auto* const found = std::find_if(all, end, [&](const kvm_cpuid_entry2& e) { return e.function == leaf && e.index == subleaf; });
    return found == end ? nullptr : found;
  };

  offered->count = 0;
  const auto add = [&](uint32_t leaf, uint32_t subleaf, bool significant, const uint32_t r[4]) {
    kvm_cpuid_entry2 entry{};
    entry.function = leaf, entry.index = subleaf, entry.flags = significant ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
    entry.eax = r[0], entry.ebx = r[1], entry.ecx = r[2], entry.edx = r[3];
    offered->entries[offered->count++] = entry;
  };
  const x86::CpuModel& model = chosen != nullptr ? *chosen : x86::defaultCpuModel();
  for (const Leaves& leaves : kLeaves) {
    for (uint32_t leaf = leaves.first; leaf <= leaves.last; ++leaf) {
      for (uint32_t subleaf = 0; subleaf < std::max(1u, leaves.subleaves); ++subleaf) {
        const x86::CpuidQuery query{leaf, subleaf, index, count, &model, x86::offeredFeatures(model), tscHz, false, true};
        uint32_t r[4];
        x86::cpuidLookup(query, r);
        const kvm_cpuid_entry2* const host = find(leaf, subleaf);
        const uint32_t can[4] = {host ? host->eax : 0, host ? host->ebx : 0, host ? host->ecx : 0, host ? host->edx : 0};
        for (const Features& features : kFeatures) {
          if (features.leaf != leaf) continue;
          for (unsigned i = 0; i < 4; ++i) {
            if (!(features.registers >> i & 1)) continue;
            // KVM_GET_SUPPORTED_CPUID leaves out the TSC deadline and, on some versions, x2APIC; the in-kernel APIC has both. HTT
            // only says that the count of processors is valid.
            uint32_t keep = 0;
            if (leaf == 1 && i == 2) {
              keep = 1u << 31 | 1u << 21 | (extension(device, KVM_CAP_TSC_DEADLINE_TIMER) > 0 ? 1u << 24 : 0);
            } else if (leaf == 1 && i == 3) {
              keep = 1u << 28;
            } else if (leaf == 0x80000001 && i == 2) {
              keep = 1u << 1;
            }
            r[i] &= can[i] | keep;
          }
        }
        if (leaf == 0x80000008 && host != nullptr) r[0] = (r[0] & ~0xffu) | std::min(r[0] & 0xff, can[0] & 0xff);
        add(leaf, subleaf, leaves.subleaves != 0, r);
      }
    }
  }
  const kvm_cpuid_entry2* const paravirtual = find(KVM_CPUID_FEATURES, 0);
  const uint32_t features[4] = {paravirtual != nullptr ? paravirtual->eax & kParavirtual : 0, 0, 0, 0};
  add(kFeatureLeaf, 0, false, features);
  result = call(vcpu, kSetCpuid2, offered.get());
  return result < 0 ? hostError("KVM refuses this processor model", result) : Error{};
}

}  // namespace lodge::kvm
