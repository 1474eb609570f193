/**
 * virtio over PCI, modern interface only. VIRTIO 1.2 §4.1.
 * BAR 1: MSI-X. BAR 4: common configuration at 0, ISR at 1000h, device configuration at 2000h, notification at 3000h (one 32-bit
 * slot a queue; writes are doorbells where the engine has them). Offers VERSION_1, INDIRECT_DESC, EVENT_IDX; not RING_RESET,
 * NOTIFICATION_DATA, packed rings, the legacy interface or the configuration-access window (§4.1.4.9).
 */
import type { GuestMemory } from '../../memory/guest-memory';
import type { MmioHandler } from '../../bus/types';
import { PciFunction } from '../pci';
import { nextStatus, Status, VirtioFeature, type VirtioDevice, type VirtioTransport } from './device';
import { checkLayout, Virtqueue, type QueueFault } from './virtqueue';

const VENDOR = 0x1af4;
const DEVICE_BASE = 0x1040;
const CAPABILITY_VENDOR = 0x09;
const CONFIG_TYPE = { COMMON: 1, NOTIFY: 2, ISR: 3, DEVICE: 4 } as const;
const BAR = 4;
const BAR_BYTES = 0x4000;
const SECTION_BYTES = 0x1000;
const ISR_AT = 0x1000;
const DEVICE_AT = 0x2000;
const NOTIFY_AT = 0x3000;
const NOTIFY_MULTIPLIER = 4;
const NO_VECTOR = 0xffff;
const ISR_QUEUE = 1;
const ISR_CONFIG = 2;
const RING_FEATURES = VirtioFeature.INDIRECT_DESC | VirtioFeature.EVENT_IDX | VirtioFeature.VERSION_1;

interface QueueRegisters {
  size: number;
  vector: number;
  enabled: boolean;
  descriptors: number;
  driver: number;
  device: number;
}

interface CommonRegister {
  readonly offset: number;
  readonly width: 1 | 2 | 4;
  readonly name: string;
  readonly read: (f: VirtioPci) => number;
  readonly write?: (f: VirtioPci, value: number) => void;
}

const low = (value: number): number => value % 2 ** 32;
const high = (value: number): number => Math.floor(value / 2 ** 32);
const withLow = (old: number, value: number): number => high(old) * 2 ** 32 + value;
const withHigh = (old: number, value: number): number => value * 2 ** 32 + low(old);

/** The 64-bit ring addresses are two 32-bit registers each: the bus splits 64-bit accesses. */
function ringAddress(offset: number, name: 'descriptors' | 'driver' | 'device'): CommonRegister[] {
  return [
    {
      offset,
      width: 4,
      name: `${name}Low`,
      read: (f) => low(f.selected?.[name] ?? 0),
      write: (f, v) => f.setRing(name, withLow(f.selected?.[name] ?? 0, v)),
    },
    {
      offset: offset + 4,
      width: 4,
      name: `${name}High`,
      read: (f) => high(f.selected?.[name] ?? 0),
      write: (f, v) => f.setRing(name, withHigh(f.selected?.[name] ?? 0, v)),
    },
  ];
}

