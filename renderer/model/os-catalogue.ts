import { parseCatalogue } from './catalogue';

/** Built into the page; a build without the file gets the two entries everybody needs. */
const files = import.meta.glob<unknown>('../../resources/catalogue/os.json', { eager: true, import: 'default' });
export const catalogue = parseCatalogue(Object.values(files)[0]);
