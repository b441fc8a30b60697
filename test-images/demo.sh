#!/usr/bin/env bash
# Signs the four artifacts in dev mode, shows by which key, and has each judged by the software that
# checks it on a device: the good ones must be accepted, every tampered copy refused.
#
#   test-images/demo.sh HSMSIGN IMAGES OUTDIR        (`make demo` calls it)
#
# Exits 0 only if every verdict is the expected one. OUTDIR is made anew: its dev token with it.
set -euo pipefail
export LC_ALL=C

if [ $# -ne 3 ]; then
	sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
	exit 2
fi
hsmsign=$(realpath "$1") images=$(realpath "$2") out=$3
here=$(cd "$(dirname "$0")" && pwd)
judge=$here/judge.sh
tamper=$here/src/tamper.py

rm -rf "$out"
mkdir -p "$out/signed" "$out/tampered" "$out/build"
out=$(realpath "$out")
cd "$out"
log=$out/log

# Nothing from the caller's settings, so that the demo shows the same everywhere.
unset HSMSIGN_HOST_CONFIG HSMSIGN_AGENT HSMSIGN_SOFTHSM
export HSMSIGN_CONFIG=$here/src/hsmsign.yaml HSMSIGN_MODE=dev HSMSIGN_DEV_DIR=$out/dev
export SOURCE_DATE_EPOCH=1767225600

title() { printf '\n%s\n' "-- $* --"; }

# hs ARGUMENTS...: runs hsmsign and shows how; its messages matter only when it fails.
hs() {
	printf '  $ hsmsign %s\n' "${*//"$out/"/}"
	"$hsmsign" "$@" >"$log" 2>&1 || {
		local rc=$?
		cat "$log" >&2
		printf 'error: hsmsign ended with %d\n' "$rc" >&2
		exit "$rc"
	}
}

wrong=0 checks=0
# expect accepted|refused WHAT JUDGE...: one line of the table.
expect() {
	local want=$1 what=$2 verdict rc=0 mark=ok got
	shift 2
	verdict=$("$@" 2>"$log") || rc=$?
	case $rc in
	0) got=accepted ;;
	1) got=refused ;;
	*) got=undecided verdict=$(tail -n 1 <<<"$verdict$(cat "$log")") ;;
	esac
	checks=$((checks + 1))
	if [ "$got" != "$want" ]; then
		mark=WRONG
		wrong=$((wrong + 1))
	fi
	verdict=${verdict#"$got: "}
	printf '  %-5s %-9s %-60s %s\n' "$mark" "$got" "$what" "${verdict:0:76}"
}

# ours ARGUMENTS...: hsmsign's own verdict, as a judge: 7 and 6 are refusals.
# shellcheck disable=SC2317 # called through expect
ours() {
	local rc=0
	"$hsmsign" "$@" >"$out/ours" 2>&1 || rc=$?
	case $rc in
	0) printf 'accepted: hsmsign %s\n' "$1 $2" ;;
	6 | 7)
		printf 'refused: hsmsign: %s\n' "$(grep -m1 '^error' "$out/ours" | cut -c8-150)"
		return 1
		;;
	*)
		printf 'hsmsign ended with %d: %s\n' "$rc" "$(head -n 1 "$out/ours")"
		return 2
		;;
	esac
}

kinds() { python3 "$tamper" --list | awk -F '\t' -v artifact="$1" '$1 == artifact { print $2 }'; }
what() { python3 "$tamper" --list | awk -F '\t' -v a="$1" -v k="$2" '$1 == a && $2 == k { print $3 }'; }

# ---------------------------------------------------------------------------------------------------
title 'Signing'
# The order is that of trust: what a later stage needs stands in the stage before it.
hs sign rootfs "$images/rootfs.squashfs" -o signed/rootfs.squashfs
hs sign rootfs "$images/rootfs.ext4" --hash-file -o signed/rootfs.ext4.verity

hs keys certificate --role rootfs -o signed/rootfs.pem
hs keys certificate --role update -o signed/update.pem
# Data of the hash file, and unsigned files as builds leave them: what the FIT and the hash file cover.
cp "$images/rootfs.ext4" "$images/Image.gz" "$images/board.dtb" "$images/initramfs.cpio.gz" signed/
cp "$images/u-boot.dtb" "$images/u-boot-spl.dtb" signed/
hs sign fit "$images/fit.itb" -o signed/fit.itb --control-dtb signed/u-boot.dtb \
	--rootfs signed/rootfs.squashfs.verity.json --update-certificate signed/update.pem

# The build's part: U-Boot proper goes into its FIT with the control tree that now holds the FIT key.
cp "$images/u-boot.bin" "$images/u-boot.its" signed/u-boot.dtb build/
(cd build && mkimage -f u-boot.its u-boot.itb) >"$log" 2>&1 || { cat "$log" >&2 && exit 1; }
hs sign bootloader --fit build/u-boot.itb -o signed/u-boot.itb --spl-dtb signed/u-boot-spl.dtb

