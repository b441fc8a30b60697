//! The superblock (version 1), and finding the one of a hash area behind an image.

use super::{BlockSize, MAX_SALT_LEN_BYTES, Parameters, Tree, Uuid, VerityError};
use crate::{crypto::HashAlgorithm, format::Source};

/// Its length on disk.
pub const SUPERBLOCK_LEN_BYTES: u64 = 512;

const LEN: usize = 512;
const SIGNATURE: [u8; 8] = *b"verity\0\0";
const VERSION: u32 = 1;
/// Format 1: the salt precedes the data; format 0 is the original Chrome OS one.
const HASH_TYPE: u32 = 1;

/// A superblock: a hash tree's parameters and the number of data blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// What the tree is made with; the UUID is always there.
    pub parameters: Parameters,
    /// How many data blocks it protects.
    pub data_blocks: u64,
}

impl Superblock {
    /// Reads the superblock at `offset_bytes`.
    ///
    /// # Errors
    ///
    /// [`VerityError::NoSuperblock`] if there is none, [`VerityError::Superblock`] if a field holds what
    /// hsmsign does not make and veritysetup does not take.
    pub fn read(source: &dyn Source, offset_bytes: u64) -> Result<Self, VerityError> {
        let mut bytes = [0; LEN];
        let none = VerityError::NoSuperblock(offset_bytes);
        match source.read_at(offset_bytes, &mut bytes) {
            Err(crate::format::ReadError::OutOfRange { .. }) => Err(none),
            Err(e) => Err(e.into()),
            Ok(()) if !bytes.starts_with(&SIGNATURE) => Err(none),
            Ok(()) => Self::from_bytes(&bytes),
        }
    }

    /// Reads the fields behind the signature.
    ///
    /// # Errors
    ///
    /// [`VerityError::Superblock`] for a value that is not supported.
    pub fn from_bytes(bytes: &[u8; LEN]) -> Result<Self, VerityError> {
        let refuse = |field, value: String| Err(VerityError::Superblock { field, value });
        let mut reader = Fields(bytes);
        if reader.take::<8>() != SIGNATURE {
            return Err(VerityError::NoSuperblock(0));
        }
        let version = u32::from_le_bytes(reader.take());
        if version != VERSION {
            return refuse("version", version.to_string());
        }
        let hash_type = u32::from_le_bytes(reader.take());
        if hash_type != HASH_TYPE {
            return refuse("hash type", hash_type.to_string());
        }
        let uuid = Uuid(reader.take());
        let algorithm = reader.take::<32>();
        let name = algorithm.split(|b| *b == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let Some(hash) = HashAlgorithm::from_name(&name) else {
            return refuse("hash algorithm", format!("`{}`", name.escape_default()));
        };
        let data_block_size = BlockSize::new(u32::from_le_bytes(reader.take()).into())?;
        let hash_block_size = BlockSize::new(u32::from_le_bytes(reader.take()).into())?;
        let data_blocks = u64::from_le_bytes(reader.take());
        let salt_len_bytes = usize::from(u16::from_le_bytes(reader.take()));
        let _padding: [u8; 6] = reader.take();
        let salt = reader.take::<MAX_SALT_LEN_BYTES>();
        let Some(salt) = salt.get(..salt_len_bytes) else {
            return refuse("salt length", salt_len_bytes.to_string());
        };
        let salt = salt.to_vec();
        let parameters = Parameters { hash, data_block_size, hash_block_size, salt, uuid: Some(uuid) };
        Ok(Self { parameters, data_blocks })
    }

    /// Its bytes, all unused ones zero.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let p = &self.parameters;
        let uuid = p.uuid.unwrap_or(Uuid([0; 16]));
        let padded = |bytes: &[u8], len: usize| {
            let mut field = bytes.to_vec();
            field.resize(len, 0);
            field
        };
        let salt_len_bytes = u16::try_from(p.salt.len()).unwrap_or(0);
        let fields = [
            SIGNATURE.to_vec(),
            VERSION.to_le_bytes().to_vec(),
            HASH_TYPE.to_le_bytes().to_vec(),
            uuid.0.to_vec(),
            padded(p.hash.name().as_bytes(), 32),
            p.data_block_size.bytes().to_le_bytes().to_vec(),
            p.hash_block_size.bytes().to_le_bytes().to_vec(),
            self.data_blocks.to_le_bytes().to_vec(),
            padded(&salt_len_bytes.to_le_bytes(), 8),
            padded(&p.salt, MAX_SALT_LEN_BYTES),
        ];
        let mut bytes = [0; LEN];
        for (place, byte) in bytes.iter_mut().zip(fields.concat()) {
            *place = byte;
        }
        bytes
    }
}

/// Takes fields from the front; what is past the end reads as zeros.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}

