/**
 * A VM process for tests of the control plane: speaks main/process/protocol.ts over the fork channel, runs no machine. What it
 * does is chosen by the kernel command line, so that tests steer it through the ordinary path.
 */
import { writeFileSync } from 'node:fs';

const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==';
let behaviour = '';
let spec;
let viewer;
const log = [];
const say = (message) => process.send(message);
const end = (reason, screen = spec?.lastScreen ? PIXEL : undefined) => {
  process.send({ type: 'stopped', reason, screen }, () => process.exit(0));
};

process.on('SIGINT', () => {});
process.on('disconnect', () => process.exit(0));
process.on('message', (message, handle) => {
  switch (message.type) {
    case 'start':
      spec = message.spec;
      behaviour = spec.boot.kind === 'linux' ? spec.boot.commandLine : '';
      if (behaviour === 'hang-start') return;
      if (behaviour === 'die-start') {
        process.stderr.write('engine: no memory for page tables\n');
        process.exit(3);
      }
      if (behaviour === 'refuse') {
        end({
          kind: 'failed',
          error: { code: 'acceleratorUnavailable', message: 'There is no /dev/kvm.', fix: 'Choose "software".' },
        });
        return;
      }
      if (behaviour === 'rubbish') {
        say({ type: 'nonsense' });
        say('text');
        say({ type: 'reply', id: 12345, result: { ok: true, value: 1 } });
      }
      say({ type: 'started', engine: { accelerator: 'software', tier: 'interpreter', reason: 'It is a test.' } });
      if (spec.serial[0]?.kind === 'stdio') {
        process.stdout.write('guest says hello\n');
        if (behaviour === 'echo') process.stdin.on('data', (d) => process.stdout.write(`<${d}>`));
      }
      say({
        type: 'stats',
        stats: {
          cpuPercent: 1,
          residentBytes: 2,
          diskReadBytes: 0,
          diskWrittenBytes: 0,
          netReceivedBytes: 0,
          netSentBytes: 0,
          uptimeSeconds: 0,
        },
        load: { used: 0, waited: 0 },
      });
      say({ type: 'screenChanged' });
      if (behaviour === 'power-off') end({ kind: 'powerOff' });
      if (behaviour === 'debug-exit') end({ kind: 'debugExit', code: 33 });
      if (behaviour === 'triple-fault') end({ kind: 'guestFault', message: 'Triple fault', report: 'rip=0' });
      if (behaviour === 'exit-0') process.exit(0);
      return;
    case 'request': {
      const reply = (value) => say({ type: 'reply', id: message.id, result: { ok: true, value } });
      const fail = (error) => say({ type: 'reply', id: message.id, result: { ok: false, error } });
      if (behaviour === 'deaf') return;
      log.push(message.call);
      switch (message.call.name) {
        case 'screenshot':
          return reply(PIXEL);
        case 'text':
          return reply(
            behaviour === 'rubbish'
              ? { no: 'lines' }
              : [spec.bootFirst ? `hello from ${spec.bootFirst}` : 'hello', ...log.map((c) => JSON.stringify(c))],
          );
        case 'powerButton':
          reply(null);
          if (behaviour === 'obey') end({ kind: 'powerOff' });
          return;
        case 'attachDisk':
          if (message.call.disk.kind === 'floppy') return reply();
          return fail({ code: 'unsupported', message: 'This machine has no bus for that.' });
        default:
          return reply();
      }
    }
    case 'viewer':
      viewer = { socket: handle, request: message.request };
      return;
    case 'viewerReleased':
      if (behaviour === 'echo-viewers') {
        const { socket } = viewer;
        socket.on('error', () => {});
        socket.write('HTTP/1.1 101 Echo\r\n\r\n');
        socket.pipe(socket);
        return;
      }
      // Not a WebSocket, only proof that the connection itself arrived here.
      viewer.socket.end(
        `HTTP/1.1 200 VM ${process.pid}\r\nConnection: close\r\nX-Key: ${viewer.request.headers['sec-websocket-key']}\r\n\r\n`,
      );
      return;
    case 'stop':
      if (behaviour === 'stubborn') return;
      if (spec.disks[0] && !spec.disks[0].readOnly) writeFileSync(spec.disks[0].path, 'flushed'.padEnd(512, ' '));
      end({ kind: 'stopped' });
  }
});
// Keeps a silent machine alive until its parent goes.
setInterval(() => {}, 60_000);
if (process.env.FAKE_VM !== 'never-ready') say({ type: 'ready' });
