//! Carries requests out and sees to it that each gets one reply.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::block::{BlockError, BlockTarget};

use super::negotiate::Terms;
use super::reader::to_usize;
use super::request::{Failure, Op, clip_extents};
use super::wire::{
    Errno, RequestHead, cmd, data_chunk, error_chunk, none_chunk, simple_reply, status_chunk,
};
use super::writer::{Permits, Reply};

/// What a successful request gives.
pub(super) enum Outcome {
    Done,
    Data(u64, Bytes),
    Extents(Vec<(u32, u32)>),
}

/// Carries a request out; `data` is the payload of a write.
pub(super) async fn execute(
    target: &dyn BlockTarget,
    op: Op,
    data: Bytes,
) -> Result<Outcome, BlockError> {
    match op {
        Op::Nothing => {}
        Op::Read { offset, len } => {
            let data = target.read(offset, len).await?;
            if data.len() != to_usize(len) {
                let text = format!("{} bytes instead of {len} at {offset}", data.len());
                return Err(BlockError::Io(text));
            }
            return Ok(Outcome::Data(offset, data));
        }
        Op::Write { offset, fua, .. } => target.write(offset, data, fua).await?,
        Op::Flush => target.flush().await?,
        Op::WriteZeroes {
            offset,
            len,
            fua,
            no_hole,
        } => {
            target
                .write_zeroes(offset, u64::from(len), fua, no_hole)
                .await?;
        }
        Op::Trim { offset, len, fua } => target.trim(offset, u64::from(len), fua).await?,
        Op::BlockStatus { offset, len, one } => {
            let extents = target.block_status(offset, u64::from(len), one).await?;
            return Ok(Outcome::Extents(clip_extents(&extents, len, one)));
        }
    }
    Ok(Outcome::Done)
}

/// A request that owes its client exactly one reply.
pub(super) struct Pending {
    pub(super) head: RequestHead,
    pub(super) terms: Terms,
    pub(super) replies: mpsc::Sender<Reply>,
    pub(super) permits: Option<Permits>,
}

impl Pending {
    /// Sends the reply; waits while the queue of replies is full.
    pub(super) async fn finish(mut self, outcome: Result<Outcome, Failure>) {
        let reply = encode(&self.head, self.terms, outcome, self.permits.take());
        // Without a writer there is nobody to tell.
        let _ = self.replies.send(reply).await;
    }
}

impl Drop for Pending {
    /// A request that vanished (the target panicked) must not leave its client waiting.
    fn drop(&mut self) {
        if let Some(permits) = self.permits.take() {
            tracing::error!(head = ?self.head, "NBD request ended without a result");
            let failure = Failure::new(Errno::Io, "request ended without a result");
            let reply = encode(&self.head, self.terms, Err(failure), Some(permits));
            let _ = self.replies.try_send(reply);
        }
    }
}

/// The reply that tells an outcome.
pub(super) fn encode(
    head: &RequestHead,
    terms: Terms,
    outcome: Result<Outcome, Failure>,
    permits: Option<Permits>,
) -> Reply {
    let cookie = head.cookie;
    let (head, body) = match outcome {
        Ok(Outcome::Done) if terms.structured && head.command == cmd::READ => {
            (none_chunk(cookie), Bytes::new())
        }
        Ok(Outcome::Done) => (simple_reply(cookie, 0), Bytes::new()),
        Ok(Outcome::Data(offset, data)) if terms.structured => {
            (data_chunk(cookie, offset, head.len), data)
        }
        Ok(Outcome::Data(_, data)) => (simple_reply(cookie, 0), data),
        Ok(Outcome::Extents(extents)) => {
            let (head, rest) = status_chunk(cookie, &extents);
            (head, rest.into())
        }
        Err(failure) if terms.structured => {
            let (head, rest) = error_chunk(cookie, failure.errno, &failure.text);
            (head, rest.into())
        }
        Err(failure) => (simple_reply(cookie, failure.errno.code()), Bytes::new()),
    };
    Reply {
        head,
        body,
        _permits: permits,
    }
}
