/**
 * Disks, discs and floppies of the PC: which controller and place each gets, and what can come and go while the machine runs.
 * An IDE controller with one disc drive is always there, so that a disc can be put in at any time; the others are there if used.
 */
import { HostIoError, type BlockBackend } from '../backend/block';
import type { Clock } from '../backend/clock';
import type { Bus } from '../machine/bus/bus';
import { floppyFormat } from '../machine/bus/floppies';
import type { IrqLine } from '../machine/bus/types';
import { Ahci, AHCI_PORTS } from '../machine/devices/ahci';
import { AtaDisk, AtapiDisc, MediaSlot, type AtaDrive, type DriveCounters } from '../machine/devices/ata';
import { Dma8237 } from '../machine/devices/dma8237';
import { FLOPPY_DMA, FLOPPY_DRIVES, FLOPPY_IRQ, FLOPPY_PORTS, FloppyController } from '../machine/devices/floppy';
import { Piix3Ide } from '../machine/devices/ide';
import type { PciBus } from '../machine/devices/pci';
import { createVirtioBlk, type VirtioBlk } from '../machine/devices/virtio';
import type { Drive, DriveMedium } from '../machine/firmware/bios/drives';
import type { GuestMemory } from '../machine/memory/guest-memory';
import { LodgeError } from '../../preload/contract/errors';

export interface BoardDisk {
  readonly id: string;
  readonly kind: DriveMedium;
  readonly bus: 'virtio' | 'ide' | 'ahci';
  /** For people: a file name. */
  readonly label: string;
  readonly backend: BlockBackend;
}

export interface StorageDeps {
  readonly bus: Bus;
  readonly pci: PciBus;
  readonly mem: GuestMemory;
  readonly clock: Clock;
  readonly connect: (irq: number) => IrqLine;
  readonly defer: (callback: () => void) => void;
  readonly disks: readonly BoardDisk[];
  readonly onDiskError: (diskId: string, message: string) => void;
  /** The guest took a disc out. Nothing uses it any more. */
  readonly onEjected: (disk: BoardDisk) => void;
}

/** Where IDE drives go: primary and secondary master come first, each for its kind, as installers expect. */
const IDE_PLACES = { disk: [0, 1, 3, 2], disc: [2, 3, 1, 0] } as const;
const IDE_NAMES = ['primary master', 'primary slave', 'secondary master', 'secondary slave'] as const;

/** What all drives moved, in bytes and in requests. */
type Transfers = Pick<DriveCounters, 'readBytes' | 'writtenBytes' | 'reads' | 'writes'>;

/** Stands for the controller until its own place is known. */
const AHCI_PATH = 'ahci:';

interface AtaPlace {
  readonly sata: boolean;
  /** For its serial number. */
  readonly name: string;
  readonly path: string;
}

const idePlace = (i: number): AtaPlace => ({
  sata: false,
  name: IDE_NAMES[i]!,
  path: `/pci@i0cf8/ide@1,1/drive@${i >> 1}/disk@${i & 1}`,
});

/** A drive whose medium can be changed. */
interface Changeable {
  readonly kind: 'disc' | 'floppy';
  readonly slot: MediaSlot;
  disk: BoardDisk | undefined;
}

/** Something to boot from. */
interface Place {
  readonly drive: Drive;
  /** Of what was in it when the machine was built. */
  readonly id: string | undefined;
  /** Open Firmware path: how external firmware names devices. */
  path: string;
}

export type Removal = 'removed' | 'locked' | 'notThere';

export class Storage {
  readonly ide: Piix3Ide;
  readonly dma: Dma8237;
  /** Only where the machine was built with floppies. */
  readonly floppy: FloppyController | undefined;
  private readonly ahci: Ahci | undefined;
  private readonly virtio: VirtioBlk[] = [];
  private readonly ata: AtaDrive[] = [];
  private readonly changeable: Changeable[] = [];
  private readonly places: Place[] = [];

