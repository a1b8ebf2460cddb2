//! The driver of one resource: a thread that owns its disk, its log and its role.
//!
//! It takes one event at a time, asks the planner what shall run, and moves between three modes. Entering and
//! leaving a mode does blocking work of its own; front ends and peers talk to it through queues.

use super::primary::{LeaveState, Primary};
use super::request::Requests;
use super::secondary::{OpenError, Secondary};
use super::shared::Shared;
use super::slots::SyncSlots;
use super::succession::{Succession, recalls, successor};
use super::workers::{Done, spawn as spawn_thread};
use crate::limits::EVENT_QUEUE_LEN;
use crate::replicate::{FetchEvent, Peers, SyncEvent};
use mars_datapath_core::format::Successor;
use mars_datapath_core::plan::{Designated, Observed, Right, Role, Target, Wish, plan};
use mars_datapath_core::version::ReplayValue;
use mars_datapath_core::{LogPos, Name};
use mars_lamport::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Wait before a disk that could not be opened is tried again.
const ATTACH_RETRY: Duration = Duration::from_secs(3);
/// Longest time without a look at timers.
const TICK: Duration = Duration::from_millis(200);

/// What the store says about a resource, read by the controller.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Intent {
    /// The wishes.
    pub(crate) wish: Wish,
    /// How much log the other members know of.
    pub(crate) others: BTreeMap<String, LogPos>,
    /// Lowest log number that a member still needs; `None` if one of them did not say.
    pub(crate) needed: Option<u64>,
    /// Token of the last flush request.
    pub(crate) flush_request: Option<String>,
    /// `replay-H` of this host as the store has it.
    pub(crate) replay_key: Option<ReplayValue>,
    /// It comes from a legacy tree: its log is one of the original.
    pub(crate) replay_imported: bool,
    /// `syncstatus-H` of this host as the store has it.
    pub(crate) sync_key: Option<u64>,
    /// What administrators ask for beyond the switches.
    pub(crate) requests: Requests,
}

/// What a driver reacts to.
#[derive(Debug)]
pub(crate) enum Event {
    /// The store's view changed.
    Intent(Box<Intent>),
    /// A job of a worker ended.
    Worker(Done),
    /// Something came from a log source.
    Fetched(FetchEvent),
    /// Something came from a sync.
    Synced(SyncEvent),
    /// End in order.
    Shutdown,
}

/// What all modes need.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The shared side.
    pub(crate) shared: Arc<Shared>,
    /// This host.
    pub(crate) host: Name,
    /// Connections to other data planes.
    pub(crate) peers: Arc<Peers>,
    /// How many syncs may run on this host.
    pub(crate) sync_slots: Arc<SyncSlots>,
    /// Where events go.
    pub(crate) events: mpsc::Sender<Event>,
    /// The runtime that network tasks run on.
    pub(crate) runtime: Handle,
    /// Length after which a segment is closed.
    pub(crate) segment_len: u64,
    /// Plain system calls for the log.
    pub(crate) without_io_uring: bool,
}

enum Mode {
    Detached,
    Secondary(Box<Secondary>),
    Primary(Box<Primary>),
}

struct Driver {
    context: Context,
    events: mpsc::Receiver<Event>,
    intent: Option<Box<Intent>>,
    mode: Mode,
    attach_after: Option<Instant>,
    /// Epoch and stamp of the switch `attach`, as far as this driver knows.
    attach_written: Option<(u16, Timestamp)>,
    /// The last life ended as primary.
    was_primary: bool,
    /// What is remembered of designations and rights.
    succession: Succession,
    ended: bool,
}

/// A running driver.
#[derive(Debug)]
pub(crate) struct DriverHandle {
    /// Where its events go.
    pub(crate) events: mpsc::Sender<Event>,
    /// Becomes true when the thread has ended.
    pub(crate) done: tokio::sync::oneshot::Receiver<()>,
}

/// Starts the driver of a resource.
///
/// # Errors
/// If the system gives no thread.
pub(crate) fn spawn(
    make: impl FnOnce(mpsc::Sender<Event>) -> Context,
) -> std::io::Result<DriverHandle> {
    let (sender, events) = mpsc::channel(EVENT_QUEUE_LEN);
    let context = make(sender.clone());
    let (done_tx, done) = tokio::sync::oneshot::channel();
    let name = format!("res-{}", context.shared.name);
    spawn_thread(name, move || {
        let driver = Driver {
            context,
            events,
            intent: None,
            mode: Mode::Detached,
            attach_after: None,
            attach_written: None,
            was_primary: false,
            succession: Succession::default(),
            ended: false,
        };
        driver.run();
        let _ = done_tx.send(());
    })?;
    Ok(DriverHandle {
        events: sender,
        done,
    })
}

