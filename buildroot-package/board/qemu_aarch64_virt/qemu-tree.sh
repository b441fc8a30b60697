#!/usr/bin/env bash
# Writes the device tree of QEMU's "virt" machine, with lines of yours added.
#
#   qemu-tree.sh U-BOOT.BIN OUT.dtb < ADDITION.dts
#
# QEMU is told with -bios that firmware starts first; without that the tree
# differs and Linux stops later on.

set -euo pipefail

uboot="${1:?}" out="${2:?}"
dtc="${HOST_DIR:+${HOST_DIR}/bin/}dtc"
qemu="${HOST_DIR:+${HOST_DIR}/bin/}qemu-system-aarch64"
[ -x "${qemu}" ] || qemu="qemu-system-aarch64"

work="$(mktemp -d)"
trap 'rm -rf "${work}"' EXIT

"${qemu}" -machine "virt,dumpdtb=${work}/raw.dtb" -cpu cortex-a57 -m 1024 -smp 1 \
	-bios "${uboot}" -display none -nic none > /dev/null 2>&1
"${dtc}" -q -I dtb -O dts -o "${work}/tree.dts" "${work}/raw.dtb"
cat >> "${work}/tree.dts"
# QEMU pads its tree to 1 MiB; this one has room for a key and little more
"${dtc}" -q -I dts -O dtb -p 0x4000 -o "${out}" "${work}/tree.dts"
