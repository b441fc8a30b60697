#!/usr/bin/env bash
# Asks the software that checks an artifact on a device, or its next of kin, for a verdict.
#
#   test-images/judge.sh fit         CONTROL_DTB FIT [KEYNAME...]   U-Boot, down to userspace
#   test-images/judge.sh bootloader  SPL_DTB FIT [KEYNAME...]       U-Boot in SPL's place
#   test-images/judge.sh verity      DATA HASHES OFFSET ROOTHASH    veritysetup
#   test-images/judge.sh root-hash   ROOTHASH P7S CERT              openssl, as the kernel would
#   test-images/judge.sh swu         SWU CA [BOARD:REV [SET,MODE]]  swupdate
#   test-images/judge.sh swu-raw     SWU PUBLIC_KEY [pss]           openssl on sw-description
#   test-images/judge.sh raw         FILE SIGNATURE PUBLIC_KEY [pss]
#   test-images/judge.sh cms         FILE SIGNATURE CA              openssl
#
# OFFSET is where the hash tree's superblock begins in HASHES, in bytes; ROOTHASH a file.
# Prints one line, `accepted: BY WHOM` or `refused: REASON`, and exits 0 or 1; 2 if undecided,
# 3 for usage or if the judge is not installed. No line of this shares code with the signer.
set -euo pipefail
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin # veritysetup and swupdate, for users whose PATH lacks them

here=$(cd "$(dirname "$0")" && pwd)

stop() {
	printf 'error: %s\n' "$1" >&2
	exit 3
}
usage() {
	sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2
	exit 3
}
accepted() {
	printf 'accepted: %s\n' "$1"
	exit 0
}
refused() {
	printf 'refused: %s\n' "$1"
	exit 1
}
need() { command -v "$1" >/dev/null || stop "$1 is not installed (.ci/install-deps.sh demo)"; }
readable() {
	local file
	# Else a missing file would pass for a refusal, and a test of bad copies for a success.
	for file in "$@"; do [ -r "$file" ] || stop "cannot read $file"; done
}

work=$(mktemp -d "${TMPDIR:-/tmp}/hsmsign-judge.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The line that tells most of a tool's output, shortened; of OpenSSL's errors library and reason.
gist() {
	grep -v '^ *$' "$work/log" | grep -iE "${1:-.}" | tail -n 1 |
		sed -E 's/^[0-9A-F]+:error:[0-9A-F]*:([^:]*):[^:]*:([^:]*):.*/\1: \2/' | cut -c1-160
}

qemu_boot() {
	local rc=0
	"$here/qemu-boot.sh" "$@" >"$work/verdict" || rc=$?
	# On acceptance nobody needs the console; otherwise it is the evidence.
	if [ $rc -eq 0 ] || [ $rc -eq 1 ]; then
		rm -f "$(sed -n 's/^console //p' "$work/verdict")"
	else
		cat "$work/verdict" >&2
	fi
	case $rc in
	0) accepted "U-Boot by key $(sed -n 's/^accepted //p' "$work/verdict")" ;;
	1) refused "U-Boot: $(sed -n 's/^refused: //p' "$work/verdict")" ;;
	*) exit $rc ;;
	esac
}

judge_fit() { qemu_boot "$@"; }
judge_bootloader() { qemu_boot --no-userspace "$@"; }

judge_verity() {
	local data=$1 hashes=$2 offset=$3 root_hash=$4 rc=0
	need veritysetup
	readable "$data" "$hashes" "$root_hash"
	veritysetup verify "$data" "$hashes" "$(tr -d '\n' <"$root_hash")" --hash-offset "$offset" \
		>"$work/log" 2>&1 || rc=$?
	case $rc in
	0) accepted 'veritysetup' ;;
	1 | 2) refused "veritysetup: $(gist)" ;;
	*) stop "veritysetup ended with $rc: $(gist)" ;;
	esac
}

