//! Numbers and bytes of the NBD protocol. All integers are big endian.

use super::limits::MAX_ERROR_TEXT;

/// First word of the server's greeting: `NBDMAGIC`.
pub const NBD_MAGIC: u64 = 0x4e42_444d_4147_4943;
/// Second word of the greeting and first of every option: `IHAVEOPT`.
pub const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// First word of every reply to an option.
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// First word of every request.
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// First word of a simple reply.
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// First word of a chunk of a structured reply.
pub const CHUNK_MAGIC: u32 = 0x668e_33ef;

/// Handshake flag, both directions: fixed newstyle.
pub const FLAG_FIXED_NEWSTYLE: u16 = 1;
/// Handshake flag, both directions: no padding after the reply to `EXPORT_NAME`.
pub const FLAG_NO_ZEROES: u16 = 2;

/// Options of the handshake.
pub mod opt {
    /// Choose an export; no way to answer with an error.
    pub const EXPORT_NAME: u32 = 1;
    /// End the handshake.
    pub const ABORT: u32 = 2;
    /// List the exports.
    pub const LIST: u32 = 3;
    /// Start TLS.
    pub const STARTTLS: u32 = 5;
    /// Describe an export.
    pub const INFO: u32 = 6;
    /// Describe an export and choose it.
    pub const GO: u32 = 7;
    /// Use structured replies.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// List the metadata contexts of an export.
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Choose the metadata contexts of an export.
    pub const SET_META_CONTEXT: u32 = 10;
}

/// Types of replies to options.
pub mod rep {
    /// Done.
    pub const ACK: u32 = 1;
    /// One export.
    pub const SERVER: u32 = 2;
    /// A piece of information on an export.
    pub const INFO: u32 = 3;
    /// One metadata context.
    pub const META_CONTEXT: u32 = 4;
    /// Unknown option.
    pub const ERR_UNSUP: u32 = 0x8000_0001;
    /// Refused by policy.
    pub const ERR_POLICY: u32 = 0x8000_0002;
    /// Malformed option.
    pub const ERR_INVALID: u32 = 0x8000_0003;
    /// No such export.
    pub const ERR_UNKNOWN: u32 = 0x8000_0006;
    /// Server ends.
    pub const ERR_SHUTDOWN: u32 = 0x8000_0007;
    /// The client must ask for block sizes.
    pub const ERR_BLOCK_SIZE_REQD: u32 = 0x8000_0008;
    /// Option too long.
    pub const ERR_TOO_BIG: u32 = 0x8000_0009;
}

/// Types of information on an export.
pub mod info {
    /// Size and transmission flags.
    pub const EXPORT: u16 = 0;
    /// Canonical name.
    pub const NAME: u16 = 1;
    /// Text for humans.
    pub const DESCRIPTION: u16 = 2;
    /// Block sizes.
    pub const BLOCK_SIZE: u16 = 3;
}

/// Transmission flags: what the chosen export can do.
pub mod tx {
    /// Always set.
    pub const HAS_FLAGS: u16 = 1 << 0;
    /// Refuses changes.
    pub const READ_ONLY: u16 = 1 << 1;
    /// `FLUSH` is there.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// The FUA flag is there.
    pub const SEND_FUA: u16 = 1 << 3;
    /// Seeks cost time.
    pub const ROTATIONAL: u16 = 1 << 4;
    /// `TRIM` is there.
    pub const SEND_TRIM: u16 = 1 << 5;
    /// `WRITE_ZEROES` is there.
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    /// The DF flag is there.
    pub const SEND_DF: u16 = 1 << 7;
    /// Several connections see the same durable state.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    /// The `FAST_ZERO` flag is there.
    pub const SEND_FAST_ZERO: u16 = 1 << 11;
}

/// Commands.
pub mod cmd {
    /// Read.
    pub const READ: u16 = 0;
    /// Write; followed by its payload.
    pub const WRITE: u16 = 1;
    /// Disconnect; has no reply.
    pub const DISC: u16 = 2;
    /// Flush.
    pub const FLUSH: u16 = 3;
    /// Discard.
    pub const TRIM: u16 = 4;
    /// Write zeroes; no payload.
    pub const WRITE_ZEROES: u16 = 6;
    /// Query metadata.
    pub const BLOCK_STATUS: u16 = 7;
}

