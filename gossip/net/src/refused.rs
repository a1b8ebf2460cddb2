//! Who was refused, told in the log: one line per peer and minute, with a number.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::limits::{REFUSED_PEERS_MAX, REFUSED_TELL_INTERVAL};

/// Stands for all peers that are too many to tell apart.
const OTHERS: &str = "";

#[derive(Debug)]
struct Line {
    told: Instant,
    /// Refusals since then.
    count: u64,
}

/// The refusals of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Refused(Mutex<BTreeMap<String, Line>>);

impl Refused {
    /// A peer was refused. If it is to be told now: how many times since it was told last, this one included.
    pub(crate) fn note(&self, peer: &str, now: Instant) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = |line: &Line| now.duration_since(line.told) >= REFUSED_TELL_INTERVAL;
        if lines.len() >= REFUSED_PEERS_MAX && !lines.contains_key(peer) {
            lines.retain(|_, line| !quiet(line));
        }
        let full = lines.len() >= REFUSED_PEERS_MAX && !lines.contains_key(peer);
        let name = if full { OTHERS } else { peer };
        let Some(line) = lines.get_mut(name) else {
            lines.insert(
                name.to_owned(),
                Line {
                    told: now,
                    count: 0,
                },
            );
            return Some(1);
        };
        line.count += 1;
        if !quiet(line) {
            return None;
        }
        line.told = now;
        Some(std::mem::take(&mut line.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn who_knocks_for_long_gets_one_line_a_minute() {
        let (refused, begin) = (Refused::default(), Instant::now());
        let mut told = Vec::new();
        // As in a field report: every 0.61 s for 12.5 minutes.
        for nr in 0..1230 {
            let now = begin + Duration::from_millis(610 * nr);
            told.extend(refused.note("b", now));
        }
        assert_eq!(told.len(), 13, "{told:?}");
        assert_eq!(told[0], 1);
        assert!(told[1..].iter().all(|count| *count == 99), "{told:?}");
        assert_eq!(refused.note("c", begin), Some(1), "another one");
    }

    #[test]
    fn strangers_do_not_fill_the_memory_nor_the_log() {
        let (refused, now) = (Refused::default(), Instant::now());
        let told = (0..5000).filter(|nr| refused.note(&format!("p{nr}"), now).is_some());
        assert_eq!(told.count(), REFUSED_PEERS_MAX + 1);
        let later = now + REFUSED_TELL_INTERVAL;
        assert_eq!(refused.note("new", later), Some(1));
        assert!(refused.0.lock().unwrap().len() <= REFUSED_PEERS_MAX + 1);
    }
}
