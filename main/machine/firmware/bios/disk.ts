/**
 * INT 13h: diskettes, hard disks and El Torito discs. CHS calls of the PC BIOS, the EDD 3.0 packet calls (Phoenix Enhanced Disk
 * Drive Specification), and function 4Bh (El Torito 1.0 §4). Data moves between the image and guest memory directly; a
 * program's transfer that has to wait for the host asks again until it is done.
 */
import type { BlockBackend } from '../../../backend/block';
import { Bda } from './bda';
import { diskGeometry, floppyGeometry, type Drive, type Geometry, type Tray } from './drives';
import type { RegisterFrame } from './frame';
import type { RealModeMemory } from './real-memory';
import { ROM_SEGMENT, Rom, TrapStatus } from './rom';

/** INT 13h status codes (AH). */
const Status = {
  ok: 0x00,
  invalid: 0x01,
  writeProtected: 0x03,
  sectorNotFound: 0x04,
  changed: 0x06,
  boundary: 0x09,
  controller: 0x20,
  timeout: 0x80,
  noMedia: 0x31,
  notLocked: 0xb0,
  locked: 0xb1,
  notRemovable: 0xb2,
} as const;

/** An El Torito emulation in force: drive 00h or 80h is part of the disc. */
export interface DiscEmulation {
  /** Boot media type byte of the catalogue entry: 0 none, 1–3 floppy, 4 hard disk. */
  readonly mediaType: number;
  /** Drive number the boot image has. */
  readonly drive: number;
  /** First 2048-byte sector of the image on the disc. */
  readonly start: number;
  readonly loadSegment: number;
  readonly sectorCount: number;
  readonly disc: Drive;
}

interface Unit {
  readonly drive: Drive;
  readonly backend: BlockBackend;
  readonly sectorBytes: 512 | 2048;
  readonly sectors: number;
  readonly geometry: Geometry;
  /** Byte offset of sector 0 (El Torito images inside a disc). */
  readonly offset: number;
}

type Transfer = 'read' | 'write' | 'verify';

export class DiskServices {
  private emulation: DiscEmulation | undefined;
  private readonly geometries = new WeakMap<BlockBackend, Geometry>();
  /** The one transfer that waits for the host, by the frame it belongs to. */
  private pending: { done: boolean; status: number } | undefined;
  reads = 0;

  constructor(
    private readonly memory: RealModeMemory,
    private readonly floppies: readonly Drive[],
    private readonly disks: readonly Drive[],
    private readonly discs: readonly Drive[],
    private readonly hostError: (message: string) => void,
  ) {}

  async initialise(): Promise<void> {
    this.emulation = undefined;
    this.pending = undefined;
    for (const disk of this.disks) {
      const backend = disk.backend();
      if (!backend) continue;
      const first = new Uint8Array(512);
      try {
        if (backend.bytes >= 512) await backend.readBytes(0, first);
      } catch (e) {
        this.hostError(`${disk.label} cannot be read: ${(e as Error).message}`);
      }
      this.geometries.set(backend, diskGeometry(backend.bytes, first));
    }
  }

  setEmulation(emulation: DiscEmulation | undefined): void {
    this.emulation = emulation;
  }

  /** Drive number of a hard disk or disc; emulated drives push the real ones up. */
  numberOf(drive: Drive): number | undefined {
    const shift = (number: number, emulated: number): number =>
      number + (this.emulation && this.emulation.drive === emulated ? 1 : 0);
    const floppy = this.floppies.indexOf(drive);
    if (floppy >= 0) return shift(floppy, 0x00);
    const disk = this.disks.indexOf(drive);
    if (disk >= 0) return shift(0x80 + disk, 0x80);
    const disc = this.discs.indexOf(drive);
    return disc >= 0 ? 0xe0 + disc : undefined;
  }

  get hardDiskCount(): number {
    return this.disks.length + (this.emulation?.mediaType === 4 ? 1 : 0);
  }
  private get floppyCount(): number {
    return this.floppies.length + (this.emulation && this.emulation.mediaType >= 1 && this.emulation.mediaType <= 3 ? 1 : 0);
  }

