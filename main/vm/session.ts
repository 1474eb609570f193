/**
 * The protocol of main/process/protocol.ts, VM side: one start, then requests until the machine ends. Everything that arrives is
 * validated; what does not fit is answered with an error or dropped, never acted upon.
 */
import { Socket } from 'node:net';
import { LodgeError } from '../../preload/contract/errors';
import type { StopReason } from '../../preload/contract/vm';
import { type FromVm, type MachineSpec, type ToVm, toVmSchema, type VmCall } from '../process/protocol';
import { cpuSeconds, Machine, type MachineHooks } from './machine';
import type { Parent, Transfer } from './parent';
import type { UpgradeRequest } from './viewer-channel';

type Stats = Extract<FromVm, { type: 'stats' }>['stats'];
export type MachineFactory = (spec: MachineSpec, hooks: MachineHooks) => Promise<Machine>;

const STATS_PERIOD_MS = 1000;
/** How long a machine without a parent may take to flush its disks: as long as a parent would wait. */
const ORPHAN_LIMIT_MS = 10_000;

export class Session {
  private machine: Machine | undefined;
  private starting = false;
  private stopWanted = false;
  private statsTimer: NodeJS.Timeout | undefined;
  private lastCpu = cpuSeconds();
  private lastSample = performance.now();
  private lastLoad = { used: 0, waited: 0 };
  private lastSent = '';
  private ended = false;
  /** A viewer's socket that its sender may still be reading from. */
  private arriving: { readonly socket: Socket; readonly request: UpgradeRequest } | undefined;

  constructor(
    private readonly parent: Parent,
    /** Ends the process. */
    private readonly exit: () => void,
    private readonly createMachine: MachineFactory = (spec, hooks) => Machine.create(spec, hooks),
  ) {
    parent.onMessage((message, transfer) => this.receive(message, transfer));
    parent.onGone(() => {
      // With nobody left to kill a machine whose disks hang.
      setTimeout(exit, ORPHAN_LIMIT_MS).unref();
      this.stop();
    });
    this.send({ type: 'ready' });
  }

  /** Flush disks and end. */
  stop(): void {
    if (this.machine) this.machine.end({ kind: 'stopped' });
    else if (this.starting) this.stopWanted = true;
    else void this.finish({ kind: 'stopped' }, undefined);
  }

  private receive(raw: unknown, transfer: Transfer): void {
    const parsed = toVmSchema.safeParse(raw);
    if (!parsed.success) {
      if (transfer.handle instanceof Socket) transfer.handle.destroy();
      this.send({ type: 'notice', level: 'warning', message: 'The machine’s process got a message it does not understand.' });
      return;
    }
    const message = parsed.data;
    switch (message.type) {
      case 'start':
        void this.start(message.spec);
        return;
      case 'request':
        void this.answer(message.id, message.call);
        return;
      case 'viewer':
        this.addViewer(message, transfer);
        return;
      case 'viewerReleased':
        this.admitViewer();
        return;
      case 'stop':
        this.stop();
        return;
    }
  }

  private async start(spec: MachineSpec): Promise<void> {
    if (this.starting || this.machine) return;
    this.starting = true;
    let machine: Machine | undefined;
    try {
      machine = await this.createMachine(spec, {
        onEnded: (reason, screen) => void this.finish(reason, screen),
        onNotice: (level, message) => this.send({ type: 'notice', level, message }),
        onScreenChanged: () => this.send({ type: 'screenChanged' }),
        onEjected: (diskId) => this.send({ type: 'ejected', diskId }),
      });
      this.machine = machine;
      if (this.stopWanted) {
        machine.end({ kind: 'stopped' });
        return;
      }
      if (!(await machine.start())) return;
      this.send({ type: 'started', engine: machine.engine });
      this.statsTimer = setInterval(() => this.sendStats(), STATS_PERIOD_MS);
    } catch (error) {
      const reason: StopReason = { kind: 'failed', error: LodgeError.from(error).toData() };
      if (machine) machine.end(reason);
      else void this.finish(reason, undefined);
    } finally {
      this.starting = false;
    }
  }

