//! Fetching a log: a task that asks a source for everything behind a place and hands it to the driver.

use super::source_task::SourceTask;
use super::wire::{self, Refused, Segment, kind};
use crate::limits::{FETCH_BYTES_MAX, FRAME_LEN_MAX};
use crate::resource::{Context, Event};
use bytes::Bytes;
use mars_datapath_core::format::SegmentHeader;
use mars_datapath_core::version::LogEnd;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// What a fetch brings, with the number of its task: the driver ignores what an ended task still sends.
#[derive(Debug)]
pub(crate) struct FetchEvent {
    /// Number of the task.
    pub(crate) task: u64,
    /// What came.
    pub(crate) what: Fetched,
}

/// See the message kinds of the data stream.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// The source answers.
    Connected,
    /// Bytes of this segment follow.
    Segment {
        number: u64,
        header: SegmentHeader,
        bytes: Bytes,
    },
    /// Durable log bytes; the permit bounds what waits.
    Data {
        number: u64,
        position: u64,
        bytes: Bytes,
        permit: OwnedSemaphorePermit,
    },
    /// Final length of the segment.
    Closed { number: u64, position: u64 },
    /// The source refuses.
    Refused { code: u16, reason: String },
    /// The connection ended.
    Lost { reason: String },
}

/// A running fetch: asks `source` for everything behind `from`.
pub(crate) fn start_fetch(context: &Context, source: &str, from: LogEnd) -> SourceTask {
    let (own, host) = (context.clone(), source.to_owned());
    SourceTask::start(context, source, |id| async move {
        let end = fetch(&own, id, &host, &from).await;
        let what = match end {
            Ok(refused) => Fetched::Refused {
                code: refused.code,
                reason: refused.reason,
            },
            Err(reason) => Fetched::Lost { reason },
        };
        let _ = send(&own.events, id, what).await;
    })
}

async fn send(events: &mpsc::Sender<Event>, task: u64, what: Fetched) -> Result<(), String> {
    let gone = |_| "the driver ended".to_owned();
    events
        .send(Event::Fetched(FetchEvent { task, what }))
        .await
        .map_err(gone)
}

/// Runs until the source refuses (`Ok`) or the connection ends (`Err`).
async fn fetch(context: &Context, id: u64, host: &str, from: &LogEnd) -> Result<Refused, String> {
    let connection = context
        .peers
        .connect(host)
        .await
        .map_err(|error| error.to_string())?;
    let limit = u32::try_from(FRAME_LEN_MAX).unwrap_or(u32::MAX);
    let lost = |error: &dyn std::fmt::Display| format!("lost host {host}: {error}");
    let (mut tx, mut rx) = connection.open_bi(limit).await.map_err(|e| lost(&e))?;
    let ask = wire::Fetch {
        resource: context.shared.name.as_str().to_owned(),
        segment: from.log.number,
        origin: from.log.origin.as_str().to_owned(),
        position: from.position,
    };
    tx.send(kind::FETCH, 0, wire::map(&ask))
        .await
        .map_err(|e| lost(&e))?;
    let room = Arc::new(Semaphore::new(FETCH_BYTES_MAX));
    let mut number = from.log.number;
    let mut connected = false;
    loop {
        let frame = rx.read_frame().await.map_err(|e| lost(&e))?;
        let Some(frame) = frame else {
            return Err(format!("host {host} ended the stream"));
        };
        let mut body = frame.body;
        let bad = |e: wire::BadMessage| format!("host {host}: {e}");
        let what = match frame.kind {
            kind::REFUSED => return wire::unmap(frame.kind, &body).map_err(bad),
            kind::SEGMENT => {
                let segment: Segment = wire::unmap(frame.kind, &body).map_err(bad)?;
                let header = segment
                    .decode_header()
                    .map_err(|error| format!("host {host} sent a bad segment header: {error}"))?;
                if header.number != segment.number || header.resource != context.shared.name {
                    return Err(format!("host {host} sent the header of another log"));
                }
                number = segment.number;
                Fetched::Segment {
                    number,
                    header,
                    bytes: Bytes::from(segment.header),
                }
            }
            kind::DATA => {
                let position = wire::take_u64(frame.kind, &mut body).map_err(bad)?;
                let bytes = u32::try_from(body.len().min(FETCH_BYTES_MAX))
                    .unwrap_or(1)
                    .max(1);
                let permit = Arc::clone(&room).acquire_many_owned(bytes).await;
                let permit = permit.map_err(|_| "the driver ended".to_owned())?;
                Fetched::Data {
                    number,
                    position,
                    bytes: body,
                    permit,
                }
            }
            kind::CLOSED => {
                let position = wire::take_u64(frame.kind, &mut body).map_err(bad)?;
                Fetched::Closed { number, position }
            }
            // Durable only says that nothing more is there; kinds of later versions are skipped.
            _ => continue,
        };
        if !connected {
            connected = true;
            send(&context.events, id, Fetched::Connected).await?;
        }
        send(&context.events, id, what).await?;
    }
}
