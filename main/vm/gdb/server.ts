/** The port a debugger connects to: loopback only, one connection at a time. The guest stops when it comes and goes on when it leaves. */
import { createServer, type Server, type Socket } from 'node:net';
import { LodgeError } from '../../../preload/contract/errors';
import { type DebugStopInfo, type DebugTarget, GdbSession } from './session';

export class GdbServer {
  private readonly server: Server;
  private socket: Socket | undefined;
  private session: GdbSession | undefined;
  /** Stopped before anybody connected. */
  private early: DebugStopInfo | undefined;

  private constructor(private readonly target: DebugTarget) {
    this.server = createServer({ noDelay: true }, (socket) => void this.accept(socket));
  }

  static async listen(port: number, target: DebugTarget): Promise<GdbServer> {
    const gdb = new GdbServer(target);
    await new Promise<void>((done, failed) => {
      gdb.server.once('error', (cause: NodeJS.ErrnoException) =>
        failed(
          new LodgeError(
            {
              code: 'invalidState',
              message: `The debugger’s port ${port} cannot be opened${cause.code === 'EADDRINUSE' ? ': it is in use' : ''}.`,
              fix: 'Choose another port, or close the program that uses it.',
              detail: cause.message,
            },
            { cause },
          ),
        ),
      );
      gdb.server.listen(port, '127.0.0.1', done);
    });
    // The machine ends when it is done, not when its debugger is.
    gdb.server.unref();
    return gdb;
  }

  get connected(): boolean {
    return this.session !== undefined;
  }

  private async accept(socket: Socket): Promise<void> {
    if (this.socket) {
      socket.destroy();
      return;
    }
    this.socket = socket;
    const received: Buffer[] = [];
    let gone = false;
    socket.on('error', () => socket.destroy());
    socket.on('data', (bytes: Buffer) => {
      if (this.session) this.session.receive(bytes);
      else received.push(bytes);
    });
    socket.on('close', () => {
      gone = true;
      this.session?.gone();
      this.session = this.socket = undefined;
    });
    try {
      await this.target.stop();
    } catch {
      socket.destroy(); // the machine has just ended
      return;
    }
    if (gone) {
      this.target.resume([]);
      return;
    }
    this.session = new GdbSession(
      this.target,
      (bytes) => void socket.write(bytes),
      () => socket.end(),
      this.early,
    );
    this.early = undefined;
    for (const bytes of received) this.session.receive(bytes);
  }

  /** False: there is no debugger to hear of it. */
  stopped(stop: DebugStopInfo): boolean {
    if (!this.session) return false;
    this.session.stopped(stop);
    return true;
  }

  close(): void {
    this.session?.exited();
    this.session = undefined;
    this.socket?.end();
    this.server.close();
  }
}
