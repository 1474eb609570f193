import '@xterm/xterm/css/xterm.css';
import { FitAddon } from '@xterm/addon-fit';
import { Terminal as Xterm } from '@xterm/xterm';
import { useEffect, useRef } from 'react';
import type { ViewerSession } from '../stores';
import classes from './terminal.module.css';

const FONT = "'JetBrains Mono', 'Cascadia Mono', 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace";

/** A terminal is dark in both themes: guests choose their colours for one. */
const COLOURS = {
  background: '#0e1312',
  foreground: '#d5dddb',
  cursor: '#63cdb2',
  cursorAccent: '#0e1312',
  selectionBackground: '#2b5c50',
  black: '#1b2321',
  red: '#e5645b',
  green: '#4fb98f',
  yellow: '#e5b24a',
  blue: '#5c9fe0',
  magenta: '#b98adf',
  cyan: '#4fbcc4',
  white: '#cfd8d5',
  brightBlack: '#66726e',
  brightRed: '#f08a82',
  brightGreen: '#7bd6b0',
  brightYellow: '#f2cc79',
  brightBlue: '#86bbef',
  brightMagenta: '#d0aef0',
  brightCyan: '#7fd8de',
  brightWhite: '#f4f8f7',
};

/** One serial port. What it shows before this was opened is replayed; answers to old terminal queries are not sent again. */
export function Terminal({ session, port, label }: { session: ViewerSession; port: number; label: string }) {
  const box = useRef<HTMLDivElement>(null);

  useEffect(() => {
    const element = box.current!;
    const terminal = new Xterm({
      fontFamily: FONT,
      fontSize: 13,
      lineHeight: 1.15,
      theme: COLOURS,
      cursorBlink: true,
      scrollback: 10_000,
      convertEol: false,
      screenReaderMode: true,
    });
    const fit = new FitAddon();
    terminal.loadAddon(fit);
    terminal.open(element);
    terminal.textarea?.setAttribute('aria-label', label);
    fit.fit();
    const resize = new ResizeObserver(() => {
      if (element.clientWidth > 0) fit.fit();
    });
    resize.observe(element);

    let replaying = 0;
    const input = terminal.onData((data) => {
      if (replaying === 0) session.sendSerial(port, data);
    });
    const unsubscribe = session.showSerial(port, {
      reset: () => terminal.reset(),
      data: (bytes, replay) => {
        if (!replay) {
          terminal.write(bytes);
          return;
        }
        replaying++;
        terminal.write(bytes, () => replaying--);
      },
    });
    terminal.focus();
    return () => {
      unsubscribe();
      input.dispose();
      resize.disconnect();
      terminal.dispose();
    };
  }, [session, port, label]);

  return (
    <div className={classes.frame}>
      <div ref={box} className={classes.box} data-testid={`serial-${port + 1}`} />
    </div>
  );
}
