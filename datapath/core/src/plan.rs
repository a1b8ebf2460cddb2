//! The planner: from the cluster's wishes and what is observed here to what shall run.
//!
//! One pure function, [`plan`], decides for one resource on one host. **An absent key is never a wish**: where
//! nothing was read, nothing is started, stopped, attached or demoted.

use crate::format::Successor;
use crate::name::Name;
use crate::version::LogName;
use mars_meta_model::{Entry, Key, Membership, View, member_key, members, roster};
use std::collections::{BTreeMap, BTreeSet};

/// Who the cluster wants to be primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Designated {
    /// This host.
    Me,
    /// Another host.
    Other(String),
    /// Nobody: `(none)`, or the key was deleted.
    Nobody,
}

/// The wishes for one resource on one host, as read from the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Backing disk, if the host is a storage member.
    pub disk: Option<String>,
    /// The membership was deleted: there is a tombstone where the disk or the member was named.
    pub departed: bool,
    /// Name of the exported device.
    pub device: String,
    /// Logical size in bytes.
    pub size: Option<u64>,
    /// Switch `attach`; `None`: never set.
    pub attach: Option<bool>,
    /// Switch `connect`: fetch logs. Off on a designated primary means: go on without what is missing.
    pub fetch: bool,
    /// Place at which a damaged log may be cut, as an administrator accepted it (`LOG,POS`).
    pub accepted_end: Option<String>,
    /// Switch `allow-replay`.
    pub replay: bool,
    /// Switch `sync`.
    pub sync: bool,
    /// Designated primary; `None`: never set.
    pub designated: Option<Designated>,
    /// Hosts that report to be primary, without this one.
    pub other_primaries: Vec<String>,
    /// Members that tell that they are not primary. Kept nowhere, so it is said by who is heard of.
    pub told_not_primary: BTreeSet<String>,
    /// The log behind which a host, named as successor there, will not go on (`renounced-H`).
    pub renounced: BTreeMap<String, LogName>,
    /// Logs whose writers want to go on themselves, instead of the successor they named (`actual-H/recalls`).
    pub recalled: BTreeSet<LogName>,
    /// Who was primary last, if it is another host.
    pub last_primary: Option<String>,
    /// Storage members that are in the roster, with this host.
    pub members: BTreeSet<String>,
}

/// Reads a live text.
fn text<'a>(view: &'a (impl View + ?Sized), res: &str, leaf: &str) -> Option<&'a str> {
    view.text(&format!("resource-{res}/{leaf}"))
}

fn switch(view: &(impl View + ?Sized), res: &str, host: &str, name: &str) -> Option<bool> {
    let key = Key::parse(&format!("resource-{res}/todo-{host}/{name}")).ok()?;
    // A deleted switch reads as off, as in the original; an absent one is no wish.
    let entry = view.entry(&key)?;
    Some(
        entry
            .text()
            .is_some_and(|t| t.trim().parse::<i64>().is_ok_and(|n| n != 0)),
    )
}

