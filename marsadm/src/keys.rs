//! Reading the keys of a resource: positions, versions, switches, members.

use crate::error::{Error, Result};
use crate::error_code::Code;
use mars_meta_model::{Membership, Table, View, check_name, members, resources_of};
use std::collections::BTreeMap;
use std::fmt;

/// A place in the logs of a resource: text form `log-NNNNNNNNN-ORIGIN,POS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPos {
    /// Number of the log.
    pub nr: u64,
    /// Host that wrote it.
    pub origin: String,
    /// Bytes from its beginning.
    pub pos: u64,
}

impl fmt::Display for LogPos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log-{:09}-{},{}", self.nr, self.origin, self.pos)
    }
}

impl LogPos {
    fn parse(log: &str, pos: &str) -> Option<Self> {
        let (nr, origin) = log.strip_prefix("log-")?.split_once('-')?;
        Some(Self {
            nr: nr.parse().ok()?,
            origin: origin.to_owned(),
            pos: pos.parse().ok()?,
        })
    }

    /// Whether this place is known to be at or behind `other` in the history: a later log, or further in the
    /// same one.
    #[must_use]
    pub fn has_reached(&self, other: &Self) -> bool {
        match self.nr.cmp(&other.nr) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => self.origin == other.origin && self.pos >= other.pos,
        }
    }
}

/// Value of a `replay-HOST` key: `log-NNNNNNNNN-ORIGIN,POS,DIRTY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// What is applied to the disk.
    pub at: LogPos,
    /// Bytes behind it that are known but not yet applied.
    pub dirty: u64,
}

/// Parses the value of a `replay-` or `syncpos-` key.
#[must_use]
pub fn parse_replay(text: &str) -> Option<Replay> {
    let mut fields = text.split(',');
    let at = LogPos::parse(fields.next()?, fields.next()?)?;
    let dirty = fields.next().map_or(Some(0), |f| f.parse().ok())?;
    fields.next().is_none().then_some(Replay { at, dirty })
}

/// The end of the log that a `version-` value tells: `DIGEST,log-NNNNNNNNN-ORIGIN,POS:...`.
#[must_use]
pub fn parse_version_end(text: &str) -> Option<LogPos> {
    let (own, _previous) = text.split_once(':')?;
    let mut fields = own.split(',');
    fields.next()?;
    let at = LogPos::parse(fields.next()?, fields.next()?)?;
    fields.next().is_none().then_some(at)
}

/// The place that a `version-` value speaks of, and the end of the log before it, if there is one.
#[must_use]
pub fn version_links(text: &str) -> Option<(LogPos, Option<LogPos>)> {
    let at = parse_version_end(text)?;
    let (_, before) = text.split_once(':')?;
    let mut fields = before.split(',').skip(1);
    let previous = fields
        .next()
        .zip(fields.next())
        .and_then(|(log, pos)| LogPos::parse(log, pos));
    Some((at, previous))
}

/// One resource as the keys in a table show it.
#[derive(Clone, Copy, Debug)]
pub struct Res<'a> {
    /// The keys.
    pub table: &'a Table,
    /// Name of the resource.
    pub name: &'a str,
}

impl<'a> Res<'a> {
    /// A resource by name.
    #[must_use]
    pub const fn new(table: &'a Table, name: &'a str) -> Self {
        Self { table, name }
    }

