//! Whom this node wants to be connected with, what it observes of them, and what that says about everybody.

use crate::hello::FEATURE_OVERLAY;
use crate::limits::{
    AVOID_NS, FOREIGN_MAX, FOREIGN_MEMBERS, LINK_MEMORY_NS, LOST_AFTER_NS, UNNEEDED_NS,
};
use crate::links::{LinkKey, LinkKind, LinkNote, LinkTable};
use crate::lives::Lives;
use crate::topology::Topology;
use crate::{Ctx, Ending, Event, Gossip, Liveness, Neighbour};
use mars_lamport::Timestamp;
use mars_meta_model::{NodeId, Scope, scope_of};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A node that this one wants to be connected with.
#[derive(Debug, Default)]
struct Watch {
    /// Since when there is no connection (monotonic); `None` while there is one.
    down: Option<u64>,
    /// Its process life when last connected.
    boot: u64,
    /// Whether it is reported as lost.
    reported: bool,
    /// Whether a note of ours about it is to be withdrawn when we turn away from it.
    noted: bool,
}

/// The part of the core that has to do with the overlay.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    watches: BTreeMap<String, Watch>,
    /// Substitutes that could not be reached, and until when they are not tried again.
    avoid: BTreeMap<String, u64>,
    pub(crate) links: LinkTable,
    last_at: Timestamp,
    prune_due: Option<u64>,
    /// When this process learnt of nodes that it did not know at its start (system clock).
    learnt: BTreeMap<NodeId, u64>,
    /// Counts what may change who lives.
    pub(crate) version: u64,
}

impl Overlay {
    pub(crate) fn wants(&self, host: &str) -> bool {
        self.watches.contains_key(host)
    }

    /// The active nodes were `old` and are `new`.
    pub(crate) fn learn(&mut self, wall: u64, old: &Topology, new: &Topology) {
        self.learnt.retain(|id, _| new.is_active(*id));
        let ids = new.active().values().map(|record| record.id);
        let learnt = ids.filter(|id| !old.is_active(*id)).map(|id| (id, wall));
        self.learnt.extend(learnt);
    }
}

impl Gossip {
    /// The nodes to be connected with now. A connection with another one is kept as long as that one wants it.
    #[must_use]
    pub fn neighbours(&self) -> Vec<Neighbour> {
        let active = self.topology.active();
        let wanted = active
            .iter()
            .filter(|(host, _)| self.overlay.wants(host.as_str()));
        wanted
            .map(|(host, record)| Neighbour {
                host: host.clone(),
                record: record.clone(),
            })
            .collect()
    }

