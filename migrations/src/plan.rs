//! From a listed tree to entries: pure.

use crate::candidates::{Candidate, Candidates};
use crate::limits::{CLAMP_AFTER_NS, PRELIMINARY_BELOW_NS};
use crate::place::{Place, folder_skip, parts_of, place_of};
use crate::report::{
    CellKind, FileRow, KeyRow, Outcome, Report, SkippedRow, Source, Warning, WarningKind,
};
use crate::{Object, ObjectKind, Scan, SkipReason, check, derive, show_bytes};
use mars_lamport::{DEFAULT_MAX_AHEAD, Timestamp};
use mars_meta_model::{
    Cell, Durability, Entry, Key, NodeId, Scope, TOMBSTONE_TEXT, Table, Value, View, classify,
    members, scope_of,
};
use mars_meta_model::{ParseValueError, check_host_name};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How an import treats stamps.
#[derive(Clone, Copy, Debug)]
pub struct ImportOptions {
    /// The system clock at the import, ns since the epoch.
    pub now_ns: u64,
    /// A stamp further ahead of `now_ns` than this (ns) is replaced by `now_ns`; see [`CLAMP_AFTER_NS`].
    pub clamp_after_ns: u64,
    /// The drift bound of the store (ns), which would refuse what lies beyond: it limits `clamp_after_ns`.
    pub max_ahead_ns: u64,
}

impl ImportOptions {
    /// The rule of the original, within the default drift bound of the store.
    #[must_use]
    pub const fn at(now_ns: u64) -> Self {
        Self {
            now_ns,
            clamp_after_ns: CLAMP_AFTER_NS,
            max_ahead_ns: DEFAULT_MAX_AHEAD,
        }
    }

    /// The stamp for a modification time, and whether it is another one.
    pub(crate) fn stamp(&self, mtime_ns: i128) -> (Timestamp, bool) {
        let bound = self.clamp_after_ns.min(self.max_ahead_ns);
        match u64::try_from(mtime_ns) {
            Ok(ns) if ns <= self.now_ns.saturating_add(bound) => (Timestamp::from_nanos(ns), false),
            _ if mtime_ns < 0 => (Timestamp::ZERO, true),
            _ => (Timestamp::from_nanos(self.now_ns), true),
        }
    }
}

/// What an import is about to write, and the report of it.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The entries in key order, each key once: origin [`NodeId::IMPORTED`], epoch and boot 0, forced.
    pub entries: Vec<Entry>,
    /// What becomes of every object; complete once the outcomes are applied.
    pub report: Report,
    /// The system clock that the plan was made with.
    now: Timestamp,
}

impl Plan {
    /// Gives entries that lie in the future the stamp that an earlier import gave them: where `held` has the same
    /// cell from an import with a lower stamp, that stamp is taken over. Without this, such entries would be taken
    /// anew by every import, because "now" has moved on. Where `held` has a real `uuid`, the placeholder `(any)` yields to
    /// it, however new it is; and where it has the placeholder of an import, a real one gets a stamp behind that, its own
    /// kept beside it ([`Entry::tree_stamp`]). To be called before the entries are merged.
    pub fn settle(&mut self, held: &(impl View + ?Sized)) {
        let mut settled = BTreeMap::new();
        for entry in self.entries.iter_mut().filter(|e| e.stamp >= self.now) {
            let Some(old) = held.entry(&entry.key) else {
                continue;
            };
            let told = old.tree_stamp();
            if old.origin == NodeId::IMPORTED && old.cell == entry.cell && told < entry.stamp {
                entry.stamp = told;
                entry.epoch = old.epoch;
                settled.insert(entry.key.clone(), told);
            }
        }
        if let Some(key) = self.yield_uuid(held) {
            settled.insert(key, Timestamp::ZERO);
        }
        self.displace_uuid(held);
        let report = &mut self.report;
        for row in report.taken.iter_mut().chain(&mut report.derived) {
            if let Some(stamp) = settled.get(&row.key) {
                row.clamped_from
                    .get_or_insert_with(|| row.stamp.to_string());
                row.stamp = *stamp;
            }
        }
        report.recount();
    }

