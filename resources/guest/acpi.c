/* Just enough ACPI: power off (S5), the power button, and the reset register. ACPI 6.4 §4.8, §5.2, §7.4. */
#include "guest.h"

enum { PWRBTN = 1 << 8, SLP_EN = 1 << 13, SCI_EN = 1 };
static const uint8_t *fadt;
static uint16_t pm1_event, pm1_control, sleep_type_s5;

static uint32_t read32(const uint8_t *p) { return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24; }

static const uint8_t *find_rsdp(uint64_t hint) {
	if (hint && hint < 0xffffffff && !memcmp((void *)hint, "RSD PTR ", 8)) return (void *)hint;
	for (uintptr_t at = 0xe0000; at < 0x100000; at += 16)
		if (!memcmp((void *)at, "RSD PTR ", 8)) return (void *)at;
	return NULL;
}

/* \_S5 is a package of small integers: NameOp "_S5_" PackageOp length count, then the value for PM1a. */
static uint16_t find_s5(const uint8_t *dsdt) {
	uint32_t bytes = read32(dsdt + 4);
	for (uint32_t i = 36; i + 8 < bytes; i++) {
		if (memcmp(dsdt + i, "_S5_", 4) || dsdt[i + 4] != 0x12) continue;
		const uint8_t *p = dsdt + i + 5;
		p += (*p >> 6) + 2; /* package length, element count */
		return *p == 0x0a ? p[1] : *p <= 1 ? *p : 0;
	}
	return 0;
}

bool acpi_init(uint64_t hint) {
	const uint8_t *rsdp = find_rsdp(hint);
	if (!rsdp) return false;
	const uint8_t *rsdt = (void *)(uintptr_t)read32(rsdp + 16);
	bool wide = false;
	if (!rsdt) { rsdt = (void *)(uintptr_t)read32(rsdp + 24); wide = true; }
	uint32_t entries = (read32(rsdt + 4) - 36) / (wide ? 8 : 4);
	for (uint32_t i = 0; i < entries; i++) {
		const uint8_t *table = (void *)(uintptr_t)read32(rsdt + 36 + i * (wide ? 8 : 4));
		if (!memcmp(table, "FACP", 4)) fadt = table;
	}
	if (!fadt) return false;
	pm1_event = read32(fadt + 56);
	pm1_control = read32(fadt + 64);
	sleep_type_s5 = find_s5((void *)(uintptr_t)read32(fadt + 40));
	uint32_t command = read32(fadt + 48);
	if (command && fadt[52] && !(inw(pm1_control) & SCI_EN)) outb(command, fadt[52]);
	outw(pm1_event, 0xffff);
	outw(pm1_event + fadt[88] / 2, PWRBTN);
	return true;
}

int acpi_sci(void) {
	return fadt ? fadt[46] | fadt[47] << 8 : -1;
}

bool acpi_power_button(void) {
	if (!fadt || !(inw(pm1_event) & PWRBTN)) return false;
	outw(pm1_event, PWRBTN);
	irq_enable(acpi_sci());
	return true;
}

void power_off(void) {
	if (fadt) {
		outw(pm1_control, sleep_type_s5 << 10 | SLP_EN);
		for (;;) __asm__ volatile("cli; hlt"); /* the power goes while this waits */
	}
	print("This machine offers no way to power off.\n");
}

void restart(void) {
	outb(0xcf9, 0x02);
	outb(0xcf9, 0x06);
	outb(0x64, 0xfe);
}
