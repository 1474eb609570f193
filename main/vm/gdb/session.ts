/**
 * One debugger's connection: the GDB remote serial protocol (GDB manual, appendix E) over what DebugTarget can do. All-stop: while any
 * processor runs only an interrupt is answered. Threads are processors, numbered from 1. Everything received is hostile in form;
 * in substance the debugger may do to the guest what it likes.
 */
import type { CpuState, DebugPoints, Go } from '../../../native/addon/types';
import { cpuReport, translate } from '../cpu-report';
import { framePacket, PACKET_BYTES, PacketReader } from './packets';
import { descriptionFor, registerHex, setRegisterHex, type TargetDescription } from './registers';

export interface DebugStopInfo {
  readonly vcpu: number;
  /** 'interrupt': the debugger asked; 'fault': the guest cannot go on. */
  readonly cause: 'breakpoint' | 'watchpoint' | 'step' | 'interrupt' | 'fault';
  readonly address: bigint;
}

/** The machine, as a debugger may use it. Everything but `stop` only while it is stopped for the debugger. */
export interface DebugTarget {
  readonly cpus: number;
  /** Resolves when every processor stands still. */
  stop(): Promise<void>;
  resume(how: Go[]): void;
  getState(vcpu: number): CpuState;
  /** Throws when no processor can be in this state. */
  setState(vcpu: number, state: CpuState): void;
  /** Throws when the accelerator cannot watch for so many. */
  setPoints(points: DebugPoints): void;
  read(physical: number, into: Uint8Array): boolean;
  write(physical: number, from: Uint8Array): boolean;
  reset(): Promise<void>;
  powerOff(): void;
}

const SIGNAL = { interrupt: 2, trap: 5, fault: 11 };
const OK = 'OK';
const error = (code: number): string => `E${code.toString(16).padStart(2, '0')}`;
/** Numbers GDB shows, after errno. */
const ERROR = { notFound: error(2), io: error(5), memory: error(14), invalid: error(22), tooMany: error(28) };

const PAGE = 4096;
const MONITOR_HELP = `help                  this text
cpu                   registers of the current processor as Lodge reports them
translate ADDRESS     the physical address behind a linear one
physical on|off       whether addresses of memory commands are physical
reset                 the reset button; the machine stays stopped
`;

type PointKind = 0 | 1 | 2 | 3 | 4;
interface Point {
  readonly kind: PointKind;
  readonly address: bigint;
  readonly bytes: number;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
const parseAddress = (text: string | undefined): bigint | undefined =>
  text !== undefined && /^[0-9a-f]{1,16}$/i.test(text) ? BigInt(`0x${text}`) : undefined;
const parseLength = (text: string | undefined): number | undefined =>
  text !== undefined && /^[0-9a-f]{1,8}$/i.test(text) ? parseInt(text, 16) : undefined;

export class GdbSession {
  private readonly reader = new PacketReader();
  private acknowledge = true;
  private description: TargetDescription;
  private physical = false;
  private running = false;
  /** Processor of 'g', 'm' and their kin, and of the last stop. */
  private current = 0;
  private hwbreak = false;
  private swbreak = false;
  private points: Point[] = [];
  private lastStop: DebugStopInfo;
  /** Stops that came together with one that was told: told when the debugger wants to go on. */
  private readonly waiting: DebugStopInfo[] = [];
  private queue: Promise<void> = Promise.resolve();
  private ended = false;

  /** The machine is stopped for the debugger already. */
  constructor(
    private readonly target: DebugTarget,
    private readonly send: (bytes: Buffer) => void,
    private readonly close: () => void,
    stop: DebugStopInfo = { vcpu: 0, cause: 'interrupt', address: 0n },
  ) {
    this.lastStop = stop;
    this.description = descriptionFor(target.getState(stop.vcpu));
  }

