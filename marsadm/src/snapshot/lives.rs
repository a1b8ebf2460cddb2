//! When each host was last known to replicate: what the running node shows as `actual-HOST/time`, and for how long that has
//! not been certain.

use super::live::{Clocks, item};
use super::model::{Body, Item};
use crate::limits::HEARD_BY_OTHERS_SECS;
use crate::plane::{Plane, plane};
use mars_lamport::Timestamp;
use mars_meta_api::{NodeInfo, PeerInfo, PeerState};
use mars_meta_model::{Table, View as _};
use std::collections::BTreeMap;

/// Whether it is heard of by way of others only.
pub(super) fn is_by_others(peer: &PeerInfo) -> bool {
    let told = matches!(peer.state, Some(PeerState::Up | PeerState::Suspect));
    told && !peer.connected
}

/// When it certainly lived (system clock, ns). A daemon of before does not say: it tells when the way to it was heard of.
fn certain_ns(peer: &PeerInfo) -> Option<u64> {
    let late = if is_by_others(peer) {
        HEARD_BY_OTHERS_SECS * 1_000_000_000
    } else {
        0
    };
    peer.certain_ns.or_else(|| {
        let heard = peer.heard_ns?.saturating_sub(late);
        (heard > 0).then_some(heard)
    })
}

/// For how many seconds it has not been certain of each other host that it replicates; `None`: that is dated ahead of the
/// clock, which was set back, and nobody knows. Who was never heard of is not in it.
pub(super) fn told_secs(
    peers: &[PeerInfo],
    beats: &BTreeMap<String, Beat>,
    clocks: Clocks,
) -> BTreeMap<String, Option<u64>> {
    let told = peers.iter().filter_map(|peer| {
        let certain = certain_ns(peer)?;
        let age = if certain > clocks.wall.as_nanos().saturating_add(1_000_000_000) {
            None
        } else {
            let at = replicating(beats.get(&peer.host), clocks.on_lamport(certain), clocks);
            let age = clocks.lamport.as_nanos().saturating_sub(at.as_nanos());
            Some(age / 1_000_000_000)
        };
        Some((peer.host.clone(), age))
    });
    told.collect()
}

/// When a host last replicated that was `heard` of then.
fn replicating(beat: Option<&Beat>, heard: Timestamp, clocks: Clocks) -> Timestamp {
    match beat.map(|beat| (beat.at, beat.plane)) {
        Some((_, Plane::Silent(since))) => clocks.on_lamport(since.as_nanos()).min(heard),
        Some((at, Plane::Down(_))) => at.min(heard),
        Some((_, Plane::Up | Plane::Unknown)) | None => heard,
    }
}

/// What a data plane, or the daemon beside it, last told of whether it runs.
pub(super) struct Beat {
    at: Timestamp,
    pub(super) plane: Plane,
}

pub(super) fn beats(table: &Table) -> BTreeMap<String, Beat> {
    let found = table.scan("actual-").filter_map(|entry| {
        let (host, leaf) = entry
            .key
            .as_str()
            .strip_prefix("actual-")?
            .split_once('/')?;
        entry.text().filter(|_| leaf == "datapath")?;
        let beat = Beat {
            at: entry.stamp,
            plane: plane(table, host),
        };
        Some((host.to_owned(), beat))
    });
    found.collect()
}

