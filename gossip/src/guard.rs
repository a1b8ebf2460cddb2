//! What local clients may write: the owner rule, and what a wrong clock forbids.

use crate::ClockVerdict;
use crate::daemon::Daemon;
use crate::source::{lost_key, says_lost};
use crate::status::Exclusion;
use mars_meta::Change;
use mars_meta_api::{ApiError, ErrorCode, Overriding};
use mars_meta_model::{
    Key, Membership, Owner, classify, is_membership, member_key, members, trespass,
};

/// Refuses what breaks the owner rule, unless it is marked as an override; and shared keys on a node that is out of the
/// cluster or whose clock is wrong, unless an administrator insists.
pub(crate) fn check_write(
    daemon: &Daemon,
    changes: &[Change],
    how: Overriding,
) -> Result<(), ApiError> {
    if !how.forced {
        check_owner(daemon, changes)?;
        if !how.insist {
            let host = daemon.config.host.as_str();
            let lost = daemon.meta.with_table(|table| says_lost(table, host));
            check_lost(lost, host, changes)?;
        }
    }
    check_state(daemon, changes, how.insist)
}

/// Refuses shared keys on a node that is out of the cluster or whose clock is wrong, unless an administrator insists.
pub(crate) fn check_state(
    daemon: &Daemon,
    changes: &[Change],
    insist: bool,
) -> Result<(), ApiError> {
    let host = daemon.config.host.as_str();
    let guarded = check_standing(daemon.exclusion(), host, changes)
        .and_then(|()| check_clock(daemon.clock_verdict(), host, changes));
    match guarded {
        Err(error) if insist => {
            tracing::warn!(%error, "an administrator insists");
            Ok(())
        }
        guarded => guarded,
    }
}

fn check_owner(daemon: &Daemon, changes: &[Change]) -> Result<(), ApiError> {
    let host = daemon.config.host.as_str();
    daemon.meta.with_table(|table| {
        let member = |res: &str| {
            let own = member_key(res, host);
            // A batch that enters or leaves writes as a member.
            changes.iter().any(|(key, _)| Some(key) == own.as_ref())
                || members(table, res).contains_key(host)
        };
        let found = changes
            .iter()
            .find_map(|(key, _)| trespass(key, host, member));
        if let Some(found) = found {
            return Err(ApiError::new(ErrorCode::Refused, found.to_string())
                .with_hint("write it on the host that it belongs to, or insist with --force"));
        }
        let guest = |res: &str| is_guest(members(table, res).get(host).copied(), res, host, changes);
        let foreign = changes.iter().find_map(|(key, _)| guest_trespass(key, guest));
        foreign.map_or(Ok(()), |(key, res)| {
            let message = format!(
                "key {key} belongs to the members of resource {res} that have a disk of it, and {host} is a guest"
            );
            Err(ApiError::new(ErrorCode::Refused, message)
                .with_hint("write it on a member with a disk, or insist with --force"))
        })
    })
}

/// Whether `host`, which takes part in `res` as `now`, is a guest of it: so says the batch, if it tells.
fn is_guest(now: Option<Membership>, res: &str, host: &str, changes: &[Change]) -> bool {
    let own = member_key(res, host);
    let mut told = changes.iter().rev();
    let told = told.find(|(key, value)| Some(key) == own.as_ref() && value.is_some());
    match told.and_then(|(_, value)| value.as_ref()) {
        Some(value) => value.as_str() == Some(Membership::Guest.as_str()),
        None => now == Some(Membership::Guest),
    }
}

/// A key that guests write in others' names only, with its resource: what is a matter of those that have the data, and not
/// free for administrators. Only local writes are asked: peers of earlier versions do not flag theirs.
fn guest_trespass(key: &Key, guest: impl Fn(&str) -> bool) -> Option<(&Key, &str)> {
    let (family, _, res) = classify(key);
    let res = res.filter(|_| family.owner == Owner::Member)?;
    let free = key.as_str().strip_prefix("resource-")?.strip_prefix(res)?;
    (!free.starts_with("/userspace/") && guest(res)).then_some((key, res))
}

/// What a node writes that is out of the cluster reaches nobody. That it leaves its resources is for itself: for the others
/// it has left them with its removal.
fn check_standing(out: Option<Exclusion>, host: &str, changes: &[Change]) -> Result<(), ApiError> {
    let leaves =
        |(key, value): &&Change| value.is_none() && is_membership(key.as_str()) && names(key, host);
    let (Some(out), Some(key)) = (out, shared(changes.iter().filter(|c| !leaves(c)), host)) else {
        return Ok(());
    };
    let message = format!(
        "{host} is no longer in the cluster ({}): a shared key such as {key} would reach nobody",
        out.reason
    );
    Err(ApiError::new(ErrorCode::Refused, message).with_hint(
        "marsadm leave-cluster --force here, then join again with a new token; --force writes it here only",
    ))
}

