//! Judging a bundle, stricter than swupdate does.

use super::{Bundle, DESCRIPTION_NAME, Form, Measured, SIGNATURE_NAME, SwuError};
use crate::{
    crypto::{HashAlgorithm, PublicKey, Scheme, Signature, SignatureAlgorithm},
    format::{
        cms::{ChainRules, CmsError, KnownSigner, Message, Purpose},
        sw_description::{Description, Sha256},
    },
    report::{Report, SignedBy, Verdict},
};
use std::{
    collections::{HashMap, HashSet},
    time::SystemTime,
};

/// A signer that is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Trusted<'a> {
    /// The key.
    pub public_key: &'a PublicKey,
    /// Its certificate, DER. Certificates that lead to it are accepted in CMS, too.
    pub certificate: Option<&'a [u8]>,
    /// Certificates, DER, that help to build the path.
    pub chain: &'a [Vec<u8>],
    /// Where it came from, for people.
    pub origin: &'a str,
}

/// Judges a bundle whose payloads were measured, in the order of `bundle.files`.
///
/// Beyond what swupdate looks at: every entry of every board and software set counts, every member must
/// be named by a signed entry, and checksums must hold. Returns the signature's form, if it holds.
///
/// # Errors
///
/// [`SwuError::Description`] if the description, once its signature was judged, cannot be read.
pub fn verify(
    bundle: &Bundle,
    measured: &[Measured],
    trusted: &[Trusted<'_>],
    at: SystemTime,
    report: &mut Report,
) -> Result<Option<Form>, SwuError> {
    let form = verify_signature(bundle, trusted, at, report);
    let description = Description::parse(&bundle.description)?;
    for (line, text) in description.foreign_placeholders() {
        let place = format!("{DESCRIPTION_NAME}:{line}");
        report.add(place, Verdict::Warn, format!("placeholder `{text}` is not filled in"));
    }
    let members: HashMap<&str, (u64, &Measured)> = bundle
        .files
        .iter()
        .zip(measured)
        .map(|(member, m)| (member.name.as_str(), (member.data.end - member.data.start, m)))
        .collect();
    for artifact in description.artifacts() {
        let (verdict, detail) = match members.get(artifact.filename.as_str()) {
            None => (Verdict::Fail, "it is not in the bundle".to_owned()),
            Some((len_bytes, found)) => match (&artifact.sha256, artifact.size) {
                (Sha256::Digest { digits, .. }, _) if *digits != found.sha256.to_hex() => {
                    (Verdict::Fail, format!("its SHA-256 is {}, signed was {digits}", found.sha256.to_hex()))
                }
                (Sha256::Digest { .. }, Some((size, _))) if size != 0 && size != *len_bytes => {
                    (Verdict::Fail, format!("it has {len_bytes} bytes, signed were {size}"))
                }
                (Sha256::Digest { digits, .. }, _) => (Verdict::Pass, format!("sha256 {digits}")),
                _ => (Verdict::Fail, "no SHA-256 of it was signed".to_owned()),
            },
        };
        let place = format!("{DESCRIPTION_NAME}:{} {}", artifact.line, artifact.filename);
        report.add(place, verdict, detail);
    }
    let named: HashSet<_> = description.artifacts().iter().map(|a| a.filename.as_str()).collect();
    for (member, found) in bundle.files.iter().zip(measured) {
        if !named.contains(member.name.as_str()) {
            report.add(&member.name, Verdict::Fail, "no entry names it, so nothing signs it");
        }
        if member.checksum.is_some_and(|c| c != found.checksum) {
            let written = member.checksum.unwrap_or_default();
            let detail =
                format!("its checksum is {written:08x}, but its bytes sum up to {:08x}", found.checksum);
            report.add(&member.name, Verdict::Fail, detail);
        }
    }
    if description.artifacts().is_empty() {
        report.add(DESCRIPTION_NAME, Verdict::Warn, "it names no files");
    }
    Ok(form)
}

fn verify_signature(
    bundle: &Bundle,
    trusted: &[Trusted<'_>],
    at: SystemTime,
    report: &mut Report,
) -> Option<Form> {
    let Some(signature) = &bundle.signature else {
        report.add(SIGNATURE_NAME, Verdict::Fail, "the bundle is not signed");
        return None;
    };
    // Every DER of a CMS message begins so; of a bare signature, one in 65,536.
    let judged = match Message::parse(signature) {
        Ok(message) => verify_cms(bundle, &message, trusted, at),
        Err(_) if trusted.iter().any(|t| signature.len() == t.public_key.bits().div_ceil(8) as usize) => {
            verify_raw(bundle, signature, trusted)
        }
        Err(e) => Err(e.to_string()),
    };
    match judged {
        Ok(Judged { key, algorithm, form, detail }) => {
            report.add(SIGNATURE_NAME, Verdict::Pass, format!("form {form}, {detail}"));
            report.signed_by.push(SignedBy {
                place: SIGNATURE_NAME.into(),
                fingerprint: key.fingerprint(),
                algorithm: algorithm.to_string(),
            });
            Some(form)
        }
        Err(reason) => {
            report.add(SIGNATURE_NAME, Verdict::Fail, reason);
            None
        }
    }
}

/// A signature that holds.
struct Judged {
    key: PublicKey,
    algorithm: SignatureAlgorithm,
    form: Form,
    detail: String,
}

fn verify_cms(
    bundle: &Bundle,
    message: &Message,
    trusted: &[Trusted<'_>],
    at: SystemTime,
) -> Result<Judged, String> {
    let content = message.hash().digest(&bundle.description);
    let mut reason = "no key is trusted".to_owned();
    for candidate in trusted {
        match verify_cms_by(message, &content, candidate, at) {
            Ok((key, purpose)) => {
                let detail = format!("signed by {}, good for {purpose}", candidate.origin);
                return Ok(Judged { key, algorithm: message.algorithm(), form: Form::Cms, detail });
            }
            Err(e) => reason = e,
        }
    }
    Err(reason)
}

/// The signer's key, and what its certificate is good for.
fn verify_cms_by(
    message: &Message,
    content: &crate::crypto::Digest,
    trusted: &Trusted<'_>,
    at: SystemTime,
) -> Result<(PublicKey, &'static str), String> {
    let anchor = match trusted.certificate {
        Some(certificate) => certificate.to_vec(),
        // A bare key: the certificate in the message that the key signed under is as good.
        None => {
            let known = [KnownSigner { public_key: trusted.public_key, certificate: None }];
            message.verify_by_known(content, &known).map_err(|e| e.to_string())?;
            message.signer_certificate().ok_or("the signer's certificate is not in the message")?.to_vec()
        }
    };
    let judge = |purpose| {
        let rules = ChainRules { purpose, at: Some(at) };
        message.verify_by_chain(content, std::slice::from_ref(&anchor), trusted.chain, rules)
    };
    let by_email = judge(Purpose::EmailProtection).map(|signer| (signer, "emailProtection"));
    let judged = match by_email {
        Err(e @ CmsError::Chain(_)) => {
            let code = judge(Purpose::CodeSigning);
            code.map(|signer| (signer, "codeSigning (swupdate --cert-purpose codeSigning)")).map_err(|_| e)
        }
        other => other,
    };
    let (signer, purpose) = judged.map_err(|e| e.to_string())?;
    if message.signer_certificate() != Some(&signer.certificate) {
        return Err("the signer's certificate is not in the message, where swupdate looks for it".into());
    }
    Ok((signer.public_key, purpose))
}

fn verify_raw(bundle: &Bundle, signature: &[u8], trusted: &[Trusted<'_>]) -> Result<Judged, String> {
    let hash = HashAlgorithm::Sha256;
    let digest = hash.digest(&bundle.description);
    let signature = Signature::from_bytes(signature.to_vec());
    let mut reason = "no key is trusted".to_owned();
    for key in trusted {
        for (form, scheme) in [(Form::Rsa, Scheme::RsaPkcs1v15), (Form::RsaPss, Scheme::RsaPss)] {
            let algorithm = SignatureAlgorithm { scheme, hash };
            match key.public_key.verify(algorithm, &digest, &signature) {
                Ok(()) => {
                    let detail = format!("signed by {}", key.origin);
                    return Ok(Judged { key: key.public_key.clone(), algorithm, form, detail });
                }
                Err(e) => reason = e.to_string(),
            }
        }
    }
    Err(reason)
}
