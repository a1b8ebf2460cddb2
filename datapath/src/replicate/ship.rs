//! Serving other data planes: one task per stream.

use super::sync_server::serve_sync;
use super::wire::{self, Fetch, Refused, Segment, code, kind};
use crate::limits::{DATA_LEN_MAX, FRAME_LEN_MAX, STREAMS_SERVED_MAX};
use crate::replicate::Peers;
use crate::resource::{Registry, Shared};
use crate::segments::{ChainLink, read_log};
use bytes::{BufMut as _, Bytes, BytesMut};
use mars_datapath_core::LogPos;
use mars_gossip_net::{CloseCode, Connection, Endpoint, FrameReceiver, FrameSender};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Why serving a stream ended before its end. The asker will come again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The stream.
    #[error("the stream ended: {0}")]
    Stream(String),
    /// A log file.
    #[error("cannot read the log: {0}")]
    Log(String),
    /// A message was not understood.
    #[error(transparent)]
    Message(#[from] wire::BadMessage),
}

/// A stream's error in either direction.
pub(super) fn stream(error: impl std::fmt::Display) -> ServeError {
    ServeError::Stream(error.to_string())
}

/// Accepts connections until the endpoint closes.
pub(crate) async fn serve(endpoint: Endpoint, registry: Arc<Registry>, peers: Arc<Peers>) {
    let room = Arc::new(Semaphore::new(STREAMS_SERVED_MAX));
    while let Some(connection) = endpoint.accept().await {
        let (registry, peers, room) =
            (Arc::clone(&registry), Arc::clone(&peers), Arc::clone(&room));
        tokio::spawn(serve_connection(connection, registry, peers, room));
    }
}

async fn serve_connection(
    connection: Connection,
    registry: Arc<Registry>,
    peers: Arc<Peers>,
    room: Arc<Semaphore>,
) {
    let Some(peer) = connection.peer().map(|peer| peer.name.clone()) else {
        connection.close(CloseCode::NotAllowed, "a certificate is needed");
        return;
    };
    let limit = u32::try_from(FRAME_LEN_MAX).unwrap_or(u32::MAX);
    while let Ok((tx, rx)) = connection.accept_bi(limit).await {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let (registry, peers, peer) = (Arc::clone(&registry), Arc::clone(&peers), peer.clone());
        tokio::spawn(async move {
            if let Err(error) = serve_stream(tx, rx, &registry, &peers, &peer, permit).await {
                tracing::debug!(peer, %error, "a data stream ended");
            }
        });
    }
}

async fn serve_stream(
    mut tx: FrameSender,
    mut rx: FrameReceiver,
    registry: &Registry,
    peers: &Peers,
    peer: &str,
    _permit: OwnedSemaphorePermit,
) -> Result<(), ServeError> {
    let Some(frame) = rx.read_frame().await.map_err(stream)? else {
        return Ok(());
    };
    let name = match frame.kind {
        kind::FETCH => wire::unmap::<Fetch>(frame.kind, &frame.body)?.resource,
        kind::SYNC => wire::unmap::<wire::Sync>(frame.kind, &frame.body)?.resource,
        other => return Err(wire::BadMessage { kind: other }.into()),
    };
    if !peers.is_member(&name, peer) {
        let reason =
            format!("host {peer} is no storage member of resource {name} as far as is known here");
        return refuse(&mut tx, code::NO_MEMBER, &reason).await;
    }
    let Some(shared) = registry
        .get(&name)
        .filter(|shared| shared.status().attached)
    else {
        return refuse(
            &mut tx,
            code::NOT_HERE,
            &format!("resource {name} is not attached here"),
        )
        .await;
    };
    if frame.kind == kind::SYNC {
        return serve_sync(tx, rx, &shared).await;
    }
    let ask: Fetch = wire::unmap(frame.kind, &frame.body)?;
    serve_fetch(&mut tx, &shared, &ask).await
}

/// Sends a refusal and ends the stream.
pub(super) async fn refuse(
    tx: &mut FrameSender,
    code: u16,
    reason: &str,
) -> Result<(), ServeError> {
    let body = wire::map(&Refused {
        code,
        reason: reason.to_owned(),
    });
    tx.send(kind::REFUSED, 0, body).await.map_err(stream)?;
    tx.finish().map_err(stream)
}

