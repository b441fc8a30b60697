#!/usr/bin/env bash
# Makes the inputs of the tests and the demo: unsigned, real, and the same bytes every time.
#
#   test-images/make.sh OUTDIR
#
# Everything comes from Debian packages (.ci/install-deps.sh demo) and from test-images/src; no
# download, no root. OUTDIR appears whole or not at all, and is left alone when it is up to date.
# README.md in this directory lists what is made.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
src=$here/src
# 2026-01-01. Fixed rather than taken from the last commit: golden tests keep these bytes.
export SOURCE_DATE_EPOCH=1767225600
export LC_ALL=C TZ=UTC

uboot=/usr/lib/u-boot/qemu_arm64/u-boot.bin
installer=/usr/lib/debian-installer/images/12/arm64/text/debian-installer/arm64

if [ $# -ne 1 ]; then
	sed -n '2,4s/^# \{0,1\}//p' "$0" >&2
	exit 2
fi
out=$1

for tool in qemu-system-aarch64 dtc fdtput mkimage aarch64-linux-gnu-as aarch64-linux-gnu-ld \
	cpio gzip mke2fs debugfs mksquashfs python3; do
	command -v "$tool" >/dev/null || PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || {
		printf 'error: %s is not installed\nhint: .ci/install-deps.sh demo\n' "$tool" >&2
		exit 1
	}
done
PATH=$PATH:/usr/sbin:/sbin # mke2fs and debugfs, for users whose PATH lacks them
for file in "$uboot" "$installer/linux" "$installer/initrd.gz"; do
	[ -r "$file" ] || {
		printf 'error: %s is not there\nhint: .ci/install-deps.sh demo\n' "$file" >&2
		exit 1
	}
done

# Same sources and same packages give the same images, so their hash says whether to work at all.
stamp=$({
	dpkg-query -W u-boot-qemu qemu-system-arm debian-installer-12-netboot-arm64 u-boot-tools \
		device-tree-compiler e2fsprogs squashfs-tools cpio gzip binutils-aarch64-linux-gnu
	cd "$here" && sha256sum make.sh src/*.its src/*.dts src/*.S src/sw-description*
} | sha256sum | cut -d' ' -f1)
if [ "$(cat "$out/.stamp" 2>/dev/null)" = "$stamp" ]; then
	printf 'test images in %s are up to date\n' "$out" >&2
	exit 0
fi

mkdir -p "$(dirname "$out")"
out=$(cd "$(dirname "$out")" && pwd)/$(basename "$out")
work=$(mktemp -d "$out.making.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/images" "$work/tmp"
cd "$work/images"
log=$work/tmp/log
fail() {
	printf 'error: making the test images failed at: %s\n' "$1" >&2
	tail -n 20 "$log" >&2
	exit 1
}
say() { printf '  %s\n' "$*" >&2; }

# -- bootloader --------------------------------------------------------------------------------

say 'bootloader: u-boot.bin, control trees'
cp "$uboot" u-boot.bin

# QEMU makes the machine's tree itself. `-bios` must be the one it later runs with: without it the
# tree misses the flash chip that holds the firmware, and the kernel oopses when it probes it.
qemu-system-aarch64 -machine virt,dumpdtb="$work/tmp/virt.dtb" -cpu cortex-a57 -m 1024 -smp 1 \
	-bios "$uboot" -display none -nic none >"$log" 2>&1 || fail 'dump of the device tree'
# QEMU pads the tree to 1 MiB and puts random seeds into it, which would differ each time.
for seed in kaslr-seed rng-seed; do
	fdtput -d "$work/tmp/virt.dtb" /chosen $seed 2>/dev/null || true
done
dtc -q -I dtb -O dtb -o "$work/tmp/machine.dtb" "$work/tmp/virt.dtb" 2>"$log" || fail 'dtc'

# control_tree IN OUT PAD BOOTCMD: a control tree whose boot command nobody has to type. U-Boot
# takes /config/bootcmd in place of its environment's; the FIT's address is qemu-boot.sh's.
control_tree() {
	cp "$1" "$work/tmp/control.dtb"
	fdtput -c "$work/tmp/control.dtb" /config
	fdtput -t s "$work/tmp/control.dtb" /config bootcmd "$4"
	fdtput -t i "$work/tmp/control.dtb" /config bootdelay 0
	# Room for keys comes last: fdtput packs what it writes.
	dtc -q -I dtb -O dtb -p "$3" -o "$2" "$work/tmp/control.dtb" 2>"$log" || fail "dtc $2"
}
control_tree "$work/tmp/machine.dtb" u-boot.dtb 0x4000 'bootm 0x50000000'

# Without a spare byte: whoever adds a key has to make room.
dtc -q -I dtb -O dtb -o u-boot-tight.dtb u-boot.dtb 2>"$log" || fail 'dtc u-boot-tight.dtb'

# SPL's tree has only what SPL needs. Stock U-Boot, which stands in for SPL, runs with it too.
cp "$work/tmp/machine.dtb" "$work/tmp/spl.dtb"
for node in $(fdtget -l "$work/tmp/spl.dtb" /); do
	case $node in
	virtio_mmio@* | pcie@* | fw-cfg@* | platform-bus@* | pl061@* | pl031@* | flash@* | gpio-* | pmu)
		fdtput -r "$work/tmp/spl.dtb" "/$node"
		;;
	esac
done
# iminfo comes first, because SPL checks the hash of each image it loads, and bootm loads only one
# of a bootloader FIT's.
control_tree "$work/tmp/spl.dtb" u-boot-spl.dtb 0x2000 'iminfo 0x50000000 && bootm 0x50000000'

# U-Boot with its control tree behind it (CONFIG_OF_SEPARATE); it looks for the tree at its end.
cat u-boot.bin u-boot.dtb >u-boot-dtb.bin

# -- FIT ---------------------------------------------------------------------------------------

say 'FIT: kernel, device trees, initramfs'
gzip -9nc "$installer/linux" >Image.gz
gzip -1nc "$installer/linux" >Image-recovery.gz

cp "$work/tmp/machine.dtb" board.dtb
fdtput -t s board.dtb /chosen bootargs 'console=ttyAMA0 panic=-1'
cp "$work/tmp/machine.dtb" board-recovery.dtb
fdtput -t s board-recovery.dtb /chosen bootargs 'console=ttyAMA0 panic=-1 recovery'
dtc -q -@ -I dts -O dtb -o overlay.dtbo "$src/overlay.dts" 2>"$log" || fail 'dtc overlay'

aarch64-linux-gnu-as -o "$work/tmp/init.o" "$src/init.S" 2>"$log" || fail 'as init.S'
mkdir "$work/tmp/initramfs"
# -N packs code and data into one segment, hence the file is hundreds of bytes, not a page or two;
# the warning about a segment that is writable and executable is the price.
aarch64-linux-gnu-ld -s -N --build-id=none --no-warn-rwx-segments \
	-o "$work/tmp/initramfs/init" "$work/tmp/init.o" 2>"$log" || fail 'ld init'
(
	cd "$work/tmp/initramfs"
	chmod 755 init
	touch -d "@$SOURCE_DATE_EPOCH" init
	echo init | cpio -o -H newc --quiet --reproducible -R 0:0
) | gzip -9n >initramfs.cpio.gz
python3 -c 'import sys; sys.stdout.buffer.write(bytes(i * 7 & 255 for i in range(4093)))' >coprocessor.bin

say 'FIT: assembling'
cp "$src"/*.its .
# No `signature` node anywhere: the signer has to add them.
sed '/signature-1 {/,/};/d' fit.its >fit-nosig.its
for name in fit fit-nosig fit-image-signature fit-overlay u-boot; do
	mkimage -f $name.its $name.itb >"$log" 2>&1 || fail "mkimage $name"
done
# External data right behind the tree, and at a fixed position (data-position).
mkimage -E -f fit.its fit-external.itb >"$log" 2>&1 || fail 'mkimage -E'
mkimage -E -p 0x4000 -f fit.its fit-external-position.itb >"$log" 2>&1 || fail 'mkimage -E -p'
mkimage -E -f fit-nosig.its fit-external-nosig.itb >"$log" 2>&1 || fail 'mkimage -E nosig'

# -- root filesystem ---------------------------------------------------------------------------

say 'rootfs: ext4, squashfs'
# The installer's own arm64 userland: busybox, C library, udev, and those modules of the kernel
# above that a board with a disk wants. The rest of the modules would only add bulk.
mkdir "$work/tmp/root"
gzip -dc "$installer/initrd.gz" | (
	cd "$work/tmp/root"
	cpio -id --quiet --no-absolute-filenames 'bin/*' 'sbin/*' 'lib/*' 'usr/*' 'etc/*'
) 2>"$log" || fail 'unpacking the userland'
(
	cd "$work/tmp/root"
	find lib/modules/*/kernel/drivers -mindepth 1 -maxdepth 1 \
		! -name md ! -name block ! -name virtio ! -name mmc ! -name nvme -exec rm -r {} +
	rm -rf etc/brltty bin/brltty lib/brltty lib/unifont.bgf
	mkdir -p dev proc sys run tmp mnt var root
	printf 'hsmsign test image\n' >etc/issue
	printf '/dev/root / auto ro 0 0\n' >etc/fstab
	# Whoever unpacks it, whatever the umask: only the executable bit is kept.
	find . -type d -exec chmod 755 {} +
	find . -type f -perm -100 -exec chmod 755 {} +
	find . -type f ! -perm -100 -exec chmod 644 {} +
	find . -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
)
mksquashfs "$work/tmp/root" rootfs.squashfs -all-root -noappend -no-xattrs -comp gzip -quiet -no-progress \
	>"$log" 2>&1 || fail 'mksquashfs'

# mke2fs copies owner and change time from the directory, both of which are this machine's; debugfs
# sets them afterwards. E2FSPROGS_FAKE_TIME is what both take for the present time.
# The size is fixed (64 MiB of 4 KiB blocks), so its hash tree is too.
export E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH
mke2fs -q -t ext4 -b 4096 -L rootfs -U 0d3b7a5e-5f6c-4e0b-9b0e-6873006d7369 -O ^has_journal,^metadata_csum_seed \
	-E hash_seed=0d3b7a5e-5f6c-4e0b-9b0e-6873006d7370,root_owner=0:0,lazy_itable_init=0 -m 0 \
	-d "$work/tmp/root" rootfs.ext4 16384 >"$log" 2>&1 || fail 'mke2fs'
(cd "$work/tmp/root" && find . -mindepth 1 | sort) | while read -r path; do
	for field in 'uid 0' 'gid 0' "ctime @$SOURCE_DATE_EPOCH" "atime @$SOURCE_DATE_EPOCH" 'ctime_extra 0' \
		'mtime_extra 0' 'atime_extra 0'; do
		printf 'set_inode_field "%s" %s\n' "${path#.}" "$field"
	done
done >"$work/tmp/owners"
debugfs -w -f "$work/tmp/owners" rootfs.ext4 >"$log" 2>&1 || fail 'debugfs'

# -- update ------------------------------------------------------------------------------------

cp "$src/sw-description" "$src/sw-description.json" .
# Without any checksum: the signer has to add them.
grep -v sha256 "$src/sw-description" >sw-description-bare

# ----------------------------------------------------------------------------------------------

sha256sum -- * >"$work/tmp/sums"
mv "$work/tmp/sums" SHA256SUMS
printf '%s\n' "$stamp" >.stamp
cd "$here"
rm -rf "$out"
mv "$work/images" "$out"
say "done: $(find "$out" -type f | wc -l) files in $out"
