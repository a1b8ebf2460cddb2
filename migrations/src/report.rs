//! What an import did, object by object.

use crate::SkipReason;
use mars_lamport::Timestamp;
use mars_meta_model::{Cell, Key, Merge};
use serde::{Serialize, Serializer};
use std::fmt;

/// Whether an entry holds a value or deletes its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellKind {
    /// A value.
    Value,
    /// A tombstone.
    Tombstone,
}

impl CellKind {
    /// That of a cell.
    pub(crate) const fn of(cell: &Cell) -> Self {
        match cell {
            Cell::Live(_) => Self::Value,
            Cell::Tombstone => Self::Tombstone,
        }
    }
}

/// Where an entry comes from. Paths are relative to the root of the tree and escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "source", content = "path", rename_all = "kebab-case")]
pub enum Source {
    /// The link of the same name.
    Link,
    /// A marker `.deleted-NAME` of the old deletion method.
    Marker(String),
    /// A request of the old deletion method.
    Request(String),
    /// A liveness link at its old place.
    OldPlace(String),
    /// Concluded from other keys of the tree, which are named.
    Derived(String),
}

/// One entry of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyRow {
    /// The key.
    #[serde(serialize_with = "as_text")]
    pub key: Key,
    /// Value or tombstone.
    pub kind: CellKind,
    /// The stamp it was given.
    #[serde(serialize_with = "as_text")]
    pub stamp: Timestamp,
    /// The stamp in the tree (`SECONDS.NANOSECONDS`), if that was out of bounds and was replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clamped_from: Option<String>,
    /// The stamp says that the value is preliminary: anything real replaces it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub preliminary: bool,
    /// The store gave it a new stamp, and keeps this one beside it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stamped_anew: bool,
    /// The store held something older, with this stamp; known after [`crate::Plan::compare`].
    #[serde(serialize_with = "maybe_text", skip_serializing_if = "Option::is_none")]
    pub newer_than: Option<Timestamp>,
    /// Where it comes from.
    #[serde(flatten)]
    pub source: Source,
}

fn as_text<S: Serializer>(thing: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(thing)
}

fn maybe_text<S: Serializer>(
    thing: &Option<impl fmt::Display>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match thing {
        Some(thing) => serializer.collect_str(thing),
        None => serializer.serialize_none(),
    }
}

/// One object that became no entry of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedRow {
    /// Its path, escaped.
    pub path: String,
    /// Why.
    pub reason: SkipReason,
}

impl Serialize for SkippedRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row<'r> {
            path: &'r str,
            #[serde(flatten)]
            reason: &'r SkipReason,
            text: String,
        }
        let row = Row {
            path: &self.path,
            reason: &self.reason,
            text: self.reason.to_string(),
        };
        row.serialize(serializer)
    }
}

/// One regular file. Files are listed, never stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileRow {
    /// Its path, escaped.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Its modification time, `SECONDS.NANOSECONDS`.
    pub mtime: String,
    /// Whether it is a transaction log (`resource-RES/log-NUMBER-HOST`).
    pub log: bool,
}

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarningKind {
    /// The tree has no `uuid`.
    NoUuid,
    /// The tree's `uuid` is the placeholder of a host that is about to join.
    UuidUnknown,
    /// The tree's `uuid` takes the place of another one in the store.
    UuidReplaced,
    /// The stamps of the tree were lost in a copy.
    StampsLost,
    /// The tree changed while it was read.
    Unsettled,
    /// A stamp was out of bounds and was replaced.
    Clamped,
    /// A value is preliminary.
    Preliminary,
    /// A name that only looks like a key of the original.
    LookAlike,
    /// A host or resource name that cannot be one.
    BadName,
    /// A host appears in a resource, but has no address.
    UnknownHost,
    /// The histories of two replicas contradict each other.
    SplitBrain,
    /// Several hosts say that they are primary.
    SeveralPrimaries,
    /// The designated primary is no member.
    PrimaryNotMember,
    /// A replica's position lies in a log without a version record.
    NoVersion,
    /// A replica's position lies outside of the logs that there are.
    ReplayOrphan,
    /// The digest of a version record does not fit its predecessor.
    BadDigest,
    /// A value does not follow its grammar.
    BadGrammar,
    /// The resource is larger than a member's disk.
    DiskTooSmall,
    /// More was synced than there is.
    SyncBeyondSize,
    /// A member's disk was not synced completely.
    SyncIncomplete,
    /// A log with a number above `maxnr`.
    MaxnrTooLow,
    /// A member's disk is a file in the tree, which is not imported.
    DiskInTree,
    /// Trees hold different values of one key with the same stamp.
    Tie,
    /// Keys are only in a tree that is much older than the others.
    PerhapsDeleted,
    /// The importing host has no part in a resource: its keys reach nobody from there.
    NotMember,
}

