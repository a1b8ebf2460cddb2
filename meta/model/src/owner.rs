//! The owner rule: who may write which key, as the schema's column says.
//!
//! It is asked where an entry enters the cluster: at the local API, and by the first node that receives an entry from
//! the one that wrote it. What an administrator does in another owner's name is flagged (`forced`) and not asked about.

use crate::{Entry, Key, Owner, Scope, View, classify, member_key, scope_of};
use mars_lamport::Timestamp;

/// A write breaks the owner rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Trespass {
    /// The key belongs to another host.
    #[error("key {key} belongs to host {owner}, and {writer} wrote it")]
    Host {
        /// The key.
        key: Key,
        /// The host that the key names.
        owner: String,
        /// Who wrote.
        writer: String,
    },
    /// The key belongs to the members of a resource.
    #[error("key {key} belongs to the members of resource {res}, and {writer} is none")]
    Member {
        /// The key.
        key: Key,
        /// The resource.
        res: String,
        /// Who wrote.
        writer: String,
    },
}

/// Whether `writer` breaks the owner rule by writing `key`; `member` tells whether it belongs to a resource.
#[must_use]
pub fn trespass(key: &Key, writer: &str, member: impl FnOnce(&str) -> bool) -> Option<Trespass> {
    let (family, host, _) = classify(key);
    match family.owner {
        Owner::Host => host
            .filter(|host| *host != writer)
            .map(|owner| Trespass::Host {
                key: key.clone(),
                owner: owner.to_owned(),
                writer: writer.to_owned(),
            }),
        Owner::Member => {
            let res = resource_of(key)?;
            (!member(res)).then(|| Trespass::Member {
                key: key.clone(),
                res: res.to_owned(),
                writer: writer.to_owned(),
            })
        }
        Owner::Admin => None,
    }
}

/// The resource that a key belongs to or tells of.
fn resource_of(key: &Key) -> Option<&str> {
    match scope_of(key) {
        Scope::Resource(_) => key.as_str().strip_prefix("resource-")?.split('/').next(),
        Scope::Global => key.as_str().strip_prefix("directory/")?.split('/').next(),
    }
}

/// Nanoseconds around a leave within which stamps belong to the same batch.
const SAME_BATCH_NS: u64 = crate::limits::BATCH_LEN_MAX as u64;

/// Whether `host` belonged to `res` when it wrote something at `(epoch, stamp)`: it is a member or guest now, or it has
/// left later, or in the same batch.
#[must_use]
pub fn was_member(
    view: &(impl View + ?Sized),
    res: &str,
    host: &str,
    (epoch, stamp): (u16, Timestamp),
) -> bool {
    let Some(held) = member_key(res, host).and_then(|key| view.entry(&key).cloned()) else {
        return false;
    };
    if !held.is_tombstone() {
        return true;
    }
    let left = held.stamp.plus_nanos(SAME_BATCH_NS);
    (epoch, stamp) <= (held.epoch, left)
}

/// [`trespass`] for an entry, against the memberships in `view`.
#[must_use]
pub fn entry_trespass(
    view: &(impl View + ?Sized),
    entry: &Entry,
    writer: &str,
) -> Option<Trespass> {
    trespass(&entry.key, writer, |res| {
        was_member(view, res, writer, (entry.epoch, entry.stamp))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Table, testing::entry};

    fn key(text: &str) -> Key {
        Key::parse(text).unwrap()
    }

    #[test]
    fn each_owner_is_asked_for() {
        let no = |_: &str| false;
        let yes = |_: &str| true;
        for own in [
            "actual-a/x",
            "ips/ip-a",
            "resource-r/data-a",
            "directory/r/member-a",
        ] {
            assert_eq!(trespass(&key(own), "a", no), None, "{own}");
            let found = trespass(&key(own), "b", yes);
            assert!(matches!(found, Some(Trespass::Host { .. })), "{own}");
        }
        for shared in [
            "resource-r/primary",
            "resource-r/strange/x",
            "directory/r/summary",
        ] {
            assert_eq!(trespass(&key(shared), "a", yes), None, "{shared}");
            let found = trespass(&key(shared), "a", |res| {
                assert_eq!(res, "r");
                false
            });
            assert!(matches!(found, Some(Trespass::Member { .. })), "{shared}");
        }
        for free in ["uuid", "userspace/x", "roster/b", "unknown"] {
            assert_eq!(trespass(&key(free), "a", no), None, "{free}");
        }
    }

    #[test]
    fn who_has_left_wrote_as_a_member_before() {
        let mut table = Table::new();
        let at = |ns| (0, Timestamp::from_nanos(ns));
        assert!(!was_member(&table, "r", "a", at(1)));
        table.merge(entry("directory/r/member-a", Some("guest"), 1_000_000, 1));
        assert!(was_member(&table, "r", "a", at(1)));
        assert!(was_member(&table, "r", "a", at(u64::MAX)));
        table.merge(entry("directory/r/member-a", None, 2_000_000, 1));
        assert!(was_member(&table, "r", "a", at(2_000_000)));
        assert!(was_member(&table, "r", "a", at(2_000_100)));
        assert!(!was_member(&table, "r", "a", at(2_010_000)));
        assert!(!was_member(&table, "r", "a", (1, Timestamp::ZERO)));
    }
}