/// Flags of commands.
pub mod flag {
    /// Force unit access.
    pub const FUA: u16 = 1 << 0;
    /// Zeroes must stay backed by storage.
    pub const NO_HOLE: u16 = 1 << 1;
    /// Do not fragment.
    pub const DF: u16 = 1 << 2;
    /// One extent only.
    pub const REQ_ONE: u16 = 1 << 3;
    /// Fail rather than be slow.
    pub const FAST_ZERO: u16 = 1 << 4;
}

/// Types of chunks.
pub mod chunk {
    /// End without content.
    pub const NONE: u16 = 0;
    /// Data at an offset.
    pub const OFFSET_DATA: u16 = 1;
    /// Extents of one metadata context.
    pub const BLOCK_STATUS: u16 = 5;
    /// Error with text.
    pub const ERROR: u16 = 0x8001;
    /// Flag of a chunk: the last one of its reply.
    pub const DONE: u16 = 1;
}

/// Name of the only metadata context.
pub const BASE_ALLOCATION: &str = "base:allocation";
/// Its number.
pub const BASE_ALLOCATION_ID: u32 = 1;
/// Extent flag of `base:allocation`: not backed by storage.
pub const STATE_HOLE: u32 = 1;
/// Extent flag of `base:allocation`: reads as zeroes.
pub const STATE_ZERO: u32 = 2;

/// The error values that the protocol knows and this server uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Errno {
    /// Change of a read-only export.
    Perm = 1,
    /// Storage failed.
    Io = 5,
    /// Malformed request, or read beyond the end.
    Inval = 22,
    /// Full, or write beyond the end.
    NoSpc = 28,
    /// Server or device ends.
    Shutdown = 108,
}

impl Errno {
    /// Its number on the wire.
    #[must_use]
    pub const fn code(self) -> u32 {
        self as u32
    }
}

/// Length of the greeting.
pub const GREETING_LEN: usize = 18;
/// Length of an option before its data.
pub const OPTION_LEN: usize = 16;
/// Length of a request before its payload.
pub const REQUEST_LEN: usize = 28;

/// The server's first bytes.
#[must_use]
pub fn greeting() -> [u8; GREETING_LEN] {
    let mut out = [0; GREETING_LEN];
    out[..8].copy_from_slice(&NBD_MAGIC.to_be_bytes());
    out[8..16].copy_from_slice(&OPTION_MAGIC.to_be_bytes());
    out[16..].copy_from_slice(&(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES).to_be_bytes());
    out
}

/// Head of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionHead {
    /// Which one, see [`opt`].
    pub option: u32,
    /// Bytes of data that follow.
    pub len: u32,
}

impl OptionHead {
    /// Decodes; `None` if the magic is wrong.
    #[must_use]
    pub fn decode(bytes: &[u8; OPTION_LEN]) -> Option<Self> {
        let mut parser = Parser::new(bytes);
        if parser.u64()? != OPTION_MAGIC {
            return None;
        }
        Some(Self {
            option: parser.u32()?,
            len: parser.u32()?,
        })
    }
}

/// Appends a reply to an option.
pub fn put_option_reply(out: &mut Vec<u8>, option: u32, reply: u32, data: &[u8]) {
    let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&OPTION_REPLY_MAGIC.to_be_bytes());
    out.extend_from_slice(&option.to_be_bytes());
    out.extend_from_slice(&reply.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(data);
}

/// Head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHead {
    /// Flags, see [`flag`].
    pub flags: u16,
    /// Command, see [`cmd`].
    pub command: u16,
    /// The client's name for the request; opaque.
    pub cookie: u64,
    /// First byte concerned.
    pub offset: u64,
    /// Number of bytes concerned; for a write also the length of the payload.
    pub len: u32,
}

