/** The state of a processor when its guest crashed, as a person looks at it. Numbers wider than 53 bits are hexadecimal text. */
import { z } from 'zod';

const hex = z.string().regex(/^[0-9a-f]{1,16}$/);

export const CRASH_CODE_MAX = 64;
export const CRASH_STACK_MAX = 32;
export const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const;

const segmentSchema = z.object({ selector: z.int(), base: hex, limit: z.int(), attributes: z.int() });
const tableSchema = z.object({ base: hex, limit: z.int() });

export const crashedCpuSchema = z.object({
  vcpu: z.int().min(0),
  activity: z.enum(['runnable', 'halted', 'waitForSipi']),
  rip: hex,
  rflags: hex,
  /** RAX RCX RDX RBX RSP RBP RSI RDI R8 … R15 */
  gpr: z.array(hex).length(16),
  segments: z.object({
    es: segmentSchema,
    cs: segmentSchema,
    ss: segmentSchema,
    ds: segmentSchema,
    fs: segmentSchema,
    gs: segmentSchema,
    ldtr: segmentSchema,
    tr: segmentSchema,
  }),
  gdtr: tableSchema,
  idtr: tableSchema,
  cr0: hex,
  cr2: hex,
  cr3: hex,
  cr4: hex,
  cr8: hex,
  efer: hex,
  /** DR0–DR3, DR6, DR7 */
  dr: z.array(hex).length(6),
  /** Linear address of the first byte, and bytes from there; null: not mapped. */
  code: z.object({ address: hex, bytes: z.array(z.int().min(0).max(255).nullable()).max(CRASH_CODE_MAX) }),
  /** From the instruction pointer on, as far as it is mapped; the bytes as hexadecimal digits. */
  instructions: z
    .array(z.object({ address: hex, bytes: z.string().max(30), text: z.string().max(120) }))
    .max(CRASH_CODE_MAX)
    .default([]),
  /** From the stack pointer upwards; null: not mapped. */
  stack: z.object({
    address: hex,
    wordBytes: z.union([z.literal(2), z.literal(4), z.literal(8)]),
    words: z.array(hex.nullable()).max(CRASH_STACK_MAX),
  }),
});
export type CrashedCpu = z.infer<typeof crashedCpuSchema>;
