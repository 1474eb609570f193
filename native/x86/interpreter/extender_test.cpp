// What DOS extenders, their clients and 286-class systems ask of a processor, as one program: a 32-bit monitor that runs a virtual-8086
// task as its supervisor (once without the mode's extensions, once with them), 16- and 32-bit protected-mode clients on 16- and 32-bit
// stacks with an LDT of their own, and hardware tasks of both kinds. SDM vol. 3, chapters 5, 7 and 21.
#include <algorithm>

#include "testing/guest_program.h"
#include "testing/test.h"

extern "C" {
[[gnu::visibility("hidden")]] extern const uint8_t extender_begin[], extender_end[];
}

// A label's linear address is `label - extender_org`, its offset in what has the program as its base `label - extender_begin`.
asm(R"(
.pushsection .rodata
.equ extender_org, extender_begin - 0x7c00
.macro tell value
  movl \value, %eax
  outl %eax, $0x80
.endm
# Names the instruction that is to fault, and where the monitor goes on.
.macro expect
  movl $(771f - extender_begin), %ebx
  movl $(772f - extender_begin), %ebp
771:
.endm
.macro faulted
772:
.endm
.macro descriptor base, limit, access, flags
  .word \limit
  .word \base
  .byte 0, \access, \flags, 0
.endm

.balign 16
.code16
extender_begin:
  cli
  xorw %ax, %ax
  movw %ax, %ds
  movw %ax, %ss
  movw $0x7000, %sp
  # Interrupt 21h, 22h and 8 of the task.
  movl $(0x07c00000 + ext_int21 - extender_begin), 0x21 * 4
  movl $(0x07c00000 + ext_int8 - extender_begin), 8 * 4
  lgdtl ext_gdtr - extender_org
  lidtl ext_idtr - extender_org
  smsww %ax                       # as a 286 does it
  orb $1, %al
  lmsww %ax
  ljmpl $0x08, $(ext_main - extender_org)

.code32
ext_main:
  movl %ebx, %edi
  movl $0x10, %eax
  movl %eax, %ds
  movl %eax, %es
  movl %eax, %ss
  movl $0x7000, %esp
  # 48 interrupt gates; those from 20h on may be used by anybody.
  xorl %ecx, %ecx
  movl $(ext_stubs - extender_org), %ebx
1:
  movl %ebx, %eax
  movw %ax, 0x6000(,%ecx,8)
  movw $0x08, 0x6002(,%ecx,8)
  movw $0x8e00, 0x6004(,%ecx,8)
  cmpl $0x20, %ecx
  jb 2f
  movw $0xee00, 0x6004(,%ecx,8)
2:
  movw $0, 0x6006(,%ecx,8)
  addl $16, %ebx
  incl %ecx
  cmpl $0x30, %ecx
  jb 1b
  # 28h: a task gate; 29h: a 16-bit interrupt gate.
  movl $0x00400000, 0x6000 + 0x28 * 8
  movl $0x0000e500, 0x6004 + 0x28 * 8
  movl $(0x00180000 + ext_gate16int - extender_begin), 0x6000 + 0x29 * 8
  movl $0x0000e600, 0x6004 + 0x29 * 8
  movl $0x28, %eax
  ltr %ax
  movl $0x30, %eax
  lldt %ax

  testl %edi, %edi
  jz 3f
  # The virtual-8086 task, without its mode's extensions and with them.
  tell $0xaa000000
  movl $(1f - extender_org), ext_continue - extender_org
  jmp ext_start8086
1:
  movl $1, %eax
  cpuid
  testb $2, %dl
  jz 3f
  movl %cr4, %eax
  orl $1, %eax
  movl %eax, %cr4
  tell $0xaa000001
  movl $(1f - extender_org), ext_continue - extender_org
  jmp ext_start8086
1:
3:
  # The protected-mode client.
  tell $0xaa000002
  movl $(ext_tasks - extender_org), ext_continue - extender_org
  movl %esp, ext_saved - extender_org
  pushl $0x17
  pushl $0x1000
  pushl $2
  pushl $0x07
  pushl $(ext_client16 - extender_begin)
  iretl

ext_start8086:
  movl %esp, ext_saved - extender_org
  movl $0, ext_virtual - extender_org
  pushl $0x4444
  pushl $0x3333
  pushl $0x2222
  pushl $0x1111
  pushl $0x3000                   # SS
  pushl $0x1000
  pushl $0x20002                  # VM, IOPL 0
  pushl $0x07c0
  pushl $(ext_task8086 - extender_begin)
  iretl

ext_tasks:
  tell $0xaa000003
  lcall $0x40, $0                 # a TSS, twice: it goes on behind its IRET
  lcall $0x40, $0
  int $0x28                       # through a task gate
  ljmp $0x38, $0                  # a 16-bit TSS, which jumps back
  movzbl ext_gdt - extender_org + 0x2d, %eax
  movzbl ext_gdt - extender_org + 0x3d, %ecx
  shll $8, %ecx
  orl %ecx, %eax
  orl $0xd0000000, %eax
  outl %eax, $0x80                # who is busy
  clts
  # A task with the T bit; a task that has a system segment in DS: #TS, at its own first instruction.
  movl $0x155, %eax
  movl %eax, %dr7
  lcall $0x48, $0
  movl %dr7, %eax
  orl $0xd7000000, %eax
  outl %eax, $0x80
  lcall $0x58, $0
  expect
  ljmp $0x28, $0                  # the running task is busy
  faulted
  expect
  ljmp $0x60, $0                  # absent
  faulted
  tell $0xffffffff
1: hlt
  jmp 1b

ext_task2:
  tell $0xd2000000
  smswl %eax
  andl $8, %eax                   # TS
  movl %eax, %ecx
  pushfl
  popl %eax
  shrl $6, %eax
  andl $0x100, %eax               # NT
  orl %eax, %ecx
  movzwl ext_tss2 - extender_org, %eax
  shll $16, %eax
  orl %ecx, %eax
  outl %eax, $0x80
  clts
  iretl
  jmp ext_task2
ext_task3:
  tell $0xd3000000
  iretl
ext_task5:
  tell $0xdead0005
1:jmp 1b
ext_task5ok:
  movl $0x10, %eax
  movl %eax, %ds
  tell $0xd5000000
  iretl

.code16
ext_task4:                        # of a 16-bit TSS; SS is a 16-bit segment with the program as its base
  pushfw
  popw %ax
  movzwl %ax, %eax
  andl $0x4000, %eax
  orl $0xd4000000, %eax
  outl %eax, $0x80
  movzwl %sp, %eax
  orl $0xd4010000, %eax
  outl %eax, $0x80
  ljmpw $0x28, $0

# ---- the virtual-8086 task: the same words, whoever handles its interrupt flag
ext_task8086:
  movw %ds, %ax
  movzwl %ax, %eax
  outl %eax, $0x80                # 2222
  sti
  call ext_flags
  cli
  call ext_flags
  int $0x22                       # the monitor has an interrupt for it,
  call ext_flags
  tell $0xa3000000
  sti                             # which comes now
  nop
  call ext_flags
  int $0x21
  call ext_flags
  inb $0x60, %al
  movzbl %al, %eax
  outl %eax, $0x80
  pushw $0x0093
  popfw
  call ext_flags
  hlt                             # the end
ext_flags:
  pushfw
  popw %ax
  movzwl %ax, %eax
  andl $0x3201, %eax              # IOPL, IF, CF
  orl $0xa0000000, %eax
  outl %eax, $0x80
  ret
ext_int21:
  tell $0xa1000000
  call ext_flags
  iretw
ext_int8:
  tell $0xa2000000
  call ext_flags
  iretw

# ---- the client: 16-bit code on a 16-bit stack
ext_client16:
  movl $0xdead1000, %esp
  movw $0x0f, %ax
  movw %ax, %ds
  pushw $0x1111
  tell %esp
  pushl $0x22222222
  tell %esp
  popl %eax
  popw %ax
  call 1f
1:
  tell %esp
  movl $0xdead0000, %esp
  expect
  pushw %ax                       # from 0 to FFFEh, which is behind the limit
  faulted
  tell %esp
  movl $0xdead0001, %esp
  expect
  pushl %eax
  faulted
  movl $0x00001000, %esp
  pushw $0x1234
  pushw $0x5678
  lcallw $0x3f, $0
  tell %esp
  movl $0x00003129, %eax
  int $0x29
  # Expand-down segments end at the limit and begin at the top of what B says.
  movw $0x2f, %ax
  movw %ax, %es
  movb $0x77, %es:0x1000
  expect
  movb %es:0x0fff, %al
  faulted
  movb %es:0xffff, %al
  expect
  movw %es:0xffff, %ax
  faulted
  movw $0x37, %ax
  movw %ax, %es
  movw %es:0xffff, %ax
  movl $0x10000, %edi
  movb %es:(%edi), %al
  # Selectors.
  movw $0x57, %ax
  expect
  movw %ax, %ds                   # outside the LDT
  faulted
  movw $0x10, %ax
  expect
  movw %ax, %ds                   # another privilege
  faulted
  movw $0x07, %ax
  movw %ax, %ds                   # readable code
  expect
  movb %al, 0                     # no code is writable
  faulted
  xorw %ax, %ax
  movw %ax, %es
  expect
  movb %es:0, %al
  faulted
  movw $0x07, %ax
  expect
  movw %ax, %ss                   # code
  faulted
  # VERR, VERW, LAR, LSL, ARPL: a bit each.
  xorl %edi, %edi
.macro bit_if_zero number
  jnz 773f
  orl $(1 << \number), %edi
773:
.endm
  movw $0x18, %cx                 # ring 0's code
  verr %cx
  bit_if_zero 0
  movw $0x2f, %cx
  verr %cx
  bit_if_zero 1
  verw %cx
  bit_if_zero 2
  movw $0x07, %cx
  verr %cx
  bit_if_zero 3
  verw %cx
  bit_if_zero 4
  movw $0x53, %cx                 # conforming code
  verr %cx
  bit_if_zero 5
  movw $0x3f, %cx                 # a gate
  verr %cx
  bit_if_zero 6
  lsll %ecx, %edx
  bit_if_zero 7
  larl %ecx, %edx
  bit_if_zero 8
  andl $0xff00, %edx
  shll $4, %edx
  orl %edx, %edi
  movw $0x10, %cx
  larl %ecx, %edx
  bit_if_zero 9
  movw $0x100, %ax
  movw $0x102, %cx
  arpl %cx, %ax
  bit_if_zero 10
  arpl %cx, %ax
  bit_if_zero 11
  movzwl %ax, %esi
  tell %edi
  tell %esi
  movw $0x2f, %cx
  lslw %cx, %ax
  outl %eax, $0x80
  ljmpl $0x1f, $(ext_client32 - extender_begin)

.code32
ext_client32:                     # 32-bit code, still on the 16-bit stack
  movl $0xbeef1000, %esp
  pushl $0x33333333
  tell %esp
  call 1f
1:
  tell %esp
  movl $0xbeef0ff8, %esp
  popl %eax
  tell %esp
  movl $0x27, %eax                # a 32-bit stack of 2000h bytes
  movl %eax, %ss
  movl $0x2000, %esp
  pushl $0xcafebabe
  lcall $0x47, $0
  tell %esp
  movl $0x2000, %esp
  lcall $0x53, $(ext_conforming - extender_begin)
  expect
  lcall $0x18, $0                 # ring 0's code
  faulted
  movl $2, %esp
  expect
  lcall $0x53, $(ext_conforming - extender_begin)
  faulted
  movl $0x2000, %esp
  lcall $0x4f, $0                 # a task
  tell $0xc0000001
  expect
  cli
  faulted
  expect
  inb $0x60, %al
  faulted
  expect
  hlt
  faulted
  expect
  int $0x0d                       # a gate of ring 0
  faulted
  int $0x2f                       # the end

# ---- ring 0's services
.code16
ext_conforming:
  movw %cs, %ax
  movzwl %ax, %eax
  outl %eax, $0x80
  lretl
ext_gate16:                       # 16-bit frame: IP, CS, parameters, SP, SS
  movl 4(%esp), %eax
  outl %eax, $0x80
  movl 8(%esp), %eax
  outl %eax, $0x80
  lretw $4
ext_gate16int:                    # IP, CS, FLAGS, SP, SS
  outl %eax, $0x80
  movzwl 6(%esp), %eax
  outl %eax, $0x80
  iretw
.code32
ext_gate32:
  movl 8(%esp), %eax
  outl %eax, $0x80
  movl 12(%esp), %eax
  outl %eax, $0x80
  lretl $4

# ---- the monitor
.balign 16
ext_stubs:
.set number, 0
.rept 0x30
  .balign 16
  .if (number == 8) || (number >= 10 && number <= 14) || (number == 17)
  .else
  pushl $0
  .endif
  pushl $number
  jmp ext_trap
  .set number, number + 1
.endr
# From ESP: ES, DS, EDI, ESI, EBP, ESP, EBX, EDX, ECX, EAX (36), vector (40), error, EIP (48), CS, EFLAGS (56), ESP, SS, ES, DS …
ext_trap:
  cld
  pushal
  pushl %ds
  pushl %es
  movl $0x10, %eax
  movl %eax, %ds
  movl %eax, %es
  testl $0x20000, 56(%esp)
  jnz ext_trap8086
  movl 40(%esp), %edx
  cmpl $0x2f, %edx
  je ext_end
  cmpl $1, %edx
  je ext_debug
  cmpl $10, %edx
  jne 1f
  movl $0x10, 4(%esp)             # DS is what could not be loaded
1:
  # Vector and error code; the instruction at fault should be where EBX says.
  movl %edx, %eax
  shll $24, %eax
  orl 44(%esp), %eax
  outl %eax, $0x80
  movl 48(%esp), %eax
  testb $3, 52(%esp)
  jnz 1f
  subl $0x7c00, %eax
1:
  subl %ebx, %eax
  jz 2f
  orl $0xbad00000, %eax
  outl %eax, $0x80
2:
  testb $3, 52(%esp)
  jnz 3f
  addl $0x7c00, %ebp
3:
  movl %ebp, 48(%esp)
ext_return:
  popl %es
  popl %ds
  popal
  addl $8, %esp
  iretl
ext_debug:
  movl %dr6, %eax
  andl $0xe00f, %eax
  orl $0x01000000, %eax
  outl %eax, $0x80
  xorl %eax, %eax
  movl %eax, %dr6
  jmp ext_return
ext_end:
  movl ext_saved - extender_org, %esp
  jmp *ext_continue - extender_org

# EBX: linear address of the instruction; ESI: of the task's stack.
ext_trap8086:
  movl 40(%esp), %edx
  movl 52(%esp), %ebx
  shll $4, %ebx
  addl 48(%esp), %ebx
  movl 64(%esp), %esi
  shll $4, %esi
  movzwl 60(%esp), %eax
  addl %eax, %esi
  movzbl (%ebx), %ecx
  movzbl 1(%ebx), %edi
  cmpl $13, %edx
  jne 9f
  cmpb $0xf4, %cl
  je 8f
  # Opcode and operand.
  movl %ecx, %eax
  shll $16, %eax
  orl %edi, %eax
  cmpb $0xcd, %cl
  je 1f
  cmpb $0xe4, %cl
  je 1f
  xorw %ax, %ax
1:
  orl $0x86000000, %eax
  outl %eax, $0x80
  cmpb $0xfa, %cl
  je ext_cli
  cmpb $0xfb, %cl
  je ext_sti
  cmpb $0x9c, %cl
  je ext_pushf
  cmpb $0x9d, %cl
  je ext_popf
  cmpb $0xcd, %cl
  je ext_int
  cmpb $0xcf, %cl
  je ext_iret
  cmpb $0xe4, %cl
  je ext_in
9:
  movl %edx, %eax
  shll $24, %eax
  orl $0x00bad086, %eax
  outl %eax, $0x80
8:
  movl %ecx, %eax
  outl %eax, $0x80
  jmp ext_end

# ext_virtual: bit 9 is the task's IF when it has no VIF, bit 20 that an interrupt waits.
ext_cli:
  andl $~0x200, ext_virtual - extender_org
  incl 48(%esp)
  jmp ext_return
ext_sti:
  incl 48(%esp)
  testl $0x100000, 56(%esp)       # VIP: STI faulted for it
  jz 1f
  andl $~0x100000, 56(%esp)
  orl $0x80000, 56(%esp)          # VIF
  movl $8, %edi
  jmp ext_reflect
1:
  orl $0x200, ext_virtual - extender_org
  testl $0x100000, ext_virtual - extender_org
  jz ext_return
  andl $~0x100000, ext_virtual - extender_org
  movl $8, %edi
  jmp ext_reflect
ext_pushf:
  incl 48(%esp)
  subw $2, 60(%esp)
  call ext_image
  movw %ax, -2(%esi)
  jmp ext_return
ext_popf:
  incl 48(%esp)
  movzwl (%esi), %eax
  addw $2, 60(%esp)
  call ext_load
  jmp ext_return
ext_iret:
  movzwl (%esi), %eax
  movl %eax, 48(%esp)
  movzwl 2(%esi), %eax
  movl %eax, 52(%esp)
  movzwl 4(%esi), %eax
  addw $6, 60(%esp)
  call ext_load
  jmp ext_return
ext_in:
  addl $2, 48(%esp)
  movb $0x5a, 36(%esp)
  jmp ext_return
ext_int:
  addl $2, 48(%esp)
  cmpl $0x22, %edi
  jne ext_reflect
  movl %cr4, %eax
  testb $1, %al
  jnz 1f
  orl $0x100000, ext_virtual - extender_org
  jmp ext_return
1:
  orl $0x100000, 56(%esp)
  jmp ext_return
# Interrupt EDI of the task's own, as the mode's extensions would do it.
ext_reflect:
  call ext_image
  movw %ax, -2(%esi)
  movw 52(%esp), %ax
  movw %ax, -4(%esi)
  movw 48(%esp), %ax
  movw %ax, -6(%esi)
  subw $6, 60(%esp)
  andl $~0x200, ext_virtual - extender_org
  andl $~0x80000, 56(%esp)
  movzwl (,%edi,4), %eax
  movl %eax, 48(%esp)
  movzwl 2(,%edi,4), %eax
  movl %eax, 52(%esp)
  jmp ext_return
# AX: the flags as the task sees them; called with one more word on the stack.
ext_image:
  movl 60(%esp), %eax
  andl $~0x200, %eax
  orl $0x3000, %eax
  testl $0x80000, 60(%esp)
  jz 1f
  orl $0x200, %eax
1:
  orl ext_virtual - extender_org, %eax
  ret
ext_load:
  movl %eax, %ecx
  andl $0x200, %ecx
  andl $~0x200, ext_virtual - extender_org
  orl %ecx, ext_virtual - extender_org
  andl $0x0cd5, %eax
  andl $~0x0cd5, 60(%esp)
  orl %eax, 60(%esp)
  ret

.balign 16
ext_saved: .long 0
ext_continue: .long 0
ext_virtual: .long 0
ext_gdtr:
  .word ext_gdt_end - ext_gdt - 1
  .long ext_gdt - extender_org
ext_idtr:
  .word 0x30 * 8 - 1
  .long 0x6000
.balign 16
ext_gdt:
  .quad 0
  .quad 0x00cf9b000000ffff        # 08: code
  .quad 0x00cf93000000ffff        # 10: data
  descriptor 0x7c00, 0xffff, 0x9b, 0x00                                # 18: 16-bit code
  descriptor 0x7c00, 0xffff, 0x93, 0x00                                # 20: 16-bit data
  descriptor ext_tss1-extender_org, ext_tss2-ext_tss1-1, 0x89, 0x00    # 28
  descriptor ext_ldt-extender_org, ext_ldt_end-ext_ldt-1, 0x82, 0x00  # 30
  descriptor ext_tss4-extender_org, 0x2b, 0x81, 0x00                   # 38: of a 286
  descriptor ext_tss2-extender_org, 0x67, 0x89, 0x00                   # 40
  descriptor ext_tss3-extender_org, 0x67, 0x89, 0x00                   # 48: traps
  descriptor 0x7c00, 0xffff, 0x9f, 0x00                                # 50: conforming
  descriptor ext_tss5-extender_org, 0x67, 0x89, 0x00                   # 58
  descriptor ext_tss5-extender_org, 0x67, 0x09, 0x00                   # 60: absent
ext_gdt_end:
.balign 16
ext_ldt:
  descriptor 0x7c00, 0xffff, 0xfb, 0x00                                # 07: 16-bit code
  descriptor 0x7c00, 0xffff, 0xf3, 0x00                                # 0f
  .word 0x0fff, 0x0000, 0xf305, 0x0000                                 # 17: 16-bit stack at 50000h
  descriptor 0x7c00, 0xffff, 0xfb, 0x40                                # 1f: 32-bit code
  .word 0x1fff, 0x0000, 0xf306, 0x0040                                 # 27: 32-bit stack at 60000h
  .word 0x0fff, 0x0000, 0xf705, 0x0000                                 # 2f: expand-down
  .word 0x0fff, 0x0000, 0xf705, 0x0040                                 # 37: expand-down, 32 bits
  .word ext_gate16-extender_begin, 0x18, 0xe402, 0                     # 3f: 16-bit call gate, two parameters
  .word ext_gate32-extender_org, 0x08, 0xec01, 0                       # 47: 32-bit call gate, one
  .word 0, 0x40, 0xe500, 0                                             # 4f: task gate
ext_ldt_end:

.balign 16
ext_tss1:
  .long 0, 0x6c00, 0x10
  .zero 0x60 - 12
  .word 0x30, 0, 0, 0x88            # LDT, T, where the bitmap begins
  .byte 0, 0, 0, 0, 0x04          # INT 22h is the monitor's
  .zero 27
  .fill 16, 1, 0xff               # ports: 80h–87h are anybody's
  .byte 0
  .fill 15, 1, 0xff
  .byte 0xff
.macro task entry, stack, ds
  .long 0
  .long 0x6c00, 0x10, 0, 0, 0, 0
  .long 0
  .long \entry, 2, 0, 0, 0
  .long ext_task5 - extender_begin, \stack, ext_task5ok - extender_begin, 0, 0
  .long 0x10, 0x08, 0x10, \ds, 0, 0, 0
.endm
ext_tss2:
  task ext_task2-extender_org, 0x6800, 0x10
  .long 0x00680000
ext_tss3:
  task ext_task3-extender_org, 0x6800, 0x10
  .long 0x00680001
ext_tss5:
  task ext_task5-extender_org, 0x6800, 0x28
  .long 0x00680000
ext_tss4:
  .word 0, 0x6c00, 0x10, 0, 0, 0, 0
  .word ext_task4-extender_begin, 2, 0, 0, 0, 0, 0xf000, 0, 0, 0
  .word 0x20, 0x18, 0x20, 0x20, 0
extender_end:
.popsection
.code64
)");

