//! Certificates of release keys: validity, key, chain, purpose.

use super::Refusal;
use crate::{
    crypto::{Fingerprint, PublicKey},
    vocabulary::Role,
};
use const_oid::db::rfc5280::{ID_KP_CODE_SIGNING, ID_KP_EMAIL_PROTECTION};
use der::{Decode as _, Encode as _};
use openssl::{
    error::ErrorStack,
    stack::Stack,
    x509::{
        X509, X509StoreContext,
        store::X509StoreBuilder,
        verify::{X509VerifyFlags, X509VerifyParam},
    },
};
use x509_cert::{
    Certificate,
    ext::pkix::{ExtendedKeyUsage, KeyUsage},
};

/// A key's certificate and what leads from it towards a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// The key's own, DER.
    pub certificate: Vec<u8>,
    /// Intermediates, DER, nearest the key first. The last one counts as the anchor: the key itself
    /// is pinned, so the chain has only to hold together.
    pub chain: Vec<Vec<u8>>,
}

const RENEW: &str = "have the certificate renewed for the same key: `hsmsign keys csr` makes the request";
const OTHER: &str = "give the certificate of the pinned key in hsmsign.yaml";
const CHAIN: &str = "`chain:` lists the intermediates, the one that issued the certificate first";
const PURPOSE: &str = "have it issued with extended key usage emailProtection or codeSigning";

impl Certificates {
    /// Whether the certificate is `key`'s, valid at `now` (seconds since 1970), chained, and made for
    /// signing; with `update_purpose` also in the way swupdate demands.
    pub(super) fn judge(
        &self,
        role: Role,
        update_purpose: bool,
        key: &PublicKey,
        now: i64,
    ) -> Result<(), Refusal> {
        let refuse = |which: &str, reason: String, hint| Refusal::Certificate {
            role,
            which: which.into(),
            reason,
            hint,
        };
        let leaf = "the certificate";
        let certificate =
            Certificate::from_der(&self.certificate).map_err(|e| refuse(leaf, malformed(&e), OTHER))?;
        check_validity(&certificate, now).map_err(|reason| refuse(leaf, reason, RENEW))?;
        let certified = certificate
            .tbs_certificate
            .subject_public_key_info
            .to_der()
            .ok()
            .and_then(|der| PublicKey::from_spki_der(&der).ok());
        if certified.as_ref() != Some(key) {
            let of = certified.map_or("a key hsmsign cannot use".into(), |k| k.fingerprint());
            return Err(refuse(leaf, format!("is for another key ({of})"), OTHER));
        }
        check_usage(&certificate, update_purpose).map_err(|reason| refuse(leaf, reason, PURPOSE))?;
        for (number, der) in self.chain.iter().enumerate() {
            let which = format!("certificate {} of the chain", number + 1);
            let parsed = Certificate::from_der(der).map_err(|e| refuse(&which, malformed(&e), CHAIN))?;
            check_validity(&parsed, now).map_err(|reason| refuse(&which, reason, RENEW))?;
        }
        let verified = self.verify_chain(now).unwrap_or_else(|e| Err(format!("cannot be checked: {e}")));
        verified.map_err(|reason| refuse("the certificate's chain", reason, CHAIN))
    }

    /// The keys of the chain's certificates. One that is malformed is refused by [`judge`](Self::judge).
    pub(super) fn chain_fingerprints(&self) -> Vec<Fingerprint> {
        let spki = |der: &Vec<u8>| {
            Certificate::from_der(der).ok()?.tbs_certificate.subject_public_key_info.to_der().ok()
        };
        self.chain.iter().filter_map(spki).map(|der| Fingerprint::of_bytes(&der)).collect()
    }

    /// Lets OpenSSL build and check the path; the outer error is a failure to ask.
    fn verify_chain(&self, now: i64) -> Result<Result<(), String>, ErrorStack> {
        let leaf = X509::from_der(&self.certificate)?;
        let chain = self.chain.iter().map(|der| X509::from_der(der)).collect::<Result<Vec<_>, _>>()?;
        let anchor = match chain.last() {
            Some(last) => last.clone(),
            None if leaf.issuer_name().try_cmp(leaf.subject_name())?.is_eq() => leaf.clone(),
            // Issued by a root that is not given: nothing here to check it with.
            None => return Ok(Ok(())),
        };
        // An error, too, means that it is not its own: another algorithm, for one.
        if anchor == leaf && !leaf.public_key().and_then(|k| leaf.verify(&k)).unwrap_or(false) {
            return Ok(Err("does not hold: the certificate's own signature is wrong".into()));
        }
        let mut store = X509StoreBuilder::new()?;
        store.add_cert(anchor)?;
        let mut param = X509VerifyParam::new()?;
        param.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        param.set_time(now);
        store.set_param(&param)?;
        let mut untrusted = Stack::new()?;
        for certificate in chain {
            untrusted.push(certificate)?;
        }
        let mut context = X509StoreContext::new()?;
        let (verified, error) =
            context.init(&store.build(), &leaf, &untrusted, |c| Ok((c.verify_cert()?, c.error())))?;
        Ok(if verified { Ok(()) } else { Err(format!("does not hold: {}", error.error_string())) })
    }
}

fn malformed(error: &der::Error) -> String {
    format!("is malformed: {error}")
}

fn check_validity(certificate: &Certificate, now: i64) -> Result<(), String> {
    let validity = &certificate.tbs_certificate.validity;
    let seconds =
        |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    if now < seconds(validity.not_before) {
        return Err(format!("is not valid before {}", validity.not_before));
    }
    if now > seconds(validity.not_after) {
        return Err(format!("expired at {}", validity.not_after));
    }
    Ok(())
}

fn check_usage(certificate: &Certificate, update_purpose: bool) -> Result<(), String> {
    let tbs = &certificate.tbs_certificate;
    let usage = tbs.get::<KeyUsage>().map_err(|e| malformed(&e))?;
    if usage.is_some_and(|(_, usage)| !usage.digital_signature()) {
        return Err("has a key usage without digitalSignature".into());
    }
    if !update_purpose {
        return Ok(());
    }
    // anyExtendedKeyUsage is not enough: OpenSSL's S/MIME purpose, which swupdate asks for, ignores it.
    let accepted = [ID_KP_EMAIL_PROTECTION, ID_KP_CODE_SIGNING];
    match tbs.get::<ExtendedKeyUsage>().map_err(|e| malformed(&e))? {
        Some((_, usage)) if usage.0.iter().any(|oid| accepted.contains(oid)) => Ok(()),
        Some(_) => Err("has an extended key usage without emailProtection and codeSigning".into()),
        None => Err("has no extended key usage".into()),
    }
}
