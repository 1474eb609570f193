/**
 * The BIOS ROM at F0000h: a few bytes of real-mode code that hand every service to TypeScript, and the tables that
 * software expects at fixed places (IBM PC BIOS entry points; Phoenix/IBM PS/2 BIOS interface reference).
 *
 * A service stub pushes its vector and all registers and writes SS:SP to the trap port. The firmware reads and changes the
 * frame in guest memory (frame.ts) and leaves a status word on top: done, wait for an interrupt and ask again, or ask again at once.
 * Nothing here depends on the accelerator: it is an ordinary port write.
 */

export const ROM_BYTES = 0x10000;
export const ROM_SEGMENT = 0xf000;
export const ROM_BASE = 0xf0000;

/** Where a 32-bit write of SS:SP (SS in the high half) calls the firmware. */
export const TRAP_PORT = 0x0404;

export const TrapStatus = { done: 0, waitForInterrupt: 1, again: 2 } as const;

/** Pseudo vectors: the power-on self test, a byte from the keyboard (AL), a byte from the pointing device. */
export const TRAP_POST = 0x100;
export const TRAP_SCANCODE = 0x109;
export const TRAP_POINTER = 0x174;

/** Offsets in the ROM segment that software may know. */
export const Rom = {
  post: 0xe05b,
  nmi: 0xe2c3,
  int19: 0xe6f2,
  systemConfiguration: 0xe6f5,
  int14: 0xe739,
  int16: 0xe82e,
  int09: 0xe987,
  int13Floppy: 0xec59,
  int0e: 0xef57,
  floppyParameters: 0xefc7,
  int17: 0xefd2,
  int10: 0xf065,
  videoParameters: 0xf0a4,
  int12: 0xf841,
  int11: 0xf84d,
  int15: 0xf859,
  font8x8: 0xfa6e,
  int1a: 0xfe6e,
  int08: 0xfea5,
  iret: 0xff53,
  reset: 0xfff0,
  // ours
  common: 0x0100,
  stubs: 0x0200,
  pointerInterrupt: 0x0700,
  slaveInterrupt: 0x0780,
  masterInterrupt: 0x0790,
  keyboardInterrupt: 0x07a0,
  rtcInterrupt: 0x07c0,
  font8x16: 0x1000,
  font8x14: 0x2000,
  font8x8High: 0x2e00,
  vbeStrings: 0x3200,
} as const;

/** Vectors with a service stub of their own, 8 bytes apart from Rom.stubs. */
export const SERVICE_VECTORS = [
  0x05,
  0x10,
  0x11,
  0x12,
  0x13,
  0x14,
  0x15,
  0x16,
  0x17,
  0x18,
  0x19,
  0x1a,
  0x40,
  TRAP_POST,
  TRAP_SCANCODE,
  TRAP_POINTER,
] as const;

/** Real-mode code by bytes, with labels for its jumps. */
class Assembler {
  readonly bytes = new Uint8Array(ROM_BYTES);
  private readonly used = new Uint8Array(ROM_BYTES);
  private readonly labels = new Map<string, number>();
  private readonly fixups: { at: number; label: string }[] = [];
  private at = 0;

