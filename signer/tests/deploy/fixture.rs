//! A whole deploy directory, made and signed by the binary under test from small inputs, once in release rehearsal
//! mode and once with dev keys. Tests work on copies.

use crate::common::{
    Bench, Outcome, find_tool, run,
    token::{PIN, TestToken, set_mode},
};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, OnceLock},
};

pub(crate) const ROLES: [&str; 4] = ["bootloader", "fit", "rootfs", "update"];

const FIT: &str = r#"/dts-v1/;
/ {
	description = "test"; #address-cells = <1>;
	images {
		kernel-1 { description = "Linux"; data = /incbin/("Image.gz"); type = "kernel"; arch = "arm64"; os = "linux";
			compression = "gzip"; load = <0x44000000>; entry = <0x44000000>; hash-1 { algo = "sha256"; }; };
		fdt-1 { description = "board"; data = /incbin/("board.dtb"); type = "flat_dt"; arch = "arm64";
			compression = "none"; hash-1 { algo = "sha256"; }; };
		ramdisk-1 { description = "initramfs"; data = /incbin/("initramfs.cpio.gz"); type = "ramdisk"; arch = "arm64";
			os = "linux"; compression = "none"; hash-1 { algo = "sha256"; }; };
	};
	configurations {
		default = "conf-1";
		conf-1 { description = "board"; kernel = "kernel-1"; fdt = "fdt-1"; ramdisk = "ramdisk-1"; };
	};
};
"#;

const U_BOOT_FIT: &str = r#"/dts-v1/;
/ {
	description = "U-Boot"; #address-cells = <1>;
	images {
		uboot { description = "U-Boot"; data = /incbin/("u-boot-nodtb.bin"); type = "standalone"; os = "u-boot";
			arch = "arm64"; compression = "none"; load = <0x60000000>; hash-1 { algo = "sha256"; }; };
		fdt-1 { description = "tree"; data = /incbin/("u-boot.dtb"); type = "flat_dt"; arch = "arm64";
			compression = "none"; hash-1 { algo = "sha256"; }; };
	};
	configurations {
		default = "conf-1";
		conf-1 { description = "board"; loadables = "uboot"; fdt = "fdt-1"; };
	};
};
"#;

const BOARD: &str =
    "/dts-v1/; / { model = \"board\"; compatible = \"acme,board\"; chosen { bootargs = \"quiet\"; }; };\n";
const CONTROL: &str = "/dts-v1/; / { model = \"board\"; compatible = \"acme,board\";\n\
                       config { load-environment = <0>; bootdelay = <0xfffffffe>; }; };\n";

pub(crate) const DESCRIPTION: &str = r#"software =
{
	version = "1.0.0";
	hardware-compatibility: [ "1.0" ];
	images: (
		{ filename = "rootfs.ext4.verity"; type = "raw"; device = "/dev/null"; sha256 = "@rootfs.ext4.verity"; },
		{ filename = "fit.itb"; type = "raw"; device = "/dev/null"; sha256 = "@fit.itb"; } );
};
"#;

/// Data in which all blocks differ.
pub(crate) fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| byte()).collect()
}

/// A bench whose directory `deploy` holds everything, and `spare` some artifacts that belong elsewhere.
pub(crate) struct Deploy {
    pub(crate) bench: Bench,
    release: bool,
}

/// The token of [`Deploy::release`], for signing more.
static TOKEN: OnceLock<Option<TestToken>> = OnceLock::new();

/// Who signs.
pub(crate) struct Signer<'a> {
    bench: &'a Bench,
    token: Option<&'a TestToken>,
}

impl Signer<'_> {
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        let mut command = match self.token {
            Some(token) => {
                let global = ["--mode", "release", "--host-config", "host.yaml"];
                let mut command = self.bench.command(&[&global[..], arguments].concat());
                command.envs(token.environment.clone());
                command
            }
            None => self.bench.command(arguments),
        };
        run(command.env("SOURCE_DATE_EPOCH", "1767225600")).exits(0)
    }
}

impl Deploy {
    /// A copy of the directory that release keys signed, in a rehearsal.
    pub(crate) fn release() -> Option<Self> {
        static MADE: OnceLock<Option<Deploy>> = OnceLock::new();
        MADE.get_or_init(make_release).as_ref().map(Self::copy)
    }

    /// A copy of the directory that dev keys signed.
    pub(crate) fn dev() -> Option<Self> {
        static MADE: OnceLock<Option<Deploy>> = OnceLock::new();
        MADE.get_or_init(make_dev).as_ref().map(Self::copy)
    }

