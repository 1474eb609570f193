/* What the machine is made of: CPUID, the firmware's memory map, PCI, the RTC. */
#include "guest.h"

struct memory_range memory_map[64];
int memory_ranges;
struct pci_device pci_devices[32];
int pci_count;

uint64_t memory_usable(void) {
	uint64_t total = 0;
	for (int i = 0; i < memory_ranges; i++)
		if (memory_map[i].type == 1) total += memory_map[i].bytes;
	return total;
}

const char *cpu_name(void) {
	static char name[49];
	uint32_t r[4];
	cpuid(0x80000000, 0, r);
	if (r[0] < 0x80000004) return "x86-64";
	for (int i = 0; i < 3; i++) {
		cpuid(0x80000002 + i, 0, r);
		memcpy(name + 16 * i, r, 16);
	}
	char *from = name;
	while (*from == ' ') from++;
	for (size_t n = strlen(from); n && from[n - 1] == ' '; n--) from[n - 1] = 0;
	return from;
}

static uint32_t pci_address(uint8_t bus, uint8_t slot, uint8_t function, uint8_t offset) {
	return 0x80000000u | bus << 16 | slot << 11 | function << 8 | (offset & 0xfc);
}

uint32_t pci_read(uint8_t bus, uint8_t slot, uint8_t function, uint8_t offset) {
	outl(0xcf8, pci_address(bus, slot, function, offset));
	return inl(0xcfc);
}

void pci_write(uint8_t bus, uint8_t slot, uint8_t function, uint8_t offset, uint32_t value) {
	outl(0xcf8, pci_address(bus, slot, function, offset));
	outl(0xcfc, value);
}

void pci_scan(void) {
	for (int slot = 0; slot < 32; slot++)
		for (int function = 0; function < 8; function++) {
			uint32_t id = pci_read(0, slot, function, 0);
			if ((id & 0xffff) == 0xffff) {
				if (function == 0) break;
				continue;
			}
			uint32_t class = pci_read(0, slot, function, 8);
			if (pci_count < 32)
				pci_devices[pci_count++] = (struct pci_device){0, slot, function, id, id >> 16, class >> 24, class >> 16};
			if (function == 0 && !(pci_read(0, slot, 0, 0x0c) & 0x800000)) break;
		}
}

const char *pci_name(const struct pci_device *d) {
	static const struct { uint16_t vendor, device; const char *name; } known[] = {
		{0x8086, 0x1237, "440FX host bridge"}, {0x8086, 0x7000, "PIIX3 ISA bridge"}, {0x8086, 0x7010, "PIIX3 IDE"},
		{0x8086, 0x7113, "PIIX4 power management"}, {0x8086, 0x29c0, "Q35 host bridge"}, {0x1234, 0x1111, "Bochs display"},
		{0x8086, 0x100e, "PRO/1000 network"}, {0x1af4, 0x1041, "virtio network"}, {0x1af4, 0x1042, "virtio block"},
		{0x1af4, 0x1043, "virtio console"}, {0x1af4, 0x1044, "virtio entropy"}, {0x1af4, 0x1045, "virtio balloon"},
		{0x1af4, 0x1049, "virtio 9p"}, {0x1af4, 0x1050, "virtio GPU"}, {0x1af4, 0x1052, "virtio input"},
	};
	static const char *const classes[] = {"device", "storage", "network", "display", "multimedia", "memory", "bridge", "communication", "system", "input"};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i].vendor == d->vendor && known[i].device == d->device) return known[i].name;
	return d->class < sizeof classes / sizeof *classes ? classes[d->class] : "device";
}

static int cmos(int index) {
	outb(0x70, index);
	return inb(0x71);
}

struct wall_time rtc_now(void) {
	static const uint8_t index[6] = {9, 8, 7, 4, 2, 0};
	int v[6], again[6];
	do { /* two equal readings: no update happened in between */
		for (int i = 0; i < 6; i++) v[i] = cmos(index[i]);
		for (int i = 0; i < 6; i++) again[i] = cmos(index[i]);
	} while (memcmp(v, again, sizeof v));
	if (!(cmos(0x0b) & 4))
		for (int i = 0; i < 6; i++) v[i] = (v[i] >> 4) * 10 + (v[i] & 15);
	return (struct wall_time){2000 + v[0], v[1], v[2], v[3], v[4], v[5]};
}
