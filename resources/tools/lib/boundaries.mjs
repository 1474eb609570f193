/**
 * Who may import whom: the one list behind the import-boundary lint rule. It mirrors the table "Folders, and who may import
 * whom" of the architecture page. An element is the folder (or file) with the longest matching path.
 *
 *   path      folder or file, relative to the root
 *   may       elements it may import (its own element is always allowed)
 *   types     elements of which it may import types only
 *   packages  npm packages it may import; Node's own modules are 'node'
 */
export const ELEMENTS = [
  { name: 'contract', path: 'preload/contract', may: [], packages: ['zod'] },
  { name: 'preload', path: 'preload', may: ['contract'], packages: ['electron'] },

  { name: 'renderer-root', path: 'renderer', may: ['contract', 'renderer-*', 'catalogue'], packages: 'ui' },
  { name: 'renderer-api', path: 'renderer/api', may: ['contract'], packages: ['birpc'] },
  {
    name: 'renderer-stores',
    path: 'renderer/stores',
    may: ['contract', 'renderer-api', 'renderer-model'],
    packages: ['zustand'],
  },
  { name: 'renderer-model', path: 'renderer/model', may: ['contract', 'catalogue'], packages: ['zod'] },
  ...['views', 'components', 'display', 'terminal'].map((folder) => ({
    name: `renderer-${folder}`,
    path: `renderer/${folder}`,
    may: [
      'contract',
      'renderer-stores',
      'renderer-model',
      'renderer-views',
      'renderer-components',
      'renderer-display',
      'renderer-terminal',
    ],
    types: ['renderer-api'],
    packages: 'ui',
  })),

  {
    name: 'root-electron',
    path: 'main/index.ts',
    may: ['contract', 'main-*', 'app', 'rpc', 'services', 'inventory', 'process', 'protocol', 'storage', 'lib'],
    packages: ['node', 'electron'],
  },
  ...['headless', 'cli'].map((name) => ({
    name: 'root-node',
    path: `main/${name}.ts`,
    may: [
      'contract',
      'rpc',
      'services',
      'inventory',
      'process',
      'protocol',
      'memory-manager',
      'storage',
      'network',
      'lib',
      'main-*',
      'addon-types',
    ],
    packages: ['node', 'commander', 'ws', 'sirv', 'birpc', 'pino', 'zod'],
  })),
  {
    name: 'main-cli',
    path: 'main/cli',
    may: ['contract', 'rpc', 'services', 'inventory', 'process', 'protocol', 'lib', 'root-node'],
    packages: ['node', 'commander', 'ws', 'birpc', 'zod'],
  },
  {
    name: 'app',
    path: 'main/app',
    may: ['contract', 'services', 'lib'],
    types: ['process', 'protocol', 'rpc'],
    packages: ['node', 'electron', 'zod'],
  },
  {
    name: 'rpc',
    path: 'main/rpc',
    may: ['contract', 'services', 'lib'],
    types: ['process'],
    packages: ['node', 'ws', 'birpc', 'sirv', 'zod'],
  },
  {
    name: 'services',
    path: 'main/services',
    may: ['contract', 'inventory', 'process', 'protocol', 'memory-manager', 'storage', 'lib'],
    types: ['addon-types'],
    packages: ['node', 'zod', 'fast-png'],
  },
  { name: 'inventory', path: 'main/inventory', may: ['contract', 'lib'], packages: ['node', 'write-file-atomic', 'zod'] },
  { name: 'protocol', path: 'main/process/protocol.ts', may: ['contract'], packages: ['zod'] },
  { name: 'process', path: 'main/process', may: ['contract', 'protocol', 'lib'], packages: ['node', 'zod'] },
  { name: 'memory-manager', path: 'main/memory-manager', may: ['protocol', 'lib'], packages: ['node'] },

  {
    name: 'vm',
    path: 'main/vm',
    may: ['contract', 'protocol', 'bus', 'devices', 'firmware', 'memory', 'backend', 'storage', 'network', 'addon-types', 'lib'],
    packages: ['node', 'ws', 'fast-png', 'zod'],
  },
  { name: 'bus', path: 'main/machine/bus', may: ['lib'], types: ['addon-types', 'memory', 'backend'], packages: [] },
  {
    name: 'devices',
    path: 'main/machine/devices',
    may: ['bus', 'memory', 'backend', 'lib', 'fonts'],
    types: ['addon-types'],
    packages: [],
  },
  {
    name: 'firmware',
    path: 'main/machine/firmware',
    may: ['bus', 'memory', 'lib'],
    types: ['devices', 'backend', 'addon-types'],
    packages: [],
  },
  { name: 'memory', path: 'main/machine/memory', may: ['lib'], types: ['addon-types'], packages: [] },
  { name: 'backend', path: 'main/backend', may: ['lib'], packages: [] },
  { name: 'storage', path: 'main/storage', may: ['backend', 'lib', 'catalogue'], types: ['contract'], packages: ['node'] },
  { name: 'network', path: 'main/network', may: ['backend', 'lib'], packages: ['node'] },
  { name: 'lib', path: 'main/lib', may: [], packages: ['node', 'pino', 'write-file-atomic'] },

  { name: 'addon-types', path: 'native/addon/types.ts', may: [], packages: [] },
  { name: 'catalogue', path: 'resources/catalogue', may: [], packages: [] },
  { name: 'fonts', path: 'resources/fonts', may: [], packages: [] },
];

const UI_PACKAGES = ['react', 'react-dom', 'zustand'];
const UI_SCOPES = ['@mantine/', '@tabler/', '@xterm/'];

const inside = (file, path) => file === path || file.startsWith(`${path}/`) || file === path.replace(/\.ts$/, '');

/** The element a root-relative path (with or without extension) belongs to; undefined outside the list. */
export function elementOf(file) {
  let best;
  for (const element of ELEMENTS)
    if (inside(file, element.path) && (!best || element.path.length > best.path.length)) best = element;
  return best;
}

const matches = (names, name) => (names ?? []).some((n) => n === name || (n.endsWith('*') && name.startsWith(n.slice(0, -1))));

/**
 * Checks one import.
 * @param {string} from root-relative importing file
 * @param {{ file: string } | { package: string }} target resolved root-relative path, or a package name ('node' for built-ins)
 * @param {boolean} typeOnly
 * @returns {string | undefined} what is wrong
 */
export function checkImport(from, target, typeOnly) {
  const source = elementOf(from);
  if (!source) return undefined;
  if ('package' in target) {
    const name = target.package;
    if (source.packages === 'ui') {
      if (UI_PACKAGES.includes(name) || UI_SCOPES.some((scope) => name.startsWith(scope))) return undefined;
    } else if (source.packages.includes(name)) return undefined;
    return name === 'node'
      ? `${source.path} must not use Node's modules`
      : `${source.path} must not import the package '${name}'`;
  }
  const destination = elementOf(target.file);
  if (!destination) return `${source.path} must not import ${target.file}, which is outside every declared folder`;
  if (destination.name === source.name || matches(source.may, destination.name)) return undefined;
  if (matches(source.types, destination.name))
    return typeOnly ? undefined : `${source.path} may import only types from ${destination.path}`;
  return `${source.path} must not import ${destination.path}`;
}
