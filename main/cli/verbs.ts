/** Verbs that ask a running Lodge, or, for what needs no machine to run, open the library themselves. */
import { writeFile } from 'node:fs/promises';
import { LodgeError, type BrokenVm, type Host, type NewDisk, type Vm, type VmConfig } from '../../preload/contract';
import type { AppLayout, DataPaths } from '../lib/paths';
import { connectAll, type LocalClient } from '../rpc/local-socket';
import { HostService } from '../services/host';
import { Lodge } from '../services/lodge';

async function withClients<T>(paths: DataPaths, work: (clients: LocalClient[]) => Promise<T>): Promise<T> {
  const clients = await connectAll(paths.instanceDir);
  try {
    return await work(clients);
  } finally {
    for (const client of clients) client.close();
  }
}

/** The library without a server. Nothing can be started in it: the machine would end with this command. */
async function withLibrary<T>(paths: DataPaths, layout: AppLayout, work: (lodge: Lodge) => Promise<T>): Promise<T> {
  const refused = (): never => {
    throw new LodgeError({ code: 'unsupported', message: 'No Lodge is running.' });
  };
  const lodge = await Lodge.open({ paths, layout, mode: 'server', spawn: refused, inspectImage: async () => refused() });
  try {
    for (const notice of lodge.notices) process.stderr.write(`lodge: ${notice}\n`);
    return await work(lodge);
  } finally {
    await lodge.close();
  }
}

/** Of the library, and of every `lodge run --name`. */
export function list(paths: DataPaths, layout: AppLayout): Promise<{ vms: Vm[]; broken: BrokenVm[] }> {
  return withClients(paths, async (clients) => {
    const server = clients.find((c) => c.note.kind === 'server');
    const runs = await Promise.all(clients.filter((c) => c !== server).map((c) => c.call('vm.list', null)));
    const library = server
      ? await server.call('app.snapshot', null)
      : await withLibrary(paths, layout, async ({ machines }) => ({ vms: machines.list(), broken: machines.broken() }));
    return { vms: [...library.vms, ...runs.flat()], broken: library.broken };
  });
}

export function create(paths: DataPaths, layout: AppLayout, config: VmConfig, newDisk: NewDisk | undefined): Promise<Vm> {
  return withClients(paths, async (clients) => {
    const server = clients.find((c) => c.note.kind === 'server');
    if (server) return server.call('vm.create', { config, ...(newDisk && { newDisk }) });
    return withLibrary(paths, layout, ({ machines }) => machines.create(config, newDisk));
  });
}

export function host(paths: DataPaths, layout: AppLayout): Promise<Host> {
  return withClients(paths, async (clients) => {
    const [first] = clients;
    return first
      ? first.call('host.get', null)
      : new HostService({ mode: 'server', version: layout.version, addon: layout.addon }).get();
  });
}

/** By name, id or the beginning of an id, in every Lodge that runs for this data folder. */
export function withMachine<T>(
  paths: DataPaths,
  wanted: string,
  work: (client: LocalClient, id: string) => Promise<T>,
): Promise<T> {
  return withClients(paths, async (clients) => {
    if (clients.length === 0) {
      throw new LodgeError({
        code: 'notFound',
        message: 'No Lodge is running for this data folder, so no machine can be reached.',
        fix: 'Open Lodge, or run `lodge serve` in another terminal; `lodge run` starts a machine by itself.',
      });
    }
    const all = (
      await Promise.all(clients.map(async (client) => (await client.call('vm.list', null)).map((vm) => ({ client, vm }))))
    ).flat();
    const found = pick(all, wanted, ({ vm }) => vm.definition);
    return work(found.client, found.vm.definition.id);
  });
}

export function pick<T>(all: readonly T[], wanted: string, of: (item: T) => { id: string; name: string }): T {
  const exact = all.filter((item) => of(item).id === wanted || of(item).name === wanted);
  const fold = (text: string): string => text.toLocaleLowerCase();
  const loose =
    exact.length > 0
      ? exact
      : all.filter(
          (item) => fold(of(item).name) === fold(wanted) || (wanted.length >= 4 && of(item).id.startsWith(fold(wanted))),
        );
  const [first, second] = loose;
  if (first === undefined)
    throw new LodgeError({
      code: 'notFound',
      message: `There is no machine called “${wanted}”.`,
      fix: '`lodge list` shows them all.',
    });
  if (second !== undefined)
    throw new LodgeError({
      code: 'invalidInput',
      message: `“${wanted}” is the name of several machines.`,
      fix: 'Give the id of one (`lodge list`).',
    });
  return first;
}

/** Shells pass '\n' as two characters; '\\n' is a backslash and an n. */
export const unescape = (text: string): string =>
  text.replaceAll(/\\(n|r|t|e|\\|x[0-9a-f]{2})/gi, (whole: string, code: string) => {
    const simple: Record<string, string> = { n: '\n', r: '\r', t: '\t', e: '\u001b', '\\': '\\' };
    return simple[code] ?? (code.length === 3 ? String.fromCharCode(Number.parseInt(code.slice(1), 16)) : whole);
  });

export async function savePicture(file: string, base64: string): Promise<{ file: string; bytes: number }> {
  const bytes = Buffer.from(base64, 'base64');
  await writeFile(file, bytes).catch((e: Error) => {
    throw new LodgeError({ code: 'permissionDenied', message: `The picture could not be saved: ${file}`, detail: e.message });
  });
  return { file, bytes: bytes.length };
}

export function listText(vms: readonly Vm[]): string {
  const rows = vms.map((vm) => [
    vm.definition.id.slice(0, 8),
    vm.state,
    `${vm.definition.cpus} CPU`,
    `${vm.definition.memoryMiB} MiB`,
    vm.definition.name + (vm.ephemeral ? ' (run)' : ''),
  ]);
  const widths = [0, 1, 2, 3].map((i) => Math.max(0, ...rows.map((row) => row[i]!.length)));
  return rows.map((row) => row.map((cell, i) => (i < 4 ? cell.padEnd(widths[i]!) : cell)).join('  ')).join('\n');
}

export function hostText(host: Host): string {
  const lines = [
    `${host.cpuModel}, ${host.logicalCpus} logical processors`,
    `${host.memoryMiB} MiB of memory, ${host.availableMiB} MiB free`,
  ];
  for (const a of host.accelerators)
    lines.push(
      `${a.kind}: ${a.available ? 'available' : a.onlyByName ? 'only when asked for by name' : 'not available'}${a.reason ? ` (${a.reason})` : ''}`,
    );
  return lines.join('\n');
}