/// Something an administrator should look at. The import goes on all the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    /// The key or path concerned, escaped; empty if it is the tree as a whole.
    pub subject: String,
    /// What was found.
    pub text: String,
}

/// One of several trees that were imported together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TreeRow {
    /// Its name.
    pub tree: String,
    /// Symbolic links in it.
    pub links: usize,
    /// Latest stamp of a link in it, ns since the epoch.
    #[serde(rename = "newest", serialize_with = "ns_as_text")]
    pub newest_ns: i128,
    /// Links that were taken from it, because no other tree had a later one.
    pub newest_links: usize,
}

fn ns_as_text<S: Serializer>(ns: &i128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&crate::plan::sec_nsec(*ns))
}

/// What one tree says about a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Name of the tree.
    pub tree: String,
    /// Its stamp, `SECONDS.NANOSECONDS`.
    pub stamp: String,
    /// Its value, escaped.
    pub value: String,
}

/// A key about which several trees say different things.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its path, escaped.
    pub path: String,
    /// Whether the stamps did not decide.
    pub tie: bool,
    /// What counts.
    pub kept: Version,
    /// What the other trees that have it say, newest first.
    pub others: Vec<Version>,
}

/// Numbers of a report.
///
/// Before outcomes are applied, `links + others + folders_skipped = taken + skipped`: nothing of a tree is lost
/// without a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Symbolic links in the tree.
    pub links: usize,
    /// Regular files in the tree.
    pub files: usize,
    /// Folders in the tree.
    pub folders: usize,
    /// Folders that were not entered; they are among the skipped objects.
    pub folders_skipped: usize,
    /// Other objects, and those that could not be read.
    pub others: usize,
    /// Entries to take or taken, without the derived ones.
    pub taken: usize,
    /// Those with a value.
    pub values: usize,
    /// Those that are tombstones.
    pub tombstones: usize,
    /// Derived entries to take or taken.
    pub derived: usize,
    /// Entries among both for which the store held something older.
    pub newer: usize,
    /// Entries, derived ones included, that the store held already.
    pub known: usize,
    /// Entries, derived ones included, for which the store holds something newer.
    pub older: usize,
    /// Entries, derived ones included, that the store refused.
    pub refused: usize,
    /// Entries whose stamp was replaced, derived ones included.
    pub clamped: usize,
    /// Entries that are preliminary.
    pub preliminary: usize,
    /// Taken entries that were given a new stamp, derived ones included: see [`Outcome::TakenAnew`].
    pub stamped_anew: usize,
    /// Objects that became no entry of their own.
    pub skipped: usize,
}

/// What became of an entry in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was newer, and is stored.
    Taken,
    /// The same, with a new stamp: its own is as old as deletions that the cluster has forgotten. The stamp of the tree
    /// is kept beside it, and decides between imports.
    TakenAnew,
    /// It was there already.
    Known,
    /// The store holds something newer.
    Older,
    /// The store refused it: its stamp lies too far ahead of the clock.
    Refused,
}

impl From<Merge> for Outcome {
    fn from(merge: Merge) -> Self {
        match merge {
            Merge::Apply => Self::Taken,
            Merge::Duplicate => Self::Known,
            Merge::Stale => Self::Older,
        }
    }
}

/// Against what a report without an import was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "against", rename_all = "kebab-case")]
pub enum Preview {
    /// The store, as it was then: an import at that moment would have had this outcome.
    Store,
    /// Nothing: all that the tree has counts as taken.
    Nothing {
        /// Why there was no store to compare with.
        reason: String,
    },
}

