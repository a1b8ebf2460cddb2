//! Output for programs: forms, envelope, and the record of what a command did.

mod document;
mod format;
mod items;
mod outcome;

pub use document::{API_VERSION, to_value};
pub(crate) use document::{Document, envelope, failure};
pub use format::Format;
pub use items::KeyItem;
pub use outcome::{Change, Outcome, ResourceOutcome, value_text};
