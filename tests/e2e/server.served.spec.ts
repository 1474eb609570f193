/** Who may talk to the server. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { expect, test, type ServedLodge } from './lodge';

test.describe('the server', () => {
  interface Reply {
    status: number;
    headers: IncomingMessage['headers'];
    body: string;
  }
  /** Plain HTTP with any headers; an upgrade that succeeds is status 101. */
  function ask(origin: string, path: string, headers: Record<string, string>, method = 'GET'): Promise<Reply> {
    const { hostname, port } = new URL(origin);
    return new Promise((done, failed) => {
      // The path goes out as it is: URL would tidy up what a hostile client does not.
      const request = httpRequest({ host: hostname, port, path, method, headers });
      request.on('response', (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => (body += text));
        response.on('end', () => done({ status: response.statusCode ?? 0, headers: response.headers, body }));
      });
      request.on('upgrade', (response, socket) => {
        socket.destroy();
        done({ status: response.statusCode ?? 0, headers: response.headers, body: '' });
      });
      request.on('error', failed);
      request.end();
    });
  }
  const upgrade = {
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
  };

  test('is unusable without its token, from a foreign page and under a foreign name', async ({ lodge }) => {
    const served = lodge as ServedLodge;
    const origin = new URL(served.url).origin;
    const cookie = (await served.context.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ');
    expect(cookie, 'the session is a cookie').not.toBe('');
    expect((await served.context.cookies()).every((c) => c.httpOnly && c.sameSite === 'Strict')).toBe(true);

    expect((await ask(origin, '/api', { ...upgrade, Origin: origin, Cookie: cookie })).status).toBe(101);
    const refused: [string, Record<string, string>][] = [
      ['no cookie', { ...upgrade, Origin: origin }],
      ['a wrong cookie', { ...upgrade, Origin: origin, Cookie: cookie.replace(/=.*/, '=AAAA') }],
      ['a foreign origin', { ...upgrade, Origin: 'https://example.org', Cookie: cookie }],
      ['the null origin', { ...upgrade, Origin: 'null', Cookie: cookie }],
      ['a foreign host name', { ...upgrade, Origin: 'http://example.org', Host: 'example.org', Cookie: cookie }],
    ];
    for (const [what, headers] of refused) {
      const { status } = await ask(origin, '/api', headers);
      expect(status, what).toBeGreaterThanOrEqual(400);
    }
    const viewer = '/viewer/00000000-0000-4000-8000-000000000000';
    expect((await ask(origin, viewer, { ...upgrade, Origin: origin })).status).toBeGreaterThanOrEqual(400);
    expect((await ask(origin, '/upload?name=x.iso', { Origin: origin }, 'PUT')).status).toBeGreaterThanOrEqual(400);
    expect(
      (await ask(origin, '/upload?name=x.iso', { Origin: 'https://example.org', Cookie: cookie }, 'PUT')).status,
    ).toBeGreaterThanOrEqual(400);
  });

  test('sends its policy, and only files of the page', async ({ lodge }) => {
    const served = lodge as ServedLodge;
    const origin = new URL(served.url).origin;
    const cookie = (await served.context.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ');
    const page = await ask(origin, '/', { Cookie: cookie });
    expect(page.headers['content-security-policy']).toContain("script-src 'self'");
    expect(page.headers['content-security-policy']).not.toMatch(/script-src[^;]*unsafe/);
    expect(page.headers['x-content-type-options']).toBe('nosniff');
    for (const path of [
      '/../package.json',
      '/..%2f..%2fpackage.json',
      '/%2e%2e/%2e%2e/package.json',
      '/assets/..%5c..%5cpackage.json',
    ]) {
      const reply = await ask(origin, path, { Cookie: cookie });
      expect(reply.body, path).not.toContain('"electron-builder"');
    }
  });
});
