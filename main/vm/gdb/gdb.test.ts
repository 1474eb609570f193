import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { CpuState, DebugPoints, Go } from '../../../native/addon/types';
import { resetState } from '../testing/fake-native';
import { framePacket, type Incoming, PACKET_BYTES, PacketReader } from './packets';
import { descriptionFor, registerHex, setRegisterHex } from './registers';
import { GdbServer } from './server';
import { type DebugTarget, GdbSession } from './session';

const packets = (items: Incoming[]): string[] =>
  items.map((i) => (i.kind === 'packet' ? i.data.toString('latin1') : `<${i.kind}>`));

describe('packets', () => {
  it('come in pieces, escaped, damaged, and with interrupts between', () => {
    const reader = new PacketReader();
    const bytes = Buffer.concat([framePacket('m10,4'), Buffer.from('+\x03'), framePacket('X0,3:}#$'), Buffer.from('$g#00')]);
    const out: Incoming[] = [];
    for (const byte of bytes) out.push(...reader.push(Uint8Array.of(byte)));
    expect(packets(out)).toEqual(['m10,4', '<interrupt>', 'X0,3:}#$', '<damaged>']);
  });

  it('have a greatest length', () => {
    const reader = new PacketReader();
    expect(packets(reader.push(framePacket('a'.repeat(PACKET_BYTES + 1))))).toEqual(['<damaged>']);
    expect(packets(reader.push(framePacket('?')))).toEqual(['?']);
  });

  it('are framed with a checksum', () => {
    expect(framePacket('OK').toString()).toBe('$OK#9a');
    expect(framePacket('*').toString('latin1')).toBe('$}\n#87');
  });
});

const long: Partial<CpuState> = { cr0: 0x80000011n, cr4: 0x20n, efer: 0xd00n };

describe('registers', () => {
  it('are 32 bits wide only for a kernel with 32-bit paging', () => {
    expect(descriptionFor(resetState()).width).toBe(64);
    expect(descriptionFor({ ...resetState(), cr0: 0x80000011n }).width).toBe(32);
    expect(descriptionFor({ ...resetState(), ...long }).width).toBe(64);
  });

  it.each([64, 32] as const)('of %i bits come back as they were set, and are all described', (width) => {
    const state = { ...resetState(), cr0: 0x80000011n, efer: width === 64 ? 0x500n : 0n };
    const { registers, xml } = descriptionFor(state);
    expect(xml.match(/<reg /g)).toHaveLength(registers.length);
    expect(new Set(registers.map((r) => r.name)).size).toBe(registers.length);
    // Two passes, so that registers that share storage would show.
    const settable = registers.filter((r) => r.set && r.name !== 'ftag');
    const value = (i: number, bits: number): string => (i + 17).toString(16).padStart(2, '0') + '00'.repeat(bits / 8 - 1);
    settable.forEach((r, i) => expect(setRegisterHex(r, state, value(i, r.bits)), r.name).toBe(true));
    settable.forEach((r, i) => expect(registerHex(r, state), r.name).toBe(value(i, r.bits)));
    expect(setRegisterHex(registers[0]!, state, '00')).toBe(false);
  });

  it('recreate the x87 tag word', () => {
    const state = resetState();
    const ftag = descriptionFor(state).registers.find((r) => r.name === 'ftag')!;
    expect(ftag.get(state)).toBe(0xffffn);
    // TOP = 6: st0 is physical register 6 (one), st1 is 7 (zero), st2 is 0 (infinity).
    state.fxsave.set([0, 6 << 3], 2);
    state.fxsave[4] = 0b1100_0001;
    state.fxsave.set([0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f], 32);
    state.fxsave.set([0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x7f], 64);
    expect(ftag.get(state)).toBe(0b01_00_11_11_11_11_11_10n);
    ftag.set!(state, 0xfffcn);
    expect(state.fxsave[4]).toBe(1);
  });
});

class FakeTarget implements DebugTarget {
  readonly cpus = 2;
  readonly calls: string[] = [];
  readonly states = [resetState(), resetState()];
  readonly memory = new Uint8Array(0x4000);
  points: DebugPoints = { breakpoints: [], watchpoints: [] };
  most = 4;

