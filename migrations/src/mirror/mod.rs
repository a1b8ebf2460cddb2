//! Keeping a legacy tree and the store in step while both exist: `docs/spec/mirror.md`.
//!
//! [`compare`] decides, without any IO, what either side lacks; [`MirrorTree`] sees changes of a tree and writes links.
//! The caller owns the loop and the store.

mod compare;
mod related;
mod tree;

pub use compare::{Answer, Compared, Scope, Seen, Step, compare};
pub use related::Related;
pub use tree::{Changes, MirrorError, MirrorTree, PutOutcome};