/// What is written as if there had been nothing before would stand beside what is read back later, or above it. What is
/// read back, and overrides, come as such.
fn check_lost(lost: bool, host: &str, changes: &[Change]) -> Result<(), ApiError> {
    let Some(key) = shared(changes.iter(), host).filter(|_| lost) else {
        return Ok(());
    };
    let message = format!(
        "the metadata store of {host} was lost, and nobody that can be reached has what it held: whether {key} was there is not known"
    );
    Err(ApiError::new(ErrorCode::Refused, message).with_hint(format!(
        "start a node that still has its store, or read one back: marsadm meta export --store DIR FILE, marsadm meta import FILE; \
         if there is none: marsadm delete-file --force {} says that what is here counts; --force insists",
        lost_key(host)
    )))
}

fn names(key: &Key, host: &str) -> bool {
    classify(key).1 == Some(host)
}

/// A key that is not the host's own. Its own are what it reports of itself, and its switches. Who is a member of a resource
/// is for all to know, and so is a log of the host that all replicas are to forget.
fn shared<'c>(changes: impl Iterator<Item = &'c Change>, host: &str) -> Option<&'c Key> {
    let own = |(key, value): &Change| {
        names(key, host)
            && match classify(key).0.owner {
                Owner::Host => !is_membership(key.as_str()),
                Owner::Member => value.is_some(),
                Owner::Admin => false,
            }
    };
    let mut others = changes.filter(|change| !own(change));
    others.next().map(|(key, _)| key)
}