hs sign swu --description "$images/sw-description" --image signed/rootfs.squashfs --image signed/fit.itb \
	-o signed/update.swu

title 'Keys: a SoftHSMv2 token, made by the first signature'
"$hsmsign" keys list

title 'Which artifact was signed by which key'
fingerprint() { "$hsmsign" keys public --role "$1" --format der | sha256sum | cut -c1-32; }
printf '  %-28s %-11s %s\n' artifact role 'public key (SPKI SHA-256, first half)'
while read -r artifact role; do
	printf '  %-28s %-11s %s\n' "$artifact" "$role" "$(fingerprint "$role")"
done <<-LIST
	signed/u-boot.itb bootloader
	signed/fit.itb fit
	signed/rootfs.squashfs rootfs
	signed/rootfs.ext4.verity rootfs
	signed/update.swu update
LIST
# A control tree names its keys key-HINT; U-Boot shows HINT on its console.
hint() { fdtget -l "$1" /signature | sed 's/^key-//'; }
fit_key=$(hint signed/u-boot.dtb)
boot_key=$(hint signed/u-boot-spl.dtb)
printf '  %-28s %s\n' signed/u-boot.dtb "trusts $fit_key" signed/u-boot-spl.dtb "trusts $boot_key"

# Where a hash tree begins that was appended to an image: after its last block.
padded_len() { echo $((($(stat -c %s "$1") + 4095) / 4096 * 4096)); }
squashfs_len=$(padded_len "$images/rootfs.squashfs")

title 'Good artifacts'
expect accepted 'bootloader FIT' "$judge" bootloader signed/u-boot-spl.dtb signed/u-boot.itb "$boot_key"
expect accepted 'bootloader FIT' ours verify bootloader --fit signed/u-boot.itb --spl-dtb signed/u-boot-spl.dtb
expect accepted 'FIT, booted to userspace' "$judge" fit signed/u-boot.dtb signed/fit.itb "$fit_key"
expect accepted 'FIT, its other configuration booted' "$judge" fit --config conf-2 signed/u-boot.dtb signed/fit.itb "$fit_key"
expect accepted 'FIT' ours verify fit signed/fit.itb
expect accepted 'rootfs, squashfs' "$judge" verity signed/rootfs.squashfs signed/rootfs.squashfs "$squashfs_len" \
	signed/rootfs.squashfs.roothash
expect accepted 'rootfs, ext4 with a hash file' "$judge" verity "$images/rootfs.ext4" signed/rootfs.ext4.verity 0 \
	signed/rootfs.ext4.verity.roothash
for name in rootfs.squashfs rootfs.ext4.verity; do
	expect accepted "root hash of $name" "$judge" root-hash signed/$name.roothash signed/$name.roothash.p7s \
		signed/rootfs.pem
done
expect accepted 'rootfs' ours verify rootfs signed/rootfs.squashfs
expect accepted 'update bundle' "$judge" swu signed/update.swu signed/update.pem
expect accepted 'update bundle' ours verify swu signed/update.swu

title 'Tampered FIT'
for kind in $(kinds fit); do
	copy=tampered/fit-$kind.itb
	python3 "$tamper" fit "$kind" signed/fit.itb "$copy"
	expect refused "$(what fit "$kind")" "$judge" fit signed/u-boot.dtb "$copy"
	expect refused '"' ours verify fit "$copy"
done
expect refused 'never signed' "$judge" fit signed/u-boot.dtb "$images/fit.itb"
expect refused '"' ours verify fit "$images/fit.itb"

title 'Tampered bootloader'
for kind in $(kinds fit); do
	# U-Boot's FIT has one configuration, so there is nothing to mix with.
	[ "$kind" != mixed ] || continue
	copy=tampered/u-boot-$kind.itb
	python3 "$tamper" fit "$kind" signed/u-boot.itb "$copy"
	expect refused "$(what fit "$kind" | sed 's/the kernel/U-Boot/')" \
		"$judge" bootloader signed/u-boot-spl.dtb "$copy"
done
python3 "$tamper" control-dtb key signed/u-boot.dtb tampered/u-boot-key.dtb
expect refused "control tree: $(what control-dtb key)" "$judge" fit tampered/u-boot-key.dtb signed/fit.itb
# U-Boot itself cannot refuse this one: it obeys the tree, and boots what is unsigned.
python3 "$tamper" control-dtb not-required signed/u-boot.dtb tampered/u-boot-not-required.dtb
expect refused 'control tree: the key no longer required' \
	ours verify bootloader --control-dtb tampered/u-boot-not-required.dtb

