/* Drawing on the linear framebuffer of a Bochs-compatible display (PCI 1234:1111, or any with the DISPI ports). */
#include "guest.h"

enum { DISPI_INDEX = 0x1ce, DISPI_DATA = 0x1cf, DISPI_ID = 0, DISPI_XRES, DISPI_YRES, DISPI_BPP, DISPI_ENABLE };
enum { POINTER_WIDTH = 12, POINTER_HEIGHT = 19 };

int screen_width, screen_height;
static uint32_t *pixels;

static uint16_t dispi(uint16_t index) { outw(DISPI_INDEX, index); return inw(DISPI_DATA); }
static void dispi_set(uint16_t index, uint16_t value) { outw(DISPI_INDEX, index); outw(DISPI_DATA, value); }

bool screen_init(void) {
	uint32_t base = 0;
	for (int i = 0; i < pci_count; i++) {
		const struct pci_device *d = &pci_devices[i];
		if (d->class == 3) base = pci_read(d->bus, d->slot, d->function, 0x10) & ~15u;
	}
	if (!base || (dispi(DISPI_ID) & 0xfff0) != 0xb0c0) return false;
	dispi_set(DISPI_ENABLE, 0);
	dispi_set(DISPI_XRES, 1024);
	dispi_set(DISPI_YRES, 768);
	dispi_set(DISPI_BPP, 32);
	dispi_set(DISPI_ENABLE, 0x41); /* enabled, linear framebuffer */
	screen_width = dispi(DISPI_XRES);
	screen_height = dispi(DISPI_YRES);
	pixels = (uint32_t *)(uintptr_t)base;
	return true;
}

static uint32_t mix(uint32_t a, uint32_t b, int part, int whole) {
	uint32_t out = 0;
	for (int shift = 0; shift < 24; shift += 8) {
		int x = a >> shift & 255, y = b >> shift & 255;
		out |= (uint32_t)(x + (y - x) * part / whole) << shift;
	}
	return out;
}

static void row(uint32_t *at, int count, uint32_t rgb) {
	__asm__ volatile("rep stosl" : "+D"(at), "+c"(count) : "a"(rgb) : "memory");
}

void fill(int x, int y, int width, int height, uint32_t rgb) {
	for (int i = 0; i < height; i++) row(pixels + (size_t)(y + i) * screen_width + x, width, rgb);
}

void gradient(int x, int y, int width, int height, uint32_t top, uint32_t bottom) {
	for (int i = 0; i < height; i++) row(pixels + (size_t)(y + i) * screen_width + x, width, mix(top, bottom, i, height));
}

void panel(int x, int y, int width, int height, int radius, uint32_t rgb) {
	for (int i = 0; i < height; i++) {
		int edge = i < radius ? radius - i : i >= height - radius ? i - (height - radius) + 1 : 0;
		int inset = 0;
		while (edge && (radius - inset) * (radius - inset) + edge * edge > radius * radius + radius) inset++;
		row(pixels + (size_t)(y + i) * screen_width + x + inset, width - 2 * inset, rgb);
	}
}

void glyph(int x, int y, uint8_t c, uint32_t fg, uint32_t bg) {
	for (int i = 0; i < FONT_HEIGHT; i++) {
		uint32_t *at = pixels + (size_t)(y + i) * screen_width + x;
		uint8_t bits = font[c * FONT_HEIGHT + i];
		for (int j = 0; j < FONT_WIDTH; j++) at[j] = bits & (0x80 >> j) ? fg : bg;
	}
}

void text(int x, int y, const char *s, uint32_t fg, int scale) {
	for (; *s; s++, x += FONT_WIDTH * scale)
		for (int i = 0; i < FONT_HEIGHT; i++)
			for (int j = 0; j < FONT_WIDTH; j++)
				if (font[(uint8_t)*s * FONT_HEIGHT + i] & (0x80 >> j)) fill(x + j * scale, y + i * scale, scale, scale, fg);
}

void scroll_up(int x, int y, int width, int height, int lines, uint32_t bg) {
	for (int i = 0; i < height - lines; i++)
		memcpy(pixels + (size_t)(y + i) * screen_width + x, pixels + (size_t)(y + i + lines) * screen_width + x, width * 4ul);
	fill(x, y + height - lines, width, lines, bg);
}

/* ---- pointer, with what it covers kept aside ---- */
static const char *const pointer_shape[POINTER_HEIGHT] = {
	"#           ", "##          ", "#.#         ", "#..#        ", "#...#       ", "#....#      ", "#.....#     ", "#......#    ", "#.......#   ",
	"#........#  ", "#.........# ", "#......#####", "#...#..#    ", "#..##..#    ", "#.#  #..#   ", "##   #..#   ", "#     #..#  ", "      #..#  ", "       ##   ",
};
static uint32_t covered[POINTER_WIDTH * POINTER_HEIGHT];
static int pointer_x, pointer_y, hidden = 1;

static void pointer_swap(bool draw) {
	for (int i = 0; i < POINTER_HEIGHT && pointer_y + i < screen_height; i++)
		for (int j = 0; j < POINTER_WIDTH && pointer_x + j < screen_width; j++) {
			uint32_t *at = pixels + (size_t)(pointer_y + i) * screen_width + pointer_x + j;
			char c = pointer_shape[i][j];
			if (draw) covered[i * POINTER_WIDTH + j] = *at;
			if (c != ' ') *at = !draw ? covered[i * POINTER_WIDTH + j] : c == '#' ? 0x101820 : 0xffffff;
		}
}

void pointer_hide(void) {
	if (hidden++ == 0) pointer_swap(false);
}

void pointer_show(void) {
	if (--hidden == 0) pointer_swap(true);
}

void pointer_move(int x, int y) {
	pointer_hide();
	pointer_x = x;
	pointer_y = y;
	pointer_show();
}
