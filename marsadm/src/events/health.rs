//! What is wrong with a replica, in the codes of the status: what lasts, of that which its host tells.

use super::Known;
use crate::keys::Res;
use crate::limits::STALE_NATIVE_SECS;
use crate::status::Code;
use mars_meta_api::PeerState;
use mars_meta_model::{DiskClass, ReplayClass, ReplicaSummary, Table, View as _};

/// For what was never told since the daemon here was started.
pub(super) const UNKNOWN: &str = "unknown";

/// Whether what is known of a host is of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contact {
    /// It is, as far as is known.
    Heard,
    /// It was silent for longer than the status takes for the present.
    Lost,
    /// Nothing was heard of it since the daemon here was started.
    Never,
}

pub(super) fn contact(known: &Known<'_>, host: &str) -> Contact {
    let Some(peer) = known.peers.iter().find(|peer| peer.host == host) else {
        return Contact::Heard;
    };
    if host == known.host {
        return Contact::Heard;
    }
    match (peer.state, peer.heard_ns) {
        (Some(PeerState::Unknown), _) => Contact::Never,
        (_, Some(heard)) => {
            let secs = known.wall_ns.saturating_sub(heard) / 1_000_000_000;
            match secs > STALE_NATIVE_SECS {
                true => Contact::Lost,
                false => Contact::Heard,
            }
        }
        (Some(PeerState::Down), None) => Contact::Lost,
        (_, None) => Contact::Heard,
    }
}

/// Of a replica of which only the directory tells.
pub(super) fn of_summary(contact: Contact, told: &ReplicaSummary) -> String {
    if contact == Contact::Never {
        return UNKNOWN.to_owned();
    }
    if !told.plane {
        return joined(&[Code::DataPlaneDown]);
    }
    if contact == Contact::Lost {
        return joined(&[Code::NoContact]);
    }
    let mut codes = Vec::new();
    match told.disk {
        Some(DiskClass::Failed) => codes.push(Code::DiskError),
        Some(DiskClass::Detached) => codes.push(Code::Detached),
        _ => {}
    }
    match told.replay {
        Some(ReplayClass::Stopped) => codes.push(Code::ReplayStopped),
        Some(ReplayClass::SplitBrain) => codes.push(Code::SplitBrain),
        Some(ReplayClass::Emergency) => codes.push(Code::LogFull),
        _ => {}
    }
    joined(&codes)
}

/// Of a replica all of whose keys are known.
pub(super) fn of_keys(contact: Contact, nodes: &Table, view: &Res<'_>, host: &str) -> String {
    if contact == Contact::Never {
        return UNKNOWN.to_owned();
    }
    let told = |name: &str| view.text(&format!("actual-{host}/{name}"));
    if nodes.text(&format!("actual-{host}/datapath")) == Some("0") {
        return joined(&[Code::DataPlaneDown]);
    }
    if contact == Contact::Lost {
        return joined(&[Code::NoContact]);
    }
    if told("disk-error").is_some_and(|error| error != "0") {
        return joined(&[Code::DiskError]);
    }
    match told("is-attached") {
        // It is told as soon as its data plane is there.
        None => return UNKNOWN.to_owned(),
        Some("0") => return joined(&[Code::Detached]),
        Some(_) => {}
    }
    let mut codes = Vec::new();
    if view.actual(host, "has-emergency") {
        codes.push(Code::LogFull);
    }
    if told("log-damage").is_some_and(|place| !matches!(place, "" | "none")) {
        codes.push(Code::LogDamaged);
    }
    if codes.is_empty() && !view.actual(host, "is-primary") {
        secondary(&mut codes, view, host);
    }
    joined(&codes)
}

fn secondary(codes: &mut Vec<Code>, view: &Res<'_>, host: &str) {
    let told = |name: &str| view.text(&format!("actual-{host}/{name}"));
    let says = |name: &str| told(name).is_some_and(|text| !matches!(text, "" | "OK"));
    let on = |name| view.todo(host, name);
    if says("msg-err-splitbrain-detected") {
        codes.push(Code::SplitBrain);
    } else if told("replay-code").is_some_and(|code| code.starts_with('-')) {
        codes.push(Code::ReplayStopped);
    } else if view.unsynced(host).is_some() {
        if !on("sync") {
            codes.push(Code::SyncPaused);
        } else if says("msg-inf-sync") {
            codes.push(Code::Inconsistent);
        }
    } else if view.primary() != Some(host) {
        if !on("connect") {
            codes.push(Code::FetchPaused);
        }
        if !on("allow-replay") {
            codes.push(Code::ReplayPaused);
        }
    }
}

