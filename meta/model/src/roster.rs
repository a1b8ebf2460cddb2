//! The roster: who belongs to the cluster, as data in the global scope (`roster/HOST`).
//!
//! A line is written by whoever writes last, so it cannot say for ever that a node is out: a node that has not heard of
//! its removal may write its line anew. What lasts is a key of its own, `removed/KEYHASH`, which is written once and never
//! deleted. A line with a key hash that was removed counts as *left*, whatever it says.

use crate::{Entry, Key, NodeId, Value, View, check_host_name};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::str::FromStr;

/// Whether a node takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It does.
    Active,
    /// It left or was removed; its key is no longer accepted.
    Left,
}

/// A node's line in the roster.
///
/// Text form: `v1 id=UUID key=HEX64 meta=ADDR[,ADDR] data=ADDR[,ADDR] state=active|left`; fields may come in
/// any order, unknown ones are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Identity of the node.
    pub id: NodeId,
    /// SHA-256 of the public key (SPKI) that its certificate must carry.
    pub key_hash: [u8; 32],
    /// Where its metadata daemon is reached.
    pub meta: Vec<SocketAddr>,
    /// Where its data plane is reached.
    pub data: Vec<SocketAddr>,
    /// Whether it takes part.
    pub state: NodeState,
}

/// A text is no line of the roster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("roster line '{text}' is not understood: {reason}")]
pub struct ParseNodeRecordError {
    text: String,
    reason: &'static str,
}

impl fmt::Display for NodeRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1 id={} key=", self.id)?;
        for byte in self.key_hash {
            write!(f, "{byte:02x}")?;
        }
        let join = |list: &[SocketAddr]| {
            list.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        let state = match self.state {
            NodeState::Active => "active",
            NodeState::Left => "left",
        };
        write!(
            f,
            " meta={} data={} state={state}",
            join(&self.meta),
            join(&self.data)
        )
    }
}