  receive(bytes: Uint8Array): void {
    for (const item of this.reader.push(bytes)) {
      if (this.ended) return;
      if (item.kind === 'interrupt') void this.interrupt();
      else if (item.kind === 'damaged') this.raw('-');
      else {
        if (this.acknowledge) this.raw('+');
        // A command that waits must not be overtaken.
        this.queue = this.queue.then(() => this.command(item.data)).catch(() => this.reply(ERROR.io));
      }
    }
  }

  /** The machine stopped for this debugger. */
  stopped(stop: DebugStopInfo): void {
    if (!this.running) {
      if (stop.cause !== 'interrupt') this.waiting.push(stop);
      return;
    }
    this.running = false;
    this.lastStop = stop;
    this.current = stop.vcpu;
    this.reply(this.stopReply());
  }

  /** The machine has ended. */
  exited(): void {
    if (this.ended) return;
    this.ended = true;
    this.reply('W00');
  }

  /** The connection is gone: the guest goes on without its debugger. */
  gone(): void {
    if (this.ended) return;
    this.ended = true;
    void this.leave();
  }

  private async leave(): Promise<void> {
    if (this.running) await this.target.stop();
    this.running = false;
    this.target.setPoints({ breakpoints: [], watchpoints: [] });
    this.target.resume([]);
  }

  private raw(text: string): void {
    this.send(Buffer.from(text, 'latin1'));
  }
  private reply(payload: string): void {
    this.send(framePacket(payload));
  }

  private async interrupt(): Promise<void> {
    if (!this.running) return;
    await this.target.stop();
    this.stopped({ vcpu: this.current, cause: 'interrupt', address: 0n });
  }

  private async command(data: Buffer): Promise<void> {
    if (this.ended) return;
    const text = data.toString('latin1');
    if (this.running) return; // all-stop: nothing but an interrupt is due now
    const answer = await this.perform(text, data);
    if (answer !== undefined) this.reply(answer);
  }

  /** Undefined: the answer comes when the machine stops, or there is none. '': not supported. */
  private async perform(text: string, data: Buffer): Promise<string | undefined> {
    const rest = text.slice(1);
    switch (text[0]) {
      case '?':
        return this.stopReply();
      case 'g':
        return this.readRegisters();
      case 'G':
        return this.writeRegisters(rest);
      case 'p':
        return this.readRegister(rest);
      case 'P':
        return this.writeRegister(rest);
      case 'm':
        return this.readMemory(rest);
      case 'M':
      case 'X':
        return this.writeMemory(text[0], data);
      case 'c':
      case 'C':
      case 's':
      case 'S':
        return this.goOn(text[0].toLowerCase() === 's' ? this.each((vcpu) => (vcpu === this.current ? 'step' : 'hold')) : []);
      case 'H':
        return this.chooseThread(rest);
      case 'T': {
        const thread = parseLength(rest);
        return thread !== undefined && thread >= 1 && thread <= this.target.cpus ? OK : ERROR.notFound;
      }
      case 'Z':
      case 'z':
        return this.changePoint(text[0] === 'Z', rest);
      case 'D':
        this.reply(OK);
        this.ended = true;
        await this.leave();
        this.close();
        return undefined;
      case 'k':
        this.target.powerOff();
        return undefined;
      case 'v':
        return this.verbose(text);
      case 'q':
      case 'Q':
        return this.query(text);
      default:
        return '';
    }
  }

  // ---- stopping and going on ---------------------------------------------------------------------------------------------------