impl Driver {
    fn run(mut self) {
        while !self.ended {
            self.advance();
            if self.ended {
                break;
            }
            let deadline = self.deadline();
            match &mut self.mode {
                Mode::Primary(primary) => {
                    if let Some(event) = primary.wait(&mut self.events, deadline) {
                        self.handle(event);
                    }
                }
                Mode::Detached | Mode::Secondary(_) => {
                    let wait = deadline.saturating_duration_since(Instant::now());
                    let events = &mut self.events;
                    let next = self
                        .context
                        .runtime
                        .block_on(async { tokio::time::timeout(wait, events.recv()).await });
                    match next {
                        Ok(Some(event)) => self.handle(event),
                        Ok(None) => self.ended = true,
                        Err(_) => {}
                    }
                    // What waits behind it is taken together, so that one sync covers many fetched pieces.
                    for _ in 0..EVENT_QUEUE_LEN {
                        match self.events.try_recv() {
                            Ok(event) if !self.ended => self.handle(event),
                            _ => break,
                        }
                    }
                }
            }
        }
    }

    fn deadline(&self) -> Instant {
        let tick = Instant::now() + TICK;
        match &self.mode {
            Mode::Primary(primary) => primary.deadline().map_or(tick, |at| at.min(tick)),
            Mode::Secondary(_) | Mode::Detached => tick,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Intent(intent) => {
                if let Mode::Primary(primary) = &mut self.mode {
                    primary.handle_intent(&intent);
                }
                let written = intent.requests.attach_written;
                if written != self.attach_written {
                    self.attach_written = written;
                    self.attach_after = None;
                }
                self.intent = Some(intent);
            }
            Event::Worker(done) => {
                if let Mode::Primary(primary) = &mut self.mode {
                    primary.handle_done(done);
                }
            }
            Event::Fetched(event) => {
                if let Mode::Secondary(secondary) = &mut self.mode {
                    secondary.handle_fetched(event);
                }
            }
            Event::Synced(event) => {
                if let Mode::Secondary(secondary) = &mut self.mode {
                    secondary.handle_synced(event);
                }
            }
            Event::Shutdown => self.shut_down(),
        }
    }

    /// Lets the present mode work, then moves towards what the planner wants.
    fn advance(&mut self) {
        match &mut self.mode {
            Mode::Secondary(secondary) => secondary.advance(),
            Mode::Primary(primary) => primary.advance(),
            Mode::Detached => {}
        }
        self.reopen_if_accepted();
        let Some(mut intent) = self.intent.take() else {
            return;
        };
        self.succession.note_designation(&intent.wish);
        let is_primary = matches!(self.mode, Mode::Primary(_));
        let (host, shared) = (&self.context.host, &self.context.shared);
        self.succession
            .renounce(&mut intent.wish, host, is_primary, shared);
        let seen = self.observed(&intent);
        let (target, waiting) = plan(&intent.wish, &seen);
        let text = waiting.as_ref().map(ToString::to_string);
        self.context.shared.message("wrn-primary", text.as_deref());
        self.recall(&intent.wish, &seen);
        self.move_to(&target, &intent);
        self.tidy(&intent);
        self.intent.get_or_insert(intent);
    }

    /// A replica that is stopped by damage is opened anew once an administrator accepted that place as the log's end.
    fn reopen_if_accepted(&mut self) {
        let Mode::Secondary(secondary) = &self.mode else {
            return;
        };
        let damage = secondary.damage();
        let accepted = self
            .intent
            .as_ref()
            .and_then(|intent| intent.wish.accepted_end.clone());
        if damage.is_some() && damage == accepted {
            self.detach();
        }
    }

