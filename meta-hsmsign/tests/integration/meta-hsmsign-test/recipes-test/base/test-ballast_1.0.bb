SUMMARY = "As many packages, files and bytes as the root filesystem of a product has, for cost.py"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit allarch

INHIBIT_DEFAULT_DEPS = "1"
# Nothing in it is a program, and nothing gets smaller.
INHIBIT_PACKAGE_STRIP = "1"
DPKG_BUILDCMD = "dpkg-deb -Znone"
TEST_BALLAST_MB ?= "150"
TEST_BALLAST_PACKAGES ?= "1"

# The same bytes each time, which no compression makes smaller.
do_install() {
	zeros="00000000000000000000000000000000"
	install -d ${D}${datadir}/ballast
	cd ${D}${datadir}/ballast
	head -c ${TEST_BALLAST_MB}M /dev/zero | openssl enc -aes-128-ctr -K $zeros -iv $zeros | split -a 5 -d -b 40000 - file-
	ls | awk '{ print $0, NR % ${TEST_BALLAST_PACKAGES} }' | while read file number; do
		install -d $number
		mv $file $number
	done
}

PACKAGES = "${@' '.join('${PN}-%d' % n for n in range(int(d.getVar('TEST_BALLAST_PACKAGES'))))}"
python () {
    for name in d.getVar('PACKAGES').split():
        d.setVar('FILES:' + name, '${datadir}/ballast/' + name.rpartition('-')[2])
}
