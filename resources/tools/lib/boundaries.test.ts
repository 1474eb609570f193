import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { Linter } from 'eslint';
import ts from 'typescript-eslint';
import { describe, expect, it } from 'vitest';
import { ELEMENTS, elementOf } from './boundaries.mjs';
import { boundaryRule } from './boundary-rule.mjs';

const root = resolve(import.meta.dirname, '../../..');

function lint(file: string, code: string): string[] {
  const linter = new Linter({ cwd: root });
  return linter
    .verify(
      code,
      [
        {
          files: ['**/*.ts', '**/*.tsx'],
          languageOptions: { parser: ts.parser as Linter.Parser },
          plugins: { lodge: { rules: { boundaries: boundaryRule as never } } },
          rules: { 'lodge/boundaries': ['error', { root }] },
        },
      ],
      { filename: resolve(root, file) },
    )
    .map((message) => message.message);
}

describe('import boundaries', () => {
  it.each([
    ['main/machine/devices/serial/uart.ts', `import { readFileSync } from 'node:fs';`, 'must not use Node'],
    ['main/machine/devices/serial/uart.ts', `import fs from 'fs';`, 'must not use Node'],
    ['main/machine/devices/serial/uart.ts', `import { app } from 'electron';`, `package 'electron'`],
    ['main/machine/devices/serial/uart.ts', `const s = await import('../../../services/vms');`, 'must not import main/services'],
    ['main/machine/devices/serial/uart.ts', `import { NativeAddon } from '../../../../native/addon/types';`, 'only types'],
    ['main/services/vms.ts', `export * from '../vm/entry';`, 'must not import main/vm'],
    ['main/services/vms.ts', `import { BrowserWindow } from 'electron';`, `package 'electron'`],
    ['main/vm/entry.ts', `import { Inventory } from '../inventory/inventory';`, 'must not import main/inventory'],
    ['main/cli.ts', `import { openLibrary } from './app/windows';`, 'must not import main/app'],
    ['renderer/views/library.tsx', `import { call } from '../api/client';`, 'only types'],
    ['renderer/model/actions.ts', `import { useVms } from '../stores/vms';`, 'must not import renderer/stores'],
    [
      'renderer/api/client.ts',
      `import type { Supervisor } from '../../main/process/supervisor';`,
      'must not import main/process',
    ],
    ['preload/contract/vm.ts', `import { z } from 'zod'; import { x } from '../index';`, 'must not import preload'],
    ['main/lib/result.ts', `import type { Bus } from '../machine/bus/types';`, 'must not import main/machine/bus'],
  ])('refuses in %s: %s', (file, code, reason) => {
    const messages = lint(file, code);
    expect(messages).toHaveLength(1);
    expect(messages[0]).toContain(reason);
  });

  it.each([
    ['main/machine/devices/serial/uart.ts', `import type { NativeMachine } from '../../../../native/addon/types';`],
    ['main/machine/devices/serial/uart.ts', `import { Emitter } from '../../../lib/disposable'; import './registers';`],
    ['main/services/vms.ts', `import { LodgeError } from '../../preload/contract'; import path from 'node:path';`],
    [
      'renderer/views/library.tsx',
      `import { Button } from '@mantine/core'; import { useVms } from '../stores/vms'; import './library.css';`,
    ],
    ['main/app/windows.ts', `import { BrowserWindow } from 'electron'; import type { Spawner } from '../process/supervisor';`],
    ['main/vm/entry.ts', `import { Bus } from '../machine/bus/bus'; import { toVmSchema } from '../process/protocol';`],
  ])('allows in %s: %s', (file, code) => {
    expect(lint(file, code)).toEqual([]);
  });

  it('names every folder of the main process, so that a new one cannot escape the rule', () => {
    for (const folder of readdirSync(resolve(root, 'main'), { withFileTypes: true })) {
      if (!folder.isDirectory() || folder.name === 'machine') continue;
      expect(elementOf(`main/${folder.name}/x.ts`), `main/${folder.name}`).toBeDefined();
    }
    for (const element of ELEMENTS)
      for (const target of [...element.may, ...(element.types ?? [])])
        expect(
          ELEMENTS.some((e) => (target.endsWith('*') ? e.name.startsWith(target.slice(0, -1)) : e.name === target)) ||
            target === 'main-*',
          target,
        ).toBe(true);
  });
});
