/**
 * An AHCI controller as in Intel's ICH9 (8086:2922). Serial ATA AHCI 1.3.1; registers are BAR 5. Six ports with a drive or none,
 * 32 command slots, native command queuing, MSI and INTx. Not offered: port multipliers, hot plug notices, staggered spin-up, command
 * completion coalescing, enclosure management, legacy IDE access.
 */
import type { MmioHandler } from '../../bus/types';
import type { GuestMemory } from '../../memory/guest-memory';
import type { AtaDrive } from '../ata';
import { PciFunction } from '../pci';
import { AhciPort } from './port';
import { Ghc, Hba, HBA_REGISTERS, PORT_BASE, PORT_BYTES, PORTS, RegisterFile } from './registers';

export const AHCI_PORTS = PORTS;
const BAR_BYTES = 4096;

export interface AhciDeps {
  readonly mem: GuestMemory;
  readonly drives: readonly (AtaDrive | undefined)[];
}

export class Ahci extends PciFunction implements MmioHandler {
  private readonly hba = new RegisterFile(HBA_REGISTERS);
  private readonly ports: readonly AhciPort[];

  constructor(deps: AhciDeps) {
    super('ahci', {
      vendor: 0x8086,
      device: 0x2922,
      revision: 2,
      classCode: 0x010601,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
      interruptPin: 1,
    });
    this.addBar({ index: 5, kind: 'memory', bytes: BAR_BYTES, handler: this });
    this.enableMsi();
    this.defineRegisters([
      { offset: 0x90, width: 1, name: 'map', reset: 0x40 }, // AHCI mode
      { offset: 0x92, width: 2, name: 'pcs', reset: 0, writable: (1 << PORTS) - 1 },
    ]);
    const ports: AhciPort[] = [];
    for (let i = 0; i < PORTS; i++) {
      ports.push(
        new AhciPort({
          mem: deps.mem,
          drive: deps.drives[i],
          // A port resets itself while it is built, before it has a place here.
          interrupt: (fresh) => ports[i] && this.update(i, fresh),
          mayMaster: () => this.busMaster,
        }),
      );
    }
    this.ports = ports;
  }

  read(offset: number, width: number): number {
    return (this.readRegister(offset & ~3) >>> ((offset & 3) * 8)) & (width === 4 ? 0xffffffff : (1 << (width * 8)) - 1);
  }

  /** Registers are whole; a narrower write is ignored, as §3 forbids it. */
  write(offset: number, width: number, value: number): void {
    if (width !== 4 || offset & 3) return;
    if (offset >= PORT_BASE) {
      this.ports[Math.floor((offset - PORT_BASE) / PORT_BYTES)]?.write((offset - PORT_BASE) % PORT_BYTES, value);
      return;
    }
    if (offset === Hba.GHC && value & Ghc.RESET) {
      this.resetController();
      return;
    }
    this.hba.write(offset, value);
    if (offset === Hba.IS) {
      // A port whose own causes stand shows again at once (§3.1.3).
      this.ports.forEach((port, i) => {
        if (port.interrupting) this.hba.set(Hba.IS, this.hba.get(Hba.IS) | (1 << i));
      });
      this.signal(this.hba.get(Hba.IS) !== 0);
    } else if (offset === Hba.GHC) this.signal(this.hba.get(Hba.IS) !== 0);
  }

  override reset(): void {
    super.reset();
    this.resetController();
  }

  async quiesce(): Promise<void> {
    await Promise.all(this.ports.map((port) => port.quiesce()));
  }

  private resetController(): void {
    this.hba.reset();
    for (const port of this.ports) port.reset();
    this.hba.set(Hba.IS, 0);
    this.signal(false);
  }

  private readRegister(offset: number): number {
    if (offset < PORT_BASE) return this.hba.get(offset);
    return this.ports[Math.floor((offset - PORT_BASE) / PORT_BYTES)]?.read((offset - PORT_BASE) % PORT_BYTES) ?? 0;
  }

  private update(index: number, fresh: boolean): void {
    if (this.ports[index]!.interrupting) this.hba.set(Hba.IS, this.hba.get(Hba.IS) | (1 << index));
    this.signal(fresh);
  }

  /** A message for each new cause; the wire for as long as one stands. */
  private signal(fresh: boolean): void {
    const level = (this.hba.get(Hba.GHC) & Ghc.INTERRUPTS) !== 0 && this.hba.get(Hba.IS) !== 0;
    if (this.msiEnabled) {
      this.intx.set(false);
      if (level && fresh) this.raiseMsi();
    } else this.intx.set(level);
  }
}
