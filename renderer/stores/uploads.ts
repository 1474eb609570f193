import { createStore } from 'zustand/vanilla';
import type { Transport } from '../api';

export interface Upload {
  readonly id: number;
  readonly name: string;
  readonly sent: number;
  readonly total: number;
  cancel(): void;
}

export interface UploadState {
  active: readonly Upload[];
  /** Path of the file on the host; null when the user cancelled. Throws a LodgeError when it cannot be had. */
  resolve(file: File): Promise<string | null>;
}

let nextId = 1;

export const createUploadStore = (transport: Transport) =>
  createStore<UploadState>()((set) => ({
    active: [],
    resolve: async (file) => {
      if (transport.kind === 'electron') return transport.pathForFile(file);
      const id = nextId++;
      const controller = new AbortController();
      const entry: Upload = { id, name: file.name, sent: 0, total: file.size, cancel: () => controller.abort() };
      set((s) => ({ active: [...s.active, entry] }));
      try {
        return await transport.pathForFile(file, {
          signal: controller.signal,
          onProgress: (sent, total) => set((s) => ({ active: s.active.map((u) => (u.id === id ? { ...u, sent, total } : u)) })),
        });
      } catch (e) {
        if (controller.signal.aborted) return null;
        throw e;
      } finally {
        set((s) => ({ active: s.active.filter((u) => u.id !== id) }));
      }
    },
  }));
