/** What a browser or an Electron window keeps between visits: how a screen is scaled, which media were used. */
import { createStore } from 'zustand/vanilla';
import { SCALE_MODES, type ScaleMode } from '../model/scale';
import { addRecent } from '../model/storage';

const SCALE = 'lodge.scale.';
const MEDIA = 'lodge.recentMedia';

export interface KeptState {
  /** By machine and monitor; absent: automatic. */
  scales: Readonly<Record<string, ScaleMode>>;
  /** Images that were put into drives, newest first. */
  media: readonly string[];
  setScale(key: string, mode: ScaleMode): void;
  usedMedium(path: string): void;
  forgetMedium(path: string): void;
}

/** Without a storage (a private window may refuse it) it lasts as long as the page. */
export function createKeptStore(storage: Storage | undefined = browserStorage()) {
  const write = (key: string, value: string): void => {
    try {
      storage?.setItem(key, value);
    } catch {
      // Full or refused: only this page knows then.
    }
  };
  const store = createStore<KeptState>()((set, get) => {
    const setMedia = (media: readonly string[]): void => {
      set({ media });
      write(MEDIA, JSON.stringify(media));
    };
    return {
      ...read(storage),
      setScale: (key, mode) => {
        set((s) => ({ scales: { ...s.scales, [key]: mode } }));
        write(SCALE + key, mode);
      },
      usedMedium: (path) => setMedia(addRecent(get().media, path)),
      forgetMedium: (path) => setMedia(get().media.filter((p) => p !== path)),
    };
  });
  /** Another window of the same browser changed something. */
  const follow = (e: StorageEvent): void => {
    if (e.key === null || e.key === MEDIA || e.key.startsWith(SCALE)) store.setState(read(storage));
  };
  if (typeof window !== 'undefined') window.addEventListener('storage', follow);
  return Object.assign(store, {
    dispose: () => {
      if (typeof window !== 'undefined') window.removeEventListener('storage', follow);
    },
  });
}

function browserStorage(): Storage | undefined {
  try {
    return globalThis.localStorage;
  } catch {
    return undefined;
  }
}

function read(storage: Storage | undefined): Pick<KeptState, 'scales' | 'media'> {
  const scales: Record<string, ScaleMode> = {};
  let media: string[] = [];
  for (let i = 0; storage !== undefined && i < storage.length; i++) {
    const key = storage.key(i)!;
    const mode = SCALE_MODES.find((m) => m === storage.getItem(key));
    if (key.startsWith(SCALE) && mode !== undefined) scales[key.slice(SCALE.length)] = mode;
  }
  try {
    const stored: unknown = JSON.parse(storage?.getItem(MEDIA) ?? '[]');
    if (Array.isArray(stored))
      media = stored.filter((p): p is string => typeof p === 'string').reduceRight<string[]>(addRecent, []);
  } catch {
    // Not ours any more: begin again.
  }
  return { scales, media };
}

/** What suits a laptop panel does not suit a projector. */
export const scaleKey = (vmId: string, screen: { width: number; height: number }): string =>
  `${vmId}.${screen.width}x${screen.height}`;
