//! One client: handshake, then requests until either side ends.

use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::block::{BlockError, BlockTarget, Closing, Exports};

use super::limits::{
    HANDSHAKE_TIMEOUT, LINGER, MAX_BYTES_IN_FLIGHT, MAX_OPTION_DATA, MAX_OPTION_DRAIN,
    MAX_REQUESTS_IN_FLIGHT, PAYLOAD_ALIGN, READ_BUFFER,
};
use super::negotiate::{Negotiation, Next, Session, Terms};
use super::request::{Failure, Op, check, clip_extents};
use super::wire::{
    Errno, OPTION_LEN, OptionHead, REQUEST_LEN, RequestHead, cmd, data_chunk, error_chunk,
    greeting, none_chunk, simple_reply, status_chunk,
};
use super::writer::{Permits, Reply, write_replies};

/// Why a connection ended otherwise than by agreement. Acknowledged requests are done, others
/// may be; the device is no longer open by this connection.
#[derive(Debug, Error)]
pub(super) enum ConnError {
    #[error("client did not finish the handshake in time")]
    HandshakeTimeout,
    #[error("handshake: {0}")]
    Handshake(String),
    #[error("request with wrong magic number")]
    BadMagic,
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
}

/// Serves one client to the end.
pub(super) async fn serve<R, W>(
    reader: R,
    mut writer: W,
    exports: Arc<dyn Exports>,
    mut closing: Closing,
) -> Result<(), ConnError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let mut reader = BufReader::with_capacity(READ_BUFFER, reader);
    let handshake = handshake(&mut reader, &mut writer, exports.as_ref());
    let session = tokio::select! {
        () = closing.closed() => return Ok(()),
        done = timeout(HANDSHAKE_TIMEOUT, handshake) => {
            done.map_err(|_| ConnError::HandshakeTimeout)??
        }
    };
    tracing::debug!(export = session.info.name, terms = ?session.terms, "NBD client attached");

    let (replies, queue) = mpsc::channel(to_usize(MAX_REQUESTS_IN_FLIGHT));
    let mut writer = tokio::spawn(write_replies(writer, queue));
    let shared = Shared {
        requests: Arc::new(Semaphore::new(to_usize(MAX_REQUESTS_IN_FLIGHT))),
        bytes: Arc::new(Semaphore::new(to_usize(MAX_BYTES_IN_FLIGHT))),
        target: Arc::clone(&session.device.target),
        terms: session.terms,
        replies,
    };
    let result = shared.read_requests(&mut reader, &session, closing).await;

    // Whatever is in flight runs to its end; only then the device is let go.
    let Shared {
        requests, replies, ..
    } = shared;
    drop(replies);
    let finish = async {
        let idle = requests.acquire_many(MAX_REQUESTS_IN_FLIGHT).await;
        drop(idle);
        (&mut writer).await
    };
    let written = if let Ok(written) = timeout(LINGER, finish).await {
        written
    } else {
        // The client takes no replies, or the device is slow: nobody waits for these replies.
        writer.abort();
        drop(requests.acquire_many(MAX_REQUESTS_IN_FLIGHT).await);
        writer.await
    };
    drop(session);
    match (result, written) {
        (Ok(()), Ok(Err(error))) => Err(error.into()),
        (result, _) => result,
    }
}

/// Runs the handshake until an export is chosen.
async fn handshake<R, W>(
    reader: &mut R,
    writer: &mut W,
    exports: &dyn Exports,
) -> Result<Box<Session>, ConnError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut negotiation = Negotiation::new();
    writer.write_all(&greeting()).await?;
    negotiation
        .handle_client_flags(reader.read_u32().await?)
        .map_err(ConnError::Handshake)?;
    loop {
        let mut head = [0; OPTION_LEN];
        reader.read_exact(&mut head).await?;
        let head = OptionHead::decode(&head)
            .ok_or_else(|| ConnError::Handshake("option with wrong magic number".to_owned()))?;
        let mut out = Vec::new();
        let next = if head.len > MAX_OPTION_DATA {
            if head.len > MAX_OPTION_DRAIN {
                let text = format!("option {} has {} bytes of data", head.option, head.len);
                return Err(ConnError::Handshake(text));
            }
            drain(reader, head.len).await?;
            negotiation.handle_oversized(head.option, &mut out)
        } else {
            let mut data = vec![0; to_usize(head.len)];
            reader.read_exact(&mut data).await?;
            negotiation.handle_option(head.option, &data, exports, &mut out)
        };
        // A client that aborts need not wait for the answer.
        let sent = writer.write_all(&out).await;
        match next {
            Next::Option => sent?,
            Next::Close(reason) => return Err(ConnError::Handshake(reason)),
            Next::Transmission(session) => {
                sent?;
                return Ok(session);
            }
        }
    }
}