  private stopReply(): string {
    const { cause, vcpu, address } = this.lastStop;
    const thread = `thread:${(vcpu + 1).toString(16)};`;
    const at = address.toString(16);
    switch (cause) {
      case 'interrupt':
        return `T${SIGNAL.interrupt.toString(16).padStart(2, '0')}${thread}`;
      case 'fault':
        return `T${SIGNAL.fault.toString(16).padStart(2, '0')}${thread}`;
      case 'step':
        return `T05${thread}`;
      case 'breakpoint': {
        const hard = this.points.some((p) => p.kind === 1 && p.address === address);
        return `T05${thread}${hard && this.hwbreak ? 'hwbreak:;' : !hard && this.swbreak ? 'swbreak:;' : ''}`;
      }
      case 'watchpoint': {
        const point = this.points.find((p) => p.kind >= 2 && p.address === address);
        const name = point?.kind === 3 ? 'rwatch' : point?.kind === 4 ? 'awatch' : 'watch';
        return `T05${thread}${name}:${at};`;
      }
    }
  }

  private each(how: (vcpu: number) => Go): Go[] {
    return Array.from({ length: this.target.cpus }, (_, vcpu) => how(vcpu));
  }

  private goOn(how: Go[]): string | undefined {
    // What another processor met at the same time is told first; a breakpoint it will meet again by itself.
    for (let stop = this.waiting.shift(); stop; stop = this.waiting.shift()) {
      const { address, cause } = stop;
      if (cause === 'breakpoint' || (cause === 'watchpoint' && !this.points.some((p) => p.kind >= 2 && p.address === address)))
        continue;
      this.lastStop = stop;
      this.current = stop.vcpu;
      return this.stopReply();
    }
    this.running = true;
    this.target.resume(how);
    return undefined;
  }

  /** vCont;action[:thread]…: for each thread the leftmost action that names it; one without any stays stopped. */
  private continueThreads(text: string): string | undefined {
    const how = this.each((): Go => 'hold');
    const decided = new Set<number>();
    for (const part of text.split(';')) {
      const [action = '', thread] = part.split(':');
      const go: Go | undefined = /^[cC]/.test(action) ? 'run' : /^[sS]/.test(action) ? 'step' : undefined;
      if (!go) return ERROR.invalid;
      const number = thread === undefined || thread === '-1' ? -1 : parseLength(thread);
      if (number === undefined || number > this.target.cpus) return ERROR.notFound;
      for (let vcpu = 0; vcpu < this.target.cpus; vcpu++) {
        if (decided.has(vcpu) || (number > 0 && number !== vcpu + 1)) continue;
        how[vcpu] = go;
        decided.add(vcpu);
      }
    }
    return this.goOn(how);
  }

  private chooseThread(rest: string): string {
    // Hc is what 'c' and 's' are for, which act on the current processor.
    const thread = rest.slice(1) === '-1' ? 0 : parseLength(rest.slice(1));
    if (thread === undefined || thread > this.target.cpus) return ERROR.notFound;
    if (thread > 0) this.current = thread - 1;
    return OK;
  }

  private changePoint(add: boolean, rest: string): string {
    const [type, at, length] = rest.split(/[,;]/);
    const address = parseAddress(at);
    const bytes = parseLength(length);
    if (address === undefined || bytes === undefined || !/^[0-4]$/.test(type ?? '')) return '';
    const kind = Number(type) as PointKind;
    if (kind >= 2 && (bytes === 0 || bytes > PAGE)) return ERROR.invalid;
    const others = this.points.filter((p) => p.kind !== kind || p.address !== address || p.bytes !== bytes);
    const before = this.points;
    this.points = add ? [...others, { kind, address, bytes }] : others;
    try {
      this.applyPoints();
      return OK;
    } catch {
      this.points = before;
      try {
        this.applyPoints();
      } catch {
        this.points = [];
      }
      return ERROR.tooMany;
    }
  }

  private applyPoints(): void {
    const watch = this.points.filter((p) => p.kind >= 2);
    this.target.setPoints({
      breakpoints: [...new Set(this.points.filter((p) => p.kind < 2).map((p) => p.address))],
      watchpoints: watch.map(({ kind, address, bytes }) => ({ address, bytes, onRead: kind !== 2, onWrite: kind !== 3 })),
    });
  }

  // ---- registers ---------------------------------------------------------------------------------------------------------------

