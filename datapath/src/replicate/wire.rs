//! Messages of the data stream (`docs/spec/data-stream.md`).

use bytes::{BufMut as _, Bytes, BytesMut};
use mars_datapath_core::format::{HEADER_LENGTH, SegmentHeader};
use serde::{Deserialize, Serialize};

/// Frame kinds.
pub(crate) mod kind {
    pub(crate) const FETCH: u8 = 1;
    pub(crate) const REFUSED: u8 = 2;
    pub(crate) const SEGMENT: u8 = 3;
    pub(crate) const DATA: u8 = 4;
    pub(crate) const DURABLE: u8 = 5;
    pub(crate) const CLOSED: u8 = 6;
    pub(crate) const SYNC: u8 = 7;
    pub(crate) const SYNC_INFO: u8 = 8;
    pub(crate) const DIGESTS: u8 = 9;
    pub(crate) const CHUNK: u8 = 10;
    pub(crate) const SYNC_END: u8 = 11;
    pub(crate) const SYNC_TARGET: u8 = 12;
}

/// Why a request is refused.
pub(crate) mod code {
    pub(crate) const NOT_HERE: u16 = 1;
    pub(crate) const NO_MEMBER: u16 = 2;
    pub(crate) const LOG_GONE: u16 = 3;
    pub(crate) const DIVERGED: u16 = 4;
    pub(crate) const NOT_PRIMARY: u16 = 5;
    pub(crate) const FAILING: u16 = 6;
}

/// Asks for log bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fetch {
    pub(crate) resource: String,
    pub(crate) segment: u64,
    pub(crate) origin: String,
    pub(crate) position: u64,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub(crate) code: u16,
    pub(crate) reason: String,
}

/// The header of the segment whose bytes follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) origin: String,
    #[serde(with = "bin")]
    pub(crate) header: Vec<u8>,
}

/// Asks for a sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sync {
    pub(crate) resource: String,
}

/// Where the log stands as a sync begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SyncInfo {
    pub(crate) size: u64,
    pub(crate) segment: u64,
    pub(crate) origin: String,
    pub(crate) position: u64,
    pub(crate) previous: String,
}

/// From where on a synced disk is consistent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SyncTarget {
    pub(crate) segment: u64,
    pub(crate) origin: String,
    pub(crate) position: u64,
}

impl Segment {
    /// The header, which is all of these bytes: the bytes of the log come in other frames.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn decode_header(&self) -> Result<SegmentHeader, String> {
        let (len, wanted) = (self.header.len(), HEADER_LENGTH);
        if len > wanted {
            return Err(format!("segment header of {len} instead of {wanted} bytes"));
        }
        SegmentHeader::decode(&self.header).map_err(|error| error.to_string())
    }
}

mod bin {
    use mars_meta_api::Bin;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        Bin(bytes.to_vec()).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        Bin::deserialize(d).map(|bin| bin.0)
    }
}

/// A frame's body could not be understood.
#[derive(Debug, thiserror::Error)]
#[error("message of kind {kind} is not understood")]
pub(crate) struct BadMessage {
    pub(crate) kind: u8,
}

/// Encodes a map body. The types of this file cannot fail to encode.
pub(crate) fn map<T: Serialize>(message: &T) -> Bytes {
    rmp_serde::to_vec_named(message)
        .map(Bytes::from)
        .unwrap_or_default()
}

/// Decodes a map body.
pub(crate) fn unmap<T: for<'de> Deserialize<'de>>(kind: u8, body: &[u8]) -> Result<T, BadMessage> {
    rmp_serde::from_slice(body).map_err(|_| BadMessage { kind })
}

/// Splits a little-endian `u64` from the front.
pub(crate) fn take_u64(kind: u8, body: &mut Bytes) -> Result<u64, BadMessage> {
    if body.len() < 8 {
        return Err(BadMessage { kind });
    }
    let front = body.split_to(8);
    front
        .as_ref()
        .try_into()
        .map(u64::from_le_bytes)
        .map_err(|_| BadMessage { kind })
}

/// Splits a little-endian `u32` from the front.
pub(crate) fn take_u32(kind: u8, body: &mut Bytes) -> Result<u32, BadMessage> {
    if body.len() < 4 {
        return Err(BadMessage { kind });
    }
    let front = body.split_to(4);
    front
        .as_ref()
        .try_into()
        .map(u32::from_le_bytes)
        .map_err(|_| BadMessage { kind })
}

/// Body of a Data frame's head, before the log bytes; also of Durable and Closed.
pub(crate) fn position(position: u64) -> Bytes {
    Bytes::copy_from_slice(&position.to_le_bytes())
}

/// What a Chunk frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChunkBody {
    /// The asker has the same bytes.
    Equal,
    /// Only zeroes.
    Zeroes,
    /// These bytes.
    Data(Bytes),
}

