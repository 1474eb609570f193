/**
 * The served app. One WebSocket for calls and events (birpc, JSON), one for each viewer, PUT for uploads. Every request
 * carries the session cookie by itself: the page never sees the token.
 */
import { createBirpc, type BirpcReturn } from 'birpc';
import { LodgeError } from '../../preload/contract';
import type { LinkState, Transport, UploadOptions, ViewerHandlers, ViewerSocket } from './transport';

interface ServerFunctions {
  call(name: string, input: unknown): Promise<unknown>;
}
interface ClientFunctions {
  event(event: unknown): void;
}

/** Starting a machine may take long; a call that takes longer than this has lost its answer. */
const CALL_TIMEOUT_MS = 120_000;
const RECONNECT_MS = 400;
const RECONNECT_MAX_MS = 5000;

const socketUrl = (path: string): string => {
  const url = new URL(path, location.href);
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  return url.href;
};

export function websocketTransport(): Transport {
  const events = new Set<(event: unknown) => void>();
  const links = new Set<(state: LinkState) => void>();
  let state: LinkState = 'connecting';
  let socket: WebSocket | undefined;
  let rpc: BirpcReturn<ServerFunctions, ClientFunctions> | undefined;
  let wasOpen = false;
  let disposed = false;
  let delay = RECONNECT_MS;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const setState = (next: LinkState): void => {
    if (next === state) return;
    state = next;
    for (const l of [...links]) l(next);
  };

  const connect = (): void => {
    if (disposed) return;
    const ws = new WebSocket(socketUrl('/api'));
    socket = ws;
    let channel: BirpcReturn<ServerFunctions, ClientFunctions> | undefined;
    ws.addEventListener('open', () => {
      channel = createBirpc<ServerFunctions, ClientFunctions>(
        {
          event: (event) => {
            for (const l of [...events]) l(event);
          },
        },
        {
          post: (data: string) => ws.send(data),
          on: (listener) =>
            ws.addEventListener('message', (m: MessageEvent<unknown>) => typeof m.data === 'string' && listener(m.data)),
          serialize: (value) => JSON.stringify(value),
          deserialize: (text: string) => JSON.parse(text) as unknown,
          timeout: CALL_TIMEOUT_MS,
        },
      );
      rpc = channel;
      wasOpen = true;
      delay = RECONNECT_MS;
      setState('open');
    });
    ws.addEventListener('close', () => {
      if (socket !== ws) return;
      channel?.$close(new Error('The connection to Lodge was lost.'));
      rpc = undefined;
      void afterClose(channel !== undefined);
    });
  };

  /** A refused upgrade looks like a dead server to a page; asking over HTTP tells them apart. */
  const afterClose = async (attemptOpened: boolean): Promise<void> => {
    if (disposed) return;
    setState(wasOpen ? 'lost' : 'connecting');
    const refused = !attemptOpened && (await answersHttp());
    if (disposed) return;
    if (refused) {
      setState('refused');
      return;
    }
    timer = setTimeout(connect, delay);
    delay = Math.min(RECONNECT_MAX_MS, delay * 2);
  };

  connect();
  return {
    kind: 'server',
    platform: 'browser',
    call: (name, input) => (rpc === undefined ? Promise.reject(new Error('not connected')) : rpc.call(name, input)),
    onEvent: (listener) => {
      events.add(listener);
      return () => events.delete(listener);
    },
    onLink: (listener) => {
      links.add(listener);
      listener(state);
      return () => links.delete(listener);
    },
    openViewer,
    openVmWindow: () => false,
    pathForFile: upload,
    dispose: () => {
      disposed = true;
      clearTimeout(timer);
      socket?.close();
      events.clear();
      links.clear();
    },
  };
}

/** A server that serves pages but not its socket refuses us, whatever words it has for it. */
async function answersHttp(): Promise<boolean> {
  try {
    return (await fetch(new URL('/api', location.href), { cache: 'no-store', credentials: 'same-origin' })).status < 500;
  } catch {
    return false;
  }
}

function openViewer(vmId: string, handlers: ViewerHandlers): ViewerSocket {
  const ws = new WebSocket(socketUrl(`/viewer/${encodeURIComponent(vmId)}`));
  ws.binaryType = 'arraybuffer';
  let closed = false;
  ws.addEventListener('open', () => !closed && handlers.onOpen());
  ws.addEventListener('message', (m: MessageEvent<unknown>) => {
    if (closed) return;
    if (typeof m.data === 'string') handlers.onText(m.data);
    else if (m.data instanceof ArrayBuffer) handlers.onBinary(m.data);
  });
  ws.addEventListener('close', () => {
    if (closed) return;
    closed = true;
    handlers.onClose();
  });
  return {
    send: (message) => {
      if (ws.readyState === WebSocket.OPEN) ws.send(JSON.stringify(message));
    },
    close: () => {
      closed = true;
      ws.close();
    },
  };
}

/** XMLHttpRequest, because fetch reports no upload progress. */
function upload(file: File, options: UploadOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const fail = (message: string, detail?: string): void =>
      reject(
        new LodgeError({
          code: 'fileMissing',
          message,
          fix: 'Try again, or copy the file to the host yourself and choose it there.',
          ...(detail !== undefined && { detail }),
        }),
      );
    request.open('PUT', `/upload?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader('Content-Type', 'application/octet-stream');
    request.upload.onprogress = (e) => options.onProgress?.(e.loaded, file.size);
    request.onload = () => {
      const reply = parseUploadReply(request.responseText);
      if (reply.path !== undefined && request.status < 300) resolve(reply.path);
      else if (reply.error !== undefined) reject(LodgeError.from(reply.error));
      else fail(`“${file.name}” could not be uploaded.`, `HTTP ${request.status} ${request.responseText.slice(0, 500)}`);
    };
    request.onerror = () => fail(`The upload of “${file.name}” broke off.`);
    request.onabort = () => reject(new DOMException('cancelled', 'AbortError'));
    if (options.signal?.aborted === true) {
      reject(new DOMException('cancelled', 'AbortError'));
      return;
    }
    options.signal?.addEventListener('abort', () => request.abort(), { once: true });
    request.send(file);
  });
}

/** The reply is a call result around `{path}`, or the bare object. */
export function parseUploadReply(text: string): { path?: string; error?: unknown } {
  let reply: unknown;
  try {
    reply = JSON.parse(text);
  } catch {
    return {};
  }
  if (typeof reply !== 'object' || reply === null) return {};
  const { ok, value, error, path } = reply as { ok?: unknown; value?: unknown; error?: unknown; path?: unknown };
  if (ok === false || error !== undefined) return { error };
  const inner = typeof value === 'object' && value !== null ? (value as { path?: unknown }).path : path;
  return typeof inner === 'string' && inner !== '' ? { path: inner } : {};
}
