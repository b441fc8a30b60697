//! Reading a bundle: the small members, and where the payloads are.

use super::{DESCRIPTION_NAME, Payload, SIGNATURE_NAME, SwuError};
use crate::format::{
    Source,
    cpio::{self, Member, Sum},
    sw_description,
};

/// Longest signature that is read; CMS with some twenty certificates.
const MAX_SIGNATURE_LEN_BYTES: usize = 64 * 1024;

/// A bundle's directory and its small members. Nothing in it is trusted.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// `sw-description`.
    pub description: Vec<u8>,
    /// `sw-description.sig`, if the bundle is signed.
    pub signature: Option<Vec<u8>>,
    /// The other members.
    pub files: Vec<Member>,
}

impl Bundle {
    /// Reads all but the payloads.
    ///
    /// # Errors
    ///
    /// [`SwuError`] if it is no archive that swupdate takes, if `sw-description` is not first or its
    /// signature not second, or if one of these two is damaged.
    pub fn read(source: &dyn Source) -> Result<Self, SwuError> {
        let mut members = cpio::read(source)?.into_iter().peekable();
        let order = |wanted, place, found| SwuError::Order { wanted, place, found };
        let description = match members.next() {
            Some(m) if m.name == DESCRIPTION_NAME => small(source, &m, sw_description::MAX_LEN_BYTES)?,
            other => return Err(order(DESCRIPTION_NAME, 1, other.map(|m| m.name))),
        };
        let signature = match members.next_if(|m| m.name == SIGNATURE_NAME) {
            Some(member) => Some(small(source, &member, MAX_SIGNATURE_LEN_BYTES)?),
            None => None,
        };
        let second = members.peek().map(|m| m.name.clone());
        let files: Vec<_> = members.collect();
        // Names are unique, so this one can stand here only instead of second.
        if files.iter().any(|m| m.name == SIGNATURE_NAME) {
            return Err(order(SIGNATURE_NAME, 2, second));
        }
        Ok(Self { description, signature, files })
    }

    /// The other members as payloads, for [`measure`](super::measure()).
    pub fn payloads<'a>(&'a self, source: &'a dyn Source) -> Vec<Payload<'a>> {
        let payload = |m: &Member| Payload {
            name: m.name.clone(),
            source,
            range: m.data.clone(),
            checksum: m.checksum,
        };
        self.files.iter().map(payload).collect()
    }
}

fn small(source: &dyn Source, member: &Member, limit_bytes: usize) -> Result<Vec<u8>, SwuError> {
    let bytes = source.read_range(member.data.clone(), limit_bytes)?;
    let mut sum = Sum::default();
    sum.update(&bytes);
    let name = member.name.clone();
    match member.checksum {
        Some(written) if written != sum.value() => {
            Err(SwuError::Damaged { name, written, actual: sum.value() })
        }
        _ => Ok(bytes),
    }
}