    /// The value of `resource-NAME/LEAF`.
    #[must_use]
    pub fn text(&self, leaf: &str) -> Option<&'a str> {
        self.table.text(&format!("resource-{}/{leaf}", self.name))
    }

    /// A number.
    #[must_use]
    pub fn number(&self, leaf: &str) -> Option<u64> {
        self.text(leaf)?.parse().ok()
    }

    /// Whether a switch or an observed flag is 1.
    #[must_use]
    pub fn is_on(&self, leaf: &str) -> bool {
        self.text(leaf).is_some_and(|text| text != "0")
    }

    /// An observed flag of a host.
    #[must_use]
    pub fn actual(&self, host: &str, name: &str) -> bool {
        self.is_on(&format!("actual-{host}/{name}"))
    }

    /// A switch of a host.
    #[must_use]
    pub fn todo(&self, host: &str, name: &str) -> bool {
        self.is_on(&format!("todo-{host}/{name}"))
    }

    /// The designated primary; `None` if there is no such key or it is `(none)`.
    #[must_use]
    pub fn primary(&self) -> Option<&'a str> {
        self.text("primary").filter(|host| *host != "(none)")
    }

    /// Members with a disk, in the order of their names.
    #[must_use]
    pub fn storage_members(&self) -> Vec<String> {
        members(self.table, self.name)
            .into_iter()
            .filter(|(_, kind)| *kind == Membership::Storage)
            .map(|(host, _)| host)
            .collect()
    }

    /// What `host` has applied.
    #[must_use]
    pub fn replay(&self, host: &str) -> Option<Replay> {
        parse_replay(self.text(&format!("replay-{host}"))?)
    }

    /// The end of the newest log as `host` tells it.
    #[must_use]
    pub fn version_end(&self, host: &str) -> Option<LogPos> {
        self.versions_of(host)
            .into_iter()
            .next_back()
            .and_then(|(_, text)| parse_version_end(text))
    }

    /// All version values of a host by number.
    #[must_use]
    pub fn versions_of(&self, host: &str) -> BTreeMap<u64, &'a str> {
        let prefix = format!("resource-{}/version-", self.name);
        self.table
            .scan(&prefix)
            .filter_map(|entry| {
                let (nr, of) = entry.key.as_str().strip_prefix(&prefix)?.split_once('-')?;
                (of == host).then_some((nr.parse().ok()?, entry.text()?))
            })
            .collect()
    }

    /// The logs that are told of (`log-*`), with their lengths, in the order of their numbers.
    #[must_use]
    pub fn logs(&self) -> Vec<LogPos> {
        let prefix = format!("resource-{}/", self.name);
        let live = self.table.scan(&format!("{prefix}log-"));
        let mut logs: Vec<LogPos> = live
            .filter_map(|entry| {
                let name = entry.key.as_str().strip_prefix(&prefix)?;
                LogPos::parse(name, entry.text()?)
            })
            .collect();
        logs.sort_by(|a, b| (a.nr, &a.origin).cmp(&(b.nr, &b.origin)));
        logs
    }

    /// The highest log number that any key tells of, deleted ones included; 0 if none does.
    #[must_use]
    pub fn highest_log(&self) -> u64 {
        let prefix = format!("resource-{}/", self.name);
        let number = |kind: &str| {
            let prefix = format!("{prefix}{kind}-");
            let numbers = self.table.scan(&prefix).filter_map(|entry| {
                let (nr, _) = entry.key.as_str().strip_prefix(&prefix)?.split_once('-')?;
                nr.parse::<u64>().ok()
            });
            numbers.max().unwrap_or(0)
        };
        number("version").max(number("log"))
    }

    /// Why the disk of `host` is not fully synced; `None` if it is.
    #[must_use]
    pub fn unsynced(&self, host: &str) -> Option<String> {
        let size = self.number("size").unwrap_or(0);
        let synced = self.number(&format!("syncstatus-{host}")).unwrap_or(0);
        if size == 0 || synced < size {
            return Some(format!("{synced} of {size} bytes are synced on {host}"));
        }
        let syncpos = self.text(&format!("syncpos-{host}"))?;
        let Some(needed) = parse_replay(syncpos) else {
            return Some(format!("syncpos-{host} is not understood: '{syncpos}'"));
        };
        match self.replay(host) {
            Some(replay) if replay.at.has_reached(&needed.at) => None,
            Some(replay) => Some(format!(
                "{host} must replay up to {} to be consistent (now at {})",
                needed.at, replay.at
            )),
            None => Some(format!("the replay position of {host} is not known")),
        }
    }
}