    fn observed(&self, intent: &Intent) -> Observed {
        let open_count = self.context.shared.open_count();
        let (role, consistent, replayed_all, end) = match &self.mode {
            // A crashed primary is opened first, so that its log is recovered.
            Mode::Detached => (Role::Detached, false, false, None),
            Mode::Secondary(s) => (
                Role::Secondary,
                s.is_consistent(),
                s.replayed_all(),
                Some(s.end()),
            ),
            Mode::Primary(p) => (Role::Primary, true, true, Some(p.end())),
        };
        let behind = end.and_then(|end| {
            intent
                .others
                .iter()
                .find(|(_, known)| **known > end)
                .map(|(host, _)| host.clone())
        });
        let unfinished = match &self.mode {
            Mode::Secondary(secondary) => secondary.unfinished(),
            Mode::Detached | Mode::Primary(_) => None,
        };
        let right = match &self.mode {
            Mode::Secondary(secondary) => secondary
                .closed_log()
                .map_or(Right::Unclaimed, |(log, named)| {
                    Right::behind(&intent.wish, self.context.host.as_str(), log, named)
                }),
            Mode::Detached | Mode::Primary(_) => Right::Unclaimed,
        };
        let writer = match &self.mode {
            Mode::Secondary(secondary) => Some(secondary.writer().to_owned()),
            Mode::Detached | Mode::Primary(_) => None,
        };
        // It may have been interrupted behind its close mark, or follow another one's log by now: then the role is not its own.
        let own_log = right == Right::Unclaimed && unfinished.is_none();
        let keeps = right == Right::Mine || own_log;
        let was_primary = self.was_primary && replayed_all && keeps;
        Observed {
            role,
            open_count,
            was_primary,
            consistent,
            replayed_all,
            behind,
            unfinished,
            right,
            writer,
            rested: self.succession.is_rested(),
            settled: self.succession.is_settled(),
        }
    }

    /// Asks for the right to go on behind this host's own log, where that was handed to another one than is designated: to go
    /// on itself, or to pass it on.
    fn recall(&self, wish: &Wish, seen: &Observed) {
        let wanted = recalls(&seen.right, wish);
        let closed = match &self.mode {
            Mode::Secondary(secondary) if wanted => secondary.closed_log(),
            _ => None,
        };
        let own = closed.map(|(log, _)| log.clone());
        let own = own.filter(|log| log.origin == self.context.host);
        self.context.shared.update(|status| status.recalls = own);
    }

    fn move_to(&mut self, target: &Target, intent: &Intent) {
        match (target, &mut self.mode) {
            // What was begun is ended: a log that is being closed takes no more, and its device is hidden. Who is
            // designated again meanwhile takes the role anew.
            (Target::Keep | Target::Primary, Mode::Primary(primary)) if primary.is_leaving() => {
                self.demote(successor(&intent.wish, target, &self.context.host));
            }
            (Target::Keep, _)
            | (Target::Primary, Mode::Primary(_))
            | (Target::Detached, Mode::Detached) => {}
            (Target::Depart, Mode::Detached) => {
                if let Err(error) = self.context.shared.dir.remove_all() {
                    tracing::warn!(resource = %self.context.shared.name, %error, "logs of a resource that was left remain");
                }
                tracing::info!(resource = %self.context.shared.name, "left the resource");
                self.ended = true;
            }
            (Target::Secondary { .. } | Target::Primary, Mode::Detached) => self.attach(intent),
            (
                Target::Secondary {
                    fetch,
                    replay,
                    sync,
                },
                Mode::Secondary(secondary),
            ) => {
                secondary.handle_requests(intent);
                let designated = matches!(intent.wish.designated, Some(Designated::Me));
                secondary.steer(fetch.as_deref(), *replay, sync.as_deref(), designated);
            }
            (Target::Primary, Mode::Secondary(_)) => self.promote(intent),
            (Target::Detached | Target::Depart, Mode::Secondary(_)) => self.detach(),
            (Target::Detached | Target::Depart | Target::Secondary { .. }, Mode::Primary(_)) => {
                self.demote(successor(&intent.wish, target, &self.context.host));
            }
        }
    }

    fn attach(&mut self, intent: &Intent) {
        if self.attach_after.is_some_and(|at| Instant::now() < at) {
            return;
        }
        match Secondary::open(self.context.clone(), intent) {
            Ok(secondary) => {
                self.attach_after = None;
                self.was_primary = secondary.was_primary();
                let (size, synced) = (secondary.disk_size(), secondary.synced());
                let damage = secondary.damage();
                self.context.shared.update(|status| {
                    status.attached = true;
                    status.disk_error = 0;
                    status.log_damage = damage;
                    status.disk_size = Some(size);
                    status.synced = Some(synced);
                });
                self.context.shared.message("err-disk", None);
                tracing::info!(resource = %self.context.shared.name, "attached");
                self.mode = Mode::Secondary(Box::new(secondary));
            }
            Err(error) => {
                self.attach_after = Some(Instant::now() + ATTACH_RETRY);
                self.report_open_error(&error);
            }
        }
    }

