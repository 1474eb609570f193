/** INT 19h as a small state machine: a line that says what happens, F12 for a choice, each device in turn, and why none booted. */
import type { BootTarget } from './boot';
import type { Drive } from './drives';
import type { RegisterFrame } from './frame';
import { TrapStatus } from './rom';

const KEY_F12 = 0x8600;
const KEY_ESCAPE = 0x011b;
const NORMAL = 0x07;
const BRIGHT = 0x0f;
const FAINT = 0x08;
const CHOSEN = 0x70;
/** Of the keypad without Num Lock, and of the keys between. */
const KEYS_UP: readonly number[] = [0x4800, 0x48e0];
const KEYS_DOWN: readonly number[] = [0x5000, 0x50e0];
const ASCII_ENTER = 0x0d;
const ASCII_1 = 0x31;
/** Drives with a number to press. */
const NUMBERED = 9;
/** As many as leave room for what stands around them. */
const ROWS = 16;
const COLUMNS = 80;

export interface BootMenuDependencies {
  readonly order: () => readonly Drive[];
  /** Without a key, this time. */
  readonly open: () => boolean;
  readonly menuTicks: number;
  readonly load: (drive: Drive) => Promise<BootTarget>;
  readonly print: (text: string, attribute?: number) => void;
  readonly clear: () => void;
  readonly takeKey: () => number | undefined;
  readonly ticks: () => number;
}

type State =
  | { name: 'start' }
  | { name: 'splash'; until: number }
  | { name: 'choose'; at: number }
  | { name: 'try'; index: number }
  | { name: 'loading'; index: number; result?: BootTarget }
  | { name: 'failed' };

export class BootMenu {
  private state: State = { name: 'start' };
  /** A device picked in the menu goes first, once. */
  private chosen: Drive | undefined;
  private current = -1;

  constructor(private readonly deps: BootMenuDependencies) {}

  reset(): void {
    this.state = { name: 'start' };
    this.chosen = undefined;
    this.current = -1;
  }

  /** The booted program returned (INT 18h). */
  next(): void {
    if (this.state.name === 'start' && this.current >= 0) this.state = { name: 'try', index: this.current + 1 };
  }

  private get devices(): readonly Drive[] {
    const order = this.deps.order();
    return this.chosen ? [this.chosen, ...order.filter((d) => d !== this.chosen)] : order;
  }

  step(r: RegisterFrame): number {
    const { print } = this.deps;
    switch (this.state.name) {
      case 'start':
        print('Lodge', BRIGHT);
        if (this.deps.open() && this.deps.order().length > 0) {
          this.showChoice();
          return TrapStatus.waitForInterrupt;
        }
        if (this.deps.menuTicks > 0) {
          print('   F12 chooses what to boot\n\n', FAINT);
          this.state = { name: 'splash', until: this.deps.ticks() + this.deps.menuTicks };
          return TrapStatus.waitForInterrupt;
        }
        print('\n\n');
        this.state = { name: 'try', index: 0 };
        return TrapStatus.again;
      case 'splash': {
        const key = this.deps.takeKey();
        if (key === KEY_F12 && this.deps.order().length > 0) this.showChoice();
        else if (this.deps.ticks() >= this.state.until || key !== undefined) this.state = { name: 'try', index: 0 };
        return this.state.name === 'try' ? TrapStatus.again : TrapStatus.waitForInterrupt;
      }
      case 'choose': {
        const key = this.deps.takeKey();
        if (key === undefined) return TrapStatus.waitForInterrupt;
        const order = this.deps.order();
        const { at } = this.state;
        const move = KEYS_UP.includes(key) ? order.length - 1 : KEYS_DOWN.includes(key) ? 1 : 0;
        if (move !== 0) {
          this.showChoice((at + move) % order.length);
          return TrapStatus.waitForInterrupt;
        }
        const digit = (key & 0xff) - ASCII_1;
        const pick = order[(key & 0xff) === ASCII_ENTER ? at : digit < NUMBERED ? digit : -1];
        if (key !== KEY_ESCAPE && !pick) return TrapStatus.waitForInterrupt;
        this.chosen = pick;
        print('\n');
        this.state = { name: 'try', index: 0 };
        return TrapStatus.again;
      }
      case 'try':
        return this.tryDevice(this.state.index);
      case 'loading': {
        const { result, index } = this.state;
        if (!result) return TrapStatus.again;
        if (!result.ok) {
          print(`  ${result.why}.\n`, NORMAL);
          this.state = { name: 'try', index: index + 1 };
          return TrapStatus.again;
        }
        print('\n');
        this.current = index;
        this.state = { name: 'start' };
        r.dl = result.drive;
        r.jump(result.segment, result.offset);
        return TrapStatus.done;
      }
      case 'failed':
        if (this.deps.takeKey() === undefined) return TrapStatus.waitForInterrupt;
        this.deps.clear();
        this.reset();
        return TrapStatus.again;
    }
  }

  private tryDevice(index: number): number {
    const { print } = this.deps;
    const drive = this.devices[index];
    if (!drive) {
      const none = this.devices.length === 0;
      print(none ? 'This machine has no disk or disc to boot from.\n' : '\nNothing here could be booted.\n', BRIGHT);
      print('Insert a disc or attach a disk in Lodge, then press a key to try again.\n', NORMAL);
      this.state = { name: 'failed' };
      return TrapStatus.waitForInterrupt;
    }
    print(`Booting from ${drive.label}`, NORMAL);
    const loading: Extract<State, { name: 'loading' }> = { name: 'loading', index };
    this.state = loading;
    void this.deps.load(drive).then((result) => (loading.result = result));
    return TrapStatus.again;
  }

  private showChoice(at = 0): void {
    const { print, clear } = this.deps;
    const order = this.deps.order();
    const first = Math.max(0, Math.min(at - ROWS / 2, order.length - ROWS));
    clear();
    print('Lodge\n\n', BRIGHT);
    print('Boot from:\n\n', BRIGHT);
    for (const [i, drive] of [...order.entries()].slice(first, first + ROWS)) {
      const line = `  ${i < NUMBERED ? i + 1 : ' '}  ${drive.label}`.slice(0, COLUMNS - 2);
      print(`${line} `, i === at ? CHOSEN : NORMAL);
      print('\n', NORMAL);
    }
    const more = order.length > ROWS ? ` of ${order.length}` : '';
    print(`\nArrow keys and Enter${more}, or a number; Esc for the usual order. `, FAINT);
    this.state = { name: 'choose', at };
  }
}
