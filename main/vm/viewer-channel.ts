/** The pipe to one viewer, whatever it is made of: an Electron MessagePort or a WebSocket. */
import type { Socket } from 'node:net';
import type { IncomingMessage } from 'node:http';
import { WebSocket, WebSocketServer } from 'ws';
import type { Disposable } from '../lib/disposable';
import type { Timers } from './display-hub';

/** A viewer's longest legal message is 64 KiB of pasted text as JSON; six times that covers its worst escaping. */
export const MESSAGE_BYTES_MAX = 6 * 65536 + 1024;
const WS_POLICY_VIOLATION = 1008;
const WS_TRY_AGAIN = 1013;
export const PING_MS = 30_000;

export interface ViewerChannel {
  sendText(text: string): void;
  sendBinary(bytes: Uint8Array): void;
  /** Bytes accepted and not yet gone; 0 where the transport does not tell. */
  readonly buffered: number;
  /** Text only; anything else, or too much of it, arrives as undefined. */
  onMessage(listener: (text: string | undefined) => void): void;
  onClose(listener: () => void): void;
  close(why: 'misbehaved' | 'tooSlow' | 'done'): void;
}

/** What is used of Electron's MessagePortMain. */
export interface MessagePortLike {
  on(event: 'message', listener: (event: { data: unknown }) => void): unknown;
  on(event: 'close', listener: () => void): unknown;
  start(): void;
  postMessage(message: unknown): void;
  close(): void;
}

export function portChannel(port: MessagePortLike): ViewerChannel {
  let open = true;
  const closed: (() => void)[] = [];
  const end = (): void => {
    if (!open) return;
    open = false;
    for (const listener of closed) listener();
  };
  port.on('close', end);
  return {
    buffered: 0,
    sendText: (text) => {
      if (open) port.postMessage(text);
    },
    sendBinary: (bytes) => {
      if (open) port.postMessage(bytes);
    },
    onMessage: (listener) => {
      port.on('message', ({ data }) => listener(typeof data === 'string' && data.length <= MESSAGE_BYTES_MAX ? data : undefined));
      port.start();
    },
    onClose: (listener) => closed.push(listener),
    close: () => {
      port.close();
      end();
    },
  };
}

export interface UpgradeRequest {
  readonly headers: Readonly<Record<string, string>>;
  /** Bytes that came behind the request already, base64. */
  readonly head: string;
}

/**
 * Completes a WebSocket handshake on a socket another process accepted. Who may connect was decided there; this end only speaks
 * the protocol. A malformed request is answered and closed by ws, and `onChannel` is not called.
 */
export class SocketUpgrader {
  private readonly server = new WebSocketServer({ noServer: true, maxPayload: MESSAGE_BYTES_MAX, perMessageDeflate: false });
  private readonly unanswered = new WeakSet<WebSocket>();
  private pings: Disposable | undefined;

  constructor(private readonly timers: Timers) {}

  upgrade(socket: Socket, request: UpgradeRequest, onChannel: (channel: ViewerChannel) => void): void {
    const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name.toLowerCase(), value]));
    const incoming = { method: 'GET', url: '/', headers, socket } as unknown as IncomingMessage;
    this.server.handleUpgrade(incoming, socket, Buffer.from(request.head, 'base64'), (ws) => {
      ws.on('pong', () => this.unanswered.delete(ws));
      this.pings ??= this.timers.set(() => this.ping(), PING_MS);
      onChannel(socketChannel(ws));
    });
  }

  close(): void {
    this.pings?.dispose();
    for (const client of this.server.clients) client.terminate();
    this.server.close();
  }

  /** A viewer that vanished without a word (a laptop that was closed) is noticed by its silence; the keys it held come up then. */
  private ping(): void {
    for (const ws of this.server.clients) {
      if (this.unanswered.has(ws)) ws.terminate();
      this.unanswered.add(ws);
      ws.ping();
    }
    this.pings = this.timers.set(() => this.ping(), PING_MS);
  }
}

export function socketChannel(ws: WebSocket): ViewerChannel {
  // A protocol error is followed by 'close'; nothing else to do about it.
  ws.on('error', () => undefined);
  return {
    get buffered() {
      return ws.bufferedAmount;
    },
    sendText: (text) => {
      if (ws.readyState === WebSocket.OPEN) ws.send(text);
    },
    sendBinary: (bytes) => {
      if (ws.readyState === WebSocket.OPEN) ws.send(bytes, { binary: true });
    },
    onMessage: (listener) => {
      ws.on('message', (data, isBinary) => listener(isBinary ? undefined : (data as Buffer).toString('utf8')));
    },
    onClose: (listener) => {
      ws.on('close', () => listener());
    },
    close: (why) => {
      if (why === 'misbehaved') ws.close(WS_POLICY_VIOLATION, 'message not understood');
      else if (why === 'tooSlow') ws.close(WS_TRY_AGAIN, 'too slow');
      else ws.close(1000);
      // A peer that does not answer the closing handshake is cut off by ws itself after 30 s.
    },
  };
}
