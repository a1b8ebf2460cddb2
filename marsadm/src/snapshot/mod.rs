//! What one node knows at one moment, in one file: `docs/spec/snapshot.md`.

mod live;
mod lives;
mod model;
mod origin;
mod parse;
mod tree;
mod write;

pub use live::{Answers, assemble, take, take_following, take_with};
pub use model::{Body, Device, Disk, FORMAT, Header, Item, Snapshot};
pub use origin::{Origin, read, read_following, read_keys, read_offline};
pub use parse::{ParseError, parse};
pub(crate) use tree::scan_error;
pub use tree::{TreeHeader, at_newest, read_tree, tree_host};
pub use write::write;
