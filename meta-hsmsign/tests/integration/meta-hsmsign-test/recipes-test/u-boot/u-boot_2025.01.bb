SUMMARY = "U-Boot from Debian's source package, since the test reaches no other site"
LICENSE = "GPL-2.0-or-later"
LIC_FILES_CHKSUM = "file://Licenses/README;md5=2ca5f2c35c8cc335f0a19756634782f1"

require recipes-bsp/u-boot/u-boot.inc

# `apt-get source --download-only u-boot` of Debian 13, into TEST_SOURCES
SRC_URI = "file://${TEST_SOURCES}/u-boot_2025.01.orig.tar.bz2;sha256sum=cdef7d507c93f1bbd9f015ea9bc21fa074268481405501945abc6f854d5b686f"
# qemu gives U-Boot its tree, so there is none in the build unless it is asked for.
SRC_URI:append:test-arm64 = " ${@'' if d.getVar('TEST_NO_TREE') == '1' else 'file://tree.cfg'}"
S = "${UNPACKDIR}/u-boot-2025.01"
B = "${WORKDIR}/build"
do_configure[cleandirs] = "${B}"
DEPENDS += "bc-native dtc-native gnutls-native python3-pyelftools-native"
PROVIDES += "virtual/bootloader"

# Elsewhere kern-tools-native brings merge_config.sh; U-Boot has one of its own.
do_configure:prepend() {
	export PATH="${S}/scripts/kconfig:$PATH"
}
