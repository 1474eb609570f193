/**
 * A VM window's line to the VM process: the screen, the serial ports, input. It reconnects by itself while it is wanted; the
 * other end is the guest's process and is not trusted.
 */
import { createStore, type StoreApi } from 'zustand/vanilla';
import { vmToViewerSchema, type ViewerToVm } from '../../preload/contract';
import { decodeBinary, type FrameRect, type Transport, type ViewerSocket } from '../api';

export interface ViewerState {
  status: 'connecting' | 'open' | 'closed';
  screen: { width: number; height: number; mode: 'text' | 'graphics' | 'off' };
  absolute: boolean;
  leds: { capsLock: boolean; numLock: boolean; scrollLock: boolean };
  activity: { diskRead: boolean; diskWrite: boolean; net: boolean; cpuPercent: number };
}

export interface FrameSink {
  screen(width: number, height: number): void;
  /** Draws; `done` tells the VM that the frame was drawn, so that it sends the next. */
  frame(rects: readonly FrameRect[], done: () => void): void;
}

export interface SerialSink {
  /** A new connection follows, and with it the port's history. */
  reset(): void;
  /** `replay`: old output, whose terminal queries must not be answered again. */
  data(bytes: Uint8Array, replay: boolean): void;
}

const IDLE: ViewerState = {
  status: 'closed',
  screen: { width: 0, height: 0, mode: 'off' },
  absolute: false,
  leds: { capsLock: false, numLock: false, scrollLock: false },
  activity: { diskRead: false, diskWrite: false, net: false, cpuPercent: 0 },
};

const SERIAL_PORTS = 4;
/** Per port, for a terminal that opens later in this window. */
export const SERIAL_HISTORY_BYTES = 256 * 1024;
const ATTACH: ViewerToVm = { type: 'attach', display: true, serial: [0, 1, 2, 3] };
/** The first output this soon after attaching is the port's history. */
const HISTORY_WINDOW_MS = 300;
const RECONNECT_MS = 300;
const RECONNECT_MAX_MS = 3000;
/** A window that is being dragged has many sizes; the guest is told the one at which it rests. */
const RESIZE_SETTLE_MS = 250;
/** Largest text of one message; the rest follows in further ones. */
const SERIAL_CHUNK = 32_768;