    fn copy(&self) -> Self {
        let copy = Self { bench: Bench::new(), release: self.release };
        let from = format!("{}/.", self.bench.directory().display());
        copy.bench.tool(Path::new("/bin/cp"), &["-a", &from, "."]);
        copy
    }

    /// The gate's verdict on `deploy`.
    pub(crate) fn gate(&self, more: &[&str]) -> Outcome {
        let mode = if self.release { "release" } else { "dev" };
        self.bench.hsmsign(&[&["--mode", mode, "verify", "deploy", "deploy"], more].concat())
    }

    /// The same as JSON, with the exit code expected.
    #[track_caller]
    pub(crate) fn report(&self, code: i32) -> serde_json::Value {
        serde_json::from_str(&self.gate(&["--json"]).exits(code).stdout).unwrap()
    }

    /// The gate must refuse, and say this.
    #[track_caller]
    pub(crate) fn refuses(&self, says: &str) {
        self.gate(&[]).exits(7).says(says);
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.bench.path(&format!("deploy/{name}"))
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.file(name)).unwrap();
    }

    /// Puts an artifact that belongs elsewhere in the place of one here.
    pub(crate) fn take_spare(&self, spare: &str, name: &str) {
        let bytes = std::fs::read(self.bench.path(&format!("spare/{spare}"))).unwrap();
        self.write(name, bytes);
    }

    /// A copy of the release directory whose artifacts hold what `change` did to the inputs in `build`, signed anew.
    pub(crate) fn release_of(change: &str) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        let deploy = Self::release()?;
        deploy.sh(change);
        let token = TOKEN.get()?.as_ref()?;
        // SoftHSMv2 loses its token now and then while another process logs in.
        let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        deploy.sh("rm -r deploy; mkdir deploy");
        sign_all(&deploy, &Signer { bench: &deploy.bench, token: Some(token) });
        deploy.sh("cp build/data.squashfs deploy/");
        Some(deploy)
    }

    /// Adds lines to the policy.
    pub(crate) fn policy(&self, lines: &str) {
        let mut text = String::from_utf8(self.bench.read("hsmsign.yaml")).unwrap();
        text.push_str(lines);
        self.bench.write("hsmsign.yaml", text);
    }

    pub(crate) fn sh(&self, script: &str) -> Outcome {
        self.bench.tool(Path::new("/bin/sh"), &["-ec", script])
    }
}

fn make_dev() -> Option<Deploy> {
    let deploy = Deploy { bench: Bench::new(), release: false };
    inputs(&deploy)?;
    deploy.bench.write("hsmsign.yaml", "version: 1\nproduct: gate test\n");
    sign_all(&deploy, &Signer { bench: &deploy.bench, token: None });
    Some(deploy)
}

fn make_release() -> Option<Deploy> {
    let deploy = Deploy { bench: Bench::new(), release: true };
    inputs(&deploy)?;
    let token = TOKEN.get_or_init(TestToken::softhsm).as_ref()?;
    release_policy(&deploy, token);
    // What another developer's machine would make of the same build.
    let dev = Signer { bench: &deploy.bench, token: None };
    dev.run(&["keys", "certificate", "--role", "update", "-o", "dev-update.pem"]);
    dev.run(&["keys", "certificate", "--role", "rootfs", "-o", "dev-rootfs.pem"]);
    let signer = Signer { bench: &deploy.bench, token: Some(token) };
    sign_all(&deploy, &signer);
    spares(&deploy, &signer, &dev);
    Some(deploy)
}

/// Four keys in a token, pinned; those of `rootfs` and `update` have certificates of a test CA.
fn release_policy(deploy: &Deploy, token: &TestToken) {
    let bench = &deploy.bench;
    let pin = bench.write("pin", format!("{PIN}\n"));
    set_mode(&pin, 0o600);
    let module = token.module.canonicalize().unwrap();
    let host = format!(
        "version: 1\ntokens:\n  hsm:\n    module: {}\n    pin: {{ file: {} }}\naudit: {{ directory: {} }}\n",
        module.display(),
        pin.display(),
        bench.path("audit").display()
    );
    set_mode(&bench.write("host.yaml", host), 0o600);
    let policy = |with_certificates: bool, pins: &[String]| {
        let mut text = "version: 1\nproduct: gate test\nrelease:\n  rehearsal: true\n  keys:\n".to_owned();
        for (role, pin) in ROLES.iter().zip(pins) {
            text.push_str(&format!(
                "    {role}:\n      token: hsm\n      uri: \"pkcs11:token=hsm;object={role}\"\n      pins: [\"{pin}\"]\n"
            ));
            if with_certificates && matches!(*role, "rootfs" | "update") {
                text.push_str(&format!("      certificate: {role}.crt\n      chain: [ca.crt]\n"));
            }
        }
        bench.write("hsmsign.yaml", text);
    };
    let mut pins = Vec::new();
    for role in ROLES {
        token.generate("rsa:2048", role, &[]);
        pins.push(token.public_key(role));
    }
    policy(false, &pins);
    let signer = Signer { bench, token: Some(token) };
    deploy.sh(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 30 -subj '/CN=test CA' 2>/dev/null",
    );
    for role in ["rootfs", "update"] {
        signer.run(&["keys", "csr", "--role", role, "-o", &format!("{role}.csr")]);
        deploy.sh(&format!(
            "openssl x509 -req -in {role}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 20 \
             -copy_extensions copyall -out {role}.crt 2>/dev/null"
        ));
    }
    policy(true, &pins);
}

