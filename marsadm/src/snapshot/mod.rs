//! What one node knows at one moment, in one file: `docs/spec/snapshot.md`.

mod model;
mod parse;
mod write;

pub use model::{Body, Device, Disk, FORMAT, Header, Item, Snapshot};
pub use parse::{ParseError, parse};
pub use write::write;
