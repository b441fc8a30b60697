#!/usr/bin/env bash
# Signs the files in Buildroot's images directory. external.mk calls it on each
# "make", with its settings in HSMSIGN_BR_*; it holds no cryptography.
#
#   sign-images.sh sign      put back unsigned files, then sign everything anew
#   sign-images.sh gate      refuse what must not ship
#   sign-images.sh restore   put back unsigned files
#
# What is signed in place is kept unsigned in the state directory first. So each
# run starts from unsigned files, whatever mode, policy or keys signed last, and
# a run that fails leaves no signature of an earlier one behind.

set -euo pipefail
umask 022

images="${HSMSIGN_BR_IMAGES:?}"
state="${HSMSIGN_BR_STATE:?}"

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
# shellcheck source=fit-source.sh source-path=SCRIPTDIR
. "${here}/fit-source.sh"

fail() {
	printf 'hsmsign: %s\n' "${1}" >&2
	if [ -n "${2:-}" ]; then printf 'hint: %s\n' "${2}" >&2; fi
	exit 1
}

note() {
	printf 'hsmsign: %s\n' "${1}"
}

digest() {
	sha256sum < "${1}" | cut -d ' ' -f 1
}

### Unsigned files

# Remembers an unsigned file before it is signed in place.
keep_unsigned() {
	local name="${1}"
	mkdir -p "$(dirname "${state}/unsigned/${name}")" "$(dirname "${state}/signed/${name}")"
	cp -pL "${images}/${name}" "${state}/unsigned/${name}.tmp"
	mv "${state}/unsigned/${name}.tmp" "${state}/unsigned/${name}"
	# Until it is signed, what lies in the images directory is ours in any state
	printf 'any\n' > "${state}/signed/${name}"
}

# Records what we left in the images directory, to tell it from a fresh build.
record_signed() {
	digest "${images}/${1}" > "${state}/signed/${1}"
}

# Records a file that exists only because we made it.
record_made() {
	mkdir -p "${state}"
	printf '%s\n' "${1}" >> "${state}/made"
}

restore() {
	local name recorded
	if [ -e "${state}/made" ]; then
		while IFS= read -r name; do
			rm -f "${images:?}/${name}"
		done < "${state}/made"
		rm -f "${state}/made"
	fi
	if [ -d "${state}/signed" ]; then
		while IFS= read -r -d '' name; do
			recorded="$(cat "${state}/signed/${name}")"
			# Another digest: the package was built again, the file is fresh
			if [ -e "${images}/${name}" ] &&
				{ [ "${recorded}" = any ] || [ "$(digest "${images}/${name}")" = "${recorded}" ]; }; then
				cp -p "${state}/unsigned/${name}" "${images}/${name}.tmp"
				mv "${images}/${name}.tmp" "${images}/${name}"
			fi
		done < <(find "${state}/signed" -type f -printf '%P\0')
	fi
	rm -rf "${state:?}/signed" "${state:?}/unsigned"
}

### Calling the tool