namespace lodge::x86 {
namespace {

using namespace testing;

constexpr uint32_t kTrapped = 0x86000000;

/** What the task says of itself, and with `monitored` what the monitor has to do for it. */
void task8086(std::vector<uint32_t>& words, bool monitored) {
  const auto trap = [&](uint32_t opcode, uint32_t operand = 0) { words.push_back(kTrapped | opcode << 16 | operand); };
  const auto quiet = [&](uint32_t opcode, uint32_t operand = 0) {
    if (monitored) trap(opcode, operand);
  };
  const auto flags = [&](uint32_t value) {
    quiet(0x9c);
    words.push_back(0xa0003000 | value);
  };
  words.push_back(0x2222);
  quiet(0xfb);
  flags(0x200);
  quiet(0xfa);
  flags(0);
  trap(0xcd, 0x22);
  flags(0);
  words.push_back(0xa3000000);
  trap(0xfb);  // either way: an interrupt waits
  words.push_back(0xa2000000);
  flags(0);
  quiet(0xcf);
  flags(0x200);
  quiet(0xcd, 0x21);
  words.push_back(0xa1000000);
  flags(0);
  quiet(0xcf);
  flags(0x200);
  trap(0xe4, 0x60);
  words.push_back(0x5a);
  quiet(0x9d);
  flags(1);
  words.push_back(0xf4);
}

std::vector<uint32_t> expectedOfExtender(bool with8086) {
  std::vector<uint32_t> words;
  if (with8086) {
    words.push_back(0xaa000000);
    task8086(words, true);
    words.push_back(0xaa000001);
    task8086(words, false);
  }
  const uint32_t task = 0x00280108;  // its back link, NT and CR0.TS
  const uint32_t client[] = {
      0xaa000002, 0xdead0ffe, 0xdead0ffa, 0xdead0ffe,
      0x0c000000, 0x00000000,              // #SS: the stack's end; IRET to a 16-bit stack left the upper half alone
      0x0c000000,                          // and across it
      0x12345678, 0x00170ffc, 0x00001000,  // the 16-bit gate's parameters, SS:SP of the client; its stack is where it was
      0x00003129, 0x00001000,              // the 16-bit interrupt gate
      0x0d000000, 0x0d000000,              // below and across the ends of the expand-down segment
      0x0d000054, 0x0d000010,              // selectors
      0x0d000000, 0x0d000000,              // a write to code; a null segment
      0x0d000004,                          // code in SS
      0x000e452e, 0x00000102, 0x00000fff,  // VERR, VERW, LAR, LSL, ARPL
      0xbeef0ffc, 0xbeef0ff8, 0xbeef0ffc,
      0xcafebabe, 0x00001ffc, 0x00002000,  // the 32-bit gate
      0x00000053, 0x0d000018, 0x0c000000,  // conforming code, ring 0's, and no room for the call
      0xd2000000, task,       0xc0000001,
      0x0d000000, 0x0d000000, 0x0d000000, 0x0d00006a,  // CLI, IN, HLT, INT 0Dh
      0xaa000003, 0xd2000000, task,       0xd2000000, task, 0xd2000000, task,
      0xd4000000, 0xd401f000, 0xd000818b,  // the 286's task: NT, SP; and back
      0x01008000, 0xd3000000, 0xd7000400,  // DR6.BT; a switch takes the local breakpoints away
      0x0a000028, 0xd5000000,              // #TS of the new task
      0x0d000028, 0x0b000060,
  };
  words.insert(words.end(), std::begin(client), std::end(client));
  return words;
}

TEST(extenderProgramSeesAProcessorOfTheManuals) {
  checkWords("Lodge", runProgram({extender_begin, extender_end, 1}), expectedOfExtender(true), __FILE__, __LINE__);
}

TEST(extenderProgramSeesTheSameOnKvm) {
  for (const bool with8086 : {true, false}) {
    std::string why;
    const std::vector<uint32_t> words = runProgramOnKvm({extender_begin, extender_end, with8086}, why), expected = expectedOfExtender(with8086);
    checkWords("KVM", words, expected, __FILE__, __LINE__, !why.empty());
    if (!why.empty()) std::fprintf(stderr, "skipped behind word %zu of %zu: %s\n", words.size(), expected.size(), why.c_str());
  }
}

}  // namespace
}  // namespace lodge::x86
