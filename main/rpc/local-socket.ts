/**
 * The command line's way in: a unix socket (a named pipe on Windows) that only the user can open, one JSON message a line.
 * Client → server: {id, call, input}; server → client: {id, result}. Each Lodge that runs has a socket and a note beside it
 * that says what it is; both are in a private folder named after the data folder.
 */
import { readdir, readFile, unlink, writeFile } from 'node:fs/promises';
import { connect as netConnect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { z } from 'zod';
import {
  LodgeError,
  lodgeErrorSchema,
  type CallResult,
  type Input,
  type Output,
  type ProcedureName,
} from '../../preload/contract';
import { LineSplitter } from '../lib/lines';
import { ensurePrivateDir } from '../services/runtime-dir';
import type { Call } from './bind';

/** A screenshot of a large screen, base64. */
const MAX_LINE = 96 << 20;
const MAX_REQUEST = 1 << 20;
const CONNECT_TIMEOUT_MS = 2000;

const noteSchema = z.object({
  kind: z.enum(['server', 'run']),
  pid: z.int().positive(),
  name: z.string().optional(),
  socket: z.string(),
});
export type InstanceNote = z.infer<typeof noteSchema>;

const requestSchema = z.object({ id: z.int(), call: z.string(), input: z.unknown() });
const replySchema = z.object({
  id: z.int(),
  result: z.union([
    z.object({ ok: z.literal(true), value: z.unknown().optional() }),
    z.object({ ok: z.literal(false), error: lodgeErrorSchema }),
  ]),
});

export interface LocalServer {
  readonly note: InstanceNote;
  close(): Promise<void>;
}

/** A server refuses to start beside another one for the same data folder; runs are named and many. */
export async function listenLocal(
  instanceDir: string,
  who: { kind: 'server' } | { kind: 'run'; name: string },
  call: Call,
): Promise<LocalServer> {
  await ensurePrivateDir(join(instanceDir, '..'));
  await ensurePrivateDir(instanceDir);
  const key = who.kind === 'server' ? 'server' : `run-${process.pid}`;
  const socket =
    process.platform === 'win32' ? `\\\\.\\pipe\\lodge-${instanceDir.slice(-12)}-${key}` : join(instanceDir, `${key}.sock`);
  const note: InstanceNote = { kind: who.kind, pid: process.pid, socket, ...(who.kind === 'run' && { name: who.name }) };
  const noteFile = join(instanceDir, `${key}.json`);

  if (await answers(socket)) {
    throw new LodgeError({
      code: 'portInUse',
      message: 'Another Lodge is using this data folder already.',
      fix: 'Use that one, stop it, or give this one a folder of its own with --data DIR.',
      detail: await readFile(noteFile, 'utf8').catch(() => socket),
    });
  }
  // What is left there belongs to a Lodge that was killed.
  if (process.platform !== 'win32') await unlink(socket).catch(() => {});

  const connections = new Set<Socket>();
  const server = createServer((connection) => {
    connections.add(connection);
    connection.on('close', () => connections.delete(connection));
    serveConnection(connection, call);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // The folder is private already; the mode of the socket is a second door.
    const before = process.platform === 'win32' ? undefined : process.umask(0o177);
    server.listen(socket, resolve);
    if (before !== undefined) process.umask(before);
  }).catch((e: NodeJS.ErrnoException) => {
    throw new LodgeError({
      code: e.code === 'EADDRINUSE' ? 'portInUse' : 'permissionDenied',
      message: `The control socket cannot be made: ${socket}`,
      detail: e.message,
    });
  });
  await writeFile(noteFile, JSON.stringify(note), { mode: 0o600 });

  return {
    note,
    close: async () => {
      for (const connection of connections) connection.destroy();
      await closeServer(server);
      await unlink(noteFile).catch(() => {});
    },
  };
}

const closeServer = (server: Server): Promise<void> => new Promise((resolve) => server.close(() => resolve()));

function serveConnection(connection: Socket, call: Call): void {
  connection.setEncoding('utf8');
  connection.on('error', () => connection.destroy());
  const answer = (id: number, result: CallResult<unknown>): void => void connection.write(JSON.stringify({ id, result }) + '\n');
  const lines = new LineSplitter(
    (line) => {
      if (line === '') return;
      let request;
      try {
        request = requestSchema.parse(JSON.parse(line));
      } catch {
        answer(-1, {
          ok: false,
          error: { code: 'invalidInput', message: 'Not a request: one JSON object {id, call, input} a line.' },
        });
        return;
      }
      const { id } = request;
      void call(request.call, request.input).then((result) => answer(id, result));
    },
    MAX_REQUEST,
    () => connection.destroy(),
  );
  connection.on('data', (text: string) => lines.push(text));
}

const answers = (socket: string): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = netConnect(socket);
    const done = (result: boolean) => (): void => {
      probe.destroy();
      resolve(result);
    };
    probe.once('connect', done(true));
    probe.once('error', done(false));
    probe.setTimeout(CONNECT_TIMEOUT_MS, done(false));
  });

