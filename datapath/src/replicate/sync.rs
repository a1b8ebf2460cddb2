//! The asking side of a sync: sends digests of its disk, writes what differs.

use super::source_task::SourceTask;
use super::wire::{self, ChunkBody, Refused, SyncInfo, SyncTarget, kind};
use crate::limits::{FRAME_LEN_MAX, SYNC_CHUNK_LEN, SYNC_CHUNKS_MAX};
use crate::resource::{Context, Disk, Event, Replica, SyncSlot};
use bytes::{BufMut as _, Bytes, BytesMut};
use mars_datapath_core::overlay::Content;
use mars_datapath_core::version::{LogEnd, LogName};
use mars_gossip_net::{Frame, FrameReceiver, FrameSender};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often progress is made durable and shown.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Requests that are under way at once.
const WINDOW: usize = 4;

/// What a sync says, with the number of its task.
#[derive(Debug)]
pub(crate) struct SyncEvent {
    /// Number of the task.
    pub(crate) task: u64,
    /// What happened.
    pub(crate) what: Synced,
}

/// How a sync goes.
#[derive(Debug)]
pub(crate) enum Synced {
    /// A new copy begins; replay will start at `start`.
    Begun { start: LogEnd, previous: String },
    /// So many bytes from the beginning are equal and durable.
    Progress { synced: u64 },
    /// All is copied and durable; consistent once replay has passed `target`.
    Done { target: LogEnd },
    /// It ended early.
    Lost { reason: String },
}

/// A running sync: from `source`, going on where an earlier task stopped. It has its slot until it is dropped.
pub(crate) fn start_sync(replica: &Replica, source: &str, slot: SyncSlot) -> SourceTask {
    let job = |id| Job {
        context: replica.context.clone(),
        disk: Arc::clone(&replica.disk),
        size: replica.size,
        host: source.to_owned(),
        id,
        done: replica.state.sync.synced,
        begun: replica.sync_goes_on_from(source),
    };
    SourceTask::start(&replica.context, source, |id| {
        let job = job(id);
        async move {
            let events = job.context.events.clone();
            let what = match job.run().await {
                Ok(target) => Synced::Done { target },
                Err(reason) => Synced::Lost { reason },
            };
            let _ = events
                .send(Event::Synced(SyncEvent { task: id, what }))
                .await;
        }
    })
    .with_slot(slot)
}

struct Job {
    context: Context,
    disk: Arc<Disk>,
    size: u64,
    host: String,
    id: u64,
    done: u64,
    begun: bool,
}

impl Job {
    async fn tell(&self, what: Synced) -> Result<(), String> {
        let event = Event::Synced(SyncEvent {
            task: self.id,
            what,
        });
        self.context
            .events
            .send(event)
            .await
            .map_err(|_| "the driver ended".to_owned())
    }

    fn lost(&self, error: impl std::fmt::Display) -> String {
        format!("lost host {}: {error}", self.host)
    }

    async fn run(mut self) -> Result<LogEnd, String> {
        let connection = self
            .context
            .peers
            .connect(&self.host)
            .await
            .map_err(|e| e.to_string())?;
        let limit = u32::try_from(FRAME_LEN_MAX).unwrap_or(u32::MAX);
        let (mut tx, mut rx) = connection.open_bi(limit).await.map_err(|e| self.lost(e))?;
        let ask = wire::Sync {
            resource: self.context.shared.name.as_str().to_owned(),
        };
        tx.send(kind::SYNC, 0, wire::map(&ask))
            .await
            .map_err(|e| self.lost(e))?;
        let info: SyncInfo = self.expect(&mut rx, kind::SYNC_INFO).await?;
        if info.size != self.size {
            return Err(format!(
                "host {} has a device of {} bytes, here it has {}",
                self.host, info.size, self.size
            ));
        }
        if !self.begun {
            self.done = 0;
            let start = log_end(info.segment, &info.origin, info.position)?;
            self.tell(Synced::Begun {
                start,
                previous: info.previous,
            })
            .await?;
        }
        self.copy(&mut tx, &mut rx).await?;
        self.flush().await?;
        tx.send(kind::SYNC_END, 0, Bytes::new())
            .await
            .map_err(|e| self.lost(e))?;
        let target: SyncTarget = self.expect(&mut rx, kind::SYNC_TARGET).await?;
        log_end(target.segment, &target.origin, target.position)
    }

