/* A few commands, typed on the keyboard or on the serial line. */
#include "guest.h"

static char line[128];
static size_t used;

static void command_cpu(void) {
	uint32_t r[4];
	cpuid(0, 0, r);
	char vendor[13];
	memcpy(vendor, &r[1], 4);
	memcpy(vendor + 4, &r[3], 4);
	memcpy(vendor + 8, &r[2], 4);
	vendor[12] = 0;
	cpuid(1, 0, r);
	print("%s\n%s, family %u, model %u, stepping %u\n", cpu_name(), vendor, (r[0] >> 8 & 15) + (r[0] >> 20 & 255),
	      (r[0] >> 4 & 15) | (r[0] >> 12 & 0xf0), r[0] & 15);
	static const struct { int reg, bit; const char *name; } features[] = {{3, 25, "sse"}, {3, 26, "sse2"}, {2, 0, "sse3"},
		{2, 9, "ssse3"}, {2, 19, "sse4.1"}, {2, 20, "sse4.2"}, {2, 23, "popcnt"}, {2, 25, "aes"}, {2, 28, "avx"}, {2, 31, "hypervisor"}};
	for (size_t i = 0; i < sizeof features / sizeof *features; i++)
		if (r[features[i].reg] >> features[i].bit & 1) print("%s ", features[i].name);
	put('\n');
}

static void command_mem(void) {
	for (int i = 0; i < memory_ranges; i++) {
		const struct memory_range *m = &memory_map[i];
		print("%012lx - %012lx  %lu KiB %s\n", m->start, m->start + m->bytes - 1, m->bytes >> 10, m->type == 1 ? "usable" : m->type == 3 ? "ACPI" : "reserved");
	}
	print("%lu MiB usable\n", memory_usable() >> 20);
}

static void run(const char *s) {
	while (*s == ' ') s++;
	if (!*s) return;
	if (same(s, "help")) print("help  cpu  mem  lspci  date  uptime  echo TEXT  reboot  poweroff\n");
	else if (same(s, "cpu")) command_cpu();
	else if (same(s, "mem")) command_mem();
	else if (same(s, "lspci"))
		for (int i = 0; i < pci_count; i++) {
			const struct pci_device *d = &pci_devices[i];
			print("%02x:%02x.%u  %04x:%04x  %s\n", d->bus, d->slot, d->function, d->vendor, d->device, pci_name(d));
		}
	else if (same(s, "date")) {
		struct wall_time t = rtc_now();
		print("%04d-%02d-%02d %02d:%02d:%02d\n", t.year, t.month, t.day, t.hour, t.minute, t.second);
	} else if (same(s, "uptime")) print("%lu seconds\n", ticks / TICKS_PER_SECOND);
	else if (starts_with(s, "echo ")) print("%s\n", s + 5);
	else if (same(s, "reboot")) restart();
	else if (same(s, "poweroff")) { print("Good night.\n"); power_off(); }
	else print("%s: no such command; try help\n", s);
}

void shell_prompt(void) {
	print("lodge> ");
}

void shell_key(int c) {
	if (c == '\r' || c == '\n') {
		put('\n');
		line[used] = 0;
		used = 0;
		run(line);
		shell_prompt();
	} else if (c == '\b' || c == 127) {
		if (!used) return;
		used--;
		print("\b \b");
	} else if (c >= ' ' && c < 127 && used + 1 < sizeof line) {
		line[used++] = c;
		put(c);
	}
}
