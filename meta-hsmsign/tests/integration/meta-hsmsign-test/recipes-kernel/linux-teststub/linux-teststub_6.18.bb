SUMMARY = "A stand-in for a kernel tree, built by the real kernel.bbclass"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
SRC_URI = "file://src"
LINUX_VERSION = "6.18"

inherit kernel

# kernel.bbclass moves ${S} away, so it is a directory of its own.
S = "${UNPACKDIR}/src"
DEPENDS += "dtc-native"
KERNEL_VERSION_SANITY_SKIP = "1"
CVE_VERSION = "6.18"
# How much longer the kernel is, for cost.py.
TEST_KERNEL_MB ?= "0"
EXTRA_OEMAKE += 'STUB=${STAGING_KERNEL_DIR} STUB_MB=${TEST_KERNEL_MB}'
RDEPENDS:${KERNEL_PACKAGE_NAME}-base = ""
