//! Legacy trees on disk: built, listed, planned, merged into a table.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code fails by panicking"
)]

mod export;
mod fixtures;
mod hostile;
mod legacy_log;
mod merge;
mod mirror;
mod random;
mod residue;
mod take_over;

use mars_meta_model::{Key, Merge, Table, View};
use mars_migrations::testing::{materialize, set_mtime};
use mars_migrations::{
    ImportOptions, KeyRow, Outcome, Plan, ScanOptions, SkipReason, WarningKind, plan_import,
    scan_tree,
};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// 2025-03-22, behind all stamps of the fixtures.
const NOW: u64 = 1_742_650_000_000_000_000;

/// What nobody needs of the third tree: it is listed, not taken.
const RESIDUE: [&str; 12] = [
    "actual-hostB/read-stamp",
    "actual-hostC/read-stamp",
    "alive-hostC",
    "time-hostC",
    "compat-deletions",
    "resource-alpha/.deleted-version-000000009-hostB",
    "resource-alpha/.tmp.4711.actual-hostC",
    "resource-alpha/.tmp.4711.todo-hostC",
    "todo-global/deleted-hostA",
    "todo-global/deleted-hostB",
    "todo-global/deleted-hostC",
    "todo-global/delete-000000017-hostB",
];

/// A tree in a folder of its own.
struct Tree(TempDir, PathBuf);

impl Tree {
    fn new() -> Self {
        let around = tempfile::tempdir().unwrap();
        let root = around.path().join("tree");
        std::fs::create_dir(&root).unwrap();
        Self(around, root)
    }

    fn of(tsv: &str) -> Self {
        let tree = Self::new();
        materialize(tsv, tree.root()).unwrap();
        tree
    }

    fn root(&self) -> &Path {
        &self.1
    }

    /// The file that an export puts beside it.
    fn beside(&self) -> PathBuf {
        self.0.path().join("tree.mars-extra")
    }

    fn path(&self, path: &[u8]) -> PathBuf {
        self.root().join(OsStr::from_bytes(path))
    }

    fn link(&self, path: impl AsRef<[u8]>, value: impl AsRef<[u8]>, mtime_ns: i128) -> &Self {
        let path = self.path(path.as_ref());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(OsStr::from_bytes(value.as_ref()), &path).unwrap();
        set_mtime(&path, mtime_ns).unwrap();
        self
    }

    fn file(&self, path: &str, size: u64, mtime_ns: i128) -> &Self {
        let path = self.path(path.as_bytes());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create_new(&path)
            .unwrap()
            .set_len(size)
            .unwrap();
        set_mtime(&path, mtime_ns).unwrap();
        self
    }

    fn plan(&self) -> Plan {
        self.plan_at(NOW)
    }

    fn plan_at(&self, now_ns: u64) -> Plan {
        let scan = scan_tree(self.root(), &ScanOptions::default()).unwrap();
        let plan = plan_import(&scan, &ImportOptions::at(now_ns));
        balanced(&plan);
        plan
    }
}

/// Every object of the tree is in the report exactly once, and nothing in it could upset a terminal.
fn balanced(plan: &Plan) {
    let c = &plan.report.counts;
    let objects = c.links + c.others + c.folders_skipped;
    assert_eq!(c.taken + c.skipped, objects, "{c:?}");
    assert_eq!(plan.report.skipped.len(), c.skipped);
    assert_eq!(plan.report.files.len(), c.files);
    assert_eq!(plan.entries.len(), c.taken + c.derived);
    assert!(plan.entries.is_sorted_by(|a, b| a.key < b.key));
    let text = format!("{:#}", plan.report);
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
}

/// Merges the plan into the table, as a store does, and completes the report.
fn apply(plan: &mut Plan, table: &mut Table) {
    let outcomes: Vec<Outcome> = (plan.entries.iter())
        .map(|entry| table.merge(entry.clone()).into())
        .collect();
    plan.report.apply_outcomes(&outcomes).unwrap();
}

fn table_of(plan: &Plan) -> Table {
    let mut table = Table::new();
    for entry in &plan.entries {
        assert_eq!(table.merge(entry.clone()), Merge::Apply);
    }
    table
}

fn row<'p>(plan: &'p Plan, key: &str) -> &'p KeyRow {
    let mut rows = plan.report.taken.iter().chain(&plan.report.derived);
    rows.find(|row| row.key.as_str() == key)
        .unwrap_or_else(|| panic!("{key} is not taken"))
}

/// The reasons for the object shown as `path`.
fn reasons(plan: &Plan, path: &str) -> Vec<SkipReason> {
    (plan.report.skipped.iter())
        .filter(|row| row.path == path)
        .map(|row| row.reason.clone())
        .collect()
}

fn kinds(plan: &Plan) -> Vec<WarningKind> {
    plan.report.warnings.iter().map(|w| w.kind).collect()
}

fn stamp_of(table: &Table, key: &str) -> u64 {
    let key = Key::parse(key).unwrap();
    table.entry(&key).unwrap().stamp.as_nanos()
}
