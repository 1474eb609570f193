/**
 * The served app: the built page, the WebSocket /api (birpc: client calls `call(name, input)`, server calls `event(event)`),
 * WebSocket /viewer/<vm id> that is handed to the VM process whole, and PUT /upload?name=. Everything but the page itself
 * needs the token; the page holds no secret.
 */
import { createServer, STATUS_CODES, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createBirpc } from 'birpc';
import sirv from 'sirv';
import { WebSocketServer, type WebSocket } from 'ws';
import { LodgeError, vmIdSchema, type CallResult, type ErrorCode, type LodgeEvent } from '../../../preload/contract';
import type { Disposable } from '../../lib/disposable';
import { silentLogger, type Logger } from '../../lib/log';
import type { Call } from '../bind';
import { hostAllowed, originAllowed, securityHeaders, Session } from './security';

export interface WebServerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** How many ports above `port` may be tried when it is taken. */
  readonly portTries: number;
  readonly token: string;
  /** Folder of the built page. */
  readonly page: string;
  /** Names besides addresses and localhost under which this server may be reached. */
  readonly names: readonly string[];
  readonly call: Call;
  readonly subscribe: (listener: (event: LodgeEvent) => void) => Disposable;
  /** Takes the socket over; false: there is no such running machine. */
  readonly openViewer: (id: string, request: { headers: Record<string, string>; head: string }, socket: Socket) => boolean;
  readonly upload: (source: IncomingMessage, name: string, announced: number | undefined) => Promise<string>;
  readonly log?: Logger;
}

export interface WebServer {
  readonly port: number;
  readonly url: string;
  close(): Promise<void>;
}

const MAX_MESSAGE_BYTES = 1 << 20;
/** A client that reads so slowly has lost its place: it is cut off, comes back and fetches a snapshot. */
const MAX_BACKLOG_BYTES = 16 << 20;
const PING_MS = 30_000;

export async function startWebServer(options: WebServerOptions): Promise<WebServer> {
  const log = options.log ?? silentLogger;
  const server = createServer();
  // Uploads of images take as long as they take.
  server.requestTimeout = 0;
  const port = await listen(server, options);
  const session = new Session(options.token, port);
  const page = sirv(options.page, { etag: true, dev: false, dotfiles: false, setHeaders: cachePolicy });
  const sockets = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE_BYTES, perMessageDeflate: false });

  server.on('request', (request, response) => {
    handleRequest(request, response).catch((e: unknown) => {
      log.error({ error: e instanceof Error ? e.stack : String(e) }, 'a request failed');
      if (!response.headersSent) reply(response, 500, 'Internal error');
      else response.destroy();
    });
  });

  async function handleRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { host } = request.headers;
    if (!hostAllowed(host, options.names))
      return reply(response, 421, 'This address does not lead to Lodge. Use the address that Lodge printed.');
    for (const [name, value] of Object.entries(securityHeaders(host!))) response.setHeader(name, value);
    const url = parseUrl(request);
    if (!url) return reply(response, 400, 'Bad request');

    if (url.pathname === '/upload') return handleUpload(request, response, url);
    if (request.method !== 'GET' && request.method !== 'HEAD') return reply(response, 405, 'Method not allowed');
    if (url.searchParams.has('token')) {
      if (!session.tokenMatches(url.searchParams.get('token')))
        return reply(response, 403, 'Wrong token. Use the address that Lodge printed when it started.');
      response.setHeader('Set-Cookie', session.setCookie());
      response.setHeader('Location', '/');
      response.setHeader('Cache-Control', 'no-store');
      return reply(response, 303, '');
    }
    page(request, response, () => reply(response, 404, 'Not found'));
  }

  async function handleUpload(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
    const refused = refusal(request, url);
    // Without reading what it sends.
    if (refused) {
      response.setHeader('Connection', 'close');
      return json(response, refused.status, { error: { code: 'permissionDenied', message: refused.message } });
    }
    if (request.method !== 'PUT')
      return json(response, 405, { error: { code: 'invalidInput', message: 'Uploads are PUT requests.' } });
    const length = request.headers['content-length'];
    try {
      const path = await options.upload(
        request,
        url.searchParams.get('name') ?? '',
        length === undefined ? undefined : Number(length),
      );
      json(response, 201, { path });
    } catch (e) {
      const error = LodgeError.from(e);
      if (error.code === 'internal') log.error({ error: error.detail ?? error.message }, 'an upload failed');
      response.setHeader('Connection', 'close');
      json(response, UPLOAD_STATUS[error.code] ?? 500, { error: error.toData() });
      request.unpipe();
      request.resume();
    }
  }

  function refusal(request: IncomingMessage, url: URL): { status: number; message: string } | undefined {
    if (!hostAllowed(request.headers.host, options.names)) return { status: 421, message: 'Unknown host name' };
    if (!originAllowed(request.headers)) return { status: 403, message: 'Foreign origin' };
    if (!session.authorized(request.headers, url.searchParams)) return { status: 401, message: 'This needs the token' };
    return undefined;
  }

  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('error', () => socket.destroy());
    const url = parseUrl(request);
    const refused = url ? refusal(request, url) : { status: 400, message: 'Bad request' };
    if (!url || refused) {
      log.warn(
        { from: socket.remoteAddress, origin: request.headers.origin, host: request.headers.host, reason: refused?.message },
        'a connection was refused',
      );
      return refuseUpgrade(socket, refused?.status ?? 400, refused?.message ?? '');
    }
    if (url.pathname === '/api') {
      sockets.handleUpgrade(request, socket, head, (ws) => {
        sockets.emit('connection', ws, request);
        serveApi(ws, options);
      });
      return;
    }
    const id = vmIdSchema.safeParse(/^\/viewer\/([^/]+)$/.exec(url.pathname)?.[1]);
    if (!id.success) return refuseUpgrade(socket, 404, 'Not found');
    // The VM process completes the handshake; nothing of the connection may be read here.
    socket.pause();
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(request.headers)) {
      // The session is none of its business.
      if (value !== undefined && name !== 'cookie') headers[name] = Array.isArray(value) ? value.join(', ') : value;
    }
    if (!options.openViewer(id.data, { headers, head: head.toString('base64') }, socket))
      refuseUpgrade(socket, 409, 'The machine is not running');
  });

  // A connection that died without a word (a laptop that was closed) is noticed by its silence.
  const unanswered = new WeakSet<WebSocket>();
  sockets.on('connection', (ws) => ws.on('pong', () => unanswered.delete(ws)));
  const pings = setInterval(() => {
    for (const ws of sockets.clients) {
      if (unanswered.has(ws)) ws.terminate();
      unanswered.add(ws);
      ws.ping();
    }
  }, PING_MS);
  pings.unref();

  const shown = options.host === '0.0.0.0' || options.host === '::' ? '127.0.0.1' : options.host;
  const authority = shown.includes(':') ? `[${shown}]:${port}` : `${shown}:${port}`;
  return {
    port,
    url: `http://${authority}/?token=${options.token}`,
    close: async () => {
      clearInterval(pings);
      for (const ws of sockets.clients) ws.close(1001, 'Lodge is closing');
      // Connections that went to VM processes are still counted by the server and are not waited for.
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      let timer: NodeJS.Timeout | undefined;
      const limit = new Promise<void>((resolve) => (timer = setTimeout(resolve, 500)));
      await Promise.race([closed, limit]);
      clearTimeout(timer);
      for (const ws of sockets.clients) ws.terminate();
    },
  };
}

