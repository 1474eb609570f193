# A guest whose screen never rests: 1920×1080 in 32 bits through the linear framebuffer, every pixel of it another one 60 times a
# second, as a film has it. With 0 in the byte before the signature it draws once and halts.
  .code16
  .globl _start
_start:
  cli
  xorw %ax, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movw $0x7c00, %sp
  ljmp $0, $1f
1:
  movw $0x4f01, %ax
  movw $0x18f, %cx
  movw $0x8000, %di
  int $0x10
  movw $0x4f02, %ax
  movw $0x418f, %bx
  int $0x10
  lgdtl gdt_pointer
  movl %cr0, %eax
  orb $1, %al
  movl %eax, %cr0
  jmp 1f
1:
  movw $8, %bx
  movw %bx, %es
  andb $0xfe, %al
  movl %eax, %cr0
  ljmp $0, $1f
1:
  xorl %ebx, %ebx
  # The timer at 60 Hz (1193182 / 19886).
  movb $0x34, %al
  outb %al, $0x43
  movw $19886, %ax
  outb %al, $0x40
  movb %ah, %al
  outb %al, $0x40
  sti
frame:
  addl $0x00010305, %ebx
  movl %ebx, %eax
  movl 0x8028, %edi
  movl $1080, %edx
line:
  movl $1920, %ecx
  addr32 rep stosl
  addl $0x00030102, %eax
  decl %edx
  jnz line
  hlt
  cmpb $0, moving
  jne frame
  cli
halted:
  hlt
  jmp halted

  .balign 8
gdt:
  .quad 0
  .quad 0x00cf92000000ffff
gdt_pointer:
  .word . - gdt - 1
  .long gdt

  .org 509
moving:
  .byte 1
  .word 0xaa55
