//! Compression of payloads.

use super::lzo::{LzoError, decompress};
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

/// How the payload of a record is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    /// Raw LZO1X stream.
    Lzo,
    /// Raw LZ4 block.
    Lz4,
    /// Deflate with the wrapping of zlib.
    Zlib,
}

/// Why a payload could not be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// More than one kind of compression is flagged.
    #[error("flags {0:#06x} name more than one compression")]
    Flags(u16),
    /// No LZO stream of the announced length.
    #[error("LZO: {0}")]
    Lzo(#[from] LzoError),
    /// No LZ4 block of the announced length.
    #[error("no LZ4 block of the announced length")]
    Lz4,
    /// No zlib stream of the announced length.
    #[error("no zlib stream of the announced length")]
    Zlib,
}

impl Compression {
    const ALL: [Self; 3] = [Self::Lzo, Self::Lz4, Self::Zlib];

    /// Its bit in the check flags.
    #[must_use]
    pub const fn flag(self) -> u16 {
        match self {
            Self::Lzo => 0x0100,
            Self::Lz4 => 0x0200,
            Self::Zlib => 0x0400,
        }
    }

    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lzo => "lzo",
            Self::Lz4 => "lz4",
            Self::Zlib => "zlib",
        }
    }

    /// The kind that is flagged, if any.
    pub(super) fn of_flags(flags: u16) -> Result<Option<Self>, UnpackError> {
        let mut flagged = (Self::ALL.into_iter()).filter(|kind| flags & kind.flag() != 0);
        match (flagged.next(), flagged.next()) {
            (kind, None) => Ok(kind),
            (_, Some(_)) => Err(UnpackError::Flags(flags)),
        }
    }

    /// Unpacks to exactly `length` bytes.
    pub(super) fn unpack(self, stored: &[u8], length: usize) -> Result<Vec<u8>, UnpackError> {
        match self {
            Self::Lzo => Ok(decompress(stored, length)?),
            Self::Lz4 => {
                let mut out = vec![0; length];
                match lz4_flex::block::decompress_into(stored, &mut out) {
                    Ok(written) if written == length => Ok(out),
                    _ => Err(UnpackError::Lz4),
                }
            }
            Self::Zlib => {
                let mut out = vec![0; length];
                let mut stream = Decompress::new(true);
                let status = stream.decompress(stored, &mut out, FlushDecompress::Finish);
                let whole = u64::try_from(length) == Ok(stream.total_out());
                match status {
                    Ok(Status::StreamEnd) if whole => Ok(out),
                    _ => Err(UnpackError::Zlib),
                }
            }
        }
    }
}

/// An LZ4 block of `payload`, if it has at most `room` bytes.
pub(super) fn pack_lz4(payload: &[u8], room: usize) -> Option<Vec<u8>> {
    let packed = lz4_flex::block::compress(payload);
    (packed.len() <= room).then_some(packed)
}

/// A zlib stream of `payload`, if it has at most `room` bytes.
pub(super) fn pack_zlib(payload: &[u8], room: usize) -> Option<Vec<u8>> {
    const LEVEL: u32 = 3;
    let mut out = vec![0; room];
    let mut stream = Compress::new(flate2::Compression::new(LEVEL), true);
    let status = stream.compress(payload, &mut out, FlushCompress::Finish);
    let length = usize::try_from(stream.total_out()).ok()?;
    out.truncate(length);
    matches!(status, Ok(Status::StreamEnd)).then_some(out)
}