/// The outcomes do not fit the plan; the report is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{outcomes} outcomes for {entries} entries: one for each entry of the plan is needed, once"
)]
pub struct ApplyOutcomesError {
    /// Entries that wait for an outcome.
    pub entries: usize,
    /// Outcomes given.
    pub outcomes: usize,
}

/// What an import did, or, before [`Report::apply_outcomes`], what it is about to do. All lists are in the order
/// of keys or paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Nothing was imported: this is what an import would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
    /// Numbers.
    pub counts: Counts,
    /// Entries to take or taken.
    pub taken: Vec<KeyRow>,
    /// Entries to take or taken that no single object of the tree holds: members of resources.
    pub derived: Vec<KeyRow>,
    /// Entries that the store held already.
    pub known: Vec<KeyRow>,
    /// Entries for which the store holds something newer.
    pub older: Vec<KeyRow>,
    /// Entries that the store refused because of their stamp.
    pub refused: Vec<KeyRow>,
    /// Objects that became no entry of their own.
    pub skipped: Vec<SkippedRow>,
    /// Regular files.
    pub files: Vec<FileRow>,
    /// What an administrator should look at.
    pub warnings: Vec<Warning>,
    /// The trees, if there were several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trees: Vec<TreeRow>,
    /// Keys about which they say different things.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

impl Report {
    /// Moves the rows of what was not taken to `known`, `older` and `refused`. `outcomes` are in the order of
    /// [`crate::Plan::entries`]; it is done once.
    ///
    /// # Errors
    /// [`ApplyOutcomesError`] if there are more or fewer outcomes than entries; nothing was changed.
    pub fn apply_outcomes(&mut self, outcomes: &[Outcome]) -> Result<(), ApplyOutcomesError> {
        let entries = self.taken.len() + self.derived.len();
        if outcomes.len() != entries {
            return Err(ApplyOutcomesError {
                entries,
                outcomes: outcomes.len(),
            });
        }
        let rows = std::mem::take(&mut self.taken)
            .into_iter()
            .chain(std::mem::take(&mut self.derived));
        let mut rows: Vec<KeyRow> = rows.collect();
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        for (mut row, outcome) in rows.into_iter().zip(outcomes) {
            row.stamped_anew = *outcome == Outcome::TakenAnew;
            let list = match outcome {
                Outcome::Taken | Outcome::TakenAnew if matches!(row.source, Source::Derived(_)) => {
                    &mut self.derived
                }
                Outcome::Taken | Outcome::TakenAnew => &mut self.taken,
                Outcome::Known => &mut self.known,
                Outcome::Older => &mut self.older,
                Outcome::Refused => &mut self.refused,
            };
            list.push(row);
        }
        self.recount();
        Ok(())
    }

    /// Brings [`Report::counts`] in line with the lists.
    pub(crate) fn recount(&mut self) {
        let all = [
            &self.taken,
            &self.derived,
            &self.known,
            &self.older,
            &self.refused,
        ];
        let of_all = |test: fn(&KeyRow) -> bool| {
            all.iter()
                .flat_map(|rows| rows.iter())
                .filter(|row| test(row))
                .count()
        };
        let tombstones = |rows: &[KeyRow]| {
            rows.iter()
                .filter(|row| row.kind == CellKind::Tombstone)
                .count()
        };
        let counts = Counts {
            taken: self.taken.len(),
            values: self.taken.len() - tombstones(&self.taken),
            tombstones: tombstones(&self.taken),
            derived: self.derived.len(),
            newer: (self.taken.iter().chain(&self.derived))
                .filter(|row| row.newer_than.is_some())
                .count(),
            known: self.known.len(),
            older: self.older.len(),
            refused: self.refused.len(),
            clamped: of_all(|row| row.clamped_from.is_some()),
            preliminary: of_all(|row| row.preliminary),
            stamped_anew: of_all(|row| row.stamped_anew),
            skipped: self.skipped.len(),
            ..self.counts
        };
        self.counts = counts;
    }
}
