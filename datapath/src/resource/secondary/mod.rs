//! A replica that follows: opens its local log, fetches, replays, syncs.

mod fetched;
mod local;
mod replaying;
mod requested;
mod synced;

pub(crate) use local::next_sequence_of;

use super::driver::{Context, Intent};
pub(crate) use super::replica::OpenError;
use super::replica::Replica;
use crate::limits::PUBLISH_INTERVAL;
use crate::replicate::{SourceTask, start_fetch, start_sync};
use mars_datapath_core::LogPos;
use mars_datapath_core::format::{SegmentHeader, Successor};
use mars_datapath_core::plan::Designated;
use mars_datapath_core::replay::{Replay, Strictness};
use mars_datapath_core::scan::Scanner;
use mars_datapath_core::version::{LogEnd, LogName};
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

/// What a machine writes as a whole, at least.
const SECTOR: usize = 512;
/// Bytes read from a log file at once.
const READ_LEN: usize = 1 << 20;
/// Fetched bytes after which the copy is made durable although more is waiting.
const SYNC_BYTES: u64 = 8 << 20;
/// Bytes replayed per turn, so that events are not kept waiting.
const TURN_BYTES: u64 = 16 << 20;

/// A segment that is open for reading or appending.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Its name.
    pub(crate) name: LogName,
    /// Its header.
    pub(crate) header: SegmentHeader,
    /// Its file.
    pub(crate) file: Arc<File>,
}

/// A following replica.
#[derive(Debug)]
pub(crate) struct Secondary {
    pub(crate) replica: Replica,
    /// The segment that fetched bytes go to; `None` before the first one is known.
    tail: Option<Segment>,
    /// End of what was fetched, with its log.
    fetched: LogEnd,
    /// End of what was fetched and is durable here.
    durable: LogPos,
    /// The segment that is being replayed.
    current: Option<(Segment, Scanner)>,
    /// Size of the disk when that scanner was made.
    scanned_size: u64,
    replay: Replay,
    /// Sequence number that follows the last record replayed, where known.
    pub(crate) next_sequence: Option<u64>,
    replay_on: bool,
    stopped: Option<String>,
    /// The closed log that was read last, and who it names to go on.
    closing: Option<(LogName, Option<Successor>)>,
    /// Where the local log is damaged.
    damage: Option<LogEnd>,
    fetch: Option<SourceTask>,
    fetch_after: Option<Instant>,
    sync: Option<SourceTask>,
    sync_after: Option<Instant>,
    published: Instant,
    was_primary: bool,
}

impl Secondary {
    /// Opens the replica and its local log.
    pub(crate) fn open(context: Context, intent: &Intent) -> Result<Self, OpenError> {
        let replica = Replica::open(context, intent)?;
        let was_primary = replica.state.flags.primary;
        let mut this = Self::at_position(replica, was_primary);
        if this.replica.state.flags.syncing && this.replica.state.sync.synced == 0 {
            // A new copy begins: logs of an earlier life do not count.
            this.drop_logs()?;
        } else {
            this.open_chain(intent.wish.accepted_end.as_deref())?;
            let designated = matches!(intent.wish.designated, Some(Designated::Me));
            if this.replica.state.flags.emergency && !designated {
                this.stop_behind_emergency();
            }
        }
        this.show();
        Ok(this)
    }

    /// Goes on as a secondary at the place where a primary stopped in order.
    pub(crate) fn after_primary(replica: Replica) -> Result<Self, OpenError> {
        let mut this = Self::at_position(replica, false);
        this.open_chain(None)?;
        if this.replica.state.flags.emergency {
            this.stop_behind_emergency();
        }
        this.show();
        Ok(this)
    }

    fn at_position(replica: Replica, was_primary: bool) -> Self {
        let applied = replica.state.applied.clone();
        let start = applied.pos();
        let limit = LogPos::new(u64::MAX, u64::MAX);
        Self {
            replica,
            tail: None,
            fetched: applied,
            durable: start,
            current: None,
            scanned_size: 0,
            replay: Replay::new(start, limit, Strictness::Epochs),
            next_sequence: None,
            replay_on: false,
            stopped: None,
            closing: None,
            damage: None,
            fetch: None,
            fetch_after: None,
            sync: None,
            sync_after: None,
            published: Instant::now(),
            was_primary,
        }
    }

    /// Whether the last life on this disk was that of a primary.
    pub(crate) const fn was_primary(&self) -> bool {
        self.was_primary
    }

    /// This disk holds writes that no log has: it cannot follow another host's log.
    fn stop_behind_emergency(&mut self) {
        self.stop(
            -85,
            "writes went past the full log on this host: run 'marsadm invalidate' for a full sync",
        );
    }

    /// Where the local log is damaged, as text: what an administrator may accept as its end.
    pub(crate) fn damage(&self) -> Option<String> {
        self.damage.as_ref().map(ToString::to_string)
    }

    /// Size of the disk.
    pub(crate) fn disk_size(&self) -> u64 {
        self.replica.disk.size()
    }

    /// Bytes synced.
    pub(crate) const fn synced(&self) -> u64 {
        self.replica.state.sync.synced
    }

    /// Whether the disk is consistent.
    pub(crate) fn is_consistent(&self) -> bool {
        self.replica.is_consistent()
    }

    /// Whether everything that is durable here was replayed and recorded.
    pub(crate) fn replayed_all(&self) -> bool {
        self.stopped.is_none()
            && self.replica.state.applied.pos() >= self.durable
            && self.durable == self.fetched.pos()
    }

    /// End of the log that is durable here.
    pub(crate) fn end(&self) -> LogPos {
        self.durable
    }

