SUMMARY = "Empty packages in the place of those that the layer's packages for the device ask for"
DESCRIPTION = "Their own recipes need a C library for the target, which this test does not build"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit allarch

INHIBIT_DEFAULT_DEPS = "1"
ALLOW_EMPTY:${PN} = "1"
RPROVIDES:${PN} = "swupdate libdevmapper initramfs-framework-base"