fn joined(codes: &[Code]) -> String {
    let codes: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    if codes.is_empty() {
        return "OK".to_owned();
    }
    codes.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::{Fact, Subject, facts};
    use super::*;
    use mars_meta_api::PeerInfo;
    use mars_meta_model::testing::entry;
    use std::collections::BTreeMap;

    const NOW: u64 = 1_700_000_000_000_000_000;

    fn peer(state: PeerState, heard_secs: Option<u64>) -> PeerInfo {
        PeerInfo {
            host: "b".to_owned(),
            state: Some(state),
            heard_ns: heard_secs.map(|secs| NOW - secs * 1_000_000_000),
            ..PeerInfo::default()
        }
    }

    /// What is told of the replica of `b` and of its health.
    fn told(keys: &[(&str, &str)], peer: PeerInfo) -> (String, String) {
        let base = [
            ("directory/r/member-a", "storage"),
            ("directory/r/member-b", "storage"),
            ("resource-r/primary", "a"),
            ("resource-r/size", "4096"),
            ("resource-r/syncstatus-b", "4096"),
            ("resource-r/todo-b/connect", "1"),
            ("resource-r/todo-b/allow-replay", "1"),
        ];
        let all: BTreeMap<&str, &str> = base.iter().chain(keys).copied().collect();
        let mut table = Table::new();
        for (key, value) in all {
            table.merge(entry(key, Some(value), 1, 1));
        }
        let all = facts(Known {
            host: "a",
            table: &table,
            followed: &BTreeMap::new(),
            peers: &[peer],
            wall_ns: NOW,
        });
        let of = |subject| {
            let fact = Fact {
                subject,
                resource: Some("r".to_owned()),
                host: Some("b".to_owned()),
            };
            all.get(&fact).cloned().unwrap_or_default()
        };
        (of(Subject::Replica), of(Subject::Health))
    }

    #[test]
    fn a_host_that_is_silent_is_not_well() {
        let keys = [("resource-r/actual-b/is-attached", "1")];
        let of = |state, heard| {
            let (replica, health) = told(&keys, peer(state, heard));
            format!("{replica} {health}")
        };
        assert_eq!(of(PeerState::Up, Some(3)), "secondary OK");
        assert_eq!(of(PeerState::Suspect, Some(16)), "secondary NO_CONTACT");
        assert_eq!(of(PeerState::Down, Some(61)), "secondary NO_CONTACT");
        assert_eq!(of(PeerState::Down, None), "secondary NO_CONTACT");
    }

    #[test]
    fn what_was_not_heard_yet_is_not_known() {
        let keys = [("resource-r/actual-b/is-attached", "1")];
        let unknown = (UNKNOWN.to_owned(), UNKNOWN.to_owned());
        assert_eq!(told(&keys, peer(PeerState::Unknown, None)), unknown);
        // Nothing but what is stored: its host tells the rest.
        assert_eq!(told(&[], peer(PeerState::Up, Some(0))), unknown);
    }

    #[test]
    fn codes_are_those_of_the_status() {
        let health = |key: &str, value: &str| {
            let attached = ("resource-r/actual-b/is-attached", "1");
            told(&[attached, (key, value)], peer(PeerState::Up, Some(0))).1
        };
        for (key, value, code) in [
            ("actual-b/datapath", "0", Code::DataPlaneDown),
            ("resource-r/actual-b/disk-error", "-5", Code::DiskError),
            ("resource-r/actual-b/is-attached", "0", Code::Detached),
            ("resource-r/actual-b/has-emergency", "1", Code::LogFull),
            (
                "resource-r/actual-b/log-damage",
                "log-1,5",
                Code::LogDamaged,
            ),
            ("resource-r/actual-b/replay-code", "-5", Code::ReplayStopped),
            ("resource-r/todo-b/connect", "0", Code::FetchPaused),
            ("resource-r/todo-b/allow-replay", "0", Code::ReplayPaused),
            ("resource-r/syncstatus-b", "0", Code::SyncPaused),
        ] {
            assert_eq!(health(key, value), code.as_str(), "{key}");
        }
        assert_eq!(health("resource-r/actual-b/ops", "7"), "OK");
    }
}
