/** The command line of the app: `lodge-app [--data FOLDER] [image…]`, among Chromium's own switches. */
import { isAbsolute, resolve } from 'node:path';

export interface AppArguments {
  readonly dataDir: string | undefined;
  /** Image files to make machines from (file associations put them here). */
  readonly images: string[];
}

/** File names of images; what is in them is looked at later. */
export const IMAGE_EXTENSIONS = ['iso', 'img', 'raw', 'qcow2', 'vdi', 'vmdk', 'vhd', 'vhdx'];
const IMAGE = new RegExp(`\\.(${IMAGE_EXTENSIONS.join('|')})$`, 'i');

/** `argv` after the executable and, in development, the application's folder. */
export function parseArguments(argv: readonly string[], workingDirectory: string): AppArguments {
  let dataDir: string | undefined;
  const images: string[] = [];
  const absolute = (path: string): string => (isAbsolute(path) ? path : resolve(workingDirectory, path));
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i]!;
    if (arg === '--data') {
      const value = argv[++i];
      if (value !== undefined) dataDir = absolute(value);
    } else if (arg.startsWith('--data=')) dataDir = absolute(arg.slice('--data='.length));
    else if (!arg.startsWith('-') && IMAGE.test(arg)) images.push(absolute(arg));
  }
  return { dataDir, images };
}

/** The library's route for a new machine from this image. */
export const newMachineRoute = (image: string): string => `/new?${new URLSearchParams({ image }).toString()}`;
