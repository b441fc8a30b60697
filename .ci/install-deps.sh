#!/usr/bin/env bash
# Installs the Debian packages that hsmsign is built and judged with.
#
#   .ci/install-deps.sh [--list] [build|demo|judges|all]...
#
# One list for `make deps`, `make demo`, `make test` and CI, so that a package which a test
# needs can never be on one machine and not on the other. Only missing packages are installed,
# and nothing is fetched but Debian packages: Rust is checked for, never installed.
set -euo pipefail

# cargo's lowest version; the same number as `rust-version` in Cargo.toml.
readonly CARGO_MIN=1.88

# group, package, what it is for.
packages() {
	cat <<'LIST'
build   build-essential                    C compiler and linker for build scripts, and make
build   pkg-config                         how the openssl crate finds libcrypto
build   ca-certificates                    cargo fetches crates over HTTPS
build   libssl-dev                         headers the openssl crate links against
demo    softhsm2                           the dev token: a PKCS#11 module that needs no hardware
demo    openssl                            judges root hash signatures, CMS and raw signatures
demo    opensc                             pkcs11-tool: looks into a token without our code
demo    u-boot-qemu                        stock U-Boot, the judge of FIT signatures
demo    u-boot-tools                       mkimage, makes the unsigned FITs
demo    qemu-system-arm                    the machine U-Boot runs in
demo    debian-installer-12-netboot-arm64  a real arm64 kernel and userland for the images
demo    binutils-aarch64-linux-gnu         assembles the few hundred bytes of init
demo    device-tree-compiler               dtc, fdtput: makes and reads control trees
demo    swupdate                           judges update bundles
demo    cryptsetup-bin                     veritysetup, judges dm-verity trees
demo    cpio                               initramfs, and the reference for .swu bundles
demo    e2fsprogs                          mke2fs and debugfs, make the ext4 root filesystem
demo    squashfs-tools                     mksquashfs, makes the squashfs root filesystem
demo    python3                            makes the tampered copies (standard library only)
judges  python3-venv                       a place inside target/ for the Python tools of the layer tests
judges  libarchive-tools                   bsdtar, a second reader of cpio archives
judges  dosfstools                         mkfs.vfat, makes boot partitions for `scan` and the release gate
judges  mtools                             mcopy, puts files on them
judges  fdisk                              sfdisk, makes disks for `scan`
judges  zip                                packs what `scan` looks into, like the next four
judges  bzip2                              packs what `scan` looks into
judges  xz-utils                           packs what `scan` looks into
judges  zstd                               packs what `scan` looks into
judges  putty-tools                        puttygen: keys in PuTTY's form, for `scan`
judges  openssh-client                     ssh-keygen: keys in OpenSSH's form, for `scan`
judges  ripgrep                            what `scan`'s speed is compared with
judges  lz4                                packs what `scan` looks into
judges  p11-kit                            PKCS#11 over a socket: a module that is not SoftHSM
judges  p11-kit-modules                    p11-kit-client.so, the other end of that socket
judges  libp11-kit-dev                     PKCS#11 header for the module that plays other tokens' quirks
judges  libtpm2-pkcs11-1                   PKCS#11 on a TPM
judges  swtpm                              the TPM for it
judges  swtpm-tools                        makes that TPM's initial state
judges  opencryptoki                       a third PKCS#11 module, without hashed mechanisms
judges  libengine-pkcs11-openssl           lets mkimage sign over PKCS#11, to compare with
judges  libclang-14-dev                    bindgen in kryoptic, a fourth PKCS#11 module
judges  libsqlite3-dev                     kryoptic's token storage
judges  strace                             sees that no PIN is written or passed on
judges  openssh-server                     forwards the agent's socket, by pipes, without a port
judges  openssh-client                     the other end of that
judges  util-linux                         unshare and setpriv: other users, no network
judges  systemd                            judges the units, and hands sockets over
judges  shellcheck                         checks the shell scripts
LIST
}

die() {
	printf 'error: %s\n' "$1" >&2
	[ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2
	exit 1
}

usage() {
	sed -n '2,4s/^# \{0,1\}//p' "$0"
}

groups=()
list_only=
for arg in "$@"; do
	case $arg in
	build | demo | judges) groups+=("$arg") ;;
	all) groups=(build demo judges) ;;
	--list) list_only=1 ;;
	-h | --help)
		usage
		exit 0
		;;
	*)
		usage >&2
		exit 2
		;;
	esac
done
[ ${#groups[@]} -gt 0 ] || groups=(build demo judges)

wanted=$(packages | while read -r group package reason; do
	for g in "${groups[@]}"; do
		[ "$g" != "$group" ] || printf '%s\t%s\n' "$package" "$reason"
	done
done)

if [ -n "$list_only" ]; then
	printf '%s\n' "$wanted"
	exit 0
fi

# Present and configured; a removed package leaves a record too, so the status counts.
installed() {
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_missing() {
	local missing=() package reason

	if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
		die "this is not a Debian system: dpkg-query or apt-get is not here" \
			"install the equivalent of these packages: $(printf '%s\n' "$wanted" | cut -f1 | tr '\n' ' ')"
	fi

	while IFS=$'\t' read -r package reason; do
		if ! installed "$package"; then
			missing+=("$package")
			printf 'missing: %-34s %s\n' "$package" "$reason" >&2
		fi
	done <<<"$wanted"
	[ ${#missing[@]} -gt 0 ] || return 0

	local as_root=()
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null ||
			die "${#missing[@]} packages are missing, and this is neither root nor is sudo here" \
				"as root: apt-get install --no-install-recommends ${missing[*]}"
		as_root=(sudo)
		# Without a terminal a password prompt would wait for ever.
		[ -t 0 ] || as_root+=(-n)
	fi

	# The lock timeout is for a machine that is just running its unattended upgrades.
	local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
	"${as_root[@]}" "${apt[@]}" update </dev/null >&2 ||
		die "apt-get update failed" "see its messages above; the network or /etc/apt/sources.list"
	"${as_root[@]}" "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null >&2 ||
		die "apt-get could not install: ${missing[*]}" \
			"the list is for Debian 12; another release may name a package differently"

	# We want these packages for their command line tools. An update daemon that runs as root on a
	# developer's machine is not wanted, so services that came just now are switched off again.
	if [ -d /run/systemd/system ]; then
		for package in "${missing[@]}"; do
			case $package in
			swupdate) stop_services swupdate.socket swupdate.service swupdate-progress.service ;;
			opencryptoki) stop_services pkcsslotd.service ;;
			esac
		done
	fi
}

stop_services() {
	"${as_root[@]}" systemctl --quiet disable --now "$@" >&2 ||
		printf 'warning: could not switch off: %s\n' "$*" >&2
}

check_cargo() {
	local have
	local how='curl --proto =https --tlsv1.2 -sSf https://sh.rustup.rs | sh, then open a new shell (https://rustup.rs)'

	command -v cargo >/dev/null ||
		die "cargo is not installed; hsmsign needs Rust $CARGO_MIN or newer (Debian 12 carries 1.63)" "$how"
	have=$(cargo --version | cut -d' ' -f2)
	[ "$(printf '%s\n%s\n' "$CARGO_MIN" "$have" | sort -V | head -n1)" = "$CARGO_MIN" ] ||
		die "cargo is $have; hsmsign needs Rust $CARGO_MIN or newer" "rustup update stable; without rustup: $how"
}

install_missing
case " ${groups[*]} " in
*' build '*) check_cargo ;;
esac
