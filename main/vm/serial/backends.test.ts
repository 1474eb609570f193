import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { FileBackend, StdioBackend, TERMINAL_KEPT_BYTES, TerminalBackend } from './backends';

const turn = () => new Promise((done) => setImmediate(() => setImmediate(done)));
const bytes = (text: string) => new TextEncoder().encode(text);
const text = (data: Uint8Array) => new TextDecoder().decode(data);

describe('serial backends', () => {
  it('hands output on once a turn', async () => {
    const terminal = new TerminalBackend();
    const batches: string[] = [];
    terminal.onOutput((b) => batches.push(text(b)));
    for (const c of 'hello') terminal.write(bytes(c));
    expect(batches).toEqual([]);
    await turn();
    expect(batches).toEqual(['hello']);
  });

  it('keeps the last 64 KiB for those who come later', () => {
    const terminal = new TerminalBackend();
    const all = Array.from({ length: 20000 }, (_, i) => `line ${i}\n`).join('');
    for (let i = 0; i < all.length; i += 777) terminal.write(bytes(all.slice(i, i + 777)));
    expect(text(terminal.history())).toBe(all.slice(-TERMINAL_KEPT_BYTES));
  });

  it('keeps input until the device has room', () => {
    const terminal = new TerminalBackend();
    terminal.inject(bytes('abc'));
    const got: string[] = [];
    let room = 2;
    terminal.onInput((b) => {
      const n = Math.min(room, b.length);
      got.push(text(b.subarray(0, n)));
      room -= n;
      return n;
    });
    terminal.inject(bytes('def'));
    expect(got.join('')).toBe('ab');
    room = 10;
    terminal.ready();
    expect(got.join('')).toBe('abcdef');
    terminal.inject(new Uint8Array(2 << 20));
    expect(terminal.inputBytes).toBe(0);
  });

  it('stdio stops reading while the guest does not take it, and survives a closed reader', async () => {
    const [input, output] = [new PassThrough(), new PassThrough()];
    const stdio = new StdioBackend(input, output);
    input.write('xy');
    await turn();
    expect(input.isPaused()).toBe(true);
    const got: string[] = [];
    stdio.onInput((b) => (got.push(text(b)), b.length));
    expect([got, input.isPaused()]).toEqual([['xy'], false]);
    output.destroy(new Error('EPIPE'));
    await turn();
    stdio.write(bytes('z'));
    await turn();
    await stdio.close();
  });

  it('writes files and says what is wrong with a path', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'lodge-serial-'));
    try {
      const file = new FileBackend(join(folder, 'out'), () => undefined);
      file.write(bytes('boot'));
      await file.close();
      expect(readFileSync(join(folder, 'out'), 'utf8')).toBe('boot');
      expect(() => new FileBackend(join(folder, 'no', 'out'), () => undefined)).toThrow(/cannot be written/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
