//! Whether the data plane of a host runs, as its sign of life (`actual-HOST/datapath`) says.

use mars_lamport::Timestamp;
use mars_meta_model::{Key, Table, View as _};

/// What is known of a host's data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// It runs.
    Up,
    /// It ended, or its metadata daemon has not heard of it since it started: told at this stamp.
    Down(Timestamp),
    /// Its process is there, and has given no sign of life since this time of the system clock.
    Silent(Timestamp),
    /// Nobody has told.
    Unknown,
}

/// What the keys tell of the data plane of `host`. Whoever writes the sign takes it back when it ends, or its metadata
/// daemon does.
#[must_use]
pub fn plane(table: &Table, host: &str) -> Plane {
    let path = sign(host);
    let entry = Key::parse(&path).ok().and_then(|key| table.entry(&key));
    let Some((entry, text)) = entry.and_then(|entry| Some((entry, entry.text()?))) else {
        return Plane::Unknown;
    };
    if text != "0" {
        return Plane::Up;
    }
    let silent = table.text(&format!("{path}-silent"));
    let silent = silent.filter(|since| *since != "0");
    match silent.and_then(|since| since.parse().ok()) {
        Some(since) => Plane::Silent(since),
        None => Plane::Down(entry.stamp),
    }
}

/// The key of the sign; those that go with it begin like it.
#[must_use]
pub fn sign(host: &str) -> String {
    format!("actual-{host}/datapath")
}

impl Plane {
    /// Why what the data plane of `host` told last is the past; nothing if it is the present as far as is known.
    #[must_use]
    pub fn why_past(self, host: &str) -> Option<String> {
        match self {
            Self::Up | Self::Unknown => None,
            Self::Down(_) => Some(format!("mars-datapath does not run on {host}")),
            Self::Silent(_) => Some(format!(
                "mars-datapath on {host} is there, but gives no sign of life"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    #[test]
    fn an_ended_data_plane_is_told_from_one_that_hangs() {
        let mut table = Table::new();
        assert_eq!(plane(&table, "a"), Plane::Unknown);
        table.merge(entry("actual-a/datapath", Some("7.000000000"), 1, 1));
        assert_eq!(plane(&table, "a"), Plane::Up);
        assert_eq!(Plane::Up.why_past("a"), None);
        table.merge(entry("actual-a/datapath", Some("0"), 2, 1));
        let ended = plane(&table, "a");
        assert!(matches!(ended, Plane::Down(_)), "{ended:?}");
        assert!(ended.why_past("a").unwrap().contains("does not run on a"));
        table.merge(entry("actual-a/datapath-silent", Some("7.000000000"), 3, 1));
        assert_eq!(
            plane(&table, "a"),
            Plane::Silent(Timestamp::from_parts(7, 0))
        );
        table.merge(entry("actual-a/datapath-silent", Some("0"), 4, 1));
        assert_eq!(plane(&table, "a"), ended);
        assert_eq!(plane(&table, "b"), Plane::Unknown);
    }
}