fn check_clock(verdict: ClockVerdict, host: &str, changes: &[Change]) -> Result<(), ApiError> {
    let Some(key) = shared(changes.iter(), host) else {
        return Ok(());
    };
    let (offset_ns, peers) = match verdict {
        ClockVerdict::Insane { offset_ns, peers } => (offset_ns, peers),
        ClockVerdict::Ahead { lead_ns } => {
            let message = format!(
                "the store of this node is {} s ahead of its system clock, which was wrong before: all others refuse what it \
                 writes until then, so it writes no shared keys such as {key}",
                lead_ns / 1_000_000_000
            );
            return Err(ApiError::new(ErrorCode::Refused, message).with_hint(
                "write it on another node; marsadm clock epoch ends this (docs/clock.md); --force insists",
            ));
        }
        ClockVerdict::Apart { own, theirs } => {
            let message = format!(
                "this node is in epoch {own} of the cluster's clock, and none of the others is (they are in {theirs}): shared \
                 keys such as {key} would be refused there, or lost"
            );
            return Err(ApiError::new(ErrorCode::Refused, message).with_hint(
                "write it on a node that is with the others; docs/clock.md, \"Apart\"; --force insists",
            ));
        }
        _ => return Ok(()),
    };
    let secs = offset_ns / 1_000_000_000;
    let word = if secs < 0 { "behind" } else { "ahead of" };
    let message = format!(
        "clock insane: the system clocks of this node's neighbours ({peers} compared) are {} s {word} its own, so it \
         writes no shared keys such as {key}",
        secs.unsigned_abs()
    );
    Err(ApiError::new(ErrorCode::Refused, message).with_hint(
        "compare the system clocks of all nodes (marsadm clock) and set the wrong one right; --force insists",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::Value;

    #[test]
    fn a_wrong_clock_forbids_shared_keys_only() {
        let change = |key: &str| vec![(Key::parse(key).unwrap(), None)];
        let insane = ClockVerdict::Insane {
            offset_ns: -90_000_000_000,
            peers: 3,
        };
        let warn = ClockVerdict::Warn {
            offset_ns: -40_000_000_000,
            peers: 3,
        };
        let ahead = ClockVerdict::Ahead {
            lead_ns: 86_400_000_000_000,
        };
        let error = check_clock(ahead, "a", &change("uuid")).unwrap_err();
        assert!(error.message.contains("86400 s ahead"), "{error}");
        let apart = ClockVerdict::Apart { own: 2, theirs: 0 };
        let error = check_clock(apart, "a", &change("uuid")).unwrap_err();
        assert!(error.message.contains("epoch 2"), "{error}");
        assert_eq!(check_clock(apart, "a", &change("ips/ip-a")), Ok(()));
        for own in ["actual-a/x", "resource-r/todo-a/attach", "ips/ip-a"] {
            assert_eq!(check_clock(insane, "a", &change(own)), Ok(()), "{own}");
        }
        // The data plane begins a log; that it goes concerns all replicas.
        let log = || Key::parse("resource-r/log-000000001-a").unwrap();
        let begun = vec![(log(), Some(Value::text("0").unwrap()))];
        assert_eq!(check_clock(insane, "a", &begun), Ok(()));
        for shared in [
            "resource-r/primary",
            "userspace/x",
            "uuid",
            "roster/a",
            "directory/r/member-a",
            "resource-r/log-000000001-a",
            // Of others, as an override.
            "resource-r/todo-b/allow-replay",
            "roster/b",
        ] {
            let error = check_clock(insane, "a", &change(shared)).unwrap_err();
            assert!(error.message.contains("90 s behind"), "{error}");
            assert!(error.message.contains(shared), "{error}");
            assert_eq!(check_clock(warn, "a", &change(shared)), Ok(()), "{shared}");
        }
    }

    #[test]
    fn whose_store_is_lost_writes_nothing_anew_that_others_share() {
        let change = |key: &str| vec![(Key::parse(key).unwrap(), Some(Value::text("1").unwrap()))];
        for own in ["actual-a/x", "resource-r/todo-a/attach", "ips/ip-a"] {
            assert_eq!(check_lost(true, "a", &change(own)), Ok(()), "{own}");
        }
        for shared in ["directory/r/member-a", "resource-r/size", "userspace/x"] {
            let error = check_lost(true, "a", &change(shared)).unwrap_err();
            assert!(error.message.contains(shared), "{error}");
            let hint = error.hint.unwrap();
            assert!(hint.contains("actual-a/msg-store-lost"), "{hint}");
            assert_eq!(check_lost(false, "a", &change(shared)), Ok(()));
        }
    }

    #[test]
    fn a_guest_writes_in_others_names_what_belongs_to_those_with_the_data() {
        let key = |text: &str| Key::parse(text).unwrap();
        let value = |text: &str| Some(Value::text(text).unwrap());
        let yes = |res: &str| res == "r";
        for key in [
            "resource-r/primary",
            "resource-r/size",
            "resource-r/strange/x",
        ]
        .map(key)
        {
            assert_eq!(guest_trespass(&key, yes), Some((&key, "r")));
            assert_eq!(guest_trespass(&key, |_| false), None);
        }
        for free in [
            "resource-r/userspace/x",
            "resource-r/todo-a/attach",
            "directory/r/member-a",
            "userspace/x",
            "resource-q/primary",
        ] {
            assert_eq!(guest_trespass(&key(free), yes), None, "{free}");
        }
        // What the batch itself says counts.
        let own = key("directory/r/member-a");
        let guest = |now, batch: &[Change]| is_guest(now, "r", "a", batch);
        assert!(guest(Some(Membership::Guest), &[]));
        assert!(!guest(Some(Membership::Storage), &[]));
        assert!(guest(Some(Membership::Guest), &[(own.clone(), None)]));
        assert!(guest(None, &[(own.clone(), value("guest"))]));
        assert!(!guest(Some(Membership::Guest), &[(own, value("storage"))]));
    }

    #[test]
    fn who_is_out_writes_for_itself_and_may_leave() {
        let change = |key: &str, value: Option<&str>| {
            let value = value.map(|value| Value::text(value).unwrap());
            vec![(Key::parse(key).unwrap(), value)]
        };
        let check = |changes: &[Change]| {
            let out = Exclusion {
                since_ns: 1,
                reason: "b removed it".to_owned(),
            };
            check_standing(Some(out), "a", changes)
        };
        for key in ["actual-a/x", "resource-r/todo-a/attach"] {
            assert_eq!(check(&change(key, Some("1"))), Ok(()), "{key}");
        }
        let mut leaving = change("directory/r/member-a", None);
        assert_eq!(check(&leaving), Ok(()));
        leaving.extend(change("resource-r/data-a", None));
        assert_eq!(check(&leaving), Ok(()));
        leaving.extend(change("resource-r/primary", Some("(none)")));
        let error = check(&leaving).unwrap_err();
        assert!(error.message.contains("resource-r/primary"), "{error}");
        for (key, value) in [
            ("directory/r/member-a", Some("storage")),
            ("directory/r/member-b", None),
            ("roster/b", Some("x")),
            ("resource-r/todo-b/sync", Some("0")),
        ] {
            let error = check(&change(key, value)).unwrap_err();
            assert!(error.message.contains("b removed it"), "{error}");
            assert!(error.message.contains(key), "{error}");
            assert!(error.hint.unwrap().contains("leave-cluster --force"));
        }
    }
}
