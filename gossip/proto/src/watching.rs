//! Watching resources from outside: the reader's side. What is told is handed to the shell ([`Gossip::poll_news`]) and is
//! never merged into the store, passed on, compared, or counted.

use crate::hello::FEATURE_WATCH;
use crate::limits::{
    NEWS_MAX, WATCH_AVOID_NS, WATCH_LEASE_NS, WATCH_PATIENCE_NS, WATCH_SCOPES_MAX,
};
use crate::{Body, Ctx, Event, Gossip, Neighbour, News, Unserved, WatchRequest};
use mars_meta_model::{Entry, Scope};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How often a watch is renewed: three times within its lease.
const RENEW_NS: u64 = WATCH_LEASE_NS / 3;

/// News of a watched resource, for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchNews {
    /// The resource.
    pub res: Box<str>,
    /// What happened.
    pub what: WatchEvent,
}

/// What happened to a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// A member tells entries.
    Told {
        /// The member.
        from: String,
        /// Whether a copy of all entries begins here.
        first: bool,
        /// Whether it ends here.
        complete: bool,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// The member does not tell any more; another one is asked.
    Lost {
        /// The member.
        from: String,
        /// Why.
        why: Lost,
    },
    /// This node has become a member itself: the store has everything.
    Member,
}

/// Why a member does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// There is no connection, or no sign of life.
    Silent,
    /// It reads no watches: it is to be upgraded.
    Old,
    /// It refuses.
    Refused(Unserved),
}

#[derive(Debug, Default)]
struct Target {
    /// The member that is asked.
    source: Option<String>,
    /// The number of the watch there.
    number: u32,
    /// Which of the shell's wishes it fulfils.
    wish: u64,
    /// By when it has to tell something.
    deadline: Option<u64>,
    /// Whether it is telling all entries.
    copying: bool,
    /// Members that did not tell, and until when they are not asked again.
    avoid: BTreeMap<String, u64>,
    /// When members were lost, until somebody has told all: who was lost longest ago is asked first, so that nobody is left
    /// out however short the avoidance is.
    lost: BTreeMap<String, u64>,
}

/// What this node watches.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    targets: BTreeMap<Scope, Target>,
    /// When the watches at a member are to be renewed.
    renew: BTreeMap<String, u64>,
    news: VecDeque<WatchNews>,
    /// The number of the last watch.
    last: u32,
}

impl Watching {
    /// Whether this node watches something at `host`.
    pub(crate) fn is_source(&self, host: &str) -> bool {
        let mut sources = self.targets.values();
        sources.any(|target| target.source.as_deref() == Some(host))
    }

    /// Whether the shell has taken what was told.
    pub(crate) fn has_room(&self) -> bool {
        self.news.len() < NEWS_MAX
    }

    fn sources(&self) -> BTreeSet<String> {
        let sources = self.targets.values();
        sources.filter_map(|target| target.source.clone()).collect()
    }

    /// When something is to be done though nothing happens.
    pub(crate) fn due(&self) -> Option<u64> {
        let targets = self.targets.values();
        let deadlines = targets.clone().filter_map(|target| target.deadline);
        let retries = targets
            .filter(|target| target.source.is_none())
            .filter_map(|target| target.avoid.values().min().copied());
        let renew = self.renew.values().copied();
        deadlines.chain(retries).chain(renew).min()
    }
}

impl Gossip {
    /// The resources that somebody on this node wants to see, though it is no member of them, each with the number of the
    /// wish: another one than before asks for all of it again. At most [`WATCH_SCOPES_MAX`], further ones are left out.
    /// Replaces those of the last call.
    pub fn handle_watches(&mut self, ctx: &Ctx<'_>, wanted: &BTreeMap<String, u64>) {
        let scopes: BTreeMap<Scope, u64> = wanted
            .iter()
            .take(WATCH_SCOPES_MAX)
            .map(|(res, wish)| (Scope::Resource(res.as_str().into()), *wish))
            .collect();
        let before = self.watching.sources();
        self.watching
            .targets
            .retain(|scope, target| scopes.get(scope) == Some(&target.wish));
        for (scope, wish) in scopes {
            self.watching.targets.entry(scope).or_default().wish = wish;
        }
        self.choose_sources(ctx, &before);
        // Who has nothing more to tell hears of it.
        for host in before {
            self.ask(ctx, &host);
        }
    }

