/* Start-up and the event loop: everything is driven by interrupts, so an idle guest sleeps in HLT. */
#include "guest.h"

enum { BOOT_LINUX = 1, BOOT_PVH = 2 };

static void add_range(uint64_t start, uint64_t bytes, uint32_t type) {
	if (memory_ranges < 64) memory_map[memory_ranges++] = (struct memory_range){start, bytes, type};
}

/* Returns the RSDP's address, 0 when the boot protocol does not tell. */
static uint64_t read_boot_info(int kind, const uint8_t *info) {
	uint64_t a, b, rsdp;
	uint32_t n, type;
	if (kind == BOOT_LINUX) { /* struct boot_params: e820 count at 1E8h, table at 2D0h, RSDP at 70h */
		n = info[0x1e8];
		for (uint32_t i = 0; i < n; i++) {
			memcpy(&a, info + 0x2d0 + 20 * i, 8);
			memcpy(&b, info + 0x2d0 + 20 * i + 8, 8);
			memcpy(&type, info + 0x2d0 + 20 * i + 16, 4);
			add_range(a, b, type);
		}
		memcpy(&rsdp, info + 0x70, 8);
	} else { /* hvm_start_info: RSDP at 32, memory map at 40, its entries at 48 */
		uint64_t map;
		memcpy(&rsdp, info + 32, 8);
		memcpy(&map, info + 40, 8);
		memcpy(&n, info + 48, 4);
		for (uint32_t i = 0; i < n; i++) {
			const uint8_t *entry = (const uint8_t *)map + 24 * i;
			memcpy(&a, entry, 8);
			memcpy(&b, entry + 8, 8);
			memcpy(&type, entry + 16, 4);
			add_range(a, b, type);
		}
	}
	return rsdp;
}

static void describe(bool acpi) {
	fact("Processor", "%s", cpu_name());
	fact("Memory", "%lu MiB usable", memory_usable() >> 20);
	if (screen_width) fact("Display", "%d x %d, 32 bits", screen_width, screen_height);
	fact("PCI", "%d functions", pci_count);
	for (int i = 0; i < pci_count && i < 8; i++) fact("", "%04x:%04x %s", pci_devices[i].vendor, pci_devices[i].device, pci_name(&pci_devices[i]));
	fact("Power", "%s", acpi ? "ACPI: power off and power button" : "no ACPI");
}

void guest_main(int kind, const uint8_t *info) {
	uint64_t rsdp = read_boot_info(kind, info);
	pci_scan();
	bool acpi = acpi_init(rsdp);
	console_init();
	interrupts_init();
	serial_init();
	input_init();
	describe(acpi);
	pointer_show();
	if (screen_width) pointer_move(mouse_x, mouse_y);
	print("Lodge guest ready\n\n");
	print("This small system came with Lodge. It runs on the machine's CPU, draws on\n");
	print("its framebuffer, and answers the keyboard, the mouse and the serial port.\n");
	print("Type help and press Enter. The power button switches it off.\n\n");
	shell_prompt();

	uint64_t shown = ~0ul;
	for (;;) {
		woken = false;
		int c;
		while ((c = key_take()) >= 0 || (c = serial_take()) >= 0) shell_key(c);
		if (mouse_moved) {
			mouse_moved = false;
			if (screen_width) pointer_move(mouse_x, mouse_y);
			live(1, "pointer %4d, %4d %c%c%c", mouse_x, mouse_y, mouse_buttons & 1 ? 'L' : '.', mouse_buttons & 4 ? 'M' : '.', mouse_buttons & 2 ? 'R' : '.');
		}
		if (ticks / TICKS_PER_SECOND != shown) {
			shown = ticks / TICKS_PER_SECOND;
			struct wall_time t = rtc_now();
			live(0, "%04d-%02d-%02d %02d:%02d:%02d UTC", t.year, t.month, t.day, t.hour, t.minute, t.second);
		}
		if (acpi_power_button()) {
			print("\nPower button pressed. Good night.\n");
			power_off();
		}
		/* Nothing is lost between the checks above and HLT: STI takes effect after the next instruction. */
		__asm__ volatile("cli");
		if (woken) __asm__ volatile("sti");
		else __asm__ volatile("sti; hlt");
	}
}
