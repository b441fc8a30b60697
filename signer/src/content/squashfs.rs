//! squashfs 4.0 file systems.

use super::{
    Kind, Obstacle, Window,
    body::Body,
    guard::guarded,
    limits::WINDOW_BYTES,
    obstacle::one_line,
    walk::{Opened, Walk, member},
};
use crate::format::Source as _;
use backhand::{
    BackhandError, FilesystemCompressor, FilesystemReader, InnerNode, SuperBlock,
    compression::{CompressionAction, Compressor, DefaultCompressor},
    kind::Kind as Flavour,
};
use ruzstd::decoding::FrameDecoder;
use std::{
    io::{BufReader, Read as _},
    rc::Rc,
};

/// Largest block of data; metadata come in 8 KiB.
const MAX_BLOCK_LEN_BYTES: usize = 1 << 20;

pub(super) fn open(walk: &mut Walk<'_>, location: &str, depth: usize, window: &Window) -> Opened {
    let malformed = |detail| Obstacle::Malformed { kind: Kind::Squashfs, detail };
    guarded(|| file_system(walk, location, depth, window)).map_err(malformed)??;
    // `bytes_used`
    if let Ok(used) = window.read_range(40..48, 8)
        && let Ok(used) = used.try_into().map(u64::from_le_bytes)
    {
        walk.behind(location, depth, window, used);
    }
    Ok(())
}

fn file_system(walk: &mut Walk<'_>, location: &str, depth: usize, window: &Window) -> Opened {
    let flavour = Flavour::new_v4(&Decompressor);
    let reader = BufReader::new(window.reader());
    let system = FilesystemReader::from_reader_with_offset_and_kind(reader, 0, flavour).map_err(obstacle)?;
    for node in system.files() {
        if !walk.count() {
            break;
        }
        let InnerNode::File(file) = &node.inner else { continue };
        let location = member(location, &node.fullpath.to_string_lossy());
        let budget = Rc::clone(&walk.budget);
        let mut bytes = budget.metered(system.file(file).reader());
        walk.body(&location, depth, Body::Stream(&mut bytes));
    }
    Ok(())
}

fn obstacle(error: BackhandError) -> Obstacle {
    let kind = Kind::Squashfs;
    match error {
        BackhandError::StdIo(e) => Obstacle::Malformed { kind, detail: one_line(&e.to_string()) },
        BackhandError::UnsupportedCompression(_) | BackhandError::UnsupportedSquashfsVersion(..) => {
            Obstacle::Unsupported { kind, detail: one_line(&error.to_string()) }
        }
        e => Obstacle::Malformed { kind, detail: one_line(&e.to_string()) },
    }
}

/// The library brings C code for xz and zstd; these are in Rust.
#[derive(Clone, Copy)]
struct Decompressor;

impl CompressionAction for Decompressor {
    type Error = BackhandError;
    type Compressor = Compressor;
    type FilesystemCompressor = FilesystemCompressor;
    type SuperBlock = SuperBlock;

    fn decompress(&self, bytes: &[u8], out: &mut Vec<u8>, with: Compressor) -> Result<(), BackhandError> {
        let malformed = |_| BackhandError::CorruptedOrInvalidSquashfs;
        let limit = MAX_BLOCK_LEN_BYTES as u64;
        match with {
            Compressor::Xz => {
                let xz = lzma_rust2::XzReader::new_mem_limit(bytes, false, WINDOW_BYTES / 1024);
                xz.take(limit).read_to_end(out).map_err(|_| BackhandError::CorruptedOrInvalidSquashfs)?;
            }
            Compressor::Lzma => {
                let lzma = lzma_rust2::LzmaReader::new_mem_limit(bytes, WINDOW_BYTES / 1024, None);
                let lzma = lzma.map_err(malformed)?;
                lzma.take(limit).read_to_end(out).map_err(malformed)?;
            }
            Compressor::Zstd => {
                out.resize(MAX_BLOCK_LEN_BYTES, 0);
                let decoded = FrameDecoder::new().decode_all(bytes, out);
                let count = decoded.map_err(|_| BackhandError::CorruptedOrInvalidSquashfs)?;
                out.truncate(count);
            }
            with => DefaultCompressor.decompress(bytes, out, with)?,
        }
        Ok(())
    }

    fn compress(&self, _: &[u8], _: FilesystemCompressor, _: u32) -> Result<Vec<u8>, BackhandError> {
        Err(BackhandError::UnsupportedCompression("hsmsign writes no squashfs".into()))
    }
}
