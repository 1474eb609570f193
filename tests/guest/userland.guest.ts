/**
 * Debian's own programs compute the same under Lodge's processor as on the host's: Perl, Python's tests of itself, OpenSSL, SQLite, and
 * GCC with what it compiles for the vector, bit and x87 instructions, interrupted by signals and by each other. About 60 s, a third of
 * it the packages, which are kept; LODGE_TEST_FULL=1 adds longer tests of Python's, and the interpreter.
 */
import { expect, it } from 'vitest';
import { BOOT_SECONDS, boot, fixture, PATIENCE, scratch, section, TIER } from './harness';
import { userland } from './userland';

const FULL = Boolean(process.env['LODGE_TEST_FULL']);
const PARTS = [
  ...['perl', 'gcm', 'openssl', 'sqlite', 'gcc', 'together', 'python:math,struct'],
  ...(FULL ? ['python:re,json,hashlib,float,long,cmath,decimal', 'python:zlib,bz2,random,array,statistics,pickle,binascii'] : []),
];
/** The same programs as 32-bit code, without Python's: about 30 s, and their packages. */
const PARTS_I386 = [
  'perl',
  'openssl',
  'sqlite',
  'gcc',
  ...(FULL ? ['gcm', 'together', 'python:math,struct,re,json,decimal'] : []),
];
/** For each part, on two busy cores. */
const PART_SECONDS = FULL ? 600 : 120;

const ARCHITECTURES = [
  { architecture: 'amd64', parts: PARTS },
  { architecture: 'i386', parts: PARTS_I386 },
] as const;
const TIERS = FULL ? [TIER, ['--tier', 'interpreter']] : [TIER];

it.for(ARCHITECTURES.flatMap((each) => TIERS.map((tier) => ({ ...each, tier }))))(
  'Debian’s programs compute what they do on the host ($architecture $tier)',
  { timeout: (BOOT_SECONDS + PARTS.length * PART_SECONDS) * 1000 * PATIENCE },
  async ({ architecture, parts, tier }, context) => {
    const guest = fixture(context, 'linux-image-cloud-amd64');
    const made = (() => {
      try {
        return userland(parts, guest.initrd, scratch(), architecture);
      } catch (e) {
        return context.skip(`Debian’s programs cannot be had: ${(e as Error).message.split('\n')[0]}`);
      }
    })();
    const run = boot(
      { ...guest, initrd: made.initrd },
      {
        memory: 768,
        cpus: 2,
        append: `quiet rdinit=/userland lodge.parts=${parts.join('+')}`,
        extra: ['--accelerator', 'software', ...tier, '--disk', `${made.disk},readonly`],
      },
    );
    for (const [index, part] of parts.entries()) {
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
