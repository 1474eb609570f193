import { describe, expect, it } from 'vitest';
import { KeyCapture } from './capture';

const down = (code: string) => ({ kind: 'key', code, down: true });
const up = (code: string) => ({ kind: 'key', code, down: false });

describe('KeyCapture', () => {
  it('passes keys, their repeats and their releases', () => {
    const k = new KeyCapture('ControlRight');
    expect([...k.keyDown('KeyA'), ...k.keyDown('KeyA'), ...k.keyUp('KeyA')]).toEqual([down('KeyA'), down('KeyA'), up('KeyA')]);
  });

  it('the host key alone leaves, on release, and never reaches the guest', () => {
    const k = new KeyCapture('ControlRight');
    expect(k.keyDown('ControlRight')).toEqual([]);
    expect(k.keyDown('ControlRight')).toEqual([]);
    expect(k.keyUp('ControlRight')).toEqual([{ kind: 'leave' }]);
  });

  it('with another key it is a command, and letting it go does not leave', () => {
    const k = new KeyCapture('ControlRight');
    k.keyDown('ControlRight');
    expect(k.keyDown('KeyF')).toEqual([{ kind: 'command', command: 'fullscreen' }]);
    expect(k.keyUp('KeyF')).toEqual([]);
    expect(k.keyDown('KeyQ')).toEqual([]);
    expect(k.keyUp('ControlRight')).toEqual([]);
  });

  it('pressed while typing it does not leave by accident', () => {
    const k = new KeyCapture('ControlRight');
    k.keyDown('KeyC');
    k.keyDown('ControlRight');
    expect(k.keyUp('ControlRight')).toEqual([]);
    expect(k.keyUp('KeyC')).toEqual([up('KeyC')]);
  });

  it('drops releases of keys whose press it never saw, and codes the contract does not take', () => {
    const k = new KeyCapture('F12');
    expect(k.keyUp('Enter')).toEqual([]);
    expect([k.keyDown(''), k.keyDown('Unidentified'), k.keyDown('K'.repeat(33))]).toEqual([[], [], []]);
    expect(k.keyDown('ControlRight')).toEqual([down('ControlRight')]);
  });

  it('releases everything with Command, and everything on blur', () => {
    const k = new KeyCapture('ControlRight');
    k.keyDown('MetaLeft');
    k.keyDown('KeyC');
    expect(k.keyUp('MetaLeft')).toEqual([up('MetaLeft'), up('KeyC')]);
    k.keyDown('ShiftLeft');
    expect(k.releaseAll()).toBe(true);
    expect(k.releaseAll()).toBe(false);
    expect(k.keyUp('ShiftLeft')).toEqual([]);
  });
});
