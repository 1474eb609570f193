import { HostIoError } from '../backend/block';

/** Why an image file cannot be opened or made, in words for the user. Codes are those of the contract's errors. */
export class ImageError extends Error {
  override readonly name = 'ImageError';
  constructor(
    readonly code: 'fileMissing' | 'fileInvalid' | 'permissionDenied' | 'insufficientSpace' | 'nameTaken' | 'internal',
    message: string,
    readonly fix?: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** What failed for want of space in a file nobody chose by name is told of the one that was asked for. */
export function spaceErrorOf(error: unknown, path: string): unknown {
  const space =
    error instanceof ImageError ? error.code === 'insufficientSpace' : error instanceof HostIoError && error.kind === 'noSpace';
  return space ? imageErrorOf(Object.assign(new Error('', { cause: error }), { code: 'ENOSPC' }), path) : error;
}

/** A failed open or create → ImageError. */
export function imageErrorOf(error: unknown, path: string): ImageError {
  if (error instanceof ImageError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  const cause = { cause: error };
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new ImageError('fileMissing', `${path} does not exist.`, 'Choose another file, or put it back where it was.', cause);
    case 'EACCES':
    case 'EPERM':
      return new ImageError(
        'permissionDenied',
        `${path} may not be opened.`,
        'Change the permissions of the file, or attach it read-only.',
        cause,
      );
    case 'EROFS':
      return new ImageError(
        'permissionDenied',
        `${path} is on a read-only file system.`,
        'Attach it read-only, or copy it elsewhere.',
        cause,
      );
    case 'EISDIR':
      return new ImageError('fileInvalid', `${path} is a folder.`, 'Choose an image file inside it.', cause);
    case 'EEXIST':
      return new ImageError('nameTaken', `${path} exists already.`, 'Choose another name.', cause);
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
      return new ImageError(
        'insufficientSpace',
        `There is not enough space for ${path}.`,
        'Free some space, or choose another folder.',
        cause,
      );
    default:
      return new ImageError('internal', `${path} could not be opened: ${message}`, undefined, cause);
  }
}
