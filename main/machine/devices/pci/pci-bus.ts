/**
 * PCI bus 0: configuration mechanism 1 (PCI Local Bus 3.0 §3.2.2.3.2, ports CF8/CFC), slots, INTx wiring, and the resource
 * assignment a BIOS would do. Bridges to further buses: none.
 */
import type { NativeMachine } from '../../../../native/addon/types';
import type { Bus } from '../../bus/bus';
import type { Doorbells } from '../../bus/doorbells';
import { IrqWires } from '../../bus/irq';
import { PCI_SLOTS, pirqOf } from '../../bus/pc';
import { QuickPort, TAKES_ALL } from '../../bus/quick-ports';
import type { Device, IoHandler } from '../../bus/types';
import { PCI_MEMORY_END, PCI_MEMORY_START, type RegionWindows } from '../../memory/address-space';
import { Command, Config, type PciFunction } from './function';

const FUNCTIONS = 8;
const CONFIG_ENABLE = 0x8000_0000;
const IO_WINDOW_START = 0xc000;
const IO_WINDOW_END = 0x10000;

/** INTx pins meet four PIRQ wires; who those interrupt is the south bridge's business. */
export interface PirqRouter {
  setPirq(pirq: number, level: boolean): void;
  /** ISA interrupt a PIRQ goes to; undefined when it is off. */
  routeOf(pirq: number): number | undefined;
}

export interface PciBusDeps {
  readonly bus: Bus;
  readonly doorbells: Doorbells;
  readonly regions: RegionWindows;
  readonly native: Pick<NativeMachine, 'sendMsi'>;
  /** CF9, which lies within the address register: the reset control register. */
  readonly resetControl: { read(): number; write(value: number): void };
}

export class PciBus implements Device {
  readonly name = 'pci';
  private address = 0;
  private readonly functions = new Map<number, PciFunction>();
  private router: PirqRouter | undefined;
  private readonly pirqs = new IrqWires(4, (pirq, level) => this.router?.setPirq(pirq, level));

  constructor(private readonly deps: PciBusDeps) {
    // The address matters to the data ports only.
    this.addressPort.set(TAKES_ALL);
    deps.bus.claimPorts(0xcf8, 4, this.addressPorts, 'PCI configuration address');
    deps.bus.claimPorts(0xcfc, 4, this.dataPorts, 'PCI configuration data');
  }

  setRouter(router: PirqRouter): void {
    this.router = router;
  }

  plug(fn: PciFunction, slot: number, func = 0): void {
    const key = slot * FUNCTIONS + func;
    if (!(slot >= 0 && slot < PCI_SLOTS && func >= 0 && func < FUNCTIONS))
      throw new Error(`PCI slot ${slot}.${func} does not exist`);
    const other = this.functions.get(key);
    if (other) throw new Error(`PCI slot ${slot}.${func} holds ${other.name} already`);
    this.functions.set(key, fn);
    const { bus, doorbells, regions, native } = this.deps;
    const pin = fn.identity.interruptPin ?? 0;
    fn.plug({
      overlayPorts: (start, count, handler, name, options) => bus.overlayPorts(start, count, handler, name, options),
      overlayMmio: (start, bytes, handler, name, options) => bus.overlayMmio(start, bytes, handler, name, options),
      mapRegion: (region, regionOffset, at, bytes) => regions.map(region, regionOffset, at, bytes),
      addDoorbell: (kind, address, width, ring) => doorbells.add(kind, address, width, ring),
      interrupt: pin === 0 ? { set: () => undefined } : this.pirqs.connect(pirqOf(slot, pin)),
      sendMsi: (address, data) => {
        if (fn.busMaster) native.sendMsi(address, data);
      },
    });
  }

  /** Plugs into the lowest free slot from `from`; returns it. */
  plugAnywhere(fn: PciFunction, from = 2): number {
    for (let slot = from; slot < PCI_SLOTS; slot++) {
      if (!this.functions.has(slot * FUNCTIONS)) {
        this.plug(fn, slot);
        return slot;
      }
    }
    throw new Error('all PCI slots are taken');
  }

  *list(): IterableIterator<{ slot: number; func: number; fn: PciFunction }> {
    for (const key of [...this.functions.keys()].sort((a, b) => a - b)) {
      yield { slot: key >> 3, func: key & 7, fn: this.functions.get(key)! };
    }
  }

  /** What a BIOS does before it boots: BARs (largest first, naturally aligned), interrupt lines, decoding on. */
  assignResources(): void {
    const requests = [...this.list()].flatMap(({ fn }) => fn.barSpecs.map((spec) => ({ fn, spec })));
    requests.sort((a, b) => b.spec.bytes - a.spec.bytes);
    let memory = PCI_MEMORY_START;
    let io = IO_WINDOW_START;
    for (const { fn, spec } of requests) {
      const isIo = spec.kind === 'io';
      const start = Math.ceil((isIo ? io : memory) / spec.bytes) * spec.bytes;
      if (start + spec.bytes > (isIo ? IO_WINDOW_END : PCI_MEMORY_END))
        throw new Error(`no PCI address space left for ${fn.name}`);
      if (isIo) io = start + spec.bytes;
      else memory = start + spec.bytes;
      fn.writeConfig(Config.BAR0 + spec.index * 4, 4, start);
      if (!isIo && spec.wide) fn.writeConfig(Config.BAR0 + spec.index * 4 + 4, 4, 0);
    }
    for (const { slot, fn } of this.list()) {
      const pin = fn.readConfig(Config.INTERRUPT_PIN, 1);
      const line = pin === 0 ? undefined : this.router?.routeOf(pirqOf(slot, pin));
      if (line !== undefined && fn.readConfig(Config.INTERRUPT_LINE, 1) === 0) fn.writeConfig(Config.INTERRUPT_LINE, 1, line);
      const command = fn.readConfig(Config.COMMAND, 2);
      const kinds = fn.barSpecs.reduce((bits, s) => bits | (s.kind === 'io' ? Command.IO : Command.MEMORY), 0);
      fn.writeConfig(Config.COMMAND, 2, command | kinds);
    }
  }

  reset(): void {
    this.address = 0;
    for (const { fn } of this.list()) fn.reset();
  }

  dispose(): void {
    for (const { fn } of this.list()) fn.dispose();
  }

  private readonly addressPort = new QuickPort(0, 4);

  private readonly addressPorts: IoHandler = {
    quick: [this.addressPort],
    read: (offset, width) => {
      if (width === 4 && offset === 0) return this.address;
      if (width === 1 && offset === 1) return this.deps.resetControl.read();
      return 0xffffffff;
    },
    write: (offset, width, value) => {
      if (width === 4 && offset === 0) this.address = value >>> 0;
      else if (width === 1 && offset === 1) this.deps.resetControl.write(value);
    },
  };

  private readonly dataPorts: IoHandler = {
    read: (offset, width) => {
      const fn = this.selected();
      return fn ? fn.readConfig((this.address & 0xfc) + offset, width) : 0xffffffff;
    },
    write: (offset, width, value) => this.selected()?.writeConfig((this.address & 0xfc) + offset, width, value),
  };

  private selected(): PciFunction | undefined {
    const { address } = this;
    if (!(address & CONFIG_ENABLE) || (address >>> 16) & 0xff) return undefined;
    return this.functions.get((address >>> 8) & 0xff);
  }
}
