/**
 * virtio-input as a tablet: a pointer that is where the host's is, so that nothing has to be captured. VIRTIO 1.2 §5.8.
 * Offers two absolute axes, five buttons and a wheel; the status queue (lights, force feedback) is taken and ignored. Queue input is hostile.
 * What the driver leaves no buffers for is not kept as events but as the state they would lead to: a slow guest skips positions.
 */
import type { PointerSink } from '../../../../backend/input';
import type { GuestMemory } from '../../../memory/guest-memory';
import type { VirtioDevice, VirtioTransport } from '../device';
import { writeRanges, type Chain } from '../virtqueue';

const EVENTS = 0;
const STATUS = 1;
const QUEUE_SIZE = 64;
const EVENT_BYTES = 8;
/** Status buffers taken before the event loop gets its turn; the driver may have no more than its queue holds. */
const STATUS_A_TURN = QUEUE_SIZE;

/** struct virtio_input_config, §5.8.4: what `select` and `subsel` ask for, its size, and the answer. */
const Config = { SELECT: 0, SUBSELECT: 1, SIZE: 2, DATA: 8, BYTES: 136 } as const;
const Select = { NAME: 1, SERIAL: 2, IDS: 3, EVENT_BITS: 0x11, AXIS: 0x12 } as const;

/** Event types and codes: Linux's input-event-codes, which §5.8.2 refers to. */
const Type = { SYN: 0, KEY: 1, REL: 2, ABS: 3 } as const;
const REL_WHEEL = 8;
const AXES = [0, 1] as const; // X, Y
/** Left, right, middle, side, extra: bit n of the buttons is code n. */
const BUTTONS = [0x110, 0x111, 0x112, 0x113, 0x114] as const;
const AXIS_MAX = 65535;
const BUS_VIRTUAL = 6;
const VENDOR = 0x1af4;
const PRODUCT = 3;

/** Until the host's pointer was over the screen there is no position to tell. */
const NOWHERE = [-1, -1] as const;

interface State {
  readonly position: [number, number];
  buttons: number;
}

export interface TabletDeps {
  readonly mem: GuestMemory;
  /** The guest's driver came or went: `absolute` is another. */
  readonly onMode: () => void;
}

