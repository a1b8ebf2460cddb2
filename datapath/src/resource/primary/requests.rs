//! Requests of front ends: into the logger, or straight from the disk.

use super::super::device::{DeviceRequest, EndReply, Reply};
use super::super::storage::Disk;
use super::Primary;
use crate::block::BlockError;
use crate::limits::DIRTY_BYTES_MAX;
use bytes::{Bytes, BytesMut};
use mars_datapath_core::logger::{Discarding, RequestId, SubmitError};
use mars_datapath_core::overlay::{Piece, Source};
use std::io;
use std::sync::Arc;
use tokio::sync::oneshot;

impl Primary {
    pub(super) fn has_room(&self) -> bool {
        self.held.is_none() && self.logger.dirty_bytes() < DIRTY_BYTES_MAX
    }

    pub(super) fn take(&mut self, request: DeviceRequest) {
        self.next_id += 1;
        let id = RequestId(self.next_id);
        match request {
            DeviceRequest::Read { offset, len, reply } => self.read(offset, len, reply),
            DeviceRequest::LogEnd { durable, reply } => self.tell_end(durable, reply),
            DeviceRequest::Write {
                offset,
                data,
                fua,
                reply,
            } => match self.logger.handle_write(id, offset, data.clone(), fua) {
                Ok(()) => self.accepted(id, reply),
                Err(SubmitError::Busy) => {
                    self.held = Some(DeviceRequest::Write {
                        offset,
                        data,
                        fua,
                        reply,
                    });
                }
                Err(error) => refuse(reply, error),
            },
            DeviceRequest::Clear {
                offset,
                len,
                fua,
                discard,
                reply,
            } => {
                let how = if discard {
                    Discarding::Discard
                } else {
                    Discarding::Zeroes
                };
                match self.logger.handle_discard(id, offset, len, how, fua) {
                    Ok(()) => self.accepted(id, reply),
                    Err(SubmitError::Busy) => {
                        self.held = Some(DeviceRequest::Clear {
                            offset,
                            len,
                            fua,
                            discard,
                            reply,
                        });
                    }
                    Err(error) => refuse(reply, error),
                }
            }
            DeviceRequest::Flush { reply } => match self.logger.handle_flush(id) {
                Ok(()) => self.accepted(id, reply),
                Err(SubmitError::Busy) => self.held = Some(DeviceRequest::Flush { reply }),
                Err(error) => refuse(reply, error),
            },
        }
    }

    pub(super) fn accepted(&mut self, id: RequestId, reply: Reply) {
        self.replies.insert(id, reply);
    }

    pub(super) fn read(
        &self,
        offset: u64,
        len: u32,
        reply: oneshot::Sender<Result<Bytes, BlockError>>,
    ) {
        let pieces = self.logger.read(offset, u64::from(len));
        if let [
            Piece {
                source: Source::Hit(data),
                ..
            },
        ] = &pieces[..]
        {
            let _ = reply.send(Ok(data.clone()));
            return;
        }
        let disk = Arc::clone(&self.replica.disk);
        self.replica.context.runtime.spawn_blocking(move || {
            let _ = reply.send(read_pieces(&disk, &pieces, len));
        });
    }

    pub(super) fn tell_end(&mut self, durable: bool, reply: EndReply) {
        if self.logger.is_emergency() || self.logger.failure().is_some() {
            let _ = reply.send(Err(BlockError::Io(
                "the primary does not log at present".to_owned(),
            )));
            return;
        }
        let end = self.logger.appended();
        if durable && self.logger.durable() < end {
            self.logger.request_sync();
            self.end_waits.push((end, reply));
        } else {
            let _ = reply.send(self.place(end).ok_or(BlockError::ShuttingDown));
        }
    }
}

fn refuse(reply: Reply, error: SubmitError) {
    let _ = reply.send(Err(match error {
        SubmitError::Range { .. } => BlockError::OutOfRange,
        other => BlockError::Io(other.to_string()),
    }));
}

fn read_pieces(disk: &Disk, pieces: &[Piece], len: u32) -> Result<Bytes, BlockError> {
    let failed = |error: io::Error| {
        BlockError::Io(format!("cannot read {}: {error}", disk.path().display()))
    };
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    if let [
        Piece {
            offset,
            source: Source::Miss(n),
        },
    ] = pieces
    {
        return disk.read(*offset, size(*n)).map_err(failed);
    }
    let mut out = BytesMut::with_capacity(size(u64::from(len)));
    for piece in pieces {
        match &piece.source {
            Source::Hit(data) => out.extend_from_slice(data),
            Source::Zero(n) => out.resize(out.len() + size(*n), 0),
            Source::Miss(n) => {
                out.extend_from_slice(&disk.read(piece.offset, size(*n)).map_err(failed)?);
            }
        }
    }
    Ok(out.freeze())
}