    fn report_open_error(&self, error: &OpenError) {
        let text = error.to_string();
        let known = self
            .context
            .shared
            .status()
            .messages
            .get("err-disk")
            .is_some_and(|old| old.ends_with(&text));
        if !known {
            tracing::error!(resource = %self.context.shared.name, error = %text, "cannot attach");
        }
        let errno = error.errno();
        let asked = self.attach_written;
        self.context.shared.update(|status| {
            status.disk_error = errno;
            status.disk_error_for = asked;
        });
        self.context.shared.message("err-disk", Some(&text));
    }

    fn detach(&mut self) {
        if let Mode::Secondary(secondary) = std::mem::replace(&mut self.mode, Mode::Detached) {
            secondary.close();
        }
        self.was_primary = false;
        self.context.shared.chain.clear();
        self.context.shared.update(|status| {
            let open_count = status.open_count;
            let (messages, flush_done) = (
                std::mem::take(&mut status.messages),
                status.flush_done.take(),
            );
            *status = crate::status::Status {
                open_count,
                messages,
                flush_done,
                ..Default::default()
            };
        });
        tracing::info!(resource = %self.context.shared.name, "detached");
    }

    fn promote(&mut self, intent: &Intent) {
        let Mode::Secondary(secondary) = std::mem::replace(&mut self.mode, Mode::Detached) else {
            return;
        };
        match Primary::begin(*secondary, &intent.wish) {
            Ok(mut primary) => {
                tracing::info!(resource = %self.context.shared.name, "primary");
                self.succession.note_role(&intent.wish);
                primary.handle_intent(intent);
                self.mode = Mode::Primary(Box::new(primary));
            }
            Err(error) => {
                tracing::error!(resource = %self.context.shared.name, %error, "cannot become primary");
                self.detach();
                self.attach_after = Some(Instant::now() + ATTACH_RETRY);
                self.context
                    .shared
                    .message("err-disk", Some(&format!("cannot become primary: {error}")));
            }
        }
    }

    fn demote(&mut self, successor: Successor) {
        let Mode::Primary(primary) = &mut self.mode else {
            return;
        };
        match primary.leave(successor) {
            LeaveState::Draining | LeaveState::Open => {}
            LeaveState::Drained => {
                let Mode::Primary(primary) = std::mem::replace(&mut self.mode, Mode::Detached)
                else {
                    return;
                };
                self.was_primary = false;
                tracing::info!(resource = %self.context.shared.name, "no longer primary");
                match primary.into_secondary() {
                    Ok(secondary) => self.mode = Mode::Secondary(Box::new(secondary)),
                    Err(error) => {
                        self.detach();
                        self.attach_after = Some(Instant::now() + ATTACH_RETRY);
                        self.report_open_error(&error);
                    }
                }
            }
            LeaveState::Failed => self.detach(),
        }
    }

    /// Removes logs that nobody needs any more.
    fn tidy(&self, intent: &Intent) {
        let own = match &self.mode {
            Mode::Detached => return,
            Mode::Secondary(secondary) => secondary.applied().segment,
            Mode::Primary(primary) => primary.applied().segment,
        };
        // Where a member tells no position, only what an administrator deletes by name goes.
        let asked = &intent.requests;
        let deletable = |link: &crate::segments::ChainLink| {
            asked.deleted_logs.contains(&link.name)
                && asked.known_needed.is_some_and(|n| link.name.number < n)
        };
        let chain = &self.context.shared.chain;
        let keep = intent
            .needed
            .unwrap_or_else(|| chain.first_kept(deletable))
            .min(own);
        if self
            .context
            .shared
            .chain
            .oldest()
            .is_none_or(|oldest| oldest >= keep)
        {
            return;
        }
        for name in self.context.shared.chain.take_below(keep) {
            match self.context.shared.dir.remove(&name) {
                Ok(()) => {
                    tracing::debug!(resource = %self.context.shared.name, log = %name, "removed a log that all have replayed");
                }
                Err(error) => {
                    tracing::warn!(resource = %self.context.shared.name, %error, "a log that all have replayed remains");
                }
            }
        }
    }

    fn shut_down(&mut self) {
        match std::mem::replace(&mut self.mode, Mode::Detached) {
            Mode::Primary(mut primary) => primary.shut_down(&mut self.events),
            Mode::Secondary(secondary) => secondary.close(),
            Mode::Detached => {}
        }
        self.ended = true;
    }
}
