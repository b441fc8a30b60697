//! The comparisons, one function each. A tool that is missing is told, and its row left out.

use super::measure::{Cost, PAIRS, Ratio, pairs, random_file, run, run_to};
use hsmsign::content::{HEAD_LEN_BYTES, Kind};
use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Where inputs and outputs lie, and the dev token that signs.
pub(crate) struct Inputs {
    directory: tempfile::TempDir,
}

impl Inputs {
    pub(crate) fn new() -> Self {
        let base = match Path::new("/dev/shm") {
            tmpfs if free_bytes(tmpfs) > 4 * GIB => tmpfs.to_owned(),
            _ => {
                eprintln!(
                    "/dev/shm has no 4 GiB free: inputs and outputs are on disk, which distorts the figures"
                );
                std::env::temp_dir()
            }
        };
        let directory = tempfile::Builder::new().prefix("hsmsign-bench-").tempdir_in(base).unwrap();
        let inputs = Self { directory };
        // Makes the token and its keys, so that no row pays for that.
        inputs.write("first.txt", b"first use");
        run(inputs
            .hsmsign()
            .args(["sign", "blob", "first.txt", "--role", "update"])
            .args(["--format", "raw"])
            .args(["-o", "first.sig"]));
        inputs
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn remove(&self, names: &[&str]) {
        for name in names {
            let _ = std::fs::remove_file(self.path(name));
        }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path());
        command
    }

    fn hsmsign(&self) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_hsmsign"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HSMSIGN_") {
                command.env_remove(name);
            }
        }
        command.env("HSMSIGN_DEV_DIR", self.path("dev"));
        command
    }
}

fn free_bytes(directory: &Path) -> u64 {
    rustix::fs::statvfs(directory).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize))
}

/// A program's path, looked for as a user's shell would, and where administrators' programs are.
fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = directories.map(|d| d.join(name)).find(|f| f.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: `{name}` is not installed");
    }
    found
}

/// What every run pays for: starting the program.
pub(crate) fn version(inputs: &Inputs) -> Option<Vec<Ratio>> {
    let costs: Vec<Cost> = (0..21).map(|_| run(inputs.hsmsign().arg("--version"))).collect();
    Some(vec![Ratio::alone("hsmsign --version", &costs, Some(10.0))])
}

/// A FIT with 130 MiB of embedded data against `mkimage -F` with a key in a file.
pub(crate) fn fit(inputs: &Inputs) -> Option<Vec<Ratio>> {
    let (mkimage, openssl) = (tool("mkimage")?, tool("openssl")?);
    random_file(&inputs.path("kernel.bin"), 130 * MIB);
    let its = r#"/dts-v1/; / { description = "bench"; #address-cells = <1>;
        images { kernel { data = /incbin/("kernel.bin"); type = "kernel"; arch = "arm64"; os = "linux";
            compression = "none"; load = <0>; entry = <0>; hash-1 { algo = "sha256"; }; }; };
        configurations { default = "conf-1"; conf-1 { kernel = "kernel";
            signature-1 { algo = "sha256,rsa2048"; key-name-hint = "bench"; sign-images = "kernel"; }; }; }; };"#;
    inputs.write("bench.its", its.as_bytes());
    run(inputs.command(&mkimage).args(["-f", "bench.its", "unsigned.itb"]));
    let request = ["req", "-batch", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bench"];
    run(inputs.command(openssl).args(request).args(["-keyout", "bench.key", "-out", "bench.crt"]));

    let ours = || {
        inputs.remove(&["signed.itb"]);
        run(inputs.hsmsign().args(["-q", "sign", "fit", "unsigned.itb", "-o", "signed.itb"]))
    };
    let theirs = || {
        // mkimage signs in place. The copy is not counted.
        std::fs::copy(inputs.path("unsigned.itb"), inputs.path("theirs.itb")).unwrap();
        run(inputs.command(&mkimage).args(["-F", "-k", ".", "theirs.itb"]))
    };
    let (ours, theirs) = pairs(ours, theirs);
    inputs.remove(&["kernel.bin", "unsigned.itb", "signed.itb", "theirs.itb"]);
    let what = "sign fit, 130 MiB, against mkimage -F";
    Some(vec![Ratio::wall(what, &ours, &theirs, 0.35), Ratio::peak(what, &ours, &theirs, Some(0.25))])
}

