//! `OUT.verity.json`: all that a boot script, an initramfs or a FIT needs to open the device.
//!
//! It is not signed by itself. It is trusted where something signed carries it, such as the device tree in a
//! FIT.

use super::{
    BlockSize, Parameters, Tree, VerityError, parse_salt,
    table::{DM_MOD_CREATE_DOES_NOT_COVER, dm_mod_create, dm_table},
};
use crate::crypto::{Digest, HashAlgorithm};
use serde::{Deserialize, Serialize};

/// Where the hash area lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// Behind the data, on the same device.
    Appended,
    /// On a device of its own.
    Separate,
}

/// Version 1 of the description. Sizes and offsets are in bytes unless named otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Version of this schema: 1. Readers refuse others.
    pub version: u32,
    /// The root hash, lower-case hexadecimal.
    pub root_hash: String,
    /// `sha256`, `sha384` or `sha512`.
    pub hash_algorithm: String,
    /// dm-verity's format: 1.
    pub hash_type: u32,
    /// The salt, hexadecimal; empty for none.
    pub salt: String,
    /// The superblock's UUID; `null` without superblock.
    pub uuid: Option<String>,
    /// Whether the hash area begins with a superblock.
    pub superblock: bool,
    /// Size of a data block.
    pub data_block_size_bytes: u64,
    /// Size of a hash block.
    pub hash_block_size_bytes: u64,
    /// Number of data blocks.
    pub data_blocks: u64,
    /// Length of the protected data: the image, padded to whole data blocks.
    pub data_len_bytes: u64,
    /// Length of the image before it was padded.
    pub image_len_bytes: u64,
    /// `appended` or `separate`.
    pub placement: Placement,
    /// Where the hash area begins on the hash device: veritysetup's `--hash-offset`.
    pub hash_offset_bytes: u64,
    /// Where the tree begins on the hash device, in hash blocks: the device-mapper table's hash start.
    pub hash_start_block: u64,
    /// Where the hash area ends on the hash device.
    pub hash_end_bytes: u64,
    /// The root hash's signature.
    pub signature: DescriptionSignature,
    /// Arguments for `veritysetup`, with `DATA_DEVICE`, `NAME`, `HASH_DEVICE` and `SIGNATURE_FILE` to be replaced.
    pub veritysetup_open: Vec<String>,
    /// The device-mapper table, with `DATA_DEVICE` and `HASH_DEVICE` to be replaced; the signature is expected in
    /// the user key `hsmsign:rootfs`.
    pub dm_table: String,
    /// A kernel argument that opens the device without an initramfs, with the same to be replaced.
    pub dm_mod_create: String,
    /// What that argument leaves unprotected, sentences for people.
    pub dm_mod_create_does_not_cover: Vec<String>,
}

/// How the root hash is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptionSignature {
    /// The form: `pkcs7-der`, over the hexadecimal root hash, no signed attributes, no certificates.
    pub format: String,
    /// Such as `rsa-pkcs1-v1_5-sha256`.
    pub algorithm: String,
    /// SubjectPublicKeyInfo SHA-256 of the signer, `sha256:…`.
    pub signer: String,
    /// SHA-256 of the signer's certificate (DER), hexadecimal: the kernel needs that one in a keyring.
    pub certificate_sha256: String,
    /// `dev` or `release`.
    pub mode: String,
}

impl Description {
    /// The only version there is.
    pub const VERSION: u32 = 1;
    /// Longest description that is read.
    pub const MAX_LEN_BYTES: usize = 64 * 1024;

    /// Describes `tree`.
    #[must_use]
    pub fn new(
        tree: &Tree,
        root_hash: &Digest,
        image_len_bytes: u64,
        placement: Placement,
        signature: DescriptionSignature,
    ) -> Self {
        let p = &tree.parameters;
        Self {
            version: Self::VERSION,
            root_hash: root_hash.to_hex(),
            hash_algorithm: p.hash.name().to_owned(),
            hash_type: 1,
            salt: hex::encode(&p.salt),
            uuid: p.uuid.map(|u| u.to_string()),
            superblock: p.uuid.is_some(),
            data_block_size_bytes: p.data_block_size.bytes_u64(),
            hash_block_size_bytes: p.hash_block_size.bytes_u64(),
            data_blocks: tree.data_blocks,
            data_len_bytes: tree.data_len_bytes(),
            image_len_bytes,
            placement,
            hash_offset_bytes: tree.hash_offset_bytes,
            hash_start_block: tree.hash_start_block,
            hash_end_bytes: tree.end_bytes(),
            signature,
            veritysetup_open: veritysetup_open(tree, root_hash),
            dm_table: dm_table(tree, root_hash, Some("hsmsign:rootfs")),
            dm_mod_create: dm_mod_create(tree, root_hash),
            dm_mod_create_does_not_cover: DM_MOD_CREATE_DOES_NOT_COVER.map(str::to_owned).to_vec(),
        }
    }

    /// Describes `tree` as far as that needs no signature: what device trees say of it.
    #[must_use]
    pub fn unsigned(tree: &Tree, root_hash: &Digest, placement: Placement) -> Self {
        let signature = DescriptionSignature {
            format: String::new(),
            algorithm: String::new(),
            signer: String::new(),
            certificate_sha256: String::new(),
            mode: String::new(),
        };
        Self::new(tree, root_hash, tree.data_len_bytes(), placement, signature)
    }

