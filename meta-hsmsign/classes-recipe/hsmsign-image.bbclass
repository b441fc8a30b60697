# The image type `.verity`: image, dm-verity superblock and hash tree in one file, root hash signed.
#
#   IMAGE_FSTYPES += "ext4.verity"
#
# Beside it: .verity.roothash, .verity.roothash.p7s and .verity.verity.json. A wic image with a partition
# `--source rawcopy --sourceparams="file=..."` is made after it.

inherit hsmsign

HSMSIGN_ROOTFS_OPTIONS ??= ""
HSMSIGN_ROOTFS_OPTIONS[doc] = "More options of `hsmsign sign rootfs`, such as --salt or --hash-block-size."

CONVERSIONTYPES:append = " verity"
CONVERSION_CMD:verity = "hsmsign_sign_rootfs ${IMAGE_NAME} ${IMAGE_LINK_NAME} ${type}"
CONVERSION_DEPENDS_verity = "hsmsign-native"
IMAGE_TYPEDEP:wic:append = " ${@hsmsign_verity_types(d)}"

def hsmsign_verity_types(d):
    import hsmsign.hooks
    return ' '.join(hsmsign.hooks.verity_types((d.getVar('IMAGE_FSTYPES') or '').split()))

# Runs under fakeroot: hsmsign keeps pseudo's LD_PRELOAD, its part of LD_LIBRARY_PATH and PSEUDO_*, and of the
# environment else only what is harmless; so the files it writes are in pseudo's records.
hsmsign_sign_rootfs() {
	${HSMSIGN_CALL} sign rootfs $1.$3 -o $1.$3.verity ${HSMSIGN_ROOTFS_OPTIONS}
	${HSMSIGN_CALL} verify rootfs $1.$3.verity
	# create_symlinks knows the image alone.
	for beside in roothash roothash.p7s verity.json; do
		if [ -n "$2" ] && [ "$2" != "$1" ]; then
			ln -sfn $1.$3.verity.$beside $2.$3.verity.$beside
		fi
	done
}

# mkfs.ext4 takes UUID and hash seed from chance and times from the clock. A root filesystem must be the same, bit by
# bit, in dev and release, else nobody knows that what was tested is what ships.
HSMSIGN_EXT_UUID = "${@hsmsign_ext_uuid(d)}"
def hsmsign_ext_uuid(d):
    import hsmsign.hooks
    return hsmsign.hooks.image_uuid(d.getVar('PN'), d.getVar('MACHINE'))

python () {
    import hsmsign.hooks
    other = hsmsign.hooks.other_verity_class(lambda name: bb.data.inherits_class(name, d))
    types = (d.getVar('IMAGE_FSTYPES') or '').split()
    if other and hsmsign.hooks.verity_types(types):
        bb.fatal(hsmsign.hooks.two_verity_classes(d.getVar('PN'), other))
    for name in hsmsign.hooks.unsuitable_types(types):
        bb.fatal(hsmsign.hooks.unsuitable(d.getVar('PN'), name))
    for base in hsmsign.hooks.verity_bases(types):
        task = 'do_image_' + base.replace('-', '_').replace('.', '_')
        hsmsign_task(d, task)
        if base in ('ext2', 'ext3', 'ext4'):
            options = d.getVar('EXTRA_IMAGECMD:' + base) or d.getVar('EXTRA_IMAGECMD') or ''
            if ' -U ' not in ' ' + options:
                d.appendVar('EXTRA_IMAGECMD:' + base, ' -U ${HSMSIGN_EXT_UUID}')
            if ' -E ' not in ' ' + options:
                d.appendVar('EXTRA_IMAGECMD:' + base, ' -E hash_seed=${HSMSIGN_EXT_UUID}')
            d.setVarFlag('E2FSPROGS_FAKE_TIME', 'export', '1')
            d.setVar('E2FSPROGS_FAKE_TIME', d.getVar('REPRODUCIBLE_TIMESTAMP_ROOTFS') or '1520598896')
}
