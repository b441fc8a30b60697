# shellcheck shell=bash
# Image tree sources for mkimage, on standard output. Read by sign-images.sh.

# Node names may hold neither '/' nor ','.
node_name() {
	basename "${1}" .dtb | tr -c 'A-Za-z0-9._\n-' '_'
}

kernel_compression() {
	case "${1}" in
	*.gz) printf 'gzip' ;;
	*.lz4) printf 'lz4' ;;
	*.xz) printf 'lzma' ;;
	*.zst | *.zstd) printf 'zstd' ;;
	*) printf 'none' ;;
	esac
}

hash_node() {
	printf '\t\t\thash-1 {\n\t\t\t\talgo = "sha256";\n\t\t\t};\n'
}

# Kernel, device trees and initramfs of HSMSIGN_BR_FIT_*; no signature nodes,
# since "hsmsign sign fit" adds them.
fit_source() {
	local kernel="${HSMSIGN_BR_FIT_KERNEL:-}" arch="${HSMSIGN_BR_FIT_ARCH:-}"
	local load="${HSMSIGN_BR_FIT_LOAD:-}" initramfs="${HSMSIGN_BR_FIT_INITRAMFS:-}"
	local entry="${HSMSIGN_BR_FIT_ENTRY:-}" dtb default=
	entry="${entry:-${load}}"
	[[ "${load}" =~ ^(0x)?[0-9A-Fa-f]+$ ]] ||
		fail "the FIT needs the kernel's load address" "set BR2_HSMSIGN_FIT_LOAD, for instance 0x40200000"
	[[ "${entry}" =~ ^(0x)?[0-9A-Fa-f]+$ ]] ||
		fail "'${entry}' is no kernel entry address" "change BR2_HSMSIGN_FIT_ENTRY"
	case "${kernel}" in
	uImage | cuImage* | simpleImage*)
		fail "a FIT cannot hold a '${kernel}'" "choose another kernel binary format" ;;
	esac
	need_image "${kernel}" "the kernel's binary format" "make linux-rebuild"
	if [ -n "${initramfs}" ]; then
		need_image "${initramfs}" BR2_HSMSIGN_FIT_INITRAMFS "enable that root filesystem image"
	fi
	for dtb in ${HSMSIGN_BR_FIT_DTBS:-}; do
		need_image "${dtb}" "the list of device trees" "add it to the kernel's device trees, or change BR2_HSMSIGN_FIT_DTBS"
		default="${default:-conf-$(node_name "${dtb}")}"
	done
	if [ -z "${default}" ] && [ -n "${HSMSIGN_BR_FIT_ROOTFS:-}" ]; then
		fail "the FIT has no device tree that could name the root filesystem" \
			"set BR2_HSMSIGN_FIT_DTBS, or disable BR2_HSMSIGN_FIT_HAS_ROOTFS"
	fi

	cat <<-EOF
	/dts-v1/;

	/ {
		description = "Kernel, device trees and initramfs";
		#address-cells = <1>;

		images {
			kernel-1 {
				description = "Linux";
				data = /incbin/("${kernel}");
				type = "kernel";
				arch = "${arch}";
				os = "linux";
				compression = "$(kernel_compression "${kernel}")";
				load = <${load}>;
				entry = <${entry}>;
	$(hash_node)
			};
	EOF
	for dtb in ${HSMSIGN_BR_FIT_DTBS:-}; do
		cat <<-EOF
				fdt-$(node_name "${dtb}") {
					description = "$(basename "${dtb}")";
					data = /incbin/("${dtb}");
					type = "flat_dt";
					arch = "${arch}";
					compression = "none";
		$(hash_node)
				};
		EOF
	done
	if [ -n "${initramfs}" ]; then
		cat <<-EOF
				ramdisk-1 {
					description = "initramfs";
					data = /incbin/("${initramfs}");
					type = "ramdisk";
					arch = "${arch}";
					os = "linux";
					compression = "none";
		$(hash_node)
				};
		EOF
	fi
	cat <<-EOF
		};

		configurations {
			default = "${default:-conf-1}";
	EOF
	for dtb in ${HSMSIGN_BR_FIT_DTBS:-""}; do
		cat <<-EOF
				conf-$(if [ -n "${dtb}" ]; then node_name "${dtb}"; else printf 1; fi) {
					kernel = "kernel-1";
		EOF
		if [ -n "${dtb}" ]; then printf '\t\t\tfdt = "fdt-%s";\n' "$(node_name "${dtb}")"; fi
		if [ -n "${initramfs}" ]; then printf '\t\t\tramdisk = "ramdisk-1";\n'; fi
		printf '\t\t};\n'
	done
	printf '\t};\n};\n'
}

# U-Boot and its control tree, for SPL. The load address stands in U-Boot's own
# configuration.
uboot_fit_source() {
	local build="${1}" base
	base="$(sed -n '/^CONFIG_\(SYS_\)\{0,1\}TEXT_BASE=/{s/.*=//p;q}' "${build}/.config")"
	[ -n "${base}" ] || fail "U-Boot's configuration has no CONFIG_TEXT_BASE"
	cat <<-EOF
	/dts-v1/;

	/ {
		description = "U-Boot and its control tree";
		#address-cells = <1>;

		images {
			uboot {
				description = "U-Boot";
				data = /incbin/("hsmsign-u-boot-nodtb.bin");
				type = "standalone";
				os = "u-boot";
				arch = "${HSMSIGN_BR_FIT_ARCH}";
				compression = "none";
				load = <${base}>;
				entry = <${base}>;
	$(hash_node)
			};
			fdt-1 {
				description = "control tree";
				data = /incbin/("hsmsign-u-boot.dtb");
				type = "flat_dt";
				arch = "${HSMSIGN_BR_FIT_ARCH}";
				compression = "none";
	$(hash_node)
			};
		};

		configurations {
			default = "conf-1";
			conf-1 {
				firmware = "uboot";
				fdt = "fdt-1";
			};
		};
	};
	EOF
}