export class LocalClient {
  private readonly pending = new Map<number, { resolve: (r: CallResult<unknown>) => void; reject: (e: Error) => void }>();
  private nextId = 1;

  private constructor(
    readonly note: InstanceNote,
    private readonly socket: Socket,
  ) {
    socket.setEncoding('utf8');
    const lines = new LineSplitter(
      (line) => this.receive(line),
      MAX_LINE,
      () => socket.destroy(),
    );
    socket.on('data', (text: string) => lines.push(text));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      for (const { reject } of this.pending.values())
        reject(new LodgeError({ code: 'internal', message: 'Lodge ended while it was asked.' }));
      this.pending.clear();
    });
  }

  static connect(note: InstanceNote): Promise<LocalClient> {
    return new Promise((resolve, reject) => {
      const socket = netConnect(note.socket);
      socket.setTimeout(CONNECT_TIMEOUT_MS, () => socket.destroy(new Error('no answer')));
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.setTimeout(0);
        socket.off('error', reject);
        resolve(new LocalClient(note, socket));
      });
    });
  }

  async call<N extends ProcedureName>(name: N, input: Input<N>): Promise<Output<N>> {
    const result = await new Promise<CallResult<unknown>>((resolve, reject) => {
      const id = this.nextId++;
      this.pending.set(id, { resolve, reject });
      this.socket.write(JSON.stringify({ id, call: name, input }) + '\n');
    });
    if (!result.ok) throw new LodgeError(result.error);
    return result.value as Output<N>;
  }

  close(): void {
    this.socket.destroy();
  }

  private receive(line: string): void {
    let reply;
    try {
      reply = replySchema.parse(JSON.parse(line));
    } catch {
      this.socket.destroy();
      return;
    }
    this.pending.get(reply.id)?.resolve(reply.result as CallResult<unknown>);
    this.pending.delete(reply.id);
  }
}

/** Every Lodge that answers for this data folder, the server first; notes of those that do not answer are cleared away. */
export async function connectAll(instanceDir: string): Promise<LocalClient[]> {
  const names = (await readdir(instanceDir).catch(() => [] as string[])).filter((n) => n.endsWith('.json')).sort();
  const clients = await Promise.all(
    names.map(async (name): Promise<LocalClient[]> => {
      const file = join(instanceDir, name);
      try {
        const note = noteSchema.parse(JSON.parse(await readFile(file, 'utf8')));
        return [await LocalClient.connect(note)];
      } catch {
        await unlink(file).catch(() => {});
        await unlink(file.replace(/\.json$/, '.sock')).catch(() => {});
        return [];
      }
    }),
  );
  return clients.flat().sort((a, b) => (a.note.kind === b.note.kind ? 0 : a.note.kind === 'server' ? -1 : 1));
}
