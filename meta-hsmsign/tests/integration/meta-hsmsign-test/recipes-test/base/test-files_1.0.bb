SUMMARY = "A few files for the root filesystem"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit allarch

# A source of this recipe, for the test of what the archiver packs.
TEST_PLANTED ?= ""
SRC_URI = "${@'file://' + d.getVar('TEST_PLANTED') if d.getVar('TEST_PLANTED') else ''}"
S = "${UNPACKDIR}"

INHIBIT_DEFAULT_DEPS = "1"

do_install() {
	install -d ${D}${sysconfdir} ${D}/proc ${D}/sys ${D}/dev
	install -d -m 1777 ${D}/tmp
	# Owner and mode that only fakeroot can give.
	echo "secret of root and group shadow" > ${D}${sysconfdir}/owned
	chmod 0640 ${D}${sysconfdir}/owned
	chown 0:42 ${D}${sysconfdir}/owned
	seq 1 60000 > ${D}${sysconfdir}/numbers
}

FILES:${PN} = "/"
