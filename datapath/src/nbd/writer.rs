//! Sends replies: the only writer of its socket, so that replies never mix.

use std::io::{self, IoSlice};

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::limits::MAX_REPLIES_PER_WRITE;
use super::wire::Head;

/// Shares of the connection's limits that a request holds until its reply is sent.
#[derive(Debug)]
pub(super) struct Permits {
    pub(super) _request: Option<OwnedSemaphorePermit>,
    pub(super) _bytes: Option<OwnedSemaphorePermit>,
}

/// One whole reply.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) head: Head,
    pub(super) body: Bytes,
    pub(super) _permits: Option<Permits>,
}

/// Sends replies until all senders are gone, then gives the socket back.
pub(super) async fn write_replies<W>(
    mut socket: W,
    mut replies: mpsc::Receiver<Reply>,
) -> io::Result<W>
where
    W: AsyncWrite + Unpin,
{
    let mut batch = Vec::with_capacity(MAX_REPLIES_PER_WRITE);
    while replies.recv_many(&mut batch, MAX_REPLIES_PER_WRITE).await > 0 {
        write_batch(&mut socket, &batch).await?;
        batch.clear();
    }
    Ok(socket)
}

async fn write_batch<W>(socket: &mut W, batch: &[Reply]) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    let mut slices = Vec::with_capacity(2 * batch.len());
    for reply in batch {
        slices.push(IoSlice::new(reply.head.as_slice()));
        if !reply.body.is_empty() {
            slices.push(IoSlice::new(&reply.body));
        }
    }
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        let written = socket.write_vectored(left).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut left, written);
    }
    socket.flush().await
}
