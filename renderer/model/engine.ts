import type { CpuModel, EngineInfo, Host, Vm, VmConfig } from './types';

export const ACCELERATOR_LABEL = { kvm: 'Hardware virtualization (KVM)', software: 'Software CPU' } as const;
export const TIER_LABEL = { interpreter: 'interpreter', translator: 'translator', lockstep: 'lockstep check' } as const;

export const CPU_MODEL_LABEL: Record<CpuModel, string> = {
  host: 'This computer’s processor',
  'x86-64-v3': '64-bit PC, level 3 (2015: AVX2, FMA)',
  'x86-64-v2': '64-bit PC, level 2 (2009: SSE4.2)',
  'x86-64': '64-bit PC, level 1 (Athlon 64, Pentium 4)',
  pentium3: 'Intel Pentium III',
  pentium: 'Intel Pentium',
  '486': 'Intel 486DX4',
};

export function engineLabel(engine: Pick<EngineInfo, 'accelerator' | 'tier'>): string {
  if (engine.accelerator === 'kvm') return 'KVM';
  return engine.tier === undefined ? 'Software' : `Software · ${TIER_LABEL[engine.tier]}`;
}

/** What the next start would choose, as far as the host's probe tells; the VM process has the last word. */
export function predictEngine(
  config: Pick<VmConfig, 'accelerator' | 'tier'>,
  host: Host,
): { label: string; reason: string; usable: boolean } {
  const probe = (kind: 'kvm' | 'software') => host.accelerators.find((a) => a.kind === kind);
  const wanted = config.accelerator === 'auto' ? (probe('kvm')?.available === true ? 'kvm' : 'software') : config.accelerator;
  const found = probe(wanted);
  if (found === undefined)
    return { label: engineLabel({ accelerator: wanted }), reason: 'This build of Lodge does not have it.', usable: false };
  const tiers = found.tiers;
  const tier =
    wanted === 'kvm' ? undefined : config.tier !== 'auto' ? config.tier : tiers.includes('translator') ? 'translator' : tiers[0];
  const label = engineLabel(tier === undefined ? { accelerator: wanted } : { accelerator: wanted, tier });
  if (tier !== undefined && !tiers.includes(tier))
    return { label, reason: `The ${tier} is not part of this build.`, usable: false };
  if (config.accelerator === 'auto' && wanted === 'software') {
    const kvm = probe('kvm');
    return { label, reason: kvm !== undefined && kvm.reason !== '' ? kvm.reason : found.reason, usable: found.available };
  }
  const named = config.accelerator !== 'auto' && found.onlyByName === true;
  return { label, reason: found.reason, usable: found.available || named };
}

/** The engine of a running machine, else the one it would get. */
export function engineOf(vm: Vm, host: Host): { label: string; reason: string; usable: boolean } {
  return vm.engine !== undefined
    ? { label: engineLabel(vm.engine), reason: vm.engine.reason, usable: true }
    : predictEngine(vm.definition, host);
}