  constructor(private readonly deps: StorageDeps) {
    const ide: (AtaDrive | undefined)[] = [undefined, undefined, undefined, undefined];
    const ahci: AtaDrive[] = [];
    const floppies: BoardDisk[] = [];
    for (const disk of deps.disks) {
      if (disk.kind === 'floppy') floppies.push(disk);
      else if (disk.bus === 'virtio') this.addVirtio(disk);
      else if (disk.bus === 'ahci') {
        if (ahci.length === AHCI_PORTS) throw tooMany(disk, `SATA has room for ${AHCI_PORTS} drives`);
        const path = `${AHCI_PATH}drive@${ahci.length}/disk@0`;
        ahci.push(this.createDrive(disk.kind, disk, { sata: true, name: `SATA ${ahci.length}`, path }));
      } else {
        const place = IDE_PLACES[disk.kind].find((i) => !ide[i]);
        if (place === undefined) throw tooMany(disk, 'IDE has room for 4 drives');
        ide[place] = this.createDrive(disk.kind, disk, idePlace(place));
      }
    }
    this.dma = new Dma8237(deps.mem);
    this.dma.claimPorts(deps.bus);
    this.floppy = floppies.length > 0 ? this.createFloppy(floppies) : undefined;
    if (!this.changeable.some((c) => c.kind === 'disc') && !ide[2]) ide[2] = this.createDrive('disc', undefined, idePlace(2));
    this.ide = new Piix3Ide({ mem: deps.mem, connect: deps.connect, drives: ide });
    this.ide.claimPorts(deps.bus);
    if (ahci.length > 0) {
      this.ahci = new Ahci({ mem: deps.mem, drives: ahci });
      const slot = deps.pci.plugAnywhere(this.ahci);
      // The controller's own place is known when all its drives are.
      for (const place of this.places)
        place.path = place.path.replace(AHCI_PATH, `/pci@i0cf8/pci8086,2922@${slot.toString(16)}/`);
    }
  }

  /** What firmware does before an operating system starts. */
  setUp(): void {
    this.ide.setUp();
  }

  async quiesce(): Promise<void> {
    await Promise.all([
      ...this.virtio.map(async (disk) => disk.reset()),
      this.ide.quiesce(),
      this.ahci?.quiesce(),
      this.floppy?.quiesce(),
    ]);
  }

  get counters(): Transfers {
    const all = [...this.virtio, ...this.ata, ...(this.floppy ? [this.floppy] : [])].map((drive) => drive.counters);
    const sum = (name: keyof Transfers): number => all.reduce((total, counters) => total + counters[name], 0);
    return { readBytes: sum('readBytes'), writtenBytes: sum('writtenBytes'), reads: sum('reads'), writes: sum('writes') };
  }

  /** For firmware: its drives of one kind, in the order it numbers them. */
  drives(medium: DriveMedium): Drive[] {
    return this.places.filter(({ drive }) => drive.medium === medium).map(({ drive }) => drive);
  }

  /** What is tried first comes first: `first` by its id, then the media in the order they were given, then drives that were empty. */
  bootOrder(first?: string): Drive[] {
    return this.inOrder(first).map(({ drive }) => drive);
  }

  /** The same for external firmware. */
  bootPaths(first?: string): string[] {
    return this.inOrder(first).map(({ path }) => path);
  }

  private inOrder(first: string | undefined): Place[] {
    const given = this.deps.disks.map(({ id }) => id);
    const rank = ({ id }: Place): number => (id === undefined ? given.length : id === first ? -1 : given.indexOf(id));
    return [...this.places].sort((a, b) => rank(a) - rank(b));
  }

  /** CMOS register 10h: the types of drives A and B. */
  get floppyTypes(): number {
    return this.changeable
      .filter((c) => c.kind === 'floppy')
      .reduce((types, c, i) => types | ((c.disk ? floppyFormat(c.disk.backend.bytes).type : 4) << (4 - 4 * i)), 0);
  }

  /** Into the first empty drive of its kind; false: there is none. */
  insert(disk: BoardDisk): boolean {
    const drive = this.changeable.find((c) => c.kind === disk.kind && !c.disk);
    if (!drive || !drive.slot.insert({ id: disk.id, backend: disk.backend })) return false;
    drive.disk = disk;
    return true;
  }

  hasEmptyDrive(kind: DriveMedium): boolean {
    return this.changeable.some((c) => c.kind === kind && !c.disk);
  }

  isChangeable(id: string): boolean {
    return this.changeable.some((c) => c.disk?.id === id);
  }

  /** Nothing uses the medium any more when it is 'removed'. */
  async remove(id: string, force: boolean): Promise<Removal> {
    const drive = this.changeable.find((c) => c.disk?.id === id);
    if (!drive) return 'notThere';
    const taken = await drive.slot.remove(force);
    // The guest may have been quicker.
    if (!taken) return drive.disk?.id === id && drive.slot.medium ? 'locked' : 'notThere';
    drive.disk = undefined;
    return 'removed';
  }

