SUMMARY = "An initramfs that holds the layer's module"
LICENSE = "MIT"

inherit core-image

IMAGE_FEATURES = ""
IMAGE_INSTALL = "test-files ${@'initramfs-module-hsmsign' if d.getVar('HSMSIGN_MODE') else ''}"
PACKAGE_INSTALL = "${IMAGE_INSTALL}"
IMAGE_FSTYPES = "cpio.gz"
IMAGE_NAME_SUFFIX = ""
IMAGE_ROOTFS_SIZE = "4096"
