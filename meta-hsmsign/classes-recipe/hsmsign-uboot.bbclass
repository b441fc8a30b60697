# Puts public keys into U-Boot's and SPL's control trees and signs U-Boot's FIT, inside oe-core's uboot-sign.
#
# uboot-sign calls mkimage to sign and fit_check_sign to check. Here both names lead to hsmsign, and the rest of
# that class (what is concatenated, built again, deployed) stays as it is.

inherit hsmsign

HSMSIGN_UBOOT_REQUIRED ??= "conf"
HSMSIGN_UBOOT_REQUIRED[doc] = "What a device must find signed: 'conf' (configurations) or 'image'."

HSMSIGN_OVERRULED := "${@hsmsign_take_over(d, 'uboot')}"
# U-Boot's own FIT is signed where there is an SPL to check it.
SPL_SIGN_ENABLE = "${@'1' if d.getVar('UBOOT_FITIMAGE_ENABLE') == '1' and d.getVar('SPL_BINARY') else '0'}"

# Takes mkimage's options as uboot-sign gives them. With `-f auto-conf` uboot-sign wants a dummy FIT signed, only to
# get the key into the tree. A release key signs no dummies, so the key goes there directly.
hsmsign_mkimage_sign() {
	tree=""
	fit=""
	assembled="0"
	while [ $# -gt 0 ]; do
		case "$1" in
		-K) tree="$2"; shift ;;
		-r) fit="$2"; shift ;;
		-F) assembled="1" ;;
		-D|-f|-k|-o|-g|-d|-N|-G|-c) shift ;;
		esac
		shift
	done
	if [ "$assembled" = "0" ]; then
		hsmsign_shell sign bootloader --control-dtb "$tree" --required ${HSMSIGN_UBOOT_REQUIRED}
	elif [ -n "$tree" ]; then
		hsmsign_shell sign bootloader --fit "$fit" -o "$fit" --spl-dtb "$tree" --required ${HSMSIGN_UBOOT_REQUIRED}
	else
		hsmsign_shell sign bootloader --fit "$fit" -o "$fit" --required ${HSMSIGN_UBOOT_REQUIRED}
	fi
}

# Takes fit_check_sign's options.
hsmsign_fit_check_sign() {
	tree=""
	fit=""
	while [ $# -gt 0 ]; do
		case "$1" in
		-k) tree="$2"; shift ;;
		-f) fit="$2"; shift ;;
		esac
		shift
	done
	case "$fit" in
	*/unused.itb) hsmsign_shell verify bootloader --control-dtb "$tree" ;;
	*) hsmsign_shell verify bootloader --fit "$fit" --spl-dtb "$tree" ;;
	esac
}

# Runs in the directory of each configuration. uboot-sign leaves it at a warning if there is no tree to put a key in.
uboot_assemble_fitimage_helper:append() {
	if [ -z "${UBOOT_DTB_BINARY}" ] || [ ! -e "${UBOOT_DTB_BINARY}" ]; then
		${@'bbfatal' if d.getVar('HSMSIGN_MODE') == 'release' else 'bbwarn'} ${@hsmsign_no_control_tree(d)}
	fi
}

def hsmsign_no_control_tree(d):
    import shlex, hsmsign.hooks
    return shlex.quote(hsmsign.hooks.no_control_tree(d.getVar('PN'), d.getVar('UBOOT_DTB_BINARY')))

python () {
    hsmsign_enforce(d, 'uboot')
    hsmsign_task(d, 'do_uboot_assemble_fitimage')
}
