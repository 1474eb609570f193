/** An engine for tests: memory is real (sparse), vCPUs are scripts that perform exits one after the other. */
import {
  Exit,
  ExitKind,
  Posted,
  Serve,
  type CpuState,
  type DebugPoints,
  type MachineStats,
  type NativeEvent,
  type NativeMachine,
  type SampleBatch,
} from '../../../native/addon/types';
import { readSync } from 'node:fs';

const PAGE = 4096;

export interface ScriptedExit {
  /** 'post': written to a quick port. */
  readonly kind: 'in' | 'out' | 'mmioRead' | 'mmioWrite' | 'post';
  readonly address: number;
  readonly width: number;
  /** What is written, element by element. */
  readonly values?: readonly number[];
  readonly count?: number;
}

export const resetState = (): CpuState => {
  const segment = () => ({ selector: 0, base: 0n, limit: 0xffff, attributes: 0x93 });
  return {
    rip: 0xfff0n, rflags: 2n, gpr: new Array<bigint>(16).fill(0n),
    segments: { es: segment(), cs: segment(), ss: segment(), ds: segment(), fs: segment(), gs: segment(), ldtr: segment(), tr: segment() },
    gdtr: { base: 0n, limit: 0xffff }, idtr: { base: 0n, limit: 0xffff },
    cr0: 0x60000010n, cr2: 0n, cr3: 0n, cr4: 0n, cr8: 0n, dr: [0n, 0n, 0n, 0n, 0n, 0n], efer: 0n, fxsave: new Uint8Array(512), ymmHigh: new Uint8Array(256), xcr0: 1n, msrs: {},
    activity: 'runnable',
  }; // prettier-ignore
};

export class FakeNative implements NativeMachine {
  readonly calls: string[] = [];
  readonly answers: number[][] = [];
  readonly irqs: [gsi: number, level: boolean][] = [];
  readonly script: ScriptedExit[] = [];
  state = resetState();
  running = false;
  destroyed = false;
  private readonly pages = new Map<number, Uint8Array>();
  private ram: { at: number; bytes: number }[] = [];
  private ramRegion = -1;
  private regions = 0;
  private readonly events: NativeEvent[] = [];
  private waiting = false;
  private readonly view: DataView;

  constructor(
    exitBuffer: ArrayBuffer,
    private readonly onWake: () => void,
  ) {
    this.view = new DataView(exitBuffer);
  }

  /** The guest does this next. */
  run(...exits: ScriptedExit[]): void {
    this.script.push(...exits);
    if (this.running) setImmediate(() => this.onWake());
  }

  emit(event: NativeEvent): void {
    this.events.push(event);
    setImmediate(() => this.onWake());
  }

