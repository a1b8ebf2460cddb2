//! What local clients may write: the owner rule, and what a wrong clock forbids.

use crate::ClockVerdict;
use crate::daemon::Daemon;
use mars_meta::Change;
use mars_meta_api::{ApiError, ErrorCode};
use mars_meta_model::{Key, classify, member_key, members, trespass};

/// Refuses what breaks the owner rule, and shared keys while the clock is insane; not if an administrator insists.
pub(crate) fn check_write(
    daemon: &Daemon,
    changes: &[Change],
    forced: bool,
) -> Result<(), ApiError> {
    if forced {
        return Ok(());
    }
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
        found.map_or(Ok(()), |found| {
            Err(ApiError::new(ErrorCode::Refused, found.to_string())
                .with_hint("write it on the host that it belongs to, or insist with --force"))
        })
    })?;
    check_standing(daemon, changes)?;
    check_clock(daemon.clock_verdict(), host, changes)
}

/// What a node writes that is out of the cluster reaches nobody.
fn check_standing(daemon: &Daemon, changes: &[Change]) -> Result<(), ApiError> {
    let host = daemon.config.host.as_str();
    let (Some(out), Some(key)) = (daemon.exclusion(), shared(changes, host)) else {
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

/// A key that is not the host's own.
fn shared<'c>(changes: &'c [Change], host: &str) -> Option<&'c Key> {
    let all = changes.iter().map(|(key, _)| key);
    all.into_iter().find(|key| classify(key).1 != Some(host))
}

fn check_clock(verdict: ClockVerdict, host: &str, changes: &[Change]) -> Result<(), ApiError> {
    let Some(key) = shared(changes, host) else {
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
        for shared in ["resource-r/primary", "userspace/x", "uuid"] {
            let error = check_clock(insane, "a", &change(shared)).unwrap_err();
            assert!(error.message.contains("90 s behind"), "{error}");
            assert!(error.message.contains(shared), "{error}");
            assert_eq!(check_clock(warn, "a", &change(shared)), Ok(()), "{shared}");
        }
    }
}
