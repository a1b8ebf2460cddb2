//! A replica that is primary: exports the device, logs every write, writes back.

use super::device::{DeviceRequest, EndReply, Reply};
use super::driver::{Context, Event};
use super::replica::{OpenError, Replica};
use super::secondary::{Secondary, next_sequence_of};
use super::shared::DeviceView;
use super::workers::{AppendJob, DiskJob, Done, SyncJob, Workers};
use crate::block::{BlockError, closing_pair};
use crate::limits::{
    DIRTY_BYTES_MAX, EMERGENCY_HOLE, IO_QUEUE_LEN, PUBLISH_INTERVAL, RESUME_FREE_BYTES,
    SHUTDOWN_TIMEOUT, SYNC_DELAY,
};
use crate::segments::{ChainLink, LogFileError};
use bytes::{Bytes, BytesMut};
use mars_datapath_core::LogPos;
use mars_datapath_core::format::{Predecessor, SegmentHeader};
use mars_datapath_core::limits::MIN_ALIGNMENT;
use mars_datapath_core::logger::{Discarding, Effect, Logger, OpenSegment, RequestId, SubmitError};
use mars_datapath_core::overlay::{Piece, Source};
use mars_datapath_core::plan::Wish;
use mars_datapath_core::version::{LogEnd, LogName, VersionValue, chain_value};
use mars_datapath_io::AppendError;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// Why a replica could not become primary. It is closed; its log and disk are as they were.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    /// A log file.
    #[error(transparent)]
    Log(#[from] LogFileError),
    /// The superblock or a worker.
    #[error("{what}: {error}")]
    Io {
        /// What failed.
        what: &'static str,
        /// The reason.
        error: io::Error,
    },
    /// A segment header or version value could not be made.
    #[error("cannot begin log segment {0}: {1}")]
    Segment(u64, String),
}

/// How far leaving the role has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaveState {
    /// Somebody opened the device meanwhile.
    Open,
    /// Log and write-back are being drained.
    Draining,
    /// Nothing is left to do.
    Drained,
    /// The log or the disk failed: recovery will do the rest.
    Failed,
}

/// A running primary.
pub(crate) struct Primary {
    replica: Replica,
    logger: Logger,
    workers: Workers,
    view: Arc<DeviceView>,
    requests: mpsc::Receiver<DeviceRequest>,
    held: Option<DeviceRequest>,
    replies: BTreeMap<RequestId, Reply>,
    next_id: u64,
    current: LogEnd,
    file: Arc<File>,
    /// Version values of the segments that are not written back yet: number to value of the one before it.
    previous: BTreeMap<u64, (LogName, String)>,
    appends: usize,
    log_full: bool,
    closed_at: Option<LogPos>,
    leaving: bool,
    sync_at: Option<Instant>,
    publish_at: Instant,
    flush_token: Option<String>,
    flush_waits: Vec<(String, LogPos)>,
    end_waits: Vec<(LogPos, EndReply)>,
}

impl Primary {
    /// Begins the next log segment and exports the device. Everything that is in the local log has been replayed.
    pub(crate) fn begin(secondary: Secondary, wish: &Wish) -> Result<Self, BeginError> {
        let (replica, tail, next_sequence) = secondary.into_parts();
        let emergency = replica.state.flags.emergency;
        let next_sequence = match (next_sequence, &tail) {
            (Some(next), _) => next,
            (None, Some(tail)) => next_sequence_of(tail, replica.size)?,
            (None, None) => 1,
        };
        let context = replica.context.clone();
        let workers = Workers::start(
            context.shared.name.as_str(),
            Arc::clone(&replica.disk),
            &context.events,
        )
        .map_err(|error| BeginError::Io {
            what: "cannot start threads",
            error,
        })?;
        let (requests_tx, requests) = mpsc::channel(IO_QUEUE_LEN);
        let view = Arc::new(DeviceView {
            export: wish.device.clone(),
            size: replica.size,
            requests: requests_tx,
            closer: closing_pair().0,
        });
        let begun = begin_segment(replica, tail.is_some(), emergency, next_sequence)?;
        let Begun {
            replica,
            current,
            file,
            open,
            append,
        } = begun;
        workers.append(append).map_err(|error| BeginError::Io {
            what: "cannot open the log",
            error: io::Error::other(error),
        })?;
        let logger = Logger::new(replica.size, open, next_sequence);
        let previous = BTreeMap::from([(
            current.log.number,
            (current.log.clone(), replica.state.previous_version.clone()),
        )]);
        context.shared.set_device(Some(Arc::clone(&view)));
        context.shared.update(|status| {
            status.primary = true;
            status.device = true;
            status.replaying = false;
            status.copying = false;
            status.syncing = false;
            status.emergency = false;
            status.replay_code = 1;
        });
        for key in ["inf-fetch", "inf-sync", "err-replay-stop", "err-emergency"] {
            context.shared.message(key, None);
        }
        let this = Self {
            replica,
            logger,
            workers,
            view,
            requests,
            held: None,
            replies: BTreeMap::new(),
            next_id: 0,
            current,
            file,
            previous,
            appends: 0,
            log_full: false,
            closed_at: None,
            leaving: false,
            sync_at: None,
            publish_at: Instant::now(),
            flush_token: None,
            flush_waits: Vec::new(),
            end_waits: Vec::new(),
        };
        this.show();
        Ok(this)
    }