    /// The host that wrote the newest log, unless that log was closed or is this host's own.
    pub(crate) fn unfinished(&self) -> Option<String> {
        let (end, context) = (self.durable, &self.replica.context);
        let writer = &self.fetched.log.origin;
        let link = context.shared.chain.link(end.segment);
        let closed = link.is_some_and(|link| link.end == Some(end.position));
        (!closed && *writer != context.host).then(|| writer.as_str().to_owned())
    }

    /// The host that wrote the newest log.
    pub(crate) fn writer(&self) -> &str {
        self.fetched.log.origin.as_str()
    }

    /// The newest log, if it ends here with a close mark, and who may go on behind it.
    pub(crate) fn closed_log(&self) -> Option<(&LogName, Option<&Successor>)> {
        let end = self.durable;
        let link = self.replica.context.shared.chain.link(end.segment);
        link.filter(|link| link.end == Some(end.position))?;
        let log = &self.fetched.log;
        let closing = self.closing.as_ref().filter(|(name, _)| name == log);
        Some((log, closing.and_then(|(_, named)| named.as_ref())))
    }

    /// Recorded replay position.
    pub(crate) fn applied(&self) -> LogPos {
        self.replica.state.applied.pos()
    }

    /// Takes the planner's decision.
    pub(crate) fn steer(
        &mut self,
        fetch: Option<&str>,
        replay: bool,
        sync: Option<&str>,
        designated: bool,
    ) {
        // A designated primary replays what it has, whatever the switch says, as the original does.
        self.replay_on = replay || designated;
        let now = Instant::now();
        if self
            .fetch
            .as_ref()
            .is_some_and(|task| Some(task.source()) != fetch || task.is_finished())
        {
            self.fetch = None;
            self.replica
                .context
                .shared
                .update(|status| status.copying = false);
        }
        let awaits_start = self.replica.state.flags.syncing
            && self.replica.state.sync.started_at == LogPos::default();
        if let Some(source) = fetch.filter(|_| self.fetch.is_none() && !awaits_start)
            && self.fetch_after.is_none_or(|at| at <= now)
        {
            let from = self.fetched.clone();
            self.fetch = Some(start_fetch(&self.replica.context, source, from));
        }
        let needs_sync = self.replica.state.flags.syncing;
        if self
            .sync
            .as_ref()
            .is_some_and(|task| !needs_sync || Some(task.source()) != sync || task.is_finished())
        {
            self.sync = None;
        }
        if let Some(source) = sync.filter(|_| needs_sync && self.sync.is_none())
            && self.sync_after.is_none_or(|at| at <= now)
        {
            let slots = &self.replica.context.sync_slots;
            if let Some(slot) = slots.take() {
                self.sync = Some(start_sync(&self.replica, source, slot));
            } else {
                let text = format!(
                    "waiting: {} syncs run on this host, more are not allowed (set-global-sync-limit-value)",
                    slots.limit()
                );
                self.replica.context.shared.message("inf-sync", Some(&text));
            }
        }
        let syncing = self.sync.is_some();
        let replaying = self.replay_on && !needs_sync && self.stopped.is_none();
        self.replica.context.shared.update(|status| {
            status.syncing = syncing;
            status.replaying = replaying;
        });
    }

    fn split_brain(&mut self, reason: &str) {
        let text = format!(
            "{reason}: decide which host keeps its data, run 'marsadm invalidate' on the others"
        );
        self.replica
            .context
            .shared
            .message("err-splitbrain-detected", Some(&text));
        self.stop(-117, &text);
    }

    /// Stops replay with an error code and a reason; fetching and serving go on.
    fn stop(&mut self, code: i32, reason: &str) {
        if self.stopped.as_deref() != Some(reason) {
            tracing::error!(resource = %self.replica.context.shared.name, reason, "replay stopped");
        }
        self.stopped = Some(reason.to_owned());
        self.replica
            .context
            .shared
            .update(|status| status.replay_code = code);
        self.replica
            .context
            .shared
            .message("err-replay-stop", Some(reason));
    }

    /// Makes fetched bytes durable, replays, and publishes.
    pub(crate) fn advance(&mut self) {
        if let Err(error) = self.make_durable() {
            self.fetch_ended(&error.to_string());
        }
        let replays = self.replay_on && !self.replica.state.flags.syncing && self.stopped.is_none();
        if replays && let Err(reason) = self.replay_some() {
            self.replay.handle_failed(&reason);
            self.stop(-5, &reason);
        }
        if self.published.elapsed() >= PUBLISH_INTERVAL {
            self.show();
            self.published = Instant::now();
        }
    }

    fn show_soon(&mut self) {
        if self.published.elapsed() >= PUBLISH_INTERVAL / 4 || self.replayed_all() {
            self.show();
            self.published = Instant::now();
        }
    }

    fn show(&self) {
        let applied = &self.replica.state.applied;
        let end = if self.durable.segment == applied.log.number {
            self.durable.position
        } else {
            self.readable(applied.log.number).max(applied.position)
        };
        let known = LogEnd {
            log: applied.log.clone(),
            position: end,
        };
        self.replica
            .show(end.saturating_sub(applied.position), &known);
    }

    /// Ends fetch and sync and closes the disk.
    pub(crate) fn close(mut self) {
        self.fetch = None;
        self.sync = None;
        if self.make_durable().is_ok() {
            self.replay.request_publish();
            while let Some(effect) = self.replay.poll() {
                if self.execute(effect).is_err() {
                    break;
                }
            }
        }
        self.show();
    }

    /// Gives the replica to a primary; with the number of the last segment that is here and the next sequence number.
    pub(crate) fn into_parts(mut self) -> (Replica, Option<Segment>, Option<u64>) {
        self.fetch = None;
        self.sync = None;
        (self.replica, self.tail, self.next_sequence)
    }
}