/// When each host was last known to replicate, as `actual-HOST/time` of the original says.
pub(super) fn lives(
    items: &mut BTreeMap<String, Item>,
    node: &NodeInfo,
    peers: &[PeerInfo],
    beats: &BTreeMap<String, Beat>,
    clocks: Clocks,
) {
    let own = std::iter::once((&node.host, Some(clocks.lamport)));
    let others = peers.iter().filter(|peer| peer.host != node.host);
    let others = others.map(|peer| {
        // With neighbours there is to be a connection: without one, who else hears of them is no sign of theirs.
        let heard = if peer.neighbour {
            certain_ns(peer)
        } else {
            peer.heard_ns
        };
        (&peer.host, heard.map(|heard| clocks.on_lamport(heard)))
    });
    for (host, heard) in own.chain(others) {
        let Some(heard) = heard else {
            continue;
        };
        let time = replicating(beats.get(host), heard, clocks);
        let body = Body::Key(time.to_string().into_bytes());
        items.insert(format!("actual-{host}/time"), item(time, body));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn clocks() -> Clocks {
        Clocks {
            wall: Timestamp::from_parts(1000, 0),
            lamport: Timestamp::from_parts(1010, 0),
        }
    }

    fn peer(connected: bool, state: PeerState, heard: u64, certain: Option<u64>) -> PeerInfo {
        PeerInfo {
            host: "b".to_owned(),
            connected,
            state: Some(state),
            heard_ns: Some(heard * SECOND),
            certain_ns: certain.map(|secs| secs * SECOND),
            ..PeerInfo::default()
        }
    }

    fn told(peer: PeerInfo, plane: Option<(u64, Plane)>) -> Option<Option<u64>> {
        let beat = |(at, plane)| {
            let at = Timestamp::from_parts(at, 0);
            ("b".to_owned(), Beat { at, plane })
        };
        let beats = plane.map(beat).into_iter().collect();
        told_secs(&[peer], &beats, clocks()).get("b").copied()
    }

    #[test]
    fn what_is_told_is_as_old_as_the_last_time_that_is_certain() {
        use PeerState::{Down, Suspect, Up};
        for (connected, state, heard, certain, age) in [
            (true, Up, 998, Some(998), 2),
            (true, Up, 998, None, 2),
            // By way of others: the daemon says what is certain; one of before does not.
            (false, Up, 999, Some(975), 25),
            (false, Suspect, 999, Some(959), 41),
            (false, Up, 999, None, 41),
            (false, Suspect, 999, None, 41),
            (false, Down, 970, Some(970), 30),
            (false, Down, 970, Some(960), 40),
            (false, Down, 970, None, 30),
        ] {
            let peer = peer(connected, state, heard, certain);
            let case = format!("{peer:?}");
            let up = Some((900, Plane::Up));
            assert_eq!(told(peer.clone(), up), Some(Some(age)), "{case}");
            assert_eq!(told(peer, None), Some(Some(age)), "{case}");
        }
    }

    #[test]
    fn a_neighbour_without_connection_is_not_shown_to_live_since_others_do() {
        let shown = |neighbour| {
            let mut peer = peer(false, PeerState::Up, 999, Some(975));
            peer.neighbour = neighbour;
            let (mut items, node) = (BTreeMap::new(), NodeInfo::default());
            lives(&mut items, &node, &[peer], &BTreeMap::new(), clocks());
            let time = items["actual-b/time"].live().unwrap().to_vec();
            String::from_utf8(time).unwrap()
        };
        assert_eq!(shown(true), "985.000000000");
        assert_eq!(shown(false), "1009.000000000");
    }

    #[test]
    fn a_data_plane_that_ended_told_nothing_afterwards() {
        let peer = || peer(true, PeerState::Up, 999, Some(999));
        let down = Plane::Down(Timestamp::from_parts(950, 0));
        assert_eq!(told(peer(), Some((950, down))), Some(Some(60)));
        let silent = Plane::Silent(Timestamp::from_parts(970, 0));
        assert_eq!(told(peer(), Some((950, silent))), Some(Some(30)));
    }

    #[test]
    fn nobody_knows_how_old_is_what_was_heard_of_before_the_clock_was_set_back() {
        let ahead = peer(false, PeerState::Down, 1100, Some(1100));
        assert_eq!(told(ahead, None), Some(None));
        let mut never = peer(false, PeerState::Unknown, 0, None);
        never.heard_ns = None;
        assert_eq!(told(never, None), None);
    }
}
