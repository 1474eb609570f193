/* PS/2 keyboard (translated scancode set 1, US layout) and mouse behind an i8042. */
#include "guest.h"

enum { DATA = 0x60, STATUS = 0x64, COMMAND = 0x64, OUTPUT_FULL = 1, INPUT_FULL = 2, FROM_MOUSE = 0x20 };
enum { RING = 64, SPINS = 100000 };

volatile int mouse_x, mouse_y, mouse_buttons;
volatile bool mouse_moved;
bool has_mouse;
static volatile char ring[RING];
static volatile unsigned head, tail;
static bool shift, control, caps, extended;
static uint8_t packet[3];
static int packet_bytes;

static const char plain[] = "\0\033" "1234567890-=\b\tqwertyuiop[]\n\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
static const char shifted[] = "\0\033" "!@#$%^&*()_+\b\tQWERTYUIOP{}\n\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";

static void keyboard_byte(uint8_t code) {
	if (code == 0xe0) { extended = true; return; }
	bool was_extended = extended, up = code & 0x80;
	extended = false;
	code &= 0x7f;
	if (code == 0x2a || code == 0x36) { if (!was_extended) shift = !up; return; }
	if (code == 0x1d) { control = !up; return; }
	if (up) return;
	if (code == 0x3a) { caps = !caps; return; }
	if (code >= sizeof plain - 1 || (was_extended && code != 0x1c && code != 0x35)) return;
	char c = shift ? shifted[code] : plain[code];
	if (caps && c >= 'a' && c <= 'z') c -= 32;
	else if (caps && c >= 'A' && c <= 'Z') c += 32;
	if (control && c >= 'a' && c <= 'z') c -= 96;
	if (c && head - tail < RING) ring[head++ % RING] = c;
}

static void mouse_byte(uint8_t byte) {
	if (packet_bytes == 0 && !(byte & 8)) return; /* out of step: bit 3 of the first byte is always set */
	packet[packet_bytes++] = byte;
	if (packet_bytes < 3) return;
	packet_bytes = 0;
	int dx = packet[1] - (packet[0] & 0x10 ? 256 : 0), dy = packet[2] - (packet[0] & 0x20 ? 256 : 0);
	int x = mouse_x + dx, y = mouse_y - dy;
	mouse_x = x < 0 ? 0 : x >= screen_width ? screen_width - 1 : x;
	mouse_y = y < 0 ? 0 : y >= screen_height ? screen_height - 1 : y;
	mouse_buttons = packet[0] & 7;
	mouse_moved = true;
}

void input_interrupt(void) {
	uint8_t status;
	while ((status = inb(STATUS)) & OUTPUT_FULL) {
		uint8_t byte = inb(DATA);
		if (status & FROM_MOUSE) mouse_byte(byte);
		else keyboard_byte(byte);
	}
}

int key_take(void) {
	return head == tail ? -1 : ring[tail++ % RING];
}

static void send(uint16_t port, uint8_t value) {
	for (int i = 0; i < SPINS && inb(STATUS) & INPUT_FULL; i++) {}
	outb(port, value);
}

static int receive(void) {
	for (int i = 0; i < SPINS; i++)
		if (inb(STATUS) & OUTPUT_FULL) return inb(DATA);
	return -1;
}

static bool mouse_command(uint8_t value) {
	send(COMMAND, 0xd4);
	send(DATA, value);
	return receive() == 0xfa;
}

void input_init(void) {
	if (inb(STATUS) == 0xff) return; /* no controller */
	send(COMMAND, 0xad);
	send(COMMAND, 0xa7);
	while (inb(STATUS) & OUTPUT_FULL) inb(DATA);
	send(COMMAND, 0x20);
	int configuration = receive();
	send(COMMAND, 0xae);
	send(COMMAND, 0xa8);
	has_mouse = mouse_command(0xf6) && mouse_command(0xf4); /* defaults, then stream */
	send(COMMAND, 0x60);
	send(DATA, ((configuration | 0x43) & ~0x30) & (has_mouse ? 0xff : 0xfd)); /* interrupts, translation, both clocks on */
	mouse_x = screen_width / 2;
	mouse_y = screen_height / 2;
	irq_enable(1);
	if (has_mouse) irq_enable(12);
}
