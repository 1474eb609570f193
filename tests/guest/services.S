# A boot sector that hooks what the BIOS calls by itself: Break (INT 1Bh), Print Screen (INT 05h) and the clock's alarm (INT 4Ah). Each is
# told on the first serial port, by its letter, in the main program, which sleeps in between by APM's CPU idle.
.code16
.globl _start
_start:
  ljmp $0, $begin
begin:
  xorw %ax, %ax
  movw %ax, %ds
  movw %ax, %ss
  movw $0x7000, %sp
  movw $on_break, 0x1b * 4
  movw %ax, 0x1b * 4 + 2
  movw $on_print, 0x05 * 4
  movw %ax, 0x05 * 4 + 2
  movw $on_alarm, 0x4a * 4
  movw %ax, 0x4a * 4 + 2

  movb $0x06, %ah                 # an alarm at any second
  movw $0xffff, %cx
  movb $0xff, %dh
  int $0x1a
  movb $0x06, %ah                 # there is one now
  int $0x1a
  movb $'?', %bl
  jnc 1f
  movb $'A', %bl
1:
  call tell
  call next                       # L
  movb $0x07, %ah
  int $0x1a
  movb $'\n', %bl
  call tell
  call next                       # B
  call next                       # P
  xorw %ax, %ax
  int $0x16                       # what Break left
  call tell_key
  xorw %ax, %ax
  int $0x16                       # a character by its number
  call tell_key
  movb $'\n', %bl
  call tell
  movb $5, %al
  outb %al, $0xf4
  hlt

next:                             # waits for a hook, tells it, and forgets it
  movw $0x5305, %ax
  int $0x15
  movb seen, %bl
  testb %bl, %bl
  jz next
  movb $0, seen
  jmp tell

tell_key:                         # AX as a letter after 'a'
  movb $'a', %bl
  addb %al, %bl
tell:
  movw $0x3f8, %dx
  movb %bl, %al
  outb %al, %dx
  ret

on_break:
  movb $'B', %cs:seen
  iret
on_print:
  movb $'P', %cs:seen
  iret
on_alarm:
  movb $'L', %cs:seen
  iret

seen: .byte 0
.org 510
  .word 0xaa55
