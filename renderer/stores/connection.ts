import { createStore } from 'zustand/vanilla';
import type { LinkState } from '../api';
import { LodgeError } from '../model/types';

export interface ConnectionState {
  link: LinkState;
  /** A first snapshot has arrived. */
  ready: boolean;
  /** Why there is none. */
  error: LodgeError | null;
  failed(error: unknown): void;
}

export const createConnectionStore = () =>
  createStore<ConnectionState>()((set, get) => ({
    link: 'connecting',
    ready: false,
    error: null,
    // A call that dies with its link is the link's story, told by its state; anything else is shown.
    failed: (error) => set({ error: get().link === 'open' ? LodgeError.from(error) : null }),
  }));
