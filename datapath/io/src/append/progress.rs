//! How far a vectored write has come.

use std::io;

use bytes::{Buf, Bytes};

use crate::limits::MAX_IOVECS;

/// The rest of a write: what is done has been cut off the front.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) offset: u64,
    rest: std::collections::VecDeque<Bytes>,
}

impl Progress {
    pub(super) fn new(offset: u64, parts: Vec<Bytes>) -> Self {
        Self {
            offset,
            rest: parts.into_iter().filter(|part| !part.is_empty()).collect(),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next buffers to write, at most as many as one call takes.
    pub(super) fn buffers(&self) -> impl Iterator<Item = &Bytes> {
        self.rest.iter().take(MAX_IOVECS)
    }

    /// Counts `written` bytes; an error if there was no progress.
    pub(super) fn advance(&mut self, mut written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.offset = self.offset.saturating_add(written as u64);
        while let Some(part) = self.rest.front_mut() {
            if part.len() > written {
                part.advance(written);
                break;
            }
            written -= part.len();
            self.rest.pop_front();
        }
        Ok(())
    }
}