function serveApi(ws: WebSocket, options: WebServerOptions): void {
  const rpc = createBirpc<
    { event(event: LodgeEvent): void },
    { call(name: unknown, input: unknown): Promise<CallResult<unknown>> }
  >(
    { call: (name, input) => options.call(name, input) },
    {
      post: (data: string) => {
        if (ws.readyState !== ws.OPEN) return;
        if (ws.bufferedAmount > MAX_BACKLOG_BYTES) ws.terminate();
        else ws.send(data);
      },
      on: (receive) => void ws.on('message', (data, binary) => (binary ? ws.close(1003) : void receive(String(data)))),
      serialize: (value) => JSON.stringify(value),
      deserialize: (text: string) => {
        const message = JSON.parse(text) as { t?: unknown; m?: unknown; a?: unknown } | null;
        // birpc trusts its peer; this one is not to be trusted.
        if (typeof message !== 'object' || message === null || (message.t === 'q' && !Array.isArray(message.a)))
          throw new Error('not a message');
        return message;
      },
      resolver: (name, fn) => (name === 'call' ? fn : undefined),
      eventNames: ['event'],
      onGeneralError: () => {
        ws.close(1007);
        return true;
      },
    },
  );
  const subscription = options.subscribe((event) => void rpc.event(event));
  ws.on('error', () => ws.terminate());
  ws.on('close', () => {
    subscription.dispose();
    rpc.$close();
  });
}

/** The port that was free; a taken one becomes an error with a way out. */
async function listen(server: Server, { host, port, portTries }: WebServerOptions): Promise<number> {
  for (let n = 0; ; n++) {
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(port === 0 ? 0 : port + n, host, () => {
          server.off('error', reject);
          resolve();
        });
      });
      return (server.address() as AddressInfo).port;
    } catch (e) {
      const { code, message } = e as NodeJS.ErrnoException;
      if (code === 'EADDRINUSE' && n < portTries && port + n < 65535) continue;
      if (code === 'EADDRINUSE') {
        throw new LodgeError({
          code: 'portInUse',
          message: `Port ${port} is used by another program.`,
          fix: 'Use --port 0 for any free port, or name another one with --port.',
          detail: message,
        });
      }
      if (code === 'EACCES')
        throw new LodgeError({
          code: 'permissionDenied',
          message: `Port ${port} may not be used.`,
          fix: 'Use a port above 1023, for example --port 0 for any free one.',
          detail: message,
        });
      throw new LodgeError({
        code: 'invalidInput',
        message: `Lodge cannot listen on ${host}.`,
        fix: 'Give an address of this computer with --host, or leave it out.',
        detail: message,
      });
    }
  }
}

const UPLOAD_STATUS: Partial<Record<ErrorCode, number>> = {
  invalidInput: 400,
  fileInvalid: 422,
  insufficientSpace: 507,
  permissionDenied: 403,
};

function parseUrl(request: IncomingMessage): URL | undefined {
  try {
    return request.url?.startsWith('/') ? new URL(`http://lodge.invalid${request.url}`) : undefined;
  } catch {
    return undefined;
  }
}

function reply(response: ServerResponse, status: number, text: string): void {
  response.statusCode = status;
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.end(text);
}

function json(response: ServerResponse, status: number, value: unknown): void {
  if (response.headersSent || response.destroyed) return;
  response.statusCode = status;
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(value));
}

function refuseUpgrade(socket: Duplex, status: number, message: string): void {
  const body = `${message}\n`;
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

/** The page's assets carry a hash in their name; the page itself is asked for anew each time. */
function cachePolicy(response: ServerResponse, path: string): void {
  response.setHeader(
    'Cache-Control',
    /^\/assets\/.+-[\w-]{8,}\.\w+$/.test(path) ? 'public, max-age=31536000, immutable' : 'no-cache',
  );
}
