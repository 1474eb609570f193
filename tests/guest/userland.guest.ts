/**
 * Debian's own programs compute the same under Lodge's processor as on the host's: Perl, Python's tests of itself, OpenSSL, SQLite, and
 * GCC with what it compiles for the vector, bit and x87 instructions. About 75 s, a third of it the packages; LODGE_TEST_FULL=1 adds
 * longer tests of Python's, and the interpreter.
 */
import { expect, it } from 'vitest';
import { BOOT_SECONDS, boot, fixture, PATIENCE, scratch, section, TIER } from './harness';
import { userland } from './userland';

const FULL = Boolean(process.env['LODGE_TEST_FULL']);
const PARTS = [
  ...['perl', 'gcm', 'openssl', 'sqlite', 'gcc', 'python:math,struct'],
  ...(FULL
    ? [
        'python:hashlib,json,re,decimal,float,long,cmath,zlib,lzma,bz2,random,statistics,array,unicodedata,audioop,fractions,pickle,binascii',
      ]
    : []),
];
/** For each part, on two busy cores. */
const PART_SECONDS = FULL ? 600 : 120;

it.for(FULL ? [TIER, ['--tier', 'interpreter']] : [TIER])(
  'Debian’s programs compute what they do on the host (%s %s)',
  { timeout: (BOOT_SECONDS + PARTS.length * PART_SECONDS) * 1000 * PATIENCE },
  async (tier, context) => {
    const guest = fixture(context, 'linux-image-cloud-amd64');
    const made = (() => {
      try {
        return userland(PARTS, guest.initrd, scratch());
      } catch (e) {
        return context.skip(`Debian’s programs cannot be had: ${(e as Error).message.split('\n')[0]}`);
      }
    })();
    const run = boot(
      { ...guest, initrd: made.initrd },
      {
        memory: 768,
        append: `quiet rdinit=/userland lodge.parts=${PARTS.join('+')}`,
        extra: ['--accelerator', 'software', ...tier, '--disk', `${made.disk},readonly`],
      },
    );
    for (const [index, part] of PARTS.entries()) {
      await run.waitFor(new RegExp(`LODGE-END ${part}`), PART_SECONDS + (index === 0 ? BOOT_SECONDS : 0));
      const expected = section(made.expected, part);
      // A program that could not start would be the same everywhere.
      expect(expected.length, part).toBeGreaterThan(3);
      expect(
        expected.filter((line) => /FAILED|WRONG|not found|rror:/.test(line)),
        part,
      ).toEqual([]);
      expect(section(run.text, part), part).toEqual(expected);
    }
    await run.waitFor(/LODGE-DONE/, 30);
    expect((await run.ended(60)).code).toBe(0);
  },
);