    /// Reads the JSON of one.
    ///
    /// # Errors
    ///
    /// [`VerityError::Description`] if it is not of this version or contradicts itself.
    pub fn parse(json: &[u8]) -> Result<Self, VerityError> {
        let bad = |e: &dyn std::fmt::Display| VerityError::Description(e.to_string());
        if json.len() > Self::MAX_LEN_BYTES {
            return Err(bad(&"longer than 64 KiB"));
        }
        let description: Self = serde_json::from_slice(json).map_err(|e| bad(&e))?;
        if description.version != Self::VERSION {
            return Err(bad(&format_args!("version {} is not 1", description.version)));
        }
        description.tree()?;
        description.root()?;
        Ok(description)
    }

    /// The tree it describes.
    ///
    /// # Errors
    ///
    /// [`VerityError`] if a value is out of range or others do not follow from it.
    pub fn tree(&self) -> Result<Tree, VerityError> {
        let salt = if self.salt.is_empty() { "-" } else { &self.salt };
        let parameters = Parameters {
            hash: self.hash()?,
            data_block_size: BlockSize::new(self.data_block_size_bytes)?,
            hash_block_size: BlockSize::new(self.hash_block_size_bytes)?,
            salt: parse_salt(salt)?,
            uuid: self.uuid.as_deref().map(str::parse).transpose()?,
        };
        let tree = Tree::new(parameters, self.data_blocks, self.hash_offset_bytes)?;
        let same = tree.data_len_bytes() == self.data_len_bytes
            && tree.hash_start_block == self.hash_start_block
            && tree.end_bytes() == self.hash_end_bytes
            && self.superblock == self.uuid.is_some()
            && self.hash_type == 1;
        if same { Ok(tree) } else { Err(VerityError::Description("its values contradict each other".into())) }
    }

    /// The root hash it names.
    ///
    /// # Errors
    ///
    /// [`VerityError::RootHash`] if it is not one.
    pub fn root(&self) -> Result<Digest, VerityError> {
        parse_root_hash(self.hash()?, &self.root_hash)
    }

    fn hash(&self) -> Result<HashAlgorithm, VerityError> {
        HashAlgorithm::from_name(&self.hash_algorithm).ok_or_else(|| {
            VerityError::Description(format!("hash algorithm `{}` is not supported", self.hash_algorithm))
        })
    }
}

/// Reads a root hash: lower-case hexadecimal, as long as `hash` says. The signature is over this very text.
///
/// # Errors
///
/// [`VerityError::RootHash`] for anything else, such as a line feed at the end.
pub fn parse_root_hash(hash: HashAlgorithm, text: &str) -> Result<Digest, VerityError> {
    hex::decode(text)
        .ok()
        .and_then(|bytes| Digest::new(hash, bytes))
        .filter(|digest| digest.to_hex() == text)
        .ok_or_else(|| VerityError::RootHash(text.escape_default().to_string()))
}

fn veritysetup_open(tree: &Tree, root_hash: &Digest) -> Vec<String> {
    let p = &tree.parameters;
    let mut arguments = vec!["open".to_owned(), format!("--hash-offset={}", tree.hash_offset_bytes)];
    if p.uuid.is_none() {
        let salt = if p.salt.is_empty() { "-".to_owned() } else { hex::encode(&p.salt) };
        arguments.extend([
            "--no-superblock".to_owned(),
            format!("--hash={}", p.hash),
            format!("--data-block-size={}", p.data_block_size),
            format!("--hash-block-size={}", p.hash_block_size),
            format!("--data-blocks={}", tree.data_blocks),
            format!("--salt={salt}"),
        ]);
    }
    arguments.push("--root-hash-signature=SIGNATURE_FILE".to_owned());
    arguments.extend(["DATA_DEVICE", "NAME", "HASH_DEVICE"].map(str::to_owned));
    arguments.push(root_hash.to_hex());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::verity::Uuid;
    use proptest::prelude::*;

    fn description(uuid: Option<Uuid>, salt: Vec<u8>) -> Description {
        let parameters = Parameters {
            hash: HashAlgorithm::Sha256,
            data_block_size: BlockSize::DEFAULT,
            hash_block_size: BlockSize::DEFAULT,
            salt,
            uuid,
        };
        let tree = Tree::appended(parameters, 5000).unwrap();
        let signature = DescriptionSignature {
            format: "pkcs7-der".into(),
            algorithm: "ecdsa-sha256".into(),
            signer: "sha256:00".into(),
            certificate_sha256: "00".into(),
            mode: "dev".into(),
        };
        let root = HashAlgorithm::Sha256.digest(b"");
        Description::new(&tree, &root, 5000, Placement::Appended, signature)
    }

    #[test]
    fn it_reads_back() {
        for description in [description(None, vec![]), description(Some(Uuid([1; 16])), vec![2; 3])] {
            let json = serde_json::to_vec(&description).unwrap();
            assert_eq!(Description::parse(&json).unwrap(), description);
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let good = serde_json::to_value(description(None, vec![])).unwrap();
        for (key, value) in [
            ("version", 2.into()),
            ("data_blocks", 3.into()),
            ("data_blocks", 0.into()),
            ("data_blocks", u64::MAX.into()),
            ("hash_end_bytes", 4096.into()),
            ("hash_block_size_bytes", 1000.into()),
            ("superblock", true.into()),
            ("root_hash", "00".into()),
            ("salt", "0".into()),
            ("hash_algorithm", "sha1".into()),
        ] {
            let mut bad: serde_json::Value = good.clone();
            bad[key] = value;
            assert!(Description::parse(bad.to_string().as_bytes()).is_err(), "{key}");
        }
    }

    proptest! {
        #[test]
        fn hostile_json_never_panics(text in ".{0,200}") {
            let _ = Description::parse(text.as_bytes());
        }
    }
}
