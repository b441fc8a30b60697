SUMMARY:append = " (from Debian's source package, since the test reaches no other site)"

require recipes-devtools/pseudo/pseudo.inc

# `apt-get source --download-only pseudo=1.9.2+git20250711+d1db9c219abf-2`, into TEST_SOURCES
SRC_URI = "file://${TEST_SOURCES}/pseudo_1.9.2+git20250711+d1db9c219abf.orig.tar.xz;sha256sum=4bb3b20e2e487db4d0668f5be7269d6e48556f1c73e1ee37a08ce4e734f30053 \
           file://fallback-passwd \
           file://fallback-group \
           "
FILESEXTRAPATHS:prepend := "${COREBASE}/meta/recipes-devtools/pseudo/files:"
S = "${UNPACKDIR}/pseudo-1.9.2+git20250711+d1db9c219abf"

TOOLCHAIN = "gcc"
TOOLCHAIN_NATIVE = "gcc"
# Its parts are the host's, which no task restores.
PSEUDO_SETSCENE_DEPS:class-native = ""

# pseudo looks for SQLite in the sysroot, and it is the host's.
do_configure:append:class-native() {
	install -d ${STAGING_INCDIR_NATIVE} ${STAGING_LIBDIR_NATIVE}
	ln -sf /usr/include/sqlite3.h /usr/include/sqlite3ext.h ${STAGING_INCDIR_NATIVE}/
	ln -sf $(gcc -print-file-name=libsqlite3.so) ${STAGING_LIBDIR_NATIVE}/
}