/// A hash tree of 1 GiB in a file of its own against `veritysetup format`.
pub(crate) fn verity(inputs: &Inputs) -> Option<Vec<Ratio>> {
    let veritysetup = tool("veritysetup")?;
    random_file(&inputs.path("payload.bin"), GIB);
    let salt = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let uuid = "0d3b7a5e-5f6c-4e0b-9b0e-6873006d7369";
    let ours = || {
        inputs.remove(&["ours.hash"]);
        let command = ["-q", "sign", "rootfs", "payload.bin", "-o", "ours.hash", "--hash-file"];
        run(inputs.hsmsign().args(command).args(["--salt", salt, "--uuid", uuid]))
    };
    let theirs = || {
        inputs.remove(&["theirs.hash"]);
        let command = ["format", "payload.bin", "theirs.hash", "--salt", salt, "--uuid", uuid];
        run(inputs.command(&veritysetup).args(command))
    };
    let (our_costs, their_costs) = pairs(ours, theirs);
    let same = std::fs::read(inputs.path("ours.hash")).unwrap()
        == std::fs::read(inputs.path("theirs.hash")).unwrap();
    assert!(same, "the hash trees differ");
    inputs.remove(&["ours.hash", "theirs.hash"]);
    let what = "sign rootfs, 1 GiB, against veritysetup";
    Some(vec![
        Ratio::wall(what, &our_costs, &their_costs, 0.6),
        Ratio::peak(what, &our_costs, &their_costs, None),
    ])
}

/// A bundle of 1 GiB signed with CMS against a script of openssl and cpio; both use the same token.
pub(crate) fn swu(inputs: &Inputs) -> Option<Vec<Ratio>> {
    let (shell, _, _) = (tool("sh")?, tool("openssl")?, tool("cpio")?);
    random_file(&inputs.path("payload.bin"), GIB);
    let description = "software = { version = \"1.0\"; hardware-compatibility = [ \"1.0\" ]; \
        images: ( { filename = \"payload.bin\"; device = \"/dev/mmcblk0p2\"; type = \"raw\"; SHA256 } ); }\n";
    inputs.write("sw-description", description.replace(" SHA256", "").as_bytes());
    inputs.write("template", description.as_bytes());
    let (label, key) = (token_label(inputs), update_key(inputs));
    let script = format!(
        r#"set -e; mkdir -p theirs; cd theirs; ln -sf ../payload.bin .
        sum=$(openssl dgst -sha256 -r payload.bin | cut -d' ' -f1)
        sed "s/SHA256/sha256 = \"$sum\";/" ../template > sw-description
        openssl cms -sign -binary -nosmimecap -md sha256 -outform DER -signer ../dev/certificates/{key}.pem \
            -engine pkcs11 -keyform engine \
            -inkey "pkcs11:token={label};object=hsmsign-dev-{key};type=private;pin-value=$(cat ../dev/pin)" \
            -in sw-description -out sw-description.sig
        printf '%s\n' sw-description sw-description.sig payload.bin | cpio -L -o -H crc --quiet > ../theirs.swu"#
    );
    let ours = || {
        inputs.remove(&["ours.swu"]);
        let command = [
            "-q",
            "sign",
            "swu",
            "--description",
            "sw-description",
            "--image",
            "payload.bin",
            "-o",
            "ours.swu",
        ];
        run(inputs.hsmsign().args(command))
    };
    let theirs = || {
        inputs.remove(&["theirs.swu"]);
        let mut command = inputs.command(&shell);
        command.args(["-c", &script]);
        command.env("SOFTHSM2_CONF", inputs.path("dev/softhsm2.conf"));
        command.env("PKCS11_MODULE_PATH", softhsm());
        run(&mut command)
    };
    let (ours, theirs) = pairs(ours, theirs);
    inputs.remove(&["ours.swu", "theirs.swu"]);
    Some(vec![Ratio::wall("sign swu, 1 GiB, CMS, against openssl and cpio", &ours, &theirs, 0.5)])
}

