/* A kernel of a few instructions for the boot protocols: tells on COM1 what its loader passed, then leaves through port F4h.
   Assembled with -DPROTOCOL=1 (multiboot), 2 (multiboot2) or 3 (PVH). */
  .text
#if PROTOCOL == 1
  .align 4
  .long 0x1badb002, 3, -(0x1badb002 + 3)
#define MAGIC 0x2badb002
#elif PROTOCOL == 2
  .align 8
header:
  .long 0xe85250d6, 0, header_end - header, -(0xe85250d6 + (header_end - header))
  .word 0, 0
  .long 8
header_end:
#define MAGIC 0x36d76289
#else
  .section .note.Xen, "a", @note
  .long 4, 4, 18
  .asciz "Xen"
  .long _start
  .text
#endif

  .globl _start
_start:
  mov $stack_top, %esp
#if PROTOCOL == 3
  cmpl $0x336ec578, (%ebx)
#else
  cmp $MAGIC, %eax
#endif
  jne fail
  mov $greeting, %esi
  call print
#if PROTOCOL == 1
  mov 16(%ebx), %esi
  call print_line
  mov 20(%ebx), %ebp          /* modules */
  mov 24(%ebx), %edi
1:
  test %ebp, %ebp
  jz done
  mov 8(%edi), %esi
  call print_line
  mov (%edi), %esi
  mov 4(%edi), %ecx
  call print_range
  add $16, %edi
  dec %ebp
  jmp 1b
#elif PROTOCOL == 2
  lea 8(%ebx), %edi
1:
  mov (%edi), %eax
  test %eax, %eax
  jz done
  cmp $1, %eax
  jne 2f
  lea 8(%edi), %esi
  call print_line
2:
  cmpl $3, (%edi)
  jne 3f
  lea 16(%edi), %esi
  call print_line
  mov 8(%edi), %esi
  mov 12(%edi), %ecx
  call print_range
3:
  mov 4(%edi), %eax
  add $7, %eax
  and $-8, %eax
  add %eax, %edi
  jmp 1b
#else
  mov 24(%ebx), %esi
  call print_line
  mov 12(%ebx), %ebp
  mov 16(%ebx), %edi
1:
  test %ebp, %ebp
  jz done
  mov 16(%edi), %esi
  call print_line
  mov (%edi), %esi
  mov 8(%edi), %ecx
  add %esi, %ecx
  call print_range
  add $32, %edi
  dec %ebp
  jmp 1b
#endif
done:
  cmpl $0, bss                /* must have been cleared */
  jne fail
  mov $42, %al
  out %al, $0xf4
fail:
  mov $1, %al
  out %al, $0xf4
  hlt
  jmp fail

print_line:
  call print
  mov $newline, %esi
print:
  lodsb
  test %al, %al
  jz 1f
  call put
  jmp print
1:
  ret

/* from ESI up to ECX */
print_range:
  cmp %ecx, %esi
  jae 1f
  lodsb
  call put
  jmp print_range
1:
  ret

put:
  mov %al, %ah
  mov $0x3fd, %dx
1:
  in %dx, %al
  test $0x20, %al
  jz 1b
  mov %ah, %al
  mov $0x3f8, %dx
  out %al, %dx
  ret

  .section .rodata
greeting: .asciz "KERNEL\n"
newline: .asciz "\n"
  .bss
bss: .skip 8192
stack_top:
