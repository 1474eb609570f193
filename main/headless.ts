/** `lodge serve`: the services behind an HTTP and WebSocket server and the control socket. Wiring only. */
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { LodgeError } from '../preload/contract';
import { createLogger, type Logger } from './lib/log';
import type { AppLayout, DataPaths } from './lib/paths';
import type { Spawner } from './process/channel';
import { nodeSpawner } from './process/node-spawner';
import { bind } from './rpc/bind';
import { lodgeHandlers } from './rpc/handlers';
import { listenLocal } from './rpc/local-socket';
import { newToken } from './rpc/web/security';
import { startWebServer } from './rpc/web/server';
import { Lodge } from './services/lodge';
import { receiveUpload } from './services/uploads';
import { inspectImage } from './storage/inspect';

/** Not registered for anything common; the next ones are tried when it is taken and none was asked for. */
export const DEFAULT_PORT = 8470;
const PORT_TRIES = 20;

export interface ServeOptions {
  readonly host: string;
  /** Undefined: the default, or the next free one. */
  readonly port: number | undefined;
  readonly paths: DataPaths;
  readonly layout: AppLayout;
  /** For tests. */
  readonly spawn?: Spawner;
  readonly token?: string;
  readonly log?: Logger;
}

export interface Serving {
  readonly url: string;
  readonly port: number;
  readonly notices: string[];
  readonly lodge: Lodge;
  /** Ends running machines with their disks flushed, then everything else. */
  close(): Promise<void>;
}

export async function serve(options: ServeOptions): Promise<Serving> {
  const { paths, layout } = options;
  if (!existsSync(join(layout.renderer, 'index.html'))) {
    throw new LodgeError({
      code: 'fileMissing',
      message: 'Lodge’s pages are not built.',
      fix: 'Run `npm run build` (or `npm start`) first.',
      detail: layout.renderer,
    });
  }
  const log = options.log ?? (await createLogger({ file: paths.logFile }));

  // The socket first: it is what keeps two Lodges off one data folder. Calls wait until the library is open.
  let open!: (call: ReturnType<typeof bind>) => void;
  const opened = new Promise<ReturnType<typeof bind>>((resolve) => (open = resolve));
  const local = await listenLocal(paths.instanceDir, { kind: 'server' }, async (name, input) => (await opened)(name, input));
  try {
    const lodge = await Lodge.open({
      paths,
      layout,
      mode: 'server',
      spawn: options.spawn ?? nodeSpawner(layout.vmEntry),
      inspectImage,
      log,
    });
    const call = bind(lodgeHandlers(lodge), log);
    open(call);
    const web = await startWebServer({
      host: options.host,
      port: options.port ?? DEFAULT_PORT,
      portTries: options.port === undefined ? PORT_TRIES : 0,
      token: options.token ?? newToken(),
      page: layout.renderer,
      names: [options.host.toLowerCase(), hostname().toLowerCase()],
      call,
      subscribe: (listener) => lodge.hub.subscribe(listener),
      openViewer: (id, request, socket) => lodge.machines.openViewer(id, request, socket),
      upload: (source, name, announced) => receiveUpload(source, { vmFolder: lodge.preferences.vmFolder, name, announced }),
      log,
    }).catch(async (e: unknown) => {
      await lodge.close();
      throw e;
    });
    log.info({ port: web.port, host: options.host }, 'serving');
    return {
      url: web.url,
      port: web.port,
      notices: [...lodge.notices, ...lodge.machines.broken().map((b) => b.message)],
      lodge,
      close: async () => {
        await Promise.all([web.close(), lodge.close()]);
        await local.close();
        log.info({}, 'closed');
      },
    };
  } catch (e) {
    await local.close();
    throw e;
  }
}