export class VirtioTablet implements VirtioDevice, PointerSink {
  readonly name = 'virtio-tablet';
  readonly deviceId = 18;
  readonly classCode = 0x098000;
  readonly features = 0n;
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE];

  private transport: VirtioTransport | undefined;
  private select = 0;
  private subselect = 0;
  private wanted: State = { position: [...NOWHERE], buttons: 0 };
  private sent: State = { position: [...NOWHERE], buttons: 0 };
  private wheel = 0;
  /** Buffers of the driver that wait for an event. */
  private buffers: Chain[] = [];

  constructor(private readonly deps: TabletDeps) {}

  // ---- PointerSink ------------------------------------------------------------------------------------------------

  get absolute(): boolean {
    return this.transport !== undefined;
  }

  pointer(x: number, y: number, buttons: number, wheel: number): void {
    if (!this.transport) return;
    this.wanted = { position: [x, y], buttons };
    // Detents are positive towards the user here, and away from them there.
    this.wheel = Math.max(-127, Math.min(127, this.wheel - wheel));
    this.flush();
  }

  /** There is no motion to take; the buttons that are not held any more come up. */
  relative(_dx: number, _dy: number, buttons: number): void {
    if (!this.transport || (this.wanted.buttons & ~buttons) === 0) return;
    this.wanted.buttons &= buttons;
    this.flush();
  }

  // ---- VirtioDevice ---------------------------------------------------------------------------------------------

  readConfig(): Uint8Array {
    const config = new Uint8Array(Config.BYTES);
    const answer = this.answer();
    config[Config.SELECT] = this.select;
    config[Config.SUBSELECT] = this.subselect;
    config[Config.SIZE] = answer.length;
    config.set(answer, Config.DATA);
    return config;
  }

  writeConfig(offset: number, value: number): void {
    if (offset === Config.SELECT) this.select = value;
    else if (offset === Config.SUBSELECT) this.subselect = value;
  }

  start(transport: VirtioTransport): void {
    this.transport = transport;
    this.deps.onMode();
  }

  onNotify(index: number): void {
    if (index === EVENTS) this.flush();
    else if (index === STATUS) this.takeStatus();
  }

  reset(): void {
    const was = this.transport;
    this.transport = undefined;
    this.buffers = [];
    this.select = this.subselect = this.wheel = 0;
    this.wanted = { position: [...NOWHERE], buttons: 0 };
    this.sent = { position: [...NOWHERE], buttons: 0 };
    if (was) this.deps.onMode();
  }

  private answer(): Uint8Array {
    switch (this.select) {
      case Select.NAME:
        return ascii('Lodge tablet');
      case Select.SERIAL:
        return ascii('0');
      case Select.IDS:
        return new Uint8Array(Uint16Array.of(BUS_VIRTUAL, VENDOR, PRODUCT, 1).buffer);
      case Select.EVENT_BITS:
        if (this.subselect === Type.KEY) return bits(BUTTONS);
        if (this.subselect === Type.REL) return bits([REL_WHEEL]);
        return this.subselect === Type.ABS ? bits(AXES) : new Uint8Array(0);
      case Select.AXIS:
        // Least, greatest; no fuzz, no flat part, no resolution.
        return this.subselect < AXES.length ? new Uint8Array(Uint32Array.of(0, AXIS_MAX, 0, 0, 0).buffer) : new Uint8Array(0);
      default:
        return new Uint8Array(0);
    }
  }

  /** Sends what leads from the state the driver knows to the one there is, if it has room for all of it. */
  private flush(): void {
    const { transport } = this;
    const queue = transport?.queue(EVENTS);
    if (!transport || !queue) return;
    const events = this.events();
    if (events.length === 0) return;
    while (this.buffers.length < events.length) {
      const chain = queue.pop();
      if (!chain.ok) {
        transport.fail(chain.error);
        return;
      }
      if (!chain.value) return;
      if (chain.value.writableBytes < EVENT_BYTES) {
        transport.fail('badRequest');
        return;
      }
      this.buffers.push(chain.value);
    }
    for (const [type, code, value] of events) {
      const event = new Uint8Array(EVENT_BYTES);
      const view = new DataView(event.buffer);
      view.setUint16(0, type, true);
      view.setUint16(2, code, true);
      view.setInt32(4, value, true);
      const { head, writable } = this.buffers.shift()!;
      const written = writeRanges(this.deps.mem, writable, event);
      const fault = written < 0 ? 'badRequest' : queue.push(head, written);
      if (fault) {
        transport.fail(fault);
        return;
      }
    }
    this.sent = { position: [...this.wanted.position], buttons: this.wanted.buttons };
    this.wheel = 0;
    transport.signal(EVENTS);
  }

  private events(): [type: number, code: number, value: number][] {
    const { wanted, sent } = this;
    const events: [number, number, number][] = [];
    for (const axis of AXES)
      if (wanted.position[axis] !== sent.position[axis]) events.push([Type.ABS, axis, wanted.position[axis]]);
    BUTTONS.forEach((code, bit) => {
      if (((wanted.buttons ^ sent.buttons) >> bit) & 1) events.push([Type.KEY, code, (wanted.buttons >> bit) & 1]);
    });
    if (this.wheel !== 0) events.push([Type.REL, REL_WHEEL, this.wheel]);
    if (events.length > 0) events.push([Type.SYN, 0, 0]);
    return events;
  }

  private takeStatus(): void {
    const { transport } = this;
    const queue = transport?.queue(STATUS);
    if (!transport || !queue) return;
    for (let taken = 0; taken < STATUS_A_TURN; taken++) {
      const chain = queue.pop();
      if (!chain.ok) {
        transport.fail(chain.error);
        return;
      }
      if (!chain.value) break;
      const fault = queue.push(chain.value.head, 0);
      if (fault) {
        transport.fail(fault);
        return;
      }
    }
    transport.signal(STATUS);
  }
}

const ascii = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));

function bits(codes: readonly number[]): Uint8Array {
  const map = new Uint8Array((Math.max(...codes) >> 3) + 1);
  for (const code of codes) map[code >> 3]! |= 1 << (code & 7);
  return map;
}

/** A mouse that every guest knows beside a tablet that some do: whichever the host's pointer speaks to. */
export function mouseAndTablet(mouse: PointerSink, tablet: PointerSink): PointerSink {
  return {
    get absolute() {
      return tablet.absolute;
    },
    relative(dx, dy, buttons, wheel) {
      mouse.relative(dx, dy, buttons, wheel);
      // What was pressed on the tablet before the pointer was captured must not stay down.
      tablet.relative(dx, dy, buttons, wheel);
    },
    pointer: (x, y, buttons, wheel) => tablet.pointer(x, y, buttons, wheel),
  };
}
