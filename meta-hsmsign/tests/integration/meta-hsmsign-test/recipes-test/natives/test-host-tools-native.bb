SUMMARY = "The host's partition tools, in the sysroot where wic looks for them"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit native

INHIBIT_DEFAULT_DEPS = "1"
INHIBIT_SYSROOT_STRIP = "1"

# wrynose's wic names the sector size that sfdisk takes anyway, by an option that Debian 12's does not know.
do_install() {
	install -d ${D}${sbindir}
	for tool in parted sfdisk mkdosfs mcopy; do
		cat > ${D}${sbindir}/$tool <<-EOF
		#!/bin/sh
		[ "\$1 \$2" != "--sector-size 512" ] || shift 2
		exec $(readlink -f "$(command -v $tool)") "\$@"
		EOF
		chmod 0755 ${D}${sbindir}/$tool
	done
}