set_up_tool() {
	local tool="${HSMSIGN_BR_TOOL:?}"
	[ -x "${tool}" ] || fail "${tool} is not there" "make host-hsmsign"
	# Only the configuration of this build decides, not the caller's environment
	unset HSMSIGN_CONFIG HSMSIGN_HOST_CONFIG HSMSIGN_MODE HSMSIGN_DEV_DIR HSMSIGN_SOFTHSM HSMSIGN_AGENT
	hsmsign=("${tool}" --mode "${HSMSIGN_BR_MODE}")

	local policy="${HSMSIGN_BR_POLICY:-}"
	if [ -n "${policy}" ]; then
		[ -r "${policy}" ] || fail "the policy file '${policy}' cannot be read" \
			"BR2_HSMSIGN_POLICY names it; 'hsmsign init' writes one"
	elif [ "${HSMSIGN_BR_MODE}" = release ]; then
		fail "mode release needs a policy file that pins the release keys" \
			"set BR2_HSMSIGN_POLICY; 'hsmsign init' writes a commented policy"
	else
		# Else hsmsign would take the nearest hsmsign.yaml above this directory
		policy="${state}/hsmsign.yaml"
		mkdir -p "${state}"
		printf 'version: 1\nproduct: "%s"\n' \
			"$(printf '%s' "${HSMSIGN_BR_PRODUCT:-buildroot}" | tr -cd 'A-Za-z0-9._-')" > "${policy}"
	fi
	hsmsign+=(--config "${policy}")

	if [ "${HSMSIGN_BR_MODE}" = release ]; then
		local host_config="${HSMSIGN_BR_HOST_CONFIG:-}"
		if [ -n "${host_config}" ]; then
			[ -r "${host_config}" ] || fail "the host settings '${host_config}' cannot be read" \
				"BR2_HSMSIGN_HOST_CONFIG names them"
			hsmsign+=(--host-config "${host_config}")
		fi
		if [ -n "${HSMSIGN_BR_AGENT:-}" ]; then
			[ -S "${HSMSIGN_BR_AGENT}" ] || fail "the agent's socket '${HSMSIGN_BR_AGENT}' is not there" \
				"start 'hsmsign agent'; BR2_HSMSIGN_AGENT names its socket"
			export HSMSIGN_AGENT="${HSMSIGN_BR_AGENT}"
		fi
	else
		hsmsign+=(--dev-dir "${HSMSIGN_BR_DEV_DIR:?set BR2_HSMSIGN_DEV_DIR}")
		if [ -n "${HSMSIGN_BR_SOFTHSM:-}" ]; then
			hsmsign+=(--softhsm "${HSMSIGN_BR_SOFTHSM}")
		fi
	fi
	command -v "${HSMSIGN_BR_MKIMAGE:-mkimage}" > /dev/null && mkimage="${HSMSIGN_BR_MKIMAGE:-mkimage}" || mkimage=
}

# Names the option when a file is missing that an option promised.
need_image() {
	local name="${1}" option="${2}" remedy="${3}"
	[ -f "${images}/${name}" ] ||
		fail "'${name}' is not in the images directory, but ${option} names it" "${remedy}"
}

compile_fit() {
	local source="${1}" out="${2}"
	[ -n "${mkimage}" ] || fail "mkimage is not there" "make host-uboot-tools"
	# dtc looks for /incbin/ files beside the source first, then in "-i". The rest
	# of -D is mkimage's own default. No signature is asked for here.
	(cd "${images}" && "${mkimage}" -D "-I dts -O dtb -p 500 -i ." -f "${source}" "${out}") \
		> "${out}.log" 2>&1 || {
		# What is wrong stands before the list of mkimage's options
		sed '/^Usage:/,$d; /^ /d' "${out}.log" >&2
		fail "mkimage cannot compile '${source}'"
	}
}

### Artifacts, each after those it refers to

sign_rootfs() {
	local name out options=()
	if [ -n "${HSMSIGN_BR_HASH_FILE:-}" ]; then options=(--hash-file); fi
	for name in ${HSMSIGN_BR_ROOTFS:-}; do
		need_image "${name}" "a root filesystem option" "its image must not be compressed only"
		out="${name}.verity"
		record_made "${out}"
		record_made "${out}.roothash"
		record_made "${out}.roothash.p7s"
		record_made "${out}.verity.json"
		"${hsmsign[@]}" sign rootfs "${images}/${name}" -o "${images}/${out}" "${options[@]}"
	done
}

make_fit() {
	local unsigned="${state}/image.unsigned.itb" its="${HSMSIGN_BR_FIT_ITS:-}"
	case "${HSMSIGN_BR_FIT}" in
	auto)
		its="${state}/image.its"
		fit_source > "${its}.tmp"
		mv "${its}.tmp" "${its}"
		;;
	its)
		[ -n "${its}" ] || fail "no .its file is set" "set BR2_HSMSIGN_FIT_ITS_FILE"
		[ -r "${its}" ] || fail "'${its}' cannot be read" "BR2_HSMSIGN_FIT_ITS_FILE names it"
		its="$(realpath "${its}")"
		;;
	esac
	compile_fit "${its}" "${unsigned}"
}

