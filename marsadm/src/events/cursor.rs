//! The place up to which a reader has seen the events: which daemon told them, and the newest stamp of every node that wrote.

use crate::error::{Error, Result};
use crate::limits::CURSOR_MARGIN_NS;
use mars_meta_model::{Entry, NodeId};
use std::collections::BTreeMap;
use std::path::Path;

/// A place in the events of one daemon. Text form: `1-INSTANCE-ORIGIN:STAMP,ORIGIN:STAMP`, all numbers in hex.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Which run of the daemon told them; empty: nothing was seen yet.
    pub instance: String,
    /// The newest stamp seen of each writer, in nanoseconds.
    seen: BTreeMap<NodeId, u64>,
}

impl Cursor {
    /// A place at the beginning of what an instance tells.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        Self {
            instance: instance.to_owned(),
            seen: BTreeMap::new(),
        }
    }

    /// Takes note of an entry.
    pub fn see(&mut self, entry: &Entry) {
        let stamp = self.seen.entry(entry.origin).or_default();
        *stamp = (*stamp).max(entry.stamp.as_nanos());
    }

    /// Whether the reader may not have seen the entry. Entries of one writer may overtake each other by a little, so
    /// that some are told twice, but none is left out.
    #[must_use]
    pub fn is_news(&self, entry: &Entry) -> bool {
        self.seen
            .get(&entry.origin)
            .is_none_or(|seen| entry.stamp.as_nanos() > seen.saturating_sub(CURSOR_MARGIN_NS))
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self> {
        Self::read(text).ok_or_else(|| {
            Error::usage(format!("'{text}' is no cursor")).hint(
                "take the field cursor of a line of marsadm events; without --cursor: a snapshot",
            )
        })
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, instance, list) = (parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
        if version != "1" || parts.next().is_some() || !hex(instance) {
            return None;
        }
        let mut cursor = Self::new(instance);
        for pair in list.split(',').filter(|pair| !pair.is_empty()) {
            let (origin, stamp) = pair.split_once(':')?;
            let origin = NodeId(u128::from_str_radix(origin, 16).ok()?);
            let stamp = u64::from_str_radix(stamp, 16).ok()?;
            cursor.seen.insert(origin, stamp);
        }
        Some(cursor)
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "1-{}-", self.instance)?;
        for (at, (origin, stamp)) in self.seen.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{:x}:{stamp:x}", origin.0)?;
        }
        Ok(())
    }
}

/// Which run of which daemon listens at a socket: the machine's boot, the process, and when it started. Observations
/// live in its memory only, so another run cannot tell what changed before.
///
/// # Errors
/// If nobody listens.
pub async fn instance(socket: &Path) -> std::io::Result<String> {
    let stream = tokio::net::UnixStream::connect(socket).await?;
    let pid = stream.peer_cred()?.pid().unwrap_or_default();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let boot = read("/proc/sys/kernel/random/boot_id");
    let stat = read(&format!("/proc/{pid}/stat"));
    // Fields behind the name, which may hold anything: the start is the 20th of them.
    let started = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(19))
        .unwrap_or_default();
    let digest = blake3::hash(format!("{boot} {pid} {started}").as_bytes());
    Ok(digest.to_hex()[..16].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    #[test]
    fn a_cursor_survives_its_text_form() {
        let mut cursor = Cursor::new("0123abcd");
        assert_eq!(Cursor::parse(&cursor.to_string()).unwrap(), cursor);
        cursor.see(&entry("a", Some("1"), 90_000_000_000, 1));
        cursor.see(&entry("b", Some("1"), 5_000_000_000, 2));
        cursor.see(&entry("c", Some("1"), 4_000_000_000, 2));
        assert_eq!(Cursor::parse(&cursor.to_string()).unwrap(), cursor);
        for bad in [
            "", "1", "1--", "2-ab-", "1-xy-", "1-ab-1", "1-ab-1:z", "1-ab--",
        ] {
            assert!(Cursor::parse(bad).is_err() || bad == "1--", "{bad}");
        }
    }

    #[test]
    fn every_writer_has_its_own_place() {
        let mut cursor = Cursor::new("ab");
        cursor.see(&entry("a", Some("1"), 90_000_000_000, 1));
        assert!(!cursor.is_news(&entry("a", Some("1"), 10_000_000_000, 1)));
        assert!(cursor.is_news(&entry("a", Some("1"), 91_000_000_000, 1)));
        assert!(cursor.is_news(&entry("a", Some("1"), 10_000_000_000, 2)));
        assert!(
            cursor.is_news(&entry("a", Some("1"), 89_000_000_000, 1)),
            "margin"
        );
    }
}
