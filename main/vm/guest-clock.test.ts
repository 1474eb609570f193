import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { GuestClock } from './guest-clock';
import { KeyTyper } from './key-typer';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('guest clock', () => {
  it('stands still while paused, and so do its timers', () => {
    const clock = new GuestClock();
    const fired = vi.fn();
    clock.at(10e6, fired);
    vi.advanceTimersByTime(100);
    expect([clock.now(), fired.mock.calls.length]).toEqual([0, 0]);
    clock.resume();
    vi.advanceTimersByTime(6);
    clock.pause();
    vi.advanceTimersByTime(1000);
    expect(Math.round(clock.now() / 1e6)).toBe(6);
    expect(fired).not.toHaveBeenCalled();
    clock.resume();
    vi.advanceTimersByTime(5);
    expect(fired).toHaveBeenCalledTimes(1);
    clock.dispose();
    expect(vi.getTimerCount()).toBe(0);
  });
  it('forgets disposed timers', () => {
    const clock = new GuestClock();
    clock.resume();
    const fired = vi.fn();
    clock.at(1e6, fired).dispose();
    vi.advanceTimersByTime(10);
    expect([fired.mock.calls.length, vi.getTimerCount()]).toEqual([0, 0]);
  });
});

describe('key typer', () => {
  it('waits for the guest to read, but not for ever', () => {
    const clock = new GuestClock();
    clock.resume();
    const keyboard = { idle: true, key: vi.fn() };
    const typer = new KeyTyper({ clock, keyboard });
    const keys = [true, false, true, false].map((down) => ({ code: 'KeyA', down }));
    expect(typer.type(keys)).toBe(true);
    vi.advanceTimersByTime(5);
    expect(keyboard.key).toHaveBeenCalledTimes(2);
    keyboard.idle = false;
    vi.advanceTimersByTime(400);
    expect(keyboard.key).toHaveBeenCalledTimes(2);
    vi.advanceTimersByTime(200);
    expect(keyboard.key).toHaveBeenCalledTimes(3);
    expect(typer.type(new Array(30_000).fill(keys[0]))).toBe(false);
    typer.dispose();
    expect(vi.getTimerCount()).toBe(0);
  });
});
