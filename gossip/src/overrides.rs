//! What administrators wrote in other owners' names, told in the log: one line per origin and kind, however many keys.

use crate::limits::{FORCED_ORIGINS_MAX, FORCED_TELL_INTERVAL, FORCED_TELL_SOON};
use mars_gossip_proto::limits::FORCED_KEYS_MAX;
use mars_meta_model::{Key, NodeId, REMOVED_PREFIX};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Whose writes they say to be (`None`: of too many to tell apart), and whether they were passed on by somebody else.
type Kind = (Option<NodeId>, bool);

/// What waits to be told of one kind.
#[derive(Debug)]
struct Line {
    /// It is not told before.
    due: Instant,
    peer: String,
    keys: Vec<Key>,
    count: u64,
}

/// Overrides that were received, on their way into the log.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    lines: BTreeMap<Kind, Line>,
}

/// A line for the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Whose writes they say to be.
    pub(crate) origin: Option<NodeId>,
    /// Whether they were passed on, so that nothing proves that.
    pub(crate) relayed: bool,
    /// Who sent the last of them.
    pub(crate) peer: String,
    /// The first keys.
    pub(crate) keys: Vec<Key>,
    /// How many there were since the last line.
    pub(crate) count: u64,
}

impl Told {
    /// Whether it is about who belongs to the cluster.
    pub(crate) fn is_grave(&self) -> bool {
        let grave = |key: &Key| {
            key.as_str().starts_with("roster/") || key.as_str().starts_with(REMOVED_PREFIX)
        };
        self.keys.iter().any(grave)
    }
}

impl Overrides {
    /// Takes note of entries of one origin that came in one message. `count` is the number of all, `keys` some of them.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        peer: &str,
        relayed: bool,
        origin: NodeId,
        (keys, count): (Vec<Key>, u64),
    ) {
        let mut kind = (Some(origin), relayed);
        if !self.lines.contains_key(&kind) && self.lines.len() >= FORCED_ORIGINS_MAX {
            self.lines
                .retain(|_, line| line.count > 0 || line.due > now);
            if self.lines.len() >= FORCED_ORIGINS_MAX {
                kind.0 = None;
            }
        }
        let line = self.lines.entry(kind).or_insert_with(|| Line {
            due: now + FORCED_TELL_SOON,
            peer: String::new(),
            keys: Vec::new(),
            count: 0,
        });
        if line.count == 0 {
            // The rest of the same command is on its way.
            line.due = line.due.max(now + FORCED_TELL_SOON);
        }
        line.count = line.count.saturating_add(count);
        peer.clone_into(&mut line.peer);
        let room = FORCED_KEYS_MAX.saturating_sub(line.keys.len());
        let fresh: Vec<Key> = keys
            .into_iter()
            .filter(|key| !line.keys.contains(key))
            .take(room)
            .collect();
        line.keys.extend(fresh);
    }

    /// When the next line is to be told.
    pub(crate) fn due(&self) -> Option<Instant> {
        let waiting = self.lines.values().filter(|line| line.count > 0);
        waiting.map(|line| line.due).min()
    }

    /// The next line that is to be told now.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Told> {
        let mut lines = self.lines.iter_mut();
        let ready = |(_, line): &(&Kind, &mut Line)| line.count > 0 && line.due <= now;
        let (&(origin, relayed), line) = lines.find(ready)?;
        line.due = now + FORCED_TELL_INTERVAL;
        Some(Told {
            origin,
            relayed,
            peer: std::mem::take(&mut line.peer),
            keys: std::mem::take(&mut line.keys),
            count: std::mem::take(&mut line.count),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(range: std::ops::Range<usize>) -> (Vec<Key>, u64) {
        let count = range.len() as u64;
        let keys = range.map(|i| Key::parse(&format!("actual-h/k{i:05}")).unwrap());
        (keys.collect(), count)
    }

    #[test]
    fn many_keys_of_one_origin_are_one_line_with_the_exact_number() {
        let begin = Instant::now();
        let mut overrides = Overrides::default();
        for i in 0..500 {
            overrides.note(begin, "p", true, NodeId(1), keys(i..i + 1));
        }
        overrides.note(begin, "q", false, NodeId(1), keys(0..3));
        assert_eq!(overrides.poll(begin), None, "more may be on its way");
        let at = begin + FORCED_TELL_SOON;
        assert_eq!(overrides.due(), Some(at));
        let told = overrides.poll(at).unwrap();
        assert_eq!((told.relayed, told.count), (false, 3));
        let told = overrides.poll(at).unwrap();
        assert_eq!(
            (told.relayed, told.count, told.peer.as_str()),
            (true, 500, "p")
        );
        assert_eq!(told.keys.len(), FORCED_KEYS_MAX);
        assert_eq!(overrides.poll(at), None);
        assert_eq!(overrides.due(), None);
        // Further ones wait, and none is lost.
        for _ in 0..7 {
            overrides.note(at, "p", true, NodeId(1), keys(0..2));
        }
        assert_eq!(overrides.poll(at + FORCED_TELL_SOON), None);
        let later = at + FORCED_TELL_INTERVAL;
        assert_eq!(overrides.due(), Some(later));
        assert_eq!(overrides.poll(later).map(|told| told.count), Some(14));
    }

    #[test]
    fn made_up_origins_take_no_more_room_than_is_allowed() {
        let begin = Instant::now();
        let mut overrides = Overrides::default();
        let all = FORCED_ORIGINS_MAX as u128 + 50;
        for origin in 0..all {
            overrides.note(begin, "p", true, NodeId(origin), keys(0..1));
        }
        let mut sum = 0;
        let mut lines = 0;
        while let Some(told) = overrides.poll(begin + FORCED_TELL_SOON) {
            sum += u128::from(told.count);
            lines += 1;
        }
        assert_eq!((sum, lines), (all, FORCED_ORIGINS_MAX + 1));
    }

    #[test]
    fn what_concerns_the_roster_is_grave() {
        let begin = Instant::now();
        let mut overrides = Overrides::default();
        let line = Key::parse("roster/h").unwrap();
        overrides.note(begin, "p", false, NodeId(1), (vec![line], 1));
        overrides.note(begin, "p", false, NodeId(2), keys(0..1));
        let at = begin + FORCED_TELL_SOON;
        let grave: Vec<bool> = std::iter::from_fn(|| overrides.poll(at))
            .map(|told| told.is_grave())
            .collect();
        assert_eq!(grave, [true, false]);
    }
}