sign_fit() {
	local name="${HSMSIGN_BR_FIT_NAME:-}" input options=()
	[ "${HSMSIGN_BR_FIT:-none}" != none ] || return 0
	[ -n "${name}" ] || fail "the FIT has no name" "set BR2_HSMSIGN_FIT_NAME"
	if [ "${HSMSIGN_BR_FIT}" = file ]; then
		need_image "${name}" BR2_HSMSIGN_FIT_NAME "enable what makes it, or choose another kind of FIT"
		keep_unsigned "${name}"
		input="${state}/unsigned/${name}"
	else
		make_fit
		input="${state}/image.unsigned.itb"
		record_made "${name}"
	fi
	if [ -n "${HSMSIGN_BR_FIT_ROOTFS:-}" ]; then
		options+=(--rootfs "${images}/${HSMSIGN_BR_FIT_ROOTFS// /}.verity.verity.json")
	fi
	if [ -n "${HSMSIGN_BR_FIT_UPDATE_CERTIFICATE:-}" ]; then
		"${hsmsign[@]}" keys certificate --role update -o "${state}/update.crt"
		options+=(--update-certificate "${state}/update.crt")
	fi
	"${hsmsign[@]}" sign fit "${input}" -o "${images}/${name}" "${options[@]}"
	if [ "${HSMSIGN_BR_FIT}" = file ]; then record_signed "${name}"; fi
}

sign_uboot() {
	local name
	[ -n "${HSMSIGN_BR_UBOOT:-}" ] || return 0
	for name in ${HSMSIGN_BR_UBOOT_BINS:-}; do
		need_image "${name}" BR2_HSMSIGN_UBOOT_BINS "enable that U-Boot format, or change the option"
		keep_unsigned "${name}"
		"${hsmsign[@]}" sign bootloader --u-boot-bin "${images}/${name}"
		record_signed "${name}"
	done
	for name in ${HSMSIGN_BR_UBOOT_DTBS:-}; do
		need_image "${name}" BR2_HSMSIGN_UBOOT_DTBS "enable that U-Boot format, or change the option"
		keep_unsigned "${name}"
		"${hsmsign[@]}" sign bootloader --control-dtb "${images}/${name}"
		record_signed "${name}"
	done
}

# U-Boot as a FIT that SPL checks. Everything is taken from U-Boot's build
# directory, which no signing ever touches.
sign_uboot_fit() {
	local build="${HSMSIGN_BR_UBOOT_DIR:-}" name="${HSMSIGN_BR_UBOOT_FIT_NAME:-}"
	local spl="${HSMSIGN_BR_SPL:-}" its="${HSMSIGN_BR_UBOOT_FIT_ITS:-}" piece
	[ -n "${HSMSIGN_BR_UBOOT_FIT:-}" ] || return 0
	[ -n "${name}" ] || fail "the U-Boot FIT has no name" "set BR2_HSMSIGN_UBOOT_FIT_NAME"
	for piece in u-boot-nodtb.bin u-boot.dtb spl/u-boot-spl.dtb spl/u-boot-spl-nodtb.bin; do
		[ -f "${build}/${piece}" ] || fail "U-Boot's build has no ${piece}" \
			"SPL needs CONFIG_OF_CONTROL, CONFIG_SPL_OF_CONTROL and CONFIG_SPL_LOAD_FIT"
	done
	need_image "${spl}" BR2_HSMSIGN_SPL "BR2_TARGET_UBOOT_SPL_NAME says what is installed"

	record_made hsmsign-u-boot-nodtb.bin
	record_made hsmsign-u-boot.dtb
	cp "${build}/u-boot-nodtb.bin" "${images}/hsmsign-u-boot-nodtb.bin"
	cp "${build}/u-boot.dtb" "${images}/hsmsign-u-boot.dtb"
	cp "${build}/spl/u-boot-spl.dtb" "${state}/u-boot-spl.dtb"
	"${hsmsign[@]}" sign bootloader --control-dtb "${images}/hsmsign-u-boot.dtb"

	if [ -z "${its}" ]; then
		its="${state}/u-boot.its"
		uboot_fit_source "${build}" > "${its}.tmp"
		mv "${its}.tmp" "${its}"
	else
		[ -r "${its}" ] || fail "'${its}' cannot be read" "BR2_HSMSIGN_UBOOT_FIT_ITS_FILE names it"
		its="$(realpath "${its}")"
	fi
	compile_fit "${its}" "${state}/u-boot.unsigned.itb"
	if [ -e "${images}/${name}" ]; then keep_unsigned "${name}"; else record_made "${name}"; fi
	"${hsmsign[@]}" sign bootloader --fit "${state}/u-boot.unsigned.itb" -o "${images}/${name}" \
		--spl-dtb "${state}/u-boot-spl.dtb"
	if [ -e "${state}/unsigned/${name}" ]; then record_signed "${name}"; fi

	keep_unsigned "${spl}"
	assemble_spl "${build}/spl" "${build}/spl/u-boot-spl.dtb" > "${state}/spl"
	cmp -s "${state}/spl" "${state}/unsigned/${spl}" ||
		fail "'${spl}' is not U-Boot's SPL with its tree behind it, so it cannot be put together again" \
			"wrapped SPLs: see SPL in docs/buildroot.md"
	assemble_spl "${build}/spl" "${state}/u-boot-spl.dtb" > "${images}/${spl}.tmp"
	mv "${images}/${spl}.tmp" "${images}/${spl}"
	record_signed "${spl}"
}

