import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { appLayout, dataPaths } from './paths';

describe('dataPaths', () => {
  const home = '/home/ada';
  it('follows XDG and ignores relative values', () => {
    const p = dataPaths({
      env: { XDG_CONFIG_HOME: '/x/cfg', XDG_DATA_HOME: 'relative', XDG_RUNTIME_DIR: '/run/user/7' },
      platform: 'linux',
      home,
    });
    expect(p.dataDir).toBe('/x/cfg/lodge');
    expect(p.defaultVmFolder).toBe('/home/ada/.local/share/lodge/machines');
    expect(p.runtimeDir).toBe('/run/user/7/lodge');
  });
  it('keeps everything under an explicit folder; --data wins over the environment', () => {
    const p = dataPaths({ dataDir: '/d/one', env: { LODGE_DATA_DIR: '/d/two' }, platform: 'linux', home });
    expect(p.preferencesFile).toBe('/d/one/preferences.json');
    expect(p.defaultVmFolder).toBe('/d/one/machines');
    expect(dataPaths({ env: { LODGE_DATA_DIR: '/d/two' }, platform: 'linux', home }).dataDir).toBe('/d/two');
  });
  it('gives every data folder its own sockets, within the length of a socket address', () => {
    const long = dataPaths({ dataDir: '/' + 'very-long/'.repeat(40), env: {}, platform: 'linux', home });
    const other = dataPaths({ dataDir: '/d/two', env: {}, platform: 'linux', home });
    expect(long.instanceDir).not.toBe(other.instanceDir);
    expect(long.lockDir).toBe(other.lockDir);
    expect(join(long.instanceDir, 'run-4194304.sock').length).toBeLessThan(100);
  });
  it('knows the places of macOS and Windows', () => {
    expect(dataPaths({ env: {}, platform: 'darwin', home }).dataDir).toContain('Application Support');
    expect(dataPaths({ env: { APPDATA: '/roaming' }, platform: 'win32', home }).dataDir).toBe(join('/roaming', 'Lodge'));
  });
});

it('appLayout leaves the archive for native files', () => {
  const layout = appLayout('/opt/lodge/resources/app.asar/out/main', '1', {});
  expect(layout.addon).toBe('/opt/lodge/resources/app.asar.unpacked/out/native/lodge.node');
  expect(layout.vmEntry).toBe('/opt/lodge/resources/app.asar/out/main/vm.cjs');
});
