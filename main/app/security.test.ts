import { describe, expect, it, vi } from 'vitest';

vi.mock('electron', () => ({ shell: { openExternal: vi.fn(() => Promise.resolve()) } }));
const { isOwnPage, mayLoad, pageSource, protectContents, protectSession } = await import('./security');
const { shell } = await import('electron');

const source = pageSource('/opt/lodge/out/renderer', undefined);

describe('what the page may load', () => {
  it.each([
    ['file:///opt/lodge/out/renderer/assets/index.js', true],
    ['data:image/png;base64,AA', true],
    ['blob:file:///1234', true],
    ['file:///etc/passwd', false],
    ['file:///opt/lodge/out/renderer/../../../../etc/passwd', false],
    ['file:///opt/lodge/out/renderer-evil/x.js', false],
    ['https://example.org/', false],
    ['ws://127.0.0.1:1/', false],
  ])('%s: %s', (url, allowed) => {
    // Chromium hands out normalised addresses.
    const normal = url.startsWith('file:') ? new URL(url).href : url;
    expect(mayLoad(source, normal)).toBe(allowed);
  });

  it('knows its own page whatever the route', () => {
    expect(isOwnPage(source, 'file:///opt/lodge/out/renderer/index.html#/vm/1')).toBe(true);
    expect(isOwnPage(source, 'file:///opt/lodge/out/renderer/other.html')).toBe(false);
    expect(isOwnPage(source, 'https://example.org/index.html')).toBe(false);
  });
});

describe('a page that tries to get away', () => {
  const handlers = new Map<string, (event: { preventDefault(): void }, url: string) => void>();
  let open: ((details: { url: string }) => { action: string }) | undefined;
  protectContents(
    {
      on: (name: string, handler: never) => handlers.set(name, handler),
      setWindowOpenHandler: (handler: typeof open) => (open = handler),
    } as never,
    source,
  );

  it.each(['will-navigate', 'will-redirect'])('%s is refused for foreign pages only', (name) => {
    const event = { preventDefault: vi.fn() };
    handlers.get(name)!(event, 'file:///opt/lodge/out/renderer/index.html#/new');
    expect(event.preventDefault).not.toHaveBeenCalled();
    handlers.get(name)!(event, 'https://example.org/');
    expect(event.preventDefault).toHaveBeenCalledOnce();
  });

  it('gets no window; a web link goes to the browser', () => {
    expect(open!({ url: 'file:///etc/passwd' })).toEqual({ action: 'deny' });
    expect(shell.openExternal).not.toHaveBeenCalled();
    expect(open!({ url: 'https://example.org/' })).toEqual({ action: 'deny' });
    expect(shell.openExternal).toHaveBeenCalledWith('https://example.org/');
  });
});

describe('the session', () => {
  it('sends the policy and grants only what a screen needs', () => {
    let ask: (contents: unknown, permission: string, done: (granted: boolean) => void) => void = () => {};
    let headers: (details: object, done: (result: { responseHeaders: Record<string, string[]> }) => void) => void = () => {};
    const session = {
      setPermissionRequestHandler: (handler: typeof ask) => (ask = handler),
      setPermissionCheckHandler: vi.fn(),
      setDevicePermissionHandler: vi.fn(),
      webRequest: { onBeforeRequest: vi.fn(), onHeadersReceived: (handler: typeof headers) => (headers = handler) },
    };
    protectSession(session as never, source);
    const granted = (permission: string): boolean => {
      let result = false;
      ask(undefined, permission, (value) => (result = value));
      return result;
    };
    expect(['fullscreen', 'pointerLock', 'keyboardLock'].every(granted)).toBe(true);
    expect(['media', 'geolocation', 'notifications', 'openExternal', 'hid', 'usb'].some(granted)).toBe(false);
    headers({ responseHeaders: {} }, ({ responseHeaders }) => {
      const policy = responseHeaders['Content-Security-Policy']![0]!;
      expect(policy).toContain("default-src 'self'");
      expect(policy).toMatch(/script-src 'self'(;|$)/);
      expect(policy).not.toContain('unsafe-eval');
    });
  });
});