  private async answer(id: number, call: VmCall): Promise<void> {
    try {
      if (!this.machine) throw new LodgeError({ code: 'invalidState', message: 'The machine is not running.' });
      const value = await this.perform(this.machine, call);
      this.send({ type: 'reply', id, result: { ok: true, value } });
    } catch (error) {
      this.send({ type: 'reply', id, result: { ok: false, error: LodgeError.from(error).toData() } });
    }
  }

  private perform(machine: Machine, call: VmCall): unknown {
    switch (call.name) {
      case 'pause':
        return machine.pause();
      case 'resume':
        return machine.resume();
      case 'reset':
        return machine.reset();
      case 'powerButton':
        return machine.powerButton();
      case 'screenshot':
        return machine.screenshot(call.maxWidth);
      case 'cpuCap':
        return machine.setCpuCap(call.percent);
      case 'cpuQuota':
        return machine.setCpuQuota(call.processors);
      case 'text':
        return machine.text();
      case 'counters':
        return machine.performance();
      case 'profile':
        return machine.profile(call.seconds, call.hertz);
      case 'keys':
        return machine.typeKeys(call.keys);
      case 'pointer':
        return machine.point(call.event);
      case 'serialWrite':
        return machine.writeSerial(call.port, call.data);
      case 'attachDisk':
        return machine.attachDisk(call.disk);
      case 'detachDisk':
        return machine.detachDisk(call.diskId, call.force ?? false);
    }
  }

  private addViewer(message: Extract<ToVm, { type: 'viewer' }>, { handle, ports }: Transfer): void {
    const viewers = this.machine?.viewers;
    if (handle instanceof Socket) {
      // Until it is ours alone nothing may be said that could make the viewer speak.
      this.arriving?.socket.destroy();
      this.arriving = undefined;
      if (message.request) {
        handle.on('error', () => handle.destroy());
        this.arriving = { socket: handle, request: message.request };
      } else handle.destroy();
    }
    for (const port of ports) {
      if (viewers) viewers.addPort(port);
      else port.close();
    }
  }

  private admitViewer(): void {
    if (!this.arriving) return;
    const { socket, request } = this.arriving;
    this.arriving = undefined;
    if (this.machine) this.machine.viewers.addSocket(socket, request);
    else socket.destroy();
  }

  private sendStats(): void {
    const machine = this.machine;
    if (!machine || this.ended) return;
    const [cpu, now] = [cpuSeconds(), performance.now()];
    const counters = machine.counters();
    const stats: Stats = {
      cpuPercent: Math.max(0, Math.round(((cpu - this.lastCpu) / (now - this.lastSample)) * 1e6) / 10),
      residentBytes: process.memoryUsage.rss(),
      diskReadBytes: counters.diskReadBytes,
      diskWrittenBytes: counters.diskWrittenBytes,
      netReceivedBytes: 0,
      netSentBytes: 0,
      uptimeSeconds: Math.floor(counters.uptimeSeconds),
    };
    const total = machine.processorTime();
    const rate = (seconds: number, before: number): number =>
      Math.max(0, Math.round(((seconds - before) / (now - this.lastSample)) * 1e5) / 100);
    const load = { used: rate(total.used, this.lastLoad.used), waited: rate(total.waited, this.lastLoad.waited) };
    this.lastLoad = total;
    this.lastCpu = cpu;
    this.lastSample = now;
    const text = JSON.stringify({ stats, load });
    if (text === this.lastSent) return;
    this.lastSent = text;
    this.send({ type: 'stats', stats, load });
  }

  private async finish(reason: StopReason, screen: string | null | undefined): Promise<void> {
    if (this.ended) return;
    this.ended = true;
    clearInterval(this.statsTimer);
    await this.parent.send({ type: 'stopped', reason, ...(screen !== undefined && { screen }) });
    this.exit();
  }

  private send(message: FromVm): void {
    if (!this.ended) void this.parent.send(message);
  }
}
