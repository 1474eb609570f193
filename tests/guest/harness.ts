/** Runs `lodge run` on a fixture and follows its serial line to markers, each with a deadline; nothing here sleeps. */
import { execFileSync, spawn, spawnSync, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, expect, type TestContext } from 'vitest';
import { FIXTURES } from '../../resources/tools/lib/fixtures.mjs';

export const ROOT = resolve(import.meta.dirname, '../..');
const LODGE = join(ROOT, 'resources/tools/lodge.mjs');

/** Everything that takes longer on a busy machine is multiplied by this (LODGE_TEST_PATIENCE=3). */
export const PATIENCE = Number(process.env['LODGE_TEST_PATIENCE'] ?? 1);
/** From power-on to the init of a Debian kernel in the interpreter, on two busy cores. */
export const BOOT_SECONDS = 120;

export type KernelName = 'linux-image-cloud-amd64' | 'linux-image-amd64' | 'linux-image-686-pae:i386';
export interface Fixture {
  kernel: string;
  initrd: string;
  release: string;
}

/** The fixture, or the test is skipped with the reason it is missing. */
export function fixture(context: TestContext, name: KernelName): Fixture {
  const all = existsSync(FIXTURES)
    ? (JSON.parse(readFileSync(FIXTURES, 'utf8')) as Record<string, Fixture & { problem?: string }>)
    : {};
  const found = all[name];
  if (!found) context.skip(`no ${name}: npm test sets it up`);
  else if (found.problem !== undefined) context.skip(found.problem);
  return found!;
}

export interface Exit {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const live = new Set<GuestRun>();
const folders: string[] = [];
afterEach(() => {
  for (const run of live) run.kill();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** What runs the processor: as a user gets it, or LODGE_GUEST_TIER=interpreter|translator. */
export const TIER: readonly string[] = ['--tier', process.env['LODGE_GUEST_TIER'] ?? 'auto'];

/** A folder of this test's own, removed after it. */
export function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lodge-guest-'));
  folders.push(folder);
  return folder;
}

/** An assembled boot sector of this folder. */
export function bootSector(source: string, folder: string): Buffer {
  const sector = join(folder, `${source}.bin`);
  const flags = ['-m32', '-nostdlib', '-static', '-no-pie', '-Wl,-Ttext=0x7c00,-N,--build-id=none,--oformat=binary'];
  execFileSync('gcc', [...flags, '-o', sector, join(ROOT, 'tests/guest', source)]);
  return readFileSync(sector);
}

export class GuestRun {
  private output = '';
  private errors = '';
  private position = 0;
  private exit: Exit | undefined;
  private readonly waiters = new Set<() => void>();
  private readonly child: ChildProcessWithoutNullStreams;

  constructor(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    live.add(this);
    this.child = spawn(process.execPath, [LODGE, ...args], { cwd: ROOT, env: { ...process.env, ...env }, detached: true });
    this.child.stdout.setEncoding('utf8').on('data', (text: string) => this.grow(() => (this.output += text)));
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => this.grow(() => (this.errors += text)));
    this.child.stdin.on('error', () => {});
    this.child.on('close', (code) => this.grow(() => (this.exit = { code, stdout: this.output, stderr: this.errors })));
  }

  get pid(): number {
    return this.child.pid!;
  }

  get text(): string {
    return this.output;
  }

  get hasEnded(): boolean {
    return this.exit !== undefined;
  }

  /** The next match after the previous one. Fails at once when the process ends without it. */
  async waitFor(marker: RegExp, seconds: number): Promise<RegExpExecArray> {
    let match: RegExpExecArray | null = null;
    await this.until(
      () => {
        match = marker.exec(this.output.slice(this.position));
        return match !== null || this.exit !== undefined;
      },
      seconds,
      `no ${String(marker)}`,
    );
    if (!match) throw new Error(`lodge ended with ${this.exit?.code} before ${String(marker)}\n${this.tail()}`);
    const found = match as RegExpExecArray;
    this.position += found.index + found[0].length;
    return found;
  }

  type(text: string): void {
    this.child.stdin.write(text);
  }

  async ended(seconds: number): Promise<Exit> {
    await this.until(() => this.exit !== undefined, seconds, 'lodge did not end');
    live.delete(this);
    return this.exit!;
  }

  kill(): void {
    live.delete(this);
    try {
      process.kill(-this.pid, 'SIGKILL');
    } catch {
      // Gone already.
    }
  }

  /** CPU seconds used so far by the command and every process under it. */
  cpuSeconds(): number {
    const ticks = processTree(this.pid).reduce((sum, pid) => {
      const stat = readStat(pid);
      return stat ? sum + Number(stat[11]) + Number(stat[12]) : sum;
    }, 0);
    return ticks / 100;
  }

  /** Of each mapping of the VM process, by name, the bytes that are resident. */
  protected vmMappings(): { name: string; bytes: number }[] {
    const own = processTree(this.pid).filter((pid) => readProc(pid, 'cmdline')?.includes('/vm.cjs'));
    expect(own, 'VM processes').toHaveLength(1);
    const mapping = /^[0-9a-f]+-[0-9a-f]+ (.{4}) \S+ \S+ \S+ *(.*)\n(?:(?!Rss).*\n)*Rss: +(\d+) kB$/gm;
    return [...(readProc(own[0]!, 'smaps') ?? '').matchAll(mapping)].map(([, rights, name, kib]) => ({
      name: `${rights} ${name}`,
      bytes: Number(kib) * 1024,
    }));
  }

  private grow(change: () => void): void {
    change();
    for (const waiter of [...this.waiters]) waiter();
  }

  protected tail(): string {
    const last = (text: string): string => text.split('\n').slice(-30).join('\n');
    return `--- serial ---\n${last(this.output)}\n--- stderr ---\n${last(this.errors)}`;
  }

  private until(done: () => boolean, seconds: number, what: string): Promise<void> {
    return new Promise((resolvePromise, reject) => {
      const check = (): void => {
        if (!done()) return;
        end();
        resolvePromise();
      };
      const timer = setTimeout(
        () => {
          end();
          const report = this.tail();
          this.kill();
          reject(new Error(`${what} within ${seconds * PATIENCE} s\n${report}`));
        },
        seconds * PATIENCE * 1000,
      );
      const end = (): void => {
        clearTimeout(timer);
        this.waiters.delete(check);
      };
      this.waiters.add(check);
      check();
    });
  }
}

/** A file of /proc/PID; undefined when the process is gone. */
function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return undefined;
  }
}