/** virtio_pci_common_cfg, §4.1.4.3. */
export const COMMON_REGISTERS: readonly CommonRegister[] = [
  {
    offset: 0x00,
    width: 4,
    name: 'deviceFeatureSelect',
    read: (f) => f.deviceFeatureSelect,
    write: (f, v) => (f.deviceFeatureSelect = v),
  },
  { offset: 0x04, width: 4, name: 'deviceFeature', read: (f) => featureWord(f.offered, f.deviceFeatureSelect) },
  {
    offset: 0x08,
    width: 4,
    name: 'driverFeatureSelect',
    read: (f) => f.driverFeatureSelect,
    write: (f, v) => (f.driverFeatureSelect = v),
  },
  {
    offset: 0x0c,
    width: 4,
    name: 'driverFeature',
    read: (f) => featureWord(f.driverFeatures, f.driverFeatureSelect),
    write: (f, v) => f.setDriverFeature(v),
  },
  {
    offset: 0x10,
    width: 2,
    name: 'configVector',
    read: (f) => f.configVector,
    write: (f, v) => (f.configVector = f.validVector(v)),
  },
  { offset: 0x12, width: 2, name: 'queues', read: (f) => f.device.queueSizes.length },
  { offset: 0x14, width: 1, name: 'status', read: (f) => f.status, write: (f, v) => f.setStatus(v) },
  { offset: 0x15, width: 1, name: 'configGeneration', read: (f) => f.configGeneration },
  { offset: 0x16, width: 2, name: 'queueSelect', read: (f) => f.queueSelect, write: (f, v) => (f.queueSelect = v) },
  { offset: 0x18, width: 2, name: 'queueSize', read: (f) => f.selected?.size ?? 0, write: (f, v) => f.setQueueSize(v) },
  {
    offset: 0x1a,
    width: 2,
    name: 'queueVector',
    read: (f) => f.selected?.vector ?? NO_VECTOR,
    write: (f, v) => f.setQueueVector(v),
  },
  { offset: 0x1c, width: 2, name: 'queueEnable', read: (f) => (f.selected?.enabled ? 1 : 0), write: (f, v) => f.enableQueue(v) },
  { offset: 0x1e, width: 2, name: 'queueNotifyOffset', read: (f) => (f.selected ? f.queueSelect : 0) },
  ...ringAddress(0x20, 'descriptors'),
  ...ringAddress(0x28, 'driver'),
  ...ringAddress(0x30, 'device'),
];

const REGISTER_AT: ReadonlyMap<number, CommonRegister> = new Map(COMMON_REGISTERS.map((r) => [r.offset, r]));

function featureWord(features: bigint, select: number): number {
  return select < 2 ? Number((features >> BigInt(select * 32)) & 0xffffffffn) : 0;
}

export class VirtioPci extends PciFunction implements VirtioTransport {
  deviceFeatureSelect = 0;
  driverFeatureSelect = 0;
  driverFeatures = 0n;
  configVector = NO_VECTOR;
  configGeneration = 0;
  queueSelect = 0;
  status = 0;
  readonly offered: bigint;
  /** What the guest did wrong, by name; for diagnosis. */
  readonly faults = new Map<string, number>();

  private readonly registers: QueueRegisters[];
  private readonly queues: (Virtqueue | undefined)[] = [];
  private isr = 0;
  private resetting = false;

  constructor(
    readonly device: VirtioDevice,
    private readonly mem: GuestMemory,
  ) {
    super(device.name, {
      vendor: VENDOR,
      device: DEVICE_BASE + device.deviceId,
      revision: 1,
      classCode: device.classCode,
      subsystemVendor: VENDOR,
      subsystem: 0x1100,
      interruptPin: 1,
    });
    this.offered = device.features | RING_FEATURES;
    this.registers = device.queueSizes.map((size) => newQueue(size));
    this.enableMsix({ bar: 1, vectors: device.queueSizes.length + 1 });
    const bar: MmioHandler = { read: (o, w) => this.readBar(o, w), write: (o, w, v) => this.writeBar(o, w, v) };
    this.addBar({ index: BAR, kind: 'memory', bytes: BAR_BYTES, handler: bar, wide: true, prefetchable: true });
    this.addVirtioCapability(CONFIG_TYPE.COMMON, 0, 0x40);
    this.addVirtioCapability(CONFIG_TYPE.ISR, ISR_AT, 4);
    this.addVirtioCapability(CONFIG_TYPE.DEVICE, DEVICE_AT, SECTION_BYTES);
    this.addVirtioCapability(CONFIG_TYPE.NOTIFY, NOTIFY_AT, device.queueSizes.length * NOTIFY_MULTIPLIER, NOTIFY_MULTIPLIER);
    device.queueSizes.forEach((_, q) => this.addDoorbell(BAR, NOTIFY_AT + q * NOTIFY_MULTIPLIER, 2, () => this.notify(q)));
  }