  org(offset: number): this {
    this.at = offset;
    return this;
  }
  emit(...bytes: number[]): this {
    for (const byte of bytes) {
      if (this.used[this.at]) throw new Error(`two things at ROM offset ${this.at.toString(16)}`);
      this.used[this.at] = 1;
      this.bytes[this.at++] = byte;
    }
    return this;
  }
  word(value: number): this {
    return this.emit(value & 0xff, (value >> 8) & 0xff);
  }
  label(name: string): this {
    this.labels.set(name, this.at);
    return this;
  }
  /** A jump with an 8-bit displacement: JMP EBh, Jcc 70h–7Fh. */
  short(opcode: number, label: string): this {
    this.emit(opcode, 0);
    this.fixups.push({ at: this.at - 1, label });
    return this;
  }
  /** JMP (E9h) or CALL (E8h) with a 16-bit displacement. */
  near(opcode: 0xe8 | 0xe9, target: number): this {
    const relative = (target - (this.at + 3)) & 0xffff;
    return this.emit(opcode).word(relative);
  }
  /** As an INT would: the service ends in IRET. */
  service(vector: number): this {
    return this.emit(0x9c, 0x0e).near(0xe8, stubOffset(vector)); // pushf; push cs; call
  }
  data(offset: number, data: Uint8Array): this {
    this.org(offset);
    for (const byte of data) this.emit(byte);
    return this;
  }
  text(offset: number, value: string): this {
    return this.data(
      offset,
      Uint8Array.from(value, (c) => c.charCodeAt(0)),
    );
  }
  finish(): Uint8Array {
    for (const { at, label } of this.fixups) {
      const distance = (this.labels.get(label) ?? NaN) - (at + 1);
      if (!(distance >= -128 && distance <= 127)) throw new Error(`jump to ${label} is out of reach`);
      this.bytes[at] = distance & 0xff;
    }
    return this.bytes;
  }
}

export function stubOffset(vector: number): number {
  const index = SERVICE_VECTORS.indexOf(vector as (typeof SERVICE_VECTORS)[number]);
  if (index < 0) throw new Error(`no service stub for vector ${vector}`);
  return Rom.stubs + index * 8;
}

export interface RomFonts {
  /** 256 glyphs each. */
  font8x8: Uint8Array;
  font8x14: Uint8Array;
  font8x16: Uint8Array;
}

/** Real-mode far pointers the INT 74h stub reads: the user's pointer handler and the packet, in the EBDA. */
export const POINTER_EBDA = { handler: 0x22, packet: 0x28 } as const;

