//! Several trees of one cluster as one: for every path the newest object (`docs/spec/legacy-import.md`, section 9).

use crate::limits::STALE_TREE_NS;
use crate::report::{Difference, TreeRow, Version, Warning, WarningKind};
use crate::text::show_bytes;
use crate::{Object, ObjectKind, Report, Scan};
use mars_lamport::Timestamp;
use mars_meta_model::{Cell, Entry, Key, Merge, NodeId, TOMBSTONE_TEXT, Value};
use std::cmp::Ordering;

/// A listed tree with the name that reports give it.
#[derive(Clone, Debug)]
pub struct Tree {
    /// For example the folder.
    pub name: String,
    /// Its objects.
    pub scan: Scan,
}

/// Several trees as one.
#[derive(Clone, Debug, Default)]
pub struct MergedTrees {
    /// For every path the newest object; to be planned like the scan of a single tree.
    pub scan: Scan,
    trees: Vec<TreeRow>,
    differences: Vec<Difference>,
    warnings: Vec<Warning>,
}

/// The trees do not belong together. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{one}' and '{other}' are trees of different clusters: their uuids are '{one_uuid}' and '{other_uuid}'"
)]
pub struct MergeTreesError {
    /// A tree.
    pub one: String,
    /// Its `uuid`, escaped.
    pub one_uuid: String,
    /// Another tree.
    pub other: String,
    /// Its `uuid`, escaped.
    pub other_uuid: String,
}

/// Merges trees of one cluster by stamp. The order of the trees does not matter, but for the names of sources.
///
/// Of two links at one path the later one counts, a link counts against a folder, and of a log the longest copy.
/// Links with equal stamps and different values are decided as the store would, and reported.
///
/// # Errors
/// [`MergeTreesError`]; with `force` trees of different clusters are merged all the same.
pub fn merge_trees(trees: Vec<Tree>, force: bool) -> Result<MergedTrees, MergeTreesError> {
    let mut known: Option<(&str, &[u8])> = None;
    for tree in &trees {
        let Some(uuid) = uuid_of(&tree.scan) else {
            continue;
        };
        match known {
            Some((one, one_uuid)) if one_uuid != uuid && !force => {
                return Err(MergeTreesError {
                    one: one.to_owned(),
                    one_uuid: show_bytes(one_uuid),
                    other: tree.name.clone(),
                    other_uuid: show_bytes(uuid),
                });
            }
            Some(_) => {}
            None => known = Some((&tree.name, uuid)),
        }
    }
    let rows: Vec<TreeRow> = trees.iter().map(row_of).collect();
    let latest = rows.iter().map(|row| row.newest_ns).max().unwrap_or(0);
    let mut merged = MergedTrees {
        trees: rows,
        ..MergedTrees::default()
    };
    let several = trees.len() > 1;
    merged.scan.unsettled = trees.iter().any(|tree| tree.scan.unsettled);
    let mut sources: Vec<_> = trees
        .into_iter()
        .map(|tree| tree.scan.objects.into_iter().peekable())
        .collect();
    let mut only: Vec<(usize, Option<String>)> = vec![(0, None); sources.len()];
    loop {
        let next = sources
            .iter_mut()
            .filter_map(|source| source.peek().map(|object| object.path.clone()))
            .min();
        let Some(path) = next else { break };
        let mut found = Vec::new();
        for (i, source) in sources.iter_mut().enumerate() {
            if let Some(object) = source.next_if(|object| object.path == path) {
                found.push((i, object));
            }
        }
        if let [(i, object)] = &found[..]
            && is_live(object)
        {
            let (count, first) = &mut only[*i];
            *count += 1;
            first.get_or_insert_with(|| show_bytes(&object.path));
        }
        merged.take(found);
    }
    for (i, (count, first)) in only.into_iter().enumerate() {
        let Some((row, first)) = merged.trees.get(i).zip(first) else {
            continue;
        };
        if several && latest - row.newest_ns > STALE_TREE_NS {
            let days = (latest - row.newest_ns) / 86_400_000_000_000;
            merged.warnings.push(Warning {
                kind: WarningKind::PerhapsDeleted,
                subject: row.tree.clone(),
                text: format!(
                    "{count} keys are in this tree only, which is {days} days older than the newest one: \
                     they may have been deleted since, for example {first}"
                ),
            });
        }
    }
    if !several {
        merged.trees.clear();
    }
    Ok(merged)
}

fn uuid_of(scan: &Scan) -> Option<&[u8]> {
    let at = scan
        .objects
        .binary_search_by(|object| object.path.as_slice().cmp(b"uuid"))
        .ok()?;
    match &scan.objects.get(at)?.kind {
        ObjectKind::Link { value }
            if **value != *b"(any)" && **value != *TOMBSTONE_TEXT.as_bytes() =>
        {
            Some(value)
        }
        _ => None,
    }
}

fn row_of(tree: &Tree) -> TreeRow {
    let links = || (tree.scan.objects.iter()).filter(|o| matches!(o.kind, ObjectKind::Link { .. }));
    TreeRow {
        tree: tree.name.clone(),
        links: links().count(),
        newest_ns: links().map(|o| o.mtime_ns).max().unwrap_or(0),
        newest_links: 0,
    }
}