# SPL, padding over its .bss where U-Boot's build made one, and a tree.
assemble_spl() {
	cat "${1}/u-boot-spl-nodtb.bin"
	if [ -f "${1}/u-boot-spl-pad.bin" ]; then cat "${1}/u-boot-spl-pad.bin"; fi
	cat "${2}"
}

sign_swu() {
	local name="${HSMSIGN_BR_SWU_NAME:-}" image options=()
	[ -n "${HSMSIGN_BR_SWU:-}" ] || return 0
	[ -n "${name}" ] || fail "the bundle has no name" "set BR2_HSMSIGN_SWU_NAME"
	[ -n "${HSMSIGN_BR_SWU_DESCRIPTION:-}" ] ||
		fail "the bundle has no sw-description" "set BR2_HSMSIGN_SWU_DESCRIPTION"
	[ -r "${HSMSIGN_BR_SWU_DESCRIPTION}" ] || fail "'${HSMSIGN_BR_SWU_DESCRIPTION}' cannot be read" \
		"BR2_HSMSIGN_SWU_DESCRIPTION names it"
	for image in ${HSMSIGN_BR_SWU_IMAGES:-}; do
		need_image "${image}" BR2_HSMSIGN_SWU_IMAGES "enable what makes it, or change the option"
		options+=(--image "${images}/${image}")
	done
	[ ${#options[@]} -gt 0 ] || fail "the bundle has no images" "set BR2_HSMSIGN_SWU_IMAGES"
	record_made "${name}"
	"${hsmsign[@]}" sign swu --description "${HSMSIGN_BR_SWU_DESCRIPTION}" "${options[@]}" \
		-o "${images}/${name}"
}

sign() {
	set_up_tool
	# A U-Boot FIT may replace a file that sign_uboot would sign in place
	sign_rootfs
	sign_fit
	sign_uboot
	sign_uboot_fit
	sign_swu
}

# Both checks always run, so that one build tells everything that is wrong. Only
# the leak scan may be missing, in an older source archive, and then that is said.
# Help is read to its end before it is searched: "grep -q" on a pipe would kill
# the tool, and a check must not be skipped by chance.
# They run at the same time, since each reads the largest file on one core; what
# the scan has to say waits in a file until the gate has spoken.
gate() {
	local help failed='' scan=''
	set_up_tool
	help="$("${hsmsign[@]}" --help)"
	if grep -q '^ *scan ' <<< "${help}"; then
		mkdir -p "${state}"
		"${hsmsign[@]}" scan "${images}" > "${state}/scan.log" 2>&1 &
		scan="${!}"
	fi
	"${hsmsign[@]}" verify deploy --trust release "${images}" || failed="the release gate"
	if [ -n "${scan}" ]; then
		wait "${scan}" || failed="${failed:+${failed} and }the leak scan"
		cat "${state}/scan.log"
		rm -f "${state}/scan.log"
	else
		note "this hsmsign has no 'scan': the images were not searched for private keys and PINs"
	fi
	if [ -n "${failed}" ]; then
		fail "these images must not ship: ${failed} found something" \
			"remove it, or allow it in the policy with a reason; see Release in docs/buildroot.md"
	fi
}

# The first thing that is written is the way back; so this is asked before it
if [ -e "${images}" ] && [ ! -w "${images}" ]; then
	fail "the images directory '${images}' is not writable" "mend its owner, mode or mount, then run make again"
fi

case "${1:-}" in
sign)
	restore
	sign
	;;
gate) gate ;;
restore)
	restore
	rm -rf "${state}"
	;;
*) fail "usage: sign-images.sh sign | gate | restore" ;;
esac
