import { createStore } from 'zustand/vanilla';
import type { Api } from '../api';
import type { VmId } from '../model/types';

export interface ThumbnailState {
  byId: Readonly<Record<VmId, { readonly version: number; readonly url: string }>>;
  /** Fetches the picture when `version` is newer than the one held; one fetch a machine at a time. */
  want(id: VmId, version: number): void;
}

export const createThumbnailStore = (api: Api) => {
  const wanted = new Map<VmId, number>();
  const busy = new Set<VmId>();
  return createStore<ThumbnailState>()((set, get) => {
    const fetchOne = async (id: VmId): Promise<void> => {
      const version = wanted.get(id);
      if (version === undefined || busy.has(id)) return;
      busy.add(id);
      try {
        const { png } = await api.call('vm.screenshot', { id, thumbnail: true });
        set((s) => ({ byId: { ...s.byId, [id]: { version, url: `data:image/png;base64,${png}` } } }));
      } catch {
        // A picture that cannot be had is simply not shown; the next version is tried again.
      } finally {
        busy.delete(id);
      }
      if (wanted.get(id) === version) wanted.delete(id);
      else void fetchOne(id);
    };
    return {
      byId: {},
      want: (id, version) => {
        if (version <= 0 || get().byId[id]?.version === version || wanted.get(id) === version) return;
        wanted.set(id, version);
        void fetchOne(id);
      },
    };
  });
};
