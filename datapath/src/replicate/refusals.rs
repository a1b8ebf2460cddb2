//! Waits behind a refusal: who is told that its roster does not name this node (close code 2) tries again rarely.

use crate::limits::{REFUSED_SETTLED, REFUSED_WAIT_MAX, RETRY_DELAY};
use mars_gossip_net::KeyHash;
use mars_meta_model::NodeRecord;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a peer's refusal depends on, as far as it is seen from here: when any of it changes, the peer is tried at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// The own line in the roster.
    pub(super) own: Option<NodeRecord>,
    /// The peer's.
    pub(super) peer: NodeRecord,
    /// The key by which this node is known.
    pub(super) key: KeyHash,
}

#[derive(Debug)]
struct Refusal {
    standing: Standing,
    /// The wait of the last refusal, before it was varied.
    wait: Duration,
    until: Instant,
}

/// The refusals of all peers.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<String, Refusal>);

impl Refusals {
    /// `host` has refused a connection that was dialled so long ago; `random` varies the wait. Returns whether it is the first
    /// refusal of a row.
    pub(super) fn note(
        &mut self,
        host: &str,
        standing: Standing,
        lived: Duration,
        (now, random): (Instant, u64),
    ) -> bool {
        let before = self.0.get(host);
        // A connection that held for a while was no vain try.
        let before = before.filter(|held| held.standing == standing && lived < REFUSED_SETTLED);
        let wait = before.map_or(RETRY_DELAY, |held| (held.wait * 2).min(REFUSED_WAIT_MAX));
        let first = before.is_none();
        // Three quarters to all of it, so that several nodes do not come together for ever.
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let quarter = (millis / 4).max(1);
        let varied = Duration::from_millis(millis - random % quarter);
        let refusal = Refusal {
            standing,
            wait,
            until: now + varied,
        };
        self.0.insert(host.to_owned(), refusal);
        first
    }

    /// Whether `host` is to be left alone for now.
    pub(super) fn waits(&mut self, host: &str, standing: &Standing, now: Instant) -> bool {
        let Some(held) = self.0.get(host) else {
            return false;
        };
        if held.standing != *standing {
            self.0.remove(host);
            return false;
        }
        now < held.until
    }

    /// Forgets all of them: there is another identity, or another network.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::node_record;

    fn standing(own: u128, key: u8) -> Standing {
        Standing {
            own: Some(node_record(own)),
            peer: node_record(2),
            key: KeyHash::from_bytes([key; 32]),
        }
    }

    #[test]
    fn waits_grow_to_a_minute_and_never_above() {
        let (mut refusals, mut now) = (Refusals::default(), Instant::now());
        let (begin, mut tries) = (now, 0);
        while now < begin + Duration::from_secs(750) {
            let first = refusals.note("b", standing(1, 1), Duration::ZERO, (now, 7 * tries));
            assert_eq!(first, tries == 0);
            tries += 1;
            assert!(refusals.waits("b", &standing(1, 1), now));
            assert!(!refusals.waits("c", &standing(1, 1), now), "another peer");
            let before = now;
            while refusals.waits("b", &standing(1, 1), now) {
                now += RETRY_DELAY;
            }
            assert!(now - before <= REFUSED_WAIT_MAX + RETRY_DELAY);
        }
        // Without a growing wait they were some 1,230.
        assert!((12..30).contains(&tries), "{tries}");
    }

    #[test]
    fn a_change_of_roster_or_key_ends_the_wait_at_once() {
        let now = Instant::now();
        for other in [standing(9, 1), standing(1, 9)] {
            let mut refusals = Refusals::default();
            refusals.note("b", standing(1, 1), Duration::ZERO, (now, 0));
            assert!(refusals.waits("b", &standing(1, 1), now));
            assert!(!refusals.waits("b", &other, now));
            assert!(
                refusals.note("b", other, Duration::ZERO, (now, 0)),
                "a new row"
            );
        }
    }

    #[test]
    fn a_connection_that_held_begins_with_the_shortest_wait_again() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        for _ in 0..9 {
            refusals.note("b", standing(1, 1), Duration::ZERO, (now, 0));
        }
        assert!(refusals.waits("b", &standing(1, 1), now + REFUSED_WAIT_MAX / 2));
        assert!(refusals.note("b", standing(1, 1), REFUSED_SETTLED, (now, 0)));
        assert!(!refusals.waits("b", &standing(1, 1), now + RETRY_DELAY));
    }
}
