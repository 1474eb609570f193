import type { Lodge } from '../../stores';

/** The settings dialog is one per page and is shown for the machine named in the library store. */
export const openSettings = (lodge: Lodge, id: string): void => lodge.library.getState().edit(id);