    /// Warns of the resources that `host`, which imports, has no part in, by what the plan and `held` say of members: their
    /// keys are kept by members and guests only, and travel among these.
    pub fn warn_of_foreign(&mut self, host: &str, held: &(impl View + ?Sized)) {
        let mut table = Table::new();
        for entry in held.scan("directory/").chain(&self.entries) {
            if entry.key.as_str().starts_with("directory/") {
                table.merge(entry.clone());
            }
        }
        let own = |entry: &Entry| match scope_of(&entry.key) {
            Scope::Resource(res) => Some(res.to_string()),
            Scope::Global => None,
        };
        let names: BTreeSet<String> = self.entries.iter().filter_map(own).collect();
        for res in names {
            let hosts = members(&table, &res);
            if hosts.is_empty() || hosts.contains_key(host) {
                continue;
            }
            let hosts: Vec<String> = hosts.into_keys().collect();
            self.report.warnings.push(Warning {
                kind: WarningKind::NotMember,
                subject: show_bytes(format!("resource-{res}/").as_bytes()),
                text: format!(
                    "{host} is no member, so these keys reach nobody from here: import the trees on one of its members, too: {}",
                    show_bytes(hosts.join(" ").as_bytes())
                ),
            });
        }
        self.report.warnings.sort();
    }

    /// Makes the placeholder of a host that has not joined yet older than anything, where `held` has a real uuid.
    fn yield_uuid(&mut self, held: &(impl View + ?Sized)) -> Option<Key> {
        let entry = self.entries.iter_mut().find(|e| e.key.as_str() == "uuid")?;
        let real = held.entry(&entry.key)?.value()?;
        if is_any(real.as_bytes()) || !is_any(entry.value()?.as_bytes()) {
            return None;
        }
        entry.stamp = Timestamp::ZERO;
        Some(entry.key.clone())
    }

    /// Lets a real uuid take the place of the placeholder that an import has left in `held`, however old it is.
    fn displace_uuid(&mut self, held: &(impl View + ?Sized)) {
        let Some(entry) = self.entries.iter_mut().find(|e| e.key.as_str() == "uuid") else {
            return;
        };
        let old = held.entry(&entry.key);
        let Some(old) = old.filter(|old| old.origin == NodeId::IMPORTED) else {
            return;
        };
        let any = |entry: &Entry| entry.value().map(|value| is_any(value.as_bytes()));
        let newer = (entry.epoch, entry.stamp) > (old.epoch, old.stamp);
        if any(old) != Some(true) || any(entry) != Some(false) || newer {
            return;
        }
        let behind = Timestamp::from_nanos(old.stamp.as_nanos().saturating_add(1));
        *entry = entry.clone().stamped_anew(old.epoch, behind);
    }

    /// Compares with what a store holds, after [`Plan::settle`]: notes in the report what each entry is newer than, and
    /// says for each, in order, what its import would come to, as the store decides by `docs/spec/legacy-import.md`; what
    /// another one wrote with the same stamp is known, though the store calls the import older. Of an entry as old as deletions that the cluster has forgotten it says [`Outcome::Taken`]: only the store knows that such
    /// a one gets a new stamp. `max_ahead_ns` (ns) is the store's drift bound.
    #[must_use]
    pub fn compare(&mut self, held: &(impl View + ?Sized), max_ahead_ns: u64) -> Vec<Outcome> {
        let bound = self.now.as_nanos().saturating_add(max_ahead_ns);
        let mut outcomes = Vec::with_capacity(self.entries.len());
        let mut newer = BTreeMap::new();
        for entry in &self.entries {
            let old = held.entry(&entry.key).filter(|old| !is_made_up(old));
            let outcome = match old {
                _ if entry.stamp.as_nanos() > bound => Outcome::Refused,
                Some(old) if says_the_same(entry, old) => Outcome::Known,
                old => outcome_over(entry, old),
            };
            if let Some(old) = old.filter(|_| outcome == Outcome::Taken) {
                if entry.key.as_str() == "uuid" && old.cell != entry.cell {
                    self.report.warnings.push(uuid_replaced(entry, old));
                    self.report.warnings.sort();
                }
                newer.insert(&entry.key, old.tree_stamp());
            }
            outcomes.push(outcome);
        }
        let report = &mut self.report;
        for row in report.taken.iter_mut().chain(&mut report.derived) {
            row.newer_than = newer.get(&row.key).copied();
        }
        report.recount();
        outcomes
    }
}

