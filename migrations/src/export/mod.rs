//! Export of the store into a legacy `/mars` symlink tree: `docs/spec/legacy-export.md`.
//!
//! [`plan_export`] decides, without any IO, which entries become links and why others do not; [`write_export`]
//! makes the links below one folder, and a file beside it with the names that the original does not know.

mod beside;
mod check;
mod form;
mod hand_back;
mod own;
pub(crate) mod place;
mod plan;
pub(crate) mod write;

pub use beside::{ExtraError, add_beside};
pub use check::{ExportWarning, ExportWarningKind};
pub use hand_back::{HandBackRow, hand_back};
pub use place::LeftOut;
pub use plan::{
    ExportCounts, ExportLink, ExportOptions, ExportPlan, LeftOutRow, PlanExportError, plan_export,
};
pub use write::{TargetState, WriteExportError, Written, inspect_target, write_export};
