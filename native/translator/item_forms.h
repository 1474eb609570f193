// What the parts of describe() share.
#pragma once

#include "translator/item.h"

namespace lodge::translator {

constexpr uint16_t bit(unsigned gpr) { return static_cast<uint16_t>(1u << (gpr & 15)); }

/** The memory operand; false: this tier cannot compute its address. */
bool addressOf(const x86::Decoded& d, int32_t offset, const Setting& setting, Access& a);
/** The same into the item's access, when the instruction has such an operand. */
bool memoryOperand(Item& item, const Setting& setting, unsigned size, bool write);
/** Both ModRM operands are general registers, or memory. */
void modRmGprs(Item& item, bool regRead, bool regWritten, bool rmRead, bool rmWritten);
/** Only the r/m operand is. */
void rmGpr(Item& item, bool read, bool written);

// Each fills in the item; false leaves the instruction to the interpreter.
bool describeSimd(Item& item, const Setting& setting);
bool describeVex(Item& item, const Setting& setting);
bool describeVexInteger(Item& item, const Setting& setting);
bool describeX87(Item& item, const Setting& setting);

}  // namespace lodge::translator
