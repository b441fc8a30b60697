//! `SignedData` with its certificates undecoded.
//!
//! The `cms` crate decodes certificates and encodes them anew, which changes those with a default value
//! written out (common in the field) and so breaks their signatures. The rest is the crate's.

use super::CmsError;
use cms::{
    cert::IssuerAndSerialNumber,
    content_info::{CmsVersion, ContentInfo},
    signed_data::{DigestAlgorithmIdentifiers, EncapsulatedContentInfo, SignerInfos},
};
use const_oid::db::rfc5911::ID_SIGNED_DATA;
use der::{
    Any, Decode as _, Encode as _, Sequence,
    asn1::{AnyRef, SetOfVec},
};
use x509_cert::Certificate;

/// RFC 5652, section 5.1.
#[derive(Debug, Sequence)]
pub(super) struct SignedData {
    pub(super) version: CmsVersion,
    pub(super) digest_algorithms: DigestAlgorithmIdentifiers,
    pub(super) encap_content_info: EncapsulatedContentInfo,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", constructed = "true", optional = "true")]
    pub(super) certificates: Option<SetOfVec<Any>>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", constructed = "true", optional = "true")]
    pub(super) crls: Option<SetOfVec<Any>>,
    pub(super) signer_infos: SignerInfos,
}

impl SignedData {
    /// Reads a `ContentInfo` that holds one.
    pub(super) fn from_content_info(der: &[u8]) -> Result<Self, CmsError> {
        let info = ContentInfo::from_der(der).map_err(CmsError::der("ContentInfo"))?;
        if info.content_type != ID_SIGNED_DATA {
            return Err(CmsError::NotSignedData(info.content_type));
        }
        info.content.decode_as().map_err(CmsError::der("SignedData"))
    }

    /// Writes a `ContentInfo` that holds it.
    pub(super) fn to_content_info(&self) -> Result<Vec<u8>, CmsError> {
        let encode = || -> der::Result<Vec<u8>> {
            let content = self.to_der()?;
            let content = Any::from(AnyRef::try_from(content.as_slice())?);
            ContentInfo { content_type: ID_SIGNED_DATA, content }.to_der()
        };
        encode().map_err(CmsError::der("SignedData"))
    }
}

/// Names a certificate as RFC 5652, section 10.2.4 does.
pub(super) fn issuer_and_serial(certificate: &[u8]) -> Result<IssuerAndSerialNumber, CmsError> {
    let certificate = Certificate::from_der(certificate).map_err(CmsError::der("certificate"))?;
    let fields = certificate.tbs_certificate;
    Ok(IssuerAndSerialNumber { issuer: fields.issuer, serial_number: fields.serial_number })
}
