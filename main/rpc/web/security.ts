/**
 * Who may talk to the served app. A web page the user happens to visit is the attacker: it can send requests to loopback, open
 * WebSockets there, and by DNS rebinding even look like another origin. So: a secret token, the Host header must name this
 * machine by address, and whatever says where it comes from must come from here.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isIP } from 'node:net';

export const newToken = (): string => randomBytes(24).toString('base64url');

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
/** In constant time, whatever the lengths. */
const equal = (a: string, b: string): boolean => timingSafeEqual(digest(a), digest(b));

/** The host part of a Host header or URL authority, in lower case and without brackets and port; undefined when malformed. */
export function hostName(authority: string | undefined): string | undefined {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?$/i.exec(authority ?? '');
  return (match?.[1] ?? match?.[2])?.toLowerCase();
}

/**
 * Rebinding needs a name that the attacker controls; an address cannot be rebound. `names`: further names that the user gave
 * this server.
 */
export function hostAllowed(authority: string | undefined, names: readonly string[]): boolean {
  const name = hostName(authority);
  return name !== undefined && (isIP(name) !== 0 || name === 'localhost' || name.endsWith('.localhost') || names.includes(name));
}

/** Browsers send Origin with every WebSocket and every upload; what is no browser may leave it out, and still needs the token. */
export function originAllowed(headers: IncomingHttpHeaders): boolean {
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return false;
  const { origin, host } = headers;
  if (origin === undefined) return true;
  let url: URL;
  try {
    url = new URL(origin);
  } catch {
    return false; // "null" of a sandboxed frame or a file
  }
  return (url.protocol === 'http:' || url.protocol === 'https:') && url.host === host?.toLowerCase();
}

/**
 * The page exchanges the token in its address for a cookie at once, so that it does not stay in the address bar. Cookies are
 * shared by all ports of a host: the name tells servers apart, and the value is derived so that it is not the token itself.
 */
export class Session {
  readonly cookieName: string;
  private readonly cookieValue: string;

  constructor(
    readonly token: string,
    port: number,
  ) {
    this.cookieName = `lodge-${port}`;
    this.cookieValue = createHash('sha256').update(`cookie ${token}`).digest('base64url');
  }

  tokenMatches(token: string | null): boolean {
    return token !== null && equal(token, this.token);
  }

  setCookie(): string {
    return `${this.cookieName}=${this.cookieValue}; Path=/; HttpOnly; SameSite=Strict`;
  }

  /** By cookie (pages) or by ?token= (programs). */
  authorized(headers: IncomingHttpHeaders, query: URLSearchParams): boolean {
    if (this.tokenMatches(query.get('token'))) return true;
    for (const part of (headers.cookie ?? '').split(';')) {
      const at = part.indexOf('=');
      if (at > 0 && part.slice(0, at).trim() === this.cookieName && equal(part.slice(at + 1).trim(), this.cookieValue))
        return true;
    }
    return false;
  }
}

/** `host` has passed hostAllowed. Mantine sets style attributes, hence unsafe-inline for styles alone. */
export function securityHeaders(host: string): Record<string, string> {
  return {
    'Content-Security-Policy':
      `default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; ` +
      `connect-src 'self' ws://${host} wss://${host}; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Permissions-Policy': 'camera=(), microphone=(), geolocation=(), usb=(), serial=(), hid=()',
  };
}
