/** `lodge disk …`: images without a machine. Works whether or not a Lodge is running; images in use are refused either way. */
import { resolve } from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import {
  DISK_FORMATS,
  diskVariantSchema,
  LodgeError,
  type DiskCheck,
  type DiskFormat,
  type DiskInfo,
  type DiskVariant,
  type Job,
} from '../../preload/contract';
import { dataPaths } from '../lib/paths';

interface Output {
  readonly json: boolean;
  exitCode: number;
}
interface DiskFlags {
  readonly data?: string;
  readonly format?: DiskFormat;
  readonly variant?: DiskVariant;
  readonly parent?: string;
}

async function disks(data: string | undefined) {
  const [{ Disks }, { EventHub }] = await Promise.all([import('../services/disks'), import('../services/events')]);
  const hub = new EventHub();
  return { disks: new Disks({ hub, lockDir: dataPaths({ dataDir: data }).lockDir }), hub };
}

export function addDiskVerbs(lodge: Command, output: Output, parseSize: (text: string) => number): void {
  const group = lodge.command('disk').description('make, look at, check, convert and enlarge disk images');
  const verb = (usage: string, description: string): Command =>
    group
      .command(usage)
      .description(description)
      .option('--data <dir>', 'data folder of the Lodge meant')
      .option('--json', 'print JSON');
  const format = (text: string): Option => new Option('--format <format>', text).choices(DISK_FORMATS);
  const variant = new Option('--variant <kind>', 'dynamic grows as it is written; split: VMDK in files of 2 GB').choices(
    diskVariantSchema.options,
  );
  const print = (value: unknown, text: string): void =>
    void process.stdout.write(output.json ? JSON.stringify(value, null, 2) + '\n' : text + '\n');

  verb('create <file> <size>', 'make an empty image, e.g. 20G')
    .addOption(format('its format').default('qcow2'))
    .addOption(variant)
    .option('--parent <file>', 'hold only what differs from this image in the same folder')
    .action(async (file: string, size: string, flags: DiskFlags) => {
      const service = await disks(flags.data);
      const info = await service.disks.create({
        path: resolve(file),
        bytes: parseBytes(size, parseSize),
        format: flags.format,
        variant: flags.variant,
        parent: flags.parent === undefined ? undefined : resolve(flags.parent),
      });
      print(info, infoText(info));
    });

  verb('info <file>', 'what an image is').action(async (file: string, flags: DiskFlags) => {
    const info = await (await disks(flags.data)).disks.info(resolve(file));
    print(info, infoText(info));
  });

  verb('check <file>', 'look for damage; exit code 1 if there is some').action(async (file: string, flags: DiskFlags) => {
    const report = await (await disks(flags.data)).disks.check(resolve(file));
    print(report, checkText(report));
    if (!report.ok) output.exitCode = 1;
  });

  verb('convert <from> <to>', 'copy to a new image of another format')
    .addOption(format('of the new image').makeOptionMandatory())
    .addOption(variant)
    .action(async (from: string, to: string, flags: DiskFlags) => {
      const service = await disks(flags.data);
      const target = resolve(to);
      await finish(
        service,
        service.disks.convert({ path: resolve(from), target, format: flags.format!, variant: flags.variant }),
        output,
      );
      const info = await service.disks.info(target);
      print(info, infoText(info));
    });

  verb('resize <file> <size>', 'make a disk larger, e.g. 40G').action(async (file: string, size: string, flags: DiskFlags) => {
    const service = await disks(flags.data);
    const path = resolve(file);
    await finish(service, service.disks.resize(path, parseBytes(size, parseSize)), output);
    const info = await service.disks.info(path);
    print(info, infoText(info));
  });
}

function parseBytes(text: string, parseSize: (text: string) => number): number {
  try {
    return parseSize(text);
  } catch (e) {
    if (e instanceof InvalidArgumentError) throw new LodgeError({ code: 'invalidInput', message: e.message });
    throw e;
  }
}

/** Ctrl-C cancels; what was half done is gone then. */
async function finish(
  { disks: service, hub }: Awaited<ReturnType<typeof disks>>,
  begun: Promise<Job>,
  output: Output,
): Promise<void> {
  const { id } = await begun;
  const cancel = (): void => service.cancel(id);
  process.once('SIGINT', cancel);
  process.once('SIGTERM', cancel);
  const bar = !output.json && process.stderr.isTTY;
  const watching = hub.subscribe((event) => {
    if (bar && event.type === 'job') process.stderr.write(`\r${Math.floor(event.job.progress * 100)} % `);
  });
  try {
    const job = await service.ended(id);
    if (job.state === 'failed') throw new LodgeError(job.error!);
    if (job.state === 'cancelled') throw new LodgeError({ code: 'invalidState', message: 'Cancelled. Nothing was changed.' });
  } finally {
    watching.dispose();
    if (bar) process.stderr.write('\r');
    process.off('SIGINT', cancel);
    process.off('SIGTERM', cancel);
  }
}

function size(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`;
}

const infoText = (info: DiskInfo): string =>
  [
    `file       ${info.path}`,
    `format     ${info.format} (${info.variant})`,
    `size       ${size(info.bytes)} (${info.bytes} bytes)`,
    `on host    ${size(info.hostBytes)}`,
    ...(info.clusterBytes === undefined ? [] : [`unit       ${size(info.clusterBytes)}`]),
    ...info.parents.map((parent) => `built on   ${parent.path} (${parent.format})`),
    ...(info.snapshots > 0 ? [`snapshots  ${info.snapshots}`] : []),
    ...(info.readOnlyReason === undefined ? [] : [`read-only  ${info.readOnlyReason}`]),
  ].join('\n');

const checkText = (report: DiskCheck): string =>
  [
    report.ok ? 'No damage found.' : 'The image is damaged:',
    ...report.errors,
    ...(report.leakedBytes > 0 ? [`${size(report.leakedBytes)} belong to nothing; this does no harm.`] : []),
  ].join('\n');
