//! Since when the state is that blocks a command.

use crate::keys::Res;
use crate::wall::now;
use mars_gossip::Utc;
use mars_lamport::Timestamp;
use mars_meta_model::{Key, Table, View as _};

/// The stamp and age of a key of the resource in words: `since 2026-11-21 13:04:05 UTC (12 min ago)`; a key that is not
/// there was never written.
pub(super) fn since(view: &Res<'_>, leaf: &str) -> String {
    since_key(view.table, &format!("resource-{}/{leaf}", view.name))
}

/// The same for any key.
pub(super) fn since_key(table: &Table, key: &str) -> String {
    let entry = Key::parse(key).ok().and_then(|key| table.entry(&key));
    match entry {
        Some(entry) => moment(entry.stamp, now()),
        None => "never reported".to_owned(),
    }
}

/// A stamp and its age in words.
pub(super) fn moment(stamp: Timestamp, now: Timestamp) -> String {
    let secs = now.secs().saturating_sub(stamp.secs());
    format!("since {} ({} ago)", Utc(stamp.secs()), age(secs))
}

/// An age in the largest unit that makes sense.
pub(super) fn age(secs: u64) -> String {
    match secs {
        0..120 => format!("{secs} s"),
        120..7_200 => format!("{} min", secs / 60),
        7_200..172_800 => format!("{} h", secs / 3_600),
        _ => format!("{} days", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_become_dates_and_ages() {
        let stamp = Timestamp::from_parts(1_699_999_005, 5);
        let text = moment(stamp, Timestamp::from_parts(1_699_999_005 + 7_300, 0));
        assert_eq!(text, "since 2023-11-14 21:56:45 UTC (2 h ago)");
        assert_eq!(age(119), "119 s");
        assert_eq!(age(120), "2 min");
        assert_eq!(age(400_000), "4 days");
        // A stamp of the future is not older than now.
        assert!(moment(stamp, Timestamp::from_parts(1, 0)).contains("(0 s ago)"));
    }
}
