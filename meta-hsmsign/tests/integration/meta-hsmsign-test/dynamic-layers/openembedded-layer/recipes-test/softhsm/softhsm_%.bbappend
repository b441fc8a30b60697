# meta-oe's recipe with its patches; the archive alone is from TEST_SOURCES, since the test reaches no other site.
SRC_URI := "${@' '.join(u for u in d.getVar('SRC_URI').split() if u.startswith('file://'))}"
SRC_URI:prepend = "file://${TEST_SOURCES}/softhsm_${PV}.tar.gz "

# Options for oe-core's own autotools, whose macros lie elsewhere and which may be newer than the host's.
EXTRA_AUTORECONF:remove = "--exclude=autopoint"
do_configure:prepend() {
	install -d ${WORKDIR}/adapted
	cat > ${WORKDIR}/adapted/aclocal <<-EOF
	#!/bin/sh
	case "\$1" in
	--aclocal-path=* | --system-acdir=*) shift ;;
	esac
	exec $(command -v aclocal) "\$@"
	EOF
	chmod 0755 ${WORKDIR}/adapted/aclocal
	export PATH="${WORKDIR}/adapted:$PATH"
}