/// Whether `object` counts instead of `other` of the same path: the newer one, but a placeholder never displaces a uuid.
fn is_better(object: &Object, other: &Object) -> bool {
    let is_placeholder = |object: &Object| {
        let ObjectKind::Link { value } = &object.kind else {
            return false;
        };
        object.path.as_slice() == b"uuid" && crate::plan::is_any(value)
    };
    match (is_placeholder(object), is_placeholder(other)) {
        (true, false) => !is_live(other),
        (false, true) => is_live(object),
        _ => beats(object, other),
    }
}

fn is_live(object: &Object) -> bool {
    matches!(&object.kind, ObjectKind::Link { value } if **value != *TOMBSTONE_TEXT.as_bytes())
}

impl MergedTrees {
    /// Takes the objects of one path, at least one.
    fn take(&mut self, found: Vec<(usize, Object)>) {
        let mut found = found.into_iter();
        let Some(mut best) = found.next() else {
            return;
        };
        let mut losers = Vec::new();
        for other in found {
            let (winner, loser) = if is_better(&other.1, &best.1) {
                (other, best)
            } else {
                (best, other)
            };
            best = winner;
            losers.push(loser);
        }
        if let ObjectKind::Link { value } = &best.1.kind {
            let differs =
                |o: &Object| matches!(&o.kind, ObjectKind::Link { value: v } if v != value);
            if losers.iter().any(|(_, loser)| differs(loser)) {
                self.differ(&best, &losers);
            }
            if let Some(row) = self.trees.get_mut(best.0) {
                row.newest_links += 1;
            }
        }
        self.scan.objects.push(best.1);
    }

    fn differ(&mut self, best: &(usize, Object), losers: &[(usize, Object)]) {
        let version = |(tree, object): &(usize, Object)| Version {
            tree: self
                .trees
                .get(*tree)
                .map(|r| r.tree.clone())
                .unwrap_or_default(),
            stamp: crate::plan::sec_nsec(object.mtime_ns),
            value: match &object.kind {
                ObjectKind::Link { value } => show_bytes(value),
                _ => String::new(),
            },
        };
        let kept = version(best);
        let mut others: Vec<Version> = losers
            .iter()
            .filter(|(_, object)| matches!(object.kind, ObjectKind::Link { .. }))
            .map(version)
            .collect();
        others.sort_by(|a, b| b.stamp.cmp(&a.stamp).then_with(|| a.tree.cmp(&b.tree)));
        let path = show_bytes(&best.1.path);
        let tie = others
            .iter()
            .any(|other| other.stamp == kept.stamp && other.value != kept.value);
        if tie {
            self.warnings.push(Warning {
                kind: WarningKind::Tie,
                subject: path.clone(),
                text: format!(
                    "the trees hold different values with the same stamp {}: '{}' of {} was chosen",
                    kept.stamp, kept.value, kept.tree
                ),
            });
        }
        self.differences.push(Difference {
            path,
            tie,
            kept,
            others,
        });
    }

    /// Adds what the merge found to the report of its plan.
    pub fn add_to(&mut self, report: &mut Report) {
        report.trees.append(&mut self.trees);
        report.differences.append(&mut self.differences);
        report.warnings.append(&mut self.warnings);
        report.warnings.sort();
    }
}

/// Whether `new` counts against `old` at the same path.
fn beats(new: &Object, old: &Object) -> bool {
    use ObjectKind as K;
    match (&new.kind, &old.kind) {
        (K::Link { value: a }, K::Link { value: b }) => match new.mtime_ns.cmp(&old.mtime_ns) {
            Ordering::Equal => a != b && wins_tie(new, a, b),
            order => order == Ordering::Greater,
        },
        (K::File { size: a }, K::File { size: b }) => (a, new.mtime_ns) > (b, old.mtime_ns),
        (K::Link { .. }, K::File { .. }) | (K::File { .. }, K::Link { .. }) => {
            (new.mtime_ns, rank(new)) > (old.mtime_ns, rank(old))
        }
        (K::Dir { entered: a }, K::Dir { entered: b }) => a > b,
        _ => rank(new) > rank(old),
    }
}

fn rank(object: &Object) -> u8 {
    match object.kind {
        ObjectKind::Link { .. } => 4,
        ObjectKind::File { .. } => 3,
        ObjectKind::Dir { .. } => 2,
        ObjectKind::Other => 1,
        ObjectKind::Unreadable { .. } => 0,
    }
}

/// Whether the store would prefer `a` over `b`; where it could hold neither, the greater bytes.
fn wins_tie(object: &Object, a: &[u8], b: &[u8]) -> bool {
    let entry = |bytes: &[u8]| {
        let cell = if bytes == TOMBSTONE_TEXT.as_bytes() {
            Cell::Tombstone
        } else {
            Cell::Live(Value::new(bytes).ok()?)
        };
        Some(Entry {
            key: Key::parse(std::str::from_utf8(&object.path).ok()?).ok()?,
            cell,
            epoch: 0,
            stamp: Timestamp::from_nanos(u64::try_from(object.mtime_ns).unwrap_or(0)),
            origin: NodeId::IMPORTED,
            boot: 0,
            forced: true,
            ext: Box::default(),
        })
    };
    match (entry(a), entry(b)) {
        (Some(a), Some(b)) => a.merge_over(Some(&b)) == Merge::Apply,
        _ => a > b,
    }
}
