SUMMARY = "A small root filesystem with a hash tree"
LICENSE = "MIT"

inherit core-image

IMAGE_INSTALL = "packagegroup-core-boot"
IMAGE_FEATURES += "read-only-rootfs"
IMAGE_FSTYPES = "${@'ext4.verity' if d.getVar('HSMSIGN_MODE') in ('dev', 'release') else 'ext4'}"
