//! A token behind a module that plays the quirks of other people's tokens (`tests/c/quirks.c`).

use super::{Outcome, SIGN, find_tool, run, skip, token::TestToken};
use std::{fs, path::Path};

/// A token behind the quirky module, with an RSA key `r` and an EC key `e`.
pub struct Quirky {
    pub token: TestToken,
    /// Fingerprints.
    pub rsa: String,
    pub ec: String,
}

pub fn quirky() -> Option<Quirky> {
    let mut token = TestToken::softhsm()?;
    let cc = find_tool("cc")?;
    if !Path::new("/usr/include/p11-kit-1/p11-kit/pkcs11.h").exists() {
        skip("p11-kit's headers are not installed");
        return None;
    }
    token.bench.write("input", "what is signed");
    token.generate("rsa:2048", "r", &[]);
    token.generate("EC:prime256v1", "e", &[]);
    let (rsa, ec) = (token.public_key("r"), token.public_key("e"));
    let module = token.bench.path("quirks.so");
    let arguments = [
        "-I/usr/include/p11-kit-1".to_owned(),
        format!("-DSOFTHSM=\"{}\"", token.module.display()),
        format!("-DTOLD=\"{}\"", token.bench.path("told").display()),
        format!("-DTRIES=\"{}\"", token.bench.path("tries").display()),
        "-shared".into(),
        "-fPIC".into(),
        "-o".into(),
        module.display().to_string(),
        format!("{}/tests/c/quirks.c", env!("CARGO_MANIFEST_DIR")),
    ];
    token.bench.tool(&cc, &arguments);
    token.module = module;
    Some(Quirky { token, rsa, ec })
}

impl Quirky {
    pub fn sign(&self, quirks: &str) -> Outcome {
        let _ = fs::remove_file(self.token.bench.path("signature"));
        let _ = fs::remove_file(self.token.bench.path("told"));
        run(self.token.command(&SIGN).env("QUIRKS", quirks))
    }

    pub fn rsa(&self, quirks: &str) -> Outcome {
        self.token.policy("algorithm: rsa2048", "pkcs11:token=hsm;object=r", &[&self.rsa], "");
        self.sign(quirks)
    }

    pub fn ec(&self, quirks: &str) -> Outcome {
        self.token.policy("algorithm: ecdsa-p256", "pkcs11:token=hsm;object=e", &[&self.ec], "");
        self.sign(quirks)
    }

    /// OpenSSL accepts the signature, and the module was left in order.
    #[track_caller]
    pub fn accepted(&self, label: &str) {
        let key = format!("{label}.pem");
        let arguments = ["dgst", "-sha256", "-verify", &key, "-signature", "signature", "input"];
        self.token.bench.tool(&find_tool("openssl").unwrap(), &arguments);
        self.left_in_order();
    }

    /// C_Finalize came last and once, C_Logout never.
    #[track_caller]
    pub fn left_in_order(&self) {
        let told = String::from_utf8(self.token.bench.read("told")).unwrap();
        assert!(told.ends_with("finalized\n") && told.matches("finalized").count() == 1, "{told}");
        assert!(!told.contains("logout"), "{told}");
    }

    #[track_caller]
    pub fn signed_nothing(&self) {
        assert!(!self.token.bench.path("signature").exists());
        let told = String::from_utf8(self.token.bench.read("told")).unwrap();
        assert!(told.ends_with("finalized\n"), "{told}");
    }

    pub fn logins(&self) -> usize {
        String::from_utf8(self.token.bench.read("told")).unwrap().matches("login").count()
    }
}
