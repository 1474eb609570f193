import { createStore } from 'zustand/vanilla';
import type { Host } from '../model/types';

export const createHostStore = () => createStore<{ host: Host | null }>()(() => ({ host: null }));
