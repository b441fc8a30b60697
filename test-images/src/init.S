/*
 * /init of the test initramfs: prints one line that a test can look for, then powers off, so a
 * boot ends by itself. Two system calls need no C library, and a few hundred bytes keep the
 * FIT's size that of the kernel.
 *
 * The kernel's built-in initramfs already holds /dev/console, which is our file descriptor 1.
 */
	.equ	SYS_reboot, 142		// include/uapi/asm-generic/unistd.h
	.equ	SYS_write, 64

	.section .text
	.globl	_start
_start:
	mov	x0, #1
	adr	x1, line
	mov	x2, #line_len
	mov	x8, #SYS_write
	svc	#0

	/* reboot(MAGIC1, MAGIC2, POWER_OFF): man 2 reboot */
	ldr	w0, =0xfee1dead
	ldr	w1, =672274793
	ldr	w2, =0x4321fedc
	mov	x8, #SYS_reboot
	svc	#0

	/* Init must not return; if power-off failed, the test's timeout ends the machine. */
0:	wfe
	b	0b

line:	.ascii	"hsmsign: userspace reached\n"
	.equ	line_len, . - line