    /// The members that this node wants to be connected with for what it watches, besides [`Gossip::neighbours`].
    #[must_use]
    pub fn watch_sources(&self) -> Vec<Neighbour> {
        let active = self.topology.active();
        let sources = self.watching.sources().into_iter();
        let known = sources.filter_map(|host| {
            let record = active.get(&host)?.clone();
            Some(Neighbour { host, record })
        });
        known.collect()
    }

    /// The next news of what is watched.
    pub fn poll_news(&mut self) -> Option<WatchNews> {
        self.watching.news.pop_front()
    }

    fn tell(&mut self, scope: &Scope, what: WatchEvent) {
        if let Scope::Resource(res) = scope {
            let res = res.clone();
            self.watching.news.push_back(WatchNews { res, what });
        }
    }

    /// Finds a member for every resource that has none, and ends what this node has become a member of.
    fn choose_sources(&mut self, ctx: &Ctx<'_>, before: &BTreeSet<String>) {
        let own = self.config.host.clone();
        let scopes: Vec<Scope> = self.watching.targets.keys().cloned().collect();
        let mut ask = BTreeSet::new();
        for scope in scopes {
            if self.topology.includes(&scope, &own) {
                self.watching.targets.remove(&scope);
                self.tell(&scope, WatchEvent::Member);
                continue;
            }
            let members = self.topology.members_of(&scope).cloned();
            let members = members.unwrap_or_default();
            let Some(target) = self.watching.targets.get_mut(&scope) else {
                continue;
            };
            target.avoid.retain(|_, until| *until > ctx.now);
            if target
                .source
                .as_ref()
                .is_some_and(|host| members.contains(host))
            {
                continue;
            }
            (target.source, target.deadline, target.copying) = (None, None, false);
            let active = self.topology.active();
            let rank = |host: &&String| match self.peers.get(*host) {
                Some(peer) if peer.features & FEATURE_WATCH != 0 => 0,
                None => 1,
                // It would not understand.
                Some(_) => 2,
            };
            let possible = members
                .iter()
                .filter(|host| active.contains_key(*host) && !target.avoid.contains_key(*host));
            // Of those that are as good as each other, not everybody shall ask the same one.
            let spread =
                |host: &&String| *blake3::hash(format!("{own} {host}").as_bytes()).as_bytes();
            let lost = |host: &&String| target.lost.get(*host).copied();
            let Some(host) = possible.min_by_key(|host| (rank(host), lost(host), spread(host)))
            else {
                continue;
            };
            target.source = Some(host.clone());
            self.watching.last = self.watching.last.wrapping_add(1);
            target.number = self.watching.last;
            target.deadline = Some(ctx.now.saturating_add(WATCH_PATIENCE_NS));
            ask.insert(host.clone());
        }
        for host in &ask {
            self.ask(ctx, host);
        }
        if self.watching.sources() != *before {
            self.event(Event::TopologyChanged);
        }
    }

    /// Asks a member for all that is watched there, if it is connected.
    fn ask(&mut self, ctx: &Ctx<'_>, host: &str) {
        let targets = self.watching.targets.iter_mut();
        let mine = targets.filter(|(_, target)| target.source.as_deref() == Some(host));
        let scopes: Vec<(Scope, u32)> = mine
            .map(|(scope, target)| {
                let patience = ctx.now.saturating_add(WATCH_PATIENCE_NS);
                target.deadline.get_or_insert(patience);
                (scope.clone(), target.number)
            })
            .collect();
        let Some(peer) = self.peers.get_mut(host) else {
            self.watching.renew.remove(host);
            return;
        };
        if peer.features & FEATURE_WATCH == 0 {
            self.watching.renew.remove(host);
            for (scope, _) in scopes {
                self.lose(ctx, &scope, Lost::Old);
            }
            return;
        }
        if scopes.is_empty() {
            self.watching.renew.remove(host);
        } else {
            let due = ctx.now.saturating_add(RENEW_NS);
            self.watching.renew.insert(host.to_owned(), due);
        }
        peer.control(Body::Watch(WatchRequest {
            lease_s: u16::try_from(WATCH_LEASE_NS / 1_000_000_000).unwrap_or(u16::MAX),
            scopes,
        }));
    }

