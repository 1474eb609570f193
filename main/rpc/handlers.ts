/** The contract's procedures on the services. A missing one does not compile. */
import { contract, diskFormatSchema, LodgeError, type Disk, type Handlers } from '../../preload/contract';
import { freeSpace, listFiles } from '../services/files';
import type { HostService } from '../services/host';
import type { Lodge } from '../services/lodge';
import type { Machines } from '../services/machines';

export function lodgeHandlers(lodge: Lodge): Handlers {
  const { machines, host, disks } = lodge;
  return {
    ...machineHandlers(machines),
    'app.snapshot': async () => ({
      seq: lodge.hub.seq,
      vms: machines.list(),
      broken: machines.broken(),
      host: host.get(),
      preferences: lodge.preferences,
      notices: lodge.notices,
      jobs: disks.jobs(),
    }),
    'host.get': async () => host.get(),
    'preferences.set': (change) => lodge.setPreferences(change as Partial<typeof lodge.preferences>),
    'vm.create': ({ config, newDisk }) => machines.create(config, newDisk),
    'vm.update': ({ id, config }) => machines.update(id, config as Parameters<Machines['update']>[1]),
    'vm.remove': ({ id, deleteFiles }) => machines.remove(id, deleteFiles),
    'vm.attach': async ({ id, path, bus, kind }) => {
      const image = await lodge.inspectImage(path);
      if (image.problem !== undefined || (image.kind !== 'disk' && image.kind !== 'disc')) {
        const problem = image.problem ?? 'it is neither a disk image nor a disc image';
        throw new LodgeError({
          code: 'fileInvalid',
          message: `${path} cannot be attached: ${problem.replace(/\.$/, '')}.`,
          fix: 'Choose a disk image or an ISO image.',
        });
      }
      // What it is now, is told once: a guest could make a raw image look like another kind.
      const format = diskFormatSchema.safeParse(image.format).data ?? 'raw';
      return machines.attach(id, newDisk(path, kind ?? image.kind, bus, format));
    },
    'disk.create': (options) => disks.create(options),
    'disk.info': ({ path }) => disks.info(path),
    'disk.check': ({ path }) => disks.check(path),
    'disk.convert': (options) => disks.convert(options),
    'disk.resize': ({ path, bytes }) => disks.resize(path, bytes),
    'disk.delete': async ({ path }) => {
      const user = machines.list().find((vm) => vm.definition.disks.some((disk) => disk.path === path));
      if (user)
        throw new LodgeError({
          code: 'fileInUse',
          message: `${path} is a disk of “${user.definition.name}”.`,
          fix: 'Remove it from that machine first.',
        });
      await disks.delete(path);
    },
    'job.cancel': async ({ id }) => disks.cancel(id),
    'image.inspect': ({ path }) => lodge.inspectImage(path),
    'files.list': ({ path }) => listFiles(path),
    'files.space': ({ path }) => freeSpace(path),
  };
}

/** For `lodge run --name`: what one machine answers without a library. */
export function ephemeralHandlers(machines: Machines, host: HostService): Handlers {
  const refused = (): Promise<never> =>
    Promise.reject(
      new LodgeError({
        code: 'unsupported',
        message: 'This Lodge runs one machine from the command line and has no library.',
        fix: 'Use `lodge serve` or the app.',
      }),
    );
  const nothing = Object.fromEntries(Object.keys(contract).map((name) => [name, refused])) as unknown as Handlers;
  return {
    ...nothing,
    ...machineHandlers(machines),
    // Nothing looks into files here; a file that is not what it is said to be is refused by the machine or by the guest.
    'vm.attach': ({ id, path, bus, kind }) =>
      machines.attach(id, newDisk(path, kind ?? (/\.iso$/i.test(path) ? 'disc' : 'disk'), bus, 'auto')),
    'host.get': async () => host.get(),
  };
}

function newDisk(path: string, kind: Disk['kind'], bus: Disk['bus'] | undefined, format: Disk['format']): Omit<Disk, 'id'> {
  return {
    path,
    kind,
    bus: bus ?? (kind === 'disk' ? 'virtio' : 'ide'),
    format: kind === 'disk' ? format : 'raw',
    readOnly: kind === 'disc',
  };
}

function machineHandlers(machines: Machines) {
  return {
    'vm.list': async () => machines.list(),
    'vm.get': async ({ id }) => machines.get(id),
    'vm.start': ({ id, bootFirst, bootMenu }) => machines.start(id, { bootFirst, bootMenu }),
    'vm.pause': ({ id }) => machines.pause(id),
    'vm.resume': ({ id }) => machines.resume(id),
    'vm.shutdown': ({ id }) => machines.shutdown(id),
    'vm.reset': ({ id }) => machines.reset(id),
    'vm.detach': ({ id, diskId, force }) => machines.detach(id, diskId, force ?? false),
    'vm.powerOff': ({ id }) => machines.powerOff(id),
    'vm.screenshot': ({ id, thumbnail }) => machines.screenshot(id, thumbnail ?? false),
    'vm.text': ({ id }) => machines.text(id),
    'vm.stats': ({ id }) => machines.stats(id),
    'vm.profile': ({ id, seconds, hertz }) => machines.profile(id, seconds, hertz),
    'vm.keys': ({ id, keys }) => machines.keys(id, keys),
    'vm.pointer': ({ id, event }) => machines.pointer(id, event),
    'vm.serialWrite': ({ id, port, data }) => machines.serialWrite(id, port, data),
  } satisfies Partial<Handlers>;
}
