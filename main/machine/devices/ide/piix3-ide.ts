/**
 * The PIIX3's IDE function (Intel 82371SB, 290550 §2.5 and §2.7): two channels at the addresses and interrupts PCs always had, bus
 * master registers in BAR 4. Transfer timings are stored and change nothing. Not offered: native mode.
 */
import type { Bus } from '../../bus/bus';
import type { IrqLine } from '../../bus/types';
import type { AtaDrive } from '../ata';
import type { GuestMemory } from '../../memory/guest-memory';
import { Command, Config, PciFunction } from '../pci';
import { BusMasterChannel, BUS_MASTER_PORTS } from './bus-master';
import { COMMAND_PORTS, IdeChannel } from './channel';

export const IDE_CHANNELS = [
  { name: 'ide0', command: 0x1f0, control: 0x3f6, irq: 14 },
  { name: 'ide1', command: 0x170, control: 0x376, irq: 15 },
] as const;

const IDETIM = 0x40;
const DECODE_ENABLE = 0x8000;
const SIDETIM = 0x44;

export interface Piix3IdeDeps {
  readonly mem: GuestMemory;
  readonly connect: (irq: number) => IrqLine;
  /** Primary master, primary slave, secondary master, secondary slave. */
  readonly drives: readonly (AtaDrive | undefined)[];
}

export class Piix3Ide extends PciFunction {
  readonly channels: readonly IdeChannel[];

  constructor(deps: Piix3IdeDeps) {
    super('piix3-ide', { vendor: 0x8086, device: 0x7010, classCode: 0x010180, subsystemVendor: 0x1af4, subsystem: 0x1100 });
    this.defineRegisters([
      // Decoded from power-on, unlike on the chip: OVMF never writes here.
      { offset: IDETIM, width: 2, name: 'idetim0', reset: 0x8000, writable: 0xffff },
      { offset: IDETIM + 2, width: 2, name: 'idetim1', reset: 0x8000, writable: 0xffff },
      { offset: SIDETIM, width: 1, name: 'sidetim', reset: 0, writable: 0xff },
    ]);
    const masters = IDE_CHANNELS.map((_, i) => new BusMasterChannel(i * BUS_MASTER_PORTS));
    this.channels = IDE_CHANNELS.map(({ name, irq }, i) => {
      return new IdeChannel({
        name,
        mem: deps.mem,
        irq: deps.connect(irq),
        master: masters[i]!,
        drives: [deps.drives[i * 2], deps.drives[i * 2 + 1]],
        decoded: () => this.decodes(i),
        mayMaster: () => this.busMaster,
      });
    });
    this.addBar({
      index: 4,
      kind: 'io',
      bytes: 2 * BUS_MASTER_PORTS,
      handler: {
        read: (offset, width) => masters[offset >> 3]!.read(offset & 7, width),
        write: (offset, width, value) => masters[offset >> 3]!.write(offset & 7, width, value),
        quick: masters.flatMap((master) => master.quick),
      },
    });
  }

  /** The ports are the channels' for good; whether they answer is the function's configuration. */
  claimPorts(bus: Bus): void {
    this.channels.forEach((channel, i) => {
      const { command, control } = IDE_CHANNELS[i]!;
      bus.claimPorts(command, COMMAND_PORTS, channel.commandBlock, `${channel.name} command`);
      bus.claimPorts(control, 1, channel.controlPort, `${channel.name} control`, { maxWidth: 1 });
    });
  }

  /** What firmware does before an operating system starts. */
  setUp(): void {
    for (let i = 0; i < IDE_CHANNELS.length; i++) this.writeConfig(IDETIM + 2 * i, 2, DECODE_ENABLE);
    this.writeConfig(Config.COMMAND, 2, this.readConfig(Config.COMMAND, 2) | Command.IO | Command.BUS_MASTER);
  }

  override reset(): void {
    super.reset();
    for (const channel of this.channels) channel.reset();
  }

  /** Where the channels are decoded, and whether at all. */
  protected override configWritten(offset: number): void {
    if (offset < Config.STATUS || (offset >= IDETIM && offset < SIDETIM)) for (const channel of this.channels) channel.publish();
  }

  async quiesce(): Promise<void> {
    await Promise.all(this.channels.map((channel) => channel.quiesce()));
  }

  private decodes(channel: number): boolean {
    return (
      (this.config.read(Config.COMMAND, 2) & Command.IO) !== 0 &&
      (this.config.read(IDETIM + 2 * channel, 2) & DECODE_ENABLE) !== 0
    );
  }
}
