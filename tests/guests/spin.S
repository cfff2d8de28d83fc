/* The smallest PVH guest: a kernel that never does anything. The note is Xen's XEN_ELFNOTE_PHYS32_ENTRY (18). */
    .code32
    .globl _start
    .text
_start:
    jmp _start

    .section .note.Xen, "a", @note
    .long 4, 4, 18
    .asciz "Xen"
    .long _start
