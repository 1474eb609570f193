import { describe, expect, it } from 'vitest';
import type { ViewerToVm } from '../../preload/contract';
import { PointerFeed } from './pointer';

function feed() {
  const sent: ViewerToVm[] = [];
  const queue: (() => void)[] = [];
  const p = new PointerFeed(
    (m) => sent.push(m),
    (f) => queue.push(f),
  );
  return { p, sent, tick: () => queue.splice(0).forEach((f) => f()) };
}

describe('PointerFeed', () => {
  it('joins motion to one message a frame and keeps fractions', () => {
    const { p, sent, tick } = feed();
    p.moveBy(1.6, 0);
    p.moveBy(1.6, -2);
    tick();
    p.moveBy(0.8, 0);
    tick();
    expect(sent).toEqual([
      { type: 'mouse', dx: 3, dy: -2, buttons: 0, wheel: 0 },
      { type: 'mouse', dx: 1, dy: 0, buttons: 0, wheel: 0 },
    ]);
  });

  it('sends the motion before the click that follows it, and nothing twice', () => {
    const { p, sent, tick } = feed();
    p.moveTo(10, 20);
    p.setButtons(1, true);
    p.setButtons(1, true);
    tick();
    p.release(true);
    expect(sent.map((m) => m.type === 'pointer' && [m.x, m.y, m.buttons])).toEqual([
      [10, 20, 0],
      [10, 20, 1],
      [10, 20, 0],
    ]);
  });

  it('turns pixels and lines of a wheel into detents, positive towards the user', () => {
    const { p, sent } = feed();
    p.wheel(60, 0, false);
    p.wheel(60, 0, false);
    p.wheel(-3, 1, false);
    p.wheel(1, 2, false);
    expect(sent.map((m) => m.type === 'mouse' && m.wheel)).toEqual([1, -1, 1]);
  });

  it('cuts button bits to the contract', () => {
    const { p, sent } = feed();
    p.setButtons(0xff, false);
    expect(sent).toEqual([{ type: 'mouse', dx: 0, dy: 0, buttons: 31, wheel: 0 }]);
  });
});
