//! Compressed files: one thing inside, without a name.

use super::{
    Kind, Obstacle,
    body::{Body, Peeked, rest},
    limits::WINDOW_BYTES,
    walk::{Opened, Walk, member, wrapped},
};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufRead, Read};

pub(super) fn open(
    walk: &mut Walk<'_>,
    location: &str,
    depth: usize,
    kind: Kind,
    mut peeked: Peeked<'_>,
) -> Opened {
    let ended = peeked.read_buffered(|mut reader| {
        let ((), ahead) = unpack(kind, &mut reader, |decoder| decoded(walk, location, depth, decoder))?;
        rest(&mut ahead.chain(reader), |body| walk.body(&member(location, "[behind it]"), depth, body))
    });
    ended.map_err(|e: io::Error| Obstacle::from_io(&e, kind))
}

/// Runs `read` over what `reader` unpacks to. If it reads that to its end, what lies behind what was compressed is what comes
/// with its result, which a decoder read ahead, and then what `reader` still has.
///
/// # Errors
///
/// What `read` says, or that it cannot begin.
pub(crate) fn unpack<T>(
    kind: Kind,
    mut reader: &mut dyn BufRead,
    read: impl FnOnce(&mut dyn Read) -> io::Result<T>,
) -> io::Result<(T, io::Cursor<Vec<u8>>)> {
    let result = match kind {
        Kind::Gzip => read(&mut Members::new(reader, &[0x1f, 0x8b, 0x08], flate2::bufread::GzDecoder::new)),
        Kind::Bzip2 => read(&mut Members::new(reader, b"BZh", bzip2::bufread::BzDecoder::new)),
        Kind::Zstd => read(&mut ZstdFrames::new(reader)),
        Kind::Xz => read(&mut lzma_rust2::XzReader::new_mem_limit(&mut reader, true, WINDOW_BYTES / 1024)),
        Kind::Lz4 => {
            let magic = if reader.fill_buf()?.starts_with(LZ4_MAGIC) { LZ4_MAGIC } else { LZ4_LEGACY_MAGIC };
            read(&mut Members::new(reader, magic, lz4_flex::frame::FrameDecoder::new))
        }
        _ => {
            let mut decoder = lzma_rust2::LzmaReader::new_mem_limit(&mut reader, WINDOW_BYTES / 1024, None)?;
            // A stream of known length may have an end mark as well, which is not behind it.
            decoder.set_relaxed_end_condition(false);
            let result = read(&mut decoder)?;
            return Ok((result, io::Cursor::new(decoder.into_parts().1)));
        }
    };
    Ok((result?, io::Cursor::default()))
}

/// Walks into what `decoder` yields, and reads it to its end, where its checksum is.
fn decoded(walk: &mut Walk<'_>, location: &str, depth: usize, decoder: impl Read) -> io::Result<()> {
    let mut metered = Noted { reader: walk.budget.metered(decoder), error: None };
    walk.body(&wrapped(location), depth, Body::Stream(&mut metered));
    // What the walk inside met at this decoder has been reported there, about what is inside. It is the
    // wrapper that is damaged.
    match metered.error.take() {
        Some(error) => Err(error),
        None if walk.budget.reached().is_some() => Ok(()),
        None => io::copy(&mut metered, &mut io::sink()).map(drop),
    }
}

/// A reader that remembers its error.
struct Noted<R> {
    reader: R,
    error: Option<io::Error>,
}

impl<R: Read> Read for Noted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.error.is_some() {
            return Ok(0);
        }
        match self.reader.read(buffer) {
            // Whoever reads here sees the end; the error is told once, of the wrapper.
            Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                self.error = Some(e);
                Ok(0)
            }
            result => result,
        }
    }
}

/// A decoder of one member that leaves its input where the member ends.
trait Member<R>: Read {
    fn into_inner(self) -> R;
}

impl<R: BufRead> Member<R> for flate2::bufread::GzDecoder<R> {
    fn into_inner(self) -> R {
        Self::into_inner(self)
    }
}

impl<R: BufRead> Member<R> for bzip2::bufread::BzDecoder<R> {
    fn into_inner(self) -> R {
        Self::into_inner(self)
    }
}

impl<R: BufRead> Member<R> for lz4_flex::frame::FrameDecoder<R> {
    fn into_inner(self) -> R {
        Self::into_inner(self)
    }
}

const LZ4_MAGIC: &[u8] = b"\x04\x22\x4d\x18";
const LZ4_LEGACY_MAGIC: &[u8] = b"\x02\x21\x4c\x18";

/// Members behind each other, decoded as if they were one.
struct Members<R, D> {
    magic: &'static [u8],
    make: fn(R) -> D,
    state: State<R, D>,
}

enum State<R, D> {
    Between(R),
    In(D),
    Failed,
}

impl<R: BufRead, D: Member<R>> Members<R, D> {
    fn new(reader: R, magic: &'static [u8], make: fn(R) -> D) -> Self {
        Self { magic, make, state: State::Between(reader) }
    }
}

impl<R: BufRead, D: Member<R>> Read for Members<R, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Failed) {
                State::Between(mut reader) => {
                    if !reader.fill_buf()?.starts_with(self.magic) {
                        self.state = State::Between(reader);
                        return Ok(0);
                    }
                    State::In((self.make)(reader))
                }
                State::In(mut member) => {
                    let count = member.read(buffer)?;
                    if count > 0 {
                        self.state = State::In(member);
                        return Ok(count);
                    }
                    State::Between(member.into_inner())
                }
                State::Failed => return Err(io::ErrorKind::InvalidData.into()),
            };
        }
    }
}

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Fifteen more have another low nibble.
const ZSTD_SKIPPABLE_MAGIC: u32 = 0x184d_2a50;

/// Frames behind each other, decoded as if they were one. The library's own reader stops after the first
/// and compares no checksum.
struct ZstdFrames<R> {
    reader: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdFrames<R> {
    /// The library takes windows of at most 128 MiB, as zstd itself does unless asked.
    fn new(reader: R) -> Self {
        Self { reader, decoder: FrameDecoder::new(), in_frame: false }
    }

    /// Begins the next frame; `false` if there is none.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            let head = self.reader.fill_buf()?;
            if head.starts_with(&ZSTD_MAGIC) {
                self.decoder.reset(&mut self.reader).map_err(other)?;
                self.in_frame = true;
                return Ok(true);
            }
            let skippable = head
                .first_chunk()
                .is_some_and(|magic| u32::from_le_bytes(*magic) & 0xffff_fff0 == ZSTD_SKIPPABLE_MAGIC);
            if !skippable {
                return Ok(false);
            }
            let mut header = [0; 8];
            self.reader.read_exact(&mut header)?;
            let len_bytes = header.last_chunk().map_or(0, |len: &[u8; 4]| u32::from_le_bytes(*len));
            io::copy(&mut self.reader.by_ref().take(len_bytes.into()), &mut io::sink())?;
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.in_frame = false;
        let (stated, is) = (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum());
        match stated {
            Some(stated) if is != Some(stated) => Err(io::Error::other("checksum mismatch")),
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame && !self.begin()? {
                return Ok(0);
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            if self.decoder.is_finished() {
                self.end()?;
            } else {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.reader, one).map_err(other)?;
            }
        }
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}
