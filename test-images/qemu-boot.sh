#!/usr/bin/env bash
# Boots a FIT under stock U-Boot in QEMU and says whether U-Boot accepted its signature.
#
#   test-images/qemu-boot.sh [options] CONTROL_DTB FIT [KEYNAME...]
#
#   KEYNAME           a key that must have verified, by its name hint; any key without one
#   --no-userspace    accept when U-Boot has verified and loaded the images (a bootloader FIT)
#   --config NAME     boot this configuration rather than the FIT's default
#   --log FILE        the console's output (default: a new file under TMPDIR)
#   --timeout SECONDS give up after this time (default: 120; a boot takes about 3, more under load)
#
# Prints two lines, `console FILE` and the verdict, and exits with the verdict's code:
#
#   0  accepted KEYNAME...    a signature by each key verified, and the test's init ran
#   1  refused: REASON        U-Boot's words
#   2  undecided: REASON      timeout, a crash, or, worst, a boot that checked no signature
#   3                         usage, or something is not installed
#
# QEMU's exit code says nothing, so the console decides. `Verifying Hash Integrity ... OK` alone is
# no acceptance: without a key node marked `required` in the control tree U-Boot boots unsigned
# FITs and prints that too. `sha256,rsa2048:KEYNAME+` says that a trusted key verified.
set -euo pipefail

readonly UBOOT=${HSMSIGN_TEST_UBOOT:-/usr/lib/u-boot/qemu_arm64/u-boot.bin}
readonly FIT_ADDRESS=0x50000000
readonly INIT_LINE='hsmsign: userspace reached'

stop() {
	printf 'error: %s\n' "$1" >&2
	exit 3
}
usage() { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0"; }

userspace=1
config=
console=
timeout=120
while [ $# -gt 0 ]; do
	case $1 in
	--no-userspace) userspace= ;;
	--config) config=${2:?} && shift ;;
	--log) console=${2:?} && shift ;;
	--timeout) timeout=${2:?} && shift ;;
	-h | --help)
		usage
		exit 0
		;;
	--)
		shift
		break
		;;
	-*) stop "unknown option $1; see --help" ;;
	*) break ;;
	esac
	shift
done
[ $# -ge 2 ] || stop 'usage: qemu-boot.sh [options] CONTROL_DTB FIT [KEYNAME...]; see --help'
control_dtb=$1 fit=$2
shift 2
expected=("$@")

for tool in qemu-system-aarch64 fdtget fdtput timeout; do
	command -v "$tool" >/dev/null || stop "$tool is not installed (.ci/install-deps.sh demo)"
done
for file in "$UBOOT" "$control_dtb" "$fit"; do
	[ -r "$file" ] || stop "cannot read $file"
done
[ -n "$console" ] || console=$(mktemp "${TMPDIR:-/tmp}/hsmsign-console.XXXXXX")
: >"$console" || stop "cannot write $console"

# A private directory with plain names: QEMU takes a comma in a file name for its own.
run=$(mktemp -d "${TMPDIR:-/tmp}/hsmsign-qemu.XXXXXX")
qemu_pid=
finish() {
	# `timeout` passes the signal on to QEMU.
	[ -z "$qemu_pid" ] || kill "$qemu_pid" 2>/dev/null || true
	rm -rf "$run"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

ln -s "$(realpath "$UBOOT")" "$run/u-boot.bin"
ln -s "$(realpath "$fit")" "$run/fit.itb"
cp "$control_dtb" "$run/control.dtb"
chmod u+w "$run/control.dtb"
# U-Boot runs /config/bootcmd without anybody typing. The tree is a copy, and /signature stays as it is.
if [ -n "$config" ] || ! fdtget "$run/control.dtb" /config bootcmd >/dev/null 2>&1; then
	fdtput -p -t s "$run/control.dtb" /config bootcmd "bootm $FIT_ADDRESS${config:+#$config}" ||
		stop "$control_dtb: not a device tree"
	fdtput -p -t i "$run/control.dtb" /config bootdelay 0
fi

# The machine must be the one make.sh dumped the tree of. TCG, because a KVM guest of another
# architecture cannot be, and where it can the verdict should not depend on the host.
# The outer timeout ends QEMU even if this script is killed.
exec {output}< <(
	cd "$run" && exec timeout --kill-after=5 "$timeout" qemu-system-aarch64 \
		-machine virt -accel tcg -cpu cortex-a57 -m 1024 -smp 1 -no-reboot \
		-bios u-boot.bin -dtb control.dtb \
		-device "loader,file=fit.itb,addr=$FIT_ADDRESS,force-raw=on" \
		-display none -monitor none -nic none -serial file:/dev/stdout </dev/null 2>&1
)
qemu_pid=$!

keys=()       # name hints that verified, each once
reason=       # U-Boot's first word of refusal
loaded=       # U-Boot got past the last check of this FIT
reached=      # our init ran
wait_for=$timeout
exec {log}>"$console"

note_keys() {
	local word name
	# One word per signature, `ALGO:NAME+`; a `-` in place of the `+` did not verify.
	for word in $1; do
		case $word in
		*:*+)
			name=${word#*:}
			name=${name%+}
			case " ${keys[*]} " in
			*" $name "*) ;;
			*) keys+=("$name") ;;
			esac
			;;
		esac
	done
}

while IFS= read -r -t "$wait_for" -u "$output" line; do
	line=${line%$'\r'}
	printf '%s\n' "$line" >&"$log"
	case $line in
	'   Verifying Hash Integrity ... '*' OK') note_keys "${line#*... }" ;;
	esac
	case $line in
	*'Failed to verify required signature'* | *'Bad Data Hash'* | *'Bad hash'* | *'Bad FIT '*' image format'* | \
		*"can't get kernel image"* | *'is corrupt or invalid'* | *'Could not find a valid device tree'* | \
		*'Wrong Image Format'* | *'Could not find configuration node'* | *'Unsupported hash algorithm'*)
		# The first line says why, the later ones what follows from it.
		line=${line#*Verifying Hash Integrity ... }
		reason=${reason:-$line}
		# More may come, but U-Boot is quick with it.
		wait_for=2
		;;
	'   Loading Firmware'* | 'Starting kernel'*) loaded=1 ;;
	"$INIT_LINE"*) reached=1 ;;
	esac
	# What comes after these lines cannot change the verdict.
	case $line in
	"ERROR: can't get kernel image"* | 'Bad hash in FIT image!'* | *'Kernel panic'* | *'Must RESET board'* | 'resetting ...'*) break ;;
	esac
	if [ -n "$reached" ] || { [ -n "$loaded" ] && [ -z "$userspace" ]; }; then break; fi
done
exec {log}>&-
printf 'console %s\n' "$console"

undecided() {
	printf 'undecided: %s\n' "$1"
	exit 2
}
if [ -n "$reason" ]; then
	[ -z "$reached$loaded" ] || undecided "booted in spite of: $reason"
	printf 'refused: %s\n' "$reason"
	exit 1
fi
if [ -n "$userspace" ]; then
	[ -n "$reached" ] || undecided "init did not run; the console ends with: $(tail -n 1 "$console")"
else
	[ -n "$loaded" ] || undecided "nothing was loaded; the console ends with: $(tail -n 1 "$console")"
fi
[ ${#keys[@]} -gt 0 ] ||
	undecided 'booted without checking any signature (does the control tree hold a required key?)'
for name in "${expected[@]}"; do
	case " ${keys[*]} " in
	*" $name "*) ;;
	*) undecided "verified by ${keys[*]}, not by $name" ;;
	esac
done
printf 'accepted %s\n' "${keys[*]}"
