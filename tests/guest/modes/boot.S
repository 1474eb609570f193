# First sector: loads the rest behind itself and calls it. Real mode, everything below 64 KiB, all segments zero.
  .code16
  .section .boot, "ax"
  .globl _start, int10, flatten
_start:
  cli
  xorw %ax, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movw $0x7c00, %sp
  ljmp $0, $1f
1:
  sti
  movw $packet, %si
  movb $0x42, %ah
  int $0x13
  jc failed
  calll run
failed:
  hlt
  jmp failed

  .balign 4
packet:
  .byte 16, 0
  .word 62
  .word 0x7e00, 0
  .quad 1

# void flatten(void): GS reaches all 4 GiB from address 0 (limits stay when real mode is entered again).
flatten:
  pushl %eax
  cli
  lgdtl gdt_pointer
  movl %cr0, %eax
  orb $1, %al
  movl %eax, %cr0
  jmp 1f
1:
  movw $8, %ax
  movw %ax, %gs
  movl %cr0, %eax
  andb $0xfe, %al
  movl %eax, %cr0
  ljmp $0, $1f
1:
  sti
  popl %eax
  retl

  .balign 8
gdt:
  .quad 0
  .quad 0x00cf92000000ffff
gdt_pointer:
  .word . - gdt - 1
  .long gdt

# void int10(struct registers *): ax, bx, cx, dx, di, bp, es as 32-bit words.
int10:
  pushal
  movl 36(%esp), %esi
  movw 24(%esi), %es
  movl (%esi), %eax
  movl 4(%esi), %ebx
  movl 8(%esi), %ecx
  movl 12(%esi), %edx
  movl 16(%esi), %edi
  movl 20(%esi), %ebp
  pushl %esi
  int $0x10
  popl %esi
  movl %eax, (%esi)
  movl %ebx, 4(%esi)
  movl %ecx, 8(%esi)
  movl %edx, 12(%esi)
  xorw %ax, %ax
  movw %ax, %es
  popal
  cld
  retl

  .org 510
  .word 0xaa55
