/** Loads the engine and decides what runs the machine. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { ABI_VERSION, type AcceleratorKind, type AcceleratorProbe, type NativeAddon, type Tier } from '../../native/addon/types';
import { LodgeError } from '../../preload/contract/errors';
import type { EngineInfo } from '../../preload/contract/vm';
import type { MachineSpec } from '../process/protocol';

export function loadAddon(path: string): NativeAddon {
  if (!existsSync(path)) {
    throw new LodgeError({
      code: 'internal',
      message: 'The engine of Lodge is missing.',
      fix: 'Reinstall Lodge, or run “npm run build” in its folder.',
      detail: path,
    });
  }
  let addon: NativeAddon;
  try {
    addon = createRequire(path)(path) as NativeAddon;
  } catch (cause) {
    throw new LodgeError(
      {
        code: 'internal',
        message: 'The engine of Lodge does not load on this computer.',
        fix: 'Rebuild it with “npm run build”, or reinstall Lodge.',
        detail: String(cause),
      },
      { cause },
    );
  }
  if (addon.abiVersion !== ABI_VERSION) {
    throw new LodgeError({
      code: 'internal',
      message: `The engine is of another version of Lodge (interface ${addon.abiVersion}, expected ${ABI_VERSION}).`,
      fix: 'Rebuild it with “npm run build”, or reinstall Lodge.',
    });
  }
  return addon;
}

export interface EngineChoice {
  readonly accelerator: AcceleratorKind;
  readonly tier: 'auto' | Tier;
  readonly info: EngineInfo;
}

const NAMES: Record<AcceleratorKind, string> = { kvm: 'hardware virtualization (KVM)', software: 'Lodge’s own processor' };

const unavailable = (message: string, fix: string, detail?: string): LodgeError =>
  new LodgeError({ code: 'acceleratorUnavailable', message, fix, ...(detail !== undefined && { detail }) });

/** `probes`: best first. */
export function chooseEngine(
  probes: readonly AcceleratorProbe[],
  wanted: Pick<MachineSpec, 'accelerator' | 'tier'>,
): EngineChoice {
  const auto = wanted.accelerator === 'auto';
  const candidates = auto ? probes : probes.filter((p) => p.kind === wanted.accelerator);
  // What runs only some guests is for those who name it.
  const runs = (p: AcceleratorProbe): boolean => p.available || (!auto && p.onlyByName === true);
  const probe = candidates.find((p) => runs(p) && (!auto || wanted.tier === 'auto' || p.tiers.includes(wanted.tier)));
  if (!probe) {
    const reasons = candidates.map((p) => `${NAMES[p.kind]}: ${p.reason}`).join('\n');
    const named = wanted.accelerator === 'auto' ? undefined : NAMES[wanted.accelerator];
    throw unavailable(
      named ? `This computer cannot run the machine with ${named}.` : 'Nothing on this computer can run the machine.',
      'Set the machine’s accelerator and tier to “auto”.',
      reasons,
    );
  }
  if (probe.kind !== 'software')
    return { accelerator: probe.kind, tier: 'auto', info: { accelerator: probe.kind, reason: why(probes, probe, auto) } };
  const tier = wanted.tier === 'auto' ? (probe.tiers.includes('translator') ? 'translator' : 'interpreter') : wanted.tier;
  if (!probe.tiers.includes(tier)) {
    throw unavailable(
      `This build of Lodge has no ${tier}.`,
      'Set the machine’s tier to “auto”.',
      `tiers: ${probe.tiers.join(', ')}`,
    );
  }
  // Nobody asked for the translator: cold code may stay with the interpreter.
  const native = wanted.tier === 'auto' && tier === 'translator' ? 'auto' : tier;
  return { accelerator: 'software', tier: native, info: { accelerator: 'software', tier, reason: why(probes, probe, auto) } };
}

function why(probes: readonly AcceleratorProbe[], chosen: AcceleratorProbe, auto: boolean): string {
  if (!auto)
    return `Runs with ${NAMES[chosen.kind]}, as the machine’s settings ask.${chosen.available ? '' : ` ${chosen.reason}`}`;
  const better = probes.slice(0, probes.indexOf(chosen)).filter((p) => !p.available);
  const because = better.map((p) => p.reason).join(' ');
  return because
    ? `Runs with ${NAMES[chosen.kind]}: ${because}`
    : `Runs with ${NAMES[chosen.kind]}, the fastest this computer offers.`;
}
