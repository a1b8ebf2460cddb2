//! Whether a host is there twice: a copy of its state folder was started on another machine.
//!
//! Both copies have the same key and identity, so each of them takes the place of the other in turn. A process that was
//! replaced by a later one of the same host never comes back, unless both run.

use crate::limits::{TWICE_RETURNS_MAX, TWICE_SEEN_MAX, TWICE_WINDOW};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use tokio::time::Instant;

/// A process that connected.
#[derive(Clone, Copy, Debug)]
struct Body {
    boot: u64,
    addr: SocketAddr,
    at: Instant,
}

/// The processes that connected lately, by host. Each time one takes the place of another is an element.
#[derive(Debug, Default)]
pub(crate) struct Bodies(BTreeMap<String, VecDeque<Body>>);

impl Bodies {
    /// A process of `host` has connected; the addresses of both, if two of them replace each other again and again.
    pub(crate) fn connected(
        &mut self,
        host: &str,
        boot: u64,
        addr: SocketAddr,
        now: Instant,
    ) -> Option<String> {
        let seen = self.0.entry(host.to_owned()).or_default();
        seen.retain(|body| now.duration_since(body.at) < TWICE_WINDOW);
        if seen.back().is_none_or(|last| last.boot != boot) {
            if seen.len() >= TWICE_SEEN_MAX {
                seen.pop_front();
            }
            let at = now;
            seen.push_back(Body { boot, addr, at });
        }
        let came_back = |(index, body): &(usize, &Body)| {
            let mut before = seen.iter().take(*index);
            before.any(|earlier| earlier.boot == body.boot)
        };
        let returns = seen.iter().enumerate().filter(came_back).count();
        if returns <= TWICE_RETURNS_MAX {
            return None;
        }
        let last: Vec<&Body> = seen.iter().rev().take(2).collect();
        let mut addrs: Vec<String> = last.iter().map(|body| body.addr.to_string()).collect();
        addrs.sort();
        addrs.dedup();
        Some(addrs.join(" and "))
    }

    /// Forgets hosts that left.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|host, _| keep(host));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn restarts_are_no_second_body_but_taking_turns_is() {
        let (mut bodies, now) = (Bodies::default(), Instant::now());
        // Restarts, and lost connections, as often as may be.
        for boot in 0..100 {
            for _ in 0..3 {
                assert_eq!(bodies.connected("a", boot, addr(1), now), None);
            }
        }
        let mut bodies = Bodies::default();
        let turns = [1, 2, 1, 2].map(|boot| {
            let port = u16::try_from(boot).unwrap();
            bodies.connected("a", boot, addr(port), now)
        });
        assert_eq!(turns, [None, None, None, None]);
        let told = bodies.connected("a", 1, addr(1), now);
        assert_eq!(told.as_deref(), Some("127.0.0.1:1 and 127.0.0.1:2"));
        assert_eq!(bodies.connected("b", 2, addr(2), now), None);
        let later = now + TWICE_WINDOW + Duration::from_secs(1);
        assert_eq!(bodies.connected("a", 2, addr(2), later), None, "it is over");
    }
}
