SUMMARY = "The smallest image that image.bbclass makes here"
LICENSE = "MIT"

inherit core-image

IMAGE_FEATURES = ""
IMAGE_INSTALL = "test-files"
PACKAGE_INSTALL = "${IMAGE_INSTALL}"
IMAGE_ROOTFS_SIZE = "4096"
