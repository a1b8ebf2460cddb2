//! One client: handshake, then requests until either side ends.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::block::{Closing, DeviceInfo, Exports, OpenDevice};

use super::execute::{Outcome, Pending, encode, execute};
use super::limits::{
    HANDSHAKE_TIMEOUT, LINGER, MAX_BYTES_IN_FLIGHT, MAX_OPTION_DATA, MAX_OPTION_DRAIN,
    MAX_REQUESTS_IN_FLIGHT, READ_BUFFER,
};
use super::negotiate::{Negotiation, Next, Session, Terms};
use super::reader::{HeadReader, drain, read_payload, to_usize};
use super::request::{Failure, Op, check};
use super::wire::{Errno, OPTION_LEN, OptionHead, RequestHead, cmd, greeting};
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
    let Session {
        device,
        info,
        terms,
    } = *session;
    tracing::debug!(export = info.name, ?terms, "NBD client attached");

    let (replies, queue) = mpsc::channel(to_usize(MAX_REQUESTS_IN_FLIGHT));
    let mut writer = tokio::spawn(write_replies(writer, queue));
    let shared = Shared {
        requests: Arc::new(Semaphore::new(to_usize(MAX_REQUESTS_IN_FLIGHT))),
        bytes: Arc::new(Semaphore::new(to_usize(MAX_BYTES_IN_FLIGHT))),
        device: Arc::new(device),
        info,
        terms,
        replies,
    };
    let result = shared.read_requests(&mut reader, closing).await;

    // Whatever is in flight runs to its end; only then the device is let go, and only then the
    // client sees the end: it may want to open the device elsewhere.
    let requests = Arc::clone(&shared.requests);
    drop(shared);
    let finish = async {
        drop(requests.acquire_many(MAX_REQUESTS_IN_FLIGHT).await);
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
    result?;
    match written {
        Ok(Ok(mut socket)) => drop(socket.shutdown().await),
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => tracing::info!("NBD client took no replies and was cut off"),
    }
    Ok(())
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
    /// Shared with every request, so that the device stays open until the last one is done.
    device: Arc<OpenDevice>,
    info: DeviceInfo,
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
    async fn read_requests<R>(&self, reader: &mut R, mut server: Closing) -> Result<(), ConnError>
    where
        R: AsyncRead + Unpin,
    {
        let mut device = self.device.closing.clone();
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
                started = self.start(reader, head) => started?,
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
    async fn start<R>(&self, reader: &mut R, head: RequestHead) -> Result<(), ConnError>
    where
        R: AsyncRead + Unpin,
    {
        let checked = check(&head, &self.info, &self.terms);
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
                let device = Arc::clone(&self.device);
                tokio::spawn(async move {
                    let outcome = execute(device.target.as_ref(), op, data)
                        .await
                        .map_err(|error| Failure::from_block(head.command, &error));
                    drop(device);
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

#[cfg(test)]
#[path = "conn_tests.rs"]
mod tests;
