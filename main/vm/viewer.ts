/**
 * The VM's end of every viewer channel (preload/contract/viewer.ts): screen and serial output out, keys, pointer and serial input
 * in. Viewers are hostile: each message is validated, and one that does not fit ends its channel, never the machine.
 */
import type { Socket } from 'node:net';
import type { KeyboardSink, PointerSink } from '../backend/input';
import type { Disposable } from '../lib/disposable';
import {
  SERIAL_HEADER_BYTES,
  VIEWER_SERIAL,
  viewerToVmSchema,
  type ViewerToVm,
  type VmToViewer,
} from '../../preload/contract/viewer';
import type { DisplayHub, DisplayWatch, Timers } from './display-hub';
import { portChannel, SocketUpgrader, type MessagePortLike, type UpgradeRequest, type ViewerChannel } from './viewer-channel';

/** A serial port as viewers see it. */
export interface ViewerTerminal {
  history(): Uint8Array;
  onOutput(listener: (bytes: Uint8Array) => void): Disposable;
  /** Host → guest. */
  inject(bytes: Uint8Array): void;
}

/** Grows for ever; what viewers see is the difference. */
export interface ActivityCounters {
  readonly diskReadBytes: number;
  readonly diskWrittenBytes: number;
  readonly netBytes: number;
  readonly cpuSeconds: number;
}

export interface ViewerHubDeps {
  readonly display: DisplayHub;
  /** COM1 first; undefined where the port is not a terminal. */
  readonly terminals: readonly (ViewerTerminal | undefined)[];
  readonly keyboard: KeyboardSink;
  readonly pointer: PointerSink;
  /** Undefined: the display adapter cannot tell its driver. */
  readonly resize?: ((width: number, height: number) => void) | undefined;
  readonly activity: () => ActivityCounters;
  readonly timers: Timers;
  readonly now: () => number;
}

type Leds = Omit<Extract<VmToViewer, { type: 'leds' }>, 'type'>;

const VIEWERS_MAX = 32;
/** A viewer this far behind is beyond catching up. */
const BUFFERED_MAX_BYTES = 64 << 20;
/** Nobody has more fingers; more names than this is not a keyboard. */
const HELD_KEYS_MAX = 128;
const ACTIVITY_PERIOD_MS = 200;

export class ViewerHub implements Disposable {
  private readonly viewers = new Set<Viewer>();
  private readonly upgrader: SocketUpgrader;
  private ledState: Leds = { capsLock: false, numLock: false, scrollLock: false };
  private absolute: boolean;
  private activityTimer: Disposable | undefined;
  private lastCounters: ActivityCounters;
  private lastSample = 0;
  private lastSent = '';

  constructor(private readonly deps: ViewerHubDeps) {
    this.upgrader = new SocketUpgrader(deps.timers);
    this.absolute = deps.pointer.absolute;
    this.lastCounters = deps.activity();
  }

  addPort(port: MessagePortLike): void {
    this.addChannel(portChannel(port));
  }

  addSocket(socket: Socket, request: UpgradeRequest): void {
    // ws adds its own handler with the handshake; until then, and if it refuses, a reset must not be an uncaught error.
    socket.on('error', () => socket.destroy());
    this.upgrader.upgrade(socket, request, (channel) => this.addChannel(channel));
  }

  addChannel(channel: ViewerChannel): void {
    if (this.viewers.size >= VIEWERS_MAX) {
      channel.close('misbehaved');
      return;
    }
    const viewer = new Viewer(channel, this.deps, () => {
      this.viewers.delete(viewer);
      if (this.viewers.size === 0) this.stopActivity();
    });
    this.viewers.add(viewer);
    viewer.send({ type: 'leds', ...this.ledState });
    viewer.send({ type: 'pointer', absolute: this.absolute });
    if (!this.activityTimer) this.startActivity();
  }

  get count(): number {
    return this.viewers.size;
  }

  /** The guest's driver changed the keyboard's lights. */
  setLeds(leds: Leds): void {
    this.ledState = leds;
    this.broadcast({ type: 'leds', ...leds });
  }

  /** The guest began or ended taking absolute positions. */
  pointerModeChanged(): void {
    if (this.absolute === this.deps.pointer.absolute) return;
    this.absolute = this.deps.pointer.absolute;
    this.broadcast({ type: 'pointer', absolute: this.absolute });
  }

  dispose(): void {
    this.stopActivity();
    for (const viewer of [...this.viewers]) viewer.close('done');
    this.viewers.clear();
    this.upgrader.close();
  }

  private broadcast(message: VmToViewer): void {
    for (const viewer of this.viewers) viewer.send(message);
  }

  private startActivity(): void {
    this.lastCounters = this.deps.activity();
    this.lastSample = this.deps.now();
    this.lastSent = '';
    const next = (): void => {
      this.activityTimer = this.deps.timers.set(() => {
        this.sampleActivity();
        next();
      }, ACTIVITY_PERIOD_MS);
    };
    next();
  }

  private stopActivity(): void {
    this.activityTimer?.dispose();
    this.activityTimer = undefined;
  }

