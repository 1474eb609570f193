/** What this host is and has now. The engine is asked once; memory is read afresh each time. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { z } from 'zod';
import { hostSchema, type Host } from '../../preload/contract';
import { knownFirmware } from './known-firmware';
import type { HostMemory } from '../memory-manager/admission';

const MIB = 1 << 20;
const probesSchema = hostSchema.shape.accelerators;

export class HostService {
  private accelerators: Host['accelerators'] | undefined;

  constructor(private readonly options: { mode: Host['mode']; version: string; addon: string }) {}

  get(): Host {
    const { totalMiB, availableMiB } = hostMemory();
    this.accelerators ??= probe(this.options.addon);
    return {
      cpuModel: cpus()[0]?.model.trim() || 'Unknown processor',
      logicalCpus: availableParallelism(),
      memoryMiB: totalMiB,
      availableMiB,
      accelerators: this.accelerators,
      mode: this.options.mode,
      version: this.options.version,
      firmware: knownFirmware(),
    };
  }
}

/** Asks what there is. The only guest code in this process is the engine’s own short test of KVM. */
function probe(addon: string): Host['accelerators'] {
  try {
    const engine: unknown = createRequire(addon)(addon);
    return probesSchema.parse((engine as { probeAccelerators(): unknown }).probeAccelerators());
  } catch (e) {
    const reason =
      e instanceof z.ZodError
        ? 'The engine gave an answer that makes no sense.'
        : `The engine could not be loaded: ${(e as Error).message.split('\n')[0]}`;
    return (['kvm', 'software'] as const).map((kind) => ({ kind, available: false, reason, tiers: [] }));
  }
}

export interface MemoryFiles {
  meminfo?: string | undefined;
  cgroupMax?: string | undefined;
  cgroupCurrent?: string | undefined;
  cgroupInactiveFile?: string | undefined;
}

export function hostMemory(): HostMemory {
  if (process.platform !== 'linux') return { totalMiB: Math.floor(totalmem() / MIB), availableMiB: Math.floor(freemem() / MIB) };
  const read = (path: string): string | undefined => {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return undefined;
    }
  };
  const own = read('/proc/self/cgroup')?.match(/^0::(\/.*)$/m)?.[1] ?? '/';
  const group = `/sys/fs/cgroup${own === '/' ? '' : own}`;
  return parseHostMemory({
    meminfo: read('/proc/meminfo'),
    cgroupMax: read(`${group}/memory.max`),
    cgroupCurrent: read(`${group}/memory.current`),
    cgroupInactiveFile: read(`${group}/memory.stat`)?.match(/^inactive_file (\d+)$/m)?.[1],
  });
}

/** A container's limit counts like a smaller host (cgroup v2); its page cache that nobody uses can be had back. */
export function parseHostMemory(files: MemoryFiles): HostMemory {
  const kib = (name: string): number | undefined => {
    const match = files.meminfo?.match(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm'));
    return match ? Number(match[1]) * 1024 : undefined;
  };
  let total = kib('MemTotal') ?? totalmem();
  let available = kib('MemAvailable') ?? freemem();
  const limit = Number.parseInt(files.cgroupMax ?? '', 10);
  if (Number.isSafeInteger(limit) && limit < total) {
    const used = Number(files.cgroupCurrent ?? 0) - Number(files.cgroupInactiveFile ?? 0);
    total = limit;
    available = Math.min(available, Math.max(0, limit - (Number.isFinite(used) ? used : 0)));
  }
  return { totalMiB: Math.floor(total / MIB), availableMiB: Math.floor(available / MIB) };
}
