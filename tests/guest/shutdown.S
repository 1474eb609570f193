# A boot sector that leaves protected mode as programs for the 286 had to: by a reset of the processor, which the BIOS is told of in CMOS
# register 0Fh and which goes on at the address in 40:67. Three ways to the reset line; a letter behind each, on the first serial port.
.code16
.globl _start
_start:
  ljmp $0, $begin
begin:
  call setup
  movb $'A', letter
  movb $0xab, %al                # a mask that only a whole machine's reset would change
  outb %al, $0x21
  call tell
  movw $keyboard, 0x467
  movw $0, 0x469
  movb $0x0a, %ah
  call arrange
  call protect
  movb $0xfe, %al                # the keyboard controller's line
  outb %al, $0x64
wait:
  hlt
  jmp wait

keyboard:
  call setup
  call tell
  movw $port92, 0x467
  movb $0x0a, %ah
  call arrange
  call protect
  inb $0x92, %al
  andb $0xfe, %al
  outb %al, $0x92
  orb $1, %al
  outb %al, $0x92
  jmp wait

port92:
  call setup
  call tell
  movw $triple, 0x467
  movb $0x05, %ah
  call arrange
  lidt nothing
  call protect
  int3
  jmp wait

triple:
  call setup
  call tell
  movb $'\n', letter
  call tell
  movb $5, %al
  outb %al, $0xf4
  jmp wait

setup:
  popw %bx
  xorw %ax, %ax
  movw %ax, %ds
  movw %ax, %ss
  movw $0x7000, %sp
  jmp *%bx

arrange:                          # AH into register 0Fh
  movb $0x8f, %al
  outb %al, $0x70
  movb %ah, %al
  outb %al, $0x71
  ret

protect:
  lgdt pointer
  smsw %ax
  orb $1, %al
  lmsw %ax
  jmp 1f
1:
  ret

tell:                             # the next letter; '?' in protected mode, '!' where the mask or the register did not stay, or went
  movb letter, %bl
  incb letter
  smsw %ax
  testb $1, %al
  jz 1f
  movb $'?', %bl
1:
  inb $0x21, %al
  cmpb $0xab, %al
  je 2f
  movb $'!', %bl
2:
  movb $0x8f, %al
  outb %al, $0x70
  inb $0x71, %al
  testb %al, %al
  jz 3f
  movb $'!', %bl
3:
  movw $0x3f8, %dx
  movb %bl, %al
  outb %al, %dx
  ret

letter: .byte 0
.balign 8
gdt: .quad 0, 0x00009b000000ffff, 0x000093000000ffff
pointer: .word 23
  .long gdt
nothing: .word 0
  .long 0
.org 510
  .word 0xaa55