/// What reader and requests of one connection have in common.
struct Shared {
    /// One permit per request that is not yet answered.
    requests: Arc<Semaphore>,
    /// One permit per payload byte of these.
    bytes: Arc<Semaphore>,
    target: Arc<dyn BlockTarget>,
    terms: Terms,
    replies: mpsc::Sender<Reply>,
}

/// Why no further request is read.
#[derive(Clone, Copy)]
enum Stop {
    /// Server or device closes.
    Closing,
    /// Replies cannot be sent any more.
    Unheard,
}

impl Shared {
    /// Reads and starts requests until the client ends or the device closes.
    async fn read_requests<R>(
        &self,
        reader: &mut R,
        session: &Session,
        mut server: Closing,
    ) -> Result<(), ConnError>
    where
        R: AsyncRead + Unpin,
    {
        let mut device = session.device.closing.clone();
        let stop = async {
            tokio::select! {
                () = server.closed() => Stop::Closing,
                () = device.closed() => Stop::Closing,
                () = self.replies.closed() => Stop::Unheard,
            }
        };
        tokio::pin!(stop);
        let mut heads = HeadReader::default();
        loop {
            let head = tokio::select! {
                biased;
                stop = &mut stop => match stop {
                    Stop::Closing => return self.refuse_rest(reader, heads).await,
                    Stop::Unheard => return Ok(()),
                },
                head = heads.next(reader) => head?,
            };
            let Some(head) = head.filter(|head| head.command != cmd::DISC) else {
                return Ok(());
            };
            tokio::select! {
                biased;
                started = self.start(reader, session, head) => started?,
                // In the middle of a payload, or with all permits taken: it is not begun.
                _ = &mut stop => return Ok(()),
            }
        }
    }