  addRegion(kind: 'ram' | 'rom' | 'vram' | 'flash'): number {
    if (kind === 'ram') this.ramRegion = this.regions;
    return this.regions++;
  }
  mapRegion(region: number, _offset: number, at: number, bytes: number): void {
    if (region === this.ramRegion) this.ram.push({ at, bytes });
  }
  unmap(): void {}
  private byteAt(at: number): [Uint8Array, number] | undefined {
    if (!this.ram.some((r) => at >= r.at && at < r.at + r.bytes)) return undefined;
    const number = Math.floor(at / PAGE);
    let page = this.pages.get(number);
    if (!page) this.pages.set(number, (page = new Uint8Array(PAGE)));
    return [page, at % PAGE];
  }
  memRead(at: number, into: Uint8Array): boolean {
    for (let i = 0; i < into.length; i++) {
      const byte = this.byteAt(at + i);
      if (!byte) return false;
      into[i] = byte[0][byte[1]]!;
    }
    return true;
  }
  memWrite(at: number, from: Uint8Array): boolean {
    for (let i = 0; i < from.length; i++) {
      const byte = this.byteAt(at + i);
      if (!byte) return false;
      byte[0][byte[1]] = from[i]!;
    }
    return true;
  }
  private readNumber(at: number, bytes: number): number | undefined {
    const data = new Uint8Array(bytes);
    return this.memRead(at, data) ? data.reduceRight((n, byte) => n * 256 + byte, 0) : undefined;
  }
  memReadU16 = (at: number) => this.readNumber(at, 2);
  memReadU32 = (at: number) => this.readNumber(at, 4);
  memReadU64 = (at: number) => this.readNumber(at, 8);
  memWriteU16 = (at: number, value: number) => this.memWrite(at, Uint8Array.of(value, value >> 8));
  memWriteU32 = (at: number, value: number) => this.memWrite(at, Uint8Array.of(value, value >> 8, value >> 16, value >>> 24));
  memFill(at: number, bytes: number, value: number): boolean {
    return this.memWrite(at, new Uint8Array(bytes).fill(value));
  }
  regionRead(): boolean {
    return true;
  }
  regionWrite(): boolean {
    return true;
  }
  takeDirty(): boolean {
    return false;
  }
  convertPixels(): void {}
  fileRead(fd: number, offset: number, ranges: Float64Array): number {
    const data = new Uint8Array(ranges[1]!);
    const done = readSync(fd, data, 0, data.length, offset);
    this.memWrite(ranges[0]!, data.subarray(0, done));
    return done;
  }
  fileWrite(): number {
    return 0;
  }
  async fileZero(): Promise<boolean> {
    return false;
  }
  setIrq(gsi: number, level: boolean): void {
    this.irqs.push([gsi, level]);
  }
  sendMsi(): void {}
  nmi(): void {}
  addDoorbell(): void {}
  removeDoorbell(): void {}
  readonly quickPorts = new Map<number, number>();
  addQuickPort(port: number, _width: number, number: number): void {
    this.quickPorts.set(number, port);
  }
  removeQuickPort(number: number): void {
    this.quickPorts.delete(number);
  }
  start(): void {
    this.calls.push('start');
  }
  pause(): void {
    this.calls.push('pause');
    this.running = false;
    this.emit({ type: 'paused' });
  }
  resume(): void {
    this.calls.push('resume');
    this.running = true;
    if (this.script.length > 0) setImmediate(() => this.onWake());
  }
  reset(): void {
    this.calls.push('reset');
    this.state = resetState();
  }
  destroy(): void {
    this.calls.push('destroy');
    this.destroyed = true;
  }
  setCpuCap(percent: number): void {
    this.calls.push(`cpuCap ${percent}`);
  }
  setCpuQuota(processors: number): void {
    this.calls.push(`cpuQuota ${processors}`);
  }
  setDebugPoints(points: DebugPoints): void {
    this.calls.push(`debugPoints ${points.breakpoints.length} ${points.watchpoints.length}`);
  }
  getCpuState(): CpuState {
    return this.state;
  }
  setCpuState(_vcpu: number, state: CpuState): void {
    this.state = state;
  }
  serve(completed: number): number {
    if (this.destroyed) throw new Error('serve after destroy');
    if (completed >= 0) this.finishExit();
    if (this.events.length > 0) return Serve.EVENTS;
    const { view } = this;
    let next = this.script[0];
    if (!next || !this.running || this.waiting) return Serve.IDLE;
    let posted = 0;
    for (; next?.kind === 'post'; next = this.script[0], posted++) {
      const at = Posted.FIRST + posted * Posted.BYTES;
      view.setUint16(at, next.address, true);
      view.setUint16(at + 2, next.width, true);
      view.setUint32(at + 4, next.values![0]!, true);
      this.script.shift();
    }
    view.setUint32(Posted.COUNT, posted, true);
    if (posted > 0) return Serve.POSTED;
    if (!next) return Serve.IDLE;
    const kinds = { in: ExitKind.PORT_IN, out: ExitKind.PORT_OUT, mmioRead: ExitKind.MMIO_READ, mmioWrite: ExitKind.MMIO_WRITE };
    const count = next.count ?? next.values?.length ?? 1;
    view.setUint32(Exit.KIND, kinds[next.kind as keyof typeof kinds], true);
    view.setUint32(Exit.WIDTH, next.width, true);
    view.setUint32(Exit.COUNT, count, true);
    view.setUint32(Exit.ADDRESS_LOW, next.address % 2 ** 32, true);
    view.setUint32(Exit.ADDRESS_HIGH, Math.floor(next.address / 2 ** 32), true);
    (next.values ?? []).forEach((value, i) => {
      for (let b = 0; b < next.width; b++) view.setUint8(Exit.DATA + i * next.width + b, Math.floor(value / 256 ** b) % 256);
    });
    this.waiting = true;
    return 0;
  }
  private finishExit(): void {
    const { width, count = 1, kind } = this.script.shift()!;
    this.waiting = false;
    if (kind === 'out' || kind === 'mmioWrite') return;
    this.answers.push(
      Array.from({ length: count }, (_, i) => {
        let value = 0;
        for (let b = width - 1; b >= 0; b--) value = value * 256 + this.view.getUint8(Exit.DATA + i * width + b);
        return value;
      }),
    );
  }
  takeEvents(): NativeEvent[] {
    return this.events.splice(0);
  }
  stats(): MachineStats {
    const exits = { portIn: 3, portOut: this.answers.length, mmioRead: 0, mmioWrite: 0 };
    return { vcpus: [{ cpuSeconds: 1.5, halted: !this.running, instructions: 1000, exits, doorbells: 0, quick: 0 }] };
  }
  /** What takeSamples() gives next. */
  samples: SampleBatch = { addresses: new BigUint64Array(), what: new Uint32Array(), halted: [0], lost: 0 };
  startSampling(hertz: number): void {
    this.calls.push(`startSampling ${hertz}`);
  }
  stopSampling(): void {
    this.calls.push('stopSampling');
  }
  takeSamples(): SampleBatch {
    const { samples } = this;
    this.samples = { addresses: new BigUint64Array(), what: new Uint32Array(), halted: [0], lost: 0 };
    return samples;
  }
}
