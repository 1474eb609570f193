/**
 * Where Lodge keeps things. One data folder holds preferences and the library's bookkeeping; machines live in the VM
 * folder, which the user may move; sockets and locks live in a runtime folder that does not survive a reboot.
 */
import { createHash } from 'node:crypto';
import { homedir, tmpdir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';

export interface DataPaths {
  readonly dataDir: string;
  readonly preferencesFile: string;
  readonly libraryFile: string;
  readonly logFile: string;
  /** For machines, until the user chooses another place. */
  readonly defaultVmFolder: string;
  /** Per user, not per data folder: image locks must hold between all Lodges of a user. */
  readonly runtimeDir: string;
  readonly lockDir: string;
  /** Sockets of the Lodges that serve this data folder. */
  readonly instanceDir: string;
}

type Env = Readonly<Record<string, string | undefined>>;

export interface PathInputs {
  /** --data. */
  dataDir?: string | undefined;
  env?: Env;
  platform?: NodeJS.Platform;
  home?: string;
}

/** XDG says that relative values are to be ignored. */
const absolute = (value: string | undefined): string | undefined => (value?.startsWith('/') ? value : undefined);

export function dataPaths(inputs: PathInputs = {}): DataPaths {
  const env = inputs.env ?? process.env;
  const platform = inputs.platform ?? process.platform;
  const home = inputs.home ?? homedir();
  const chosen = inputs.dataDir ?? (env['LODGE_DATA_DIR'] || undefined);

  let dataDir: string;
  let defaultVmFolder: string;
  if (chosen !== undefined) {
    dataDir = resolve(chosen);
    defaultVmFolder = join(dataDir, 'machines');
  } else if (platform === 'darwin') {
    dataDir = join(home, 'Library', 'Application Support', 'Lodge');
    defaultVmFolder = join(dataDir, 'machines');
  } else if (platform === 'win32') {
    dataDir = join(env['APPDATA'] ?? join(home, 'AppData', 'Roaming'), 'Lodge');
    defaultVmFolder = join(env['LOCALAPPDATA'] ?? join(home, 'AppData', 'Local'), 'Lodge', 'machines');
  } else {
    dataDir = join(absolute(env['XDG_CONFIG_HOME']) ?? join(home, '.config'), 'lodge');
    defaultVmFolder = join(absolute(env['XDG_DATA_HOME']) ?? join(home, '.local', 'share'), 'lodge', 'machines');
  }

  // Socket paths are limited to about 100 bytes, so the data folder enters as a short hash.
  const user = platform === 'win32' ? userInfo().username : String(process.getuid?.() ?? 0);
  const runtimeDir =
    absolute(env['XDG_RUNTIME_DIR']) !== undefined ? join(env['XDG_RUNTIME_DIR']!, 'lodge') : join(tmpdir(), `lodge-${user}`);
  return {
    dataDir,
    preferencesFile: join(dataDir, 'preferences.json'),
    libraryFile: join(dataDir, 'library.json'),
    logFile: join(dataDir, 'lodge.log'),
    defaultVmFolder,
    runtimeDir,
    lockDir: join(runtimeDir, 'locks'),
    instanceDir: join(runtimeDir, createHash('sha256').update(dataDir).digest('hex').slice(0, 12)),
  };
}

/** The parts of an installed or built Lodge, found from the folder of the running bundle (out/main). */
export interface AppLayout {
  readonly vmEntry: string;
  readonly addon: string;
  readonly renderer: string;
  /** Our own guest, a Linux-boot image. */
  readonly builtinGuest: string;
  readonly version: string;
}

export function appLayout(bundleDir: string, version: string, env: Env = process.env): AppLayout {
  // Native code, and what a process without Electron's file system opens, must lie outside the archive of a packaged app.
  const out = join(bundleDir.replace(/app\.asar(?=[\\/]|$)/, 'app.asar.unpacked'), '..');
  return {
    vmEntry: env['LODGE_VM_ENTRY'] ?? join(bundleDir, 'vm.cjs'),
    addon: env['LODGE_ADDON'] ?? join(out, 'native', 'lodge.node'),
    renderer: join(bundleDir, '..', 'renderer'),
    builtinGuest: join(out, 'guest', 'lodge-guest.bin'),
    version,
  };
}
