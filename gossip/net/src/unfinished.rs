//! Handshakes that are not finished: how many there are, and whose turn it is to go when there is no room.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::limits::{MAX_HANDSHAKES, RETRY_ABOVE};

/// What is done with a new attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reception {
    Refuse,
    ProveAddress,
    ShakeHands,
}

#[derive(Debug, Default)]
struct All {
    next: u64,
    /// By age: whence, and what ends it when it is dropped.
    open: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
}

/// The handshakes of one endpoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unfinished(Arc<Mutex<All>>);

/// One handshake, counted as long as this lives.
#[derive(Debug)]
pub(crate) struct Place {
    all: Unfinished,
    number: u64,
    cut: oneshot::Receiver<()>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.lock().open.remove(&self.number);
    }
}

impl Place {
    /// Done when the handshake has to make room for another one.
    pub(crate) async fn is_cut(&mut self) {
        let _ = (&mut self.cut).await;
    }
}

/// Whose attempt it is, as far as that can be told apart: an IPv6 address by its network, since a machine has all of it.
fn source(addr: SocketAddr) -> IpAddr {
    match addr.ip().to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        ip @ IpAddr::V4(_) => ip,
    }
}

impl All {
    /// Takes the place of the oldest handshake of who has most of them, if that is more than `from` would have then.
    fn make_room(&mut self, from: IpAddr) -> bool {
        let mut counts: BTreeMap<IpAddr, (usize, u64)> = BTreeMap::new();
        for (number, (ip, _)) in &self.open {
            counts.entry(*ip).or_insert((0, *number)).0 += 1;
        }
        let own = counts.get(&from).map_or(0, |(count, _)| *count);
        let greedy = counts.into_values().max_by_key(|(count, _)| *count);
        let Some((_, oldest)) = greedy.filter(|(count, _)| *count > own + 1) else {
            return false;
        };
        self.open.remove(&oldest).is_some()
    }
}

impl Unfinished {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is done with an attempt of `from`. If it is to shake hands, there is room for it.
    pub(crate) fn reception(&self, from: SocketAddr, may_retry: bool) -> Reception {
        let mut all = self.lock();
        if all.open.len() >= RETRY_ABOVE && may_retry {
            return Reception::ProveAddress;
        }
        if all.open.len() >= MAX_HANDSHAKES && !all.make_room(source(from)) {
            return Reception::Refuse;
        }
        Reception::ShakeHands
    }

    /// Counts a handshake that begins.
    pub(crate) fn begin(&self, from: SocketAddr) -> Place {
        let (alive, cut) = oneshot::channel();
        let mut all = self.lock();
        let number = all.next;
        all.next += 1;
        all.open.insert(number, (source(from), alive));
        drop(all);
        Place {
            all: self.clone(),
            number,
            cut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn handshakes_are_counted_until_they_end_and_bounded() {
        let unfinished = Unfinished::default();
        let from = addr("192.0.2.1:1");
        let mut places = Vec::new();
        while unfinished.reception(from, false) == Reception::ShakeHands {
            places.push(unfinished.begin(from));
            let asked = unfinished.reception(from, true) == Reception::ProveAddress;
            assert_eq!(asked, places.len() >= RETRY_ABOVE);
        }
        assert_eq!(places.len(), MAX_HANDSHAKES);
        places.pop();
        assert_eq!(unfinished.reception(from, false), Reception::ShakeHands);
    }

    #[test]
    fn who_has_most_makes_room_and_gains_nothing_by_asking() {
        let unfinished = Unfinished::default();
        let (many, few) = (addr("[2001:db8::1]:1"), addr("[2001:db8:0:1::1]:1"));
        let mut places: Vec<Place> = (0..MAX_HANDSHAKES)
            .map(|_| unfinished.begin(many))
            .collect();
        assert_eq!(
            unfinished.reception(addr("[2001:db8::2]:2"), false),
            Reception::Refuse
        );
        assert_eq!(unfinished.reception(few, false), Reception::ShakeHands);
        places.push(unfinished.begin(few));
        assert!(
            places[0]
                .cut
                .try_recv()
                .is_err_and(|e| e == oneshot::error::TryRecvError::Closed)
        );
        assert!(
            places[1]
                .cut
                .try_recv()
                .is_err_and(|e| e == oneshot::error::TryRecvError::Empty)
        );
        assert_eq!(unfinished.reception(many, false), Reception::Refuse);
        // At most until both have the same share.
        let mut taken = 1;
        while unfinished.reception(few, false) == Reception::ShakeHands {
            places.push(unfinished.begin(few));
            taken += 1;
        }
        assert_eq!(taken, MAX_HANDSHAKES / 2);
        assert_eq!(unfinished.lock().open.len(), MAX_HANDSHAKES);
        drop(places);
        assert_eq!(unfinished.lock().open.len(), 0);
    }
}
