import { describe, expect, it } from 'vitest';
import { newMachineRoute, parseArguments } from './arguments';

describe('arguments of the app', () => {
  it('finds the data folder in both spellings', () => {
    expect(parseArguments(['--data', 'd'], '/home/u').dataDir).toBe('/home/u/d');
    expect(parseArguments(['--data=/srv/lodge'], '/home/u').dataDir).toBe('/srv/lodge');
    expect(parseArguments(['--data'], '/home/u').dataDir).toBeUndefined();
  });

  it('takes images and leaves switches and other files alone', () => {
    const argv = ['--no-sandbox', 'a b.iso', '/x/disk.IMG', 'notes.txt', '--enable-x=y.iso', 'w.qcow2'];
    const { images } = parseArguments(argv, '/home/u');
    expect(images).toEqual(['/home/u/a b.iso', '/x/disk.IMG', '/home/u/w.qcow2']);
  });

  it('survives any file name in the route', () => {
    const name = '/tmp/a&b=c#d %41+é.iso';
    const query = newMachineRoute(name).split('?')[1];
    expect(new URLSearchParams(query).get('image')).toBe(name);
  });
});
