//! Import of legacy `/mars` symlink trees into the store: `docs/spec/legacy-import.md`.
//!
//! The way back, from the store to such a tree, is in [`export`]: `docs/spec/legacy-export.md`.
//!
//! Logfiles of the original are read, written and converted by [`legacy_log`]; the rest of this page is about trees.
//!
//! Three steps, of which only the first touches a file system, and only to read it:
//! [`scan_tree`] lists a tree without following any link, [`plan_import`] turns the list into entries with the
//! stamps of the links, and the caller merges [`Plan::entries`] into a store and hands the outcomes to
//! [`Report::apply_outcomes`]. Every object of the tree shows up in the [`Report`]: taken, or left with a reason.

#![forbid(unsafe_code)]

mod candidates;
mod check;
mod conflict;
mod derive;
pub mod export;
mod form;
mod history;
pub mod legacy_log;
pub mod limits;
mod merge;
pub mod mirror;
mod place;
mod plan;
mod report;
mod scan;
mod skip;
mod take_over;
pub mod testing;
mod text;

pub use conflict::{
    IMPORTED_UUID, ImportConflict, check_conflict, check_mirror, mirror_uuid_to_keep, uuid_to_keep,
};
pub use merge::{MergeTreesError, MergedTrees, Tree, merge_trees};
pub use plan::{ImportOptions, Plan, plan_import};
pub use report::{
    ApplyOutcomesError, CellKind, Counts, Difference, FileRow, KeyRow, Outcome, Preview, Report,
    SkippedRow, Source, TreeRow, Version, Warning, WarningKind,
};
pub use scan::{Object, ObjectKind, Scan, ScanError, ScanOptions, scan_tree};
pub use skip::SkipReason;
pub use take_over::{LEGACY_END, Leg, TakeOver, TakeOverError, plan_take_over};
pub use text::show_bytes;
