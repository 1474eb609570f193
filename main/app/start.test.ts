import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { prepareDataFolder } from './data-folder';
import { OpenedFiles } from './opened-files';

it('a data folder is made, tried and left clean; one that cannot be is an error with a way out', () => {
  const at = mkdtempSync(join(tmpdir(), 'lodge-start-'));
  try {
    expect(prepareDataFolder(join(at, 'a', 'b'))).toBeUndefined();
    expect(readdirSync(join(at, 'a', 'b'))).toEqual([]);
    writeFileSync(join(at, 'file'), '');
    const error = prepareDataFolder(join(at, 'file', 'data'));
    expect(error).toMatchObject({ code: 'permissionDenied', fix: expect.stringContaining('--data') as string });
    expect(error!.message).toContain(join(at, 'file', 'data'));
    // A file system nobody can write to.
    if (process.platform === 'linux') expect(prepareDataFolder('/proc/self')).toMatchObject({ code: 'permissionDenied' });
  } finally {
    rmSync(at, { recursive: true });
  }
});

it('files that are opened before there is a window are kept for it', () => {
  const files = new OpenedFiles();
  files.open('/a.iso');
  files.open('/b.iso');
  const heard: string[] = [];
  expect(files.listen((paths) => heard.push(...paths))).toEqual(['/a.iso', '/b.iso']);
  files.open('/c.iso');
  expect(heard).toEqual(['/c.iso']);
});
