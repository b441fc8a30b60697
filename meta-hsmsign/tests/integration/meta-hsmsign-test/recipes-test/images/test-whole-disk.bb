SUMMARY = "A disk with the FIT and the signed file system of another recipe, as docs/yocto.md shows"
LICENSE = "MIT"

inherit core-image

IMAGE_FEATURES = ""
IMAGE_INSTALL = "test-files"
PACKAGE_INSTALL = "${IMAGE_INSTALL}"
IMAGE_FSTYPES = "wic"
WKS_FILE = "test-whole-disk.wks.in"
WKS_FILE_DEPENDS = ""
TEST_FIT = "${@'linux-yocto-fitimage' if 'kernel-fit-extra-artifacts' in d.getVar('KERNEL_CLASSES').split() else 'virtual/kernel'}"
do_image_wic[depends] += "test-host-tools-native:do_populate_sysroot test-image:do_image_complete ${TEST_FIT}:do_deploy"
