/**
 * virtio-gpu, the GPU device. VIRTIO 1.2 §5.7: 2D, one scanout, EDID, the cursor queue. Not offered: 3D, blobs, UUIDs, contexts.
 * The guest's pictures are copied to the host when the driver transfers them, as the specification has it: what is shown never changes under
 * a reader, and never needs guest memory. Queue input is hostile; what it can make us keep is bounded (resource.ts).
 */
import type { DisplaySource, Rect, ScreenInfo } from '../../../../backend/display';
import { Emitter, type Disposable } from '../../../../lib/disposable';
import type { GuestMemory } from '../../../memory/guest-memory';
import { createEdid } from '../../vga/edid';
import type { VirtioDevice, VirtioTransport } from '../device';
import { writeRanges, type Chain } from '../virtqueue';
import { displayInfo, edidReply, encodeResponse, parseGpuRequest, Response, type GpuRequest, type ResponseType } from './request';
import { Resources } from './resource';
import { Scanout } from './scanout';

const Feature = { EDID: 1n << 1n } as const;
const CURSOR = 1;
const QUEUE_SIZES = [256, 16];
/** Requests served, and bytes of pictures made or moved, before the event loop gets its turn: two 4K screens are some 30 ms. */
const REQUESTS_A_TURN = 64;
const BYTES_A_TURN = 64 << 20;

/** struct virtio_gpu_config, §5.7.4. */
const Config = { EVENTS_READ: 0, EVENTS_CLEAR: 4, SCANOUTS: 8, BYTES: 16 } as const;
const EVENT_DISPLAY = 1;

/** What a monitor has before anybody looks; what is set later is kept to what EDID can say. */
const FIRST_WIDTH = 1280;
const FIRST_HEIGHT = 800;
const MIN_EDGE = 64;
const MAX_WIDTH = 4095;
const MAX_HEIGHT = 4095;

export interface GpuDeps {
  readonly mem: GuestMemory;
  /** Runs a callback in a later turn of the event loop. */
  readonly defer: (callback: () => void) => void;
}

export class VirtioGpu implements VirtioDevice, DisplaySource {
  readonly name = 'virtio-vga';
  readonly deviceId = 16;
  readonly classCode = 0x030000;
  readonly features = Feature.EDID;
  readonly queueSizes = QUEUE_SIZES;
  readonly counters = { requests: 0, refused: 0 };

  private transport: VirtioTransport | undefined;
  private readonly resources = new Resources();
  private readonly scanout = new Scanout();
  private readonly screenChange = new Emitter<ScreenInfo>();
  private width = FIRST_WIDTH;
  private height = FIRST_HEIGHT;
  private events = 0;
  private taken = false;
  /** In this turn. */
  private movedBytes = 0;
  private readonly deferred = [false, false];

  constructor(private readonly deps: GpuDeps) {}

  // ---- the host's side ------------------------------------------------------------------------------------------

  /** The driver has put something on the screen since its last reset: what the VGA holds is not shown any more. */
  get active(): boolean {
    return this.taken;
  }

  get screen(): ScreenInfo {
    return this.scanout.screen;
  }

  onScreenChange(listener: (screen: ScreenInfo) => void): Disposable {
    return this.screenChange.event(listener);
  }

  takeDirty(): Rect[] {
    return this.scanout.takeDirty();
  }

  render(rect: Rect, out: Uint8Array): void {
    this.scanout.render(rect, out);
  }

  text(): null {
    return null;
  }

  /** The monitor has another size now; the driver is told and may follow. */
  resize(width: number, height: number): void {
    const w = Math.max(MIN_EDGE, Math.min(MAX_WIDTH, Math.trunc(width)));
    const h = Math.max(MIN_EDGE, Math.min(MAX_HEIGHT, Math.trunc(height)));
    if (w === this.width && h === this.height) return;
    this.width = w;
    this.height = h;
    this.events |= EVENT_DISPLAY;
    this.transport?.configChanged();
  }

  // ---- VirtioDevice ---------------------------------------------------------------------------------------------

  readConfig(): Uint8Array {
    const config = new Uint8Array(Config.BYTES);
    const view = new DataView(config.buffer);
    view.setUint32(Config.EVENTS_READ, this.events, true);
    view.setUint32(Config.SCANOUTS, 1, true);
    return config;
  }

  writeConfig(offset: number, value: number): void {
    // Only the lowest byte of events_clear has bits that mean something.
    if (offset === Config.EVENTS_CLEAR) this.events &= ~value;
  }

  start(transport: VirtioTransport): void {
    this.transport = transport;
  }

  onNotify(index: number): void {
    const { transport } = this;
    const queue = transport?.queue(index);
    if (!transport || !queue || this.deferred[index]) return;
    this.movedBytes = 0;
    for (let served = 0; served < REQUESTS_A_TURN && this.movedBytes < BYTES_A_TURN; served++) {
      const chain = queue.pop();
      if (!chain.ok) {
        transport.fail(chain.error);
        return;
      }
      if (!chain.value) {
        transport.signal(index);
        return;
      }
      const written = this.serve(chain.value, index);
      const fault = written < 0 ? 'badRequest' : queue.push(chain.value.head, written);
      if (fault) {
        transport.fail(fault);
        return;
      }
    }
    transport.signal(index);
    this.deferred[index] = true;
    this.deps.defer(() => {
      this.deferred[index] = false;
      this.onNotify(index);
    });
  }