  stop(): Promise<void> {
    this.calls.push('stop');
    return Promise.resolve();
  }
  resume(how: Go[]): void {
    this.calls.push(`resume ${how.join(' ')}`.trim());
  }
  getState(vcpu: number): CpuState {
    return structuredClone(this.states[vcpu]!);
  }
  setState(vcpu: number, state: CpuState): void {
    if (state.cr8 > 15n) throw new Error('CR8 is larger than 15.');
    this.states[vcpu] = state;
  }
  setPoints(points: DebugPoints): void {
    if (points.breakpoints.length > this.most) throw new Error('too many');
    this.points = points;
  }
  read(at: number, into: Uint8Array): boolean {
    if (at + into.length > this.memory.length) return false;
    into.set(this.memory.subarray(at, at + into.length));
    return true;
  }
  write(at: number, from: Uint8Array): boolean {
    if (at + from.length > this.memory.length) return false;
    this.memory.set(from, at);
    return true;
  }
  reset(): Promise<void> {
    this.calls.push('reset');
    return Promise.resolve();
  }
  powerOff(): void {
    this.calls.push('powerOff');
  }
}

function session(prepare: (target: FakeTarget) => void = () => {}) {
  const target = new FakeTarget();
  prepare(target);
  const reader = new PacketReader();
  const replies: string[] = [];
  const gdb = new GdbSession(
    target,
    (bytes) => void replies.push(...packets(reader.push(bytes))),
    () => void target.calls.push('close'),
  );
  const ask = async (...texts: string[]): Promise<string[]> => {
    replies.length = 0;
    for (const text of texts) gdb.receive(framePacket(text));
    await new Promise((done) => setImmediate(done));
    return [...replies];
  };
  return { target, gdb, ask, replies };
}

/** Linear 1000h–1FFFh is physical 3000h in 4-level tables at 0, 1000h, 2000h (its own table), and nothing else is mapped. */
function pageTables(target: FakeTarget): void {
  Object.assign(target.states[0]!, long, { cr3: 0n });
  const view = new DataView(target.memory.buffer);
  view.setBigUint64(0, 0x1003n, true);
  view.setBigUint64(0x1000, 0x2003n, true);
  view.setBigUint64(0x2000, 0x0003n | 0x2000n, true);
  view.setBigUint64(0x2000 + 8, 0x3003n, true);
}

