SUMMARY = "An update bundle of the demo image"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "file://sw-description"

inherit swupdate

IMAGE_DEPENDS = "demo-image"
SWUPDATE_IMAGES = "demo-image"
SWUPDATE_IMAGES_FSTYPES[demo-image] = ".rootfs.ext4.verity"