  private readRegisters(): string {
    const state = this.target.getState(this.current);
    return this.description.registers.map((r) => registerHex(r, state)).join('');
  }

  private writeRegisters(text: string): string {
    const state = this.target.getState(this.current);
    let at = 0;
    for (const register of this.description.registers) {
      const digits = register.bits / 4;
      // Those that cannot be changed are part of the packet all the same.
      if (register.set && !setRegisterHex(register, state, text.slice(at, at + digits))) break;
      at += digits;
    }
    return this.writeState(state);
  }

  private readRegister(text: string): string {
    const register = this.description.registers[parseLength(text) ?? -1];
    return register ? registerHex(register, this.target.getState(this.current)) : ERROR.notFound;
  }

  private writeRegister(text: string): string {
    const [number, value = ''] = text.split('=');
    const register = this.description.registers[parseLength(number) ?? -1];
    if (!register) return ERROR.notFound;
    const state = this.target.getState(this.current);
    return setRegisterHex(register, state, value) ? this.writeState(state) : ERROR.invalid;
  }

  private writeState(state: CpuState): string {
    try {
      this.target.setState(this.current, state);
      return OK;
    } catch {
      return ERROR.invalid;
    }
  }

  // ---- memory ------------------------------------------------------------------------------------------------------------------

  private readonly readPhysical = (at: number, bytes: 4 | 8): bigint | undefined => {
    const into = new Uint8Array(bytes);
    if (!this.target.read(at, into)) return undefined;
    const view = new DataView(into.buffer);
    return bytes === 4 ? BigInt(view.getUint32(0, true)) : view.getBigUint64(0, true);
  };

  /** Visits the range page by page, as physical memory; the number of bytes up to the first page that is not there. */
  private walk(address: bigint, length: number, visit: (physical: number, offset: number, bytes: number) => boolean): number {
    const state = this.target.getState(this.current);
    let done = 0;
    while (done < length) {
      const at = BigInt.asUintN(64, address + BigInt(done));
      const bytes = Math.min(length - done, PAGE - Number(at & BigInt(PAGE - 1)));
      const physical = this.physical
        ? at <= BigInt(Number.MAX_SAFE_INTEGER)
          ? Number(at)
          : undefined
        : translate(state, at, this.readPhysical);
      if (physical === undefined || !visit(physical, done, bytes)) break;
      done += bytes;
    }
    return done;
  }

  private readMemory(rest: string): string {
    const [at, count] = rest.split(',');
    const address = parseAddress(at);
    const length = parseLength(count);
    if (address === undefined || length === undefined) return ERROR.invalid;
    const into = new Uint8Array(Math.min(length, PACKET_BYTES / 2 - 16));
    const done = this.walk(address, into.length, (physical, offset, bytes) =>
      this.target.read(physical, into.subarray(offset, offset + bytes)),
    );
    return done === 0 && length > 0 ? ERROR.memory : hex(into.subarray(0, done));
  }

  private writeMemory(kind: string, data: Buffer): string {
    const colon = data.indexOf(0x3a);
    const [at, count] = data.toString('latin1', 1, Math.max(colon, 1)).split(',');
    const address = parseAddress(at);
    const length = parseLength(count);
    const tail = data.subarray(colon + 1);
    const from = kind === 'X' ? tail : Buffer.from(tail.toString('latin1'), 'hex');
    if (colon < 0 || address === undefined || length !== from.length) return ERROR.invalid;
    const done = this.walk(address, length, (physical, offset, bytes) =>
      this.target.write(physical, from.subarray(offset, offset + bytes)),
    );
    return done === length ? OK : ERROR.memory;
  }

  // ---- questions ---------------------------------------------------------------------------------------------------------------

  private verbose(text: string): string | undefined {
    if (text === 'vCont?') return 'vCont;c;C;s;S';
    if (text.startsWith('vCont;')) return this.continueThreads(text.slice('vCont;'.length));
    if (text.startsWith('vKill')) {
      this.target.powerOff();
      return OK;
    }
    return '';
  }

