/** What a running machine does: counters that grow, whose differences are rates, and a statistical profile of the guest. */
import { z } from 'zod';

const count = z.number().nonnegative();
const VCPUS_MAX = 64;

/** Since the machine was started; absent is what the engine that runs it cannot tell. */
export const vcpuCountersSchema = z.object({
  /** Host CPU time of its thread. */
  cpuSeconds: count,
  halted: z.boolean(),
  haltedSeconds: count.optional(),
  /** Guest instructions. */
  instructions: count.optional(),
  /** Accesses of the guest to devices that had to wait for the device's answer. */
  exits: z.object({ portIn: count, portOut: count, mmioRead: count, mmioWrite: count }),
  /** Notifications of devices that did not wait. */
  doorbells: count,
  /** Lodge's own processor. A block is a run of decoded instructions. */
  counters: z
    .object({
      interrupts: count,
      exceptions: count,
      blocksDecoded: count,
      blocksCached: count,
      blocksInvalidated: count,
      cacheFlushes: count,
      tlbMisses: count,
      pageWalks: count,
    })
    .optional(),
  /** The translator, where it runs. A unit is guest code translated as a whole. */
  translator: z
    .object({
      units: count,
      /** Units of code that was interpreted before. */
      tierUps: count,
      /** Paths through calls and returns that were translated as one unit. */
      traces: count,
      invalidations: count,
      /** Times that all units were dropped, as when the cache was full. */
      flushes: count,
      codeBytes: count,
      codeLimit: count,
      /** Time in translated code and in the interpreter, estimated from one in some entries. */
      translatedNs: count,
      interpretedNs: count,
      /** Lockstep only: stretches of code that were executed twice. */
      checks: count,
    })
    .optional(),
});
export type VcpuCounters = z.infer<typeof vcpuCountersSchema>;

export const vmCountersSchema = z.object({
  /** When they were read, on a clock that does not stand still while the machine is paused; its zero means nothing. */
  atSeconds: count,
  /** Time as the guest has it. */
  uptimeSeconds: count,
  /** Host CPU time and memory of the whole VM process. */
  cpuSeconds: count,
  residentBytes: count,
  vcpus: z.array(vcpuCountersSchema).max(VCPUS_MAX),
  disk: z.object({ readBytes: count, writtenBytes: count, reads: count, writes: count }),
  /** Pictures the guest showed, as far as somebody looked; at most 60 a second are seen. */
  display: z.object({ frames: count }),
});
export type VmCounters = z.infer<typeof vmCountersSchema>;

export const PROFILE_SECONDS_MAX = 300;
/** Not a divisor of any timer rate: a guest that works at each tick must not be seen at each tick, or never. */
export const PROFILE_HERTZ = 997;
/** More different places than that are counted together. */
export const PROFILE_PLACES_MAX = 65_536;

const ticks = z.int().nonnegative();
const linearAddress = z.string().regex(/^0x[0-9a-f]{1,16}$/);

export const profileSchema = z.object({
  hertz: z.number().positive(),
  seconds: count,
  /** All counts are sampling periods. Halted: the processor waited for an interrupt. */
  vcpus: z.array(z.object({ ran: ticks, halted: ticks })).max(VCPUS_MAX),
  places: z
    .array(
      z.object({
        /** Linear address, of the first instruction of a block. */
        address: linearAddress,
        user: z.boolean(),
        /** The processor waited here for a device to answer. */
        device: z.boolean(),
        tier: z.enum(['interpreter', 'translator', 'hardware']),
        ticks,
      }),
    )
    .max(PROFILE_PLACES_MAX),
  /** Of places beyond PROFILE_PLACES_MAX, and of samples nobody took in time. */
  otherTicks: ticks,
  /** Where SYSCALL leads (MSR LSTAR) when the profile ended: tells where a kernel that moved itself is. */
  syscallEntry: linearAddress.optional(),
});
export type Profile = z.infer<typeof profileSchema>;

export const profileRequestSchema = z.object({
  seconds: z.number().min(0.1).max(PROFILE_SECONDS_MAX),
  hertz: z.int().min(50).max(10_000).optional(),
});
