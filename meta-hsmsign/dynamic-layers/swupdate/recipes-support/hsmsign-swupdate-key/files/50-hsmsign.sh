# shellcheck shell=sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Sourced by swupdate.sh. Without the node the file is empty, and swupdate refuses every bundle.

: "${HSMSIGN_NODE:=/proc/device-tree/firmware/hsmsign}"
: "${HSMSIGN_KEY_FILE:=/run/hsmsign-update.pem}"

(umask 022 && cat "$HSMSIGN_NODE/update-certificate" >"$HSMSIGN_KEY_FILE")
SWUPDATE_ARGS="${SWUPDATE_ARGS:-} -k $HSMSIGN_KEY_FILE"
