/* Entry points. The image is a Linux-protocol kernel (Documentation: x86 boot protocol 2.12): 32-bit entry at its first
 * byte, 64-bit entry 200h bytes later; and a PVH ELF (Xen start-info ABI) for development under other hypervisors. */
	.section .note.pvh, "a", @note
	.long 4, 4, 18			/* name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start_pvh

	.section .text.start, "ax"
	.code32
	.globl start32
start32:				/* Linux 32-bit entry: ESI = boot_params */
	cli
	movl $boot_stack_top, %esp
	movl $1, boot_kind
	movl %esi, boot_info
	jmp to_long_mode

	.org 0x200
	.code64
	.globl start64
start64:				/* Linux 64-bit entry: RSI = boot_params, identity paging */
	cli
	movl $boot_stack_top, %esp
	movl $1, boot_kind
	movl %esi, boot_info
	call build_page_tables_64
	movl $pml4, %eax
	movq %rax, %cr3
	lgdt gdt_pointer
	pushq $0x08
	pushq $long_mode
	lretq

	.code32
start_pvh:				/* PVH: EBX = start info */
	cli
	movl $boot_stack_top, %esp
	movl $2, boot_kind
	movl %ebx, boot_info
to_long_mode:
	call build_page_tables
	movl %cr4, %eax
	orl $0x20, %eax			/* PAE */
	movl %eax, %cr4
	movl $pml4, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x100, %eax		/* EFER.LME */
	wrmsr
	movl %cr0, %eax
	orl $0x80000001, %eax		/* PG, PE */
	movl %eax, %cr0
	lgdt gdt_pointer
	ljmp $0x08, $long_mode

/* The low 4 GiB, identity, in 2 MiB pages. The same bytes mean the same in 32- and 64-bit mode. */
	.macro PAGE_TABLES
	movl $pml4, %edi
	movl $pdpt + 3, %eax
	movl %eax, (%edi)
	movl $pdpt, %edi
	movl $pd + 3, %eax
	movl $4, %ecx
1:	movl %eax, (%edi)
	addl $0x1000, %eax
	addl $8, %edi
	subl $1, %ecx
	jnz 1b
	movl $pd, %edi
	movl $0x83, %eax		/* present, writable, large */
	movl $2048, %ecx
2:	movl %eax, (%edi)
	addl $0x200000, %eax
	addl $8, %edi
	subl $1, %ecx
	jnz 2b
	ret
	.endm
	.code32
build_page_tables:
	PAGE_TABLES
	.code64
build_page_tables_64:
	PAGE_TABLES

long_mode:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	movl $boot_stack_top, %esp
	movl boot_kind, %edi
	movl boot_info, %esi
	call guest_main
1:	hlt
	jmp 1b

	.data
	.balign 8
gdt:	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
	.word . - gdt - 1
	.quad gdt
boot_kind: .long 0
boot_info: .long 0

	.bss
	.balign 4096
pml4:	.skip 4096
pdpt:	.skip 4096
pd:	.skip 4 * 4096
	.skip 32768
boot_stack_top:
	.section .note.GNU-stack, "", @progbits
