//! What is seen of resources that this node is no member of: in memory, as long as somebody local follows them.

use mars_gossip_proto::limits::{WATCH_KEYS_MAX, WATCH_SCOPES_MAX};
use mars_gossip_proto::{Lost, Unserved, WatchEvent, WatchNews};
use mars_meta::{Follow, FollowEvent, Following};
use mars_meta_api::{ApiError, ErrorCode};
use mars_meta_model::{Entry, Key};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// One resource that is followed.
#[derive(Debug, Default)]
struct Followed {
    readers: usize,
    /// The number of the wish for it.
    wish: u64,
    /// Number of the last change.
    latest: u64,
    /// All that was told, with the number of the change.
    entries: BTreeMap<Key, (u64, Entry)>,
    /// A copy that is not complete yet.
    staging: Option<BTreeMap<Key, Entry>>,
    /// Number of the copy after which readers begin anew, since keys are gone in it; 0: no copy was complete yet.
    generation: u64,
    /// Who tells.
    source: Option<String>,
    /// This node has become a member.
    ended: bool,
}

impl Followed {
    /// Takes an entry that is not older than what is held.
    fn put(&mut self, number: u64, entry: Entry) {
        let held = self.entries.get(&entry.key);
        let known = held.is_some();
        let newer = held.is_none_or(|(_, held)| held.cmp_version(&entry) == Ordering::Less);
        if newer && (known || self.entries.len() < WATCH_KEYS_MAX) {
            self.latest = number;
            self.entries.insert(entry.key.clone(), (number, entry));
        }
    }

    /// Takes a copy in the place of what is held: what is not in it is gone, what is older in it is not taken.
    fn replace(&mut self, number: u64, copy: BTreeMap<Key, Entry>) {
        let before = self.entries.len();
        self.entries.retain(|key, _| copy.contains_key(key));
        if self.entries.len() != before || self.generation == 0 {
            self.generation += 1;
        }
        for entry in copy.into_values() {
            self.put(number, entry);
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    followed: BTreeMap<String, Followed>,
    number: u64,
}

/// Shared between the driver, which fills it, and those who follow. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Foreign {
    inner: Arc<Mutex<Inner>>,
    /// What is followed has changed.
    wanted: watch::Sender<()>,
    /// Something was told.
    told: watch::Sender<()>,
}

impl Default for Foreign {
    fn default() -> Self {
        Self {
            inner: Arc::default(),
            wanted: watch::Sender::new(()),
            told: watch::Sender::new(()),
        }
    }
}

impl Foreign {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The resources that somebody follows.
    pub(crate) fn wanted(&self) -> BTreeMap<String, u64> {
        let inner = self.lock();
        let wishes = inner.followed.iter();
        wishes
            .map(|(res, followed)| (res.clone(), followed.wish))
            .collect()
    }

    /// Wakes up whenever [`Foreign::wanted`] has changed.
    pub(crate) fn wanted_changes(&self) -> watch::Receiver<()> {
        let mut changes = self.wanted.subscribe();
        changes.mark_changed();
        changes
    }

    /// Follows a resource as long as the reader lives.
    pub(crate) fn follow(&self, res: &str) -> Result<Follower, ApiError> {
        let mut inner = self.lock();
        if !inner.followed.contains_key(res) && inner.followed.len() >= WATCH_SCOPES_MAX {
            let message =
                format!("this node follows {WATCH_SCOPES_MAX} resources of others already");
            return Err(ApiError::new(ErrorCode::Limit, message)
                .with_hint("ask again later, or on a member of the resource"));
        }
        inner.number += 1;
        let wish = inner.number;
        let followed = inner.followed.entry(res.to_owned());
        let begun = || Followed {
            wish,
            ..Followed::default()
        };
        followed.or_insert_with(begun).readers += 1;
        drop(inner);
        self.wanted.send_replace(());
        Ok(Follower {
            res: res.to_owned(),
            told: self.told.subscribe(),
            foreign: self.clone(),
            seen: 0,
            generation: 0,
            synced: false,
        })
    }

    /// Takes in what the core was told.
    pub(crate) fn take(&self, news: WatchNews) {
        let mut inner = self.lock();
        inner.number += 1;
        let number = inner.number;
        let Some(followed) = inner.followed.get_mut(&*news.res) else {
            return;
        };
        match news.what {
            WatchEvent::Member => followed.ended = true,
            WatchEvent::Lost { from, why } => {
                let reason = reason(why);
                tracing::info!(
                    res = news.res,
                    from,
                    reason,
                    "a member does not tell of its resource: asking another"
                );
                (followed.staging, followed.source) = (None, None);
            }
            WatchEvent::Told {
                from,
                first,
                complete,
                entries,
            } => {
                followed.source = Some(from);
                if first {
                    followed.staging = Some(BTreeMap::new());
                }
                match &mut followed.staging {
                    Some(staging) => {
                        let room = WATCH_KEYS_MAX.saturating_sub(staging.len());
                        let keyed = entries.into_iter().take(room);
                        staging.extend(keyed.map(|entry| (entry.key.clone(), entry)));
                    }
                    // What comes before the first copy belongs to a former wish.
                    None if followed.generation == 0 => {}
                    None => {
                        for entry in entries {
                            followed.put(number, entry);
                        }
                    }
                }
                if complete && let Some(copy) = followed.staging.take() {
                    followed.replace(number, copy);
                }
            }
        }
        drop(inner);
        self.told.send_replace(());
    }