impl Wish {
    /// Reads the wishes for `res` on `host`.
    #[must_use]
    pub fn read(view: &(impl View + ?Sized), host: &str, res: &str) -> Self {
        let leaf = |leaf: &str| Key::parse(&format!("resource-{res}/{leaf}")).ok();
        let data = leaf(&format!("data-{host}")).and_then(|key| view.entry(&key));
        let primary = leaf("primary").and_then(|key| view.entry(&key));
        // `delete-resource --force` reaches those who are not members any more by this key only.
        let expelled = member_key(res, host)
            .and_then(|key| view.entry(&key))
            .is_some_and(Entry::is_tombstone);
        let designated = primary.map(|entry| match entry.text() {
            Some(name) if name == host => Designated::Me,
            None | Some("(none)") => Designated::Nobody,
            Some(name) => Designated::Other(name.to_owned()),
        });
        let known = roster(view);
        let members: BTreeSet<String> = members(view, res)
            .into_iter()
            .filter(|(name, kind)| *kind == Membership::Storage && known.contains_key(name))
            .map(|(name, _)| name)
            .collect();
        let other_primaries = members
            .iter()
            .filter(|m| *m != host)
            .filter(|m| text(view, res, &format!("actual-{m}/is-primary")) == Some("1"))
            .cloned()
            .collect();
        let told_not_primary = members
            .iter()
            .filter(|m| text(view, res, &format!("actual-{m}/is-primary")) == Some("0"))
            .cloned()
            .collect();
        let renounced = known.keys().filter_map(|name| {
            let log = text(view, res, &format!("renounced-{name}"))?
                .parse()
                .ok()?;
            Some((name.clone(), log))
        });
        let renounced = renounced.collect();
        let recalled = members.iter().filter_map(|name| {
            let log = text(view, res, &format!("actual-{name}/recalls"))?;
            log.parse()
                .ok()
                .filter(|log: &LogName| log.origin.as_str() == name)
        });
        let recalled = recalled.collect();
        let last = text(view, res, "userspace/last-primary").filter(|last| *last != host);
        let on = |name| switch(view, res, host, name).unwrap_or(false);
        Self {
            disk: data.and_then(Entry::text).map(str::to_owned),
            departed: expelled || data.is_some_and(Entry::is_tombstone),
            device: text(view, res, &format!("device-{host}"))
                .unwrap_or(res)
                .to_owned(),
            size: text(view, res, "size").and_then(|t| t.parse().ok()),
            attach: switch(view, res, host, "attach"),
            fetch: on("connect"),
            accepted_end: text(view, res, &format!("todo-{host}/accept-log-end"))
                .map(str::to_owned),
            replay: on("allow-replay"),
            sync: on("sync"),
            designated,
            other_primaries,
            told_not_primary,
            renounced,
            recalled,
            last_primary: last.map(str::to_owned),
            members,
        }
    }

    /// Where logs are fetched from: the designated primary, else who reports to be primary, else who was last.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        match &self.designated {
            Some(Designated::Other(host)) => Some(host),
            _ => self
                .other_primaries
                .first()
                .map(String::as_str)
                .or(self.last_primary.as_deref()),
        }
    }
}

/// What the driver of a resource is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The disk is closed.
    Detached,
    /// The disk is open; logs are fetched and replayed.
    Secondary,
    /// The device is exported (or about to be).
    Primary,
}

/// What is known locally of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Present role.
    pub role: Role,
    /// Connections that hold the device open.
    pub open_count: u32,
    /// The last life of this host ended as primary, and the log was not closed since.
    pub was_primary: bool,
    /// The disk is synced and replayed past the end of the sync.
    pub consistent: bool,
    /// All local log bytes are replayed.
    pub replayed_all: bool,
    /// A member that knows of more log than is here.
    pub behind: Option<String>,
    /// The host that wrote the newest log, if its close mark is not here.
    pub unfinished: Option<String>,
    /// Who may go on behind the newest log, if that is closed here.
    pub right: Right,
    /// This host has been designated for so long that it would have heard if somebody else was meanwhile.
    pub settled: bool,
}

/// Who may begin the log behind a closed one. The old primary names one host in its close mark, so two that are designated
/// one after the other, or by two administrators, never both go on (`docs/spec/log-format.md`, *Successor*).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// There is no closed log here, or none is needed.
    Unclaimed,
    /// This host.
    Mine,
    /// This other host.
    Of(String),
    /// Whoever is designated: nobody was named.
    Anyone,
}

impl Right {
    /// Reads who `host` finds named behind the closed `log`; `None` for a log of an earlier version.
    ///
    /// Who has renounced the log gives its right back to the one who wrote it.
    #[must_use]
    pub fn behind(wish: &Wish, host: &str, log: &LogName, named: Option<&Successor>) -> Self {
        let Some(Successor::Host(named)) = named else {
            return Self::Anyone;
        };
        // Who left the resource goes on with nothing, either.
        let is_member = |name: &Name| wish.members.contains(name.as_str());
        let back = wish.renounced.get(named.as_str()) == Some(log) || !is_member(named);
        let holder = if back { &log.origin } else { named };
        if !is_member(holder) {
            return Self::Anyone;
        }
        if holder.as_str() == host {
            Self::Mine
        } else {
            Self::Of(holder.as_str().to_owned())
        }
    }
}

/// What shall run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Whatever runs now: no wish was read.
    Keep,
    /// Stop, and forget logs and positions: the host left the resource.
    Depart,
    /// Close the disk.
    Detached,
    /// Open the disk, fetch and replay.
    Secondary {
        /// Where to fetch logs from.
        fetch: Option<String>,
        /// Whether to replay them.
        replay: bool,
        /// Where to sync from, if the disk needs it.
        sync: Option<String>,
    },
    /// Export the device.
    Primary,
}

