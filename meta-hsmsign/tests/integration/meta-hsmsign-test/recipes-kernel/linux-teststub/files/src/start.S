	.text
	.globl _start
_start:	wfi
	b _start
	.fill 65536, 1, 0xa5
	.incbin "ballast"
