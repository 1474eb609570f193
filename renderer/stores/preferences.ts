import { createStore } from 'zustand/vanilla';
import type { Api } from '../api';
import type { Preferences } from '../model/types';
import type { NoticeStore } from './notices';

export interface PreferencesState {
  preferences: Preferences | null;
  /** Shown at once; the service's answer, or its refusal, has the last word. Resolves to whether it was kept. */
  change(patch: Partial<Preferences>): Promise<boolean>;
}

export const createPreferencesStore = (api: Api, notices: NoticeStore) =>
  createStore<PreferencesState>()((set, get) => ({
    preferences: null,
    change: async (patch) => {
      const before = get().preferences;
      if (before !== null) set({ preferences: { ...before, ...patch } });
      try {
        set({ preferences: await api.call('preferences.set', patch) });
        return true;
      } catch (e) {
        set({ preferences: before });
        notices.getState().fail('Change preferences', e);
        return false;
      }
    },
  }));