/// Whether a `uuid` is the placeholder of a host that is about to join, which says nothing.
pub(crate) fn is_any(uuid: &[u8]) -> bool {
    uuid == b"(any)"
}

/// A liveness key that nobody has written: the store makes it up at each reading, and holds nothing.
fn is_made_up(entry: &Entry) -> bool {
    !entry.forced && classify(&entry.key).0.durability == Durability::Liveness
}

/// Whether a store that holds `held` has all that the imported entry says, whoever wrote it.
fn says_the_same(entry: &Entry, held: &Entry) -> bool {
    entry.cell == held.cell && entry.tree_stamp() == held.tree_stamp()
}

fn uuid_replaced(entry: &Entry, held: &Entry) -> Warning {
    let shown = |entry: &Entry| match entry.value() {
        Some(value) => format!("'{}'", show_bytes(value.as_bytes())),
        None => "nothing".to_owned(),
    };
    Warning {
        kind: WarningKind::UuidReplaced,
        subject: "uuid".to_owned(),
        text: format!(
            "{} is newer than {} in the store, and takes its place: make sure that it is a tree of this cluster",
            shown(entry),
            shown(held)
        ),
    }
}

/// What the store makes of an imported entry: the merge rule, but between two of a tree the stamps of the tree.
fn outcome_over(entry: &Entry, held: Option<&Entry>) -> Outcome {
    match held {
        Some(held) if held.origin == NodeId::IMPORTED && held.tree_stamp() != held.stamp => {
            let told = |entry: &Entry| (entry.tree_stamp(), entry.cell.clone());
            match told(entry).cmp(&told(held)) {
                Ordering::Less => Outcome::Older,
                Ordering::Equal => Outcome::Known,
                Ordering::Greater => Outcome::Taken,
            }
        }
        held => entry.merge_over(held).into(),
    }
}

/// Turns a listed tree into entries. Pure: the same list and options give the same plan.
#[must_use]
pub fn plan_import(scan: &Scan, options: &ImportOptions) -> Plan {
    let mut planner = Planner {
        keys: Candidates::with_space_for(scan.objects.len()),
        ..Planner::default()
    };
    let mut late = Vec::new();
    for object in &scan.objects {
        planner.object(object, &mut late);
    }
    // Old residue counts only against what the links say, hence behind them; liveness links last.
    late.sort_by_key(|(_, late)| matches!(late, Late::Alive { .. }));
    for (object, what) in &late {
        planner.late(object, what);
    }
    planner.finish(scan, options)
}

#[derive(Default)]
struct Planner<'s> {
    keys: Candidates,
    /// Files and folders by path: targets of old deletions.
    objects: BTreeMap<&'s [u8], &'s Object>,
    report: Report,
}

enum Late<'s> {
    Marker(Vec<u8>),
    Request,
    Alive { name: &'static str, host: &'s [u8] },
}

