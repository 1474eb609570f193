import { useCallback, useEffect, useImperativeHandle, useRef, useState, type Ref } from 'react';
import { useStore } from 'zustand';
import { isCrisp, roomFor, toAbsolute, type ScaleMode } from '../model/scale';
import { hostKeyLabel, type HostKey } from '../model/keys';
import type { ViewerSession } from '../stores';
import { KeyCapture, type HostCommand, type KeyAction } from './capture';
import classes from './display.module.css';
import { Painter } from './painter';
import { PointerFeed } from './pointer';

export interface DisplayHandle {
  focus(): void;
  leave(): void;
}

export interface DisplayProps {
  readonly session: ViewerSession;
  readonly name: string;
  readonly scale: ScaleMode;
  readonly hostKey: HostKey;
  readonly platform: string;
  readonly visible: boolean;
  /** The guest takes input: it runs. */
  readonly active: boolean;
  readonly onCapture: (captured: boolean) => void;
  readonly onCommand: (command: HostCommand) => void;
  readonly ref?: Ref<DisplayHandle>;
}

const HINT_SEEN_KEY = 'lodge.captureHintSeen';
const HINT_MS = 6000;

/** The guest's screen. Focus means capture: while it has the focus, every key goes to the guest except the host key. */
export function Display({ session, name, scale, hostKey, platform, visible, active, onCapture, onCommand, ref }: DisplayProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const painter = useRef<Painter | null>(null);
  const screen = useStore(session.state, (s) => s.screen);
  const absolute = useStore(session.state, (s) => s.absolute);
  const [ratio, setRatio] = useState(() => window.devicePixelRatio);
  const [hint, setHint] = useState(false);
  const crisp = isCrisp(screen);
  /** Of the canvas, in device pixels. */
  const [area, setArea] = useState({ width: 0, height: 0 });

  useEffect(() => {
    const element = canvas.current!;
    const p = new Painter(element);
    painter.current = p;
    const observer = new ResizeObserver((entries) => {
      const entry = entries.at(-1)!;
      // Exact device pixels where the browser knows them; rounding CSS pixels is off by one at fractional ratios.
      const exact = entry.devicePixelContentBoxSize?.[0];
      const css = entry.contentBoxSize[0]!;
      const dpr = window.devicePixelRatio;
      setRatio(dpr);
      const width = exact?.inlineSize ?? Math.round(css.inlineSize * dpr);
      const height = exact?.blockSize ?? Math.round(css.blockSize * dpr);
      p.setArea(width, height);
      if (width > 0 && height > 0) setArea({ width, height });
    });
    try {
      observer.observe(element, { box: 'device-pixel-content-box' });
    } catch {
      observer.observe(element);
    }
    const unsubscribe = session.showFrames({ screen: (w, h) => p.setScreen(w, h), frame: (rects, done) => p.frame(rects, done) });
    return () => {
      unsubscribe();
      observer.disconnect();
      p.dispose();
      painter.current = null;
    };
  }, [session]);

  useEffect(() => painter.current?.setMode({ scale, crisp, pixelRatio: ratio }), [session, scale, crisp, ratio]);
  useEffect(() => painter.current?.setVisible(visible), [session, visible]);
  useEffect(() => session.setRoom(roomFor(area, scale, ratio)), [session, area, scale, ratio]);

  useInput({ canvas, painter, session, hostKey, absolute, active, onCapture, onCommand, setHint });

  const focus = useCallback(() => canvas.current?.focus({ preventScroll: true }), []);
  const leave = useCallback(() => {
    canvas.current?.blur();
    if (document.pointerLockElement === canvas.current) document.exitPointerLock();
  }, []);
  useImperativeHandle(ref, () => ({ focus, leave }), [focus, leave]);

  useEffect(() => {
    if (!hint) return;
    localStorage.setItem(HINT_SEEN_KEY, '1');
    const timer = setTimeout(() => setHint(false), HINT_MS);
    return () => clearTimeout(timer);
  }, [hint]);

  const actual = scale === 'actual' && screen.width > 0;
  const k = Math.max(1, Math.round(ratio)) / ratio;
  return (
    <div className={classes.stage} data-scroll={actual || undefined}>
      <canvas
        ref={canvas}
        className={classes.canvas}
        style={actual ? { width: `max(100%, ${screen.width * k}px)`, height: `max(100%, ${screen.height * k}px)` } : undefined}
        tabIndex={0}
        role="application"
        aria-label={`Screen of ${name}`}
        aria-roledescription="virtual machine screen"
        data-testid="display"
        data-screen={`${screen.width}x${screen.height}`}
        data-mode={screen.mode}
        data-hide-pointer={(active && !absolute) || undefined}
      />
      {hint && (
        <div className={classes.hint} role="status">
          Keys now go to the machine. Press <kbd>{hostKeyLabel(hostKey, platform)}</kbd> to leave it.
        </div>
      )}
    </div>
  );
}

