/* The screen's layout: a terminal on the left, what the machine is on the right. The terminal's text also goes to COM1. */
#include "guest.h"

enum { MARGIN = 24, HEADER = 96, GAP = 16, SIDE = 320, PAD = 16, LINE = 18 };
#define BACKGROUND_TOP 0x0f2a3a
#define BACKGROUND_BOTTOM 0x07141d
#define CARD 0x0b1c27
#define CARD_SIDE 0x10303f
#define INK 0xdce8ee
#define FAINT 0x7fa3b5
#define ACCENT 0xf2b45a

static int left, top, columns, rows, column, line;
static int side_x, side_y, fact_y, side_columns;

void console_init(void) {
	if (!screen_init()) return;
	gradient(0, 0, screen_width, screen_height, BACKGROUND_TOP, BACKGROUND_BOTTOM);
	/* the mark: a gable roof over a door */
	for (int i = 0; i < 24; i++) fill(MARGIN + 24 - i, 28 + i, 2 * i + 1, 1, ACCENT);
	fill(MARGIN + 6, 52, 37, 22, ACCENT);
	fill(MARGIN + 20, 58, 9, 16, BACKGROUND_TOP);
	text(MARGIN + 64, 24, "Lodge", INK, 3);
	text(MARGIN + 212, 48, "the guest in the box", FAINT, 1);

	int height = screen_height - HEADER - MARGIN, width = screen_width - 2 * MARGIN - SIDE - GAP;
	panel(MARGIN, HEADER, width, height, 10, CARD);
	left = MARGIN + PAD;
	top = HEADER + PAD;
	columns = (width - 2 * PAD) / FONT_WIDTH;
	rows = (height - 2 * PAD) / LINE;
	side_x = MARGIN + width + GAP + PAD;
	side_y = HEADER + PAD;
	side_columns = (SIDE - 2 * PAD) / FONT_WIDTH;
	panel(side_x - PAD, HEADER, SIDE, height, 10, CARD_SIDE);
	text(side_x, side_y, "This machine", ACCENT, 1);
	fact_y = side_y + 2 * LINE;
}

static void caret(bool on) {
	fill(left + column * FONT_WIDTH, top + line * LINE + 14, FONT_WIDTH, 2, on ? ACCENT : CARD);
}

static void new_line(void) {
	column = 0;
	if (line + 1 < rows) line++;
	else scroll_up(left, top, columns * FONT_WIDTH, rows * LINE, LINE, CARD);
}

void put(char c) {
	serial_put(c);
	if (!screen_width) return;
	pointer_hide();
	caret(false);
	if (c == '\n') new_line();
	else if (c == '\b') {
		if (column) column--;
		glyph(left + column * FONT_WIDTH, top + line * LINE, ' ', INK, CARD);
	} else {
		if (column == columns) new_line();
		glyph(left + column * FONT_WIDTH, top + line * LINE, c, INK, CARD);
		column++;
	}
	if (column < columns) caret(true);
	pointer_show();
}

void print(const char *fmt, ...) {
	char buffer[512];
	va_list args;
	va_start(args, fmt);
	vformat(buffer, sizeof buffer, fmt, args);
	va_end(args);
	for (const char *p = buffer; *p; p++) put(*p);
}

static void side_line(int y, const char *s, uint32_t rgb) {
	for (int i = 0; i < side_columns; i++) glyph(side_x + i * FONT_WIDTH, y, *s ? *s++ : ' ', rgb, CARD_SIDE);
}

void fact(const char *label, const char *fmt, ...) {
	char buffer[128];
	va_list args;
	va_start(args, fmt);
	vformat(buffer, sizeof buffer, fmt, args);
	va_end(args);
	if (!screen_width) return;
	if (*label) {
		fact_y += 6;
		side_line(fact_y, label, FAINT);
		fact_y += LINE;
	}
	for (const char *p = buffer; *p;) { /* wrapped */
		char piece[64];
		size_t n = strlen(p) < (size_t)side_columns ? strlen(p) : (size_t)side_columns;
		memcpy(piece, p, n);
		piece[n] = 0;
		side_line(fact_y, piece, INK);
		fact_y += LINE;
		p += n;
	}
}

void live(int row_from_bottom, const char *fmt, ...) {
	char buffer[64];
	va_list args;
	va_start(args, fmt);
	vformat(buffer, sizeof buffer, fmt, args);
	va_end(args);
	if (!screen_width) return;
	pointer_hide();
	side_line(screen_height - MARGIN - PAD - LINE * (row_from_bottom + 1), buffer, FAINT);
	pointer_show();
}