impl RequestHead {
    /// Decodes; `None` if the magic is wrong.
    #[must_use]
    pub fn decode(bytes: &[u8; REQUEST_LEN]) -> Option<Self> {
        let mut parser = Parser::new(bytes);
        if parser.u32()? != REQUEST_MAGIC {
            return None;
        }
        Some(Self {
            flags: parser.u16()?,
            command: parser.u16()?,
            cookie: parser.u64()?,
            offset: parser.u64()?,
            len: parser.u32()?,
        })
    }
}

/// Head of a reply: at most the largest fixed part, so that it needs no allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl Head {
    /// Chunk head and offset.
    const MAX: usize = 28;

    fn new(parts: &[&[u8]]) -> Self {
        let mut head = Self {
            bytes: [0; Self::MAX],
            len: 0,
        };
        for part in parts {
            let end = head.len + part.len();
            head.bytes[head.len..end].copy_from_slice(part);
            head.len = end;
        }
        head
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A simple reply; the data of a successful read follows it. `error` 0 means success.
#[must_use]
pub fn simple_reply(cookie: u64, error: u32) -> Head {
    Head::new(&[
        &SIMPLE_REPLY_MAGIC.to_be_bytes(),
        &error.to_be_bytes(),
        &cookie.to_be_bytes(),
    ])
}

fn chunk_head(cookie: u64, kind: u16, len: u32, more: &[u8]) -> Head {
    Head::new(&[
        &CHUNK_MAGIC.to_be_bytes(),
        &chunk::DONE.to_be_bytes(),
        &kind.to_be_bytes(),
        &cookie.to_be_bytes(),
        &len.to_be_bytes(),
        more,
    ])
}

/// The only chunk of a reply without content.
#[must_use]
pub fn none_chunk(cookie: u64) -> Head {
    chunk_head(cookie, chunk::NONE, 0, &[])
}

/// Head of the only chunk of a read of `len` bytes (not 0, at most 4 GiB - 9); the data follows.
#[must_use]
pub fn data_chunk(cookie: u64, offset: u64, len: u32) -> Head {
    let len = len.saturating_add(8);
    chunk_head(cookie, chunk::OFFSET_DATA, len, &offset.to_be_bytes())
}

/// An error chunk, which ends its reply: head and the rest. The text is cut to
/// [`MAX_ERROR_TEXT`] bytes.
#[must_use]
pub fn error_chunk(cookie: u64, errno: Errno, text: &str) -> (Head, Vec<u8>) {
    let text = cut(text).as_bytes();
    let text_len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    let mut rest = Vec::with_capacity(6 + text.len());
    rest.extend_from_slice(&errno.code().to_be_bytes());
    rest.extend_from_slice(&text_len.to_be_bytes());
    rest.extend_from_slice(text);
    let len = 6 + u32::from(text_len);
    (chunk_head(cookie, chunk::ERROR, len, &[]), rest)
}

/// The beginning of a text, at most [`MAX_ERROR_TEXT`] bytes of whole characters.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_ERROR_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A block status chunk of `base:allocation`, which ends its reply: head and the rest.
/// `extents` are lengths and flags, at least one.
#[must_use]
pub fn status_chunk(cookie: u64, extents: &[(u32, u32)]) -> (Head, Vec<u8>) {
    let mut rest = Vec::with_capacity(4 + 8 * extents.len());
    rest.extend_from_slice(&BASE_ALLOCATION_ID.to_be_bytes());
    for (len, flags) in extents {
        rest.extend_from_slice(&len.to_be_bytes());
        rest.extend_from_slice(&flags.to_be_bytes());
    }
    let len = u32::try_from(rest.len()).unwrap_or(u32::MAX);
    (chunk_head(cookie, chunk::BLOCK_STATUS, len, &[]), rest)
}

/// Takes big endian fields off a byte slice; `None` when it is too short.
#[derive(Debug)]
pub struct Parser<'a>(&'a [u8]);

impl<'a> Parser<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all bytes are taken.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    /// Takes 2 bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Takes 4 bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Takes 8 bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
