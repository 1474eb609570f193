#!/usr/bin/env node
/**
 * Builds the guest that ships with Lodge: node resources/guest/build.mjs [OUTPUT_DIRECTORY], default out/guest.
 * Writes lodge-guest.bin (a Linux-protocol kernel) and lodge-guest.elf (the same with a PVH entry). Needs gcc and ld for x86-64.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const out = path.resolve(process.argv[2] ?? path.join(here, '../../out/guest'));
const cc = process.env.CC ?? 'gcc';
const FLAGS =
  '-std=gnu17 -O2 -Wall -Wextra -Werror -ffreestanding -fno-pic -fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none ' +
  '-mno-red-zone -mgeneral-regs-only -m64 -mcmodel=small -fno-tree-loop-distribute-patterns';

function run(command, args) {
  const done = spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (done.error) throw new Error(`${command} could not be started (${done.error.message}); install gcc and binutils`);
  if (done.status !== 0) throw new Error(`${command} failed`);
}

/** The 8x16 glyphs of resources/fonts/cp437.json as a C table. */
function fontSource() {
  const glyphs = JSON.parse(fs.readFileSync(path.join(here, '../fonts/cp437.json'), 'utf8'))['8x16'];
  const bytes = glyphs.flatMap((glyph) => glyph.match(/../g).map((byte) => `0x${byte}`));
  return `#include "guest.h"\nconst uint8_t font[256 * FONT_HEIGHT] = {${bytes.join(',')}};\n`;
}

/**
 * The image a Linux boot loader expects: two sectors with the setup header (x86 boot protocol 2.12), then the code that goes
 * to 1 MiB. The real-mode sectors only halt: loaders that use the 32- or 64-bit entry never run them.
 */
function linuxImage(code, memoryBytes) {
  const SETUP_SECTORS = 1;
  const setup = Buffer.alloc(512 * (1 + SETUP_SECTORS));
  const u8 = (at, v) => setup.writeUInt8(v, at);
  const u16 = (at, v) => setup.writeUInt16LE(v, at);
  const u32 = (at, v) => setup.writeUInt32LE(v, at);
  u8(0x1f1, SETUP_SECTORS);
  u32(0x1f4, Math.ceil(code.length / 16)); // syssize
  u16(0x1fe, 0xaa55);
  u16(0x200, 0x62eb); // jmp past the header
  setup.write('HdrS', 0x202, 'latin1');
  u16(0x206, 0x020c);
  u16(0x20e, 0x100); // kernel_version → text at 0x300
  u8(0x211, 0x01); // LOADED_HIGH
  u32(0x214, 0x100000); // code32_start
  u32(0x22c, 0x7fffffff); // initrd_addr_max
  u32(0x230, 0x100000); // kernel_alignment
  u16(0x236, 0x0001); // XLF_KERNEL_64
  u32(0x238, 255); // cmdline_size
  setup.writeBigUInt64LE(0x100000n, 0x258); // pref_address
  u32(0x260, memoryBytes); // init_size
  setup.set([0xfa, 0xf4, 0xeb, 0xfc], 0x264); // cli; hlt; jmp -4
  setup.write('1.0 (Lodge guest)\0', 0x300, 'latin1');
  const padding = Buffer.alloc((16 - (code.length % 16)) % 16);
  return Buffer.concat([setup, code, padding]);
}

const work = fs.mkdtempSync(path.join(os.tmpdir(), 'lodge-guest-'));
try {
  fs.mkdirSync(out, { recursive: true });
  fs.writeFileSync(path.join(work, 'font.c'), fontSource());
  const sources = fs.readdirSync(here).filter((name) => /\.(c|S)$/.test(name));
  const objects = [];
  for (const source of [...sources.map((name) => path.join(here, name)), path.join(work, 'font.c')]) {
    const object = path.join(work, `${path.basename(source)}.o`);
    run(cc, [...FLAGS.split(' '), `-I${here}`, '-c', source, '-o', object]);
    objects.push(object);
  }
  const elf = path.join(work, 'lodge-guest.elf');
  run('ld', [
    '-n',
    '-static',
    '-z',
    'noexecstack',
    '--no-warn-rwx-segments',
    '-T',
    path.join(here, 'link.ld'),
    '-o',
    elf,
    ...objects,
  ]);
  const flat = path.join(work, 'flat');
  run('objcopy', ['-O', 'binary', '-j', '.text', '-j', '.rodata', '-j', '.note', '-j', '.data', elf, flat]);
  fs.copyFileSync(elf, path.join(out, 'lodge-guest.elf'));
  // The entry code sits at 1 MiB and everything, zeroed data included, ends below 2 MiB.
  fs.writeFileSync(path.join(out, 'lodge-guest.bin'), linuxImage(fs.readFileSync(flat), 0x100000));
} catch (error) {
  console.error(`The built-in guest could not be built: ${error.message}`);
  process.exitCode = 1;
} finally {
  fs.rmSync(work, { recursive: true, force: true });
}
