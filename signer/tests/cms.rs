//! CMS messages judged by OpenSSL's command line, and OpenSSL's messages judged by us.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // helpers of tests are tests

mod common;

use common::find_tool;
use hsmsign::{
    crypto::{HashAlgorithm, KeyMaterial, PublicKey, Scheme, Signature, SignatureAlgorithm},
    format::cms::{self, ChainRules, CmsError, KnownSigner, Message, Options, Purpose},
};
use openssl::{
    md::Md,
    pkey::{PKey, Private},
    pkey_ctx::PkeyCtx,
    rsa::Padding,
    sign::RsaPssSaltlen,
    x509::X509,
};
use std::{
    path::Path,
    process::{Command, Output},
    slice::from_ref,
    time::{Duration, SystemTime},
};

const BARE: Options = Options { signed_attributes: false, certificates: false, signing_time: None };
const FULL: Options = Options { signed_attributes: true, certificates: true, signing_time: None };

/// A root, an intermediate below it and a signer below that, made by `openssl` in a directory.
struct Pki {
    directory: tempfile::TempDir,
}

fn openssl(directory: &Path, arguments: &[&str]) -> Output {
    Command::new("openssl").current_dir(directory).args(arguments).output().expect("openssl runs")
}

fn openssl_ok(directory: &Path, arguments: &[&str]) {
    let output = openssl(directory, arguments);
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Pki {
    /// `None` without OpenSSL's command line.
    fn new(key_options: &[&str], usage: &str) -> Option<Self> {
        find_tool("openssl")?;
        let pki = Self { directory: tempfile::tempdir().unwrap() };
        pki.certificate("root", None, key_options, "basicConstraints=critical,CA:true");
        pki.certificate("mid", Some("root"), key_options, "basicConstraints=critical,CA:true");
        pki.certificate("signer", Some("mid"), key_options, usage);
        Some(pki)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn certificate(&self, name: &str, issuer: Option<&str>, key_options: &[&str], extension: &str) {
        let (key, pem, der) = (format!("{name}.key"), format!("{name}.pem"), format!("{name}.der"));
        let (subject, request) = (format!("/O=Tests/CN={name}"), format!("{name}.csr"));
        openssl_ok(self.path(), &[&["genpkey", "-out", &key], key_options].concat());
        std::fs::write(self.path().join("ext"), format!("{extension}\nsubjectKeyIdentifier=hash\n")).unwrap();
        openssl_ok(self.path(), &["req", "-new", "-key", &key, "-subj", &subject, "-out", &request]);
        let (issuer_pem, issuer_key) =
            issuer.map_or((None, key.clone()), |i| (Some(format!("{i}.pem")), format!("{i}.key")));
        let mut arguments =
            vec!["x509", "-req", "-in", &request, "-days", "10", "-extfile", "ext", "-out", &pem];
        match &issuer_pem {
            Some(issuer_pem) => {
                arguments.extend(["-CA", issuer_pem, "-CAkey", &issuer_key, "-CAcreateserial"])
            }
            None => arguments.extend(["-signkey", &key]),
        }
        openssl_ok(self.path(), &arguments);
        openssl_ok(self.path(), &["x509", "-in", &pem, "-outform", "DER", "-out", &der]);
    }

    fn der(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(format!("{name}.der"))).unwrap()
    }

    fn key(&self, name: &str) -> PKey<Private> {
        let pem = std::fs::read(self.path().join(format!("{name}.key"))).unwrap();
        PKey::private_key_from_pem(&pem).unwrap()
    }

    fn public_key(&self, name: &str) -> PublicKey {
        PublicKey::from_spki_der(&self.key(name).public_key_to_der().unwrap()).unwrap()
    }

    /// Signs `content` as `signer` and writes content and message beside the certificates.
    fn sign(&self, content: &[u8], algorithm: SignatureAlgorithm, options: Options) -> Vec<u8> {
        let digest = algorithm.hash.digest(content);
        let plan = cms::plan(&digest, algorithm, &self.der("signer"), &[self.der("mid")], options).unwrap();
        let signature = sign_digest(&self.key("signer"), algorithm, plan.digest().as_bytes());
        let message = cms::attach(&plan, &signature).unwrap();
        std::fs::write(self.path().join("content"), content).unwrap();
        std::fs::write(self.path().join("message"), &message).unwrap();
        message
    }
}

fn sign_digest(key: &PKey<Private>, algorithm: SignatureAlgorithm, digest: &[u8]) -> Signature {
    let mut ctx = PkeyCtx::new(key).unwrap();
    ctx.sign_init().unwrap();
    ctx.set_signature_md(match algorithm.hash {
        HashAlgorithm::Sha256 => Md::sha256(),
        HashAlgorithm::Sha384 => Md::sha384(),
        HashAlgorithm::Sha512 => Md::sha512(),
    })
    .unwrap();
    match algorithm.scheme {
        Scheme::RsaPkcs1v15 => ctx.set_rsa_padding(Padding::PKCS1).unwrap(),
        Scheme::RsaPss => {
            ctx.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            ctx.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
        }
        Scheme::Ecdsa => {}
    }
    let mut bytes = Vec::new();
    ctx.sign_to_vec(digest, &mut bytes).unwrap();
    let public = PublicKey::from_spki_der(&key.public_key_to_der().unwrap()).unwrap();
    match public.material() {
        KeyMaterial::Ec { curve, .. } => Signature::from_ecdsa_der(&bytes, curve.width_bytes()).unwrap(),
        KeyMaterial::Rsa { .. } => Signature::from_bytes(bytes),
    }
}

const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const P384: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
const EMAIL: &str = "extendedKeyUsage=emailProtection";

fn cms_verify(directory: &Path, message: &str, content: &str, more: &[&str]) -> bool {
    let arguments = ["cms", "-verify", "-binary", "-inform", "DER", "-in", message, "-content", content];
    openssl(directory, &[&arguments[..], &["-out", "/dev/null"], more].concat()).status.success()
}

/// OpenSSL accepts each algorithm and shape, and refuses other content and a foreign root.
#[test]
fn openssl_accepts_every_algorithm_and_refuses_tampering() {
    let schemes: [(&[&str], &[Scheme]); 3] =
        [(RSA, &[Scheme::RsaPkcs1v15, Scheme::RsaPss]), (P256, &[Scheme::Ecdsa]), (P384, &[Scheme::Ecdsa])];
    let time = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    for (key_options, schemes) in schemes {
        let Some(pki) = Pki::new(key_options, EMAIL) else { return };
        std::fs::write(pki.path().join("evil"), b"payloae").unwrap();
        pki.certificate("stranger", None, key_options, "basicConstraints=critical,CA:true");
        for scheme in schemes {
            for hash in HashAlgorithm::ALL {
                for options in [
                    FULL,
                    Options { signing_time: time, ..FULL },
                    Options { signed_attributes: false, ..FULL },
                ] {
                    let algorithm = SignatureAlgorithm { scheme: *scheme, hash };
                    pki.sign(b"payload", algorithm, options);
                    let (dir, root) = (pki.path(), ["-CAfile", "root.pem"]);
                    assert!(cms_verify(dir, "message", "content", &root), "{algorithm} {options:?}");
                    assert!(!cms_verify(dir, "message", "evil", &root), "{algorithm} {options:?}");
                    assert!(!cms_verify(dir, "message", "content", &["-CAfile", "stranger.pem"]));
                }
            }
        }
    }
}

/// The kernel's form: no attributes, no certificates; checked as cryptsetup's users do.
#[test]
fn openssl_smime_accepts_the_kernels_form() {
    for (key_options, scheme) in [(RSA, Scheme::RsaPkcs1v15), (P256, Scheme::Ecdsa)] {
        let Some(pki) = Pki::new(key_options, EMAIL) else { return };
        pki.certificate("stranger", None, key_options, "basicConstraints=critical,CA:true");
        let algorithm = SignatureAlgorithm { scheme, hash: HashAlgorithm::Sha256 };
        pki.sign(b"0123456789abcdef", algorithm, BARE);
        std::fs::write(pki.path().join("evil"), b"0123456789abcdee").unwrap();
        let verify = |content: &str, certificate: &str| {
            let arguments =
                ["smime", "-verify", "-binary", "-inform", "der", "-in", "message", "-content", content];
            let more = ["-certfile", certificate, "-nointern", "-noverify"];
            openssl(pki.path(), &[&arguments[..], &more].concat()).status.success()
        };
        assert!(verify("content", "signer.pem"));
        assert!(!verify("evil", "signer.pem"));
        assert!(!verify("content", "stranger.pem"));
    }
}

/// Messages that OpenSSL makes verify here too: by issuer and by key identifier, all algorithms.
#[test]
fn we_accept_what_openssl_signs_and_refuse_it_when_changed() {
    let cases: [(&[&str], &[&str]); 5] = [
        (RSA, &[]),
        (RSA, &["-noattr", "-nocerts"]),
        (RSA, &["-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:digest"]),
        (RSA, &["-keyid"]),
        (P384, &["-md", "sha512"]),
    ];
    for (key_options, sign_options) in cases {
        let Some(pki) = Pki::new(key_options, EMAIL) else { return };
        std::fs::write(pki.path().join("content"), b"payload").unwrap();
        let sign = ["cms", "-sign", "-binary", "-outform", "DER", "-in", "content", "-out", "message"];
        let signer = ["-signer", "signer.pem", "-inkey", "signer.key", "-md", "sha256"];
        openssl_ok(pki.path(), &[&sign[..], &signer, sign_options].concat());
        let message = Message::parse(&std::fs::read(pki.path().join("message")).unwrap()).unwrap();
        let content = message.hash().digest(b"payload");
        let (public_key, certificate) = (pki.public_key("signer"), pki.der("signer"));
        let known = KnownSigner { public_key: &public_key, certificate: Some(&certificate) };
        assert_eq!(message.verify_by_known(&content, &[known]).unwrap(), 0, "{sign_options:?}");
        let evil = message.hash().digest(b"payloae");
        assert!(message.verify_by_known(&evil, &[known]).is_err(), "{sign_options:?}");
        let other = pki.public_key("mid");
        let stranger = KnownSigner { public_key: &other, certificate: Some(&certificate) };
        assert!(message.verify_by_known(&content, &[stranger]).is_err(), "{sign_options:?}");
    }
}

/// Chains: an intermediate is needed, purpose and dates count, foreign roots do not.
#[test]
fn chains_are_judged_by_anchor_purpose_and_date() {
    let Some(pki) = Pki::new(P256, EMAIL) else { return };
    pki.certificate("stranger", None, P256, "basicConstraints=critical,CA:true");
    let algorithm = SignatureAlgorithm { scheme: Scheme::Ecdsa, hash: HashAlgorithm::Sha256 };
    let content = HashAlgorithm::Sha256.digest(b"payload");
    let full = Message::parse(&pki.sign(b"payload", algorithm, FULL)).unwrap();
    let bare = Message::parse(&pki.sign(b"payload", algorithm, BARE)).unwrap();
    let (root, mid, signer) = (pki.der("root"), pki.der("mid"), pki.der("signer"));
    let now = ChainRules { purpose: Purpose::EmailProtection, at: Some(SystemTime::now()) };
    let later = ChainRules { at: now.at.map(|t| t + Duration::from_secs(20 * 86_400)), ..now };

    let found = full.verify_by_chain(&content, from_ref(&root), &[], now).unwrap();
    assert_eq!(found.certificate, signer);
    full.verify_by_chain(&content, from_ref(&mid), &[], now).expect("an intermediate can be trusted");
    full.verify_by_chain(&content, from_ref(&signer), &[], now).expect("and so can the signer");
    bare.verify_by_chain(&content, from_ref(&signer), &[], now).expect("who need not be in the message");
    full.verify_by_chain(&content, from_ref(&root), &[], ChainRules { at: None, ..later }).unwrap();

    let refused = |message: &Message, anchors: &[Vec<u8>], rules| {
        message.verify_by_chain(&content, anchors, &[], rules).unwrap_err()
    };
    assert!(matches!(refused(&full, from_ref(&root), later), CmsError::Chain(_)), "expired");
    assert!(matches!(refused(&full, &[pki.der("stranger")], now), CmsError::Chain(_)), "foreign root");
    assert!(matches!(refused(&full, &[], now), CmsError::Chain(_)), "nothing trusted");
    assert!(matches!(refused(&bare, from_ref(&root), now), CmsError::UnknownSigner { .. }), "no certificate");
    let code_signing = ChainRules { purpose: Purpose::CodeSigning, ..now };
    assert!(matches!(refused(&full, from_ref(&root), code_signing), CmsError::Chain(_)), "wrong purpose");
    let evil = HashAlgorithm::Sha256.digest(b"payloae");
    let error = full.verify_by_chain(&evil, from_ref(&root), &[], now).unwrap_err();
    assert!(matches!(error, CmsError::Content { .. }), "{error}");
}

/// Certificates for code signing pass as such, and not as S/MIME ones.
#[test]
fn code_signing_certificates_are_told_from_smime_ones() {
    let Some(pki) = Pki::new(P256, "extendedKeyUsage=codeSigning\nkeyUsage=critical,digitalSignature") else {
        return;
    };
    let algorithm = SignatureAlgorithm { scheme: Scheme::Ecdsa, hash: HashAlgorithm::Sha256 };
    let content = HashAlgorithm::Sha256.digest(b"payload");
    let message = Message::parse(&pki.sign(b"payload", algorithm, FULL)).unwrap();
    let rules = ChainRules { purpose: Purpose::CodeSigning, at: None };
    message.verify_by_chain(&content, &[pki.der("root")], &[], rules).unwrap();
    let rules = ChainRules { purpose: Purpose::EmailProtection, ..rules };
    assert!(message.verify_by_chain(&content, &[pki.der("root")], &[], rules).is_err());
}

/// OpenSSL compares certificates byte by byte, and their signatures are over those bytes.
#[test]
fn certificates_go_in_byte_for_byte() {
    let Some(pki) = Pki::new(P256, EMAIL) else { return };
    let algorithm = SignatureAlgorithm { scheme: Scheme::Ecdsa, hash: HashAlgorithm::Sha256 };
    let message = Message::parse(&pki.sign(b"payload", algorithm, FULL)).unwrap();
    let mut expected = vec![pki.der("signer"), pki.der("mid")];
    expected.sort();
    let mut found = message.certificates().to_vec();
    found.sort();
    assert_eq!(found, expected);
    X509::from_der(&found[0]).unwrap();
}