interface InputOptions {
  readonly canvas: React.RefObject<HTMLCanvasElement | null>;
  readonly painter: React.RefObject<Painter | null>;
  readonly session: ViewerSession;
  readonly hostKey: HostKey;
  readonly absolute: boolean;
  readonly active: boolean;
  readonly onCapture: (captured: boolean) => void;
  readonly onCommand: (command: HostCommand) => void;
  readonly setHint: (hint: boolean) => void;
}

function useInput(options: InputOptions): void {
  const latest = useRef(options);
  latest.current = options;
  const { canvas, session } = options;

  useEffect(() => {
    const element = canvas.current!;
    const keys = new KeyCapture(latest.current.hostKey);
    const pointer = new PointerFeed(
      (message) => latest.current.active && session.send(message),
      (flush) => requestAnimationFrame(flush),
    );
    const locked = (): boolean => document.pointerLockElement === element;

    const perform = (actions: readonly KeyAction[]): void => {
      for (const action of actions) {
        if (action.kind === 'key') {
          if (latest.current.active) session.send({ type: 'key', code: action.code, down: action.down });
        } else if (action.kind === 'leave') {
          element.blur();
          if (locked()) document.exitPointerLock();
        } else latest.current.onCommand(action.command);
      }
    };
    const onKeyDown = (e: KeyboardEvent): void => {
      e.preventDefault();
      e.stopPropagation();
      keys.setHostKey(latest.current.hostKey);
      perform(keys.keyDown(e.code));
    };
    const onKeyUp = (e: KeyboardEvent): void => {
      e.preventDefault();
      e.stopPropagation();
      perform(keys.keyUp(e.code));
    };
    const release = (): void => {
      if (keys.releaseAll()) session.send({ type: 'releaseKeys' });
      pointer.release(latest.current.absolute);
    };
    const onFocus = (): void => {
      latest.current.onCapture(true);
      if (latest.current.active && localStorage.getItem(HINT_SEEN_KEY) === null) latest.current.setHint(true);
    };
    const onBlur = (): void => {
      release();
      latest.current.onCapture(false);
    };
    const onHidden = (): void => {
      if (document.hidden) release();
    };

    const move = (e: PointerEvent): void => {
      const p = latest.current.painter.current?.placement;
      if (p == null) return;
      if (locked()) pointer.moveBy(e.movementX, e.movementY);
      else if (latest.current.absolute) {
        const k = element.width / Math.max(1, element.clientWidth);
        pointer.moveTo(...pair(toAbsolute(p, e.offsetX * k, e.offsetY * k)));
      }
    };
    const onPointerDown = (e: PointerEvent): void => {
      e.preventDefault();
      const { absolute, active } = latest.current;
      const alreadyIn = document.activeElement === element;
      element.focus({ preventScroll: true });
      if (!active) return;
      if (absolute) {
        element.setPointerCapture(e.pointerId);
        move(e);
        pointer.setButtons(e.buttons, true);
      } else if (locked()) pointer.setButtons(e.buttons, false);
      else {
        // The click that captures is not the guest's.
        void Promise.resolve(element.requestPointerLock()).catch(() => {});
        if (!alreadyIn) latest.current.onCapture(true);
      }
    };
    const onPointerUp = (e: PointerEvent): void => {
      if (latest.current.absolute || locked()) pointer.setButtons(e.buttons, latest.current.absolute);
    };
    const onWheel = (e: WheelEvent): void => {
      if (!latest.current.active || (!latest.current.absolute && !locked())) return;
      e.preventDefault();
      pointer.wheel(e.deltaY, e.deltaMode, latest.current.absolute);
    };
    const onLockChange = (): void => {
      if (!locked()) pointer.release(false);
    };
    const onContextMenu = (e: Event): void => e.preventDefault();

    element.addEventListener('keydown', onKeyDown);
    element.addEventListener('keyup', onKeyUp);
    element.addEventListener('focus', onFocus);
    element.addEventListener('blur', onBlur);
    element.addEventListener('pointermove', move);
    element.addEventListener('pointerdown', onPointerDown);
    element.addEventListener('pointerup', onPointerUp);
    element.addEventListener('wheel', onWheel, { passive: false });
    element.addEventListener('contextmenu', onContextMenu);
    document.addEventListener('visibilitychange', onHidden);
    document.addEventListener('pointerlockchange', onLockChange);
    return () => {
      element.removeEventListener('keydown', onKeyDown);
      element.removeEventListener('keyup', onKeyUp);
      element.removeEventListener('focus', onFocus);
      element.removeEventListener('blur', onBlur);
      element.removeEventListener('pointermove', move);
      element.removeEventListener('pointerdown', onPointerDown);
      element.removeEventListener('pointerup', onPointerUp);
      element.removeEventListener('wheel', onWheel);
      element.removeEventListener('contextmenu', onContextMenu);
      document.removeEventListener('visibilitychange', onHidden);
      document.removeEventListener('pointerlockchange', onLockChange);
      release();
    };
  }, [canvas, session]);
}

const pair = (p: { x: number; y: number }): [number, number] => [p.x, p.y];
