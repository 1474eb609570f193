import { LodgeError } from '../../preload/contract';
import { admit } from '../memory-manager/admission';
import type { hostMemory } from './host';
import type { Machine } from './machine-record';

const MIB = 1 << 20;
const mib = (n: number): string => (n >= 10 * 1024 ? `${(n / 1024).toFixed(1)} GiB` : `${n} MiB`);

/** Throws a LodgeError when the host's memory does not do for `vm` beside the running ones of `others`. */
export function requireMemory(vm: Machine, others: readonly Machine[], host: ReturnType<typeof hostMemory>): void {
  const running = others
    .filter((m) => m.process)
    .map((m) => ({ memoryMiB: m.definition.memoryMiB, residentMiB: (m.stats?.residentBytes ?? 0) / MIB }));
  const decision = admit(vm.definition.memoryMiB, host, running);
  if (decision.ok) return;
  const { fitsMiB, availableMiB, promisedMiB } = decision.error;
  const promised = promisedMiB > 0 ? `, of which ${mib(promisedMiB)} are promised to running machines` : '';
  throw new LodgeError({
    code: 'insufficientMemory',
    message: `“${vm.definition.name}” wants ${mib(vm.definition.memoryMiB)} of memory, but the host has ${mib(availableMiB)} free${promised}.`,
    fix: fitsMiB >= 16 ? `Give it at most ${fitsMiB} MiB, or close something first.` : 'Close other programs or machines first.',
  });
}