/// Why the wish is not fulfilled yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Waiting {
    /// The device is held open.
    #[error("the device is still open ({0} connections): close it on this host first")]
    DeviceOpen(u32),
    /// Another host is still primary.
    #[error("host {0} still reports to be primary")]
    OtherPrimary(String),
    /// The log is not complete here.
    #[error("host {0} knows of more log than has been replayed here")]
    Behind(String),
    /// The newest log may go on where it was written.
    #[error(
        "the log of host {0} is not closed here: more of it may follow; if that host is lost, run 'marsadm disconnect' \
         and 'marsadm primary --force'"
    )]
    Unfinished(String),
    /// The old primary named another host in its close mark.
    #[error(
        "the role was handed to host {0}, which has not passed it on: if that host is lost, run 'marsadm disconnect' and \
         'marsadm primary --force'"
    )]
    HandedTo(String),
    /// Nobody was named in the close mark: another host may be designated at the same time.
    #[error("waiting a moment for word of another host that may have been designated, too")]
    Settling,
    /// Local log bytes are not replayed yet.
    #[error("the local log is not replayed to its end yet")]
    Replaying,
    /// The disk is not consistent yet.
    #[error("the disk is not consistent yet: a sync must finish first")]
    Inconsistent,
}

/// Decides what shall run, and why it is not what was wished.
#[must_use]
pub fn plan(wish: &Wish, seen: &Observed) -> (Target, Option<Waiting>) {
    let open = (seen.role == Role::Primary && seen.open_count > 0)
        .then_some(Waiting::DeviceOpen(seen.open_count));
    if wish.departed {
        return open.map_or((Target::Depart, None), |why| (Target::Keep, Some(why)));
    }
    if wish.disk.is_none() || wish.size.is_none() {
        return (Target::Keep, None);
    }
    match wish.attach {
        None => return (Target::Keep, None),
        Some(false) => {
            return open.map_or((Target::Detached, None), |why| (Target::Keep, Some(why)));
        }
        Some(true) => {}
    }
    match &wish.designated {
        Some(Designated::Me) if seen.role == Role::Primary => (Target::Primary, None),
        Some(Designated::Me) => match not_yet_primary(wish, seen) {
            None => (Target::Primary, None),
            Some(why) => (awaiting(wish, seen), Some(why)),
        },
        None if seen.role == Role::Primary => (Target::Keep, None),
        Some(_) if closes_own_log(wish, seen) => (Target::Primary, None),
        _ => open.map_or_else(|| (secondary(wish), None), |why| (Target::Keep, Some(why))),
    }
}

fn secondary(wish: &Wish) -> Target {
    let source = wish.source().map(str::to_owned);
    let sync = source.clone().filter(|_| wish.sync);
    Target::Secondary {
        fetch: source.filter(|_| wish.fetch),
        replay: wish.replay,
        sync,
    }
}

/// A designated host goes on fetching what it waits for, also where nobody is primary any more: from the host that wrote
/// the newest log, or knows of more.
fn awaiting(wish: &Wish, seen: &Observed) -> Target {
    let mut target = secondary(wish);
    if let Target::Secondary { fetch, .. } = &mut target
        && wish.other_primaries.is_empty()
    {
        let from = seen.unfinished.clone().or_else(|| seen.behind.clone());
        let from = from.or_else(|| wish.source().map(str::to_owned));
        *fetch = from.filter(|_| wish.fetch);
    }
    target
}

/// Whether a host takes the role once more, only to close its log in order, because whoever comes next waits for the close
/// mark: it crashed as primary and was designated away meanwhile, or it was named as successor and another one is designated
/// by now. Not where somebody is primary already (by force): then this host's log has no future.
fn closes_own_log(wish: &Wish, seen: &Observed) -> bool {
    seen.role == Role::Secondary
        && (seen.was_primary || passes_on(wish, seen))
        && seen.consistent
        && seen.behind.is_none()
        && wish.other_primaries.is_empty()
}

/// A right is passed on to who is there and waits for it: its word that it is not primary is not an old one, since it is kept
/// nowhere.
fn passes_on(wish: &Wish, seen: &Observed) -> bool {
    let waits = matches!(&wish.designated, Some(Designated::Other(host)) if wish.told_not_primary.contains(host));
    seen.right == Right::Mine && seen.replayed_all && waits
}

