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
    /// Hosts whose membership was deleted.
    pub left: BTreeSet<String>,
    /// Members whose data planes know of rights behind logs.
    pub know_rights: BTreeSet<String>,
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
        let prefix = format!("directory/{res}/member-");
        let left = view.scan(&prefix);
        let left = left.filter(|entry| entry.is_tombstone());
        let left =
            left.filter_map(|entry| entry.key.as_str().strip_prefix(&prefix).map(str::to_owned));
        let left = left.collect();
        let know_rights = members
            .iter()
            .filter(|m| text(view, res, &format!("actual-{m}/recalls")).is_some())
            .cloned()
            .collect();
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
            left,
            know_rights,
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
    /// The host that wrote the newest log here.
    pub writer: Option<String>,
    /// It is long enough ago that this host passed on a role.
    pub rested: bool,
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
        // Who left the resource goes on with nothing, either; that must have been read.
        let has_left = |name: &Name| wish.left.contains(name.as_str());
        let back = wish.renounced.get(named.as_str()) == Some(log) || has_left(named);
        let holder = if back { &log.origin } else { named };
        if has_left(holder) {
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
        // Rather from one that is heard of than from the writer, which may be gone.
        let heard = |host: &String| wish.told_not_primary.contains(host);
        let from = seen.behind.clone().filter(heard);
        let from = from.or_else(|| seen.unfinished.clone());
        let from = from.or_else(|| seen.behind.clone());
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
        && other_primary(wish, seen).is_none()
}

/// Who else is primary. Not the writer of a log that it closed for this host: it cannot be any more, though it said so last.
fn other_primary<'a>(wish: &'a Wish, seen: &Observed) -> Option<&'a String> {
    let over = |host: &String| seen.right == Right::Mine && seen.writer.as_ref() == Some(host);
    wish.other_primaries.iter().find(|host| !over(host))
}

/// A right is passed on to who is there and waits for it: its word that it is not primary is not an old one, since it is kept
/// nowhere.
fn passes_on(wish: &Wish, seen: &Observed) -> bool {
    let waits = matches!(&wish.designated, Some(Designated::Other(host)) if wish.told_not_primary.contains(host));
    seen.right == Right::Mine && seen.replayed_all && seen.rested && waits
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
    if let Some(host) = other_primary(wish, seen) {
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
mod tests;
