//! What the keys say about the units of this host's resources.

use super::name::UnitName;
use crate::keys::Res;
use mars_meta_model::{Key, Table, View as _, member_key, members, resources};
use std::collections::{BTreeMap, BTreeSet};

/// What the keys of one resource want on this host.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UnitWish {
    /// The units that start and stop what uses the device.
    pub units: Option<(UnitName, UnitName)>,
    /// Why the keys name no units, if they try to.
    pub bad: Option<String>,
    /// Whether somebody said that this host has no units for it (any more): by a deletion, not by silence.
    pub gone: bool,
    /// The key `systemd-want`.
    pub want: Option<String>,
    /// Whether the units shall run here; `None`: nobody says so, and nothing is to be done.
    pub run: Option<bool>,
}

/// The key of the last result on `host`; `verb` is start or stop.
#[must_use]
pub fn status_key(resource: &str, verb: &str, host: &str) -> String {
    format!("resource-{resource}/userspace/systemd-status-{verb}-{host}")
}

/// The wishes for all resources that `host` takes part in, or took part in.
#[must_use]
pub fn wish(table: &Table, host: &str) -> BTreeMap<String, UnitWish> {
    let mut names: BTreeSet<String> = resources(table);
    let entries = table.scan("directory/");
    names.extend(entries.filter_map(|entry| entry.key.parts().nth(1).map(str::to_owned)));
    names
        .into_iter()
        .filter_map(|name| {
            let wish = of_resource(table, host, &name)?;
            Some((name, wish))
        })
        .collect()
}

fn is_deleted(table: &Table, key: Option<Key>) -> bool {
    key.and_then(|key| table.entry(&key))
        .is_some_and(|entry| entry.is_tombstone())
}

fn of_resource(table: &Table, host: &str, name: &str) -> Option<UnitWish> {
    if !members(table, name).contains_key(host) {
        let left = is_deleted(table, member_key(name, host));
        return left.then(|| UnitWish {
            gone: true,
            ..UnitWish::default()
        });
    }
    let view = Res::new(table, name);
    let want = view.text("systemd-want").map(str::to_owned);
    let mut wish = UnitWish {
        run: runs(&view, host, want.as_deref()),
        want,
        ..UnitWish::default()
    };
    match view.text("systemd-start-unit") {
        Some(start) => match both(start, view.text("systemd-stop-unit")) {
            Ok(units) => wish.units = Some(units),
            Err(why) => wish.bad = Some(why),
        },
        None => {
            let key = Key::parse(&format!("resource-{name}/systemd-start-unit")).ok();
            wish.gone = is_deleted(table, key);
        }
    }
    Some(wish)
}

/// The first word of one key, the last one of the other, as in the original.
fn both(start: &str, stop: Option<&str>) -> Result<(UnitName, UnitName), String> {
    let first = start.split(' ').find(|word| !word.is_empty());
    let start_unit = UnitName::parse(first.unwrap_or_default())?;
    let last = stop
        .unwrap_or(start)
        .rsplit(' ')
        .find(|word| !word.is_empty());
    let stop_unit = match last {
        Some(text) => UnitName::parse(text)?,
        None => start_unit.clone(),
    };
    Ok((start_unit, stop_unit))
}

/// Where a key is absent, nobody has wished anything: an emptied store must not stop applications.
fn runs(view: &Res<'_>, host: &str, want: Option<&str>) -> Option<bool> {
    if want? != host || view.text("primary")? != host {
        return Some(false);
    }
    if view.text(&format!("todo-{host}/attach")) == Some("0") {
        return Some(false);
    }
    Some(view.text(&format!("actual-{host}/if-on"))? != "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    fn table(pairs: &[(&str, &str)]) -> Table {
        let mut table = Table::new();
        table.merge(entry("directory/r/member-a", Some("storage"), 1, 1));
        for (key, value) in pairs {
            let value = (!value.is_empty()).then_some(*value);
            table.merge(entry(key, value, 2, 1));
        }
        table
    }

    fn of(pairs: &[(&str, &str)]) -> UnitWish {
        wish(&table(pairs), "a").remove("r").unwrap_or_default()
    }

    #[test]
    fn units_run_where_all_agree() {
        let all = [
            ("resource-r/systemd-want", "a"),
            ("resource-r/primary", "a"),
            ("resource-r/todo-a/attach", "1"),
            ("resource-r/actual-a/if-on", "1"),
        ];
        assert_eq!(of(&all).run, Some(true));
        for (at, other, run) in [
            (0, "b", Some(false)),
            (0, "(none)", Some(false)),
            (0, "", None),
            (1, "b", Some(false)),
            (1, "(none)", Some(false)),
            (1, "", None),
            (2, "0", Some(false)),
            (2, "", Some(true)),
            (3, "0", Some(false)),
            (3, "", None),
        ] {
            let mut some = all;
            some[at].1 = other;
            assert_eq!(of(&some).run, run, "{some:?}");
        }
        assert_eq!(of(&[]).run, None);
    }

    #[test]
    fn silence_is_no_wish_but_a_deletion_is() {
        assert_eq!(of(&[]), UnitWish::default());
        assert!(of(&[("resource-r/systemd-start-unit", "")]).gone);
        assert!(of(&[("directory/r/member-a", "")]).gone);
        assert!(!wish(&table(&[("directory/s/member-b", "storage")]), "a").contains_key("s"));
    }

    #[test]
    fn names_of_units_are_checked() {
        let units = |start: &str, stop: &str| {
            let wish = of(&[
                ("resource-r/systemd-start-unit", start),
                ("resource-r/systemd-stop-unit", stop),
            ]);
            wish.units
                .map(|(a, b)| format!("{a} {b}"))
                .ok_or(wish.bad.unwrap_or_default())
        };
        assert_eq!(units("a.service", "b.mount").unwrap(), "a.service b.mount");
        assert_eq!(units("a.service", "").unwrap(), "a.service a.service");
        assert_eq!(units("a.service b.mount", "").unwrap(), "a.service b.mount");
        for bad in [
            "/etc/x.service",
            "../x.service",
            "x",
            "a\nb.service",
            " ",
            "--now.service",
        ] {
            assert!(
                units(bad, "").unwrap_err().contains("name of a unit"),
                "{bad:?}"
            );
        }
    }
}