  private unit(number: number): Unit | undefined {
    const e = this.emulation;
    if (e && e.mediaType >= 1 && e.mediaType <= 4 && number === e.drive) {
      const backend = e.disc.backend();
      if (!backend) return undefined;
      const offset = e.start * 2048;
      const room = Math.max(0, backend.bytes - offset);
      const sizes = [0, 1228800, 1474560, 2949120];
      const bytes = e.mediaType === 4 ? room : Math.min(room, sizes[e.mediaType]!);
      const geometry = e.mediaType === 4 ? diskGeometry(bytes) : floppyGeometry(sizes[e.mediaType]!).geometry;
      return { drive: e.disc, backend, sectorBytes: 512, sectors: Math.floor(bytes / 512), geometry, offset };
    }
    const noEmulation = e?.mediaType === 0 && number === e.drive ? e.disc : undefined;
    const drive =
      noEmulation ??
      (number >= 0xe0
        ? this.discs[number - 0xe0]
        : number >= 0x80
          ? this.disks[number - 0x80 - (e?.drive === 0x80 && e.mediaType !== 0 ? 1 : 0)]
          : this.floppies[number - (e && e.drive === 0x00 && e.mediaType !== 0 ? 1 : 0)]);
    const backend = drive?.backend();
    if (!drive || !backend) return undefined;
    const sectorBytes = drive.medium === 'disc' ? 2048 : 512;
    const geometry =
      drive.medium === 'floppy'
        ? floppyGeometry(backend.bytes).geometry
        : (this.geometries.get(backend) ?? diskGeometry(backend.bytes));
    return { drive, backend, sectorBytes, sectors: Math.floor(backend.bytes / sectorBytes), geometry, offset: 0 };
  }

  int13(r: RegisterFrame): number {
    const number = r.dl;
    const ah = r.ah;
    if (ah === 0x4b) return this.emulationCall(r);
    if (ah === 0x01) {
      const status = this.memory.read8(number >= 0x80 ? Bda.diskStatus : Bda.diskStatusFloppy);
      r.ah = status;
      r.carry = status !== 0;
      return TrapStatus.done;
    }
    const unit = this.unit(number);
    if (!unit) {
      const known = number < 0x80 ? number < this.floppyCount : number >= 0xe0 && number - 0xe0 < this.discs.length;
      if (ah === 0x08 && number >= 0x80) return this.finish(r, number, 0x07);
      if (ah === 0x15 && known) return this.typeOf(r, number, undefined);
      if (ah === 0x00 && known) return this.finish(r, number, Status.ok);
      if (ah === 0x08 && known) return this.parameters(r, number, undefined);
      return this.finish(r, number, known ? (number < 0x80 ? Status.timeout : Status.noMedia) : Status.invalid);
    }
    switch (ah) {
      case 0x00: // reset
      case 0x0d:
      case 0x09: // initialise drive pair
      case 0x0c: // seek
      case 0x10: // ready?
      case 0x11: // recalibrate
      case 0x14: // controller diagnostic
      case 0x47: // extended seek
        return this.finish(r, number, Status.ok);
      case 0x02:
        return this.chs(r, number, unit, 'read');
      case 0x03:
        return this.chs(r, number, unit, 'write');
      case 0x04:
        return this.chs(r, number, unit, 'verify');
      case 0x08:
        return this.parameters(r, number, unit);
      case 0x15:
        return this.typeOf(r, number, unit);
      case 0x16: // change line: never changed behind the guest's back without a failed read
        return this.finish(r, number, Status.ok);
      case 0x17:
      case 0x18:
        if (number >= 0x80) return this.finish(r, number, Status.invalid);
        r.es = ROM_SEGMENT;
        r.di = Rom.floppyParameters;
        return this.finish(r, number, Status.ok);
      case 0x41:
        if (number < 0x80 || r.bx !== 0x55aa) return this.finish(r, number, Status.invalid);
        r.bx = 0xaa55;
        r.ah = 0x30; // EDD 3.0
        r.cx = unit.drive.medium === 'disc' ? 0x0007 : 0x0005; // packet access, EDD information; locking and ejecting for discs
        r.carry = false;
        return TrapStatus.done;
      case 0x42:
        return this.packet(r, number, unit, 'read');
      case 0x43:
        return this.packet(r, number, unit, 'write');
      case 0x44:
        return this.packet(r, number, unit, 'verify');
      case 0x45:
        return this.lock(r, number, unit.drive.tray);
      case 0x46:
        return this.eject(r, number, unit.drive.tray);
      case 0x48:
        return this.extendedParameters(r, number, unit);
      case 0x49:
        return this.finish(r, number, unit.drive.medium === 'disc' ? Status.ok : 0x06);
      case 0x4e:
        return this.finish(r, number, Status.ok);
      default:
        return this.finish(r, number, Status.invalid);
    }
  }