    /// Waits for the next request or event; a request is taken in at once, an event is handed back.
    pub(crate) fn wait(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
        deadline: Instant,
    ) -> Option<Event> {
        let room = self.has_room();
        let requests = &mut self.requests;
        let deadline = tokio::time::Instant::from_std(deadline);
        let runtime = self.replica.context.runtime.clone();
        let (event, request) = runtime.block_on(async {
            tokio::select! {
                biased;
                event = events.recv() => (event, None),
                request = requests.recv(), if room => (None, request),
                () = tokio::time::sleep_until(deadline) => (None, None),
            }
        });
        if let Some(request) = request {
            self.take(request);
            // What waits behind it joins the same batch.
            while self.has_room() {
                match self.requests.try_recv() {
                    Ok(request) => self.take(request),
                    Err(_) => break,
                }
            }
        }
        event
    }

    fn has_room(&self) -> bool {
        self.held.is_none() && self.logger.dirty_bytes() < DIRTY_BYTES_MAX
    }

    fn take(&mut self, request: DeviceRequest) {
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

    fn accepted(&mut self, id: RequestId, reply: Reply) {
        self.replies.insert(id, reply);
    }

    fn read(&self, offset: u64, len: u32, reply: oneshot::Sender<Result<Bytes, BlockError>>) {
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

    fn tell_end(&mut self, durable: bool, reply: EndReply) {
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

    fn place(&self, at: LogPos) -> Option<(LogEnd, String)> {
        let (log, previous) = self.previous.get(&at.segment)?;
        Some((
            LogEnd {
                log: log.clone(),
                position: at.position,
            },
            previous.clone(),
        ))
    }

    /// Takes a finished job.
    pub(crate) fn handle_done(&mut self, done: Done) {
        match done {
            Done::Appended { end, result } => {
                self.appends = self.appends.saturating_sub(1);
                match result {
                    Ok(()) => self.logger.handle_appended(end),
                    Err(AppendError::NoSpace(_)) => self.log_full = true,
                    // Behind a full filesystem or a failure, the first error counts.
                    Err(AppendError::Poisoned | AppendError::Busy) if self.log_full => {}
                    Err(error) => self.fail("cannot append to the log", &io::Error::other(error)),
                }
            }
            Done::Synced { upto, result } => match result {
                Ok(()) => self.logger.handle_durable(upto),
                Err(error) => self.fail("cannot make the log durable", &error),
            },
            Done::WrittenBack { token, result } => match result {
                Ok(()) => self.logger.handle_written_back(token),
                Err(error) => self.fail("cannot write to the disk", &error),
            },
            Done::PassedThrough { id, result } => match result {
                Ok(()) => self.logger.handle_passed_through(id),
                Err(error) => self.fail("cannot write to the disk", &error),
            },
            Done::DiskFlushed { result } => match result {
                Ok(()) => self.logger.handle_disk_flushed(),
                Err(error) => self.fail("cannot flush the disk", &error),
            },
        }
    }

    fn fail(&mut self, what: &str, error: &io::Error) {
        let reason = format!("{what}: {error}");
        if self.logger.failure().is_none() {
            tracing::error!(resource = %self.replica.context.shared.name, reason, "the resource stops; detach and attach it after the cause is mended");
        }
        self.logger.handle_failed(&reason);
        let errno = -error.raw_os_error().unwrap_or(5);
        self.replica
            .context
            .shared
            .update(|status| status.disk_error = errno);
        self.replica
            .context
            .shared
            .message("err-disk", Some(&reason));
    }

    /// Asks for a durable log end, to be reported with `token`.
    pub(crate) fn handle_flush_request(&mut self, token: Option<&str>) {
        let Some(token) = token.filter(|token| self.flush_token.as_deref() != Some(token)) else {
            return;
        };
        self.flush_token = Some(token.to_owned());
        self.logger.request_sync();
        self.flush_waits
            .push((token.to_owned(), self.logger.appended()));
    }

    /// When [`advance`](Self::advance) has to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let publish = self.logger.needs_checkpoint().then_some(self.publish_at);
        [self.sync_at, publish].into_iter().flatten().min()
    }

    /// Runs timers and executes every effect.
    pub(crate) fn advance(&mut self) {
        if let Some(request) = self.held.take() {
            self.take(request);
        }
        let now = Instant::now();
        if self.log_full && self.appends == 0 {
            self.log_full = false;
            tracing::error!(resource = %self.replica.context.shared.name, "the log's filesystem is full: writes go past the log");
            self.logger.handle_log_full();
        }
        if self.sync_at.is_some_and(|at| at <= now) {
            self.sync_at = None;
            self.logger.request_sync();
        }
        if self.publish_at <= now {
            self.publish_at = now + PUBLISH_INTERVAL;
            self.logger.request_checkpoint();
            self.show();
            self.resume_from_emergency();
        }
        if self.logger.appended().position >= self.replica.context.segment_len {
            self.logger.request_close();
        }
        while let Some(effect) = self.logger.poll(crate::clock::wall()) {
            self.execute(effect);
        }
        if self.logger.needs_sync() && self.sync_at.is_none() {
            self.sync_at = Some(now + SYNC_DELAY);
        }
        self.answer_waits();
    }

    fn execute(&mut self, effect: Effect) {
        let handed = match effect {
            Effect::Append { start, end, batch } => {
                self.appends += 1;
                self.workers.append(AppendJob::Append {
                    end,
                    position: start.position,
                    parts: batch.parts,
                })
            }
            Effect::Sync { upto } => self.workers.sync(SyncJob {
                file: Arc::clone(&self.file),
                upto,
            }),
            Effect::Complete { id } => {
                if let Some(reply) = self.replies.remove(&id) {
                    let _ = reply.send(Ok(()));
                }
                Ok(())
            }
            Effect::Fail { id, reason } => {
                if let Some(reply) = self.replies.remove(&id) {
                    let _ = reply.send(Err(BlockError::Io(reason.to_string())));
                }
                Ok(())
            }
            Effect::WriteBack {
                token,
                offset,
                content,
            } => self.workers.disk(DiskJob::WriteBack {
                token,
                offset,
                content,
            }),
            Effect::PassThrough {
                id,
                offset,
                content,
            } => self.workers.disk(DiskJob::PassThrough {
                id,
                offset,
                content,
            }),
            Effect::FlushDisk => self.workers.disk(DiskJob::Flush),
            Effect::Publish { written_back } => {
                self.publish(written_back);
                Ok(())
            }
            Effect::Closed { end } => {
                self.segment_closed(end);
                Ok(())
            }
            Effect::EnterEmergency { end } => {
                self.enter_emergency(end);
                Ok(())
            }
        };
        if let Err(error) = handed {
            self.fail("internal", &io::Error::other(error));
        }
    }

    /// Records the written-back position in the superblock.
    fn publish(&mut self, written_back: LogPos) {
        let Some((end, previous)) = self.place(written_back) else {
            return;
        };
        let recorded = self.replica.record(|state| {
            state.applied = end;
            state.previous_version = previous;
        });
        if let Err(error) = recorded {
            self.fail("cannot write the superblock", &error);
            return;
        }
        self.previous = self.previous.split_off(&written_back.segment);
        self.show();
    }

    /// The segment ended: goes on in the next one, unless the role is being left.
    fn segment_closed(&mut self, end: LogPos) {
        let Some((place, previous)) = self.place(end) else {
            return;
        };
        let shared = Arc::clone(&self.replica.context.shared);
        shared.chain.set_durable(end);
        shared.chain.finish(&place);
        self.closed_at = Some(end);
        if self.leaving {
            return;
        }
        match self.rotate(&place, &previous) {
            Ok(()) => self.closed_at = None,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::error!(resource = %shared.name, "no room for the next log segment: writes go past the log");
                self.logger.handle_log_full();
            }
            Err(error) => self.fail("cannot begin the next log segment", &error),
        }
    }

    fn rotate(&mut self, place: &LogEnd, previous: &str) -> io::Result<()> {
        let version = chain_value(place, previous);
        let made = make_segment(
            &self.replica.context,
            Some((place, &version)),
            place.log.number + 1,
            self.logger.next_sequence(),
        )?;
        self.workers.append(made.append).map_err(io::Error::other)?;
        self.file = made.file;
        self.current = LogEnd {
            log: made.name.clone(),
            position: 0,
        };
        self.previous.insert(made.name.number, (made.name, version));
        self.logger
            .handle_segment_open(made.open)
            .map_err(io::Error::other)?;
        tracing::info!(resource = %self.replica.context.shared.name, log = %self.current.log, "began the next log segment");
        Ok(())
    }

    fn enter_emergency(&mut self, end: LogPos) {
        let place = self.place(end);
        let recorded = self.replica.record(|state| {
            if let Some((end, previous)) = place {
                state.applied = end;
                state.previous_version = previous;
            }
            state.flags.emergency = true;
        });
        match recorded {
            Ok(()) => {
                self.logger.handle_emergency_recorded();
                self.replica
                    .context
                    .shared
                    .update(|status| status.emergency = true);
                self.replica.context.shared.message(
                    "err-emergency",
                    Some("the log's filesystem is full: writes go past the log, secondaries get outdated; \
                          free space, then run 'marsadm invalidate' on each secondary"),
                );
            }
            Err(error) => self.fail("cannot write the superblock", &error),
        }
    }

    /// Begins to log again behind a hole, once there is space and a moment without requests.
    fn resume_from_emergency(&mut self) {
        let passing = self.replica.state.flags.emergency && self.logger.is_emergency();
        if !passing || !self.logger.is_drained() || self.leaving {
            return;
        }
        let context = self.replica.context.clone();
        let free =
            mars_datapath_io::free_space(context.shared.dir.path()).map_or(0, |s| s.available);
        if free < RESUME_FREE_BYTES {
            return;
        }
        let next_sequence = self.logger.next_sequence();
        let number = self.current.log.number + EMERGENCY_HOLE + 1;
        let resumed = make_segment(&context, None, number, next_sequence).and_then(|made| {
            self.replica.disk.flush()?;
            self.replica.record(|state| {
                state.applied = LogEnd {
                    log: made.name.clone(),
                    position: 0,
                };
                state.previous_version = String::new();
                state.flags.emergency = false;
                state.flags.primary = true;
            })?;
            self.workers.append(made.append).map_err(io::Error::other)?;
            self.file = made.file;
            self.current = LogEnd {
                log: made.name.clone(),
                position: 0,
            };
            self.previous = BTreeMap::from([(number, (made.name, String::new()))]);
            self.logger = Logger::new(self.replica.size, made.open, next_sequence);
            Ok(())
        });
        match resumed {
            Ok(()) => {
                tracing::warn!(resource = %context.shared.name, log = %self.current.log, "logging again, behind a hole");
                context.shared.update(|status| status.emergency = false);
                context.shared.message("err-emergency", None);
                self.show();
            }
            Err(error) => {
                tracing::warn!(resource = %context.shared.name, %error, "cannot begin to log again yet");
            }
        }
    }

    fn answer_waits(&mut self) {
        let durable = self.logger.durable();
        let shared = Arc::clone(&self.replica.context.shared);
        if shared.chain.durable() < durable {
            shared.chain.set_durable(durable);
        }
        let emergency = self.logger.is_emergency();
        let (ready, waits): (Vec<_>, Vec<_>) = std::mem::take(&mut self.flush_waits)
            .into_iter()
            .partition(|(_, at)| *at <= durable || emergency);
        self.flush_waits = waits;
        if let Some((token, _)) = ready.into_iter().next_back() {
            self.show();
            shared.update(|status| status.flush_done = Some(token));
        }
        let failed = self.logger.failure().is_some() || emergency;
        for (at, reply) in std::mem::take(&mut self.end_waits) {
            if failed {
                let _ = reply.send(Err(BlockError::Io(
                    "the primary does not log at present".to_owned(),
                )));
            } else if at <= durable {
                let _ = reply.send(self.place(at).ok_or(BlockError::ShuttingDown));
            } else {
                self.end_waits.push((at, reply));
            }
        }
    }

    fn show(&self) {
        let durable = self.logger.durable();
        let mut versions = BTreeMap::new();
        for (number, (log, previous)) in &self.previous {
            let end = if *number == durable.segment {
                Some(durable.position)
            } else {
                self.replica
                    .context
                    .shared
                    .chain
                    .link(*number)
                    .and_then(|link| link.end)
            };
            if let Some(position) = end {
                versions.insert(
                    *number,
                    chain_value(
                        &LogEnd {
                            log: log.clone(),
                            position,
                        },
                        previous,
                    ),
                );
            }
        }
        let applied = self.replica.state.applied.clone();
        let known = if durable.segment == applied.log.number {
            durable.position
        } else {
            applied.position
        };
        let dirty = known.saturating_sub(applied.position);
        self.replica.show(
            dirty,
            &LogEnd {
                log: applied.log,
                position: known,
            },
        );
        let newest = versions.keys().next_back().copied();
        self.replica.context.shared.update(|status| {
            for (number, value) in versions {
                status.versions.insert(number, value);
            }
            while status.versions.len() > 3 && status.versions.keys().next().copied() < newest {
                status.versions.pop_first();
            }
        });
    }

    /// End of the log.
    pub(crate) fn end(&self) -> LogPos {
        self.logger.appended()
    }

    /// Recorded written-back position.
    pub(crate) fn applied(&self) -> LogPos {
        self.replica.state.applied.pos()
    }

    /// Goes on leaving the role: hides the device, closes the log, drains.
    pub(crate) fn leave(&mut self) -> LeaveState {
        let shared = Arc::clone(&self.replica.context.shared);
        if !self.leaving {
            shared.set_device(None);
            if shared.open_count() > 0 {
                shared.set_device(Some(Arc::clone(&self.view)));
                return LeaveState::Open;
            }
            self.leaving = true;
            shared.update(|status| status.device = false);
        }
        if self.logger.failure().is_some() {
            return LeaveState::Failed;
        }
        if self.logger.is_emergency() {
            return if self.logger.is_drained() && self.requests.is_empty() {
                LeaveState::Drained
            } else {
                LeaveState::Draining
            };
        }
        self.logger.request_close();
        self.logger.request_checkpoint();
        let done = self.closed_at.is_some() && self.requests.is_empty() && self.logger.is_drained();
        if done {
            LeaveState::Drained
        } else {
            LeaveState::Draining
        }
    }

    /// Becomes a secondary at the end of the closed log.
    pub(crate) fn into_secondary(mut self) -> Result<Secondary, OpenError> {
        let path = self.replica.context.shared.dir.superblock();
        self.replica
            .record(|state| {
                state.flags.primary = false;
                state.flags.clean = true;
            })
            .map_err(|error| OpenError::SuperblockFile { path, error })?;
        let Self { replica, .. } = self;
        replica.context.shared.update(|status| {
            status.primary = false;
            status.device = false;
            status.emergency = false;
        });
        Secondary::after_primary(replica)
    }

    /// Ends in order at the end of the process: what was acknowledged becomes durable, the role is kept.
    pub(crate) fn shut_down(&mut self, events: &mut mpsc::Receiver<Event>) {
        self.view.closer.close();
        self.replica.context.shared.set_device(None);
        let until = Instant::now() + SHUTDOWN_TIMEOUT;
        while Instant::now() < until {
            self.logger.request_sync();
            self.logger.request_checkpoint();
            self.advance();
            let quiet = self.requests.is_empty() && self.held.is_none();
            if self.logger.failure().is_some() || (quiet && self.logger.is_drained()) {
                break;
            }
            if let Some(Event::Worker(done)) = self.wait(events, Instant::now() + SYNC_DELAY) {
                self.handle_done(done);
            }
        }
        self.show();
    }
}

fn refuse(reply: Reply, error: SubmitError) {
    let _ = reply.send(Err(match error {
        SubmitError::Range { .. } => BlockError::OutOfRange,
        other => BlockError::Io(other.to_string()),
    }));
}

fn read_pieces(
    disk: &super::storage::Disk,
    pieces: &[Piece],
    len: u32,
) -> Result<Bytes, BlockError> {
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

/// A fresh segment, durable, ready for appending.
struct MadeSegment {
    name: LogName,
    file: Arc<File>,
    open: OpenSegment,
    append: AppendJob,
}

/// Makes segment `number` behind `before` (its end and complete version value), or at the root of a history.
fn make_segment(
    context: &Context,
    before: Option<(&LogEnd, &str)>,
    number: u64,
    base_sequence: u64,
) -> io::Result<MadeSegment> {
    let predecessor = match before {
        None => None,
        Some((end, version)) => {
            let value: VersionValue = version.parse().map_err(io::Error::other)?;
            Some(Predecessor {
                end: end.pos(),
                origin: end.log.origin.clone(),
                digest: value.digest,
            })
        }
    };
    let header = SegmentHeader {
        resource: context.shared.name.clone(),
        origin: context.host.clone(),
        number,
        generation: random_u64(),
        created: crate::clock::wall(),
        base_sequence,
        alignment: MIN_ALIGNMENT,
        predecessor,
    };
    let bytes = Bytes::from(header.encode().map_err(io::Error::other)?.into_vec());
    let name = LogName {
        number,
        origin: context.host.clone(),
    };
    let file = context
        .shared
        .dir
        .create(&name, &bytes)
        .map_err(|error| error.error)?;
    let append = AppendJob::Open {
        file: file.try_clone()?,
        without_io_uring: context.without_io_uring,
    };
    context.shared.chain.put(ChainLink {
        name: name.clone(),
        header: bytes,
        predecessor: header.predecessor.as_ref().map(|p| p.end),
        first: 0,
        end: None,
    });
    context.shared.chain.set_durable(LogPos::new(number, 0));
    let open = OpenSegment {
        number,
        generation: header.generation,
        alignment: header.alignment,
    };
    Ok(MadeSegment {
        name,
        file: Arc::new(file),
        open,
        append,
    })
}

fn random_u64() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low
}

struct Begun {
    replica: Replica,
    current: LogEnd,
    file: Arc<File>,
    open: OpenSegment,
    append: AppendJob,
}

/// Begins the first segment of a new life as primary, behind what was replayed, and records the role.
fn begin_segment(
    mut replica: Replica,
    has_log: bool,
    emergency: bool,
    next_sequence: u64,
) -> Result<Begun, BeginError> {
    let context = replica.context.clone();
    let applied = replica.state.applied.clone();
    let io_error = |what| move |error| BeginError::Io { what, error };
    // The very first segment has the number that create-resource handed out.
    let first_of_all = !has_log && applied.position == 0 && applied.log.origin == context.host;
    let version = chain_value(&applied, &replica.state.previous_version);
    let (number, before, previous) = if emergency {
        (applied.log.number + EMERGENCY_HOLE + 1, None, String::new())
    } else if first_of_all {
        (applied.log.number, None, String::new())
    } else {
        context.shared.chain.finish(&applied);
        (
            applied.log.number + 1,
            Some((&applied, version.as_str())),
            version.clone(),
        )
    };
    let made = make_segment(&context, before, number, next_sequence)
        .map_err(|error| BeginError::Segment(number, error.to_string()))?;
    let current = LogEnd {
        log: made.name.clone(),
        position: 0,
    };
    let recorded = current.clone();
    replica
        .record(|state| {
            state.applied = recorded;
            state.previous_version = previous;
            state.flags.primary = true;
            state.flags.clean = false;
            state.flags.emergency = false;
        })
        .map_err(io_error("cannot write the superblock"))?;
    let MadeSegment {
        file, open, append, ..
    } = made;
    Ok(Begun {
        replica,
        current,
        file,
        open,
        append,
    })
}
