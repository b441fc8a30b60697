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

# Runs under fakeroot, and HSMSIGN_CALL takes hsmsign out of it: nothing of pseudo's environment reaches the tool. Image
# and outputs lie in IMGDEPLOYDIR, of which pseudo keeps no records in either series.
hsmsign_sign_rootfs() {
	case "$3" in
	ext2|ext3|ext4) hsmsign_fix_ext_times $1.$3 ;;
	esac
	hsmsign_shell sign rootfs $1.$3 -o $1.$3.verity ${HSMSIGN_ROOTFS_OPTIONS}
	# create_symlinks knows the image alone.
	for beside in roothash roothash.p7s verity.json; do
		if [ -n "$2" ] && [ "$2" != "$1" ]; then
			ln -sfn $1.$3.verity.$beside $2.$3.verity.$beside
		fi
	done
}

# mkfs.ext4 copies the times of the last change and access of each file, which nothing can set, and e2fsck the time of
# its run. dumpe2fs lists the free inodes in rising order, so the others lie between its ranges.
hsmsign_fix_ext_times() {
	dumpe2fs $1 2>/dev/null | awk -v time="@$E2FSPROGS_FAKE_TIME" '
		function used(from, to) {
			for (inode = from; inode <= to; inode++)
				if (inode == 2 || inode >= first)
					printf "sif <%d> ctime %s\nsif <%d> atime %s\n", inode, time, inode, time
		}
		BEGIN { next_inode = 2 }
		/^Inode count:/ { count = $3 }
		/^First inode:/ { first = $3 }
		/^  Free inodes: ./ {
			sub(/^  Free inodes: /, "")
			ranges = split($0, range, ", ")
			for (n = 1; n <= ranges; n++) {
				ends = split(range[n], end, "-")
				used(next_inode, end[1] - 1)
				next_inode = end[ends] + 1
			}
		}
		END { used(next_inode, count); print "ssv lastcheck " time }' > ${WORKDIR}/hsmsign-times
	# debugfs returns 0 whatever happens, and says nothing but each command if all is well.
	if debugfs -w -f ${WORKDIR}/hsmsign-times $1 2>&1 | grep -v '^debugfs' > ${WORKDIR}/hsmsign-times.log; then
		bbfatal "the times in $1 could not be set: `head -n 3 ${WORKDIR}/hsmsign-times.log`"
	fi
}

# What these tasks make has the time in its name, and only do_rootfs empties the directory. Signed anew without it, as after a
# change of mode, the image would be deployed beside the one with the other mode's signature.
python hsmsign_no_leftovers() {
    import os, hsmsign.hooks
    place = d.getVar('IMGDEPLOYDIR')
    types = (d.getVar('IMAGE_FSTYPES') or '').split()
    for base in hsmsign.hooks.verity_bases(types) + ['wic']:
        if hsmsign.hooks.image_task(base) == 'do_' + d.getVar('BB_CURRENTTASK'):
            for name in hsmsign.hooks.leftovers(os.listdir(place), d.getVar('IMAGE_NAME'), d.getVar('IMAGE_LINK_NAME'), base):
                os.unlink(os.path.join(place, name))
}
hsmsign_no_leftovers[vardepsexclude] = "IMGDEPLOYDIR IMAGE_NAME IMAGE_LINK_NAME BB_CURRENTTASK"

# mkfs.ext4 takes UUID and hash seed from chance and times from the clock. A root filesystem must be the same, bit by
# bit, in dev and release, else nobody knows that what was tested is what ships; and a FIT from shared state must fit an
# image that was built again.
HSMSIGN_EXT_UUID = "${@hsmsign_ext_uuid(d)}"
def hsmsign_ext_uuid(d):
    import hsmsign.hooks
    return hsmsign.hooks.image_uuid(d.getVar('PN'), d.getVar('MACHINE'))

# Appended here and not in Python below: image.bbclass has expanded the command before that runs.
EXTRA_IMAGECMD:append:ext2 = " ${@hsmsign_ext_options(d, 'ext2')}"
EXTRA_IMAGECMD:append:ext3 = " ${@hsmsign_ext_options(d, 'ext3')}"
EXTRA_IMAGECMD:append:ext4 = " ${@hsmsign_ext_options(d, 'ext4')}"
def hsmsign_ext_options(d, fstype):
    import hsmsign.hooks
    if fstype not in hsmsign.hooks.verity_bases((d.getVar('IMAGE_FSTYPES') or '').split()):
        return ''
    return hsmsign.hooks.ext_options(d.getVar('EXTRA_IMAGECMD:' + fstype) or '', d.getVar('HSMSIGN_EXT_UUID'))

python () {
    import hsmsign.hooks
    other = hsmsign.hooks.other_verity_class(lambda name: bb.data.inherits_class(name, d))
    types = (d.getVar('IMAGE_FSTYPES') or '').split()
    if other and hsmsign.hooks.verity_types(types):
        bb.fatal(hsmsign.hooks.two_verity_classes(d.getVar('PN'), other))
    for name in hsmsign.hooks.unsuitable_types(types):
        bb.fatal(hsmsign.hooks.unsuitable(d.getVar('PN'), name))
    for name in hsmsign.hooks.disks_that_wait(types, d.getVar):
        bb.fatal(hsmsign.hooks.disk_waits_for_itself(d.getVar('PN'), name))
    for base in hsmsign.hooks.verity_bases(types):
        task = hsmsign.hooks.image_task(base)
        hsmsign_task(d, task)
        d.appendVarFlag(task, 'prefuncs', ' hsmsign_no_leftovers')
        if base in ('ext2', 'ext3', 'ext4'):
            d.setVarFlag('E2FSPROGS_FAKE_TIME', 'export', '1')
            d.setVar('E2FSPROGS_FAKE_TIME', d.getVar('REPRODUCIBLE_TIMESTAMP_ROOTFS') or '1520598896')
    if hsmsign.hooks.verity_types(types):
        # A disk that may hold the signed image.
        d.appendVarFlag('do_image_wic', 'prefuncs', ' hsmsign_no_leftovers')
}
