import { createStore } from 'zustand/vanilla';

/** What the user looks at, as opposed to what is true: never sent anywhere. */
export interface LibraryState {
  search: string;
  selected: string | null;
  /** Whose settings are open. */
  editing: string | null;
  setSearch(search: string): void;
  select(id: string | null): void;
  edit(id: string | null): void;
}

export const createLibraryStore = () =>
  createStore<LibraryState>()((set) => ({
    search: '',
    selected: null,
    editing: null,
    setSearch: (search) => set({ search }),
    select: (selected) => set({ selected }),
    edit: (editing) => set({ editing }),
  }));
