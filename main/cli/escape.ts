/** The keys that leave a raw terminal: Ctrl-] (telnet's) and Ctrl-A X (QEMU's, screen-like). Ctrl-A Ctrl-A sends one Ctrl-A. */
const CTRL_A = 0x01;
const CTRL_RIGHT_BRACKET = 0x1d;

export class EscapeFilter {
  private prefixed = false;

  push(bytes: Uint8Array): { forward: Uint8Array; leave: boolean } {
    const out: number[] = [];
    for (const byte of bytes) {
      if (byte === CTRL_RIGHT_BRACKET) return { forward: Uint8Array.from(out), leave: true };
      if (this.prefixed) {
        this.prefixed = false;
        if (byte === 0x78 || byte === 0x58) return { forward: Uint8Array.from(out), leave: true };
        out.push(CTRL_A);
        if (byte !== CTRL_A) out.push(byte);
      } else if (byte === CTRL_A) this.prefixed = true;
      else out.push(byte);
    }
    return { forward: Uint8Array.from(out), leave: false };
  }
}