/// Finds a hash area with superblock behind the data in `source`, which must end where the tree does.
///
/// Nothing in a file says where its data ends. But the file's length as a function of the number of data
/// blocks rises steadily for each choice of block sizes and digest, so there are few candidate places, and
/// the right one holds a superblock that says the same.
///
/// # Errors
///
/// [`VerityError::Read`] if the file cannot be read; no hash area is `None`.
pub fn find_appended(source: &dyn Source) -> Result<Option<Tree>, VerityError> {
    let len_bytes = source.len_bytes();
    for data_block_size in BlockSize::all() {
        for hash_block_size in BlockSize::all() {
            if !len_bytes.is_multiple_of(hash_block_size.bytes_u64()) {
                continue;
            }
            // SHA-384 digests take as much room as SHA-512's.
            for hash in [HashAlgorithm::Sha256, HashAlgorithm::Sha512] {
                let uuid = Some(Uuid([0; 16]));
                let guess = Parameters { hash, data_block_size, hash_block_size, salt: Vec::new(), uuid };
                let Some(guess) = appended_of_len(&guess, len_bytes) else { continue };
                let Ok(found) = Superblock::read(source, guess.hash_offset_bytes) else { continue };
                // Several sizes share a place if data blocks are smaller than hash blocks: ask the superblock.
                let data_len_bytes = found.data_blocks.saturating_mul(data_block_size.bytes_u64());
                let tree = Tree::appended(found.parameters, data_len_bytes);
                if let Ok(tree) = tree
                    && tree.parameters.data_block_size == data_block_size
                    && tree.hash_offset_bytes == guess.hash_offset_bytes
                    && tree.end_bytes() == len_bytes
                {
                    return Ok(Some(tree));
                }
            }
        }
    }
    Ok(None)
}

/// The appended tree whose end is at `len_bytes`, by bisection over the number of data blocks.
fn appended_of_len(parameters: &Parameters, len_bytes: u64) -> Option<Tree> {
    let block_bytes = parameters.data_block_size.bytes_u64();
    let tree = |blocks: u64| Tree::appended(parameters.clone(), blocks.checked_mul(block_bytes)?).ok();
    let (mut low, mut high) = (1, len_bytes / block_bytes);
    while low < high {
        let middle = low + (high - low) / 2;
        if tree(middle)?.end_bytes() < len_bytes { low = middle + 1 } else { high = middle }
    }
    tree(low).filter(|t| t.end_bytes() == len_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hash_areas_of_all_sizes_are_found() {
        for (data, hash, blocks) in [(512, 512, 1), (512, 4096, 77), (4096, 512, 129), (4096, 4096, 5000)] {
            let parameters = Parameters {
                hash: HashAlgorithm::Sha384,
                data_block_size: BlockSize::new(data).unwrap(),
                hash_block_size: BlockSize::new(hash).unwrap(),
                salt: vec![7; 9],
                uuid: Some(Uuid([3; 16])),
            };
            let tree = Tree::appended(parameters.clone(), blocks * data).unwrap();
            let mut bytes = vec![0; usize::try_from(tree.end_bytes()).unwrap()];
            let offset = usize::try_from(tree.hash_offset_bytes).unwrap();
            let superblock = Superblock { parameters, data_blocks: blocks };
            bytes[offset..offset + 512].copy_from_slice(&superblock.to_bytes());
            assert_eq!(find_appended(&bytes).unwrap(), Some(tree));
            bytes.push(0);
            assert_eq!(find_appended(&bytes).unwrap(), None, "with a byte behind it");
        }
    }

    proptest! {
        #[test]
        fn hostile_superblocks_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 512..2000)) {
            bytes[..16].copy_from_slice(b"verity\0\0\x01\0\0\0\x01\0\0\0");
            bytes[32..64].copy_from_slice(b"sha256\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
            bytes[64..72].copy_from_slice(b"\0\x10\0\0\0\x10\0\0");
            if let Ok(superblock) = Superblock::read(&bytes, 0) {
                let _ = Tree::new(superblock.parameters, superblock.data_blocks, 0);
            }
            let _ = find_appended(&bytes);
        }

        #[test]
        fn superblocks_read_back(uuid: [u8; 16], data_blocks: u64, salt in proptest::collection::vec(any::<u8>(), 0..=256), size in 9u32..=19) {
            let size = BlockSize::new(1 << size).unwrap();
            let parameters = Parameters {
                hash: HashAlgorithm::Sha512, data_block_size: size, hash_block_size: BlockSize::DEFAULT, salt, uuid: Some(Uuid(uuid)),
            };
            let superblock = Superblock { parameters, data_blocks };
            prop_assert_eq!(Superblock::from_bytes(&superblock.to_bytes()).unwrap(), superblock);
        }
    }
}
