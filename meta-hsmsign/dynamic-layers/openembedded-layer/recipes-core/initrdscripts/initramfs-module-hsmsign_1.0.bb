SUMMARY = "initramfs module that opens the root filesystem with dm-verity"
DESCRIPTION = "Takes the table from /firmware/hsmsign of the device tree, which the FIT's signature covers"
HOMEPAGE = "https://example.org/hsmsign"
BUGTRACKER = "https://example.org/hsmsign/issues"
SECTION = "base"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://${LAYERDIR_hsmsign}/LICENSE;md5=f0163e9786ce59bc29ebb6886d6be038"

SRC_URI = "file://hsmsign.sh"

inherit allarch

# scarthgap has no UNPACKDIR.
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
	# After udev has found the disks, before 90-rootfs mounts what root= names.
	install -D -m 0755 ${S}/hsmsign.sh ${D}/init.d/88-hsmsign
}

FILES:${PN} += "/init.d"
RDEPENDS:${PN} = "initramfs-framework-base libdevmapper"
