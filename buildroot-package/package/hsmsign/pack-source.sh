#!/usr/bin/env bash
# Packs the checkout that this external tree is part of, with its crates, into
# one archive that builds offline. The archive's bytes depend on the source and
# on Cargo.lock alone.
#
#   pack-source.sh --version        version and digest of the checkout
#   pack-source.sh -o ARCHIVE [VERSION]
#                                   write the archive and ARCHIVE.hash, if they are
#                                   not there (cargo fetches the crates); fails when
#                                   the checkout is no longer what --version said

set -euo pipefail
export LC_ALL=C

checkout="$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd -P)"
# What building the tool does not need: a change there shall not cost every user
# a new archive and a build. The external tree's .hash file names the archive.
# Benches stay: signer/Cargo.toml declares them, and cargo looks for them.
excluded='^(buildroot-package|meta-hsmsign|test-images|docs|signer/(fuzz|tests)|\.ci|\.github|\.hsmsign|target)/'
# Of the files at the top, the workspace and the licences
needed='/|^(Cargo\.|LICENSE)'

fail() {
	printf 'hsmsign: %s\n' "${1}" >&2
	exit 1
}

list_files() {
	cd "${checkout}"
	if [ -e .git ] && command -v git > /dev/null; then
		git -c safe.directory="${checkout}" ls-files -co --exclude-standard
	else
		find . -type f -printf '%P\n' | grep -vE '(^|/)(\.git|target)/'
	fi | sort -u | grep -vE "${excluded}" | grep -E "${needed}" | while IFS= read -r file; do
		if [ -f "${file}" ]; then printf '%s\n' "${file}"; fi
	done
}

version() {
	local number digest
	cd "${checkout}"
	number="$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)"
	digest="$(list_files | tr '\n' '\0' | xargs -0 sha256sum | sha256sum | cut -c1-12)"
	printf '%s-%s\n' "${number:-0}" "${digest}"
}

# One directory per crate with its licence texts, and an index
gather_licenses() {
	local crate name
	mkdir -p LICENSES-crates
	for crate in VENDOR/*/; do
		name="$(basename "${crate}")"
		printf '%s\t%s\n' "${name}" "$(sed -n 's/^license = "\(.*\)"/\1/p' "${crate}Cargo.toml")"
		mkdir -p "LICENSES-crates/${name}"
		find "${crate}" -maxdepth 1 -type f \
			\( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'unlicense*' -o -iname 'notice*' \) \
			-exec cp {} "LICENSES-crates/${name}/" \;
		rmdir --ignore-fail-on-non-empty "LICENSES-crates/${name}"
	done > LICENSES-crates/INDEX.tsv
}

pack() {
	local archive="${1}" expected="${2:-}" work base
	archive="$(realpath -m "${archive}")"
	if [ -e "${archive}" ] && [ -e "${archive}.hash" ]; then return; fi
	base="hsmsign-${expected:-$(version)}"
	command -v cargo > /dev/null || fail "cargo is not in PATH; crates cannot be fetched"
	work="$(mktemp -d "${archive}.XXXXXX")"
	# shellcheck disable=SC2064  # the name is needed now, not at exit
	trap "rm -rf '${work}'" EXIT
	mkdir -p "${work}/${base}"
	list_files | tar -C "${checkout}" -cf - -T - | tar -C "${work}/${base}" -xf -
	# An archive is kept for good under its version: it must never hold another source
	[ "hsmsign-$(version)" = "${base}" ] ||
		fail "the source changed while it was being packed; run make again"
	cd "${work}/${base}"
	mkdir -p .cargo
	# --quiet would silence the configuration on standard output too
	cargo vendor --locked --versioned-dirs VENDOR >> .cargo/config.toml 2> vendor.log || {
		cat vendor.log >&2
		fail "cargo cannot fetch the crates"
	}
	rm vendor.log
	grep -q "vendored-sources" .cargo/config.toml || fail "cargo vendor wrote no configuration"
	gather_licenses
	cd "${work}"
	tar --sort=name --format=gnu --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
		--mtime=@0 -cf - "${base}" | gzip -9n > "${work}/archive"
	printf 'sha256  %s  %s\n' "$(sha256sum < "${work}/archive" | cut -d ' ' -f 1)" \
		"$(basename "${archive}")" > "${archive}.hash"
	mv "${work}/archive" "${archive}"
}

case "${1:-}" in
--version) version ;;
-o) pack "${2:?-o needs a file name}" "${3:-}" ;;
*) fail "usage: pack-source.sh --version | -o ARCHIVE [VERSION]" ;;
esac
