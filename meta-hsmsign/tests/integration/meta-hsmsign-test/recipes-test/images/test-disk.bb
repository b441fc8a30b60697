SUMMARY = "A disk whose partition is the signed file system of the same recipe"
LICENSE = "MIT"

require test-image.bb

IMAGE_FSTYPES = "${@'ext4.verity wic' if d.getVar('HSMSIGN_MODE') in ('dev', 'release') else 'ext4'}"
WKS_FILE = "test-disk.wks.in"
# No bootloader: wrynose wants systemd-boot for arm64.
WKS_FILE_DEPENDS = ""
do_image_wic[depends] += "test-host-tools-native:do_populate_sysroot"