    /// Refuses what the client still sends while requests in flight come to their end.
    async fn refuse_rest<R>(&self, reader: &mut R, mut heads: HeadReader) -> Result<(), ConnError>
    where
        R: AsyncRead + Unpin,
    {
        let refuse = async {
            while let Some(head) = heads.next(reader).await? {
                if head.command == cmd::DISC {
                    break;
                }
                if head.command == cmd::WRITE {
                    drain(reader, head.len).await?;
                }
                let failure = Failure::new(Errno::Shutdown, "export is shutting down");
                let reply = encode(&head, self.terms, Err(failure), None);
                if self.replies.send(reply).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        tokio::select! {
            biased;
            _ = timeout(LINGER, self.requests.acquire_many(MAX_REQUESTS_IN_FLIGHT)) => Ok(()),
            refused = refuse => refused,
        }
    }

    /// Takes the payload of a request, if it has one, and starts it.
    async fn start<R>(
        &self,
        reader: &mut R,
        session: &Session,
        head: RequestHead,
    ) -> Result<(), ConnError>
    where
        R: AsyncRead + Unpin,
    {
        let checked = check(&head, &session.info, &self.terms);
        let held = match checked {
            Ok(Op::Read { len, .. } | Op::Write { len, .. }) => len,
            _ => 0,
        };
        let permits = self.admit(held).await;
        let data = match checked {
            Ok(Op::Write { len, .. }) => read_payload(reader, to_usize(len)).await?,
            Err(_) if head.command == cmd::WRITE => {
                drain(reader, head.len).await?;
                Bytes::new()
            }
            _ => Bytes::new(),
        };
        let pending = Pending {
            head,
            terms: self.terms,
            replies: self.replies.clone(),
            permits: Some(permits),
        };
        match checked {
            Err(failure) => pending.finish(Err(failure)).await,
            Ok(Op::Nothing) => pending.finish(Ok(Outcome::Done)).await,
            Ok(op) => {
                let target = Arc::clone(&self.target);
                tokio::spawn(async move {
                    let outcome = execute(target.as_ref(), op, data)
                        .await
                        .map_err(|error| Failure::from_block(head.command, &error));
                    pending.finish(outcome).await;
                });
            }
        }
        Ok(())
    }

    /// Waits until the limits of the connection allow one more request.
    async fn admit(&self, payload: u32) -> Permits {
        // The semaphores are never closed, hence never refuse.
        let request = Arc::clone(&self.requests).acquire_owned().await.ok();
        let bytes = if payload == 0 {
            None
        } else {
            let all = Arc::clone(&self.bytes);
            all.acquire_many_owned(payload).await.ok()
        };
        Permits {
            _request: request,
            _bytes: bytes,
        }
    }
}

/// What a successful request gives.
enum Outcome {
    Done,
    Data(u64, Bytes),
    Extents(Vec<(u32, u32)>),
}

async fn execute(target: &dyn BlockTarget, op: Op, data: Bytes) -> Result<Outcome, BlockError> {
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
struct Pending {
    head: RequestHead,
    terms: Terms,
    replies: mpsc::Sender<Reply>,
    permits: Option<Permits>,
}

impl Pending {
    async fn finish(mut self, outcome: Result<Outcome, Failure>) {
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

fn encode(
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

/// Reads heads of requests; may be cancelled without losing bytes.
#[derive(Default)]
struct HeadReader {
    bytes: [u8; REQUEST_LEN],
    filled: usize,
}

impl HeadReader {
    /// The next head, or `None` at the end of the stream.
    async fn next<R>(&mut self, reader: &mut R) -> Result<Option<RequestHead>, ConnError>
    where
        R: AsyncRead + Unpin,
    {
        while self.filled < REQUEST_LEN {
            let count = reader.read(&mut self.bytes[self.filled..]).await?;
            if count == 0 {
                if self.filled == 0 {
                    return Ok(None);
                }
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.filled += count;
        }
        self.filled = 0;
        let head = RequestHead::decode(&self.bytes).ok_or(ConnError::BadMagic)?;
        Ok(Some(head))
    }
}

async fn read_payload<R>(reader: &mut R, len: usize) -> io::Result<Bytes>
where
    R: AsyncRead + Unpin,
{
    let mut buffer = payload_buffer(len);
    let mut limited = reader.take(u64::try_from(len).unwrap_or(u64::MAX));
    while buffer.len() < len {
        if limited.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.freeze())
}

/// An empty buffer for `len` bytes, aligned if it is long enough for that to matter.
fn payload_buffer(len: usize) -> BytesMut {
    if len < PAYLOAD_ALIGN {
        return BytesMut::with_capacity(len);
    }
    let mut buffer = BytesMut::with_capacity(len + PAYLOAD_ALIGN);
    let pad = buffer.as_ptr().align_offset(PAYLOAD_ALIGN);
    if pad < PAYLOAD_ALIGN {
        buffer.resize(pad, 0);
        buffer.advance(pad);
    }
    buffer
}

/// Reads and forgets `len` bytes.
async fn drain<R>(reader: &mut R, len: u32) -> io::Result<()>
where
    R: AsyncRead + Unpin,
{
    let mut limited = reader.take(u64::from(len));
    let drained = tokio::io::copy(&mut limited, &mut tokio::io::sink()).await?;
    if drained < u64::from(len) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn to_usize(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn long_payloads_are_aligned_and_exact() {
        for len in [1, 4095, 4096, 4097, 1 << 20] {
            let bytes = (0..=255_u8).cycle().take(len + 3).collect::<Vec<_>>();
            let mut reader = bytes.as_slice();
            let payload = read_payload(&mut reader, len).await.unwrap();
            assert_eq!(payload, bytes[..len]);
            assert_eq!(reader.len(), 3);
            if len >= PAYLOAD_ALIGN {
                assert_eq!(payload.as_ptr().align_offset(PAYLOAD_ALIGN), 0);
            }
        }
    }

    #[tokio::test]
    async fn short_payload_is_an_error() {
        let mut reader = [0_u8; 9].as_slice();
        let error = read_payload(&mut reader, 10).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
