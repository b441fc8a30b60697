//! What people want to know of a certificate.

use der::Decode as _;
use serde::Serialize;
use x509_cert::Certificate;

/// What people want to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct CertificateInfo {
    /// Distinguished name of the holder (RFC 4514).
    pub(super) subject: String,
    /// Distinguished name of the issuer.
    pub(super) issuer: String,
    /// First moment of validity, RFC 3339.
    pub(super) not_before: String,
    /// Last moment of validity, RFC 3339.
    pub(super) not_after: String,
}

impl CertificateInfo {
    /// Reads DER; `None` if it is malformed, which opening the key reports.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let tbs = Certificate::from_der(der).ok()?.tbs_certificate;
        Some(Self {
            subject: tbs.subject.to_string(),
            issuer: tbs.issuer.to_string(),
            not_before: tbs.validity.not_before.to_date_time().to_string(),
            not_after: tbs.validity.not_after.to_date_time().to_string(),
        })
    }
}

impl std::fmt::Display for CertificateInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let day = |time: &str| time.split('T').next().unwrap_or_default().to_owned();
        write!(f, "{}, {} to {}", self.subject, day(&self.not_before), day(&self.not_after))
    }
}

/// The first moment of validity; `None` if it is malformed.
pub(super) fn begins(der: &[u8]) -> Option<std::time::SystemTime> {
    Some(Certificate::from_der(der).ok()?.tbs_certificate.validity.not_before.to_system_time())
}
