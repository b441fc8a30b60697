#!/usr/bin/env bash
# Writes the control tree that QEMU's "virt" machine hands to U-Boot, so that a
# key can be put into it and QEMU be started with -dtb.
#
#   qemu-control-tree.sh U-BOOT.BIN OUT.dtb BOOTCMD

set -euo pipefail

uboot="${1:?}" out="${2:?}" bootcmd="${3:?}"
dtc="${HOST_DIR:+${HOST_DIR}/bin/}dtc"
qemu="${HOST_DIR:+${HOST_DIR}/bin/}qemu-system-aarch64"
[ -x "${qemu}" ] || qemu="qemu-system-aarch64"

work="$(mktemp -d)"
trap 'rm -rf "${work}"' EXIT

# With -bios, since QEMU then leaves out what U-Boot is to find by itself
"${qemu}" -machine "virt,dumpdtb=${work}/raw.dtb" -cpu cortex-a57 -m 1024 -smp 1 \
	-bios "${uboot}" -display none -nic none > /dev/null 2>&1
"${dtc}" -q -I dtb -O dts -o "${work}/tree.dts" "${work}/raw.dtb"
cat >> "${work}/tree.dts" << EOF
/ {
	config {
		bootcmd = "${bootcmd}";
		bootdelay = <0>;
	};
};
EOF
"${dtc}" -q -I dts -O dtb -p 0x4000 -o "${out}" "${work}/tree.dts"
