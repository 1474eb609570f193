/** Kernels that are not Linux bzImages, told apart by content: multiboot2 before multiboot (a kernel with both means the newer), then PVH. */
import type { Result } from '../../../lib/result';
import { findMultiboot, planMultiboot } from './multiboot';
import { findMultiboot2, planMultiboot2 } from './multiboot2';
import type { KernelFault, KernelInput, KernelPlan } from './plan';
import { findPvhEntry, planPvh } from './pvh';

export type { KernelFault, KernelInput, KernelPlan } from './plan';

/** Undefined: none of these. */
export function planKernel(input: KernelInput): Result<KernelPlan, KernelFault> | undefined {
  const second = findMultiboot2(input.file);
  if (second !== undefined) return planMultiboot2(input, second);
  const first = findMultiboot(input.file);
  if (first !== undefined) return planMultiboot(input, first);
  const pvh = findPvhEntry(input.file);
  return pvh === undefined ? undefined : planPvh(input, pvh);
}