/// What it costs that outputs are durable before they appear: the same work on tmpfs and on disk.
pub(crate) fn fsync(inputs: &Inputs) -> Option<Vec<Ratio>> {
    let disk = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench.swu");
    random_file(&inputs.path("half.bin"), GIB / 2);
    let description = "software = { version = \"1.0\"; images: ( { filename = \"half.bin\"; \
        device = \"/dev/mmcblk0p2\"; type = \"raw\"; } ); }\n";
    inputs.write("sw-description-half", description.as_bytes());
    let costs = |output: &Path| -> Vec<Cost> {
        let sign = || {
            let _ = std::fs::remove_file(output);
            let mut command = inputs.hsmsign();
            command.args([
                "-q",
                "sign",
                "swu",
                "--description",
                "sw-description-half",
                "--image",
                "half.bin",
                "-o",
            ]);
            run(command.arg(output))
        };
        (0..PAIRS.min(5)).map(|_| sign()).collect()
    };
    let (memory, durable) = (costs(&inputs.path("half.swu")), costs(&disk));
    let _ = std::fs::remove_file(&disk);
    Some(vec![
        Ratio::alone("sign swu, 512 MiB, output on tmpfs", &memory, None),
        Ratio::alone("sign swu, 512 MiB, output on disk, synced", &durable, None),
    ])
}

fn token_label(inputs: &Inputs) -> String {
    let set_id = std::fs::read_to_string(inputs.path("dev/set-id")).unwrap();
    format!("hsmsign-dev-{}", set_id.trim())
}

/// Name of the update key's certificate, such as `update-rsa2048`.
fn update_key(inputs: &Inputs) -> String {
    let entries = std::fs::read_dir(inputs.path("dev/certificates")).unwrap();
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    let mut keys = names.filter_map(|n| Some(n.strip_suffix(".pem")?.to_owned()));
    keys.find(|name| name.starts_with("update-")).unwrap()
}

fn softhsm() -> PathBuf {
    let places = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"];
    places.map(PathBuf::from).into_iter().find(|p| p.is_file()).unwrap()
}

/// `scan` of 1 GiB of this machine's own programs, libraries and data, none of them a container, against
/// ripgrep with one fixed string.
pub(crate) fn scan(inputs: &Inputs) -> Option<Vec<Ratio>> {
    let rg = tool("rg")?;
    let tree = inputs.path("tree");
    let mut len_bytes = plain_tree(&tree, GIB);
    // A machine with little on it: once more the same, under another name.
    let mut copies = 0;
    while len_bytes < GIB && copies < 64 {
        copies += 1;
        let copy =
            Command::new("cp").arg("-r").arg(tree.join("usr")).arg(tree.join(format!("{copies}"))).status();
        assert!(copy.is_ok_and(|status| status.success()));
        len_bytes += plain_tree_len(&tree.join(format!("{copies}")));
    }
    // Programs of a machine may carry keys (7); ripgrep ends with 1 if nothing has its string.
    let ours = || run_to(inputs.hsmsign().args(["-q", "scan", "tree"]), &[0, 7]);
    let theirs =
        || run_to(inputs.command(&rg).args(["-a", "-uuu", "-c", "no file has this string", "tree"]), &[0, 1]);
    let (ours, theirs) = pairs(ours, theirs);
    let _ = std::fs::remove_dir_all(&tree);
    let what = "scan 1 GiB, beside `rg -a -uuu -c`";
    Some(vec![Ratio::wall(what, &ours, &theirs, 2.0), Ratio::peak(what, &ours, &theirs, None)])
}

/// Copies files that hold no others from `/usr` to `tree`, up to `limit_bytes`; how many bytes they have.
fn plain_tree(tree: &Path, limit_bytes: u64) -> u64 {
    let mut len_bytes = 0;
    for place in ["/usr/bin", "/usr/lib", "/usr/share"] {
        for entry in walkdir::WalkDir::new(place).sort_by_file_name().into_iter().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if !metadata.is_file() || metadata.len() > 64 * MIB || !is_plain(entry.path()) {
                continue;
            }
            let to = tree.join(entry.path().strip_prefix("/").unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            if std::fs::copy(entry.path(), to).is_ok() {
                len_bytes += metadata.len();
            }
            if len_bytes >= limit_bytes {
                return len_bytes;
            }
        }
    }
    len_bytes
}

fn plain_tree_len(tree: &Path) -> u64 {
    let entries = walkdir::WalkDir::new(tree).into_iter().flatten();
    entries.filter_map(|e| e.metadata().ok()).filter(|m| m.is_file()).map(|m| m.len()).sum()
}

fn is_plain(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|f| f.take(HEAD_LEN_BYTES as u64).read_to_end(&mut head));
    read.is_ok() && Kind::of(&head).is_none()
}
