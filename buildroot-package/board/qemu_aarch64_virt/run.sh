#!/usr/bin/env bash
# Boots the demo in QEMU: U-Boot checks image.itb, and /init in its initramfs
# opens the squashfs on dm-verity.
#
#   run.sh OUTPUT-DIRECTORY [further options of QEMU]

set -euo pipefail
output="${1:?name the output directory of Buildroot}"
shift
images="${output}/images"
qemu="${output}/host/bin/qemu-system-aarch64"
[ -x "${qemu}" ] || qemu="qemu-system-aarch64"

exec "${qemu}" -machine virt -cpu cortex-a57 -m 1024 -smp 1 -nographic -nic none \
	-bios "${images}/u-boot.bin" -dtb "${images}/u-boot-control.dtb" \
	-device "loader,file=${images}/image.itb,addr=0x50000000,force-raw=on" \
	-drive "file=${images}/rootfs.squashfs.verity,if=none,format=raw,readonly=on,id=root" \
	-device virtio-blk-device,drive=root "$@"
