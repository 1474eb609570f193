/**
 * Files that an image names: parents and parts. An image may come from anywhere, so what it names must lie in its own folder
 * (symbolic links followed), unless the caller allows more.
 */
import { realpath } from 'node:fs/promises';
import { dirname, isAbsolute, relative, resolve, sep } from 'node:path';
import { ImageError, imageErrorOf } from '../image-error';

/** 'folder': inside the folder of the image that names them; a list: these too; 'any': wherever they are. */
export type RelatedFiles = 'folder' | 'any' | readonly string[];

export async function relatedPath(image: string, name: string, allowed: RelatedFiles): Promise<string> {
  if (/^[a-z][a-z0-9+.-]+:/i.test(name) && !/^file:/i.test(name)) {
    throw new ImageError(
      'fileInvalid',
      `${image} is built on something that is not a file here: ${printable(name)}`,
      'Convert it to a stand-alone image where it was made.',
    );
  }
  const plain = name.replace(/^file:/i, '');
  let folder: string;
  let real: string;
  const wanted = isAbsolute(plain) ? plain : resolve(dirname(image), plain);
  try {
    const own = await realpath(image);
    folder = dirname(own);
    real = await realpath(isAbsolute(plain) ? plain : resolve(folder, plain));
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new ImageError(
        'fileMissing',
        `${image} needs ${printable(wanted)}, which does not exist.`,
        'Put that file back where it was.',
        { cause: e },
      );
    }
    throw imageErrorOf(e, wanted);
  }
  const rest = relative(folder, real);
  const inside = rest !== '' && rest !== '..' && !rest.startsWith(`..${sep}`) && !isAbsolute(rest);
  if (inside || allowed === 'any') return real;
  for (const path of allowed === 'folder' ? [] : allowed) if ((await realpath(path).catch(() => undefined)) === real) return real;
  throw new ImageError(
    'permissionDenied',
    `${image} is built on ${printable(wanted)}, which is outside its folder.`,
    'An image from elsewhere could name any file of yours this way. If it is right, move or copy both into one folder.',
  );
}

const printable = (text: string): string => text.replace(/[\u0000-\u001f\u007f]/g, '?').slice(0, 300);