impl<'s> Planner<'s> {
    fn object(&mut self, object: &'s Object, late: &mut Vec<(&'s Object, Late<'s>)>) {
        let counts = &mut self.report.counts;
        match &object.kind {
            ObjectKind::Link { .. } => counts.links += 1,
            ObjectKind::File { .. } => counts.files += 1,
            ObjectKind::Dir { .. } => counts.folders += 1,
            ObjectKind::Other | ObjectKind::Unreadable { .. } => counts.others += 1,
        }
        match &object.kind {
            ObjectKind::Link { value } => match place_of(&object.path) {
                Place::Key => self.link(object, value),
                Place::Skip(reason) => self.skip(&object.path, reason),
                Place::Marker(target) => late.push((object, Late::Marker(target))),
                Place::Request => late.push((object, Late::Request)),
                Place::Alive { name, host } => late.push((object, Late::Alive { name, host })),
            },
            ObjectKind::File { size } => {
                self.objects.insert(&object.path, object);
                self.report.files.push(FileRow {
                    path: show_bytes(&object.path),
                    size: *size,
                    mtime: sec_nsec(object.mtime_ns),
                    log: is_log(&object.path),
                });
            }
            ObjectKind::Dir { entered } => {
                self.objects.insert(&object.path, object);
                if !entered {
                    counts.folders_skipped += 1;
                    let reason = folder_skip(&parts_of(&object.path));
                    self.skip(&object.path, reason.unwrap_or(SkipReason::TooDeep));
                }
            }
            ObjectKind::Other => self.skip(&object.path, SkipReason::SpecialFile),
            ObjectKind::Unreadable { error } => {
                self.skip(&object.path, SkipReason::Unreadable(error.clone()));
            }
        }
    }

    fn skip(&mut self, path: &[u8], reason: SkipReason) {
        self.report.skipped.push(SkippedRow {
            path: show_bytes(path),
            reason,
        });
    }

    fn link(&mut self, object: &Object, value: &Arc<[u8]>) {
        let parsed = key_of(&object.path).and_then(|key| Ok((key, cell_of(value)?)));
        match parsed {
            Ok((key, cell)) => self.offer(key, cell, object, Source::Link),
            Err(reason) => self.skip(&object.path, reason),
        }
    }

    /// Takes what an object says about a key if it is the newest word on it; a deletion wins a tie.
    fn offer(&mut self, key: Key, cell: Cell, object: &Object, source: Source) {
        let new = Candidate {
            cell,
            mtime_ns: object.mtime_ns,
            source,
            path: (object.path != key.as_str().as_bytes()).then(|| show_bytes(&object.path)),
        };
        let Some(held) = self.keys.get_mut(&key) else {
            return self.keys.add(key, new);
        };
        let (loser, by) = if (held.mtime_ns, &held.cell) >= (new.mtime_ns, &new.cell) {
            (new.path(&key), held.path(&key))
        } else {
            let by = new.path(&key);
            let old = std::mem::replace(held, new);
            (old.path(&key), by)
        };
        self.report.skipped.push(SkippedRow {
            path: loser,
            reason: SkipReason::Superseded(by),
        });
    }

    fn late(&mut self, object: &Object, late: &Late<'_>) {
        let ObjectKind::Link { value } = &object.kind else {
            return;
        };
        let path = show_bytes(&object.path);
        match late {
            Late::Marker(target) => self.deletion(object, target, Source::Marker(path)),
            Late::Request => match value.strip_prefix(b"/mars/") {
                Some(target) => self.deletion(object, target, Source::Request(path)),
                None => self.skip(&object.path, SkipReason::BadRequest(show_bytes(value))),
            },
            Late::Alive { name, host } => {
                let host = std::str::from_utf8(host).ok();
                let key = host
                    .filter(|host| check_host_name(host).is_ok())
                    .and_then(|host| Key::parse(&format!("actual-{host}/{name}")).ok());
                let (key, cell) = match (key, cell_of(value)) {
                    // No host: a key like any other.
                    (None, _) => return self.link(object, value),
                    // It was deleted because its old place was given up.
                    (_, Ok(Cell::Tombstone)) => {
                        return self.skip(&object.path, SkipReason::OldPlace);
                    }
                    (_, Err(reason)) => return self.skip(&object.path, reason),
                    (Some(key), Ok(cell)) => (key, cell),
                };
                let held = self.keys.get(&key);
                if held.is_some_and(|held| held.mtime_ns >= object.mtime_ns) {
                    self.skip(&object.path, SkipReason::OldPlace);
                } else {
                    self.offer(key, cell, object, Source::OldPlace(path));
                }
            }
        }
    }

