/* The guest that ships with Lodge: what its parts share. Freestanding C, 64-bit, identity-mapped, one CPU. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- port and CPU access ---- */
static inline void outb(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void outw(uint16_t port, uint16_t value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static inline void outl(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }
static inline uint8_t inb(uint16_t port) { uint8_t v; __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline uint16_t inw(uint16_t port) { uint16_t v; __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline uint32_t inl(uint16_t port) { uint32_t v; __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline uint64_t rdtsc(void) { uint32_t lo, hi; __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi)); return ((uint64_t)hi << 32) | lo; }
static inline void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4]) {
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(subleaf));
}

/* ---- lib.c ---- */
void *memset(void *at, int value, size_t bytes);
void *memcpy(void *to, const void *from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);
size_t strlen(const char *s);
bool same(const char *a, const char *b);
bool starts_with(const char *s, const char *prefix);
/* %s %d %u %x %c %% with width and zero padding; %lu and %lx for 64 bits. */
void format(char *out, size_t bytes, const char *fmt, ...);
void vformat(char *out, size_t bytes, const char *fmt, va_list args);

/* ---- screen.c: a linear 32-bit framebuffer from the Bochs display interface ---- */
enum { FONT_WIDTH = 8, FONT_HEIGHT = 16 };
extern const uint8_t font[256 * FONT_HEIGHT];
extern int screen_width, screen_height; /* 0 when there is no display adapter */
bool screen_init(void);
void fill(int x, int y, int width, int height, uint32_t rgb);
void gradient(int x, int y, int width, int height, uint32_t top, uint32_t bottom);
/* A filled rectangle with rounded corners. */
void panel(int x, int y, int width, int height, int radius, uint32_t rgb);
void glyph(int x, int y, uint8_t c, uint32_t fg, uint32_t bg);
/* Text on whatever is there, enlarged `scale` times. */
void text(int x, int y, const char *s, uint32_t fg, int scale);
void scroll_up(int x, int y, int width, int height, int lines, uint32_t bg);
void pointer_move(int x, int y);
/* Drawing between these two never leaves pieces of the pointer behind. */
void pointer_hide(void);
void pointer_show(void);

/* ---- serial.c: COM1 ---- */
void serial_init(void);
void serial_put(char c);
int serial_take(void); /* -1: nothing */

/* ---- console.c: the terminal panel, mirrored to the serial line ---- */
void console_init(void);
void put(char c);
void print(const char *fmt, ...);
/* The panel on the right: one line of what the machine is. */
void fact(const char *label, const char *fmt, ...);
void live(int row, const char *fmt, ...);

/* ---- hardware.c ---- */
struct memory_range { uint64_t start, bytes; uint32_t type; };
extern struct memory_range memory_map[64];
extern int memory_ranges;
uint64_t memory_usable(void);
const char *cpu_name(void);
struct pci_device { uint8_t bus, slot, function; uint16_t vendor, device; uint8_t class, subclass; };
extern struct pci_device pci_devices[32];
extern int pci_count;
uint32_t pci_read(uint8_t bus, uint8_t slot, uint8_t function, uint8_t offset);
void pci_write(uint8_t bus, uint8_t slot, uint8_t function, uint8_t offset, uint32_t value);
void pci_scan(void);
const char *pci_name(const struct pci_device *d);
struct wall_time { int year, month, day, hour, minute, second; };
struct wall_time rtc_now(void);

/* ---- acpi.c ---- */
bool acpi_init(uint64_t rsdp);
/* True once after the power button was pressed. */
bool acpi_power_button(void);
int acpi_sci(void); /* interrupt line; -1 without ACPI */
void power_off(void);
void restart(void);

/* ---- input.c: PS/2 keyboard and mouse ---- */
void input_init(void);
void input_interrupt(void);
int key_take(void); /* ASCII; -1: nothing */
extern volatile int mouse_x, mouse_y, mouse_buttons;
extern volatile bool mouse_moved;
extern bool has_mouse;

/* ---- interrupts.c ---- */
enum { TICKS_PER_SECOND = 20 };
extern volatile uint64_t ticks;
extern volatile bool woken; /* something other than a tick happened; the main loop clears it before it looks */
void interrupts_init(void);
void irq_enable(int line);

/* ---- shell.c ---- */
void shell_key(int c);
void shell_prompt(void);