  private query(text: string): string | Promise<string> {
    if (text.startsWith('qSupported')) {
      this.hwbreak = text.includes('hwbreak+');
      this.swbreak = text.includes('swbreak+');
      // A debugger that connects anew reads the description of what runs now.
      this.description = descriptionFor(this.target.getState(this.current));
      return `PacketSize=${PACKET_BYTES.toString(16)};qXfer:features:read+;vContSupported+;QStartNoAckMode+;hwbreak+;swbreak+`;
    }
    if (text === 'QStartNoAckMode') {
      this.acknowledge = false;
      return OK;
    }
    if (text === 'qAttached') return '1';
    if (text === 'qC') return `QC${(this.current + 1).toString(16)}`;
    if (text === 'qfThreadInfo') return `m${this.each(() => 'run').map((_, vcpu) => (vcpu + 1).toString(16)).join(',')}`; // prettier-ignore
    if (text === 'qsThreadInfo') return 'l';
    if (text.startsWith('qThreadExtraInfo,')) return this.threadInfo(text.slice('qThreadExtraInfo,'.length));
    if (text.startsWith('qXfer:features:read:target.xml:'))
      return this.part(this.description.xml, text.slice('qXfer:features:read:target.xml:'.length));
    if (text.startsWith('qXfer:')) return 'E00';
    if (text === 'qqemu.PhyMemMode') return this.physical ? '1' : '0';
    if (/^Qqemu\.PhyMemMode:[01]$/.test(text)) {
      this.physical = text.endsWith('1');
      return OK;
    }
    if (text.startsWith('qRcmd,')) return this.monitor(Buffer.from(text.slice('qRcmd,'.length), 'hex').toString('utf8').trim());
    if (text.startsWith('qSymbol')) return OK;
    return '';
  }

  private threadInfo(text: string): string {
    const thread = parseLength(text);
    if (thread === undefined || thread < 1 || thread > this.target.cpus) return ERROR.notFound;
    return Buffer.from(`CPU ${thread - 1} (${this.target.getState(thread - 1).activity})`, 'utf8').toString('hex');
  }

  private part(document: string, range: string): string {
    const [at, count] = range.split(',');
    const offset = parseLength(at);
    const length = parseLength(count);
    if (offset === undefined || length === undefined) return ERROR.invalid;
    const end = offset + Math.min(length, PACKET_BYTES - 16);
    return (end < document.length ? 'm' : 'l') + document.slice(offset, end);
  }

  private async monitor(line: string): Promise<string> {
    const [verb = 'help', argument] = line.split(/\s+/);
    const say = (text: string): string => Buffer.from(text.endsWith('\n') ? text : `${text}\n`, 'utf8').toString('hex');
    const state = this.target.getState(this.current);
    switch (verb) {
      case 'cpu':
        return say(cpuReport(this.current, state, (address) => this.byteAt(state, address)));
      case 'translate': {
        const address = parseAddress(argument?.replace(/^0x/i, ''));
        if (address === undefined) return say('translate takes an address.');
        const physical = translate(state, address, this.readPhysical);
        return say(physical === undefined ? 'Nothing is mapped there.' : `0x${physical.toString(16)}`);
      }
      case 'physical':
        if (argument === 'on' || argument === 'off') this.physical = argument === 'on';
        return say(`Addresses are ${this.physical ? 'physical' : 'linear'}.`);
      case 'reset':
        await this.target.reset();
        return say('The machine is at its first instruction.');
      default:
        return say(MONITOR_HELP);
    }
  }

  private byteAt(state: CpuState, address: bigint): number | undefined {
    const physical = translate(state, address, this.readPhysical);
    const byte = new Uint8Array(1);
    return physical !== undefined && this.target.read(physical, byte) ? byte[0] : undefined;
  }
}