    /// All other active nodes of the roster.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        let hosts = self.topology.active().keys().map(String::as_str);
        hosts.filter(|host| *host != self.config.host)
    }

    /// Chooses the neighbours anew: after the roster, memberships, or who can be reached have changed.
    pub(crate) fn rewire(&mut self, ctx: &Ctx<'_>) {
        let own = self.config.host.clone();
        let mut wanted = self.topology.neighbours(&own);
        wanted.extend(self.foreign_members());
        let down = self.reported_down();
        let lost = |host: &str| {
            self.is_lost(host) || (down.contains(host) && !self.peers.contains_key(host))
        };
        let substitutes = self.topology.rings().substitutes(&own, lost);
        wanted.extend(substitutes.into_iter().filter(|host| *host != own));
        let gone: Vec<String> = self
            .overlay
            .watches
            .keys()
            .filter(|host| !wanted.contains(*host))
            .cloned()
            .collect();
        let mut news = !gone.is_empty();
        for host in gone {
            if let Some(watch) = self.overlay.watches.remove(&host) {
                if watch.reported {
                    let until = ctx.now.saturating_add(AVOID_NS);
                    self.overlay.avoid.insert(host.clone(), until);
                }
                if watch.noted {
                    self.observe(ctx, &host, LinkKind::Withdrawn, watch.boot);
                }
            }
        }
        for host in wanted {
            if !self.overlay.wants(&host) {
                news = true;
                let peer = self.peers.get(&host);
                let watch = Watch {
                    down: peer.is_none().then_some(ctx.now),
                    boot: peer.map_or(0, |peer| peer.boot),
                    ..Watch::default()
                };
                self.overlay.watches.insert(host, watch);
            }
        }
        if news {
            self.event(Event::TopologyChanged);
        }
    }

    /// Members of resources that this node has written into without being one of them: somebody must take it in.
    fn foreign_members(&self) -> BTreeSet<String> {
        let own = &self.config.host;
        let volatile = self.own_volatile.iter().map(scope_of);
        let mut scopes: BTreeSet<Scope> = volatile.collect();
        scopes.extend(self.index.keys().cloned());
        let mut found = BTreeSet::new();
        for scope in scopes {
            let members = self.topology.members_of(&scope);
            if let Some(members) = members.filter(|members| !members.contains(own)) {
                let active = members
                    .iter()
                    .filter(|m| self.topology.active().contains_key(*m));
                let (gone, there): (Vec<_>, Vec<_>) = active.partition(|m| self.is_lost(m));
                // If none can be reached, there is nothing better than to go on trying.
                let choice = if there.is_empty() { gone } else { there };
                found.extend(choice.into_iter().take(FOREIGN_MEMBERS).cloned());
            }
            if found.len() >= FOREIGN_MAX {
                break;
            }
        }
        found
    }

    /// Whether this node has tried to reach another one in vain.
    fn is_lost(&self, host: &str) -> bool {
        let overlay = &self.overlay;
        overlay.watches.get(host).is_some_and(|w| w.reported) || overlay.avoid.contains_key(host)
    }

    /// Whether a write into `scope` may call for another neighbour.
    pub(crate) fn is_foreign(&self, scope: &Scope) -> bool {
        *scope != Scope::Global && !self.topology.includes(scope, &self.config.host)
    }

    /// A connection is up.
    pub(crate) fn link_up(&mut self, ctx: &Ctx<'_>, host: &str, boot: u64) {
        self.overlay.version += 1;
        self.overlay.avoid.remove(host);
        let primary = self.topology.neighbours(&self.config.host).contains(host);
        let id = self.topology.id_of(host);
        let learnt = id.is_some_and(|id| self.overlay.learnt.contains_key(&id));
        if let Some(watch) = self.overlay.watches.get_mut(host) {
            watch.down = None;
            // A new life has lost nobody yet: others must not take that for good links.
            let again = watch.boot != 0 && watch.boot != boot;
            // Of a new node nobody else knows that it was ever met.
            let again = again || learnt && watch.boot == 0;
            watch.boot = boot;
            let news = std::mem::replace(&mut watch.reported, false) || again;
            if news || !primary {
                watch.noted = true;
                self.observe(ctx, host, LinkKind::Found, boot);
            }
        }
        if let Some(peer) = self.peers.get_mut(host)
            && peer.features & FEATURE_OVERLAY != 0
        {
            peer.links = self.overlay.links.iter().map(LinkNote::key).collect();
        }
        self.rewire(ctx);
    }

    /// A connection is gone.
    pub(crate) fn link_down(&mut self, ctx: &Ctx<'_>, host: &str, ending: Ending) {
        self.overlay.version += 1;
        if let Some(watch) = self.overlay.watches.get_mut(host) {
            watch.down = Some(ctx.now);
            let kind = match ending {
                Ending::Lost => Some(LinkKind::Lost),
                Ending::Farewell => Some(LinkKind::Farewell),
                Ending::Orderly => None,
            };
            if let Some(kind) = kind {
                let boot = watch.boot;
                (watch.reported, watch.noted) = (true, true);
                self.observe(ctx, host, kind, boot);
                self.rewire(ctx);
            }
        }
    }

    /// Makes a note of our own and spreads it.
    fn observe(&mut self, ctx: &Ctx<'_>, host: &str, kind: LinkKind, boot: u64) {
        let Some(record) = self.topology.active().get(host) else {
            return;
        };
        let (id, since) = (record.id, self.ever_heard(host).unwrap_or(0));
        self.make_note(ctx, id, kind, (boot, since));
    }

    /// System clock (ns) when this node itself last heard of another one, in this life or before.
    fn ever_heard(&self, host: &str) -> Option<u64> {
        let now = self.heard.get(host).copied();
        let id = self.topology.id_of(host);
        now.or_else(|| self.config.heard_before.get(&id?).copied())
    }

    fn make_note(
        &mut self,
        ctx: &Ctx<'_>,
        node: NodeId,
        kind: LinkKind,
        (boot, since): (u64, u64),
    ) {
        let next = self.overlay.last_at.as_nanos().saturating_add(1);
        let at = ctx.stamp.max(Timestamp::from_nanos(next));
        self.overlay.last_at = at;
        let note = LinkNote {
            observer: self.config.node,
            node,
            kind,
            boot,
            at,
            since,
        };
        if self.overlay.links.merge(note) {
            self.overlay.version += 1;
            self.spread_note(note.key(), None);
        }
    }

    fn spread_note(&mut self, key: LinkKey, except: Option<&str>) {
        for (host, peer) in &mut self.peers {
            if peer.features & FEATURE_OVERLAY != 0 && except != Some(host.as_str()) {
                peer.links.insert(key);
            }
        }
    }

    pub(crate) fn on_links(&mut self, ctx: &Ctx<'_>, host: &str, notes: &[LinkNote]) {
        let newest = Timestamp::from_nanos(ctx.wall.saturating_add(self.config.max_ahead_ns));
        let (own, mut news) = (self.config.node, false);
        for note in notes {
            let gone = self.topology.has_left(note.observer) || self.topology.has_left(note.node);
            if gone || note.at > newest {
                continue;
            }
            let held = self.overlay.links.get(note.key()).map(|held| held.at);
            if held >= Some(note.at) {
                if let Some(peer) = self.peers.get_mut(host).filter(|_| held > Some(note.at)) {
                    peer.links.insert(note.key());
                }
                continue;
            }
            if note.observer == own && note.node != own {
                self.correct(ctx, note);
                continue;
            }
            if self.overlay.links.merge(*note) {
                self.overlay.version += 1;
                news |= note.is_loss();
                self.spread_note(note.key(), Some(host));
            }
            if note.node == own && note.is_loss() {
                let said = self.overlay.links.get((own, own)).map(|alive| alive.at);
                if said < Some(note.at) {
                    self.overlay.last_at = self.overlay.last_at.max(note.at);
                    let boot = self.config.boot;
                    self.make_note(ctx, own, LinkKind::Alive, (boot, ctx.wall));
                }
            }
        }
        if news {
            self.rewire(ctx);
        }
    }

    /// Somebody remembers a note of an earlier life of ours: what is right now?
    fn correct(&mut self, ctx: &Ctx<'_>, note: &LinkNote) {
        self.overlay.last_at = self.overlay.last_at.max(note.at);
        let name = self.topology.name_of(note.node).map(str::to_owned);
        let watch = name
            .as_ref()
            .and_then(|name| self.overlay.watches.get_mut(name));
        let (kind, boot) = match watch {
            Some(watch) => {
                watch.noted = true;
                // What an earlier life had lost, this one has not found yet.
                watch.reported |= watch.down.is_some() && note.is_loss();
                let kind = match (watch.down, watch.reported) {
                    (None, _) => LinkKind::Found,
                    (_, true) if note.is_loss() => note.kind,
                    (_, true) => LinkKind::Lost,
                    (_, false) => LinkKind::Withdrawn,
                };
                (kind, watch.boot)
            }
            None => (LinkKind::Withdrawn, note.boot),
        };
        let mut heard = name.and_then(|name| self.ever_heard(&name)).unwrap_or(0);
        if kind == note.kind && note.is_loss() {
            heard = heard.max(note.since.min(ctx.wall));
        }
        self.make_note(ctx, note.node, kind, (boot, heard));
    }

    /// Time has passed.
    pub(crate) fn check_overlay(&mut self, ctx: &Ctx<'_>) {
        let late: Vec<(String, u64)> = self
            .overlay
            .watches
            .iter_mut()
            .filter(|(_, watch)| lost_due(watch).is_some_and(|due| due <= ctx.now))
            .map(|(host, watch)| {
                (watch.reported, watch.noted) = (true, true);
                (host.clone(), watch.boot)
            })
            .collect();
        let mut news = !late.is_empty();
        for (host, boot) in late {
            self.observe(ctx, &host, LinkKind::Lost, boot);
        }
        let before = self.overlay.avoid.len();
        self.overlay.avoid.retain(|_, until| *until > ctx.now);
        news |= before != self.overlay.avoid.len();
        if news {
            self.rewire(ctx);
        }
        if self.overlay.prune_due.is_none_or(|due| due <= ctx.now) {
            self.overlay.prune_due = Some(ctx.now.saturating_add(LINK_MEMORY_NS));
            self.prune_links(ctx);
        }
        let mut unneeded = Vec::new();
        for (host, peer) in &mut self.peers {
            if self.overlay.watches.contains_key(host) || peer.keep {
                peer.unneeded = None;
            } else if *peer.unneeded.get_or_insert(ctx.now) + UNNEEDED_NS <= ctx.now {
                peer.unneeded = Some(ctx.now);
                unneeded.push(host.clone());
            }
        }
        for peer in unneeded {
            self.event(Event::Unneeded { peer });
        }
    }

    pub(crate) fn prune_links(&mut self, ctx: &Ctx<'_>) {
        let topology = &self.topology;
        let neighbours = |(a, b): LinkKey| {
            let (a, b) = (topology.name_of(a), topology.name_of(b));
            matches!((a, b), (Some(a), Some(b)) if topology.neighbours(a).contains(b))
        };
        let left = |id| topology.has_left(id);
        self.overlay.links.prune(ctx.wall, left, neighbours);
    }

    /// When [`Gossip::check_overlay`] has something to do.
    pub(crate) fn overlay_due(&self) -> Option<u64> {
        let lost = self.overlay.watches.values().filter_map(lost_due).min();
        let avoid = self.overlay.avoid.values().copied().min();
        let unneeded = |peer: &crate::peer::Peer| Some(peer.unneeded? + UNNEEDED_NS);
        let unneeded = self.peers.values().filter_map(unneeded).min();
        [lost, avoid, unneeded].into_iter().flatten().min()
    }

    /// The active nodes that enough observers call down.
    fn reported_down(&self) -> BTreeSet<String> {
        let tallies = self.overlay.links.tallies();
        let named = tallies
            .into_iter()
            .filter_map(|(id, tally)| Some((self.topology.name_of(id)?, tally)));
        named
            .filter(|(host, tally)| tally.is_down(self.topology.neighbours(host).len()))
            .map(|(host, _)| host.to_owned())
            .collect()
    }

    /// All that it takes to tell who lives: cheap to take, and reckoned from only when somebody asks.
    #[must_use]
    pub fn lives(&self) -> Lives {
        Lives {
            own: self.config.host.clone(),
            topology: Arc::clone(&self.topology),
            links: self.overlay.links.clone(),
            heard: self.heard.clone(),
            before: self.config.heard_before.clone(),
            connected: self
                .peers
                .iter()
                .map(|(host, peer)| (host.clone(), peer.trust()))
                .collect(),
            learnt: self.overlay.learnt.clone(),
        }
    }

    /// Grows whenever [`Gossip::lives`] may tell something else, but for the time of the last message of a connected peer.
    #[must_use]
    pub const fn lives_version(&self) -> u64 {
        self.overlay.version
    }

    /// What is known of the life of all other active nodes, from our own connections and from what has been observed
    /// by others. Costs time in proportion to the number of nodes.
    #[must_use]
    pub fn liveness(&self) -> BTreeMap<String, Liveness> {
        self.lives().look(|_| None)
    }

    /// System clock (ns) when a node was last heard of, directly or over others.
    #[must_use]
    pub fn last_heard(&self, host: &str) -> Option<u64> {
        self.liveness().get(host)?.heard
    }

    /// Whether the link between two nodes is reported as lost by either.
    pub(crate) fn is_lost_between(&self, a: &str, b: &str) -> bool {
        let id = |host: &str| self.topology.active().get(host).map(|record| record.id);
        let (Some(a), Some(b)) = (id(a), id(b)) else {
            return false;
        };
        [(a, b), (b, a)].into_iter().any(|key| {
            let note = self.overlay.links.get(key);
            note.is_some_and(LinkNote::is_loss)
        })
    }
}

fn lost_due(watch: &Watch) -> Option<u64> {
    let down = watch.down.filter(|_| !watch.reported)?;
    Some(down.saturating_add(LOST_AFTER_NS))
}