    /// The member that is asked for a resource does not tell; another one will be asked.
    fn lose(&mut self, ctx: &Ctx<'_>, scope: &Scope, why: Lost) {
        let Some(target) = self.watching.targets.get_mut(scope) else {
            return;
        };
        (target.deadline, target.copying) = (None, false);
        if let Some(from) = target.source.take() {
            let until = ctx.now.saturating_add(WATCH_AVOID_NS);
            target.avoid.insert(from.clone(), until);
            target.lost.insert(from.clone(), ctx.now);
            self.tell(scope, WatchEvent::Lost { from, why });
        }
    }

    fn lose_all(&mut self, ctx: &Ctx<'_>, lost: impl Fn(&Scope, &Asked<'_>) -> Option<Lost>) {
        let before = self.watching.sources();
        let found: Vec<(Scope, Lost)> = self
            .watching
            .targets
            .iter()
            .filter_map(|(scope, target)| {
                let source = target.source.as_deref()?;
                let target = Asked {
                    source,
                    deadline: target.deadline,
                };
                Some((scope.clone(), lost(scope, &target)?))
            })
            .collect();
        for (scope, why) in &found {
            self.lose(ctx, scope, *why);
        }
        self.choose_sources(ctx, &before);
    }

    /// A connection is up.
    pub(crate) fn watch_up(&mut self, ctx: &Ctx<'_>, host: &str) {
        if self.watching.is_source(host) {
            self.ask(ctx, host);
        }
        // A member that reads no watches is not waited for.
        self.review_watches(ctx);
    }

    /// A connection is gone.
    pub(crate) fn watch_down(&mut self, ctx: &Ctx<'_>, host: &str) {
        self.watching.renew.remove(host);
        self.lose_all(ctx, |_, target| {
            (target.source == host).then_some(Lost::Silent)
        });
    }

    /// Roster, memberships or connections have changed.
    pub(crate) fn review_watches(&mut self, ctx: &Ctx<'_>) {
        if !self.watching.targets.is_empty() {
            let before = self.watching.sources();
            self.choose_sources(ctx, &before);
        }
    }

    pub(crate) fn on_news(&mut self, ctx: &Ctx<'_>, host: &str, news: News) {
        let Some(target) = self.watching.targets.get_mut(&news.scope) else {
            return;
        };
        if target.source.as_deref() != Some(host) || target.number != news.number {
            return;
        }
        target.copying = (target.copying || news.first) && !news.complete;
        // The next part of a copy must not keep us waiting either.
        let patience = ctx.now.saturating_add(WATCH_PATIENCE_NS);
        target.deadline = target.copying.then_some(patience);
        if !target.copying {
            target.lost.clear();
        }
        let foreign = |entry: &Entry| mars_meta_model::scope_of(&entry.key) != news.scope;
        let mut entries = news.entries;
        entries.retain(|entry| !foreign(entry));
        let what = WatchEvent::Told {
            from: host.to_owned(),
            first: news.first,
            complete: news.complete,
            entries,
        };
        self.tell(&news.scope, what);
    }

    pub(crate) fn on_unserved(&mut self, ctx: &Ctx<'_>, host: &str, lines: &[(Scope, Unserved)]) {
        self.lose_all(ctx, |scope, target| {
            let line = lines.iter().find(|(other, _)| other == scope)?;
            (target.source == host).then_some(Lost::Refused(line.1))
        });
    }

    /// Time has passed.
    pub(crate) fn check_watches(&mut self, ctx: &Ctx<'_>) {
        if self.watching.targets.is_empty() && self.watching.renew.is_empty() {
            return;
        }
        let sources = self.watching.sources();
        // Who was lost is not asked again at that time.
        self.watching.renew.retain(|host, _| sources.contains(host));
        for host in sources {
            // Somebody wants this connection, though the rings do not.
            if let Some(peer) = self.peers.get_mut(&host) {
                peer.keep = true;
            }
        }
        self.lose_all(ctx, |_, target| {
            let late = target.deadline.is_some_and(|due| due <= ctx.now);
            late.then_some(Lost::Silent)
        });
        let due: Vec<String> = self
            .watching
            .renew
            .iter()
            .filter(|(_, due)| **due <= ctx.now)
            .map(|(host, _)| host.clone())
            .collect();
        for host in due {
            self.ask(ctx, &host);
        }
    }
}

/// Who is asked for a resource, and by when it has to tell something.
struct Asked<'a> {
    source: &'a str,
    deadline: Option<u64>,
}