  private finish(r: RegisterFrame, number: number, status: number): number {
    r.ah = status;
    r.carry = status !== Status.ok;
    this.memory.write8(number >= 0x80 ? Bda.diskStatus : Bda.diskStatusFloppy, status);
    return TrapStatus.done;
  }

  private chs(r: RegisterFrame, number: number, unit: Unit, transfer: Transfer): number {
    const { heads, sectors } = unit.geometry;
    const count = r.al;
    const sector = r.cl & 63;
    const cylinder = number >= 0x80 ? r.ch | ((r.cl & 0xc0) << 2) : r.ch;
    if (count === 0 || count > 128 || sector === 0 || unit.sectorBytes !== 512) return this.finish(r, number, Status.invalid);
    if (sector > sectors || r.dh >= heads) return this.finish(r, number, Status.sectorNotFound);
    const first = (cylinder * heads + r.dh) * sectors + sector - 1;
    return this.transfer(r, number, unit, transfer, first, count, r.es * 16 + r.bx, (status) => {
      if (status !== Status.ok) r.al = 0;
    });
  }

  /** Disk address packet at DS:SI, 16 bytes (or 24 with a flat 64-bit address when the buffer is FFFF:FFFF). EDD 3.0 §4. */
  private packet(r: RegisterFrame, number: number, unit: Unit, transfer: Transfer): number {
    const m = this.memory;
    const at = r.ds * 16 + r.si;
    const size = m.read8(at);
    const count = m.read16(at + 2);
    if (size < 16 || count > 0x7fff) return this.finish(r, number, Status.invalid);
    let address = m.read16(at + 6) * 16 + m.read16(at + 4);
    if (m.read32(at + 4) === 0xffffffff && size >= 24) address = m.read32(at + 16) + m.read32(at + 20) * 2 ** 32;
    const first = m.read32(at + 8) + m.read32(at + 12) * 2 ** 32;
    return this.transfer(r, number, unit, transfer, first, count, address, (status) => {
      if (status !== Status.ok) m.write16(at + 2, 0);
    });
  }

  private transfer(
    r: RegisterFrame,
    number: number,
    unit: Unit,
    transfer: Transfer,
    first: number,
    count: number,
    address: number,
    after: (status: number) => void,
  ): number {
    const end = (status: number): number => {
      after(status);
      return this.finish(r, number, status);
    };
    if (this.pending) {
      if (!this.pending.done) return TrapStatus.again;
      const { status } = this.pending;
      this.pending = undefined;
      return end(status);
    }
    if (first + count > unit.sectors) return end(Status.sectorNotFound);
    if (transfer === 'verify' || count === 0) return end(Status.ok);
    if (transfer === 'write' && (unit.backend.readOnly || unit.drive.medium === 'disc' || unit.offset > 0))
      return end(Status.writeProtected);
    const ranges = Float64Array.of(address, count * unit.sectorBytes);
    const offset = unit.offset + first * unit.sectorBytes;
    const failed = (e: unknown): number => {
      this.hostError(`${unit.drive.label}: ${(e as Error).message}`);
      return Status.controller;
    };
    try {
      this.reads += transfer === 'read' ? 1 : 0;
      const done = transfer === 'read' ? unit.backend.read(offset, ranges) : unit.backend.write(offset, ranges);
      if (!done) return end(Status.ok);
      const pending: { done: boolean; status: number } = { done: false, status: Status.ok };
      this.pending = pending;
      done.then(
        () => (pending.done = true),
        (e: unknown) => {
          pending.status = failed(e);
          pending.done = true;
        },
      );
      return TrapStatus.again;
    } catch (e) {
      return end(failed(e));
    }
  }

