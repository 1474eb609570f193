// Sets every video mode in turn, fills its memory with a pattern, says on COM1 what it did, and waits there for a byte.
// The pattern: byte o of a 64 KiB bank or plane n is (o * 29 + (o >> 8) * 113) ^ (n * 67), see modes.guest.ts, which knows what
// each picture must look like. Real mode, 32-bit code; GS is flat.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

#define FLAT(type, at) ((volatile type __seg_gs *)(at))
#define PATTERN 0x20000u

struct registers {
  u32 ax, bx, cx, dx, di, bp, es;
};
void int10(struct registers *r);
void flatten(void);

static inline void outb(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void outw(u16 port, u16 value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static inline u8 inb(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static void put(char c) {
  while (!(inb(0x3fd) & 0x20)) {
  }
  outb(0x3f8, (u8)c);
}
static void text(const char *s) {
  while (*s) put(*s++);
}
static void number(u32 n) {
  char digits[12];
  int i = 0;
  do digits[i++] = (char)('0' + n % 10);
  while (n /= 10);
  put(' ');
  while (i) put(digits[--i]);
}
static void wait(void) {
  text("\r\n");
  while (!(inb(0x3fd) & 1)) {
  }
  inb(0x3f8);
}
static void shown(const char *name) {
  text("MODE ");
  text(name);
  wait();
}

static u32 bios(u32 ax, u32 bx, u32 cx, u32 dx) {
  struct registers r = {ax, bx, cx, dx, 0, 0, 0};
  int10(&r);
  flatten();
  return r.ax & 0xffff;
}

static void crtc(u8 index, u8 value) { outw(0x3d4, (u16)(index | value << 8)); }
static void sequencer(u8 index, u8 value) { outw(0x3c4, (u16)(index | value << 8)); }
static void graphics(u8 index, u8 value) { outw(0x3ce, (u16)(index | value << 8)); }
static void attribute(u8 index, u8 value) {
  inb(0x3da);
  outb(0x3c0, index);
  outb(0x3c0, value);
  outb(0x3c0, 0x20);
}

static void fill(u32 at, u32 bytes, u32 bank, u32 mask) {
  const u32 key = (bank * 67 & 0xff) * 0x01010101u;
  for (u32 i = 0; i < bytes; i += 4) *FLAT(u32, at + i) = (*FLAT(u32, PATTERN + i) ^ key) & mask;
}

static void palette(u8 mask) {
  outb(0x3c8, 0);
  for (u32 i = 0; i < 256; i++) {
    outb(0x3c9, (u8)(i * 7) & mask);
    outb(0x3c9, (u8)(i * 3 + 5) & mask);
    outb(0x3c9, (u8)(255 - i) & mask);
  }
}

// No blinking, no cursor: the picture must not depend on the time.
static void fillText(u32 window) {
  fill(window, 0x8000, 0, 0x7fff7fff);
  bios(0x0100, 0, 0x2000, 0);
}

static void loadFont(u32 offset, u32 map) {
  struct registers r = {0x1100, 16 << 8 | map, 256, 0, 0, offset, PATTERN >> 4};
  int10(&r);
  flatten();
}

static void textModes(void) {
  static const struct { u8 mode; const char *name; } kModes[] = {{0, "text 0"}, {1, "text 1"}, {2, "text 2"}, {3, "text 3"}};
  for (u32 i = 0; i < 4; i++) {
    bios(kModes[i].mode, 0, 0, 0);
    fillText(0xb8000);
    shown(kModes[i].name);
  }
  bios(0x07, 0, 0, 0);
  fillText(0xb0000);
  shown("text 7");

  bios(0x03, 0, 0, 0);
  bios(0x1111, 0, 0, 0);
  fillText(0xb8000);
  shown("text 28 lines");
  bios(0x03, 0, 0, 0);
  bios(0x1112, 0, 0, 0);
  fillText(0xb8000);
  shown("text 50 lines");
  bios(0x1201, 0x30, 0, 0);
  bios(0x03, 0, 0, 0);
  bios(0x1112, 0, 0, 0);
  fillText(0xb8000);
  shown("text 43 lines");
  bios(0x1202, 0x30, 0, 0);

  bios(0x03, 0, 0, 0);
  loadFont(0x1000, 0);
  fillText(0xb8000);
  shown("text user font");
  loadFont(0x4000, 1);
  bios(0x1103, 0x04, 0, 0);
  shown("text 512 characters");

  bios(0x03, 0, 0, 0);
  fillText(0xb8000);
  crtc(0x0c, 0x01);
  crtc(0x0d, 0x23);
  crtc(0x08, 0x25);  // byte panning 1, preset row scan 5
  attribute(0x13, 2);
  crtc(0x18, 0x2b);  // line compare 299
  crtc(0x07, 0x1f);
  crtc(0x09, 0x0f);
  attribute(0x10, 0x2c);  // the lower part does not pan
  shown("text scrolled");
}

static void planes(u32 bytes, u32 bank) {
  for (u8 plane = 0; plane < 4; plane++) {
    sequencer(2, (u8)(1 << plane));
    fill(0xa0000, bytes, plane + 4 * bank, 0xffffffff);
  }
  sequencer(2, 0x0f);
}

static void graphicsModes(void) {
  static const struct { u8 mode; u32 bytes; const char *name; } kPlanar[] = {
    {0x0d, 0x2000, "planar 13"}, {0x0e, 0x4000, "planar 14"}, {0x0f, 0x7000, "planar 15"},
    {0x10, 0x7000, "planar 16"}, {0x11, 0xa000, "planar 17"}, {0x12, 0xa000, "planar 18"},
  };
  static const struct { u8 mode; const char *name; } kCga[] = {{4, "cga 4"}, {5, "cga 5"}, {6, "cga 6"}};
  for (u32 i = 0; i < 3; i++) {
    bios(kCga[i].mode, 0, 0, 0);
    fill(0xb8000, 0x4000, 0, 0xffffffff);
    shown(kCga[i].name);
  }
  for (u32 i = 0; i < 6; i++) {
    bios(kPlanar[i].mode, 0, 0, 0);
    planes(kPlanar[i].bytes, 0);
    shown(kPlanar[i].name);
  }

  // 64 bytes a line, scrolled, panned and split; the lower part pans too.
  bios(0x0d, 0, 0, 0);
  planes(0x10000, 0);
  crtc(0x13, 32);
  crtc(0x0c, 0x12);
  crtc(0x0d, 0x34);
  crtc(0x08, 0x60);
  attribute(0x13, 3);
  crtc(0x18, 0x04);  // line compare 260
  crtc(0x09, 0x80);
  crtc(0x07, 0x1f);
  shown("planar scrolled");

  bios(0x13, 0, 0, 0);
  palette(0x3f);
  fill(0xa0000, 0x10000, 0, 0xffffffff);
  shown("packed 19");

  // 320×240, unchained.
  bios(0x13, 0, 0, 0);
  palette(0x3f);
  sequencer(0, 1);
  sequencer(4, 0x06);
  outb(0x3c2, 0xe3);
  sequencer(0, 3);
  crtc(0x11, 0x2c);
  crtc(0x06, 0x0d);
  crtc(0x07, 0x3e);
  crtc(0x10, 0xea);
  crtc(0x11, 0xac);
  crtc(0x12, 0xdf);
  crtc(0x14, 0x00);
  crtc(0x15, 0xe7);
  crtc(0x16, 0x06);
  crtc(0x17, 0xe3);
  planes(0x10000, 0);
  shown("unchained");
  crtc(0x0c, 0x4b);
  attribute(0x13, 4);
  crtc(0x18, 0x90);  // line compare 400
  crtc(0x09, 0x01);
  shown("unchained scrolled");
}

// The data path of the planes, seen through what each operation is for. Blocks of 16×16 on a background of colour 9.
static void writeModes(void) {
  bios(0x12, 0, 0, 0);
  graphics(1, 0x0f);
  graphics(0, 9);
  for (u32 i = 0; i < 0xa000; i += 4) *FLAT(u32, 0xa0000 + i) = 0;
  for (u32 block = 0; block < 8; block++) {
    for (u32 y = 0; y < 16; y++) {
      const u32 at = 0xa0000 + (block * 32 + y) * 80 + 10;
      for (u32 x = 0; x < 2; x++) {
        (void)*FLAT(u8, at + x);
        switch (block) {
          case 0:  // set/reset through a bit mask
            graphics(0, 6);
            graphics(8, 0x3c);
            *FLAT(u8, at + x) = 0xff;
            break;
          case 1:  // set/reset of two planes, data for the others
            graphics(1, 0x03);
            graphics(0, 0x01);
            graphics(8, 0xff);
            *FLAT(u8, at + x) = 0xa5;
            break;
          case 2:  // write mode 2: a colour
            graphics(5, 2);
            graphics(8, 0x0f);
            *FLAT(u8, at + x) = 12;
            break;
          case 3:  // write mode 3: the byte, rotated by 3, is the mask
            graphics(5, 3);
            graphics(3, 3);
            graphics(8, 0x7e);
            graphics(0, 14);
            *FLAT(u8, at + x) = 0xe1;
            break;
          case 4:  // XOR with a rotated byte
            graphics(1, 0);
            graphics(3, 0x18 | 1);
            graphics(8, 0xff);
            *FLAT(u8, at + x) = 0x03;
            break;
          case 5:  // AND in two planes
            graphics(1, 0);
            graphics(3, 0x08);
            sequencer(2, 0x09);
            *FLAT(u8, at + x) = 0x0f;
            break;
          case 6:  // OR
            graphics(1, 0);
            graphics(3, 0x10);
            sequencer(2, 0x06);
            *FLAT(u8, at + x) = 0x81;
            break;
          case 7:  // write mode 1: a copy of block 3, all planes at once
            graphics(5, 1);
            (void)*FLAT(u8, at + x - 4 * 32 * 80);
            *FLAT(u8, at + x) = 0;
            break;
        }
        graphics(0, 9);
        graphics(1, 0x0f);
        graphics(3, 0);
        graphics(5, 0);
        graphics(8, 0xff);
        sequencer(2, 0x0f);
      }
    }
  }
  // Read mode 1 finds colour 6 in block 0: on the serial line, as the picture cannot tell.
  graphics(5, 8);
  graphics(2, 6);
  graphics(7, 0x0f);
  volatile u32 at = 0xa0000 + 10;  // not a constant: the assembler would cut it to 16 bits
  const u8 found = *FLAT(u8, at);
  graphics(5, 0);
  text("FOUND");
  number(found);
  text("\r\n");
  shown("write modes");
}

static u8 information[512];
static u8 modeInformation[256];
#define AT16(array, offset) (*(u16 *)&(array)[offset])
#define AT32(array, offset) (*(u32 *)&(array)[offset])

static int vbeBlock(u32 ax, u32 cx, void *block) {
  struct registers r = {ax, 0, cx, 0, (u32)block, 0, 0};
  int10(&r);
  flatten();
  return (r.ax & 0xffff) == 0x004f;
}

static void vbePixels(u32 bytes, int linear) {
  if (linear) {
    const u32 base = AT32(modeInformation, 40);
    for (u32 bank = 0; bank << 16 < bytes; bank++) {
      const u32 left = bytes - (bank << 16);
      fill(base + (bank << 16), left < 0x10000 ? left : 0x10000, bank, 0xffffffff);
    }
    return;
  }
  for (u32 bank = 0; bank << 16 < bytes; bank++) {
    const u32 left = bytes - (bank << 16);
    if (bios(0x4f05, 0, 0, bank) != 0x004f) text("NO BANK\r\n");
    fill(0xa0000, left < 0x10000 ? left : 0x10000, bank, 0xffffffff);
  }
}

static void vbeMode(u32 mode, int linear) {
  const u32 width = AT16(modeInformation, 18), height = AT16(modeInformation, 20), pitch = AT16(modeInformation, 16);
  const u8 bits = modeInformation[25];
  if (bios(0x4f02, mode | (linear ? 0x4000 : 0), 0, 0) != 0x004f) {
    text("NO MODE\r\n");
    return;
  }
  if (bits == 8) palette(0x3f);
  if (bits == 4) {
    for (u32 bank = 0; bank << 16 < pitch * height; bank++) {
      const u32 left = pitch * height - (bank << 16);
      if (bios(0x4f05, 0, 0, bank) != 0x004f) text("NO BANK\r\n");
      planes(left < 0x10000 ? left : 0x10000, bank);
    }
    if (bios(0x4f05, 0, 0, 4) == 0x004f) text("NO END OF THE BANKS\r\n");
  }
  else
    vbePixels(pitch * height, linear);
  text(linear ? "MODE vbe linear" : "MODE vbe banked");
  number(mode);
  number(width);
  number(height);
  number(bits);
  number(pitch);
  wait();
}

static void vbeModes(void) {
  *(u32 *)information = 0x32454256;
  if (!vbeBlock(0x4f00, 0, information)) return;
  const u32 list = AT16(information, 16) * 16u + AT16(information, 14);
  u32 linearBits = 0;
  for (u32 i = 0; i < 256; i++) {
    const u16 mode = *FLAT(u16, list + 2 * i);
    if (mode == 0xffff) break;
    if (!vbeBlock(0x4f01, mode, modeInformation)) {
      text("NO INFORMATION\r\n");
      continue;
    }
    vbeMode(mode, 0);
    // One mode of each depth through the linear framebuffer as well.
    const u32 depth = 1u << (modeInformation[25] & 31);
    if (AT16(modeInformation, 18) == 640 && !(linearBits & depth) && AT16(modeInformation, 20) == 480) {
      linearBits |= depth | (modeInformation[25] == 32);
      vbeMode(mode, 1);
    }
  }

  // A picture inside a larger one, and a DAC of eight bits.
  vbeBlock(0x4f01, 0x101, modeInformation);
  bios(0x4f02, 0x101, 0, 0);
  bios(0x4f06, 0, 1000, 0);
  vbePixels(1000 * 600, 0);
  bios(0x4f07, 0, 77, 55);
  bios(0x4f08, 0x0800, 0, 0);
  palette(0xff);
  shown("vbe virtual");
}

void run(void) {
  flatten();
  for (u32 i = 0; i < 0x10000; i++) *FLAT(u8, PATTERN + i) = (u8)(i * 29 + (i >> 8) * 113);
  textModes();
  graphicsModes();
  writeModes();
  vbeModes();
  bios(0x03, 0, 0, 0);
  text("DONE\r\n");
}
