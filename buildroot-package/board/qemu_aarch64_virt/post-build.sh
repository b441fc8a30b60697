#!/usr/bin/env bash
# The demo's two device trees. QEMU makes its tree at run time, so U-Boot has
# none behind it: we take QEMU's, let hsmsign put the key in, and hand it back
# with -dtb. Linux gets its own copy, inside the signed FIT.

set -euo pipefail
tree="$(dirname "${0}")/qemu-tree.sh"

"${tree}" "${BINARIES_DIR}/u-boot.bin" "${BINARIES_DIR}/u-boot-control.dtb" << EOF
/ {
	config {
		bootcmd = "bootm 0x50000000";
		/* neither a key on the console nor a stored environment stops or changes it */
		bootdelay = <(-2)>;
		load-environment = <0>;
	};
};
EOF
"${tree}" "${BINARIES_DIR}/u-boot.bin" "${BINARIES_DIR}/virt.dtb" << EOF
/ {
	chosen {
		bootargs = "console=ttyAMA0";
	};
};
EOF
