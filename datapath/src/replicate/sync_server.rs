//! Serving a sync: the primary compares digests and sends what differs.

use super::ship::{ServeError, refuse, stream};
use super::wire::{self, ChunkBody, SyncInfo, SyncTarget, code, kind};
use crate::block::BlockError;
use crate::limits::{SYNC_CHUNK_LEN, SYNC_CHUNKS_MAX};
use crate::resource::{DeviceView, Shared};
use bytes::Bytes;
use mars_gossip_net::{FrameReceiver, FrameSender};
use std::sync::Arc;

/// Serves one asker from the device, so that every acknowledged write is seen.
pub(super) async fn serve_sync(
    mut tx: FrameSender,
    mut rx: FrameReceiver,
    shared: &Arc<Shared>,
) -> Result<(), ServeError> {
    let Some(device) = shared.device() else {
        return refuse(&mut tx, code::NOT_PRIMARY, "this host is not primary").await;
    };
    let (start, previous) = match device.log_end(true).await {
        Ok(place) => place,
        Err(error) => return refuse(&mut tx, code::FAILING, &error.to_string()).await,
    };
    let info = SyncInfo {
        size: device.size,
        segment: start.log.number,
        origin: start.log.origin.as_str().to_owned(),
        position: start.position,
        previous,
    };
    tx.send(kind::SYNC_INFO, 0, wire::map(&info))
        .await
        .map_err(stream)?;
    while let Some(frame) = rx.read_frame().await.map_err(stream)? {
        let served = match frame.kind {
            kind::DIGESTS => answer_digests(&mut tx, &device, frame.body).await?,
            kind::SYNC_END => answer_end(&mut tx, &device).await?,
            _ => Ok(()),
        };
        if let Err(error) = served {
            return refuse(&mut tx, code::FAILING, &error.to_string()).await;
        }
    }
    Ok(())
}

async fn answer_end(
    tx: &mut FrameSender,
    device: &DeviceView,
) -> Result<Result<(), BlockError>, ServeError> {
    let end = match device.log_end(true).await {
        Ok((end, _)) => end,
        Err(error) => return Ok(Err(error)),
    };
    let target = SyncTarget {
        segment: end.log.number,
        origin: end.log.origin.as_str().to_owned(),
        position: end.position,
    };
    tx.send(kind::SYNC_TARGET, 0, wire::map(&target))
        .await
        .map_err(stream)?;
    Ok(Ok(()))
}

async fn answer_digests(
    tx: &mut FrameSender,
    device: &DeviceView,
    mut body: Bytes,
) -> Result<Result<(), BlockError>, ServeError> {
    let mut offset = wire::take_u64(kind::DIGESTS, &mut body)?;
    let chunk = wire::take_u32(kind::DIGESTS, &mut body)?;
    let size = usize::try_from(chunk).unwrap_or(usize::MAX);
    let count = body.len() / 32;
    if chunk == 0
        || size > SYNC_CHUNK_LEN
        || count > SYNC_CHUNKS_MAX
        || !body.len().is_multiple_of(32)
    {
        return Err(wire::BadMessage {
            kind: kind::DIGESTS,
        }
        .into());
    }
    let mut chunks = Vec::with_capacity(count);
    for theirs in body.chunks_exact(32) {
        let left = device.size.saturating_sub(offset);
        let len = u32::try_from(left).unwrap_or(u32::MAX).min(chunk);
        if len == 0 {
            return Err(wire::BadMessage {
                kind: kind::DIGESTS,
            }
            .into());
        }
        let data = match device.read(offset, len).await {
            Ok(data) => data,
            Err(error) => return Ok(Err(error)),
        };
        let what = if blake3::hash(&data).as_bytes() == theirs {
            ChunkBody::Equal
        } else if data.iter().all(|byte| *byte == 0) {
            ChunkBody::Zeroes
        } else {
            ChunkBody::Data(data)
        };
        chunks.push((offset, len, what));
        offset = offset.saturating_add(u64::from(len));
    }
    // What was read may not be durable here yet: if it vanished with this host, the copy would keep it for ever.
    if let Err(error) = device.log_end(true).await {
        return Ok(Err(error));
    }
    for (offset, len, what) in chunks {
        tx.send(kind::CHUNK, 0, wire::chunk(offset, len, &what))
            .await
            .map_err(stream)?;
    }
    Ok(Ok(()))
}