  // ---- VirtioTransport ------------------------------------------------------------------------------------------

  queue(index: number): Virtqueue | undefined {
    return this.queues[index];
  }

  signal(index: number): void {
    if (this.queues[index]?.takeInterrupt()) this.interrupt(this.registers[index]!.vector, ISR_QUEUE);
  }

  configChanged(): void {
    this.configGeneration = (this.configGeneration + 1) & 0xff;
    if (this.status & Status.DRIVER_OK) this.interrupt(this.configVector, ISR_CONFIG);
  }

  fail(fault: QueueFault | 'badRequest'): void {
    this.count(fault);
    if (this.status & Status.NEEDS_RESET) return;
    this.status |= Status.NEEDS_RESET;
    if (this.status & Status.DRIVER_OK) this.interrupt(this.configVector, ISR_CONFIG);
  }

  // ---- registers --------------------------------------------------------------------------------------------------

  get selected(): QueueRegisters | undefined {
    return this.registers[this.queueSelect];
  }

  setDriverFeature(value: number): void {
    // §3.1.1: features are settled once FEATURES_OK is set.
    if (this.status & Status.FEATURES_OK || this.driverFeatureSelect > 1) return;
    const shift = BigInt(this.driverFeatureSelect * 32);
    this.driverFeatures = (this.driverFeatures & ~(0xffffffffn << shift)) | (BigInt(value >>> 0) << shift);
  }

  validVector(value: number): number {
    return value < this.msix!.vectors ? value : NO_VECTOR;
  }

  setQueueVector(value: number): void {
    if (this.selected) this.selected.vector = this.validVector(value);
  }

  setQueueSize(value: number): void {
    const queue = this.selected;
    const most = this.device.queueSizes[this.queueSelect] ?? 0;
    if (queue && !queue.enabled && value >= 1 && value <= most && (value & (value - 1)) === 0) queue.size = value;
  }

  setRing(name: 'descriptors' | 'driver' | 'device', value: number): void {
    if (this.selected && !this.selected.enabled) this.selected[name] = value;
  }

  /** §4.1.4.3: a driver only ever writes 1, after FEATURES_OK. */
  enableQueue(value: number): void {
    const queue = this.selected;
    if (value !== 1 || !queue || queue.enabled || !(this.status & Status.FEATURES_OK)) return;
    const { size, descriptors, driver, device } = queue;
    const layout = { size, descriptors, driver, device };
    const fault = checkLayout(layout);
    if (fault) {
      this.fail(fault);
      return;
    }
    queue.enabled = true;
    this.queues[this.queueSelect] = new Virtqueue(this.mem, layout, {
      indirect: (this.driverFeatures & VirtioFeature.INDIRECT_DESC) !== 0n,
      eventIndex: (this.driverFeatures & VirtioFeature.EVENT_IDX) !== 0n,
    });
  }

  setStatus(value: number): void {
    if (value === 0) {
      this.resetDevice();
      return;
    }
    if (this.resetting) return;
    let status = nextStatus(this.status, value);
    if (status === undefined) {
      this.count('badStatusTransition');
      return;
    }
    if (status & ~this.status & Status.FEATURES_OK && !this.featuresAcceptable())
      status &= ~(Status.FEATURES_OK | Status.DRIVER_OK);
    const started = (status & ~this.status & Status.DRIVER_OK) !== 0;
    this.status = status;
    if (started) this.device.start(this, this.driverFeatures);
  }

  override reset(): void {
    super.reset();
    this.resetDevice();
  }

  override dispose(): void {
    super.dispose();
    this.device.dispose?.();
  }

  private featuresAcceptable(): boolean {
    return (this.driverFeatures & ~this.offered) === 0n && (this.driverFeatures & VirtioFeature.VERSION_1) !== 0n;
  }

