//! When to dial whom.

use crate::limits::{DIAL_COURTESY, DIAL_WAIT_MAX, DIAL_WAIT_MIN};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug)]
struct Target {
    addrs: Vec<SocketAddr>,
    key: [u8; 32],
    next: Instant,
    wait: Duration,
    dialling: bool,
}

/// The dials of a driver: backoff with jitter per peer.
#[derive(Debug)]
pub(crate) struct Dials {
    targets: BTreeMap<String, Target>,
    random: u64,
}

impl Dials {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            targets: BTreeMap::new(),
            random: seed,
        }
    }

    /// A number below `bound`.
    fn draw(&mut self, bound: u64) -> u64 {
        // SplitMix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    /// A peer that shall be dialled; `first` if this node has the right of way. Returns whether its addresses changed.
    pub(crate) fn want(
        &mut self,
        host: &str,
        addrs: &[SocketAddr],
        key: [u8; 32],
        first: bool,
    ) -> bool {
        let courtesy = if first { Duration::ZERO } else { DIAL_COURTESY };
        let courtesy = courtesy + Duration::from_millis(self.draw(50));
        let next = Instant::now() + courtesy;
        let known = self.targets.get_mut(host);
        if let Some(target) = known {
            if target.addrs == addrs && target.key == key {
                return false;
            }
            target.addrs = addrs.to_vec();
            target.key = key;
            target.next = next;
            target.wait = DIAL_WAIT_MIN;
            return true;
        }
        let target = Target {
            addrs: addrs.to_vec(),
            key,
            next,
            wait: DIAL_WAIT_MIN,
            dialling: false,
        };
        self.targets.insert(host.to_owned(), target);
        true
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.targets.retain(|host, _| keep(host));
    }

    /// A dial ended, or a connection did: the next try is due after a wait that grows with each failure.
    pub(crate) fn ended(&mut self, host: &str) {
        let percent = 75 + self.draw(50);
        if let Some(target) = self.targets.get_mut(host) {
            target.dialling = false;
            let millis = u64::try_from(target.wait.as_millis()).unwrap_or(u64::MAX);
            target.next = Instant::now() + Duration::from_millis(millis * percent / 100);
            target.wait = (target.wait * 2).min(DIAL_WAIT_MAX);
        }
    }

    /// There is a connection: the next failure waits shortly again.
    pub(crate) fn succeeded(&mut self, host: &str) {
        if let Some(target) = self.targets.get_mut(host) {
            target.dialling = false;
            target.wait = DIAL_WAIT_MIN;
        }
    }

    /// The peers to be dialled now, of those that are not `connected`; they count as being dialled from now on.
    pub(crate) fn due(
        &mut self,
        connected: impl Fn(&str) -> bool,
    ) -> Vec<(String, Vec<SocketAddr>, [u8; 32])> {
        let now = Instant::now();
        let mut due = Vec::new();
        for (host, target) in &mut self.targets {
            if !target.dialling && target.next <= now && !connected(host) {
                target.dialling = true;
                due.push((host.clone(), target.addrs.clone(), target.key));
            }
        }
        due
    }

    /// When the next dial is due, of peers that are not `connected`.
    pub(crate) fn next(&self, connected: impl Fn(&str) -> bool) -> Option<Instant> {
        let waiting = |(host, target): &(&String, &Target)| !target.dialling && !connected(host);
        let next = self.targets.iter().filter(waiting);
        next.map(|(_, target)| target.next).min()
    }

    /// Whether a peer is reached at this address by its line in the roster.
    pub(crate) fn is_current(&self, host: &str, addr: SocketAddr) -> bool {
        let target = self.targets.get(host);
        target.is_some_and(|target| target.addrs.contains(&addr))
    }
}
