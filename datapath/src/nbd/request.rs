//! Which requests are carried out, and what a refused one is told. Without IO.

use crate::block::{BlockError, DeviceInfo, Extent};

use super::limits::MAX_EXTENTS;
use super::negotiate::Terms;
use super::wire::{Errno, RequestHead, STATE_HOLE, STATE_ZERO, cmd, flag};

/// A request that may be sent to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Nothing to be done: a request of length 0.
    Nothing,
    /// Read.
    Read {
        /// First byte.
        offset: u64,
        /// Bytes, not 0.
        len: u32,
    },
    /// Write; the payload is still on the socket.
    Write {
        /// First byte.
        offset: u64,
        /// Bytes, not 0.
        len: u32,
        /// Durable before the reply.
        fua: bool,
    },
    /// Flush.
    Flush,
    /// Write zeroes.
    WriteZeroes {
        /// First byte.
        offset: u64,
        /// Bytes, not 0.
        len: u32,
        /// Durable before the reply.
        fua: bool,
        /// Must stay backed by storage.
        no_hole: bool,
    },
    /// Discard.
    Trim {
        /// First byte.
        offset: u64,
        /// Bytes, not 0.
        len: u32,
        /// Durable before the reply.
        fua: bool,
    },
    /// Query extents.
    BlockStatus {
        /// First byte.
        offset: u64,
        /// Bytes, not 0.
        len: u32,
        /// One extent is enough.
        one: bool,
    },
}

/// Why a request failed: what the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Error number.
    pub errno: Errno,
    /// Text for humans; reaches only clients with structured replies.
    pub text: String,
}

impl Failure {
    pub(super) fn new(errno: Errno, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { errno, text }
    }

    /// What a failed device operation is told as.
    #[must_use]
    pub fn from_block(command: u16, error: &BlockError) -> Self {
        let errno = match error {
            BlockError::OutOfRange => beyond(command),
            BlockError::NoSpace => Errno::NoSpc,
            BlockError::ReadOnly => Errno::Perm,
            BlockError::Io(_) => Errno::Io,
            BlockError::ShuttingDown => Errno::Shutdown,
        };
        Self::new(errno, error.to_string())
    }
}

/// Error for a range that ends beyond the device.
const fn beyond(command: u16) -> Errno {
    match command {
        cmd::WRITE | cmd::WRITE_ZEROES => Errno::NoSpc,
        _ => Errno::Inval,
    }
}

/// Checks a request against the device and the terms of the session.
///
/// # Errors
/// What to tell the client. The payload of a refused write is still on the socket.
pub fn check(head: &RequestHead, info: &DeviceInfo, terms: &Terms) -> Result<Op, Failure> {
    let invalid = |text: &str| Err(Failure::new(Errno::Inval, text));
    let RequestHead {
        flags,
        command,
        offset,
        len,
        ..
    } = *head;

    let allowed = flag::FUA
        | match command {
            cmd::READ if terms.structured => flag::DF,
            cmd::READ | cmd::WRITE | cmd::FLUSH | cmd::TRIM => 0,
            cmd::WRITE_ZEROES if info.fast_zero => flag::NO_HOLE | flag::FAST_ZERO,
            cmd::WRITE_ZEROES => flag::NO_HOLE,
            cmd::BLOCK_STATUS => flag::REQ_ONE,
            _ => return invalid(&format!("command {command} is unknown")),
        };
    if flags & !allowed != 0 {
        return invalid(&format!(
            "flags {flags:#x} are not valid for command {command}"
        ));
    }
    let changes = matches!(command, cmd::WRITE | cmd::TRIM | cmd::WRITE_ZEROES);
    if changes && info.read_only {
        return Err(Failure::new(Errno::Perm, "export is read only"));
    }
    if command == cmd::FLUSH {
        if offset != 0 || len != 0 {
            return invalid("flush has neither offset nor length");
        }
        return Ok(Op::Flush);
    }
    if command == cmd::BLOCK_STATUS && !terms.allocation {
        return invalid("no metadata context was chosen");
    }
    if matches!(command, cmd::READ | cmd::WRITE) && len > terms.max_payload {
        return invalid(&format!("longer than {} bytes", terms.max_payload));
    }
    let end = offset.checked_add(u64::from(len));
    if end.is_none_or(|end| end > info.size) {
        let text = format!(
            "{len} bytes at {offset} end beyond the export of {} bytes",
            info.size
        );
        return Err(Failure::new(beyond(command), text));
    }
    let block = info.min_block.max(1);
    if offset % u64::from(block) != 0 || len % block != 0 {
        let text = format!("{len} bytes at {offset} are not in blocks of {block} bytes");
        return invalid(&text);
    }
    if len == 0 {
        if command == cmd::BLOCK_STATUS {
            return invalid("query of no bytes");
        }
        return Ok(Op::Nothing);
    }
    let fua = flags & flag::FUA != 0;
    Ok(match command {
        cmd::READ => Op::Read { offset, len },
        cmd::WRITE => Op::Write { offset, len, fua },
        cmd::TRIM => Op::Trim { offset, len, fua },
        cmd::WRITE_ZEROES => Op::WriteZeroes {
            offset,
            len,
            fua,
            no_hole: flags & flag::NO_HOLE != 0,
        },
        _ => Op::BlockStatus {
            offset,
            len,
            one: flags & flag::REQ_ONE != 0,
        },
    })
}

/// Extents in the form of the wire (length, flags): within the request of `len` bytes, equal
/// neighbours joined, at least one.
#[must_use]
pub fn clip_extents(extents: &[Extent], len: u32, one: bool) -> Vec<(u32, u32)> {
    let limit = if one { 1 } else { MAX_EXTENTS };
    let mut out: Vec<(u32, u32)> = Vec::new();
    let mut left = len;
    for extent in extents {
        let part = u32::try_from(extent.len).unwrap_or(u32::MAX).min(left);
        if part == 0 {
            continue;
        }
        let hole = if extent.hole { STATE_HOLE } else { 0 };
        let zero = if extent.zero { STATE_ZERO } else { 0 };
        let full = out.len() == limit;
        match out.last_mut() {
            Some(last) if last.1 == hole | zero => last.0 += part,
            _ if full => break,
            _ => out.push((part, hole | zero)),
        }
        left -= part;
    }
    if out.is_empty() {
        out.push((len, 0));
    }
    out
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