/// Why the chain does not serve a place.
fn check(link: Option<&ChainLink>, shared: &Shared, ask: &Fetch) -> Result<(), (u16, String)> {
    let Some(link) = link else {
        let oldest = shared.chain.oldest();
        let gone = oldest.is_some_and(|oldest| ask.segment < oldest);
        let text = format!("log {} is not here", ask.segment);
        return Err(if gone {
            (code::LOG_GONE, text)
        } else {
            (code::NOT_HERE, text)
        });
    };
    if link.name.origin.as_str() != ask.origin {
        let text = format!(
            "here log {} was written by {}, there by {}",
            ask.segment, link.name.origin, ask.origin
        );
        return Err((code::DIVERGED, text));
    }
    if link.end.is_some_and(|end| ask.position > end) {
        let text = format!(
            "{} ends at {} here, there it goes to {}",
            link.name,
            link.end.unwrap_or(0),
            ask.position
        );
        return Err((code::DIVERGED, text));
    }
    if ask.position < link.first {
        return Err((
            code::LOG_GONE,
            format!("{} begins at {} here", link.name, link.first),
        ));
    }
    Ok(())
}

async fn serve_fetch(
    tx: &mut FrameSender,
    shared: &Arc<Shared>,
    ask: &Fetch,
) -> Result<(), ServeError> {
    let mut changes = shared.chain.subscribe();
    let mut link = shared.chain.link(ask.segment);
    if let Err((code, reason)) = check(link.as_ref(), shared, ask) {
        return refuse(tx, code, &reason).await;
    }
    let mut position = ask.position;
    while let Some(current) = link.take() {
        let number = current.name.number;
        let head = Segment {
            number,
            origin: current.name.origin.as_str().to_owned(),
            header: current.header.to_vec(),
        };
        tx.send(kind::SEGMENT, 0, wire::map(&head))
            .await
            .map_err(stream)?;
        let (file, _) = shared
            .dir
            .load(&current.name)
            .map_err(|e| ServeError::Log(e.to_string()))?;
        let file = Arc::new(file);
        let mut told = None;
        loop {
            changes.borrow_and_update();
            let Some(now) = shared.chain.link(number) else {
                // Detached, or removed because all have replayed it: only the latter is for good.
                let (code, what) = if shared.status().attached {
                    (code::LOG_GONE, "was removed")
                } else {
                    (code::NOT_HERE, "is detached")
                };
                return refuse(tx, code, &format!("{} {what} here", current.name)).await;
            };
            let durable = shared.chain.durable();
            let end = now.end.unwrap_or(if durable.segment == number {
                durable.position
            } else {
                0
            });
            while position < end {
                position = send_data(tx, &file, position, end).await?;
            }
            if now.end.is_some() && position >= end {
                tx.send(kind::CLOSED, 0, wire::position(end))
                    .await
                    .map_err(stream)?;
                break;
            }
            if told != Some(position) {
                tx.send(kind::DURABLE, 0, wire::position(position))
                    .await
                    .map_err(stream)?;
                told = Some(position);
            }
            tokio::select! {
                changed = changes.changed() => changed.map_err(stream)?,
                stopped = tx.stopped() => { stopped.map_err(stream)?; return Ok(()) }
            }
        }
        link = next_link(tx, shared, &mut changes, LogPos::new(number, position)).await?;
        position = 0;
    }
    Ok(())
}

/// The segment that follows a closed one, once there is one; `None` if the asker went away or was refused.
async fn next_link(
    tx: &mut FrameSender,
    shared: &Shared,
    changes: &mut tokio::sync::watch::Receiver<LogPos>,
    end: LogPos,
) -> Result<Option<ChainLink>, ServeError> {
    loop {
        changes.borrow_and_update();
        if let Some(next) = shared.chain.next(end.segment) {
            if next.predecessor == Some(end) {
                return Ok(Some(next));
            }
            let reason = format!(
                "{} does not follow log {}: there is a hole in the log",
                next.name, end.segment
            );
            refuse(tx, code::LOG_GONE, &reason).await?;
            return Ok(None);
        }
        tokio::select! {
            changed = changes.changed() => changed.map_err(stream)?,
            stopped = tx.stopped() => { stopped.map_err(stream)?; return Ok(None) }
        }
    }
}

async fn send_data(
    tx: &mut FrameSender,
    file: &Arc<std::fs::File>,
    position: u64,
    end: u64,
) -> Result<u64, ServeError> {
    let len = usize::try_from(end - position)
        .unwrap_or(DATA_LEN_MAX)
        .min(DATA_LEN_MAX);
    let reader = Arc::clone(file);
    let bytes: Bytes = tokio::task::spawn_blocking(move || read_log(&reader, position, len))
        .await
        .map_err(|e| ServeError::Log(e.to_string()))?
        .map_err(|e| ServeError::Log(e.to_string()))?;
    if bytes.is_empty() {
        return Err(ServeError::Log(
            "the file is shorter than its durable end".to_owned(),
        ));
    }
    let mut body = BytesMut::with_capacity(8 + bytes.len());
    body.put_u64_le(position);
    body.put_slice(&bytes);
    tx.send(kind::DATA, 0, body.freeze())
        .await
        .map_err(stream)?;
    Ok(position + bytes.len() as u64)
}
