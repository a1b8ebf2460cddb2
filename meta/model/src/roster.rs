//! The roster: who belongs to the cluster, as data in the global scope (`roster/HOST`).

use crate::{Key, NodeId, View, check_host_name};
use std::collections::BTreeMap;
use std::fmt;
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

/// All understood lines of the roster by host name, also of nodes that have left.
#[must_use]
pub fn roster(view: &(impl View + ?Sized)) -> BTreeMap<String, NodeRecord> {
    view.scan("roster/")
        .filter_map(|entry| {
            let host = entry.key.as_str().strip_prefix("roster/")?;
            check_host_name(host).ok()?;
            Some((host.to_owned(), entry.text()?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back() {
        let record = NodeRecord {
            id: NodeId(7),
            key_hash: [0xab; 32],
            meta: vec!["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()],
            data: vec![],
            state: NodeState::Active,
        };
        assert_eq!(record.to_string().parse(), Ok(record.clone()));
        let with_more = format!("{record} later=x");
        assert_eq!(with_more.parse(), Ok(record));
        assert!("v2 id=1".parse::<NodeRecord>().is_err());
        assert!("v1 id=1".parse::<NodeRecord>().is_err());
    }
}