  private parameters(r: RegisterFrame, number: number, unit: Unit | undefined): number {
    const floppy = number < 0x80;
    if (!floppy && unit?.drive.medium === 'disc' && !unit.offset) return this.finish(r, number, Status.invalid);
    const geometry = unit?.geometry ?? floppyGeometry(1474560).geometry;
    const last = geometry.cylinders - 1;
    r.ax = 0;
    r.ch = last & 0xff;
    r.cl = geometry.sectors | ((last >> 2) & 0xc0);
    r.dh = geometry.heads - 1;
    r.dl = floppy ? this.floppyCount : this.hardDiskCount;
    if (floppy) {
      r.bx = unit ? floppyGeometry(unit.backend.bytes).type : 4;
      r.es = ROM_SEGMENT;
      r.di = Rom.floppyParameters;
    }
    return this.finish(r, number, Status.ok);
  }

  private typeOf(r: RegisterFrame, number: number, unit: Unit | undefined): number {
    if (number < 0x80) {
      r.ah = 0x01; // diskette without change line
    } else if (!unit || unit.drive.medium === 'disc') {
      return this.finish(r, number, Status.invalid);
    } else {
      r.ah = 0x03;
      const total = unit.geometry.cylinders * unit.geometry.heads * unit.geometry.sectors;
      r.cx = total >>> 16;
      r.dx = total & 0xffff;
    }
    r.carry = false;
    return TrapStatus.done;
  }

  private extendedParameters(r: RegisterFrame, number: number, unit: Unit): number {
    const m = this.memory;
    const at = r.ds * 16 + r.si;
    const room = m.read16(at);
    if (number < 0x80 || room < 26) return this.finish(r, number, Status.invalid);
    const disc = unit.sectorBytes === 2048;
    m.write16(at, room >= 30 ? 30 : 26);
    m.write16(at + 2, disc ? 0x0074 : 0x0002); // removable, changeable, lockable, no geometry; or geometry valid
    m.write32(at + 4, disc ? 0xffffffff : unit.geometry.cylinders);
    m.write32(at + 8, disc ? 0xffffffff : unit.geometry.heads);
    m.write32(at + 12, disc ? 0xffffffff : unit.geometry.sectors);
    m.write32(at + 16, unit.sectors % 2 ** 32);
    m.write32(at + 20, Math.floor(unit.sectors / 2 ** 32));
    m.write16(at + 24, unit.sectorBytes);
    if (room >= 30) m.write32(at + 26, 0xffffffff); // no device parameter table extension
    return this.finish(r, number, Status.ok);
  }

  /** AL: 0 locks, 1 unlocks, 2 asks; AL comes back as 1 when the medium is locked in. EDD 3.0 §4. */
  private lock(r: RegisterFrame, number: number, tray: Tray | undefined): number {
    if (!tray) return this.finish(r, number, Status.notRemovable);
    if (r.al > 2) return this.finish(r, number, Status.invalid);
    const wasLocked = tray.locked;
    if (r.al !== 2) tray.locked = r.al === 0;
    const status = r.al === 1 && !wasLocked ? Status.notLocked : Status.ok;
    r.al = tray.locked ? 1 : 0;
    return this.finish(r, number, status);
  }

  private eject(r: RegisterFrame, number: number, tray: Tray | undefined): number {
    if (!tray) return this.finish(r, number, Status.notRemovable);
    if (tray.locked) return this.finish(r, number, Status.locked);
    tray.eject();
    return this.finish(r, number, Status.ok);
  }

  /** 4B00h ends the emulation, 4B01h tells about it: specification packet at DS:SI. */
  private emulationCall(r: RegisterFrame): number {
    const e = this.emulation;
    if (!e || (r.dl !== e.drive && r.dl !== 0x7f)) return this.finish(r, r.dl, Status.invalid);
    const m = this.memory;
    const at = r.ds * 16 + r.si;
    m.write8(at, 0x13);
    m.write8(at + 1, e.mediaType);
    m.write8(at + 2, e.drive);
    m.write8(at + 3, this.discs.indexOf(e.disc));
    m.write32(at + 4, e.start);
    m.write16(at + 8, 0);
    m.write16(at + 10, 0);
    m.write16(at + 12, e.loadSegment);
    m.write16(at + 14, e.sectorCount);
    m.write8(at + 16, 0);
    m.write8(at + 17, 0);
    m.write8(at + 18, 0);
    if (r.al === 0x00) this.emulation = undefined;
    return this.finish(r, e.drive, Status.ok);
  }
}