    /// What is held of a resource now, and who tells.
    pub(crate) fn held(&self, res: &str) -> Option<(Vec<Entry>, Option<String>)> {
        let inner = self.lock();
        let followed = inner.followed.get(res)?;
        let entries = followed.entries.values();
        let entries = entries.map(|(_, entry)| entry.clone()).collect();
        Some((entries, followed.source.clone()))
    }
}

const fn reason(why: Lost) -> &'static str {
    match why {
        Lost::Silent => "it does not answer",
        Lost::Old => "it is too old to tell nodes outside of the resource",
        Lost::Refused(Unserved::NoMember) => "it is no member",
        Lost::Refused(Unserved::Busy) => "it tells as many nodes as it can",
        Lost::Refused(Unserved::TooLarge) => "the resource has too many keys",
        Lost::Refused(Unserved::Other) => "it refuses",
    }
}

/// A reader of one resource; it ends with this value.
#[derive(Debug)]
pub struct Follower {
    res: String,
    foreign: Foreign,
    told: watch::Receiver<()>,
    /// Number of the last change that was told.
    seen: u64,
    generation: u64,
    synced: bool,
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut inner = self.foreign.lock();
        if let Some(followed) = inner.followed.get_mut(&self.res) {
            followed.readers -= 1;
            if followed.readers == 0 {
                inner.followed.remove(&self.res);
            }
        }
        drop(inner);
        self.foreign.wanted.send_replace(());
    }
}

impl Follower {
    fn look(&mut self) -> Option<FollowEvent> {
        let inner = self.foreign.lock();
        let followed = inner.followed.get(&self.res)?;
        if followed.ended {
            let message = format!("this node has become a member of {}", self.res);
            let error = ApiError::new(ErrorCode::Refused, message);
            return Some(FollowEvent::Ended(error.with_hint("ask again")));
        }
        if followed.generation != self.generation {
            (self.generation, self.seen) = (followed.generation, 0);
            if std::mem::replace(&mut self.synced, false) {
                return Some(FollowEvent::Lagged);
            }
        }
        // Most news are of other resources.
        if followed.latest > self.seen {
            let entries = followed.entries.values();
            let fresh = entries.filter(|(number, _)| *number > self.seen);
            let fresh: Vec<Entry> = fresh.map(|(_, entry)| entry.clone()).collect();
            self.seen = followed.latest;
            if !fresh.is_empty() {
                return Some(FollowEvent::Entries(fresh));
            }
        }
        if self.generation > 0 && !self.synced {
            self.synced = true;
            return Some(FollowEvent::Synced);
        }
        None
    }

    /// The next news. Safe to cancel.
    pub async fn news(&mut self) -> FollowEvent {
        loop {
            self.told.mark_unchanged();
            if let Some(event) = self.look() {
                return event;
            }
            // The sender lives as long as this value.
            let _ = self.told.changed().await;
        }
    }
}

impl Follow for Follower {
    fn next(&mut self) -> Following<'_> {
        Box::pin(self.news())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    fn told(foreign: &Foreign, flags: (bool, bool), entries: Vec<Entry>) {
        let (first, complete) = flags;
        foreign.take(WatchNews {
            res: "r".into(),
            what: WatchEvent::Told {
                from: "m".to_owned(),
                first,
                complete,
                entries,
            },
        });
    }

    fn one(leaf: &str, value: &str, stamp: u64) -> Entry {
        entry(&format!("resource-r/{leaf}"), Some(value), stamp, 1)
    }

    #[test]
    fn a_reader_sees_whole_copies_and_then_changes() {
        let foreign = Foreign::default();
        told(&foreign, (true, true), vec![one("a", "1", 1)]);
        assert_eq!(foreign.held("r"), None, "nobody follows it");
        let mut reader = foreign.follow("r").unwrap();
        assert_eq!(foreign.wanted().len(), 1);
        told(&foreign, (true, false), vec![one("a", "1", 1)]);
        assert_eq!(reader.look(), None, "not complete");
        told(&foreign, (false, true), vec![one("b", "1", 1)]);
        let both = vec![one("a", "1", 1), one("b", "1", 1)];
        assert_eq!(reader.look(), Some(FollowEvent::Entries(both)));
        assert_eq!(reader.look(), Some(FollowEvent::Synced));
        assert_eq!(reader.look(), None);
        told(
            &foreign,
            (false, false),
            vec![one("a", "2", 2), one("b", "0", 0)],
        );
        let news = vec![one("a", "2", 2)];
        assert_eq!(reader.look(), Some(FollowEvent::Entries(news)));
        // Another member, which is behind in a, and does not have b.
        told(
            &foreign,
            (true, true),
            vec![one("a", "1", 1), one("c", "1", 3)],
        );
        assert_eq!(reader.look(), Some(FollowEvent::Lagged));
        let all = vec![one("a", "2", 2), one("c", "1", 3)];
        assert_eq!(reader.look(), Some(FollowEvent::Entries(all)));
        assert_eq!(reader.look(), Some(FollowEvent::Synced));
        drop(reader);
        assert!(foreign.wanted().is_empty());
        assert_eq!(foreign.held("r"), None);
    }

    #[test]
    fn there_is_a_bound() {
        let foreign = Foreign::default();
        let names: Vec<String> = (0..WATCH_SCOPES_MAX).map(|i| format!("r{i}")).collect();
        let readers: Vec<Follower> = names.iter().map(|r| foreign.follow(r).unwrap()).collect();
        let error = foreign.follow("more").unwrap_err();
        assert_eq!(error.code, ErrorCode::Limit);
        assert!(foreign.follow("r0").is_ok(), "what is followed already");
        drop(readers);
        assert!(foreign.wanted().is_empty());
    }
}
