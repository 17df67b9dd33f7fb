/**
 * A boot sector that says "K" on debug port 0xe9 if the processor gets through what every guest
 * needs: real mode, 32-bit protected mode with an interrupt return, paging, 64-bit mode. Some
 * nested hypervisors offer /dev/kvm and fail half way.
 *
 * Its source, for GNU as (`as --64`, linked flat at 0x7c00):
 *
 *     .code16
 *     .globl _start
 *     _start:
 *       cli
 *       xorw %ax,%ax
 *       movw %ax,%ds
 *       movw %ax,%es
 *       movw %ax,%ss
 *       movw $0x7c00,%sp
 *       lgdt gdtr
 *       movl %cr0,%eax
 *       orl $1,%eax
 *       movl %eax,%cr0
 *       ljmp $8,$protected
 *     .code32
 *     protected:
 *       movw $0x10,%ax
 *       movw %ax,%ds
 *       movw %ax,%es
 *       movw %ax,%ss
 *       movl $0x7c00,%esp
 *       pushfl
 *       pushl $8
 *       pushl $returned
 *       iretl
 *     returned:
 *       movl $0x1000,%edi
 *       xorl %eax,%eax
 *       movl $3072,%ecx
 *       cld
 *       rep stosl
 *       movl $0x2003,0x1000
 *       movl $0x3003,0x2000
 *       movl $0x83,0x3000
 *       movl $0x1000,%eax
 *       movl %eax,%cr3
 *       movl %cr4,%eax
 *       orl $0x20,%eax
 *       movl %eax,%cr4
 *       movl $0xc0000080,%ecx
 *       rdmsr
 *       orl $0x100,%eax
 *       wrmsr
 *       movl %cr0,%eax
 *       orl $0x80000000,%eax
 *       movl %eax,%cr0
 *       ljmp $0x18,$long
 *     .code64
 *     long:
 *       movw $0xe9,%dx
 *       movb $'K',%al
 *       outb %al,%dx
 *     stop:
 *       hlt
 *       jmp stop
 *     .balign 8
 *     gdt:
 *       .quad 0
 *       .quad 0x00cf9a000000ffff
 *       .quad 0x00cf92000000ffff
 *       .quad 0x00af9a000000ffff
 *     gdtr:
 *       .word gdtr-gdt-1
 *       .long gdt
 *
 */
const code = Buffer.from(
  '+jHAjtiOwI7QvAB8DwEWwHwPIMBmg8gBDyLA6iB8CABmuBAAjtiOwI7QvAB8AACcaghoOHwAAM+/ABAAADHAuQAM' +
    'AAD886vHBQAQAAADIAAAxwUAIAAAAzAAAMcFADAAAIMAAAC4ABAAAA8i2A8g4IPIIA8i4LmAAADADzINAAEAAA8w' +
    'DyDADQAAAIAPIsDqlnwAABgAZrrpALBL7vTr/QAAAAAAAAAA//8AAACazwD//wAAAJLPAP//AAAAmq8AHwCgfAAA' +
    'AAA=',
  'base64',
)
const disk_bytes = 1_474_560

/** A disk that boots into the probe. */
export function probeDisk(): Buffer {
  const disk = Buffer.alloc(disk_bytes)
  code.copy(disk)
  disk.writeUInt16LE(0xaa55, 510)
  return disk
}
