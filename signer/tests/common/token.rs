//! PKCS#11 tokens for tests, each in a directory of its own, set up with other people's tools.

use super::{Bench, Outcome, SIGN, find_softhsm, find_tool, run, skip};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub const PIN: &str = "8642-pin-for-tests";
const SO_PIN: &str = "1357-so-pin";

/// A token with the label `hsm`, reached through some module.
pub struct TestToken {
    pub bench: Bench,
    pub module: PathBuf,
    /// Key types that it makes, in pkcs11-tool's words.
    pub key_types: &'static [&'static str],
    /// Environment in which its module finds it.
    pub environment: Vec<(String, String)>,
    // Ended when dropped.
    server: Option<Server>,
    /// What makes its keys, if the module under test cannot.
    maker: Option<Box<Self>>,
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const ALL: &[&str] = &["rsa:2048", "rsa:3072", "rsa:4096", "EC:prime256v1", "EC:secp384r1"];

impl TestToken {
    fn new(module: PathBuf, key_types: &'static [&'static str]) -> Self {
        Self { bench: Bench::new(), module, key_types, environment: Vec::new(), server: None, maker: None }
    }

    fn set(&mut self, name: &str, value: impl std::fmt::Display) {
        self.environment.push((name.into(), value.to_string()));
    }

    /// SoftHSMv2.
    pub fn softhsm() -> Option<Self> {
        let mut token = Self::new(find_softhsm()?, ALL);
        find_tool("pkcs11-tool")?;
        std::fs::create_dir(token.bench.path("tokens")).unwrap();
        let conf = format!("directories.tokendir = {}\n", token.bench.path("tokens").display());
        let conf = token.bench.write("softhsm2.conf", conf);
        token.set("SOFTHSM2_CONF", conf.display());
        token.initialize();
        Some(token)
    }

    /// SoftHSMv2 in another process, over p11-kit's remoting.
    pub fn p11_kit() -> Option<Self> {
        let p11_kit = find_tool("p11-kit")?;
        let client = find_module("p11-kit-client.so")?;
        let maker = Self::softhsm()?;
        let mut token = Self::new(client, ALL);
        let socket = token.bench.path("p11.sock");
        let mut server = Command::new(p11_kit);
        server.args(["server", "-f", "-n"]).arg(&socket).arg("--provider").arg(&maker.module);
        server.arg("pkcs11:token=hsm").envs(maker.environment.clone());
        token.server = Some(start(&mut server, &socket));
        token.set("P11_KIT_SERVER_ADDRESS", format_args!("unix:path={}", socket.display()));
        token.maker = Some(Box::new(maker));
        Some(token)
    }

    /// tpm2-pkcs11 on a software TPM.
    pub fn tpm2() -> Option<Self> {
        let swtpm = find_tool("swtpm")?;
        let module = find_module("libtpm2_pkcs11.so")?;
        find_tool("pkcs11-tool")?;
        let mut token = Self::new(module, &["rsa:2048", "rsa:3072", "EC:prime256v1", "EC:secp384r1"]);
        for directory in ["state", "store"] {
            std::fs::create_dir(token.bench.path(directory)).unwrap();
        }
        let socket = token.bench.path("tpm.sock");
        let mut server = Command::new(swtpm);
        server.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"]);
        server.arg(format!("dir={}", token.bench.path("state").display()));
        server.arg("--server").arg(format!("type=unixio,path={}", socket.display()));
        server.arg("--ctrl").arg(format!("type=unixio,path={}.ctrl", socket.display()));
        token.server = Some(start(&mut server, &socket));
        token.set("TPM2_PKCS11_TCTI", format_args!("swtpm:path={}", socket.display()));
        let store = token.bench.path("store");
        token.set("TPM2_PKCS11_STORE", store.display());
        token.set("TSS2_LOG", "all+NONE");
        token.initialize();
        Some(token)
    }

    /// Kryoptic, if `HSMSIGN_TEST_KRYOPTIC` names its library.
    pub fn kryoptic() -> Option<Self> {
        let module = super::optional_tool("HSMSIGN_TEST_KRYOPTIC")?;
        find_tool("pkcs11-tool")?;
        let mut token = Self::new(module, ALL);
        let store = token.bench.path("kryoptic.sql");
        let conf = format!("[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n", store.display());
        let conf = token.bench.write("kryoptic.conf", conf);
        token.set("KRYOPTIC_CONF", conf.display());
        token.initialize();
        Some(token)
    }

    fn initialize(&self) {
        let arguments = ["--slot-index", "0", "--init-token", "--label", "hsm", "--so-pin", SO_PIN];
        self.pkcs11_tool(&arguments).exits(0);
        let login = ["--token-label", "hsm", "--login", "--login-type", "so", "--so-pin", SO_PIN];
        self.pkcs11_tool(&[&login[..], &["--init-pin", "--pin", PIN]].concat()).exits(0);
    }

    /// OpenSC's pkcs11-tool on the token.
    pub fn pkcs11_tool(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(find_tool("pkcs11-tool").unwrap());
        command.arg("--module").arg(&self.module).args(arguments);
        run(command.envs(self.environment.clone()).stdin(Stdio::null()))
    }

    /// The same, logged in.
    pub fn logged_in(&self, arguments: &[&str]) -> Outcome {
        self.pkcs11_tool(&[&["--token-label", "hsm", "--login", "--pin", PIN], arguments].concat())
    }

    /// Makes a key pair; `more` are further options.
    pub fn generate(&self, key_type: &str, label: &str, more: &[&str]) {
        let maker = self.maker.as_deref().unwrap_or(self);
        let arguments = ["--keypairgen", "--key-type", key_type, "--label", label, "--usage-sign"];
        maker.logged_in(&[&arguments[..], more].concat()).exits(0);
    }

    /// Reads the public key into `LABEL.pem`, by OpenSSL's reading of what pkcs11-tool gives out. Returns
    /// its fingerprint by `sha256sum`.
    pub fn public_key(&self, label: &str) -> String {
        let maker = self.maker.as_deref().unwrap_or(self);
        let der = self.bench.path(&format!("{label}.der"));
        let listing = maker.logged_in(&["--list-objects", "--type", "pubkey"]).exits(0).stdout;
        let objects: Vec<_> = listing.split("Public Key Object").collect();
        let own = objects.iter().find(|o| o.contains(&format!("label:      {label}\n"))).unwrap();
        if let Some(point) = own.lines().find_map(|l| l.trim().strip_prefix("EC_POINT:")) {
            // OpenSC 0.23 cannot write EC keys with OpenSSL 3, so the point is put behind the header of
            // its curve's SubjectPublicKeyInfo (RFC 5480).
            let header = match point.trim().len() {
                134 => "3059301306072a8648ce3d020106082a8648ce3d03010703420004",
                198 => "3076301006072a8648ce3d020106052b8104002203620004",
                other => panic!("{other} digits of EC_POINT"),
            };
            let coordinates = &point.trim()[6..];
            std::fs::write(&der, hex::decode(format!("{header}{coordinates}")).unwrap()).unwrap();
        } else {
            let der = der.to_str().unwrap();
            let read = ["--read-object", "--type", "pubkey", "--label", label, "--output-file", der];
            maker.logged_in(&read).exits(0);
        }
        let script = format!(
            "openssl pkey -pubin -inform der -in {label}.der -out {label}.pem && \
             openssl pkey -pubin -in {label}.pem -outform der | sha256sum | cut -d' ' -f1"
        );
        let hex = self.bench.tool(Path::new("/bin/sh"), &["-c", &script]).stdout;
        format!("sha256:{}", hex.trim())
    }

    /// Writes the host settings and a policy in which role `fit` has this key.
    ///
    /// `role` are the role's lines, such as `algorithm: rsa2048`; `key` further lines of the key.
    pub fn policy(&self, role: &str, uri: &str, pins: &[&str], key: &str) {
        let pin_file = self.bench.write("pin", format!("{PIN}\n"));
        set_mode(&pin_file, 0o600);
        let host = format!(
            "version: 1\ntokens:\n  hsm:\n    module: {}\n    pin: {{ file: {} }}\n",
            self.module.canonicalize().unwrap().display(),
            pin_file.display()
        );
        set_mode(&self.bench.write("host.yaml", host), 0o600);
        let pins: Vec<_> = pins.iter().map(|p| format!("\"{p}\"")).collect();
        let policy = format!(
            "version: 1\nproduct: test\nroles:\n  fit: {{ {role} }}\nrelease:\n  rehearsal: true\n  keys:\n    \
             fit:\n      token: hsm\n      uri: \"{uri}\"\n      pins: [{}]\n{key}",
            pins.join(", ")
        );
        self.bench.write("hsmsign.yaml", policy);
    }

    /// hsmsign in release mode, with the token within reach.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let global = ["--mode", "release", "--host-config", "host.yaml"];
        let mut command = self.bench.command(&[&global[..], arguments].concat());
        command.envs(self.environment.clone());
        command
    }

    pub fn hsmsign(&self, arguments: &[&str]) -> Outcome {
        run(&mut self.command(arguments))
    }

    /// Signs `input` with role `fit` into `signature`.
    pub fn sign(&self) -> Outcome {
        self.hsmsign(&SIGN)
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A PKCS#11 module where distributions put them.
fn find_module(name: &str) -> Option<PathBuf> {
    let triplet = format!("/usr/lib/{}-linux-gnu/pkcs11", std::env::consts::ARCH);
    let places = [triplet.as_str(), "/usr/lib64/pkcs11", "/usr/lib/pkcs11"];
    let found = places.map(|p| Path::new(p).join(name)).into_iter().find(|p| p.exists());
    if found.is_none() {
        skip(&format!("`{name}` is not installed"));
    }
    found
}

/// Starts a server and waits for its socket.
fn start(command: &mut Command, socket: &Path) -> Server {
    let server =
        Server(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let patience = Instant::now() + Duration::from_secs(20);
    while !socket.exists() {
        assert!(Instant::now() < patience, "{command:?} makes no socket");
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}