/// Unsigned inputs in `build`, and what ordinary builds leave beside the artifacts in `deploy`.
fn inputs(deploy: &Deploy) -> Option<()> {
    for tool in ["mkimage", "dtc", "mksquashfs", "mke2fs", "cpio", "openssl"] {
        find_tool(tool)?;
    }
    let bench = &deploy.bench;
    for directory in ["build", "deploy", "spare", "build/root/etc", "build/root/usr/bin"] {
        std::fs::create_dir_all(bench.path(directory)).unwrap();
    }
    let write =
        |name: &str, bytes: &[u8]| std::fs::write(bench.path(&format!("build/{name}")), bytes).unwrap();
    // Booting is not what this is about: an arm64 kernel is known by its header.
    let mut kernel = noise(200_000, 1);
    kernel[0x38..0x3c].copy_from_slice(b"ARM\x64");
    write("Image", &kernel);
    write("board.dts", BOARD.as_bytes());
    write("control.dts", CONTROL.as_bytes());
    write("fit.its", FIT.as_bytes());
    write("u-boot.its", U_BOOT_FIT.as_bytes());
    write("sw-description", DESCRIPTION.as_bytes());
    let program = |text: &str, seed| {
        let mut bytes = noise(40_000, seed);
        bytes[20_000..20_000 + text.len()].copy_from_slice(text.as_bytes());
        bytes
    };
    write("u-boot-nodtb.bin", &program("U-Boot 2026.01 (Jan 01 2026)\0", 2));
    write("u-boot-spl-nodtb.bin", &program("U-Boot SPL 2026.01 (Jan 01 2026)\0", 3));
    write("root/etc/hostname", b"board\n");
    write("root/usr/bin/app", &noise(30_000, 4));
    let script = "cd build
        gzip -9nk Image
        dtc -q -I dts -O dtb -o board.dtb board.dts
        dtc -q -I dts -O dtb -p 4096 -o u-boot.dtb control.dts
        cp u-boot.dtb u-boot-spl.dtb
        echo init > init; echo init | cpio -o -H newc --quiet | gzip -9n > initramfs.cpio.gz
        mke2fs -q -t ext4 -b 4096 -d root -U 7b4c1f5e-0000-4000-8000-000000000001 -E hash_seed=7b4c1f5e-0000-4000-8000-000000000002 rootfs.ext4 2M
        mksquashfs root data.squashfs -quiet -no-progress -all-root -noappend >/dev/null
        mkimage -f fit.its fit.itb >/dev/null
        tar czf modules.tgz root
        cp Image board.dtb initramfs.cpio.gz rootfs.ext4 data.squashfs modules.tgz ../deploy/
        cd ../deploy
        echo 'kernel 6.6' > board.manifest
        echo '{\"MACHINE\": \"board\"}' > board.testdata.json
        echo 'ffff0000 T start' > System.map
        echo 'CONFIG_ARM64=y' > config";
    let outcome = bench.try_tool(Path::new("/bin/sh"), &["-ec", script]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    Some(())
}

/// Signs everything into `deploy`, in the order of trust.
fn sign_all(deploy: &Deploy, signer: &Signer<'_>) {
    let hs = |arguments: &[&str]| signer.run(arguments);
    hs(&["sign", "rootfs", "build/rootfs.ext4", "-o", "deploy/rootfs.ext4.verity"]);
    hs(&["sign", "rootfs", "build/data.squashfs", "--hash-file", "-o", "deploy/data.squashfs.verity"]);
    hs(&["keys", "certificate", "--role", "update", "-o", "deploy/update.pem"]);
    deploy.sh(
        "cp build/u-boot.dtb build/u-boot-spl.dtb build/u-boot-nodtb.bin build/u-boot-spl-nodtb.bin deploy/",
    );
    hs(&[
        "sign",
        "fit",
        "build/fit.itb",
        "-o",
        "deploy/fit.itb",
        "--control-dtb",
        "deploy/u-boot.dtb",
        "--rootfs",
        "deploy/rootfs.ext4.verity.verity.json",
        "--update-certificate",
        "deploy/update.pem",
    ]);
    deploy.sh("cp deploy/u-boot.dtb build/; cd build; mkimage -f u-boot.its u-boot.itb >/dev/null");
    hs(&[
        "sign",
        "bootloader",
        "--fit",
        "build/u-boot.itb",
        "-o",
        "deploy/u-boot.itb",
        "--spl-dtb",
        "deploy/u-boot-spl.dtb",
    ]);
    deploy.sh(
        "cd deploy; cat u-boot-nodtb.bin u-boot.dtb > u-boot.bin; cat u-boot-spl-nodtb.bin u-boot-spl.dtb > u-boot-spl.bin
         ln -s fit.itb fitImage",
    );
    hs(&[
        "sign",
        "swu",
        "--description",
        "build/sw-description",
        "--image",
        "deploy/rootfs.ext4.verity",
        "deploy/fit.itb",
        "-o",
        "deploy/update.swu",
    ]);
}

/// Well-signed artifacts that do not belong to this directory, and artifacts that dev keys signed.
fn spares(deploy: &Deploy, release: &Signer<'_>, dev: &Signer<'_>) {
    deploy.sh("cp build/rootfs.ext4 build/other.ext4; printf x | dd of=build/other.ext4 bs=1 seek=1900000 conv=notrunc status=none");
    release.run(&["sign", "rootfs", "build/other.ext4", "-o", "spare/other.ext4.verity"]);
    release.run(&[
        "sign",
        "fit",
        "build/fit.itb",
        "-o",
        "spare/fit-other-root.itb",
        "--rootfs",
        "spare/other.ext4.verity.verity.json",
        "--update-certificate",
        "update.crt",
    ]);
    release.run(&[
        "sign",
        "fit",
        "build/fit.itb",
        "-o",
        "spare/fit-dev-update.itb",
        "--rootfs",
        "deploy/rootfs.ext4.verity.verity.json",
        "--update-certificate",
        "dev-update.pem",
    ]);
    release
        .run(&[
            "sign",
            "fit",
            "build/fit.itb",
            "-o",
            "spare/fit-issued-update.itb",
            "--rootfs",
            "deploy/rootfs.ext4.verity.verity.json",
            "--update-certificate",
            "update.crt",
        ])
        .says("`update.crt` holds no self-signed certificate");
    deploy.sh("openssl req -x509 -newkey rsa:2048 -nodes -keyout foreign.key -out foreign.crt -days 30 \
         -subj /CN=somebody -addext extendedKeyUsage=emailProtection 2>/dev/null");
    release.run(&[
        "sign",
        "fit",
        "build/fit.itb",
        "-o",
        "spare/fit-foreign-update.itb",
        "--rootfs",
        "deploy/rootfs.ext4.verity.verity.json",
        "--update-certificate",
        "foreign.crt",
    ]);
    deploy
        .sh("mkdir spare/swu; cp deploy/fit.itb spare/swu; cp build/other.ext4 spare/swu/rootfs.ext4.verity");
    let description = ["sign", "swu", "--description", "build/sw-description", "--image"];
    release.run(
        &[
            &description[..],
            &["spare/swu/rootfs.ext4.verity", "spare/swu/fit.itb", "-o", "spare/update-other-image.swu"],
        ]
        .concat(),
    );
    dev.run(
        &[&description[..], &["deploy/rootfs.ext4.verity", "deploy/fit.itb", "-o", "spare/update-dev.swu"]]
            .concat(),
    );
    dev.run(&["sign", "fit", "build/fit.itb", "-o", "spare/fit-dev.itb"]);
    dev.run(&["sign", "rootfs", "build/rootfs.ext4", "-o", "spare/dev.ext4.verity"]);
    deploy.sh("cp build/u-boot.dtb spare/u-boot-dev.dtb; cp build/u-boot-spl.dtb spare/u-boot-spl-dev.dtb");
    dev.run(&["sign", "bootloader", "--control-dtb", "spare/u-boot-dev.dtb"]);
    dev.run(&["sign", "bootloader", "--spl-dtb", "spare/u-boot-spl-dev.dtb"]);
}

/// A program of another maker, which says whether it accepts.
pub(crate) fn accepts(program: &str, bench: &Bench, arguments: &[&str]) -> Option<bool> {
    let program = find_tool(program)?;
    let mut command = Command::new(program);
    command.current_dir(bench.directory()).args(arguments).stdin(Stdio::null());
    Some(run(&mut command).code == 0)
}
