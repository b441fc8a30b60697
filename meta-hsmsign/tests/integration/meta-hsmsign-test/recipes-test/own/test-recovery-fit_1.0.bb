SUMMARY = "A FIT recipe of a product, beside oe-core's own"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

# scarthgap has no class for it.
python () {
    if not bb.data.inherits_class('kernel-fit-image', d):
        raise bb.parse.SkipRecipe('only with kernel-fit-image')
}
inherit ${@'kernel-fit-image' if bb.utils.which(d.getVar('BBPATH'), 'classes-recipe/kernel-fit-image.bbclass') else ''}
inherit nopackages

# A recipe that takes its FIT away before it can be signed.
python do_compile:append() {
    if d.getVar('TEST_RENAME_FIT'):
        os.rename('fitImage', 'recovery.itb')
}

do_deploy() {
	install -D -m 0644 ${B}/fitImage ${DEPLOYDIR}/recovery.itb
}
addtask deploy after do_compile
