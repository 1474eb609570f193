// Functions of VEX rows, made when a guest first uses them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "x86/state.h"
#include "x86/vex_ops.h"

namespace lodge::x86 {

/** Vector registers are VectorRegister::bytes, 32 bytes; general registers 8. */
struct VexOperands {
  void* dst;          ///< register, or 32 writable bytes for what goes to memory (a general register's worth: 8)
  const void* src;    ///< reg or rm, or exactly the bytes of the memory operand
  const void* v;      ///< VEX.vvvv
  const void* last;   ///< register in imm8
  uint64_t flags;     ///< out: RFLAGS after the instruction, when the row says kFpWritesFlags
};
using VexFn = void (*)(VexOperands*);

struct VexVariant {
  const VexRow* row;
  bool l, wide, memory;
  uint8_t imm;
};

/** The functions one vCPU has needed so far. Their pages are mapped twice: nothing is writable and executable at one address. */
class VexThunks {
 public:
  VexThunks() = default;
  ~VexThunks();
  VexThunks(const VexThunks&) = delete;
  VexThunks& operator=(const VexThunks&) = delete;

  struct Entry {
    VexFn function;
    const VexRow* row;
  };
  /** Number of the variant's function; -1: the host gives no executable memory. Only forms that run as they are. */
  int find(const VexVariant& variant);
  const Entry* entries() const { return entries_.data(); }

  /** At most as many as there are rows times operand kinds times immediates: see the assertion. */
  static constexpr size_t kMaxEntries = 1 << 16;

 private:
  bool map();
  std::vector<Entry> entries_;
  std::unordered_map<uint64_t, uint16_t> index_;
  uint8_t *write_ = nullptr, *execute_ = nullptr;
  size_t used_ = 0;
  bool refused_ = false;
};

/**
 * Runs the function of a guest that unmasked SIMD exceptions; `bytes` of dst are committed when none of those is raised. `l` and `imm`
 * are VEX.L and imm8. The vector or -1.
 */
int vexUnmasked(State&, const VexThunks::Entry&, VexOperands&, unsigned bytes, bool l, uint8_t imm) noexcept;

/** Forms whose rows have functions. */
constexpr bool hasThunk(VexForm form) {
  switch (form) {
    case VexForm::Memory:
    case VexForm::None:
    case VexForm::String:
    case VexForm::MaskLoad:
    case VexForm::MaskStore:
    case VexForm::MaskStoreDi:
    case VexForm::Gather:
      return false;
    default:
      return true;
  }
}

}  // namespace lodge::x86