describe('a session', () => {
  it('says what it can and who is there', async () => {
    const { ask } = session();
    const [supported] = await ask('qSupported:hwbreak+;swbreak+');
    expect(supported).toContain('qXfer:features:read+');
    expect(await ask('?', 'qfThreadInfo', 'qsThreadInfo', 'T2', 'T3', 'vMustReplyEmpty')).toEqual([
      'T02thread:1;',
      'm1,2',
      'l',
      'OK',
      'E02',
      '',
    ]);
    const [first] = await ask('qXfer:features:read:target.xml:0,40');
    expect(first).toMatch(/^m<\?xml/);
    expect((await ask('qXfer:features:read:target.xml:0,ffff'))[0]!.length).toBeLessThan(PACKET_BYTES);
  });

  it('reads and writes memory by linear address, by page, and by physical address', async () => {
    const { ask, target } = session(pageTables);
    expect(await ask('M1ffe,2:a1b2', 'm1ffe,2')).toEqual(['OK', 'a1b2']);
    expect(target.memory.subarray(0x3ffe, 0x4000)).toEqual(Uint8Array.of(0xa1, 0xb2));
    // The next page is not there: as much as there is, and nothing of what is not.
    expect(await ask('m1ffe,4', 'm2000,1', 'M1ffe,4:00000000', 'mffffffffffffffff,1')).toEqual(['a1b2', 'E0e', 'E0e', 'E0e']);
    expect(await ask('Qqemu.PhyMemMode:1', 'qqemu.PhyMemMode', 'm3ffe,2', 'X0,1:z', 'm0,1')).toEqual([
      'OK',
      '1',
      '0000',
      'OK',
      '7a',
    ]);
  });

  it('refuses what it cannot parse', async () => {
    const { ask } = session();
    expect(await ask('m', 'mzz,1', 'M0,4:00', 'X0,9:a', 'p999', 'P0=1', 'Hg9', 'vCont;x', 'Z1,10')).toEqual(
      ['E16', 'E16', 'E16', 'E16', 'E02', 'E16', 'E02', 'E16', ''],
    ); // prettier-ignore
  });

  it('reads and writes registers of the processor that was chosen', async () => {
    const { ask, target } = session();
    expect(await ask('Hg2', 'P0=8877665544332211', 'p0', 'Hg1', 'p0')).toEqual([
      'OK',
      'OK',
      '8877665544332211',
      'OK',
      '0000000000000000',
    ]);
    expect(target.states[1]!.gpr[0]).toBe(0x1122334455667788n);
    const [all] = await ask('g');
    expect(await ask(`G${all}`)).toEqual(['OK']);
    // What no processor can be is refused.
    const cr8 = descriptionFor(target.getState(0)).registers.findIndex((r) => r.name === 'cr8');
    expect(await ask(`P${cr8.toString(16)}=ff00000000000000`)).toEqual(['E16']);
  });

  it('sets points, and forgets the one that is too many', async () => {
    const { ask, target } = session();
    expect(await ask('Z1,1000,1', 'Z0,2000,1', 'Z2,3000,4', 'Z3,4000,8', 'Z4,5000,1')).toEqual(['OK', 'OK', 'OK', 'OK', 'OK']);
    expect(target.points).toEqual({
      breakpoints: [0x1000n, 0x2000n],
      watchpoints: [
        { address: 0x3000n, bytes: 4, onRead: false, onWrite: true },
        { address: 0x4000n, bytes: 8, onRead: true, onWrite: false },
        { address: 0x5000n, bytes: 1, onRead: true, onWrite: true },
      ],
    });
    target.most = 2;
    expect(await ask('Z1,6000,1', 'z0,2000,1', 'Z1,6000,1')).toEqual(['E1c', 'OK', 'OK']);
    expect(target.points.breakpoints).toEqual([0x1000n, 0x6000n]);
  });

  it('steps one processor while others run or stand, and tells why it stopped', async () => {
    const { ask, target, gdb, replies } = session();
    await ask('qSupported:hwbreak+', 'Z1,1000,1', 'Z2,3000,4');
    expect(await ask('vCont;s:2;c')).toEqual([]);
    expect(target.calls.at(-1)).toBe('resume run step');
    gdb.stopped({ vcpu: 1, cause: 'step', address: 0n });
    expect(replies).toEqual(['T05thread:2;']);
    await ask('vCont;s:2');
    expect(target.calls.at(-1)).toBe('resume hold step');
    gdb.stopped({ vcpu: 0, cause: 'breakpoint', address: 0x1000n });
    gdb.stopped({ vcpu: 1, cause: 'watchpoint', address: 0x3000n });
    expect(replies).toEqual(['T05thread:1;hwbreak:;']);
    // The other's news are told before anybody runs again.
    const resumed = target.calls.length;
    expect(await ask('c')).toEqual(['T05thread:2;watch:3000;']);
    expect(target.calls).toHaveLength(resumed);
    await ask('c');
    expect(target.calls.at(-1)).toBe('resume');
  });

  it('is interrupted, and answers nothing else while the guest runs', async () => {
    const { ask, gdb, replies, target } = session();
    await ask('c', 'g');
    expect(replies).toEqual([]);
    gdb.receive(Uint8Array.of(3));
    await new Promise((done) => setImmediate(done));
    expect(replies).toEqual(['T02thread:1;']);
    expect(target.calls).toEqual(['resume', 'stop']);
  });

  it('leaves no point behind when it detaches or is cut off', async () => {
    for (const leave of ['D', 'cut'] as const) {
      const { ask, target, gdb } = session();
      await ask('Z1,1000,1');
      if (leave === 'D') expect(await ask('D')).toEqual(['OK']);
      else gdb.gone();
      await new Promise((done) => setImmediate(done));
      expect(target.points.breakpoints).toEqual([]);
      expect(target.calls).toEqual(leave === 'D' ? ['resume', 'close'] : ['resume']);
    }
  });

  it('has monitor commands', async () => {
    const { ask } = session(pageTables);
    const monitor = async (line: string): Promise<string> =>
      Buffer.from((await ask(`qRcmd,${Buffer.from(line).toString('hex')}`))[0]!, 'hex').toString();
    expect(await monitor('translate 0x1234')).toBe('0x3234\n');
    expect(await monitor('translate 9000')).toMatch(/Nothing is mapped/);
    expect(await monitor('cpu')).toMatch(/^vCPU 0, runnable/);
    expect(await monitor('nonsense')).toContain('translate ADDRESS');
  });
});

describe('the port', () => {
  it('stops the machine for who connects, refuses a second one, and lets it go on when the first leaves', async () => {
    const target = new FakeTarget();
    const [server, port] = await listen(target);
    const first = connect(port, '127.0.0.1');
    const answer = new Promise<string>((done) => first.once('data', (bytes) => done(bytes.toString())));
    first.write(framePacket('?'));
    expect(await answer).toContain('T02thread:1;');
    expect(server.connected).toBe(true);
    const second = connect(port, '127.0.0.1');
    await new Promise((done) => second.once('close', done).resume());
    first.end();
    await new Promise((done) => first.once('close', done).resume());
    await expect.poll(() => server.connected).toBe(false);
    expect(target.calls).toEqual(['stop', 'resume']);
    await expect(GdbServer.listen(port, target)).rejects.toThrow(/in use/);
    server.close();
  });
});

async function listen(target: DebugTarget): Promise<[GdbServer, number]> {
  for (let port = 20_000 + (process.pid % 20_000); ; port++) {
    try {
      return [await GdbServer.listen(port, target), port];
    } catch (e) {
      if (port > 60_000) throw e;
    }
  }
}
