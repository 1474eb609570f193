/* IDT, the two 8259As and the 8254's channel 0. */
#include "guest.h"

enum { PIC1 = 0x20, PIC2 = 0xa0, EOI = 0x20, FIRST_VECTOR = 0x20 };
struct frame { uint64_t ip, cs, flags, sp, ss; };
struct __attribute__((packed)) gate { uint16_t low; uint16_t selector; uint8_t ist, type; uint16_t middle; uint32_t high, zero; };
static struct gate idt[256];
volatile uint64_t ticks;
volatile bool woken;

static void end_of_interrupt(int line) {
	if (line >= 8) outb(PIC2, EOI);
	outb(PIC1, EOI);
}

__attribute__((interrupt)) static void on_tick(struct frame *f) { (void)f; ticks++; end_of_interrupt(0); }
__attribute__((interrupt)) static void on_keyboard(struct frame *f) { (void)f; woken = true; input_interrupt(); end_of_interrupt(1); }
__attribute__((interrupt)) static void on_mouse(struct frame *f) { (void)f; woken = true; input_interrupt(); end_of_interrupt(12); }
/* The main loop looks at the device after every wake-up; the interrupt only has to end HLT. */
__attribute__((interrupt)) static void on_serial(struct frame *f) { (void)f; woken = true; end_of_interrupt(4); }
__attribute__((interrupt)) static void on_sci(struct frame *f);
__attribute__((interrupt)) static void on_spurious(struct frame *f) { (void)f; }

/* The SCI is level-triggered: mask it until the main loop has cleared its cause. */
static void on_sci(struct frame *f) {
	(void)f;
	woken = true;
	int line = acpi_sci();
	outb(line >= 8 ? PIC2 + 1 : PIC1 + 1, inb(line >= 8 ? PIC2 + 1 : PIC1 + 1) | 1 << (line & 7));
	end_of_interrupt(line);
}

static void fault(int vector, struct frame *f, uint64_t error) {
	print("\nCPU exception %d, error %lx, at %lx. The guest has stopped.\n", vector, error, f->ip);
	for (;;) __asm__ volatile("cli; hlt");
}
#define FAULT(n) __attribute__((interrupt)) static void fault_##n(struct frame *f) { fault(n, f, 0); }
#define FAULT_CODE(n) __attribute__((interrupt)) static void fault_##n(struct frame *f, uint64_t e) { fault(n, f, e); }
FAULT(0) FAULT(6) FAULT_CODE(8) FAULT_CODE(13) FAULT_CODE(14)

static void set_gate(int vector, void *handler) {
	uintptr_t at = (uintptr_t)handler;
	idt[vector] = (struct gate){.low = at, .selector = 0x08, .type = 0x8e, .middle = at >> 16, .high = at >> 32};
}

void irq_enable(int line) {
	uint16_t port = line >= 8 ? PIC2 + 1 : PIC1 + 1;
	outb(port, inb(port) & ~(1 << (line & 7)));
}

void interrupts_init(void) {
	set_gate(0, fault_0);
	set_gate(6, fault_6);
	set_gate(8, fault_8);
	set_gate(13, fault_13);
	set_gate(14, fault_14);
	for (int i = 0; i < 16; i++) set_gate(FIRST_VECTOR + i, on_spurious);
	set_gate(FIRST_VECTOR, on_tick);
	set_gate(FIRST_VECTOR + 1, on_keyboard);
	set_gate(FIRST_VECTOR + 4, on_serial);
	set_gate(FIRST_VECTOR + 12, on_mouse);
	if (acpi_sci() > 0) set_gate(FIRST_VECTOR + acpi_sci(), on_sci);
	struct __attribute__((packed)) { uint16_t limit; uint64_t base; } pointer = {sizeof idt - 1, (uintptr_t)idt};
	__asm__ volatile("lidt %0" : : "m"(pointer));

	outb(PIC1, 0x11);
	outb(PIC1 + 1, FIRST_VECTOR);
	outb(PIC1 + 1, 4);
	outb(PIC1 + 1, 1);
	outb(PIC2, 0x11);
	outb(PIC2 + 1, FIRST_VECTOR + 8);
	outb(PIC2 + 1, 2);
	outb(PIC2 + 1, 1);
	outb(PIC1 + 1, 0xff & ~(1 << 2));
	outb(PIC2 + 1, 0xff);

	uint16_t divisor = 1193182 / TICKS_PER_SECOND;
	outb(0x43, 0x34); /* channel 0, mode 2 */
	outb(0x40, divisor & 255);
	outb(0x40, divisor >> 8);
	irq_enable(0);
	if (acpi_sci() > 0) irq_enable(acpi_sci());
	__asm__ volatile("sti");
}
