SUMMARY = "The host's apt, configured as oe.package_manager.deb expects it"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit native

INHIBIT_DEFAULT_DEPS = "1"

do_install() {
	install -d ${D}${sysconfdir}/apt
	cat > ${D}${sysconfdir}/apt/apt.conf.sample <<-'EOF'
	APT {
	  Install-Recommends "true";
	  Architecture "i586";
	  Get { AllowUnauthenticated "true"; Assume-Yes "true"; };
	};
	Dir "#ROOTFS#/";
	Dir::State "var/lib/apt/";
	Dir::State::lists "#APTCONF#/lists/";
	Dir::State::status "#ROOTFS#/var/lib/dpkg/status";
	Dir::Cache "#APTCONF#/";
	Dir::Cache::archives "#APTCONF#/lists/";
	Dir::Log "#APTCONF#/";
	Dir::Etc "#APTCONF#/";
	Dir::Etc::sourcelist "sources.list";
	Dir::Etc::preferences "preferences";
	Dir::Bin::methods "/usr/lib/apt/methods";
	Dir::Bin::gzip "/bin/gzip";
	Dir::Bin::dpkg "/usr/bin/dpkg";
	Dir::Bin::dpkg-source "/usr/bin/dpkg-source";
	Dir::Bin::apt-get "/usr/bin/apt-get";
	Dir::Bin::apt-cache "/usr/bin/apt-cache";
	DPkg::Options { "--root=#ROOTFS#"; "--admindir=#ROOTFS#/var/lib/dpkg"; "--force-all"; "--no-debsig"; "--log=/dev/null"; };
	DPkg::Path "";
	EOF
}
