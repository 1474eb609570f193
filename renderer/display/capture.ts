/**
 * Which key presses go to the guest. Pure: the display feeds it KeyboardEvent codes and does what it answers. The host key is
 * never sent: pressed alone it leaves the machine, held with another key it is a command of Lodge.
 */
import type { HostKey } from '../model/keys';

export type HostCommand = 'fullscreen' | 'ctrlAltDelete' | 'screenshot' | 'pause';

export type KeyAction =
  | { readonly kind: 'key'; readonly code: string; readonly down: boolean }
  | { readonly kind: 'command'; readonly command: HostCommand }
  | { readonly kind: 'leave' };

const COMMANDS: Readonly<Record<string, HostCommand>> = {
  KeyF: 'fullscreen',
  Delete: 'ctrlAltDelete',
  KeyS: 'screenshot',
  KeyP: 'pause',
};
/** What the contract takes as a code. */
const CODE_MAX = 32;
const META = ['MetaLeft', 'MetaRight'];

export class KeyCapture {
  private readonly held = new Set<string>();
  private hostDown = false;
  private hostUsed = false;

  constructor(private hostKey: HostKey) {}

  setHostKey(hostKey: HostKey): void {
    this.hostKey = hostKey;
  }

  keyDown(code: string): readonly KeyAction[] {
    if (code === this.hostKey) {
      // A repeat of a key that stays down is not a second press.
      if (!this.hostDown) this.hostUsed = this.held.size > 0;
      this.hostDown = true;
      return [];
    }
    if (code === '' || code === 'Unidentified' || code.length > CODE_MAX) return [];
    if (this.hostDown) {
      this.hostUsed = true;
      const command = COMMANDS[code];
      return command === undefined ? [] : [{ kind: 'command', command }];
    }
    this.held.add(code);
    // Repeats pass: a real keyboard repeats its make code too.
    return [{ kind: 'key', code, down: true }];
  }

  keyUp(code: string): readonly KeyAction[] {
    if (code === this.hostKey) {
      const alone = this.hostDown && !this.hostUsed;
      this.hostDown = false;
      return alone ? [{ kind: 'leave' }] : [];
    }
    if (!this.held.delete(code)) return [];
    const actions: KeyAction[] = [{ kind: 'key', code, down: false }];
    // macOS reports no release of a key let go while Command is down; they would stick in the guest.
    if (META.includes(code)) {
      for (const other of this.held) actions.push({ kind: 'key', code: other, down: false });
      this.held.clear();
    }
    return actions;
  }

  /** The window lost the keyboard: nothing is held any more. True when the guest must be told. */
  releaseAll(): boolean {
    const any = this.held.size > 0;
    this.held.clear();
    this.hostDown = false;
    this.hostUsed = false;
    return any;
  }
}