title 'Tampered rootfs'
for kind in $(kinds rootfs); do
	copy=tampered/rootfs-$kind.squashfs
	python3 "$tamper" rootfs "$kind" signed/rootfs.squashfs "$copy"
	for suffix in roothash roothash.p7s verity.json; do
		cp "signed/rootfs.squashfs.$suffix" "$copy.$suffix"
	done
	expect refused "$(what rootfs "$kind")" "$judge" verity "$copy" "$copy" "$squashfs_len" "$copy.roothash"
	expect refused '"' ours verify rootfs "$copy"
done
python3 "$tamper" root-hash value signed/rootfs.squashfs.roothash tampered/roothash
expect refused "$(what root-hash value)" "$judge" root-hash tampered/roothash \
	signed/rootfs.squashfs.roothash.p7s signed/rootfs.pem
expect refused '"' "$judge" verity signed/rootfs.squashfs signed/rootfs.squashfs "$squashfs_len" tampered/roothash
for kind in $(kinds signature); do
	python3 "$tamper" signature "$kind" signed/rootfs.squashfs.roothash.p7s "tampered/roothash-$kind.p7s"
	expect refused "root hash: $(what signature "$kind")" "$judge" root-hash signed/rootfs.squashfs.roothash \
		"tampered/roothash-$kind.p7s" signed/rootfs.pem
done

title 'Tampered update bundle'
python3 "$tamper" swu repacked signed/update.swu tampered/repacked.swu
expect accepted "$(what swu repacked)" "$judge" swu tampered/repacked.swu signed/update.pem
for kind in $(kinds swu); do
	[ "$kind" != repacked ] || continue
	copy=tampered/update-$kind.swu
	python3 "$tamper" swu "$kind" signed/update.swu "$copy"
	expect refused "$(what swu "$kind")" "$judge" swu "$copy" signed/update.pem
	expect refused '"' ours verify swu "$copy"
done

title 'Keys of another developer'
mkdir foreign
cp "$images/u-boot.dtb" "$images/u-boot-spl.dtb" foreign/
own_dev_dir=$HSMSIGN_DEV_DIR
export HSMSIGN_DEV_DIR=$out/foreign/dev
hs sign fit "$images/fit.itb" -o foreign/fit.itb --control-dtb foreign/u-boot.dtb
hs sign bootloader --fit build/u-boot.itb -o foreign/u-boot.itb --spl-dtb foreign/u-boot-spl.dtb
hs sign rootfs "$images/rootfs.squashfs" -o foreign/rootfs.squashfs
hs sign swu --description "$images/sw-description" --image signed/rootfs.squashfs --image signed/fit.itb \
	-o foreign/update.swu
export HSMSIGN_DEV_DIR=$own_dev_dir
expect refused 'FIT' "$judge" fit signed/u-boot.dtb foreign/fit.itb
expect refused 'bootloader FIT' "$judge" bootloader signed/u-boot-spl.dtb foreign/u-boot.itb
expect refused 'root hash' "$judge" root-hash foreign/rootfs.squashfs.roothash foreign/rootfs.squashfs.roothash.p7s \
	signed/rootfs.pem
expect refused 'update bundle' "$judge" swu foreign/update.swu signed/update.pem

title 'The release gate over the whole directory, here with dev keys in place of release keys'
hs verify deploy signed
sed -n '/^chain of trust/,/^$/p' "$log"
expect accepted 'what was signed' ours verify deploy signed
# gate_refuses WHAT COMMAND...: the gate must refuse a copy of the directory in which COMMAND did something.
gate_refuses() {
	local what=$1
	shift
	rm -rf gate
	cp -al signed gate
	"$@"
	expect refused "$what" ours verify deploy gate
}
put() { rm -f "gate/$2" && cp "$1" "gate/$2"; }
gate_refuses "one FIT of another developer's" put foreign/fit.itb fit.itb
gate_refuses "another developer's key in U-Boot's tree" put foreign/u-boot.dtb u-boot.dtb
gate_refuses "another developer's bundle" put foreign/update.swu update.swu
# With a byte more it is no longer the FIT's kernel.
wrong_kernel() { cp signed/Image.gz gate/Image-debug.gz && printf x >>gate/Image-debug.gz; }
gate_refuses 'an unsigned kernel' wrong_kernel
gate_refuses 'no signature of the root hash' rm gate/rootfs.squashfs.roothash.p7s
rm -rf gate

title 'Result'
if [ $wrong -ne 0 ]; then
	printf '  %d of %d verdicts are WRONG; everything is in %s\n' $wrong $checks "$out"
	exit 1
fi
printf '  all %d verdicts as expected: what was signed is accepted, what was tampered with is refused\n' $checks
printf '  signed artifacts: %s\n' "$out/signed"
