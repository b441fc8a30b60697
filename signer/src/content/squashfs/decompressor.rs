//! Unpacks blocks, and no more of each than a block may hold.

use crate::content::limits::WINDOW_BYTES;
use backhand::{
    BackhandError, FilesystemCompressor, SuperBlock,
    compression::{CompressionAction, Compressor, DefaultCompressor},
};
use flate2::read::ZlibDecoder;
use ruzstd::decoding::FrameDecoder;
use std::io::Read;

/// Most that a block of metadata holds.
pub(super) const MAX_METADATA_LEN_BYTES: usize = 8 << 10;
/// Most that a block of data holds.
const MAX_BLOCK_LEN_BYTES: usize = 1 << 20;

/// The library brings C code for xz and zstd, and unpacks gzip without a limit; these are in Rust, and have one.
#[derive(Clone, Copy)]
pub(super) struct Decompressor;

impl CompressionAction for Decompressor {
    type Error = BackhandError;
    type Compressor = Compressor;
    type FilesystemCompressor = FilesystemCompressor;
    type SuperBlock = SuperBlock;

    fn decompress(&self, bytes: &[u8], out: &mut Vec<u8>, with: Compressor) -> Result<(), BackhandError> {
        // The library gives room for one block.
        let limit = out.capacity().clamp(MAX_METADATA_LEN_BYTES, MAX_BLOCK_LEN_BYTES);
        match with {
            Compressor::Gzip => read(ZlibDecoder::new(bytes), out, limit),
            Compressor::Xz => {
                read(lzma_rust2::XzReader::new_mem_limit(bytes, false, WINDOW_BYTES / 1024), out, limit)
            }
            Compressor::Lzma => {
                let lzma = lzma_rust2::LzmaReader::new_mem_limit(bytes, WINDOW_BYTES / 1024, None);
                read(lzma.map_err(|_| BackhandError::CorruptedOrInvalidSquashfs)?, out, limit)
            }
            Compressor::Zstd => {
                out.resize(limit, 0);
                let decoded = FrameDecoder::new().decode_all(bytes, out);
                let count = decoded.map_err(|_| BackhandError::CorruptedOrInvalidSquashfs)?;
                out.truncate(count);
                Ok(())
            }
            with => DefaultCompressor.decompress(bytes, out, with),
        }
    }

    fn compress(&self, _: &[u8], _: FilesystemCompressor, _: u32) -> Result<Vec<u8>, BackhandError> {
        Err(BackhandError::UnsupportedCompression("hsmsign writes no squashfs".into()))
    }
}

fn read(decoder: impl Read, out: &mut Vec<u8>, limit: usize) -> Result<(), BackhandError> {
    let count = decoder.take(limit as u64 + 1).read_to_end(out);
    match count {
        Ok(count) if count <= limit => Ok(()),
        Ok(_) | Err(_) => Err(BackhandError::CorruptedOrInvalidSquashfs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_block_unpacks_to_no_more_than_a_block() {
        for (len, fits) in
            [(MAX_METADATA_LEN_BYTES, true), (MAX_METADATA_LEN_BYTES + 1, false), (50 << 20, false)]
        {
            let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(&vec![0; len]).unwrap();
            let packed = packed.finish().unwrap();
            let mut out = Vec::with_capacity(MAX_METADATA_LEN_BYTES);
            let unpacked = Decompressor.decompress(&packed, &mut out, Compressor::Gzip);
            assert_eq!(unpacked.is_ok(), fits, "{len}");
            assert!(out.len() <= MAX_METADATA_LEN_BYTES + 1);
        }
    }
}
