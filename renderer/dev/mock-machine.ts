import { FRAME_HEADER_BYTES, RECT_HEADER_BYTES, type ViewerToVm } from '../../preload/contract';
import type { ViewerHandlers, ViewerSocket } from '../api';

const BOOT_LINES = [
  '[    0.000000] Linux version 6.1.0-21-amd64 (debian-kernel@lists.debian.org)',
  '[    0.000000] Command line: console=ttyS0 console=tty0 root=/dev/vda1',
  '[    0.000000] BIOS-provided physical RAM map:',
  '[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable',
  '[    0.003120] Detected 2994.372 MHz processor',
  '[    0.118734] smpboot: CPU0: Lodge Virtual CPU (family: 0x6, model: 0xf, stepping: 0x1)',
  '[    0.201776] PCI: Using configuration type 1 for base access',
  '[    0.377402] clocksource: Switched to clocksource kvm-clock',
  '[    0.541220] Serial: 8250/16550 driver, 4 ports, IRQ sharing enabled',
  '[    0.604118] virtio_blk virtio0: [vda] 41943040 512-byte logical blocks (21.5 GB/20.0 GiB)',
  '[    0.688400] input: AT Translated Set 2 keyboard as /devices/platform/i8042/serio0/input/input0',
  '[    0.913381] EXT4-fs (vda1): mounted filesystem with ordered data mode.',
  '[    1.204412] systemd[1]: Detected architecture x86-64.',
  '',
  'Debian GNU/Linux 12 lodge tty1',
  '',
  'lodge login: ',
];

/** A picture and a serial port, through the real viewer protocol. */
export class MockMachine {
  private readonly canvas = document.createElement('canvas');
  private readonly context = this.canvas.getContext('2d', { alpha: false, willReadFrequently: true })!;
  private readonly viewers = new Set<ViewerHandlers>();
  private typed = '';
  private frame = 0;
  private cursor = true;

  constructor() {
    this.canvas.width = 720;
    this.canvas.height = 400;
    this.draw();
  }

  attach(handlers: ViewerHandlers): ViewerSocket {
    const text = (message: unknown): void => handlers.onText(JSON.stringify(message));
    setTimeout(() => handlers.onOpen(), 5);
    return {
      send: (message: ViewerToVm) => {
        switch (message.type) {
          case 'attach':
            this.viewers.add(handlers);
            text({ type: 'screen', width: 720, height: 400, mode: 'text' });
            text({ type: 'pointer', absolute: false });
            text({ type: 'leds', capsLock: false, numLock: true, scrollLock: false });
            handlers.onBinary(this.rectangle(0, 0, 720, 400));
            handlers.onBinary(
              this.serial(`${BOOT_LINES.slice(0, -1).join('\r\n')}\r\n\r\n\x1b[1;32mroot@lodge\x1b[0m:\x1b[1;34m~\x1b[0m# `),
            );
            break;
          case 'key':
            if (!message.down) break;
            if (message.code === 'Backspace') this.typed = this.typed.slice(0, -1);
            else if (message.code.startsWith('Key')) this.typed += message.code.slice(3).toLowerCase();
            else if (message.code.startsWith('Digit')) this.typed += message.code.slice(5);
            else if (message.code === 'Space') this.typed += ' ';
            this.draw();
            break;
          case 'serial':
            handlers.onBinary(this.serial(message.data.replace('\r', '\r\n\x1b[1;32mroot@lodge\x1b[0m:\x1b[1;34m~\x1b[0m# ')));
            break;
          case 'frameDrawn':
          case 'mouse':
          case 'pointer':
          case 'releaseKeys':
            break;
        }
      },
      close: () => this.viewers.delete(handlers),
    };
  }

  tick(t: number): void {
    this.cursor = !this.cursor;
    this.draw();
    for (const v of this.viewers)
      v.onText(JSON.stringify({ type: 'activity', diskRead: t % 3 === 0, diskWrite: t % 4 === 0, net: false, cpuPercent: 20 }));
  }

  png(): string {
    return this.canvas.toDataURL('image/png').split(',')[1]!;
  }

  private draw(): void {
    const { context } = this;
    context.fillStyle = '#000';
    context.fillRect(0, 0, 720, 400);
    context.font = '15px "DejaVu Sans Mono", monospace';
    context.textBaseline = 'top';
    context.fillStyle = '#aaa';
    BOOT_LINES.forEach((line, y) => {
      const shown = y === BOOT_LINES.length - 1 ? line + this.typed + (this.cursor ? '_' : '') : line;
      context.fillText(shown.slice(0, 80), 0, y * 16, 720);
    });
    const frame = this.rectangle(0, 0, 720, 400);
    for (const v of this.viewers) v.onBinary(frame);
  }

  private rectangle(x: number, y: number, width: number, height: number): ArrayBuffer {
    const pixels = this.context.getImageData(x, y, width, height).data;
    const bytes = new Uint8Array(FRAME_HEADER_BYTES + RECT_HEADER_BYTES + pixels.length);
    const view = new DataView(bytes.buffer);
    view.setUint8(0, 1);
    view.setUint16(2, 1, true);
    view.setUint32(4, ++this.frame, true);
    [x, y, width, height].forEach((v, i) => view.setUint16(FRAME_HEADER_BYTES + i * 2, v, true));
    bytes.set(pixels, FRAME_HEADER_BYTES + RECT_HEADER_BYTES);
    return bytes.buffer;
  }

  private serial(text: string): ArrayBuffer {
    return new Uint8Array([2, 0, ...new TextEncoder().encode(text)]).buffer;
  }
}