    /// Keeps some digest requests under way and takes the answers.
    async fn copy(&mut self, tx: &mut FrameSender, rx: &mut FrameReceiver) -> Result<(), String> {
        let mut asked = self.done;
        let mut answered = self.done;
        let mut reported = Instant::now();
        let window = (WINDOW * SYNC_CHUNKS_MAX * SYNC_CHUNK_LEN) as u64;
        while answered < self.size {
            while asked < self.size && asked - answered < window {
                let body = self.digests(asked).await?;
                tx.send(kind::DIGESTS, 0, body)
                    .await
                    .map_err(|e| self.lost(e))?;
                asked = (asked + (SYNC_CHUNKS_MAX * SYNC_CHUNK_LEN) as u64).min(self.size);
            }
            let frame = self.next(rx).await?;
            if frame.kind != kind::CHUNK {
                continue;
            }
            let (offset, len, what) = wire::unchunk(frame.body).map_err(|e| self.lost(e))?;
            if offset != answered || len == 0 || u64::from(len) > self.size - offset {
                return Err(self.lost("a chunk came out of order"));
            }
            self.write(offset, len, what).await?;
            answered += u64::from(len);
            if reported.elapsed() >= PROGRESS_INTERVAL {
                self.flush().await?;
                self.tell(Synced::Progress { synced: answered }).await?;
                reported = Instant::now();
            }
        }
        Ok(())
    }

    /// Digests of the chunks from `from` on.
    async fn digests(&self, from: u64) -> Result<Bytes, String> {
        let (disk, size) = (Arc::clone(&self.disk), self.size);
        let made = tokio::task::spawn_blocking(move || {
            let mut body = BytesMut::with_capacity(12 + 32 * SYNC_CHUNKS_MAX);
            body.put_u64_le(from);
            body.put_u32_le(u32::try_from(SYNC_CHUNK_LEN).unwrap_or(u32::MAX));
            let mut at = from;
            for _ in 0..SYNC_CHUNKS_MAX {
                let left = usize::try_from(size - at).unwrap_or(SYNC_CHUNK_LEN);
                let len = left.min(SYNC_CHUNK_LEN);
                if len == 0 {
                    break;
                }
                body.put_slice(blake3::hash(&disk.read(at, len)?).as_bytes());
                at += len as u64;
            }
            Ok::<_, std::io::Error>(body.freeze())
        });
        made.await
            .map_err(|e| e.to_string())?
            .map_err(|e| self.disk_failed("read", &e))
    }

    async fn write(&self, offset: u64, len: u32, what: ChunkBody) -> Result<(), String> {
        let content = match what {
            ChunkBody::Equal => return Ok(()),
            ChunkBody::Zeroes => Content::Zeroes(u64::from(len)),
            ChunkBody::Data(data) => Content::Data(data),
        };
        let disk = Arc::clone(&self.disk);
        let written = tokio::task::spawn_blocking(move || disk.write(offset, &content)).await;
        written
            .map_err(|e| e.to_string())?
            .map_err(|e| self.disk_failed("write to", &e))
    }

    async fn flush(&self) -> Result<(), String> {
        let disk = Arc::clone(&self.disk);
        let flushed = tokio::task::spawn_blocking(move || disk.flush()).await;
        flushed
            .map_err(|e| e.to_string())?
            .map_err(|e| self.disk_failed("flush", &e))
    }

    fn disk_failed(&self, what: &str, error: &std::io::Error) -> String {
        format!("cannot {what} {}: {error}", self.disk.path().display())
    }

    async fn next(&self, rx: &mut FrameReceiver) -> Result<Frame, String> {
        let frame = rx.read_frame().await.map_err(|e| self.lost(e))?;
        let frame = frame.ok_or_else(|| format!("host {} ended the stream", self.host))?;
        if frame.kind == kind::REFUSED {
            let refused: Refused =
                wire::unmap(frame.kind, &frame.body).map_err(|e| self.lost(e))?;
            return Err(format!("host {} refuses: {}", self.host, refused.reason));
        }
        Ok(frame)
    }

    /// The next message of `wanted` kind; others are skipped.
    async fn expect<T: for<'de> serde::Deserialize<'de>>(
        &self,
        rx: &mut FrameReceiver,
        wanted: u8,
    ) -> Result<T, String> {
        loop {
            let frame = self.next(rx).await?;
            if frame.kind == wanted {
                return wire::unmap(wanted, &frame.body).map_err(|e| self.lost(e));
            }
        }
    }
}

fn log_end(number: u64, origin: &str, position: u64) -> Result<LogEnd, String> {
    let origin = origin
        .parse()
        .map_err(|e| format!("bad origin of a log: {e}"))?;
    Ok(LogEnd {
        log: LogName { number, origin },
        position,
    })
}