  private sampleActivity(): void {
    const counters = this.deps.activity();
    const now = this.deps.now();
    const seconds = Math.max(0.001, (now - this.lastSample) / 1000);
    const before = this.lastCounters;
    this.lastCounters = counters;
    this.lastSample = now;
    const message: VmToViewer = {
      type: 'activity',
      diskRead: counters.diskReadBytes > before.diskReadBytes,
      diskWrite: counters.diskWrittenBytes > before.diskWrittenBytes,
      net: counters.netBytes > before.netBytes,
      cpuPercent: Math.max(0, Math.round(((counters.cpuSeconds - before.cpuSeconds) / seconds) * 100)),
    };
    const text = JSON.stringify(message);
    if (text === this.lastSent) return;
    this.lastSent = text;
    this.broadcast(message);
  }
}

class Viewer {
  private watch: DisplayWatch | undefined;
  private readonly serial = new Map<number, Disposable>();
  private readonly held = new Set<string>();
  private buttons = 0;
  private closed = false;

  constructor(
    private readonly channel: ViewerChannel,
    private readonly deps: ViewerHubDeps,
    private readonly onClosed: () => void,
  ) {
    channel.onClose(() => this.end());
    channel.onMessage((text) => this.receive(text));
  }

  send(message: VmToViewer): void {
    if (!this.closed) this.channel.sendText(JSON.stringify(message));
  }

  close(why: 'misbehaved' | 'tooSlow' | 'done'): void {
    if (this.closed) return;
    this.end();
    this.channel.close(why);
  }

  private end(): void {
    if (this.closed) return;
    this.closed = true;
    this.releaseAll();
    this.watch?.dispose();
    for (const subscription of this.serial.values()) subscription.dispose();
    this.serial.clear();
    this.onClosed();
  }

  private receive(text: string | undefined): void {
    if (this.closed) return;
    let message: ViewerToVm;
    try {
      message = viewerToVmSchema.parse(JSON.parse(text ?? ''));
    } catch {
      this.close('misbehaved');
      return;
    }
    this.handle(message);
  }

  private handle(message: ViewerToVm): void {
    const { keyboard, pointer, display, terminals } = this.deps;
    switch (message.type) {
      case 'attach':
        this.attach(message.display, message.serial);
        return;
      case 'frameDrawn':
        this.watch?.drawn(message.frame);
        return;
      case 'key':
        if (message.down) this.held.add(message.code);
        else this.held.delete(message.code);
        if (this.held.size > HELD_KEYS_MAX) {
          this.close('misbehaved');
          return;
        }
        keyboard.key(message.code, message.down);
        display.expectChange();
        return;
      case 'mouse':
        this.buttons = message.buttons;
        pointer.relative(limit(message.dx, 32767), limit(message.dy, 32767), message.buttons, limit(message.wheel, 127));
        display.expectChange();
        return;
      case 'pointer':
        this.buttons = message.buttons;
        pointer.pointer(message.x, message.y, message.buttons, limit(message.wheel, 127));
        display.expectChange();
        return;
      case 'resize':
        this.deps.resize?.(message.width, message.height);
        return;
      case 'releaseKeys':
        this.releaseAll();
        return;
      case 'serial':
        terminals[message.port]?.inject(new TextEncoder().encode(message.data));
        return;
    }
  }

  private attach(display: boolean, ports: readonly number[]): void {
    if (!display) {
      this.watch?.dispose();
      this.watch = undefined;
    } else if (this.watch) {
      this.watch.refresh();
    } else {
      this.watch = this.deps.display.watch({
        sendFrame: (frame) => this.sendBinary(frame),
        sendScreen: (screen) => this.send({ type: 'screen', width: screen.width, height: screen.height, mode: screen.mode }),
      });
    }
    const wanted = new Set(ports);
    for (const [port, subscription] of [...this.serial]) {
      if (wanted.has(port)) continue;
      subscription.dispose();
      this.serial.delete(port);
    }
    for (const port of wanted) {
      const terminal = this.deps.terminals[port];
      if (!terminal || this.serial.has(port)) continue;
      const history = terminal.history();
      if (history.length > 0) this.sendSerial(port, history);
      this.serial.set(
        port,
        terminal.onOutput((bytes) => this.sendSerial(port, bytes)),
      );
    }
  }

  private sendSerial(port: number, bytes: Uint8Array): void {
    const message = new Uint8Array(SERIAL_HEADER_BYTES + bytes.length);
    message[0] = VIEWER_SERIAL;
    message[1] = port;
    message.set(bytes, SERIAL_HEADER_BYTES);
    this.sendBinary(message);
  }

  private sendBinary(bytes: Uint8Array): void {
    if (this.closed) return;
    if (this.channel.buffered > BUFFERED_MAX_BYTES) {
      this.close('tooSlow');
      return;
    }
    this.channel.sendBinary(bytes);
  }

  /** What this viewer holds down would stay down in the guest for ever. */
  private releaseAll(): void {
    for (const code of this.held) this.deps.keyboard.key(code, false);
    this.held.clear();
    if (this.buttons !== 0) this.deps.pointer.relative(0, 0, 0, 0);
    this.buttons = 0;
  }
}

function limit(value: number, most: number): number {
  return Math.trunc(Math.max(-most, Math.min(most, value)));
}
