import { createStore } from 'zustand/vanilla';
import { LodgeError, type LodgeErrorData } from '../model/types';

export interface Notice {
  readonly id: number;
  readonly level: 'info' | 'warning' | 'error';
  readonly message: string;
  /** A button beside the words. */
  readonly action?: { readonly label: string; run(): void };
}

/** An error that wants an answer: it stays until it is closed, and offers the ways out it has. */
export interface Failure {
  readonly id: number;
  /** What was being done: "Start “Debian 12”". */
  readonly context: string;
  readonly error: LodgeErrorData;
  readonly vmId?: string;
  readonly retry?: () => void;
}

export interface NoticeState {
  /** From the snapshot: things that are true since start-up, until dismissed. */
  standing: readonly string[];
  dismissed: readonly string[];
  toasts: readonly Notice[];
  failure: Failure | null;
  setStanding(notices: readonly string[]): void;
  dismissStanding(notice: string): void;
  say(level: Notice['level'], message: string, action?: Notice['action']): void;
  taken(id: number): void;
  fail(context: string, error: unknown, options?: { vmId?: string; retry?: () => void }): void;
  closeFailure(): void;
}

let nextId = 1;

export const createNoticeStore = () =>
  createStore<NoticeState>()((set) => ({
    standing: [],
    dismissed: [],
    toasts: [],
    failure: null,
    setStanding: (standing) => set({ standing }),
    dismissStanding: (notice) => set((s) => ({ dismissed: [...s.dismissed, notice] })),
    say: (level, message, action) =>
      set((s) => ({ toasts: [...s.toasts, { id: nextId++, level, message, ...(action !== undefined && { action }) }] })),
    taken: (id) => set((s) => ({ toasts: s.toasts.filter((t) => t.id !== id) })),
    fail: (context, error, options = {}) =>
      set({
        failure: {
          id: nextId++,
          context,
          error: LodgeError.from(error).toData(),
          ...(options.vmId !== undefined && { vmId: options.vmId }),
          ...(options.retry !== undefined && { retry: options.retry }),
        },
      }),
    closeFailure: () => set({ failure: null }),
  }));

export type NoticeStore = ReturnType<typeof createNoticeStore>;