    /// A deletion of the old method: a tombstone, unless the target is newer.
    fn deletion(&mut self, object: &Object, target: &[u8], source: Source) {
        let (Place::Key, Ok(key)) = (place_of(target), key_of(target)) else {
            return self.skip(&object.path, SkipReason::BadRequest(show_bytes(target)));
        };
        let newer_link = (self.keys.get(&key))
            .is_some_and(|held| held.mtime_ns > object.mtime_ns && held.source == Source::Link);
        let still_there = (self.objects.get(target)).is_some_and(|there| match there.kind {
            ObjectKind::Dir { .. } => true,
            _ => there.mtime_ns > object.mtime_ns,
        });
        if newer_link || still_there {
            self.skip(&object.path, SkipReason::Void);
        } else {
            self.offer(key, Cell::Tombstone, object, source);
        }
    }

    fn finish(mut self, scan: &Scan, options: &ImportOptions) -> Plan {
        let derived = derive::members(&self.keys, scan);
        let mut entries = Vec::with_capacity(self.keys.len() + derived.len());
        let all = [
            (std::mem::take(&mut self.keys), &mut self.report.taken),
            (derived, &mut self.report.derived),
        ];
        for (candidates, rows) in all {
            rows.reserve_exact(candidates.len());
            for (key, candidate) in candidates {
                let (stamp, clamped) = options.stamp(candidate.mtime_ns);
                rows.push(KeyRow {
                    key: key.clone(),
                    kind: match candidate.cell {
                        Cell::Live(_) => CellKind::Value,
                        Cell::Tombstone => CellKind::Tombstone,
                    },
                    stamp,
                    clamped_from: clamped.then(|| sec_nsec(candidate.mtime_ns)),
                    preliminary: candidate.mtime_ns < PRELIMINARY_BELOW_NS,
                    stamped_anew: false,
                    newer_than: None,
                    source: candidate.source,
                });
                entries.push(Entry {
                    key,
                    cell: candidate.cell,
                    epoch: 0,
                    stamp,
                    origin: NodeId::IMPORTED,
                    boot: 0,
                    forced: true,
                    ext: Box::default(),
                });
            }
            rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        }
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let mut report = self.report;
        report.skipped.sort_by(|a, b| a.path.cmp(&b.path));
        report.warnings = check::warnings(scan, &entries, &report);
        report.recount();
        Plan {
            entries,
            report,
            now: Timestamp::from_nanos(options.now_ns),
        }
    }
}

/// The key of a path.
fn key_of(path: &[u8]) -> Result<Key, SkipReason> {
    let text = std::str::from_utf8(path).map_err(|_| SkipReason::NameEncoding)?;
    if text.starts_with('/') {
        return Err(SkipReason::BadKey("it begins with a slash".to_owned()));
    }
    Key::parse(text).map_err(|error| SkipReason::BadKey(error.to_string()))
}

/// The cell of a link's value.
fn cell_of(value: &Arc<[u8]>) -> Result<Cell, SkipReason> {
    if **value == *TOMBSTONE_TEXT.as_bytes() {
        return Ok(Cell::Tombstone);
    }
    Value::new(Arc::clone(value))
        .map(Cell::Live)
        .map_err(|error: ParseValueError| SkipReason::BadValue(error.to_string()))
}

fn is_log(path: &[u8]) -> bool {
    matches!(parts_of(path).as_slice(), [res, leaf]
        if res.starts_with(b"resource-") && leaf.starts_with(b"log-"))
}

/// A time as `SECONDS.NANOSECONDS`, also before the epoch.
pub(crate) fn sec_nsec(ns: i128) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    format!("{sign}{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}