  private addVirtio(disk: BoardDisk): void {
    const { pci, blk } = createVirtioBlk({
      backend: disk.backend,
      mem: this.deps.mem,
      serial: disk.id.slice(0, 20),
      defer: this.deps.defer,
      onHostError: (error) => this.deps.onDiskError(disk.id, error.message),
    });
    const slot = this.deps.pci.plugAnywhere(pci);
    this.virtio.push(blk);
    this.addFixed(disk, `/pci@i0cf8/scsi@${slot.toString(16)}/disk@0,0`);
  }

  private createFloppy(disks: readonly BoardDisk[]): FloppyController {
    if (disks.length > FLOPPY_DRIVES) throw tooMany(disks[FLOPPY_DRIVES]!, `there are ${FLOPPY_DRIVES} floppy drives`);
    const drives = disks.map((disk, i) => {
      const drive = this.createSlot('floppy');
      this.fill(drive, disk);
      this.addChangeable(drive, `/pci@i0cf8/isa@1/fdc@03f0/floppy@${i}`);
      return drive;
    });
    const controller = new FloppyController({
      irq: this.deps.connect(FLOPPY_IRQ),
      dma: this.dma.channel(FLOPPY_DMA),
      clock: this.deps.clock,
      slots: drives.map((drive) => drive.slot),
      onHostError: (i, error) => this.deps.onDiskError(drives[i]?.disk?.id ?? `floppy${i}`, error.message),
    });
    for (const { port, offset, count } of FLOPPY_PORTS) {
      const handler = {
        read: (at: number): number => controller.read(offset + at),
        write: (at: number, width: number, value: number): void => controller.write(offset + at, width, value),
      };
      this.deps.bus.claimPorts(port, count, handler, controller.name, { maxWidth: 1 });
    }
    return controller;
  }

  private createDrive(kind: 'disk' | 'disc', disk: BoardDisk | undefined, { sata, name, path }: AtaPlace): AtaDrive {
    let drive: AtaDrive;
    if (kind === 'disk') {
      if (!disk) throw new Error('a disk drive is its disk');
      drive = new AtaDisk({
        backend: disk.backend,
        serial: disk.id.slice(0, 20),
        sata,
        onHostError: (e) => this.deps.onDiskError(disk.id, e.message),
      });
      this.addFixed(disk, path);
    } else {
      const tray = this.createSlot('disc');
      const onHostError = (error: HostIoError): void => this.deps.onDiskError(tray.disk?.id ?? name, error.message);
      const disc = new AtapiDisc({
        slot: tray.slot,
        serial: `LODGE-${name.toUpperCase().replaceAll(' ', '-')}`.slice(0, 20),
        sata,
        onHostError,
      });
      if (disk) this.fill(tray, disk);
      this.addChangeable(tray, path, () => disc.eject());
      drive = disc;
    }
    this.ata.push(drive);
    return drive;
  }

  private addFixed(disk: BoardDisk, path: string): void {
    this.places.push({ id: disk.id, path, drive: { medium: disk.kind, label: disk.label, backend: () => disk.backend } });
  }

  /** `eject`: how firmware opens the drive, where a drive can open by itself. */
  private addChangeable(place: Changeable, path: string, eject?: () => void): void {
    const { kind: medium, slot } = place;
    const drive: Drive = {
      medium,
      get label() {
        return place.disk?.label ?? (medium === 'disc' ? 'empty disc drive' : 'empty floppy drive');
      },
      backend: () => slot.backend,
      ...(eject && {
        tray: {
          eject,
          get locked() {
            return slot.locked;
          },
          set locked(locked) {
            slot.locked = locked;
          },
        },
      }),
    };
    this.places.push({ id: place.disk?.id, path, drive });
  }

  private createSlot(kind: Changeable['kind']): Changeable {
    const changeable: Changeable = {
      kind,
      disk: undefined,
      slot: new MediaSlot(() => {
        const taken = changeable.disk;
        changeable.disk = undefined;
        if (taken) this.deps.onEjected(taken);
      }),
    };
    this.changeable.push(changeable);
    return changeable;
  }

  /** At build time: it was there when the machine was switched on, so that there is nothing to announce. */
  private fill(drive: Changeable, disk: BoardDisk): void {
    drive.slot.insert({ id: disk.id, backend: disk.backend });
    drive.disk = disk;
  }
}

const tooMany = (disk: BoardDisk, what: string): LodgeError =>
  new LodgeError({
    code: 'invalidInput',
    message: `${disk.label} has no place: ${what}.`,
    fix: 'Attach it to another controller, or remove another drive.',
  });
