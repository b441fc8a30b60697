SUMMARY = "swupdate drop-in with the certificate that the signed FIT carries"
DESCRIPTION = "Has swupdate check bundles with the certificate in /firmware/hsmsign of the device tree"
HOMEPAGE = "https://example.org/hsmsign"
BUGTRACKER = "https://example.org/hsmsign/issues"
SECTION = "base"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://${LAYERDIR_hsmsign}/LICENSE;md5=f0163e9786ce59bc29ebb6886d6be038"

SRC_URI = "file://50-hsmsign.sh"

# Not allarch: swupdate.sh looks in ${libdir}, which some machines call lib64.
INHIBIT_DEFAULT_DEPS = "1"

# scarthgap has no UNPACKDIR.
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
	install -D -m 0644 ${S}/50-hsmsign.sh ${D}${libdir}/swupdate/conf.d/50-hsmsign
}

FILES:${PN} += "${libdir}/swupdate"
RDEPENDS:${PN} = "swupdate"
