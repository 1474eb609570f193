/**
 * Framing of the GDB remote serial protocol (GDB manual, appendix E.1 “Overview”): `$data#checksum`, `}` escapes, acknowledgements
 * until the debugger turns them off, and the lone byte 03h that interrupts. What arrives is hostile: a packet has a greatest length.
 */

/** Told to the debugger as PacketSize: payload bytes either way. */
export const PACKET_BYTES = 0x4000;

const DOLLAR = 0x24;
const HASH = 0x23;
const ESCAPE = 0x7d;
const STAR = 0x2a;
const INTERRUPT = 0x03;

export type Incoming = { kind: 'packet'; data: Buffer } | { kind: 'interrupt' } | { kind: 'damaged' };

export class PacketReader {
  private state: 'idle' | 'data' | 'sum' = 'idle';
  private data: number[] = [];
  private sum = '';
  private escaped = false;
  private running = 0;

  push(bytes: Uint8Array): Incoming[] {
    const out: Incoming[] = [];
    for (const byte of bytes) this.byte(byte, out);
    return out;
  }

  private byte(byte: number, out: Incoming[]): void {
    if (this.state === 'sum') {
      this.sum += String.fromCharCode(byte);
      if (this.sum.length < 2) return;
      const intact =
        /^[0-9a-f]{2}$/i.test(this.sum) && parseInt(this.sum, 16) === this.running && this.data.length <= PACKET_BYTES;
      out.push(intact ? { kind: 'packet', data: Buffer.from(this.data) } : { kind: 'damaged' });
      this.state = 'idle';
      return;
    }
    if (byte === DOLLAR) {
      this.state = 'data';
      this.data = [];
      this.sum = '';
      this.running = 0;
      this.escaped = false;
      return;
    }
    if (this.state === 'idle') {
      // Acknowledgements are not waited for: the connection is a stream that loses nothing.
      if (byte === INTERRUPT) out.push({ kind: 'interrupt' });
      return;
    }
    if (byte === HASH) {
      this.state = 'sum';
      return;
    }
    this.running = (this.running + byte) & 0xff;
    if (this.escaped) {
      this.escaped = false;
      this.append(byte ^ 0x20);
    } else if (byte === ESCAPE) {
      this.escaped = true;
    } else {
      this.append(byte);
    }
  }

  private append(byte: number): void {
    // One more than allowed is enough to know that it is too long.
    if (this.data.length <= PACKET_BYTES) this.data.push(byte);
  }
}

export function framePacket(payload: string | Uint8Array): Buffer {
  const bytes = typeof payload === 'string' ? Buffer.from(payload, 'latin1') : payload;
  const out: number[] = [DOLLAR];
  let sum = 0;
  for (const byte of bytes) {
    const special = byte === DOLLAR || byte === HASH || byte === ESCAPE || byte === STAR;
    for (const b of special ? [ESCAPE, byte ^ 0x20] : [byte]) {
      out.push(b);
      sum = (sum + b) & 0xff;
    }
  }
  out.push(HASH);
  return Buffer.concat([Buffer.from(out), Buffer.from(sum.toString(16).padStart(2, '0'), 'latin1')]);
}