export function buildRom(fonts: RomFonts, ebdaSegment: number): Uint8Array {
  const a = new Assembler();

  // Save everything, call the firmware, act on its status, restore.
  a.org(Rom.common)
    .emit(0x66, 0x60, 0x1e, 0x06, 0xfc) // pushad; push ds; push es; cld
    .label('ask')
    .emit(0x6a, 0x00) // push 0: status
    .emit(0x66, 0x31, 0xc0, 0x8c, 0xd0, 0x66, 0xc1, 0xe0, 0x10, 0x89, 0xe0) // xor eax,eax; mov ax,ss; shl eax,16; mov ax,sp
    .emit(0xba)
    .word(TRAP_PORT) // mov dx,TRAP_PORT
    .emit(0x66, 0xef, 0x58, 0x84, 0xc0) // out dx,eax; pop ax; test al,al
    .short(0x74, 'done')
    .emit(0x3c, TrapStatus.again)
    .short(0x74, 'spin')
    .emit(0xfb, 0xf4, 0xfa) // sti; hlt; cli
    .short(0xeb, 'ask')
    .label('spin')
    .emit(0xfb, 0x90, 0xfa) // sti; nop; cli
    .short(0xeb, 'ask')
    .label('done')
    .emit(0x07, 0x1f, 0x66, 0x61, 0x83, 0xc4, 0x02, 0xcf); // pop es; pop ds; popad; add sp,2; iret

  for (const vector of SERVICE_VECTORS) {
    a.org(stubOffset(vector)).emit(0x68).word(vector).near(0xe9, Rom.common); // push vector; jmp common
  }

  // IRQ 0: tick count at 40:6C, midnight flag at 40:70, then INT 1Ch. It never calls TypeScript: this is the timer path.
  a.org(Rom.int08)
    .emit(0x50, 0x1e, 0xb8, 0x40, 0x00, 0x8e, 0xd8) // push ax; push ds; mov ax,40h; mov ds,ax
    .emit(0x66, 0xff, 0x06, 0x6c, 0x00) // inc dword [6Ch]
    .emit(0x66, 0x81, 0x3e, 0x6c, 0x00, 0xb0, 0x00, 0x18, 0x00) // cmp dword [6Ch],1800B0h
    .short(0x72, 'today')
    .emit(0x66, 0xc7, 0x06, 0x6c, 0x00, 0x00, 0x00, 0x00, 0x00, 0xfe, 0x06, 0x70, 0x00) // mov dword [6Ch],0; inc byte [70h]
    .label('today')
    .emit(0xcd, 0x1c, 0xb0, 0x20, 0xe6, 0x20, 0x1f, 0x58, 0xcf); // int 1Ch; EOI; pop ds; pop ax; iret

  // IRQ 1: the scancode passes INT 15h/4Fh as on a PS/2, then goes to the buffer. Carry: Ctrl+Break, so INT 1Bh; zero: Print Screen, INT 05h
  // once the interrupt is over, because a screen takes its time to print.
  a.org(Rom.int09).near(0xe9, Rom.keyboardInterrupt);
  a.org(Rom.keyboardInterrupt)
    .emit(0x50, 0xe4, 0x60, 0xb4, 0x4f, 0xf9, 0xcd, 0x15) // push ax; in al,60h; mov ah,4Fh; stc; int 15h
    .short(0x73, 'eaten')
    .service(TRAP_SCANCODE)
    .short(0x73, 'end of key')
    .emit(0xcd, 0x1b) // int 1Bh
    .label('eaten')
    .emit(0x0c, 0x01) // or al,1: not zero
    .label('end of key')
    .emit(0xb0, 0x20, 0xe6, 0x20) // EOI
    .short(0x75, 'no print')
    .emit(0xcd, 0x05) // int 05h
    .label('no print')
    .emit(0x58, 0xcf); // pop ax; iret

  a.org(Rom.masterInterrupt).emit(0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf);
  a.org(Rom.slaveInterrupt).emit(0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf);
  // IRQ 8: reading register C acknowledges the RTC and says why it came; the alarm is a program's INT 4Ah.
  a.org(Rom.rtcInterrupt)
    .emit(0x50, 0xb0, 0x0c, 0xe6, 0x70, 0xe4, 0x71) // push ax; al = CMOS[0Ch]
    .emit(0xa8, 0x20) // test al,20h
    .short(0x74, 'no alarm')
    .emit(0xfb, 0xcd, 0x4a, 0xfa) // sti; int 4Ah; cli
    .label('no alarm')
    .emit(0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf); // EOI; pop ax; iret

  // IRQ 12: the service takes the byte; CF clear means that a packet is complete and somebody wants it.
  a.org(Rom.pointerInterrupt)
    .emit(0x66, 0x60, 0x1e, 0x06) // pushad; push ds; push es
    .service(TRAP_POINTER)
    .short(0x72, 'no packet')
    .emit(0xb8)
    .word(ebdaSegment)
    .emit(0x8e, 0xd8) // mov ax,EBDA; mov ds,ax
    .emit(0xff, 0x36, POINTER_EBDA.packet, 0x00, 0xff, 0x36, POINTER_EBDA.packet + 2, 0x00) // push status; push x
    .emit(0xff, 0x36, POINTER_EBDA.packet + 4, 0x00, 0x6a, 0x00) // push y; push 0
    .emit(0xff, 0x1e, POINTER_EBDA.handler, 0x00, 0x83, 0xc4, 0x08) // call far [handler]; add sp,8
    .label('no packet')
    .emit(0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x07, 0x1f, 0x66, 0x61, 0xcf); // EOI; pop es; pop ds; popad; iret

  a.org(Rom.iret).emit(0xcf);
  a.org(Rom.nmi).emit(0xcf);
  const fixed: [number, number][] = [
    [Rom.int19, 0x19],
    [Rom.int14, 0x14],
    [Rom.int16, 0x16],
    [Rom.int13Floppy, 0x40],
    [Rom.int17, 0x17],
    [Rom.int10, 0x10],
    [Rom.int12, 0x12],
    [Rom.int11, 0x11],
    [Rom.int15, 0x15],
    [Rom.int1a, 0x1a],
  ];
  for (const [offset, vector] of fixed) a.org(offset).near(0xe9, stubOffset(vector));
  a.org(Rom.int0e).near(0xe9, Rom.masterInterrupt);

  // Power-on: interrupt controllers and timer 0, then the self test in TypeScript, then the boot.
  // Before that, as since the AT: a program that had its processor reset to leave protected mode goes on at 40:67. CMOS register 0Fh says so:
  // 5 with the interrupt controllers told that the interrupt at hand is over, 0Ah without.
  a.org(Rom.post)
    .emit(0xfa, 0xfc) // cli; cld
    .emit(0xb0, 0x8f, 0xe6, 0x70, 0xe4, 0x71, 0x88, 0xc4) // al = CMOS[0Fh]; mov ah,al
    .emit(0xb0, 0x00, 0xe6, 0x71, 0x80, 0xfc, 0x0a) // CMOS[0Fh] = 0; cmp ah,0Ah
    .short(0x74, 'resume')
    .emit(0x80, 0xfc, 0x05) // cmp ah,5
    .short(0x75, 'cold')
    .emit(0xe4, 0x60, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20) // in al,60h; EOI
    .label('resume')
    .emit(0x31, 0xc0, 0x8e, 0xd8, 0xff, 0x2e, 0x67, 0x04) // ds = 0; jmp far [467h]
    .label('cold')
    .emit(0x31, 0xc0, 0x8e, 0xd0, 0x8e, 0xd8, 0x8e, 0xc0, 0xbc, 0x00, 0x7c); // ss=ds=es=0; sp=7C00h
  const writes: [number, number][] = [
    [0x11, 0x20], [0x08, 0x21], [0x04, 0x21], [0x01, 0x21], // 8259A master: ICW1–4, vectors 08h–0Fh
    [0x11, 0xa0], [0x70, 0xa1], [0x02, 0xa1], [0x01, 0xa1], // slave: vectors 70h–77h
    [0xb8, 0x21], [0x8e, 0xa1], // open: timer, keyboard, cascade, floppy (6); clock (8), pointer (12), disk (14)
    [0x34, 0x43], [0x00, 0x40], [0x00, 0x40], // 8254 channel 0: mode 2, 65536
  ]; // prettier-ignore
  for (const [value, port] of writes) a.emit(0xb0, value, 0xe6, port);
  a.service(TRAP_POST);
  a.emit(0xfb, 0xcd, 0x19, 0xf4, 0xeb, 0xfd); // sti; int 19h; hlt; jmp -3

  a.org(Rom.reset).emit(0xea).word(Rom.post).word(ROM_SEGMENT); // jmp F000:E05B
  a.text(0xfff5, '11/23/26').org(0xfffe).emit(0xfc); // date; model: AT

  // INT 15h/C0h: 8 bytes follow; model FC (AT), submodel 1, revision 0; features: second 8259, RTC, INT 15h/4Fh, EBDA.
  a.org(Rom.systemConfiguration).emit(0x08, 0x00, 0xfc, 0x01, 0x00, 0x74, 0x40, 0x00, 0x00, 0x00);
  // 1.44 MB diskette: specify bytes, motor off, 512 bytes, 18 sectors, gaps, fill, settle, start, tracks, rate, type.
  a.org(Rom.floppyParameters).emit(0xaf, 0x02, 0x25, 0x02, 0x12, 0x1b, 0xff, 0x6c, 0xf6, 0x0f, 0x08);

  a.data(Rom.font8x16, fonts.font8x16).data(Rom.font8x14, fonts.font8x14);
  a.data(Rom.font8x8, fonts.font8x8.subarray(0, 1024)).data(Rom.font8x8High, fonts.font8x8.subarray(1024));
  a.text(Rom.vbeStrings, VBE_STRINGS.join('\0') + '\0');
  return a.finish();
}

/** OEM string, vendor, product, revision, as VBE function 0 points at them. */
export const VBE_STRINGS = ['Lodge VBE', 'Lodge', 'Bochs-compatible display', '1.0'] as const;