/// Body of a Chunk frame for `len` bytes at `offset`.
pub(crate) fn chunk(offset: u64, len: u32, what: &ChunkBody) -> Bytes {
    let data = match what {
        ChunkBody::Data(data) => &data[..],
        ChunkBody::Equal | ChunkBody::Zeroes => &[],
    };
    let mut body = BytesMut::with_capacity(13 + data.len());
    body.put_u64_le(offset);
    body.put_u8(match what {
        ChunkBody::Equal => 0,
        ChunkBody::Zeroes => 1,
        ChunkBody::Data(_) => 2,
    });
    body.put_u32_le(len);
    body.put_slice(data);
    body.freeze()
}

/// Reads a Chunk body: offset, length, content.
pub(crate) fn unchunk(mut body: Bytes) -> Result<(u64, u32, ChunkBody), BadMessage> {
    let bad = || BadMessage { kind: kind::CHUNK };
    let offset = take_u64(kind::CHUNK, &mut body)?;
    if body.is_empty() {
        return Err(bad());
    }
    let what = body.split_to(1)[0];
    let len = take_u32(kind::CHUNK, &mut body)?;
    let content = match what {
        0 if body.is_empty() => ChunkBody::Equal,
        1 if body.is_empty() => ChunkBody::Zeroes,
        2 if body.len() as u64 == u64::from(len) => ChunkBody::Data(body),
        _ => return Err(bad()),
    };
    Ok((offset, len, content))
}

/// Reads the body of a frame as the process does, and writes it again: for tests of hostile bytes. `None`: it is refused, or
/// not of the kinds with a body.
#[doc(hidden)]
#[must_use]
pub fn reread_data_frame(kind: u8, body: &Bytes) -> Option<Bytes> {
    fn again<T: Serialize + for<'de> Deserialize<'de>>(kind: u8, body: &[u8]) -> Option<Bytes> {
        unmap::<T>(kind, body).ok().map(|message| map(&message))
    }
    let mut rest = body.clone();
    match kind {
        kind::FETCH => again::<Fetch>(kind, body),
        kind::REFUSED => again::<Refused>(kind, body),
        kind::SEGMENT => {
            let segment: Segment = unmap(kind, body).ok()?;
            segment.decode_header().ok()?;
            Some(map(&segment))
        }
        kind::SYNC => again::<Sync>(kind, body),
        kind::SYNC_INFO => again::<SyncInfo>(kind, body),
        kind::SYNC_TARGET => again::<SyncTarget>(kind, body),
        kind::DATA | kind::DURABLE | kind::CLOSED => {
            let at = take_u64(kind, &mut rest).ok()?;
            Some([position(at), rest].concat().into())
        }
        kind::DIGESTS => {
            let offset = take_u64(kind, &mut rest).ok()?;
            let len = take_u32(kind, &mut rest).ok()?;
            let len = Bytes::copy_from_slice(&len.to_le_bytes());
            Some([position(offset), len, rest].concat().into())
        }
        kind::CHUNK => {
            let (offset, len, what) = unchunk(rest).ok()?;
            Some(chunk(offset, len, &what))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_read_back_and_damaged_ones_are_refused() {
        for what in [
            ChunkBody::Equal,
            ChunkBody::Zeroes,
            ChunkBody::Data(Bytes::from_static(b"xy")),
        ] {
            let body = chunk(7, 2, &what);
            assert_eq!(unchunk(body.clone()).unwrap(), (7, 2, what));
            for cut in 0..body.len() {
                assert!(unchunk(body.slice(..cut)).is_err(), "cut at {cut}");
            }
        }
        assert_eq!(
            &chunk(1, 2, &ChunkBody::Zeroes)[..],
            [1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0]
        );
    }

    #[test]
    fn a_segment_header_with_stray_bytes_is_refused() {
        let name = |text: &str| text.parse().unwrap();
        let header = SegmentHeader {
            resource: name("mydata"),
            origin: name("hosta"),
            number: 1,
            generation: 7,
            created: mars_lamport::Timestamp::from_nanos(1),
            base_sequence: 0,
            alignment: 512,
            predecessor: None,
        };
        let mut segment = Segment {
            number: 1,
            origin: "hosta".to_owned(),
            header: header.encode().unwrap().to_vec(),
        };
        assert_eq!(segment.decode_header(), Ok(header));
        segment.header.push(0);
        let error = segment.decode_header().unwrap_err();
        assert!(error.contains("4097 instead of 4096"), "{error}");
        segment.header.truncate(4095);
        assert!(segment.decode_header().is_err());
    }

    #[test]
    fn maps_ignore_unknown_fields() {
        #[derive(Serialize)]
        struct Later {
            resource: String,
            colour: u8,
        }
        let later = map(&Later {
            resource: "r".to_owned(),
            colour: 1,
        });
        assert_eq!(
            unmap::<Sync>(kind::SYNC, &later).unwrap(),
            Sync {
                resource: "r".to_owned()
            }
        );
        assert!(unmap::<Sync>(kind::SYNC, b"\xc1").is_err());
    }
}
