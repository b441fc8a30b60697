//! Putting a bundle together: what goes in, and where.

use super::{DESCRIPTION_NAME, Measured, Payload, SIGNATURE_NAME, SwuError};
use crate::format::{
    cpio::{Layout, NewMember, Sum},
    sw_description::{Description, File},
};
use std::collections::{HashMap, HashSet};

/// A bundle to be made: a description and the files it names, checked against each other.
#[derive(Debug)]
pub struct Plan {
    description: Description,
    /// Names and lengths, in the order of the bundle.
    files: Vec<(String, u64)>,
}

impl Plan {
    /// Checks that `description` and `payloads` fit together; payloads are not read.
    ///
    /// # Errors
    ///
    /// [`SwuError::Twice`] for two files of one name, [`SwuError::Unreferenced`] for one that the
    /// description does not name, [`SwuError::Description`] for one it names that is not there, and
    /// [`SwuError::Cpio`] for one that a bundle cannot hold.
    pub fn new(description: Description, payloads: &[Payload<'_>]) -> Result<Self, SwuError> {
        let files: Vec<_> = payloads.iter().map(|p| (p.name.clone(), p.len_bytes())).collect();
        let mut names = HashSet::from([DESCRIPTION_NAME, SIGNATURE_NAME]);
        if let Some((name, _)) = files.iter().find(|(name, _)| !names.insert(name)) {
            return Err(SwuError::Twice(name.clone()));
        }
        let plan = Self { description, files };
        // An image that cannot be held is told before it is hashed for minutes.
        plan.layout(0, 0)?;
        plan.description.check(&|name| plan.len_bytes(name))?;
        let named: HashSet<_> = plan.description.artifacts().iter().map(|a| a.filename.as_str()).collect();
        match plan.files.iter().find(|(name, _)| !named.contains(name.as_str())) {
            Some((name, _)) => Err(SwuError::Unreferenced(name.clone())),
            None => Ok(plan),
        }
    }

    /// The length in bytes that the description will have.
    ///
    /// # Errors
    ///
    /// None that [`new`](Self::new) has not found.
    pub fn description_len_bytes(&self) -> Result<usize, SwuError> {
        Ok(self.description.filled_len_bytes(&|name| self.len_bytes(name))?)
    }

    /// Where everything stands: member 0 is the description, 1 its signature, the payloads follow.
    ///
    /// # Errors
    ///
    /// [`SwuError::Cpio`] for a file that a bundle cannot hold.
    pub fn layout(
        &self,
        description_len_bytes: usize,
        signature_len_bytes: usize,
    ) -> Result<Layout, SwuError> {
        let member = |name: &str, len_bytes| NewMember { name: name.to_owned(), len_bytes };
        let mut members = vec![
            member(DESCRIPTION_NAME, description_len_bytes as u64),
            member(SIGNATURE_NAME, signature_len_bytes as u64),
        ];
        members.extend(self.files.iter().map(|(name, len_bytes)| member(name, *len_bytes)));
        Ok(Layout::new(&members)?)
    }

    /// The description with every hash in place. `measured` are the payloads, in their order.
    ///
    /// # Errors
    ///
    /// [`SwuError::Description`] for a hash that is not the file's.
    pub fn fill(&self, measured: &[Measured]) -> Result<String, SwuError> {
        let files: HashMap<&str, File> = self
            .files
            .iter()
            .zip(measured)
            .map(|((name, len_bytes), m)| {
                (name.as_str(), File { len_bytes: *len_bytes, sha256: m.sha256.clone() })
            })
            .collect();
        Ok(self.description.fill(&|name| files.get(name).cloned())?)
    }

    /// Everything of the bundle but the payloads: pieces with their offsets, without overlap.
    ///
    /// # Errors
    ///
    /// As for [`layout`](Self::layout).
    pub fn frame(
        &self,
        description: &str,
        signature: &[u8],
        measured: &[Measured],
    ) -> Result<Vec<(u64, Vec<u8>)>, SwuError> {
        let layout = self.layout(description.len(), signature.len())?;
        let sum = |bytes: &[u8]| {
            let mut sum = Sum::default();
            sum.update(bytes);
            sum.value()
        };
        let mut checksums = vec![sum(description.as_bytes()), sum(signature)];
        checksums.extend(measured.iter().map(|m| m.checksum));
        let mut pieces = layout.frame(&checksums);
        let small = [description.as_bytes(), signature];
        pieces.extend(
            small
                .iter()
                .enumerate()
                .filter_map(|(index, bytes)| Some((layout.data_offset(index)?, bytes.to_vec()))),
        );
        Ok(pieces)
    }

    fn len_bytes(&self, name: &str) -> Option<u64> {
        self.files.iter().find(|(n, _)| n == name).map(|(_, len_bytes)| *len_bytes)
    }
}
