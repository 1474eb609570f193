/** External firmware from the host: a BIOS image, or UEFI code with its variable store, which lives in a file of the machine's own. */
import { access, copyFile, open, readFile, rename, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { LodgeError } from '../../preload/contract/errors';

/** What a machine says of it. `variables`: the file of UEFI's settings; without it they are forgotten. */
export interface FirmwareFiles {
  readonly image: string;
  readonly variables?: string | undefined;
}

export interface FirmwareImage {
  /** Ends at 4 GiB. */
  readonly code: Uint8Array;
  /** UEFI: lies in front of the code. */
  readonly variables?: VariableStore;
  /** For a BIOS that has none of its own for the display. */
  readonly vgaRom?: Uint8Array;
}

/** From FF00 0000 to 4 GiB there is nothing else. */
const MAX_IMAGE_BYTES = 16 << 20;
const PAGE_BYTES = 4096;
const WRITE_DELAY_MS = 200;
/** UEFI PI 1.7 vol. 3 §3.2: firmware volume header. */
const VOLUME_GUID_AT = 16;
const VOLUME_LENGTH_AT = 32;
const VOLUME_SIGNATURE_AT = 40;
/** EFI_SYSTEM_NV_DATA_FV_GUID as it lies in memory. */
const VARIABLE_VOLUME = '8d2bf1ff96768b4ca9852747075b4f50';
const VGA_ROM = 'vgabios-stdvga.bin';

/** Flash contents that outlive the machine. Without a file, they are gone with it. */
export class VariableStore {
  private dirtyFrom = Infinity;
  private dirtyTo = 0;
  private timer: NodeJS.Timeout | undefined;
  private writing: Promise<void> = Promise.resolve();

  constructor(
    readonly contents: Uint8Array,
    private readonly file?: FileHandle,
    private readonly onError: (message: string) => void = () => undefined,
  ) {}

  changed(offset: number, bytes: number): void {
    if (!this.file) return;
    this.dirtyFrom = Math.min(this.dirtyFrom, offset);
    this.dirtyTo = Math.max(this.dirtyTo, offset + bytes);
    this.timer ??= setTimeout(() => void this.flush(), WRITE_DELAY_MS);
  }

  /** What changed before is in the file when this is done. */
  flush(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    const { file, dirtyFrom: from, dirtyTo: to } = this;
    if (!file || from >= to) return this.writing;
    this.dirtyFrom = Infinity;
    this.dirtyTo = 0;
    this.writing = this.writing.then(async () => {
      try {
        await file.write(this.contents, from, to - from, from);
      } catch (error) {
        this.onError(`The firmware’s settings could not be saved: ${(error as Error).message}`);
      }
    });
    return this.writing;
  }

  async close(): Promise<void> {
    await this.flush();
    await this.file?.close();
  }
}

export async function loadFirmware(boot: FirmwareFiles, onError: (message: string) => void): Promise<FirmwareImage> {
  const image = await readImage(boot.image);
  if (!isVolume(image)) {
    const vgaRom = await readFile(join(dirname(boot.image), VGA_ROM)).catch(() => undefined);
    return { code: image, ...(vgaRom && vgaRom.length <= 1 << 16 && { vgaRom }) };
  }
  // One file with both, or the code alone with a template of the variables beside it.
  if (isVariableVolume(image)) {
    const bytes = new DataView(image.buffer, image.byteOffset).getUint32(VOLUME_LENGTH_AT, true);
    if (bytes % PAGE_BYTES !== 0 || bytes >= image.length)
      throw invalid(boot.image, 'its variable store is larger than the image');
    const variables = await openVariables(image.slice(0, bytes), boot, undefined, onError);
    return { code: image.slice(bytes), variables };
  }
  const template = await findTemplate(boot.image);
  if (template === undefined && !(boot.variables !== undefined && (await exists(boot.variables)))) {
    throw new LodgeError({
      code: 'fileMissing',
      message: `${boot.image} is UEFI code without a variable store.`,
      fix: 'Put the file with its variables (OVMF_VARS…fd) beside it, or choose an image that holds both.',
    });
  }
  const contents = template === undefined ? undefined : await readImage(template);
  return { code: image, variables: await openVariables(contents, boot, template, onError) };
}

async function openVariables(
  template: Uint8Array | undefined,
  boot: FirmwareFiles,
  templatePath: string | undefined,
  onError: (message: string) => void,
): Promise<VariableStore> {
  const { variables: path } = boot;
  if (path === undefined) return new VariableStore(template!.slice());
  if (!(await exists(path))) {
    const fresh = `${path}.new`;
    if (templatePath !== undefined) await copyFile(templatePath, fresh);
    else await writeNew(fresh, template!);
    await rename(fresh, path);
  }
  let file: FileHandle;
  try {
    file = await open(path, 'r+');
  } catch (cause) {
    throw new LodgeError(
      {
        code: 'permissionDenied',
        message: `The firmware’s variable store ${path} cannot be opened.`,
        fix: 'Change its permissions, or delete it to start with a new one.',
        detail: String(cause),
      },
      { cause },
    );
  }
  const { size } = await file.stat();
  const contents = new Uint8Array(size <= MAX_IMAGE_BYTES ? size : 0);
  await file.read(contents, 0, contents.length, 0);
  if (contents.length === 0 || contents.length % PAGE_BYTES !== 0 || (template && contents.length !== template.length)) {
    await file.close();
    throw invalid(
      path,
      'it is no variable store of this firmware',
      'Delete it to start with a new one, or choose the firmware it belongs to.',
    );
  }
  return new VariableStore(contents, file, onError);
}

async function writeNew(path: string, contents: Uint8Array): Promise<void> {
  const file = await open(path, 'w', 0o600);
  await file.writeFile(contents);
  await file.close();
}

/** OVMF_CODE_4M.fd → OVMF_VARS_4M.fd; variants such as OVMF_CODE_4M.secboot.fd may share the plain one. */
async function findTemplate(code: string): Promise<string | undefined> {
  const name = basename(code);
  if (!name.includes('CODE')) return undefined;
  const plain = name.replace('CODE', 'VARS');
  for (const candidate of [plain, plain.replace(/^([^.]+)\..*(\.fd)$/, '$1$2')]) {
    const path = join(dirname(code), candidate);
    if (await exists(path)) return path;
  }
  return undefined;
}

async function readImage(path: string): Promise<Uint8Array> {
  let bytes: number;
  try {
    const info = await stat(path);
    if (!info.isFile()) throw invalid(path, 'it is not a file');
    bytes = info.size;
  } catch (cause) {
    if (cause instanceof LodgeError) throw cause;
    throw new LodgeError(
      {
        code: 'fileMissing',
        message: `The firmware ${path} is not there.`,
        fix: 'Choose the file again.',
        detail: String(cause),
      },
      { cause },
    );
  }
  if (bytes < PAGE_BYTES || bytes > MAX_IMAGE_BYTES || bytes % PAGE_BYTES !== 0)
    throw invalid(path, `${bytes} bytes are no size a firmware image has`);
  return readFile(path);
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

const isVolume = (image: Uint8Array): boolean =>
  Buffer.from(image.subarray(VOLUME_SIGNATURE_AT, VOLUME_SIGNATURE_AT + 4)).toString('latin1') === '_FVH';
const isVariableVolume = (image: Uint8Array): boolean =>
  Buffer.from(image.subarray(VOLUME_GUID_AT, VOLUME_GUID_AT + 16)).toString('hex') === VARIABLE_VOLUME;

const invalid = (
  path: string,
  why: string,
  fix = 'Choose a BIOS or UEFI image, such as SeaBIOS’s bios-256k.bin or OVMF_CODE_4M.fd.',
): LodgeError => new LodgeError({ code: 'fileInvalid', message: `${path} is not firmware that Lodge can start: ${why}.`, fix });
