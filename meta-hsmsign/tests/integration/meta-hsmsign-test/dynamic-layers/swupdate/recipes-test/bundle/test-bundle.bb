SUMMARY = "A bundle by meta-swupdate's class"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

FILESEXTRAPATHS:prepend := "${THISDIR}/files:"
SRC_URI = "file://sw-description"

inherit swupdate

IMAGE_DEPENDS = "test-image"
SWUPDATE_IMAGES = "test-image"
# cost.py makes one with the mode off as well.
TEST_BUNDLE_TYPE ?= "ext4.verity"
SWUPDATE_IMAGES_FSTYPES[test-image] = ".rootfs.${TEST_BUNDLE_TYPE}"