/// Checks the text of a resource argument.
///
/// # Errors
/// If it is no name, or stands for several where one is wanted.
pub fn one_resource(text: &str) -> Result<()> {
    check_name(text, "resource").map_err(|error| {
        let error = bad_name(error);
        if text == "all" || text.contains(',') {
            error.hint("this command takes one resource at a time")
        } else {
            error
        }
    })
}

/// The parts of a list with commas. As in the original, commas at its end are none; an empty part before is one.
pub fn list_parts(text: &str) -> impl Iterator<Item = &str> {
    let list = text.trim_end_matches(',');
    // Only commas are no empty list, but wrong.
    let list = if list.is_empty() { text } else { list };
    list.split(',')
}

/// The resources that an argument names: one, several joined by commas, those of the host that a pattern with `*` and
/// `?` matches, or `all` of the host.
///
/// # Errors
/// If a part is no name, or a pattern matches nothing.
pub fn resource_list(text: &str, table: &Table, host: &str) -> Result<Vec<String>> {
    if text == "all" {
        let mut all: Vec<String> = resources_of(table, host).into_keys().collect();
        all.sort_by_cached_key(|name| natural(name));
        return Ok(all);
    }
    let mut list: Vec<String> = Vec::new();
    for part in list_parts(text) {
        if is_pattern(part) {
            let own = resources_of(table, host).into_keys();
            let matching: Vec<String> = own.filter(|name| matches(part, name)).collect();
            if matching.is_empty() {
                return Err(unmatched(host, part));
            }
            list.extend(matching);
            continue;
        }
        check_name(part, "resource").map_err(bad_name)?;
        if !list.iter().any(|name| name == part) {
            list.push(part.to_owned());
        }
    }
    list.sort_by_cached_key(|name| natural(name));
    list.dedup();
    Ok(list)
}

fn bad_name(error: mars_meta_model::NameError) -> Error {
    Error::of(Code::BadName, error.to_string()).hint(
        "a resource, several joined by commas, a pattern with * or ?, or all; see marsadm status",
    )
}

/// Whether a part of an argument stands for all resources that it matches.
#[must_use]
pub fn is_pattern(part: &str) -> bool {
    part.contains(['*', '?'])
}

/// The error for a pattern that stands for no resource of the host.
#[must_use]
pub fn unmatched(host: &str, pattern: &str) -> Error {
    let why = format!("no resource of {host} matches '{pattern}'");
    Error::of(Code::ResourceNotFound, why)
        .hint("see marsadm status --all; in a shell, put the pattern into quotes")
}

/// Whether `*` (any text) and `?` (any character) of a pattern can stand for what `name` has there.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    // Which beginnings of the name the pattern so far matches.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for p in pattern.chars() {
        if p == '*' {
            let first = reached.iter().position(|r| *r).unwrap_or(reached.len());
            reached[first..].fill(true);
            continue;
        }
        for at in (0..reached.len()).rev() {
            reached[at] = at > 0 && reached[at - 1] && (p == '?' || p == name[at - 1]);
        }
    }
    reached.last().copied().unwrap_or(false)
}

