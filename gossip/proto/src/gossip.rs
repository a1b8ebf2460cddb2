//! The state machine: inputs, outputs, and the spreading of changes.

use crate::arrivals::{Arrivals, Cursors};
use crate::collect::Collecting;
use crate::denial::{deny, until};
use crate::door::{self, Override, Verdict};
use crate::hello::FEATURE_OVERLAY;
use crate::limits::{
    CLOCK_ANSWER_NS, CLOCK_INTERVAL_NS, FORCED_KEYS_MAX, NOTES_SETTLE_NS, PENDING_MERGE_MAX,
    REPAIR_QUIET_NS, REPAIR_TIMEOUT_NS, WINDOW, YOUNG_NS,
};
use crate::missed::Missed;
use crate::overlay::Overlay;
use crate::peer::{Peer, Why};
use crate::recon::{ask_uncompared, floor};
use crate::topology::Topology;
use crate::watching::Watching;
use crate::{
    Body, Config, Ctx, Ending, Event, Hello, MergeOutcome, Message, ScopeIndex, Standing,
    fingerprint,
};
use mars_lamport::Timestamp;
use mars_meta_model::{
    EPOCH_PREFIX, Entry, Key, Merge, NodeId, Scope, collect, current_epoch, is_volatile, scope_of,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// Most events kept until somebody asks; the oldest are dropped.
const EVENTS_MAX: usize = 1024;

/// The gossip protocol of one node.
///
/// After every `handle_*` the shell drains [`Gossip::poll_merge`], [`Gossip::poll_transmit`] and
/// [`Gossip::poll_event`], and arms a timer for [`Gossip::poll_timeout`].
///
/// # Invariants
/// * what is queued for a peer is a set of keys; the entries are read from the view when they are sent, so a queue
///   is bounded by keys, always carries the newest version, and nothing leaves for a peer outside of its scope;
/// * every entry that is merged anywhere is shown to the core, by [`Gossip::handle_merge_result`] or
///   [`Gossip::handle_applied`]; showing it twice does no harm.
#[derive(Debug)]
pub struct Gossip {
    pub(crate) config: Config,
    pub(crate) index: BTreeMap<Scope, ScopeIndex>,
    pub(crate) topology: Arc<Topology>,
    pub(crate) peers: BTreeMap<String, Peer>,
    pub(crate) own_volatile: BTreeSet<Key>,
    pub(crate) overlay: Overlay,
    pub(crate) arrivals: Arrivals,
    pub(crate) cursors: Cursors,
    /// Foreign volatile entries that were passed on, by their fingerprints.
    pub(crate) relayed: BTreeMap<Key, u128>,
    /// What was refused and is in no comparison.
    pub(crate) missed: Missed,
    random: u64,
    pub(crate) heard: BTreeMap<String, u64>,
    /// Monotonic time when this core was made.
    began: u64,
    merges: VecDeque<(String, Vec<Entry>)>,
    pub(crate) pending_merge: usize,
    events: VecDeque<Event>,
    /// The peer served last, so that the next one is served next.
    turn: String,
    pub(crate) collecting: Collecting,
    pub(crate) watching: Watching,
}

impl Gossip {
    /// A core over the contents of the store. `seed` varies the times of digests between nodes.
    #[must_use]
    pub fn new(config: Config, seed: u64, ctx: &Ctx<'_>) -> Self {
        let topology = Arc::new(Topology::read(ctx.view, &config.host));
        let mut core = Self {
            config,
            index: BTreeMap::new(),
            topology,
            peers: BTreeMap::new(),
            own_volatile: BTreeSet::new(),
            overlay: Overlay::default(),
            arrivals: Arrivals::default(),
            cursors: Cursors::default(),
            relayed: BTreeMap::new(),
            missed: Missed::default(),
            random: seed,
            heard: BTreeMap::new(),
            began: ctx.now,
            merges: VecDeque::new(),
            pending_merge: 0,
            events: VecDeque::new(),
            turn: String::new(),
            collecting: Collecting::new(ctx),
            watching: Watching::default(),
        };
        core.handle_reload(ctx);
        core.rewire(ctx);
        core
    }

    /// Reads everything again: after changes were missed. Connected peers compare at once.
    pub fn handle_reload(&mut self, ctx: &Ctx<'_>) {
        self.index.clear();
        self.own_volatile.clear();
        for entry in ctx.view.scan("") {
            if !is_volatile(entry) {
                let scope = self.index.entry(scope_of(&entry.key)).or_default();
                scope.put(entry);
            } else if entry.origin == self.config.node {
                self.own_volatile.insert(entry.key.clone());
            }
        }
        self.note_marks(ctx);
        let own = self.own_volatile.clone();
        for key in &own {
            self.queue_volatile(key);
        }
        // Which changes were missed is not known.
        self.arrivals.forget();
        self.refresh_topology(ctx);
        self.tell_watchers_all(ctx);
        let hosts: Vec<String> = self.peers.keys().cloned().collect();
        for host in hosts {
            if let Some(peer) = self.peers.get_mut(&host) {
                peer.sum.all_outdated();
            }
            self.send_digest(&host, false);
        }
    }

    /// A connection to `host` is up, greetings were exchanged. A former connection to it is forgotten.
    pub fn handle_connected(&mut self, ctx: &Ctx<'_>, host: &str, hello: &Hello) {
        self.collecting.forget(host);
        let mut peer = Peer::default();
        peer.shared = self.topology.shared(host);
        peer.sum.reset(&peer.shared);
        peer.volatile_next = ctx.now;
        peer.digest_due = ctx.now.saturating_add(self.interval());
        peer.node.clone_from(&hello.node);
        let features = hello.features & self.config.features;
        (peer.boot, peer.features, peer.keep) = (hello.boot, features, true);
        // Until it says how long it has lived.
        (peer.up_since, peer.sure_from) = (ctx.wall, ctx.wall.saturating_add(YOUNG_NS));
        peer.late = ctx.now.saturating_sub(self.began) > YOUNG_NS;
        self.peers.insert(host.to_owned(), peer);
        self.heard.insert(host.to_owned(), ctx.wall);
        self.send_clock(ctx, host);
        self.push_uncompared(ctx, host, |_| true);
        self.resume(ctx, host, hello);
        self.link_up(ctx, host, hello.boot);
        self.watch_up(ctx, host);
    }

    /// Sends a peer what has changed since all was equal with it, and compares afterwards; or, if that is not known,
    /// compares at once.
    fn resume(&mut self, ctx: &Ctx<'_>, host: &str, hello: &Hello) {
        let cursor = self.cursors.get(host, &hello.node);
        let lives_on = cursor.filter(|cursor| cursor.boot == hello.boot);
        let volatile = lives_on.and_then(|cursor| self.arrivals.since(cursor.volatile));
        let durable = cursor.and_then(|cursor| self.arrivals.since(cursor.durable));
        let volatile = volatile.unwrap_or_else(|| self.relayed.keys().cloned().collect());
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        for key in &volatile {
            // Within a resource, its origin sends it by itself.
            if scope_of(key) == Scope::Global && self.relayed.contains_key(key) {
                peer.push(key);
            }
        }
        let mut missed = false;
        for key in durable.iter().flatten() {
            let scope = scope_of(key);
            let held = self.index.get(&scope).and_then(|index| index.get(key));
            if held.is_some() && (scope == Scope::Global || peer.shared.contains(&scope)) {
                peer.push(key);
                missed = true;
            }
        }
        if missed {
            peer.resumed = true;
            peer.quick_due = Some(ctx.now.saturating_add(REPAIR_QUIET_NS));
        } else {
            self.send_digest(host, false);
        }
    }

    /// Tells a peer the system clock, which is read when the message leaves.
    fn send_clock(&mut self, ctx: &Ctx<'_>, host: &str) {
        if let Some(peer) = self.peers.get_mut(host) {
            peer.clock_due = ctx.now.saturating_add(CLOCK_INTERVAL_NS);
            peer.control(Body::Clock(0, None));
        }
    }

    /// Asks a connected peer for its system clock.
    pub fn ask_clock(&mut self, ctx: &Ctx<'_>, host: &str) {
        if let Some(peer) = self.peers.get_mut(host) {
            peer.ask_clock = true;
            self.send_clock(ctx, host);
        }
    }

    /// A peer has told its clock, and perhaps more.
    fn on_clock(&mut self, ctx: &Ctx<'_>, host: &str, standing: Option<Standing>) {
        let (Some(standing), Some(peer)) = (standing, self.peers.get_mut(host)) else {
            return;
        };
        let age = u64::from(standing.age_secs).saturating_mul(1_000_000_000);
        let grown = ctx.wall.saturating_sub(age).saturating_add(YOUNG_NS);
        let sure = grown.max(peer.up_since.saturating_add(NOTES_SETTLE_NS));
        if sure < peer.sure_from {
            peer.sure_from = sure;
            self.overlay.version += 1;
        }
        let told = peer.clock_told;
        if standing.ask && told.is_none_or(|told| told + CLOCK_ANSWER_NS <= ctx.now) {
            peer.clock_told = Some(ctx.now);
            self.send_clock(ctx, host);
        }
    }

    /// The connection to `host` is gone.
    pub fn handle_disconnected(&mut self, ctx: &Ctx<'_>, host: &str, ending: Ending) {
        self.collecting.forget(host);
        if self.peers.remove(host).is_some() {
            self.link_down(ctx, host, ending);
            self.watch_down(ctx, host);
        }
    }

    /// A message has come from a connected peer. Its stamp is not looked at: the shell gives it to the clock.
    pub fn handle_message(&mut self, ctx: &Ctx<'_>, host: &str, message: Message) {
        self.heard.insert(host.to_owned(), ctx.wall);
        match message.body {
            // Clocks are compared by the shell, which knows how long the message was on its way.
            Body::Hello(_) => {}
            Body::Clock(_, standing) => self.on_clock(ctx, host, standing),
            Body::Push(entries, skipped) => self.received(ctx, host, (entries, skipped), false),
            Body::Entries(entries, skipped) => self.received(ctx, host, (entries, skipped), true),
            Body::Digest(digest) => self.on_digest(ctx, host, &digest),
            Body::Ranges(ranges) => self.on_ranges(ctx, host, ranges),
            Body::Items(sets) => self.on_items(ctx, host, sets),
            Body::Want(wants) => self.on_want(ctx, host, &wants),
            Body::Marks(lines) => self.on_marks(ctx, host, &lines),
            Body::Context(context) => self.on_context(ctx, host, &context),
            Body::Below(lines) => self.on_below(ctx, host, &lines),
            Body::Links(notes) => self.on_links(ctx, host, &notes),
            Body::Brief(brief) => self.on_brief(ctx, host, &brief),
            Body::Prints(groups) => self.on_prints(ctx, host, groups),
            Body::Lists(sets) => self.on_items(ctx, host, sets),
            Body::Watch(watch) => self.on_watch(ctx, host, &watch),
            Body::News(news) => self.on_news(ctx, host, news),
            Body::Unserved(lines) => self.on_unserved(ctx, host, &lines),
            Body::Bye(reason) => self.event(Event::Bye {
                peer: host.to_owned(),
                reason,
            }),
        }
    }

    fn received(
        &mut self,
        ctx: &Ctx<'_>,
        host: &str,
        (entries, skipped): (Vec<Entry>, u32),
        repair: bool,
    ) {
        if skipped > 0 {
            self.event(Event::Skipped {
                peer: host.to_owned(),
                count: skipped,
            });
        }
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        let mut fresh = Vec::new();
        let mut below = Vec::new();
        let mut events = Vec::new();
        for entry in entries {
            let scope = scope_of(&entry.key);
            if !self.topology.includes(&scope, &self.config.host) {
                continue;
            }
            let held = ctx.view.entry(&entry.key);
            let floor = floor(ctx.view, &scope);
            if collect::door(&entry, held, floor) == collect::Door::BelowFloor {
                below.push(entry);
                continue;
            }
            match entry.merge_over(ctx.view.entry(&entry.key)) {
                Merge::Apply => {
                    let rules = (&self.config, &*self.topology);
                    match door::judge(rules, ctx, host, &peer.incoming, &entry) {
                        Verdict::Take => {}
                        verdict => {
                            let why = until(ctx, self.config.max_ahead_ns, &entry);
                            deny(peer, host, &entry, (verdict, why), &mut events);
                            continue;
                        }
                    }
                    let print = fingerprint(&entry);
                    peer.incoming.insert(entry.key.clone(), (print, repair));
                    fresh.push(entry);
                }
                Merge::Duplicate => {
                    peer.accept(&entry.key);
                    peer.push.remove(&entry.key);
                    peer.volatile.remove(&entry.key);
                }
                Merge::Stale if self.topology.includes(&scope, host) => peer.repair(&entry.key),
                Merge::Stale => {}
            }
        }
        if !peer.synced {
            peer.touch(ctx.now);
        }
        if !fresh.is_empty() {
            self.pending_merge += fresh.len();
            self.merges.push_back((host.to_owned(), fresh));
        }
        self.below_floor(ctx, host, &below);
        for event in events {
            self.event(event);
        }
    }

    /// What became of entries that [`Gossip::poll_merge`] had handed out for `host`.
    pub fn handle_merge_result(
        &mut self,
        ctx: &Ctx<'_>,
        host: &str,
        results: &[(Entry, MergeOutcome)],
    ) {
        self.pending_merge = self.pending_merge.saturating_sub(results.len());
        let (mut concerns, mut epoch) = (false, false);
        let mut below = Vec::new();
        // Who it is may be among what was received.
        let writer = self.topology.id_of(host);
        for (entry, outcome) in results {
            if *outcome == MergeOutcome::Applied {
                epoch |= entry.key.as_str().starts_with(EPOCH_PREFIX);
                concerns |= Topology::concerns(entry.key.as_str());
                self.note(ctx, entry, Some(host));
            }
            let answer = self.topology.includes(&scope_of(&entry.key), host);
            let Some(peer) = self.peers.get_mut(host) else {
                continue;
            };
            peer.incoming.remove(&entry.key);
            match outcome {
                MergeOutcome::Applied | MergeOutcome::Duplicate => peer.accept(&entry.key),
                MergeOutcome::Stale if answer => peer.repair(&entry.key),
                MergeOutcome::Stale => {}
                MergeOutcome::BelowFloor => below.push(entry.clone()),
                MergeOutcome::TooFarAhead | MergeOutcome::EpochAhead => {
                    let stamp = *outcome == MergeOutcome::TooFarAhead;
                    peer.refused_count += 1;
                    if is_volatile(entry) {
                        self.missed.note(host, entry);
                    } else {
                        peer.refuse(entry, if stamp { Why::Stamp } else { Why::Epoch });
                    }
                    self.event(Event::Refused {
                        peer: host.to_owned(),
                        key: entry.key.clone(),
                        stamp: entry.stamp,
                    });
                }
            }
        }
        if let Some(peer) = self.peers.get_mut(host).filter(|peer| !peer.synced) {
            peer.touch(ctx.now);
        }
        self.below_floor(ctx, host, &below);
        if epoch {
            self.epoch_began(ctx);
        }
        if concerns {
            self.refresh_topology(ctx);
        }
        let applied = results.iter();
        let applied = applied.filter(|(_, outcome)| *outcome == MergeOutcome::Applied);
        self.tell_forced(ctx, (host, writer), applied.map(|(entry, _)| entry));
        self.flush_volatile(ctx.now);
        self.look_at_contexts(ctx);
    }

    /// Tells of overrides among what was received from `host` and stored: those of the peer itself, and those that it
    /// passed on.
    fn tell_forced<'e>(
        &mut self,
        ctx: &Ctx<'_>,
        (host, writer): (&str, Option<NodeId>),
        entries: impl Iterator<Item = &'e Entry>,
    ) {
        // By origin: keys and number.
        let mut forced: BTreeMap<(bool, NodeId), (Vec<Key>, u64)> = BTreeMap::new();
        for entry in entries {
            let rules = (&self.config, &*self.topology);
            if let Some(found) = door::override_of(rules, ctx.view, (host, writer), entry) {
                let relayed = found == Override::Relayed;
                let (keys, count) = forced.entry((relayed, entry.origin)).or_default();
                *count += 1;
                if keys.len() < FORCED_KEYS_MAX {
                    keys.push(entry.key.clone());
                }
            }
        }
        for ((relayed, origin), (keys, count)) in forced {
            self.event(Event::Forced {
                peer: host.to_owned(),
                relayed,
                origin,
                keys,
                count,
            });
        }
    }

    /// Entries were applied to the store, from anywhere; the view has them already.
    pub fn handle_applied(&mut self, ctx: &Ctx<'_>, entries: &[Entry]) {
        let (mut concerns, mut epoch) = (false, false);
        for entry in entries {
            concerns |= Topology::concerns(entry.key.as_str());
            epoch |= entry.key.as_str().starts_with(EPOCH_PREFIX);
            self.note(ctx, entry, None);
        }
        if epoch {
            self.epoch_began(ctx);
        }
        if concerns {
            self.refresh_topology(ctx);
        }
        self.flush_volatile(ctx.now);
    }

    /// Another epoch was announced.
    fn epoch_began(&mut self, ctx: &Ctx<'_>) {
        self.release_all(ctx, Why::Epoch);
        // However far ahead the stamps of earlier epochs are, they are taken now.
        self.release_all(ctx, Why::Stamp);
        let hosts: Vec<String> = self.peers.keys().cloned().collect();
        for host in hosts {
            // It says in which epoch this node is.
            self.send_clock(ctx, &host);
            self.ask_missed(ctx, &host);
        }
        self.event(Event::EpochBegan);
    }

    /// Asks a connected peer for the observations of it that were refused and may be taken now.
    fn ask_missed(&mut self, ctx: &Ctx<'_>, host: &str) {
        let Some(peer) = self.peers.get_mut(host).filter(|_| !self.missed.is_empty()) else {
            return;
        };
        let newest = Timestamp::from_nanos(ctx.wall.saturating_add(self.config.max_ahead_ns));
        let due = self.missed.due(host, current_epoch(ctx.view), newest);
        ask_uncompared(peer, due);
    }

    /// What was refused for this reason may be taken now.
    pub(crate) fn release_all(&mut self, ctx: &Ctx<'_>, why: Why) {
        for peer in self.peers.values_mut() {
            peer.release_all(why, ctx.now);
        }
    }

    /// A message that [`Gossip::poll_transmit`] had handed out for `host` has left the process.
    pub fn handle_sent(&mut self, host: &str) {
        if let Some(peer) = self.peers.get_mut(host) {
            peer.in_flight = peer.in_flight.saturating_sub(1);
        }
    }

    /// Time has passed; to be called when [`Gossip::poll_timeout`] is reached, harmless at any other time.
    pub fn handle_timeout(&mut self, ctx: &Ctx<'_>) {
        self.flush_volatile(ctx.now);
        self.collect_timeout(ctx);
        self.check_served(ctx.now);
        self.check_watches(ctx);
        let acceptable = Timestamp::from_nanos(ctx.wall.saturating_add(self.config.max_ahead_ns));
        let hosts: Vec<String> = self.peers.keys().cloned().collect();
        for host in hosts {
            let interval = self.interval();
            let Some(peer) = self.peers.get_mut(&host) else {
                continue;
            };
            let mut quick = peer.quick_due.is_some_and(|due| ctx.now >= due);
            let regular = ctx.now >= peer.digest_due;
            if quick && peer.resumed && !peer.push.is_empty() {
                // What it missed is still on its way.
                peer.quick_due = Some(ctx.now.saturating_add(REPAIR_QUIET_NS));
                quick = false;
            }
            if quick {
                peer.resumed = false;
                peer.count_round();
            }
            if regular {
                peer.digest_due = ctx.now.saturating_add(interval);
                peer.release(acceptable);
                let limit = |at: u64| at.saturating_add(REPAIR_TIMEOUT_NS) > ctx.now;
                peer.repair_at = peer.repair_at.filter(|at| limit(*at));
            }
            if regular && ctx.now >= peer.clock_due {
                peer.clock_due = ctx.now.saturating_add(CLOCK_INTERVAL_NS);
                peer.control(Body::Clock(0, None));
            }
            let short = peer.features & FEATURE_OVERLAY != 0;
            peer.brief |= regular && short;
            if quick || (regular && !(short && peer.synced && !peer.doubt)) {
                self.send_digest(&host, false);
            }
            if regular {
                self.ask_missed(ctx, &host);
            }
        }
        self.check_overlay(ctx);
    }

    /// When [`Gossip::handle_timeout`] wants to be called, in ns of monotonic time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let due = |peer: &Peer| {
            let volatile = (!peer.volatile.is_empty()).then_some(peer.volatile_next);
            let others = [peer.quick_due, volatile, peer.served.due()];
            let others = others.into_iter().flatten().min();
            others.map_or(peer.digest_due, |other| other.min(peer.digest_due))
        };
        let peers = self.peers.values().map(due).min();
        let collect = self.config.collect.map(|_| self.collecting.due);
        [peers, self.overlay_due(), collect, self.watching.due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next message to send, and to whom. At most [`WINDOW`] messages of a peer are out at a time:
    /// each is to be confirmed by [`Gossip::handle_sent`], or the peer reported as disconnected.
    pub fn poll_transmit(&mut self, ctx: &Ctx<'_>) -> Option<(String, Message)> {
        let behind = (Bound::Excluded(self.turn.clone()), Bound::Unbounded);
        let upto = (Bound::Unbounded, Bound::Included(self.turn.clone()));
        let order = self.peers.range::<String, _>(behind);
        let order = order.chain(self.peers.range::<String, _>(upto));
        let hosts: Vec<String> = order
            .filter(|(_, peer)| peer.in_flight < WINDOW && (!peer.is_drained() || peer.dirty))
            .map(|(host, _)| host.clone())
            .collect();
        for host in hosts {
            if let Some(mut body) = self.next_body(ctx, &host) {
                if let Body::Clock(wall, standing) = &mut body {
                    let age = ctx.now.saturating_sub(self.began) / 1_000_000_000;
                    *wall = ctx.wall;
                    *standing = Some(Standing {
                        epoch: current_epoch(ctx.view),
                        ask: self
                            .peers
                            .get_mut(&host)
                            .is_some_and(|peer| std::mem::take(&mut peer.ask_clock)),
                        age_secs: u32::try_from(age).unwrap_or(u32::MAX),
                    });
                }
                if let Some(peer) = self.peers.get_mut(&host) {
                    peer.in_flight += 1;
                }
                self.turn.clone_from(&host);
                let stamp = ctx.stamp;
                return Some((host, Message { stamp, body }));
            }
        }
        None
    }

    /// The next message that may get lost, and to whom: to be sent as a datagram.
    pub fn poll_datagram(&mut self, ctx: &Ctx<'_>) -> Option<(String, Message)> {
        let waiting = self.peers.iter_mut().find(|(_, peer)| peer.brief);
        let (host, peer) = waiting?;
        peer.brief = false;
        let host = host.clone();
        let body = Body::Brief(self.brief(&host)?);
        let stamp = ctx.stamp;
        Some((host, Message { stamp, body }))
    }

    /// The next entries to merge into the store, and from whom they came. The outcome of every one of them is to be
    /// reported by one call of [`Gossip::handle_merge_result`].
    pub fn poll_merge(&mut self) -> Option<(String, Vec<Entry>)> {
        self.merges.pop_front()
    }

    /// Whether further messages can be taken in: as long as not too many entries wait to be merged.
    #[must_use]
    pub fn wants_messages(&self) -> bool {
        self.pending_merge < PENDING_MERGE_MAX && self.watching.has_room()
    }

    pub(crate) const fn pending_merge(&self) -> usize {
        self.pending_merge
    }

    pub(crate) fn pending_events(&self) -> usize {
        self.events.len()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn event(&mut self, event: Event) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Whether there is a connection to a peer.
    #[must_use]
    pub fn is_connected(&self, host: &str) -> bool {
        self.peers.contains_key(host)
    }

    /// Whether all that is shared with a connected peer was equal when last compared.
    #[must_use]
    pub fn is_synced(&self, host: &str) -> bool {
        self.peers.get(host).is_some_and(|peer| peer.synced)
    }

    /// How many of a peer's entries were refused since the connection to it is up: for stamp or epoch, and for a rule
    /// of trust.
    #[must_use]
    pub fn refused(&self, host: &str) -> (u64, u64) {
        let peer = self.peers.get(host);
        peer.map_or((0, 0), |peer| (peer.refused_count, peer.denied_count))
    }

    /// Fingerprint and number of the durable entries of a scope, for checks and displays.
    #[must_use]
    pub fn scope_summary(&self, scope: &Scope) -> crate::Summary {
        let index = self.index.get(scope);
        index.map_or_else(crate::Summary::default, ScopeIndex::total)
    }

    /// The digest interval, varied by up to a tenth in both directions.
    fn interval(&mut self) -> u64 {
        // SplitMix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let base = self.config.digest_interval_ns;
        base - base / 10 + z % (base / 5).max(1)
    }
}
