//! A replica that is primary: exports the device, logs every write, writes back.

mod grow;
mod leave;
mod requests;
mod segment;

use super::device::{DeviceRequest, EndReply, Reply};
use super::driver::{Event, Intent};
use super::replica::Replica;
use super::secondary::{Secondary, next_sequence_of};
use super::shared::DeviceView;
use super::workers::{AppendJob, DiskJob, Done, SyncJob, Workers};
use crate::block::{BlockError, closing_pair};
use crate::limits::{IO_QUEUE_LEN, PUBLISH_INTERVAL, SYNC_DELAY};
use crate::segments::LogFileError;
use grow::Growth;
use mars_datapath_core::LogPos;
use mars_datapath_core::format::Successor;
use mars_datapath_core::logger::{Effect, Logger, RequestId};
use mars_datapath_core::plan::{Designated, Wish};
use mars_datapath_core::version::{LogEnd, LogName, chain_value};
use mars_datapath_io::AppendError;
use segment::{Begun, begin_segment};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

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

/// What the administrator reads while writes go past the log.
const EMERGENCY: &str = "the log's filesystem is full: writes go past the log, secondaries get outdated; \
     free space, then run 'marsadm invalidate' on each secondary";

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
    /// The open segment's file; `None` while writes go past the log since the start.
    file: Option<Arc<File>>,
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
    asked: Asked,
    growth: Option<Growth>,
}

/// What the store asks of a primary.
#[derive(Debug, Default)]
struct Asked {
    /// Size of the device.
    size: Option<u64>,
    /// Percent of free space below which writes go past the log; 0 for none.
    emergency_limit: u64,
    /// Numbers of logs that shall be begun.
    begin_logs: BTreeSet<u64>,
}

impl Primary {
    /// Begins the next log segment and exports the device. Everything that is in the local log has been replayed.
    pub(crate) fn begin(secondary: Secondary, wish: &Wish) -> Result<Self, BeginError> {
        let (replica, tail, next_sequence) = secondary.into_parts();
        let emergency = replica.state.flags.emergency;
        let next_sequence = match (next_sequence, &tail) {
            (Some(next), _) => next,
            (None, Some(tail)) => next_sequence_of(tail, replica.disk.size())?,
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
            closer: Arc::new(closing_pair().0),
        });
        let Begun {
            replica,
            current,
            log,
        } = begin_segment(replica, tail.is_some(), emergency, next_sequence)?;
        let past_the_log = log.is_none();
        let (file, mut logger) = match log {
            Some((file, open, append)) => {
                workers.append(append).map_err(|error| BeginError::Io {
                    what: "cannot open the log",
                    error: io::Error::other(error),
                })?;
                (Some(file), Logger::new(replica.size, open, next_sequence))
            }
            None => (
                None,
                Logger::past_the_log(replica.size, current.pos(), next_sequence),
            ),
        };
        logger.set_successor(Successor::Host(context.host.clone()));
        let previous = BTreeMap::from([(
            current.log.number,
            (current.log.clone(), replica.state.previous_version.clone()),
        )]);
        // Who only passes the role on shows no device: somebody might open it.
        let leaving = wish.designated != Some(Designated::Me);
        let shared = &context.shared;
        shared.set_device((!leaving).then(|| Arc::clone(&view)));
        shared.message("err-emergency", past_the_log.then_some(EMERGENCY));
        shared.update(|status| {
            (status.primary, status.device) = (true, !leaving);
            status.replaying = false;
            (status.copying, status.syncing) = (false, false);
            status.emergency = past_the_log;
            status.replay_code = 1;
            status.device_size = Some(view.size);
        });
        for key in ["inf-fetch", "inf-sync", "err-replay-stop"] {
            shared.message(key, None);
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
            leaving,
            sync_at: None,
            publish_at: Instant::now(),
            flush_token: None,
            flush_waits: Vec::new(),
            end_waits: Vec::new(),
            asked: Asked::default(),
            growth: None,
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

    /// Takes what the store says.
    pub(crate) fn handle_intent(&mut self, intent: &Intent) {
        self.handle_flush_request(intent.flush_request.as_deref());
        self.asked = Asked {
            size: intent.wish.size,
            emergency_limit: intent.requests.emergency_limit,
            begin_logs: intent.requests.begin_logs.clone(),
        };
    }

    /// Asks for a durable log end, to be reported with `token`.
    fn handle_flush_request(&mut self, token: Option<&str>) {
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
            if self.is_below_limit(0) {
                self.logger.request_close();
            }
        }
        self.grow();
        let appended = self.logger.appended();
        let wanted =
            self.asked.begin_logs.contains(&(appended.segment + 1)) && appended.position > 0;
        if wanted || appended.position >= self.replica.context.segment_len {
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
            Effect::Sync { upto } => match &self.file {
                Some(file) => self.workers.sync(SyncJob {
                    file: Arc::clone(file),
                    upto,
                }),
                // A logger without a segment has nothing to sync.
                None => Ok(()),
            },
            Effect::Complete { id } => {
                if !self.grown(id)
                    && let Some(reply) = self.replies.remove(&id)
                {
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
            // The position in the same key: nobody pairs the answer with an older version value.
            let answer = match self.place(durable).filter(|_| !emergency) {
                Some((end, _)) => format!("{token},{end}"),
                None => token,
            };
            shared.update(|status| status.flush_done = Some(answer));
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
        let logs = shared_logs(&self.replica);
        self.replica.context.shared.update(|status| {
            status.logs = logs;
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
}

/// Logs of this host that are here.
fn shared_logs(replica: &Replica) -> BTreeMap<u64, Option<u64>> {
    let context = &replica.context;
    context.shared.chain.written_by(&context.host)
}
