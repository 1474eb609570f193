/**
 * What running machines may use of the host's processors when they want more than there is. A machine's weight is its shares times
 * its processors. Nobody is held back as long as nobody has to wait: only who has more than falls to it by weight, while another one
 * waits with less, gets a quota, and it loses that again when the others stop waiting. Pure: see Machines for who asks and when.
 */

export const CPU_SHARES_DEFAULT = 100;

/** One running machine; times in processors of the host, on average since the last look. */
export interface CpuLoad {
  readonly shares: number;
  readonly processors: number;
  /** Percent of a host's processor that each of its may use. */
  readonly cap: number;
  readonly used: number;
  /** Its processors were ready, and the host ran something else. */
  readonly waited: number;
  /** What it was given; null: no limit. */
  readonly quota: number | null;
}

/** Waiting for less than this is the host's ordinary housekeeping. */
const WAITS = 0.1;
/** Who uses so much of its quota would use more. */
const FILLED = 0.8;
const TOLERANCE = 1.05;
/** A quota grows so fast while nobody needs what is withheld; besides, it takes what the host has idle. */
const GROWTH = 1.15;
/** However many others there are, a machine goes on. */
const QUOTA_MIN = 0.02;

const weight = (load: CpuLoad): number => load.shares * load.processors;
const limit = (load: CpuLoad): number => (load.processors * load.cap) / 100;

/** `pool` shared out by weight; what is above somebody's limit goes to the others. */
function entitlements(loads: readonly CpuLoad[], pool: number): number[] {
  const given = loads.map(() => 0);
  let open = loads.map((_, i) => i);
  let left = pool;
  while (open.length > 0) {
    const sum = open.reduce((total, i) => total + weight(loads[i]!), 0);
    const full = open.filter((i) => (left * weight(loads[i]!)) / sum >= limit(loads[i]!));
    if (full.length === 0) {
      for (const i of open) given[i] = (left * weight(loads[i]!)) / sum;
      break;
    }
    for (const i of full) {
      given[i] = limit(loads[i]!);
      left -= given[i]!;
    }
    open = open.filter((i) => !full.includes(i));
  }
  return given;
}

/** The quota of each, in the order given. `idle`: processors of the host that nobody used. */
export function apportion(loads: readonly CpuLoad[], idle: number): (number | null)[] {
  const wanting = loads.filter((load) => load.waited > WAITS || (load.quota !== null && load.used >= load.quota * FILLED));
  const given = entitlements(
    wanting,
    wanting.reduce((sum, load) => sum + load.used, 0),
  );
  return loads.map((load) => {
    const at = wanting.indexOf(load);
    if (at < 0) return null;
    const perWeight = load.used / weight(load);
    const needed = wanting.some((other) => other !== load && other.waited > WAITS && other.used / weight(other) < perWeight);
    if (!needed && load.quota === null) return null;
    if (needed && (load.quota !== null || load.used > given[at]! * TOLERANCE)) return Math.max(QUOTA_MIN, given[at]!);
    if (needed) return null;
    const next = load.quota! * GROWTH + idle;
    return next >= limit(load) ? null : next;
  });
}