fn not_yet_primary(wish: &Wish, seen: &Observed) -> Option<Waiting> {
    if !seen.consistent {
        return Some(Waiting::Inconsistent);
    }
    if seen.was_primary {
        return None;
    }
    if !seen.replayed_all {
        return Some(Waiting::Replaying);
    }
    if !wish.fetch {
        // `primary --force` after `disconnect`: go on with what is here.
        return None;
    }
    if let Some(host) = wish.other_primaries.first() {
        return Some(Waiting::OtherPrimary(host.clone()));
    }
    // A key of another host may be outdated; the close mark in the log itself cannot.
    let behind = seen.behind.clone().map(Waiting::Behind);
    let unfinished = seen.unfinished.clone().map(Waiting::Unfinished);
    behind.or(unfinished).or_else(|| match &seen.right {
        Right::Unclaimed | Right::Mine => None,
        Right::Of(host) => Some(Waiting::HandedTo(host.clone())),
        Right::Anyone => (!seen.settled).then_some(Waiting::Settling),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::Table;
    use mars_meta_model::testing::{entry, node_record};

    fn store(extra: &[(&str, Option<&str>)]) -> Table {
        let mut table = Table::new();
        let record = node_record(1);
        for host in ["a", "b"] {
            table.merge(entry(
                &format!("roster/{host}"),
                Some(&record.to_string()),
                1,
                1,
            ));
            table.merge(entry(
                &format!("directory/r/member-{host}"),
                Some("storage"),
                1,
                1,
            ));
            for name in ["attach", "connect", "sync", "allow-replay"] {
                table.merge(entry(
                    &format!("resource-r/todo-{host}/{name}"),
                    Some("1"),
                    1,
                    1,
                ));
            }
            table.merge(entry(
                &format!("resource-r/data-{host}"),
                Some("/disk"),
                1,
                1,
            ));
        }
        table.merge(entry("resource-r/size", Some("4096"), 1, 1));
        for (i, (key, value)) in extra.iter().enumerate() {
            table.merge(entry(key, *value, 2 + i as u64, 1));
        }
        table
    }

    fn seen(role: Role) -> Observed {
        Observed {
            role,
            open_count: 0,
            was_primary: false,
            consistent: true,
            replayed_all: true,
            behind: None,
            unfinished: None,
            right: Right::Unclaimed,
            settled: false,
        }
    }

    fn decide(extra: &[(&str, Option<&str>)], seen: &Observed) -> (Target, Option<Waiting>) {
        plan(&Wish::read(&store(extra), "a", "r"), seen)
    }

    fn following(from: Option<&str>) -> Target {
        let from = from.map(str::to_owned);
        Target::Secondary {
            fetch: from.clone(),
            replay: true,
            sync: from,
        }
    }

    const PRIMARY: &str = "resource-r/primary";

    #[test]
    fn an_absent_key_is_never_a_wish() {
        let empty = Wish::read(&Table::new(), "a", "r");
        for role in [Role::Detached, Role::Secondary, Role::Primary] {
            assert_eq!(plan(&empty, &seen(role)), (Target::Keep, None));
        }
        assert_eq!(
            decide(&[], &seen(Role::Primary)).0,
            Target::Keep,
            "no primary key: no demotion"
        );
        assert_eq!(decide(&[], &seen(Role::Secondary)).0, following(None));
    }

    #[test]
    fn the_designated_primary_becomes_primary_when_it_has_everything() {
        let me = [(PRIMARY, Some("a"))];
        assert_eq!(decide(&me, &seen(Role::Secondary)), (Target::Primary, None));
        let mut late = seen(Role::Secondary);
        late.behind = Some("b".to_owned());
        assert_eq!(decide(&me, &late).1, Some(Waiting::Behind("b".to_owned())));
        let mut open = seen(Role::Secondary);
        open.unfinished = Some("b".to_owned());
        assert_eq!(
            decide(&me, &open).1,
            Some(Waiting::Unfinished("b".to_owned()))
        );
        let Target::Secondary { fetch, sync, .. } = decide(&me, &open).0 else {
            panic!("it follows until the log is closed here");
        };
        assert_eq!((fetch.as_deref(), sync), (Some("b"), None));
        late.replayed_all = false;
        assert_eq!(decide(&me, &late).1, Some(Waiting::Replaying));
        late.consistent = false;
        assert_eq!(decide(&me, &late).1, Some(Waiting::Inconsistent));
        let busy = [
            (PRIMARY, Some("a")),
            ("resource-r/actual-b/is-primary", Some("1")),
        ];
        let (target, why) = decide(&busy, &seen(Role::Secondary));
        assert_eq!(
            target,
            following(Some("b")),
            "it goes on fetching from the old primary"
        );
        assert_eq!(why, Some(Waiting::OtherPrimary("b".to_owned())));
    }

    #[test]
    fn a_crashed_primary_resumes_and_a_forced_one_goes_on_with_what_it_has() {
        let me = [(PRIMARY, Some("a"))];
        let mut crashed = seen(Role::Detached);
        crashed.was_primary = true;
        crashed.replayed_all = false;
        crashed.behind = Some("b".to_owned());
        assert_eq!(decide(&me, &crashed), (Target::Primary, None));
        let forced = [
            (PRIMARY, Some("a")),
            ("resource-r/todo-a/connect", Some("0")),
        ];
        let mut behind = seen(Role::Secondary);
        behind.behind = Some("b".to_owned());
        behind.unfinished = Some("b".to_owned());
        assert_eq!(decide(&forced, &behind), (Target::Primary, None));
        behind.consistent = false;
        assert_eq!(
            decide(&forced, &behind).1,
            Some(Waiting::Inconsistent),
            "not even by force"
        );
    }

    #[test]
    fn a_crashed_primary_that_was_designated_away_closes_its_log_first() {
        for value in ["(none)", "b"] {
            let away = [(PRIMARY, Some(value))];
            let mut crashed = seen(Role::Secondary);
            crashed.was_primary = true;
            assert_eq!(decide(&away, &crashed).0, Target::Primary, "{value}");
            crashed.role = Role::Primary;
            assert!(
                matches!(decide(&away, &crashed).0, Target::Secondary { .. }),
                "{value}"
            );
            crashed.role = Role::Secondary;
            let taken = [
                (PRIMARY, Some(value)),
                ("resource-r/actual-b/is-primary", Some("1")),
            ];
            assert!(
                matches!(decide(&taken, &crashed).0, Target::Secondary { .. }),
                "{value}"
            );
        }
    }

    fn log(name: &str) -> LogName {
        name.parse().unwrap()
    }

    fn named(host: &str) -> Successor {
        Successor::Host(host.parse().unwrap())
    }

    #[test]
    fn behind_a_closed_log_goes_on_who_is_named_there() {
        let me = [(PRIMARY, Some("a"))];
        let mut closed = seen(Role::Secondary);
        for (right, why) in [
            (Right::Mine, None),
            (
                Right::Of("b".to_owned()),
                Some(Waiting::HandedTo("b".to_owned())),
            ),
            (Right::Anyone, Some(Waiting::Settling)),
        ] {
            closed.right = right.clone();
            let (target, waits) = decide(&me, &closed);
            assert_eq!(waits, why, "{right:?}");
            assert_eq!(target == Target::Primary, why.is_none(), "{right:?}");
        }
        closed.settled = true;
        assert_eq!(decide(&me, &closed), (Target::Primary, None));
        closed.right = Right::Of("b".to_owned());
        let forced = [
            (PRIMARY, Some("a")),
            ("resource-r/todo-a/connect", Some("0")),
        ];
        assert_eq!(decide(&forced, &closed), (Target::Primary, None));
    }

    #[test]
    fn who_is_named_and_not_designated_passes_the_role_on() {
        let mut named = seen(Role::Secondary);
        named.right = Right::Mine;
        let waits = ("resource-r/actual-b/is-primary", Some("0"));
        let other = (PRIMARY, Some("b"));
        assert_eq!(decide(&[other, waits], &named).0, Target::Primary);
        // Not to who is not heard of, not to nobody, not beside a primary, not before all is replayed.
        let busy = ("resource-r/actual-b/is-primary", Some("1"));
        for keys in [
            &[other][..],
            &[(PRIMARY, Some("(none)")), waits][..],
            &[other, busy][..],
        ] {
            let (target, _) = decide(keys, &named);
            assert!(matches!(target, Target::Secondary { .. }), "{keys:?}");
        }
        named.replayed_all = false;
        let (target, _) = decide(&[other, waits], &named);
        assert!(matches!(target, Target::Secondary { .. }));
    }

    #[test]
    fn a_right_goes_back_to_the_writer_when_it_is_renounced() {
        let name = log("log-000000003-b");
        let read = |extra: &[(&str, Option<&str>)]| Wish::read(&store(extra), "a", "r");
        let wish = read(&[]);
        assert_eq!(Right::behind(&wish, "a", &name, None), Right::Anyone);
        let anyone = Some(&Successor::Anyone);
        assert_eq!(Right::behind(&wish, "a", &name, anyone), Right::Anyone);
        let mine = named("a");
        assert_eq!(Right::behind(&wish, "a", &name, Some(&mine)), Right::Mine);
        let of_b = Right::Of("b".to_owned());
        assert_eq!(
            Right::behind(&wish, "b", &name, Some(&mine)),
            Right::Of("a".to_owned())
        );
        // For this log only.
        let renounced = read(&[("resource-r/renounced-a", Some("log-000000003-b"))]);
        assert_eq!(Right::behind(&renounced, "a", &name, Some(&mine)), of_b);
        assert_eq!(
            Right::behind(&renounced, "b", &name, Some(&mine)),
            Right::Mine
        );
        let later = log("log-000000005-b");
        assert_eq!(
            Right::behind(&renounced, "a", &later, Some(&mine)),
            Right::Mine
        );
        // Who is no member has no right, either.
        let gone = named("c");
        assert_eq!(Right::behind(&wish, "a", &name, Some(&gone)), of_b);
        let foreign = log("log-000000003-c");
        assert_eq!(
            Right::behind(&wish, "a", &foreign, Some(&gone)),
            Right::Anyone
        );
        // Only a log's writer recalls it.
        let recalls = |text| read(&[("resource-r/actual-b/recalls", Some(text))]).recalled;
        assert_eq!(recalls("log-000000003-b"), BTreeSet::from([name]));
        for other in ["none", "log-000000003-a"] {
            assert_eq!(recalls(other), BTreeSet::new(), "{other}");
        }
    }

    #[test]
    fn the_old_primary_leaves_only_when_the_device_is_closed() {
        for value in [Some("b"), Some("(none)"), None] {
            let other = [(PRIMARY, value)];
            let mut primary = seen(Role::Primary);
            primary.open_count = 2;
            assert_eq!(
                decide(&other, &primary),
                (Target::Keep, Some(Waiting::DeviceOpen(2)))
            );
            primary.open_count = 0;
            assert!(
                matches!(decide(&other, &primary).0, Target::Secondary { .. }),
                "{value:?}"
            );
        }
    }

    #[test]
    fn nobody_designated_means_fetching_the_rest_from_the_last_primary() {
        let none = [
            (PRIMARY, Some("(none)")),
            ("resource-r/userspace/last-primary", Some("b")),
        ];
        assert_eq!(
            decide(&none, &seen(Role::Secondary)).0,
            following(Some("b"))
        );
    }

    #[test]
    fn switches_are_obeyed() {
        let off = [
            (PRIMARY, Some("b")),
            ("resource-r/todo-a/connect", Some("0")),
            ("resource-r/todo-a/allow-replay", None),
            ("resource-r/todo-a/sync", Some("x")),
        ];
        let nothing = Target::Secondary {
            fetch: None,
            replay: false,
            sync: None,
        };
        assert_eq!(decide(&off, &seen(Role::Secondary)).0, nothing);
        let detach = [
            ("resource-r/todo-a/attach", Some("0")),
            (PRIMARY, Some("a")),
        ];
        assert_eq!(decide(&detach, &seen(Role::Primary)).0, Target::Detached);
        let mut open = seen(Role::Primary);
        open.open_count = 1;
        assert_eq!(
            decide(&detach, &open),
            (Target::Keep, Some(Waiting::DeviceOpen(1)))
        );
        assert_eq!(
            decide(&[("resource-r/data-a", None)], &seen(Role::Secondary)).0,
            Target::Depart
        );
    }

    #[test]
    fn members_outside_of_the_roster_do_not_count() {
        let mut table = store(&[]);
        table.merge(entry("directory/r/member-ghost", Some("storage"), 1, 1));
        table.merge(entry("resource-r/actual-ghost/is-primary", Some("1"), 1, 1));
        let wish = Wish::read(&table, "a", "r");
        assert_eq!(wish.members.len(), 2);
        assert!(wish.other_primaries.is_empty());
    }
}
