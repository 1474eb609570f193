/**
 * The page may load itself and nothing else: no foreign request, no navigation away, no new windows of its own making, and of
 * the browser's permissions only those a virtual machine's screen needs.
 */
import { pathToFileURL } from 'node:url';
import { shell, type Session, type WebContents } from 'electron';

/** The same policy the server sends; Mantine writes style elements, hence the one 'unsafe-inline'. */
const POLICY = [
  "default-src 'self'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data: blob:",
  "font-src 'self' data:",
  "connect-src 'self'",
  "worker-src 'self' blob:",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-src 'none'",
].join('; ');

const PERMISSIONS = new Set(['fullscreen', 'pointerLock', 'keyboardLock', 'clipboard-sanitized-write']);

export interface PageSource {
  /** URL of the page without a hash. */
  readonly page: string;
  /** Everything the page may load starts with this. */
  readonly origin: string;
  /** The development server needs inline scripts and its own WebSocket. */
  readonly development: boolean;
}

/** `devServer`: set by electron-vite's development mode only. */
export function pageSource(rendererFolder: string, devServer: string | undefined): PageSource {
  if (devServer !== undefined)
    return { page: new URL('/', devServer).href, origin: new URL('/', devServer).href, development: true };
  const folder = pathToFileURL(`${rendererFolder}/`).href;
  return { page: new URL('index.html', folder).href, origin: folder, development: false };
}

export const isOwnPage = (source: PageSource, url: string): boolean => url.replace(/[?#].*$/, '') === source.page;

export function mayLoad(source: PageSource, url: string): boolean {
  if (url.startsWith(source.origin) || url.startsWith('data:') || url.startsWith('devtools:')) return true;
  if (url.startsWith('blob:')) return true;
  return source.development && url.startsWith(source.origin.replace(/^http/, 'ws'));
}

export function protectSession(session: Session, source: PageSource): void {
  session.setPermissionRequestHandler((_contents, permission, done) => done(PERMISSIONS.has(permission)));
  session.setPermissionCheckHandler((_contents, permission) => PERMISSIONS.has(permission));
  session.setDevicePermissionHandler(() => false);
  session.webRequest.onBeforeRequest((details, done) => done({ cancel: !mayLoad(source, details.url) }));
  if (source.development) return;
  session.webRequest.onHeadersReceived((details, done) =>
    done({
      responseHeaders: {
        ...details.responseHeaders,
        'Content-Security-Policy': [POLICY],
        'X-Content-Type-Options': ['nosniff'],
        'Cross-Origin-Opener-Policy': ['same-origin'],
      },
    }),
  );
}

export function protectContents(contents: WebContents, source: PageSource): void {
  const stay = (event: { preventDefault(): void }, url: string): void => {
    if (!isOwnPage(source, url)) event.preventDefault();
  };
  contents.on('will-navigate', (event, url) => stay(event, url));
  contents.on('will-redirect', (event, url) => stay(event, url));
  contents.on('will-attach-webview', (event) => event.preventDefault());
  contents.setWindowOpenHandler(({ url }) => {
    // A link to documentation belongs into the user's browser.
    if (url.startsWith('https://')) void shell.openExternal(url).catch(() => {});
    return { action: 'deny' };
  });
}