  reset(): void {
    this.transport = undefined;
    this.resources.clear();
    this.scanout.reset();
    this.events = 0;
    if (!this.taken) return;
    this.taken = false;
    this.screenChange.fire(this.screen);
  }

  dispose(): void {
    this.screenChange.dispose();
  }

  // ---- requests ---------------------------------------------------------------------------------------------------

  /** Bytes written into the chain; −1: it cannot be answered. */
  private serve(chain: Chain, queue: number): number {
    this.counters.requests++;
    const parsed = parseGpuRequest(chain, this.deps.mem);
    let answer: Uint8Array;
    if (!parsed.ok) {
      if (parsed.error === 'badRequest') return -1;
      this.counters.refused++;
      answer = encodeResponse(parsed.error.header, parsed.error.response);
    } else {
      const { header, request } = parsed.value;
      // §5.7.5: the cursor queue takes cursor commands and nothing else.
      const belongs = (request.kind === 'cursor') === (queue === CURSOR);
      const [type, payload] = belongs ? this.execute(request) : [Response.ERR_UNSPEC];
      if (type >= Response.ERR_UNSPEC) this.counters.refused++;
      answer = encodeResponse(header, type, payload);
    }
    // Drivers give cursor commands no room for an answer.
    return chain.writableBytes === 0 ? 0 : writeRanges(this.deps.mem, chain.writable, answer);
  }

  private execute(request: GpuRequest): [ResponseType, Uint8Array?] {
    const { resources, scanout } = this;
    switch (request.kind) {
      case 'displayInfo':
        return [Response.OK_DISPLAY_INFO, displayInfo(this.width, this.height)];
      case 'edid':
        if (request.scanout !== 0) return [Response.ERR_INVALID_SCANOUT_ID];
        return [Response.OK_EDID, edidReply(createEdid({ width: this.width, height: this.height }))];
      case 'create': {
        const type = resources.create(request.resource, request.format, request.width, request.height);
        if (type === Response.OK_NODATA) this.movedBytes += request.width * request.height * 4;
        return [type];
      }
      case 'scanout':
        return [this.setScanout(request)];
      case 'cursor':
        return [this.setCursor(request)];
      case 'unknown':
        return [Response.ERR_UNSPEC];
      default:
        break;
    }
    const resource = resources.get(request.resource);
    if (!resource) return [Response.ERR_INVALID_RESOURCE_ID];
    switch (request.kind) {
      case 'unref':
        if (scanout.shows(resource)) this.present(undefined, { x: 0, y: 0, width: 0, height: 0 });
        resources.delete(request.resource);
        return [Response.OK_NODATA];
      case 'attach':
        if (resource.backing) return [Response.ERR_UNSPEC];
        resource.backing = request.backing;
        return [Response.OK_NODATA];
      case 'detach':
        resource.backing = undefined;
        return [Response.OK_NODATA];
      case 'transfer': {
        const { rect, offset } = request;
        if (!resource.contains(rect)) return [Response.ERR_INVALID_PARAMETER];
        this.movedBytes += rect.width * rect.height * 4;
        return [resource.transfer(this.deps.mem, rect, offset) ? Response.OK_NODATA : Response.ERR_INVALID_PARAMETER];
      }
      case 'flush':
        if (!resource.contains(request.rect)) return [Response.ERR_INVALID_PARAMETER];
        if (scanout.shows(resource)) scanout.flush(request.rect);
        return [Response.OK_NODATA];
    }
  }

  private setScanout({ scanout, resource: id, rect }: Extract<GpuRequest, { kind: 'scanout' }>): ResponseType {
    if (scanout !== 0) return Response.ERR_INVALID_SCANOUT_ID;
    const resource = this.resources.get(id);
    if (id !== 0) {
      if (!resource) return Response.ERR_INVALID_RESOURCE_ID;
      if (!resource.contains(rect)) return Response.ERR_INVALID_PARAMETER;
    }
    this.present(resource, rect);
    return Response.OK_NODATA;
  }

  private setCursor({ scanout, x, y, image }: Extract<GpuRequest, { kind: 'cursor' }>): ResponseType {
    if (scanout !== 0) return Response.ERR_INVALID_SCANOUT_ID;
    if (!image) {
      this.scanout.setCursor(x, y);
      return Response.OK_NODATA;
    }
    const resource = image.resource === 0 ? null : this.resources.get(image.resource);
    if (resource === undefined) return Response.ERR_INVALID_RESOURCE_ID;
    this.scanout.setCursor(x, y, resource, image.hotX, image.hotY);
    return Response.OK_NODATA;
  }

  private present(resource: Parameters<Scanout['show']>[0], rect: Rect): void {
    const before = this.screen;
    const first = !this.taken && resource !== undefined;
    this.scanout.show(resource, rect);
    if (first) this.taken = true;
    const now = this.screen;
    const differs = now.width !== before.width || now.height !== before.height || now.mode !== before.mode;
    if (this.taken && (first || differs)) this.screenChange.fire(now);
  }
}
