#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Opens the device that root= names with dm-verity, by the table in /firmware/hsmsign of the device tree. U-Boot has
# checked that tree with the FIT it came in. Without the node nothing is mounted: an unchecked root is no root.

: "${HSMSIGN_NODE:=/proc/device-tree/firmware/hsmsign}"

hsmsign_enabled() {
	return 0
}

# The device of root=, as a path.
hsmsign_device() {
	case "$1" in
	UUID=*) echo "/dev/disk/by-uuid/${1#UUID=}" ;;
	PARTUUID=*) echo "/dev/disk/by-partuuid/${1#PARTUUID=}" ;;
	PARTLABEL=*) echo "/dev/disk/by-partlabel/${1#PARTLABEL=}" ;;
	LABEL=*) echo "/dev/disk/by-label/${1#LABEL=}" ;;
	*) echo "$1" ;;
	esac
}

# The table for a device. The root hash is covered by the FIT's signature, so the second signature, which the kernel would
# look for in a keyring, is left out, and the count of optional words with it.
hsmsign_table() {
	tr -d '\000' <"$HSMSIGN_NODE/dm-table" |
		sed -e "s,DATA_DEVICE,$1,; s,HASH_DEVICE,$1,; s/ 2 root_hash_sig_key_desc [^ ]*\$//"
}

hsmsign_run() {
	[ -r "$HSMSIGN_NODE/dm-table" ] || fatal "the FIT carries no root hash ($HSMSIGN_NODE is not there)"
	# shellcheck disable=SC2154 # bootparam_* are set by the framework
	device=$(hsmsign_device "$bootparam_root")
	waited=0
	while [ ! -e "$device" ]; do
		[ "$waited" -lt "${bootparam_roottimeout:-5}" ] || fatal "root device '$device' did not appear"
		sleep 1
		waited=$((waited + 1))
	done
	dmsetup create hsmsign-root --readonly --table "$(hsmsign_table "$device")" ||
		fatal "dm-verity refused '$device'"
	bootparam_root=/dev/mapper/hsmsign-root
	bootparam_ro=true
	export bootparam_root bootparam_ro
}
