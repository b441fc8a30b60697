SUMMARY = "Signs firmware with keys held in an HSM"
DESCRIPTION = "Signs bootloaders, FIT images, root filesystems and swupdate bundles natively over PKCS#11"
HOMEPAGE = "https://example.org/hsmsign"
BUGTRACKER = "https://example.org/hsmsign/issues"
SECTION = "devel"
LICENSE = "MIT | Apache-2.0"

require ${@'hsmsign-binary.inc' if d.getVar('HSMSIGN_BINARY') else 'hsmsign-source.inc'}

BBCLASSEXTEND = "native nativesdk"