/// A sort key that puts `lv-2` before `lv-10`.
#[must_use]
pub fn natural(name: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for c in name.chars().chain(std::iter::once('\0')) {
        if c.is_ascii_digit() {
            digits.push(c);
        } else {
            if !digits.is_empty() {
                out.push_str(&format!("{digits:0>12}"));
                digits.clear();
            }
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    fn table(pairs: &[(&str, &str)]) -> Table {
        let mut table = Table::new();
        for (key, value) in pairs {
            table.merge(entry(key, Some(value), 1, 1));
        }
        table
    }

    #[test]
    fn positions_are_read_as_the_original_writes_them() {
        let replay = parse_replay("log-000000012-host-a,4096,17").unwrap();
        assert_eq!(replay.at.to_string(), "log-000000012-host-a,4096");
        assert_eq!((replay.at.nr, replay.dirty), (12, 17));
        assert_eq!(replay.at.origin, "host-a");
        let version = "1af0b86ca7c99a997da87a03abd69eeb,log-000000001-hostA,69872880:";
        assert_eq!(parse_version_end(version).unwrap().pos, 69_872_880);
        for bad in [
            "",
            "log-1-a",
            "log-x-a,1,0",
            "log-1-a,1,0,0",
            "lag-000000001-a,1,1",
        ] {
            assert!(parse_replay(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_position_of_another_writer_is_not_reached() {
        let at = |text| parse_replay(text).unwrap().at;
        assert!(at("log-000000002-a,0,0").has_reached(&at("log-000000001-b,9,0")));
        assert!(at("log-000000001-a,9,0").has_reached(&at("log-000000001-a,9,0")));
        assert!(!at("log-000000001-a,8,0").has_reached(&at("log-000000001-a,9,0")));
        assert!(!at("log-000000001-b,99,0").has_reached(&at("log-000000001-a,9,0")));
    }

    #[test]
    fn the_highest_version_counts() {
        let t = table(&[
            ("resource-r/version-000000001-a", "0,log-000000001-a,50:"),
            ("resource-r/version-000000002-a", "0,log-000000002-a,7:x"),
            ("resource-r/version-000000003-b-a", "0,log-000000003-a,9:x"),
        ]);
        assert_eq!(Res::new(&t, "r").version_end("a").unwrap().pos, 7);
        assert_eq!(Res::new(&t, "r").versions_of("a").len(), 2);
    }

    #[test]
    fn a_copy_is_synced_only_behind_its_sync_position() {
        let mut t = table(&[
            ("resource-r/size", "100"),
            ("resource-r/syncstatus-b", "60"),
        ]);
        assert!(
            Res::new(&t, "r")
                .unsynced("b")
                .unwrap()
                .contains("60 of 100")
        );
        t.merge(entry("resource-r/syncstatus-b", Some("100"), 2, 1));
        assert!(Res::new(&t, "r").unsynced("b").is_none());
        t.merge(entry(
            "resource-r/syncpos-b",
            Some("log-000000001-a,50,0"),
            2,
            1,
        ));
        t.merge(entry(
            "resource-r/replay-b",
            Some("log-000000001-a,49,0"),
            2,
            1,
        ));
        assert!(
            Res::new(&t, "r")
                .unsynced("b")
                .unwrap()
                .contains("replay up to")
        );
        t.merge(entry(
            "resource-r/replay-b",
            Some("log-000000001-a,50,0"),
            3,
            1,
        ));
        assert!(Res::new(&t, "r").unsynced("b").is_none());
    }

    #[test]
    fn names_are_sorted_as_people_do() {
        let t = table(&[
            ("directory/lv-10/member-a", "storage"),
            ("directory/lv-2/member-a", "guest"),
            ("directory/x/member-b", "storage"),
        ]);
        assert_eq!(resource_list("all", &t, "a").unwrap(), ["lv-2", "lv-10"]);
        assert_eq!(resource_list("b,a,b", &t, "a").unwrap(), ["a", "b"]);
        assert_eq!(resource_list("lv-*", &t, "a").unwrap(), ["lv-2", "lv-10"]);
        assert_eq!(resource_list("lv-?,lv-2", &t, "a").unwrap(), ["lv-2"]);
        assert!(resource_list("*x", &t, "a").is_err());
        assert!(resource_list("a,,b", &t, "a").is_err());
        assert_eq!(resource_list("b,a,", &t, "a").unwrap(), ["a", "b"]);
        assert_eq!(resource_list("a,,", &t, "a").unwrap(), ["a"]);
        for bad in ["", ",", ",a"] {
            assert!(resource_list(bad, &t, "a").is_err(), "{bad}");
        }
        assert!(resource_list("none", &t, "a").is_err());
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, yes) in [
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("a?", "ab", true),
            ("a?", "a", false),
            ("a?", "abc", false),
            ("**", "a", true),
            ("*data", "mydata", true),
            ("data", "mydata", false),
        ] {
            assert_eq!(matches(pattern, name), yes, "{pattern} {name}");
        }
    }
}