  /** §2.4: the status reads 0 only when the device has let go of guest memory. */
  private resetDevice(): void {
    this.queues.length = 0;
    this.registers.forEach((queue, i) => Object.assign(queue, newQueue(this.device.queueSizes[i]!)));
    this.deviceFeatureSelect = this.driverFeatureSelect = this.queueSelect = 0;
    this.driverFeatures = 0n;
    this.configVector = NO_VECTOR;
    this.isr = 0;
    this.intx.set(false);
    if (this.resetting) return;
    const pending = this.device.reset();
    if (!pending) {
      this.status = 0;
      return;
    }
    this.resetting = true;
    const done = (): void => {
      this.resetting = false;
      this.status = 0;
    };
    pending.then(done, done);
  }

  private notify(queue: number): void {
    if (!(this.status & Status.DRIVER_OK) || this.status & Status.NEEDS_RESET || this.resetting || !this.busMaster) return;
    if (this.queues[queue]) this.device.onNotify(queue);
  }

  private interrupt(vector: number, isrBit: number): void {
    if (this.msix!.enabled) {
      this.msix!.raise(vector); // NO_VECTOR is none of its vectors
      return;
    }
    this.isr |= isrBit;
    this.intx.set(true);
  }

  private readBar(offset: number, width: number): number {
    if (offset < ISR_AT) return this.readCommon(offset, width);
    if (offset < DEVICE_AT) {
      if (offset !== ISR_AT) return 0;
      const { isr } = this;
      this.isr = 0;
      this.intx.set(false);
      return isr;
    }
    if (offset >= NOTIFY_AT) return 0;
    const config = this.device.readConfig();
    let value = 0;
    for (let i = width - 1; i >= 0; i--) value = value * 256 + (config[offset - DEVICE_AT + i] ?? 0);
    return value;
  }

  private writeBar(offset: number, width: number, value: number): void {
    if (offset < ISR_AT) this.writeCommon(offset, width, value);
    else if (offset >= NOTIFY_AT) this.notify((offset - NOTIFY_AT) / NOTIFY_MULTIPLIER);
    else if (offset >= DEVICE_AT && this.device.writeConfig) {
      for (let i = 0; i < width; i++) this.device.writeConfig(offset - DEVICE_AT + i, (value >>> (8 * i)) & 0xff);
    }
  }

  /** §4.1.3.1: drivers access each field at its width; narrower reads are answered, other writes ignored. */
  private readCommon(offset: number, width: number): number {
    const exact = REGISTER_AT.get(offset);
    if (exact?.width === width) return exact.read(this);
    let value = 0;
    for (let i = width - 1; i >= 0; i--) {
      const at = offset + i;
      const r = COMMON_REGISTERS.find((candidate) => at >= candidate.offset && at < candidate.offset + candidate.width);
      value = value * 256 + (r ? (r.read(this) >>> ((at - r.offset) * 8)) & 0xff : 0);
    }
    return value;
  }

  private writeCommon(offset: number, width: number, value: number): void {
    const r = REGISTER_AT.get(offset);
    if (r?.write && r.width === width) r.write(this, value >>> 0);
    else this.count('badRegisterWrite');
  }

  private addVirtioCapability(type: number, offset: number, bytes: number, notifyMultiplier?: number): void {
    // struct virtio_pci_cap (§4.1.4) behind the two bytes every capability starts with.
    const body = new Uint8Array(notifyMultiplier === undefined ? 14 : 18);
    const view = new DataView(body.buffer);
    body[0] = body.length + 2;
    body[1] = type;
    body[2] = BAR;
    view.setUint32(6, offset, true);
    view.setUint32(10, bytes, true);
    if (notifyMultiplier !== undefined) view.setUint32(14, notifyMultiplier, true);
    this.addCapability(CAPABILITY_VENDOR, body);
  }

  private count(fault: string): void {
    this.faults.set(fault, (this.faults.get(fault) ?? 0) + 1);
  }
}

function newQueue(size: number): QueueRegisters {
  return { size, vector: NO_VECTOR, enabled: false, descriptors: 0, driver: 0, device: 0 };
}