judge_root_hash() {
	local root_hash=$1 p7s=$2 cert=$3
	need openssl
	readable "$root_hash" "$p7s" "$cert"
	# The kernel signs off on the hexadecimal characters without a newline.
	tr -d '\n' <"$root_hash" >"$work/content"
	# -nointern and -noverify: only this very certificate's key counts, as in the kernel's keyring.
	openssl smime -verify -binary -inform der -in "$p7s" -content "$work/content" \
		-certfile "$cert" -nointern -noverify -out /dev/null >"$work/log" 2>&1 ||
		refused "openssl smime: $(gist error)"
	# Right for OpenSSL, wrong for the kernel: "Key was rejected by service".
	openssl cms -cmsout -print -inform der -in "$p7s" 2>/dev/null >"$work/print"
	grep -A1 '^ *signedAttrs:' "$work/print" | grep -q ABSENT ||
		refused 'the signature has signed attributes, which dm-verity in the kernel does not take'
	accepted 'openssl smime, in the form the kernel takes'
}

judge_swu() {
	local swu=$1 ca=$2 board=${3:-board:1.0} selection=${4:-stable,slot-b} purpose=()
	need swupdate
	readable "$swu" "$ca"
	if openssl x509 -in "$ca" -noout -ext extendedKeyUsage 2>/dev/null | grep -q 'Code Signing' &&
		! openssl x509 -in "$ca" -noout -ext extendedKeyUsage 2>/dev/null | grep -q 'E-mail'; then
		purpose=(--cert-purpose codeSigning)
	fi
	# swupdate unpacks to fixed names under TMPDIR; two runs at once would break each other.
	# `cd`, because it looks for its configuration in the working directory too.
	swu=$(realpath "$swu") ca=$(realpath "$ca")
	mkdir "$work/tmp"
	# On a busy machine 2022.12 sometimes ends with 1 after a success, so what it says counts as well.
	if (cd "$work/tmp" && TMPDIR=$work/tmp swupdate -v -c -H "$board" -e "$selection" -k "$ca" \
		"${purpose[@]}" -i "$swu") >"$work/log" 2>&1 || grep -q 'SWUPDATE successful' "$work/log"; then
		accepted 'swupdate'
	fi
	# An unsigned bundle is reported as one whose second member has the wrong name.
	refused "swupdate: $(grep -m1 -E 'ERROR|instead of sw-description' "$work/log" |
		sed -E 's/.*(ERROR|\[[a-z_]+\]) *:* *//' | cut -c1-160)"
}

# Checks an RSA or ECDSA signature of a file with a public key.
check_raw() {
	local options=()
	[ "${4:-}" != pss ] || options=(-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:auto)
	openssl dgst -sha256 -verify "$3" "${options[@]}" -signature "$2" "$1" >"$work/log" 2>&1 ||
		refused "openssl dgst: $(gist 'fail|error')"
	accepted "openssl dgst${4:+, $4}"
}

judge_raw() {
	need openssl
	readable "$1" "$2" "$3"
	check_raw "$@"
}

judge_swu_raw() {
	local swu key=$2
	need cpio
	need openssl
	readable "$1" "$key"
	swu=$(realpath "$1") key=$(realpath "$key")
	cd "$work"
	cpio -id --quiet sw-description sw-description.sig <"$swu" 2>log || stop "cpio: $(gist)"
	[ -e sw-description.sig ] || refused 'no sw-description.sig'
	check_raw sw-description sw-description.sig "$key" "${3:-}"
}

judge_cms() {
	need openssl
	readable "$1" "$2" "$3"
	openssl cms -verify -binary -inform der -in "$2" -content "$1" -CAfile "$3" -purpose any \
		-out /dev/null >"$work/log" 2>&1 || refused "openssl cms: $(gist 'fail|error')"
	accepted 'openssl cms'
}

[ $# -ge 1 ] || usage
judge=$1
shift
case $judge:$# in
fit:[2-9] | bootloader:[2-9]) "judge_$judge" "$@" ;;
verity:4) judge_verity "$@" ;;
root-hash:3) judge_root_hash "$@" ;;
swu:[2-4]) judge_swu "$@" ;;
swu-raw:[23]) judge_swu_raw "$@" ;;
raw:[34]) judge_raw "$@" ;;
cms:3) judge_cms "$@" ;;
*) usage ;;
esac
