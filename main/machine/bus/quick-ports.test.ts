import { describe, expect, it } from 'vitest';
import { Quick } from '../../../native/addon/types';
import { QuickEngine } from '../testing/quick-engine';
import { Bus } from './bus';
import { gives, QuickPort, QuickPorts, QuickWord, takes, TAKES_ALL, WAIT } from './quick-ports';

describe('quick ports', () => {
  it('speak to the engine in its own words', () => {
    expect(Quick).toMatchObject(QuickWord);
    expect(gives(0x1ab)).toBe(0xab01);
    expect(takes(0x10, 0x80)).toBe(0x80100002);
    expect(gives(0) | TAKES_ALL).toBe(3);
  });

  it('say what was said last, wherever they are, and nothing where they are not', () => {
    const calls: string[] = [];
    const words = new Uint32Array(2);
    const ports = new QuickPorts(
      {
        addQuickPort: (port, width, number) => {
          if (port === 0x99) throw new Error('taken');
          calls.push(`add ${port} ${width} ${number}`);
        },
        removeQuickPort: (number) => void calls.push(`remove ${number}`),
      },
      words,
    );
    const quick = new QuickPort(0);
    quick.set(gives(5));
    ports.connect(quick, 0x99).dispose();
    const there = ports.connect(quick, 16);
    expect([...words]).toEqual([gives(5), WAIT]);
    quick.set(TAKES_ALL);
    const wide = ports.connect(new QuickPort(4, 4), 20);
    const tooMany = ports.connect(new QuickPort(5), 30);
    expect([...words]).toEqual([TAKES_ALL, WAIT]);
    tooMany.dispose();
    there.dispose();
    there.dispose();
    expect([...words]).toEqual([WAIT, WAIT]);
    quick.set(gives(7));
    ports.connect(quick, 17);
    expect([...words]).toEqual([gives(7), WAIT]);
    wide.dispose();
    expect(calls).toEqual(['add 16 1 0', 'add 20 4 1', 'remove 0', 'add 17 1 0', 'remove 1']);
  });

  it('are not those of a device that another one hides', () => {
    const engine = new QuickEngine();
    const bus = new Bus();
    engine.connect(bus);
    bus.claimPorts(0x61, 1, { read: () => 0x33, write: () => undefined }, 'fixed');
    const port = (offset: number) => {
      const quick = new QuickPort(offset);
      quick.set(gives(0x44));
      return quick;
    };
    const overlay = bus.overlayPorts(0x60, 4, { read: () => 0x44, write: () => undefined, quick: [port(0), port(1)] }, 'moved');
    expect([engine.read(0x60, 1), engine.read(0x61, 1)]).toEqual([0x44, 0x33]);
    expect([engine.quick, engine.waited]).toEqual([1, 1]);
    overlay.dispose();
    expect(engine.read(0x60, 1)).toBe(0xff);
  });
});
