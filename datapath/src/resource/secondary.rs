//! A replica that follows: opens its local log, fetches, replays, syncs.

use super::driver::{Context, Intent};
pub(crate) use super::replica::OpenError;
use super::replica::Replica;
use crate::limits::{PUBLISH_INTERVAL, RETRY_DELAY};
use crate::replicate::{FetchEvent, FetchTask, SyncEvent, SyncTask, code};
use crate::segments::{ChainLink, LogFileError, read_log};
use mars_datapath_core::LogPos;
use mars_datapath_core::format::{
    Expect, SegmentHeader, Sequence, decode_header, end_position, file_offset,
};
use mars_datapath_core::plan::Designated;
use mars_datapath_core::replay::{Replay, ReplayEffect, Strictness};
use mars_datapath_core::scan::{ScanEnd, Scanner};
use mars_datapath_core::version::{LogEnd, LogName, ReplayValue, VersionValue, chain_value};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
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
    replay: Replay,
    /// Sequence number that follows the last record replayed, where known.
    pub(crate) next_sequence: Option<u64>,
    replay_on: bool,
    stopped: Option<String>,
    fetch: Option<FetchTask>,
    fetch_after: Option<Instant>,
    sync: Option<SyncTask>,
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
            let forced =
                matches!(intent.wish.designated, Some(Designated::Me)) && !intent.wish.fetch;
            this.open_chain(forced)?;
        }
        this.show();
        Ok(this)
    }

    /// Goes on as a secondary at the place where a primary stopped in order.
    pub(crate) fn after_primary(replica: Replica) -> Result<Self, OpenError> {
        let mut this = Self::at_position(replica, false);
        this.open_chain(false)?;
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
            replay: Replay::new(start, limit, Strictness::Epochs),
            next_sequence: None,
            replay_on: false,
            stopped: None,
            fetch: None,
            fetch_after: None,
            sync: None,
            sync_after: None,
            published: Instant::now(),
            was_primary,
        }
    }

    fn drop_logs(&mut self) -> Result<(), LogFileError> {
        let dir = &self.replica.context.shared.dir;
        for name in dir.list()? {
            dir.remove(&name)?;
        }
        self.replica.context.shared.chain.clear();
        Ok(())
    }

    /// Reads the local log from the replay position to the end of its valid prefix, over segment ends.
    ///
    /// What an interrupted append left behind is cut off. Damage is not: it stops the replica with a reason, unless
    /// `accept` says that the administrator forced this host to go on with what is valid.
    fn open_chain(&mut self, accept: bool) -> Result<(), LogFileError> {
        let shared = Arc::clone(&self.replica.context.shared);
        let names = shared.dir.list()?;
        self.open_old_links(&names)?;
        let mut at = self.replica.state.applied.clone();
        let mut first = true;
        loop {
            let expected = |name: &&LogName| {
                if first {
                    **name == at.log
                } else {
                    name.number > at.log.number
                }
            };
            let Some(name) = names.iter().find(expected) else {
                break;
            };
            let (file, Some((header, bytes))) = shared.dir.load(name)? else {
                if !first {
                    // Its creation was interrupted: nothing in it counts.
                    shared.dir.remove(name)?;
                }
                break;
            };
            if !first {
                let follows = header
                    .predecessor
                    .as_ref()
                    .is_some_and(|p| p.end == at.pos() && p.origin == at.log.origin);
                if !follows {
                    tracing::warn!(resource = %shared.name, log = %name, "does not follow the local log: not used");
                    break;
                }
                shared.chain.finish(&at);
            }
            let start = if first { at.position } else { 0 };
            let file = Arc::new(file);
            let end = scan_to_end(&file, &header, start, self.replica.size)?;
            let length = end_position(file.metadata().map_or(0, |m| m.len()));
            match broken_at(&file, &header, &end) {
                Some(reason) if !accept => {
                    self.stop(
                        -5,
                        &format!("{name} is damaged at {}: {reason}", end.position()),
                    );
                }
                Some(reason) => {
                    tracing::warn!(resource = %shared.name, log = %name, position = end.position(), reason, "cutting a damaged log, as was forced");
                    shared.dir.truncate(&file, end.position())?;
                }
                None if length > end.position() => shared.dir.truncate(&file, end.position())?,
                None => {}
            }
            let closed = matches!(end, ScanEnd::Closed { .. });
            let link = ChainLink {
                name: name.clone(),
                header: bytes,
                predecessor: header.predecessor.as_ref().map(|p| p.end),
                first: if first { 0 } else { start },
                end: closed.then(|| end.position()),
            };
            shared.chain.put(link);
            at = LogEnd {
                log: name.clone(),
                position: end.position(),
            };
            self.tail = Some(Segment {
                name: name.clone(),
                header,
                file,
            });
            first = false;
            if self.stopped.is_some() {
                break;
            }
        }
        // What the valid prefix holds may only be in the page cache yet.
        if let Some(tail) = &self.tail {
            tail.file
                .sync_data()
                .map_err(|error| shared.dir.error("make durable", error))?;
        }
        self.durable = at.pos();
        self.fetched = at;
        shared.chain.set_durable(self.durable);
        Ok(())
    }

    /// Older segments that lead up to the present one are kept for peers that still need them.
    fn open_old_links(&self, names: &[LogName]) -> Result<(), LogFileError> {
        let shared = &self.replica.context.shared;
        let mut next = match names.iter().find(|n| **n == self.replica.state.applied.log) {
            Some(name) => shared.dir.load(name)?.1,
            None => return Ok(()),
        };
        while let Some((header, _)) = next {
            let Some(before) = header.predecessor else {
                break;
            };
            let name = LogName {
                number: before.end.segment,
                origin: before.origin,
            };
            if !names.contains(&name) {
                break;
            }
            let (file, loaded) = shared.dir.load(&name)?;
            let length = end_position(file.metadata().map_or(0, |m| m.len()));
            let Some((header, bytes)) = loaded.filter(|_| length >= before.end.position) else {
                break;
            };
            shared.chain.put(ChainLink {
                name,
                header: bytes.clone(),
                predecessor: header.predecessor.as_ref().map(|p| p.end),
                first: 0,
                end: Some(before.end.position),
            });
            next = Some((header, bytes));
        }
        Ok(())
    }

    /// Whether the last life on this disk was that of a primary.
    pub(crate) const fn was_primary(&self) -> bool {
        self.was_primary
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
            self.fetch = Some(FetchTask::start(&self.replica.context, source, from));
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
            self.sync = Some(SyncTask::start(&self.replica, source));
        }
        let syncing = self.sync.is_some();
        let replaying = self.replay_on && !needs_sync && self.stopped.is_none();
        self.replica.context.shared.update(|status| {
            status.syncing = syncing;
            status.replaying = replaying;
        });
    }

    /// Takes what a fetch brought.
    pub(crate) fn handle_fetched(&mut self, event: FetchEvent) {
        let Some(task) = &self.fetch else { return };
        if event.task != task.id() {
            return;
        }
        use crate::replicate::Fetched as F;
        let outcome = match event.what {
            F::Connected => {
                self.replica
                    .context
                    .shared
                    .update(|status| status.copying = true);
                self.replica.context.shared.message("inf-fetch", None);
                Ok(())
            }
            F::Segment {
                number,
                header,
                bytes,
            } => self.take_segment(number, header, &bytes),
            F::Data {
                number,
                position,
                bytes,
                permit: _permit,
            } => self.take_data(number, position, &bytes),
            F::Closed { number, position } => {
                if self.fetched.pos() == LogPos::new(number, position) {
                    self.replica
                        .context
                        .shared
                        .chain
                        .finish(&self.fetched.clone());
                }
                Ok(())
            }
            F::Refused { code, reason } => {
                self.take_refusal(code, &reason);
                Ok(())
            }
            F::Lost { reason } => {
                self.fetch_ended(&reason);
                Ok(())
            }
        };
        if let Err(error) = outcome {
            tracing::error!(resource = %self.replica.context.shared.name, %error, "fetched log bytes cannot be kept");
            self.fetch_ended(&error.to_string());
        }
    }

    fn fetch_ended(&mut self, reason: &str) {
        self.fetch = None;
        self.fetch_after = Some(Instant::now() + RETRY_DELAY);
        self.replica
            .context
            .shared
            .update(|status| status.copying = false);
        self.replica
            .context
            .shared
            .message("inf-fetch", Some(reason));
    }

    fn take_refusal(&mut self, code: u16, reason: &str) {
        match code {
            code::LOG_GONE => {
                self.stop(
                    -85,
                    &format!("{reason}: run 'marsadm invalidate' for a full sync"),
                );
            }
            code::DIVERGED => self.split_brain(reason),
            _ => {}
        }
        self.fetch_ended(reason);
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

    fn take_segment(
        &mut self,
        number: u64,
        header: SegmentHeader,
        bytes: &bytes::Bytes,
    ) -> Result<(), LogFileError> {
        let shared = Arc::clone(&self.replica.context.shared);
        let name = LogName {
            number,
            origin: header.origin.clone(),
        };
        if let Some(tail) = self.tail.as_ref().filter(|tail| tail.name.number == number) {
            if tail.header != header {
                let have = tail.name.clone();
                self.split_brain(&format!(
                    "the source has another {name} than the {have} that is here"
                ));
            }
            return Ok(());
        }
        if number < self.fetched.log.number {
            return Ok(());
        }
        let starts_here = self.tail.is_none() && name == self.fetched.log;
        if !starts_here {
            let follows = header.predecessor.as_ref().is_some_and(|p| {
                p.end == self.fetched.pos() && p.origin == self.fetched.log.origin
            });
            if !follows {
                let have = self.fetched.clone();
                self.split_brain(&format!(
                    "{name} of the source does not follow {have} that is here"
                ));
                self.fetch_ended("the histories differ");
                return Ok(());
            }
            self.make_durable()?;
            shared.chain.finish(&self.fetched.clone());
        }
        let file = shared.dir.create(&name, bytes)?;
        let position = if starts_here {
            self.fetched.position
        } else {
            0
        };
        shared.chain.put(ChainLink {
            name: name.clone(),
            header: bytes.clone(),
            predecessor: header.predecessor.as_ref().map(|p| p.end),
            first: position,
            end: None,
        });
        self.fetched = LogEnd {
            log: name.clone(),
            position,
        };
        self.durable = self.fetched.pos();
        self.tail = Some(Segment {
            name,
            header,
            file: Arc::new(file),
        });
        shared.chain.set_durable(self.durable);
        Ok(())
    }

    fn take_data(
        &mut self,
        number: u64,
        position: u64,
        bytes: &bytes::Bytes,
    ) -> Result<(), LogFileError> {
        let shared = Arc::clone(&self.replica.context.shared);
        if LogPos::new(number, position) != self.fetched.pos() {
            self.fetch_ended("log bytes came out of order; asking again");
            return Ok(());
        }
        let Some(tail) = self.tail.as_ref().filter(|tail| tail.name.number == number) else {
            self.fetch_ended("log bytes came without a segment; asking again");
            return Ok(());
        };
        tail.file
            .write_all_at(bytes, file_offset(position))
            .map_err(|error| shared.dir.error("append to a log in", error))?;
        self.fetched.position = position.saturating_add(bytes.len() as u64);
        if self
            .fetched
            .pos()
            .position
            .saturating_sub(self.durable.position)
            >= SYNC_BYTES
        {
            self.make_durable()?;
        }
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), LogFileError> {
        let shared = &self.replica.context.shared;
        if let Some(tail) = self
            .tail
            .as_ref()
            .filter(|_| self.durable < self.fetched.pos())
        {
            tail.file
                .sync_data()
                .map_err(|error| shared.dir.error("make durable a log in", error))?;
            self.durable = self.fetched.pos();
            shared.chain.set_durable(self.durable);
        }
        Ok(())
    }

    /// Takes what a sync says.
    pub(crate) fn handle_synced(&mut self, event: SyncEvent) {
        if self
            .sync
            .as_ref()
            .is_none_or(|task| event.task != task.id())
        {
            return;
        }
        if let Err(error) = self.take_sync(event) {
            tracing::error!(resource = %self.replica.context.shared.name, %error, "sync failed");
            self.sync = None;
            self.sync_after = Some(Instant::now() + RETRY_DELAY);
            self.replica
                .context
                .shared
                .message("inf-sync", Some(&error.to_string()));
        }
    }

    fn take_sync(&mut self, event: SyncEvent) -> Result<(), io::Error> {
        use crate::replicate::Synced as S;
        match event.what {
            S::Begun { start, previous } => {
                self.drop_logs().map_err(|error| error.error)?;
                self.replica.record(|state| {
                    state.applied = start.clone();
                    state.previous_version.clone_from(&previous);
                    state.sync.synced = 0;
                    state.sync.started_at = start.pos();
                    state.sync.target = None;
                    state.flags.syncing = true;
                    state.flags.primary = false;
                })?;
                self.restart_at(start);
            }
            S::Progress { synced } => self.replica.record(|state| state.sync.synced = synced)?,
            S::Done { target } => {
                let total = self.replica.size;
                self.replica.record(|state| {
                    state.sync.synced = total;
                    state.sync.total = total;
                    state.sync.target = Some(ReplayValue {
                        applied: target.clone(),
                        dirty: 0,
                    });
                    state.flags.syncing = false;
                })?;
                self.sync = None;
                self.replica.context.shared.message("inf-sync", None);
                tracing::info!(resource = %self.replica.context.shared.name, target = %target, "sync complete");
            }
            S::Lost { reason } => {
                self.sync = None;
                self.sync_after = Some(Instant::now() + RETRY_DELAY);
                self.replica
                    .context
                    .shared
                    .message("inf-sync", Some(&reason));
            }
        }
        self.show();
        Ok(())
    }

    /// Forgets where fetch and replay stood and goes on at `start`.
    fn restart_at(&mut self, start: LogEnd) {
        self.fetch = None;
        self.fetch_after = None;
        self.tail = None;
        self.current = None;
        self.stopped = None;
        self.next_sequence = None;
        self.durable = start.pos();
        self.replay = Replay::new(
            start.pos(),
            LogPos::new(u64::MAX, u64::MAX),
            Strictness::Epochs,
        );
        self.fetched = start;
        self.replica.context.shared.chain.set_durable(self.durable);
        self.replica
            .context
            .shared
            .update(|status| status.replay_code = 0);
        self.replica.context.shared.message("err-replay-stop", None);
        self.replica
            .context
            .shared
            .message("err-splitbrain-detected", None);
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

    fn replay_some(&mut self) -> Result<(), String> {
        let mut done = 0;
        let moved = self.replay.applied();
        while done < TURN_BYTES {
            let fed = self.feed()?;
            let mut idle = fed == 0;
            while let Some(effect) = self.replay.poll() {
                idle = false;
                done += self.execute(effect)?;
            }
            if idle {
                break;
            }
        }
        if done < TURN_BYTES && self.replay.applied() > self.replay.published() {
            // Nothing more is there: a moment of rest at which the disk is an exact prefix.
            self.replay.request_publish();
            while let Some(effect) = self.replay.poll() {
                self.execute(effect)?;
            }
        }
        if self.replay.applied() != moved {
            self.replica.context.shared.message("err-replay-stop", None);
        }
        Ok(())
    }

    /// Gives replay the next batches; returns how many.
    fn feed(&mut self) -> Result<usize, String> {
        let mut batches = 0;
        while self.replay.wants_batch() {
            let Some((segment, scanner)) = &mut self.current else {
                if !self.open_current()? {
                    break;
                }
                continue;
            };
            let number = segment.name.number;
            if let Some(batch) = scanner.next_batch() {
                self.next_sequence = Some(batch.next_sequence());
                self.replay
                    .handle_batch(number, batch)
                    .map_err(|error| error.to_string())?;
                batches += 1;
                continue;
            }
            let limit = self.readable(number);
            let Some((segment, scanner)) = &mut self.current else {
                break;
            };
            let fed = scanner.fed();
            if fed < limit {
                let len = usize::try_from(limit - fed)
                    .unwrap_or(READ_LEN)
                    .min(READ_LEN);
                let bytes = read_log(&segment.file, fed, len)
                    .map_err(|error| format!("cannot read {}: {error}", segment.name))?;
                if bytes.is_empty() {
                    return Err(format!("{} is shorter than it was", segment.name));
                }
                scanner.feed(&bytes);
                continue;
            }
            if !self.next_segment()? {
                break;
            }
        }
        Ok(batches)
    }

    /// End of what may be replayed of segment `number`.
    fn readable(&self, number: u64) -> u64 {
        if self.durable.segment == number {
            return self.durable.position;
        }
        self.replica
            .context
            .shared
            .chain
            .link(number)
            .and_then(|link| link.end)
            .unwrap_or(0)
    }

    /// Opens the segment that replay stands in, if it is here.
    fn open_current(&mut self) -> Result<bool, String> {
        let at = self.replay.taken();
        let Some(link) = self.replica.context.shared.chain.link(at.segment) else {
            return Ok(false);
        };
        let (file, header) = self
            .replica
            .context
            .shared
            .dir
            .load(&link.name)
            .map_err(|error| error.to_string())?;
        let Some((header, _)) = header else {
            return Ok(false);
        };
        let scanner = Scanner::new(&header, at.position, self.replica.size);
        let segment = Segment {
            name: link.name,
            header,
            file: Arc::new(file),
        };
        self.current = Some((segment, scanner));
        Ok(true)
    }

    /// Goes on in the next segment if the present one is complete; checks that the histories join.
    fn next_segment(&mut self) -> Result<bool, String> {
        let Some((segment, scanner)) = &self.current else {
            return Ok(false);
        };
        let shared = &self.replica.context.shared;
        let number = segment.name.number;
        let end = scanner.end();
        let known = shared.chain.link(number).and_then(|link| link.end);
        match (&end, known) {
            (ScanEnd::Damaged { position, why }, _) => {
                return Err(format!("{} is damaged at {position}: {why}", segment.name));
            }
            (ScanEnd::Refused { position, why }, _) => {
                return Err(format!(
                    "{} cannot be replayed at {position}: {why}",
                    segment.name
                ));
            }
            (ScanEnd::Torn { position, why }, Some(length)) if *position < length => {
                return Err(format!("{} is damaged at {position}: {why}", segment.name));
            }
            (_, None) => return Ok(false),
            (_, Some(length)) if end.position() != length => return Ok(false),
            _ => {}
        }
        let Some(next) = shared.chain.next(number) else {
            return Ok(false);
        };
        let place = LogEnd {
            log: segment.name.clone(),
            position: end.position(),
        };
        let (_, header) = shared
            .dir
            .load(&next.name)
            .map_err(|error| error.to_string())?;
        let Some((header, _)) = header else {
            return Ok(false);
        };
        // Replay of the old segment must be recorded before its version becomes the previous one.
        while let Some(effect) = self.replay.poll() {
            self.execute(effect)?;
        }
        self.replay.request_publish();
        while let Some(effect) = self.replay.poll() {
            self.execute(effect)?;
        }
        let version = chain_value(&place, &self.replica.state.previous_version);
        let mine = version
            .parse::<VersionValue>()
            .map_err(|error| error.to_string())?;
        let joins = header
            .predecessor
            .as_ref()
            .is_some_and(|p| p.end == place.pos() && p.digest == mine.digest);
        if !joins {
            let text = format!(
                "{} does not continue the history that ends at {place}",
                next.name
            );
            self.split_brain(&text);
            return Err(text);
        }
        self.replay
            .handle_next_segment(next.name.number)
            .map_err(|error| error.to_string())?;
        let start = LogEnd {
            log: next.name.clone(),
            position: 0,
        };
        self.replica
            .record(|state| {
                state.previous_version = version;
                state.applied = start;
            })
            .map_err(|error| format!("cannot write the superblock: {error}"))?;
        self.current = None;
        self.show();
        Ok(true)
    }

    /// Executes one effect of replay; returns the bytes written.
    fn execute(&mut self, effect: ReplayEffect) -> Result<u64, String> {
        let path = self.replica.disk.path().display().to_string();
        match effect {
            ReplayEffect::Apply {
                token,
                offset,
                content,
            } => {
                self.replica
                    .disk
                    .write(offset, &content)
                    .map_err(|error| format!("cannot write to {path}: {error}"))?;
                self.replay.handle_applied(token);
                Ok(content.len())
            }
            ReplayEffect::FlushDisk => {
                self.replica
                    .disk
                    .flush()
                    .map_err(|error| format!("cannot flush {path}: {error}"))?;
                self.replay.handle_disk_flushed();
                Ok(0)
            }
            ReplayEffect::Publish { replayed } => {
                let mut applied = self.replica.state.applied.clone();
                if replayed.segment == applied.log.number && replayed.position > applied.position {
                    applied.position = replayed.position;
                    self.replica
                        .record(|state| state.applied = applied)
                        .map_err(|error| format!("cannot write the superblock: {error}"))?;
                    self.show_soon();
                }
                Ok(0)
            }
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

/// Why what follows the valid prefix is no leftover of an interrupted append; `None` if it may be one.
///
/// An append that the death of the process or the machine interrupted leaves sectors that were never written, which
/// read as zeroes, or a file that ends inside the batch. Bytes that are all there and do not fit their checksum were
/// changed later: what they once said may have been acknowledged.
fn broken_at(file: &File, header: &SegmentHeader, end: &ScanEnd) -> Option<String> {
    let why = match end {
        ScanEnd::Clean { .. } | ScanEnd::Closed { .. } => return None,
        ScanEnd::Refused { why, .. } => return Some(why.to_string()),
        ScanEnd::Torn { why, .. } | ScanEnd::Damaged { why, .. } => why.to_string(),
    };
    let position = end.position();
    let expect = Expect {
        generation: header.generation,
        alignment: header.alignment,
        position,
        sequence: Sequence::AtLeast(header.base_sequence),
        device_size: u64::MAX,
    };
    let head = read_log(file, position, SECTOR).ok()?;
    let whole = match decode_header(&head, &expect) {
        Ok(batch) => batch.length,
        Err(_) => SECTOR,
    };
    let bytes = read_log(file, position, whole).ok()?;
    let unwritten = bytes
        .chunks_exact(SECTOR)
        .any(|sector| sector.iter().all(|byte| *byte == 0));
    (bytes.len() == whole && !unwritten).then_some(why)
}

/// Scans from `start` to the end of the valid prefix of a local file.
fn scan_to_end(
    file: &File,
    header: &SegmentHeader,
    start: u64,
    device_size: u64,
) -> Result<ScanEnd, LogFileError> {
    let mut scanner = Scanner::new(header, start, device_size);
    let mut at = start;
    loop {
        while scanner.next_batch().is_some() {}
        let bytes = read_log(file, at, READ_LEN).map_err(LogFileError::reading)?;
        if bytes.is_empty() {
            return Ok(scanner.end());
        }
        let mut offered = &bytes[..];
        while !offered.is_empty() {
            let taken = scanner.feed(offered);
            offered = &offered[taken..];
            at += taken as u64;
            while scanner.next_batch().is_some() {}
            if taken == 0 && !offered.is_empty() {
                return Ok(scanner.end());
            }
        }
    }
}

/// Sequence number that follows the last record of a segment, by scanning it.
pub(crate) fn next_sequence_of(segment: &Segment, device_size: u64) -> Result<u64, LogFileError> {
    let mut scanner = Scanner::new(&segment.header, 0, device_size);
    let mut at = 0;
    loop {
        let bytes = read_log(&segment.file, at, READ_LEN).map_err(LogFileError::reading)?;
        if bytes.is_empty() {
            break;
        }
        let taken = scanner.feed(&bytes) as u64;
        at += taken;
        while scanner.next_batch().is_some() {}
        if taken == 0 {
            break;
        }
    }
    Ok(match scanner.expect().sequence {
        Sequence::Exactly(next) | Sequence::AtLeast(next) => next,
    })
}
