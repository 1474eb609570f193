#include "accelerator/kvm/state.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "accelerator/cpu_state.h"

namespace lodge::kvm {
namespace {

/** The KVM clock's page: not part of kSavedMsrs, as software has it elsewhere. */
constexpr uint32_t kMsrKvmSystemTime = 0x4b564d01;

/** Lodge's order of the general registers, which is the encoding's, in KVM's structure. */
constexpr __u64 kvm_regs::* kGprs[16] = {&kvm_regs::rax, &kvm_regs::rcx, &kvm_regs::rdx, &kvm_regs::rbx, &kvm_regs::rsp, &kvm_regs::rbp,
                                        &kvm_regs::rsi, &kvm_regs::rdi, &kvm_regs::r8,  &kvm_regs::r9,  &kvm_regs::r10, &kvm_regs::r11,
                                        &kvm_regs::r12, &kvm_regs::r13, &kvm_regs::r14, &kvm_regs::r15};
constexpr kvm_segment kvm_sregs::* kSegments[x86::kSegCount] = {&kvm_sregs::es, &kvm_sregs::cs, &kvm_sregs::ss,  &kvm_sregs::ds,
                                                               &kvm_sregs::fs, &kvm_sregs::gs, &kvm_sregs::ldt, &kvm_sregs::tr};

// attributes: type 0–3, S 4, DPL 5–6, P 7, AVL 12, L 13, D/B 14, G 15.
x86::SegmentRegister fromKvm(const kvm_segment& from) {
  x86::SegmentRegister out;
  out.base = from.base, out.limit = from.limit, out.selector = from.selector;
  const unsigned present = from.present && !from.unusable;
  out.attributes = static_cast<uint16_t>((from.type & 15) | (from.s & 1) << 4 | (from.dpl & 3) << 5 | present << 7 | (from.avl & 1) << 12 |
                                         (from.l & 1) << 13 | (from.db & 1) << 14 | (from.g & 1) << 15);
  return out;
}

kvm_segment toKvm(const x86::SegmentRegister& from) {
  kvm_segment out{};
  const unsigned a = from.attributes;
  out.base = from.base, out.limit = from.limit, out.selector = from.selector;
  out.type = a & 15, out.s = a >> 4 & 1, out.dpl = a >> 5 & 3, out.present = a >> 7 & 1, out.avl = a >> 12 & 1, out.l = a >> 13 & 1;
  out.db = a >> 14 & 1, out.g = a >> 15 & 1, out.unusable = !out.present;
  return out;
}

// XSAVE's legacy area is an FXSAVE64 image; after it comes XSTATE_BV, whose low bits say that x87 and SSE are in it. (KVM_GET_FPU
// has no MXCSR.)
constexpr size_t kXstateBv = 512;
constexpr uint64_t kX87AndSse = 3, kYmm = 4;
constexpr size_t kYmmAt = 576, kHalf = 16;  // standard format: bit 2 says that the upper halves are there

/** XCR0; what KVM has at power-on where it cannot be asked. */
uint64_t readXcr0(const Descriptor& vcpu) {
  kvm_xcrs xcrs{};
  if (call(vcpu, KVM_GET_XCRS, &xcrs) < 0) return 1;
  for (uint32_t i = 0; i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; ++i) {
    if (xcrs.xcrs[i].xcr == 0) return xcrs.xcrs[i].value;
  }
  return 1;
}

Error failed(const char* what, int result) {
  return result == -EINVAL ? std::string("This host's KVM does not take this state (") + what + ")." : hostError("KVM failed to move a processor's state", result);
}

}  // namespace

bool readMsr(const Descriptor& vcpu, uint32_t msr, uint64_t& value) noexcept {
  OneMsr one;
  one.entry.index = msr;
  if (call(vcpu, kGetMsrs, &one) != 1) return false;
  value = one.entry.data;
  return true;
}

bool writeMsr(const Descriptor& vcpu, uint32_t msr, uint64_t value) noexcept {
  OneMsr one;
  one.entry.index = msr, one.entry.data = value;
  return call(vcpu, kSetMsrs, &one) == 1;
}

Error getState(const Descriptor& vcpu, CpuSnapshot& out) {
  kvm_regs regs{};
  kvm_sregs sregs{};
  Xsave fpu;
  kvm_debugregs debug{};
  kvm_mp_state activity{};
  int result;
  // The activity first: asking for it takes in an INIT or a SIPI that waits, which changes the others.
  if ((result = call(vcpu, KVM_GET_MP_STATE, &activity)) < 0 || (result = call(vcpu, KVM_GET_REGS, &regs)) < 0 ||
      (result = call(vcpu, KVM_GET_SREGS, &sregs)) < 0 || (result = call(vcpu, kGetXsave, &fpu)) < 0 ||
      (result = call(vcpu, KVM_GET_DEBUGREGS, &debug)) < 0) {
    return hostError("KVM does not give a processor's state", result);
  }
  x86::State& state = out.state;
  FxsaveImage image;
  std::memcpy(image.data(), fpu.area, image.size());
  unpackFxsave(image, state);
  uint64_t present;
  std::memcpy(&present, fpu.area + kXstateBv, sizeof present);
  for (unsigned i = 0; i < 16; ++i) {
    uint8_t* const half = state.vec[i].bytes + kHalf;
    if (present & kYmm) std::memcpy(half, fpu.area + kYmmAt + kHalf * i, kHalf);
    else std::memset(half, 0, kHalf);
  }
  state.xcr0 = readXcr0(vcpu);
  for (unsigned i = 0; i < 16; ++i) state.gpr[i] = regs.*kGprs[i];
  state.rip = regs.rip, state.rflags = regs.rflags;
  for (unsigned i = 0; i < x86::kSegCount; ++i) state.seg[i] = fromKvm(sregs.*kSegments[i]);
  state.gdtr = {sregs.gdt.base, sregs.gdt.limit};
  state.idtr = {sregs.idt.base, sregs.idt.limit};
  state.cr0 = sregs.cr0, state.cr2 = sregs.cr2, state.cr3 = sregs.cr3, state.cr4 = sregs.cr4, state.cr8 = sregs.cr8;
  state.efer = sregs.efer, state.apicBase = sregs.apic_base;
  for (unsigned i = 0; i < 4; ++i) state.dr[i] = debug.db[i];
  state.dr[6] = debug.dr6, state.dr[7] = debug.dr7;
  switch (activity.mp_state) {
    case KVM_MP_STATE_HALTED: state.activity = x86::Activity::Halted; break;
    case KVM_MP_STATE_UNINITIALIZED:
    case KVM_MP_STATE_INIT_RECEIVED: state.activity = x86::Activity::WaitForSipi; break;
    default: state.activity = x86::Activity::Runnable;
  }
  out.msrs.emplace_back(kMsrApicBase, sregs.apic_base);
  uint64_t value;
  for (uint32_t msr : kSavedMsrs) {
    if (readMsr(vcpu, msr, value)) out.msrs.emplace_back(msr, value);
  }
  if (readMsr(vcpu, kMsrKvmSystemTime, value) && value != 0) out.msrs.emplace_back(kMsrKvmSystemTime, value);
  return {};
}

Error setState(const Descriptor& vcpu, const CpuSnapshot& in) {
  const x86::State& state = in.state;
  kvm_regs regs{};
  kvm_sregs sregs{};
  int result;
  if ((result = call(vcpu, KVM_GET_REGS, &regs)) < 0 || (result = call(vcpu, KVM_GET_SREGS, &sregs)) < 0) return failed("registers", result);
  for (unsigned i = 0; i < 16; ++i) regs.*kGprs[i] = state.gpr[i];
  regs.rip = state.rip, regs.rflags = state.rflags;
  for (unsigned i = 0; i < x86::kSegCount; ++i) sregs.*kSegments[i] = toKvm(state.seg[i]);
  sregs.gdt = {state.gdtr.base, state.gdtr.limit, {}};
  sregs.idt = {state.idtr.base, state.idtr.limit, {}};
  sregs.cr0 = state.cr0, sregs.cr2 = state.cr2, sregs.cr3 = state.cr3, sregs.cr4 = state.cr4, sregs.cr8 = state.cr8, sregs.efer = state.efer;
  for (const auto& [msr, value] : in.msrs) {
    if (msr == kMsrApicBase) sregs.apic_base = value;
  }
  Xsave fpu;
  if ((result = call(vcpu, kGetXsave, &fpu)) < 0) return failed("floating point", result);
  uint8_t* const area = fpu.area;
  constexpr size_t kMxcsrMaskAt = 28;
  FxsaveImage image = packFxsave(state);
  std::memcpy(&image[kMxcsrMaskAt], area + kMxcsrMaskAt, 4);
  std::memcpy(area, image.data(), image.size());
  uint64_t present;
  std::memcpy(&present, area + kXstateBv, sizeof present);
  present |= kX87AndSse;
  bool upper = false;
  for (unsigned i = 0; i < 16; ++i) {
    std::memcpy(area + kYmmAt + kHalf * i, state.vec[i].bytes + kHalf, kHalf);
    upper |= std::any_of(state.vec[i].bytes + kHalf, state.vec[i].bytes + 2 * kHalf, [](uint8_t byte) { return byte != 0; });
  }
  present = upper ? present | kYmm : present & ~kYmm;
  std::memcpy(area + kXstateBv, &present, sizeof present);
  kvm_debugregs debug{};
  std::copy_n(state.dr, 4, debug.db);
  debug.dr6 = state.dr[6], debug.dr7 = state.dr[7];
  kvm_mp_state activity{};
  activity.mp_state = state.activity == x86::Activity::Halted        ? KVM_MP_STATE_HALTED
                      : state.activity == x86::Activity::WaitForSipi ? KVM_MP_STATE_INIT_RECEIVED
                                                                     : KVM_MP_STATE_RUNNABLE;
  if ((result = call(vcpu, KVM_SET_SREGS, &sregs)) < 0) return failed("control registers", result);
  if ((result = call(vcpu, KVM_SET_REGS, &regs)) < 0) return failed("general registers", result);
  if (state.xcr0 != readXcr0(vcpu)) {
    kvm_xcrs xcrs{};
    xcrs.nr_xcrs = 1;
    xcrs.xcrs[0].value = state.xcr0;
    if ((result = call(vcpu, KVM_SET_XCRS, &xcrs)) < 0) return failed("XCR0", result);
  }
  if ((result = call(vcpu, kSetXsave, &fpu)) < 0) return failed("floating point", result);
  if ((result = call(vcpu, KVM_SET_DEBUGREGS, &debug)) < 0) return failed("debug registers", result);
  for (const auto& [msr, value] : in.msrs) {
    if (msr == kMsrApicBase || msr == kMsrTsc || msr == kMsrTscDeadline) continue;
    if (!writeMsr(vcpu, msr, value)) return "MSR " + std::to_string(msr) + " does not exist here or cannot have this value.";
  }
  if ((result = call(vcpu, KVM_SET_MP_STATE, &activity)) < 0) return failed("activity", result);
  return {};
}

Error PowerOnState::read(const Descriptor& device, const Descriptor& vcpu) {
  int result;
  if ((result = call(vcpu, KVM_GET_MP_STATE, &activity_)) < 0 || (result = call(vcpu, KVM_GET_REGS, &regs_)) < 0 ||
      (result = call(vcpu, KVM_GET_SREGS, &sregs_)) < 0 || (result = call(vcpu, kGetXsave, &fpu_)) < 0 ||
      (result = call(vcpu, KVM_GET_DEBUGREGS, &debug_)) < 0 || (result = call(vcpu, KVM_GET_VCPU_EVENTS, &events_)) < 0 ||
      (result = call(vcpu, KVM_GET_LAPIC, &apic_)) < 0) {
    return hostError("KVM does not give a processor's state", result);
  }
  constexpr uint32_t kMost = 4096;
  std::vector<uint32_t> list(kMost + 1);
  list[0] = kMost;
  if ((result = call(device, kGetMsrIndexList, list.data())) < 0) return hostError("KVM does not list its MSRs", result);
  for (uint32_t i = 0; i < std::min(list[0], kMost); ++i) {
    const uint32_t msr = list[i + 1];
    uint64_t value;
    if (msr != kMsrTsc && msr != kMsrTscDeadline && readMsr(vcpu, msr, value)) msrs_.emplace_back(msr, value);
  }
  for (uint32_t msr : kSavedMsrs) {
    uint64_t value;
    const bool known = std::any_of(msrs_.begin(), msrs_.end(), [&](const auto& m) { return m.first == msr; });
    if (!known && readMsr(vcpu, msr, value)) msrs_.emplace_back(msr, value);
  }
  return {};
}

Error PowerOnState::write(const Descriptor& vcpu) const {
  int result;
  if ((result = call(vcpu, KVM_SET_SREGS, &sregs_)) < 0) return failed("control registers", result);
  if ((result = call(vcpu, KVM_SET_LAPIC, &apic_)) < 0) return failed("local APIC", result);
  // Some that can be read cannot be written: those do not change either.
  for (const auto& [msr, value] : msrs_) writeMsr(vcpu, msr, value);
  if ((result = call(vcpu, KVM_SET_REGS, &regs_)) < 0) return failed("general registers", result);
  if ((result = call(vcpu, kSetXsave, &fpu_)) < 0) return failed("floating point", result);
  if ((result = call(vcpu, KVM_SET_DEBUGREGS, &debug_)) < 0) return failed("debug registers", result);
  if ((result = call(vcpu, KVM_SET_VCPU_EVENTS, &events_)) < 0) return failed("events", result);
  if ((result = call(vcpu, KVM_SET_MP_STATE, &activity_)) < 0) return failed("activity", result);
  return {};
}

}  // namespace lodge::kvm