export class ViewerSession {
  readonly state: StoreApi<ViewerState> = createStore<ViewerState>()(() => IDLE);
  private socket: ViewerSocket | undefined;
  private frames: FrameSink | undefined;
  private readonly serialSinks = new Map<number, SerialSink>();
  private readonly history: Uint8Array[][] = Array.from({ length: SERIAL_PORTS }, () => []);
  private readonly historyBytes: number[] = new Array<number>(SERIAL_PORTS).fill(0);
  private readonly sawSerial = new Set<number>();
  private openedAt = 0;
  private delay = RECONNECT_MS;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private active = false;
  private room: { readonly width: number; readonly height: number } | undefined;
  private roomTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly transport: Transport,
    private readonly vmId: string,
  ) {}

  /** Connects, and goes on connecting, until `stop`. What was received before stays readable. */
  start(): void {
    if (this.active) return;
    this.active = true;
    this.delay = RECONNECT_MS;
    this.connect();
  }

  stop(): void {
    this.active = false;
    clearTimeout(this.timer);
    clearTimeout(this.roomTimer);
    this.socket?.close();
    this.socket = undefined;
    this.state.setState({ status: 'closed', activity: IDLE.activity });
  }

  send(message: ViewerToVm): void {
    if (this.state.getState().status === 'open') this.socket?.send(message);
  }

  /** Guest pixels that would fill this window. Undefined: the guest's size is its own business. */
  setRoom(room: { width: number; height: number } | undefined): void {
    if (room?.width === this.room?.width && room?.height === this.room?.height) return;
    this.room = room;
    clearTimeout(this.roomTimer);
    this.roomTimer = setTimeout(() => this.sendRoom(), RESIZE_SETTLE_MS);
  }

  sendSerial(port: number, text: string): void {
    for (let at = 0; at < text.length; at += SERIAL_CHUNK)
      this.send({ type: 'serial', port, data: text.slice(at, at + SERIAL_CHUNK) });
  }

  /** The one display of this window; it gets the present size at once, and a full frame soon. */
  showFrames(sink: FrameSink): () => void {
    this.frames = sink;
    const { width, height } = this.state.getState().screen;
    if (width > 0 && height > 0) sink.screen(width, height);
    // Only changes follow the first frame, and those before now went to nobody.
    this.send(ATTACH);
    return () => {
      if (this.frames === sink) this.frames = undefined;
    };
  }

  /** Output of a port from as far back as is kept. */
  showSerial(port: number, sink: SerialSink): () => void {
    this.serialSinks.set(port, sink);
    for (const chunk of this.history[port] ?? []) sink.data(chunk, true);
    return () => {
      if (this.serialSinks.get(port) === sink) this.serialSinks.delete(port);
    };
  }

  dispose(): void {
    this.stop();
    this.serialSinks.clear();
    this.frames = undefined;
  }

  private connect(): void {
    this.state.setState({ status: 'connecting' });
    this.socket = this.transport.openViewer(this.vmId, {
      onOpen: () => {
        this.openedAt = performance.now();
        this.sawSerial.clear();
        this.delay = RECONNECT_MS;
        for (let port = 0; port < SERIAL_PORTS; port++) {
          this.history[port] = [];
          this.historyBytes[port] = 0;
          this.serialSinks.get(port)?.reset();
        }
        this.state.setState({ status: 'open' });
        this.sendRoom();
        this.socket?.send(ATTACH);
      },
      onText: (text) => this.receiveText(text),
      onBinary: (bytes) => this.receiveBinary(bytes),
      onClose: () => {
        if (!this.active) return;
        this.state.setState({ status: 'closed', activity: IDLE.activity });
        this.timer = setTimeout(() => this.connect(), this.delay);
        this.delay = Math.min(RECONNECT_MAX_MS, this.delay * 2);
      },
    });
  }

  private sendRoom(): void {
    if (this.room) this.send({ type: 'resize', ...this.room });
  }

  private receiveText(text: string): void {
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch {
      return;
    }
    const parsed = vmToViewerSchema.safeParse(json);
    if (!parsed.success) return;
    const message = parsed.data;
    switch (message.type) {
      case 'screen':
        if (message.width < 0 || message.height < 0 || message.width > 16384 || message.height > 16384) return;
        this.state.setState({ screen: { width: message.width, height: message.height, mode: message.mode } });
        if (message.width > 0 && message.height > 0) this.frames?.screen(message.width, message.height);
        break;
      case 'pointer':
        this.state.setState({ absolute: message.absolute });
        break;
      case 'leds':
        this.state.setState({ leds: { capsLock: message.capsLock, numLock: message.numLock, scrollLock: message.scrollLock } });
        break;
      case 'activity':
        this.state.setState({
          activity: {
            diskRead: message.diskRead,
            diskWrite: message.diskWrite,
            net: message.net,
            cpuPercent: message.cpuPercent,
          },
        });
        break;
    }
  }

  private receiveBinary(bytes: ArrayBuffer): void {
    const message = decodeBinary(bytes);
    switch (message.kind) {
      case 'frame': {
        const done = (): void => this.send({ type: 'frameDrawn', frame: message.frame });
        // Nobody looks: let the VM go on rather than wait for a drawing that will not come.
        if (this.frames === undefined) done();
        else this.frames.frame(message.rects, done);
        break;
      }
      case 'serial': {
        const replay = !this.sawSerial.has(message.port) && performance.now() - this.openedAt < HISTORY_WINDOW_MS;
        this.sawSerial.add(message.port);
        this.remember(message.port, message.bytes);
        this.serialSinks.get(message.port)?.data(message.bytes, replay);
        break;
      }
      case 'malformed':
        break;
    }
  }

  private remember(port: number, bytes: Uint8Array): void {
    const chunks = this.history[port]!;
    chunks.push(bytes);
    this.historyBytes[port]! += bytes.length;
    while (chunks.length > 1 && this.historyBytes[port]! - chunks[0]!.length >= SERIAL_HISTORY_BYTES)
      this.historyBytes[port]! -= chunks.shift()!.length;
  }
}