/** Fields of /proc/PID/stat from the third on: the second may contain anything. */
function readStat(pid: number): string[] | undefined {
  const text = readProc(pid, 'stat');
  return text?.slice(text.lastIndexOf(')') + 2).split(' ');
}

function processTree(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    const parent = Number.isInteger(pid) ? Number(readStat(pid)?.[1]) : NaN;
    if (!Number.isNaN(parent)) children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const all = [root];
  for (const pid of all) all.push(...(children.get(pid) ?? []));
  return all;
}

export interface BootOptions {
  test?: string;
  append?: string;
  memory?: number;
  cpus?: number;
  extra?: readonly string[];
  env?: NodeJS.ProcessEnv;
}

/** `lodge run` on a fixture, serial on our pipes. Every limit of its own is longer than the deadlines of the tests. */
export function boot(guest: Fixture, options: BootOptions = {}): GuestRun {
  const append = ['console=ttyS0 panic=-1', options.test && `lodge.test=${options.test}`, options.append]
    .filter(Boolean)
    .join(' ');
  return new GuestRun(
    [
      ...['run', '--kernel', guest.kernel, '--initrd', guest.initrd, '--append', append],
      ...['--memory', String(options.memory ?? 256), '--cpus', String(options.cpus ?? 1)],
      ...['--serial', 'stdio', '--display', 'none', ...TIER, ...(options.extra ?? [])],
    ],
    options.env,
  );
}

/** Any other command, to its end. */
export function lodge(args: readonly string[], env: NodeJS.ProcessEnv = {}): Exit {
  const result = spawnSync(process.execPath, [LODGE, ...args], {
    cwd: ROOT,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    timeout: 60_000 * PATIENCE,
  });
  return { code: result.status, stdout: result.stdout, stderr: result.stderr };
}

/** Lines between LODGE-BEGIN name and LODGE-END name. */
export function section(text: string, name: string): string[] {
  const match = new RegExp(`LODGE-BEGIN ${name}\\r?\\n([^]*?)LODGE-END ${name}`).exec(text);
  return match ? match[1]!.split(/\r?\n/).filter((line) => line !== '') : [];
}