impl FromStr for NodeRecord {
    type Err = ParseNodeRecordError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| ParseNodeRecordError {
            text: text.to_owned(),
            reason,
        };
        let rest = text
            .strip_prefix("v1 ")
            .ok_or_else(|| error("it does not begin with v1"))?;
        let fields: BTreeMap<&str, &str> = rest
            .split(' ')
            .filter_map(|field| field.split_once('='))
            .collect();
        let field = |name| fields.get(name).copied();
        let id = field("id")
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| error("no valid id"))?;
        let key_hash = field("key")
            .and_then(parse_hash)
            .ok_or_else(|| error("no valid key hash"))?;
        let addrs = |name| -> Option<Vec<SocketAddr>> {
            let list = field(name).unwrap_or_default();
            list.split(',')
                .filter(|a| !a.is_empty())
                .map(|a| a.parse().ok())
                .collect()
        };
        let meta = addrs("meta").ok_or_else(|| error("no valid meta addresses"))?;
        let data = addrs("data").ok_or_else(|| error("no valid data addresses"))?;
        let state = match field("state") {
            Some("active") => NodeState::Active,
            Some("left") => NodeState::Left,
            _ => return Err(error("no known state")),
        };
        Ok(Self {
            id,
            key_hash,
            meta,
            data,
            state,
        })
    }
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (i, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// The key of a host's line; `None` if the name is no host name.
#[must_use]
pub fn roster_key(host: &str) -> Option<Key> {
    check_host_name(host).ok()?;
    Key::parse(&format!("roster/{host}")).ok()
}

/// What the keys of removals begin with.
pub const REMOVED_PREFIX: &str = "removed/";

/// The key that says that whoever bears this key hash was removed for ever.
#[must_use]
pub fn removed_key(key_hash: &[u8; 32]) -> Option<Key> {
    let mut text = REMOVED_PREFIX.to_owned();
    for byte in key_hash {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Key::parse(&text).ok()
}

/// The key hash that a key of a removal names; `None` if it is none.
#[must_use]
pub fn removed_hash(key: &Key) -> Option<[u8; 32]> {
    let hex = key.as_str().strip_prefix(REMOVED_PREFIX)?;
    parse_hash(hex).filter(|hash| removed_key(hash).as_ref() == Some(key))
}

/// The node that a mark of removal names; `None` if the entry is none, or names none that can be read.
#[must_use]
pub fn removed_node(mark: &Entry) -> Option<NodeId> {
    removed_hash(&mark.key)?;
    let fields = mark.text()?.strip_prefix("v1 ")?.split(' ');
    let mut ids = fields.filter_map(|field| field.strip_prefix("id="));
    ids.next()?.parse().ok()
}

/// Whether whoever bears this key hash was removed.
#[must_use]
pub fn is_removed(view: &(impl View + ?Sized), key_hash: &[u8; 32]) -> bool {
    let entry = removed_key(key_hash).and_then(|key| view.entry(&key));
    entry.is_some_and(|entry| !entry.is_tombstone())
}

/// What says that a node was removed for ever: key and value. The text form of the value is `v1 id=UUID host=HOST`, for the
/// human reader; that there is one is enough.
#[must_use]
pub fn removed_mark(host: &str, record: &NodeRecord) -> Option<(Key, Option<Value>)> {
    let text = format!("v1 id={} host={host}", record.id);
    Some((
        removed_key(&record.key_hash)?,
        Some(Value::text(&text).ok()?),
    ))
}

/// The changes that remove a node for ever: to be written as one batch.
#[must_use]
pub fn removal(host: &str, record: &NodeRecord) -> Vec<(Key, Option<Value>)> {
    let mut left = record.clone();
    left.state = NodeState::Left;
    let line = roster_key(host).zip(Value::text(&left.to_string()).ok());
    let line = line.map(|(key, value)| (key, Some(value)));
    let both = [removed_mark(host, record), line];
    both.into_iter().flatten().collect()
}

/// The line as it counts: one of a node that was removed says *left*.
fn effective(view: &(impl View + ?Sized), mut record: NodeRecord) -> NodeRecord {
    if is_removed(view, &record.key_hash) {
        record.state = NodeState::Left;
    }
    record
}

/// The line of a host as it counts; `None` if there is none that can be read.
#[must_use]
pub fn node_record(view: &(impl View + ?Sized), host: &str) -> Option<NodeRecord> {
    let record = view.entry(&roster_key(host)?)?.text()?.parse().ok()?;
    Some(effective(view, record))
}

/// All understood lines of the roster by host name, as they count, also of nodes that have left.
#[must_use]
pub fn roster(view: &(impl View + ?Sized)) -> BTreeMap<String, NodeRecord> {
    view.scan("roster/")
        .filter_map(|entry| {
            let host = entry.key.as_str().strip_prefix("roster/")?;
            check_host_name(host).ok()?;
            Some((
                host.to_owned(),
                effective(view, entry.text()?.parse().ok()?),
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Table;
    use crate::testing::{self, entry};

    #[test]
    fn a_line_reads_back() {
        let record = NodeRecord {
            key_hash: [0xab; 32],
            meta: vec!["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()],
            ..testing::node_record(7)
        };
        assert_eq!(record.to_string().parse(), Ok(record.clone()));
        let with_more = format!("{record} later=x");
        assert_eq!(with_more.parse(), Ok(record));
        assert!("v2 id=1".parse::<NodeRecord>().is_err());
        assert!("v1 id=1".parse::<NodeRecord>().is_err());
    }

    #[test]
    fn a_removal_outlasts_every_later_line_of_the_same_key() {
        let record = NodeRecord {
            key_hash: [0xab; 32],
            ..testing::node_record(7)
        };
        let mut table = Table::new();
        for (at, (key, value)) in removal("a", &record).into_iter().enumerate() {
            let text = value.as_ref().and_then(Value::as_str);
            table.merge(entry(key.as_str(), text, 5 + at as u64, 1));
        }
        let later = entry("roster/a", Some(&record.to_string()), 9, 7);
        table.merge(later);
        assert_eq!(roster(&table)["a"].state, NodeState::Left);
        assert_eq!(node_record(&table, "a").unwrap().state, NodeState::Left);
        // Another key under the same name and number is another membership.
        let mut new = record;
        new.key_hash = [1; 32];
        table.merge(entry("roster/a", Some(&new.to_string()), 10, 7));
        assert_eq!(node_record(&table, "a"), Some(new));
    }

    #[test]
    fn the_key_of_a_removal_reads_back_and_has_one_form() {
        let key = removed_key(&[0xab; 32]).unwrap();
        assert_eq!(removed_hash(&key), Some([0xab; 32]));
        let upper = "AB".repeat(32);
        for bad in [&*upper, "ab", "x"] {
            let key = Key::parse(&format!("removed/{bad}")).unwrap();
            assert_eq!(removed_hash(&key), None);
        }
    }
}
