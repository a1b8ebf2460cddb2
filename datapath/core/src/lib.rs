//! The data plane's rules as values: log format, scanner, logger, overlay, replay, version chain, superblock.
//!
//! Pure: no IO, no clock, no randomness, no threads. Every machine takes `handle_*` inputs and gives
//! effects through `poll`; the shell executes the effects and reports back. The formats are specified in
//! `docs/spec/log-format.md`, `docs/spec/superblock.md` and `docs/spec/version-chain.md`.

#![forbid(unsafe_code)]

pub mod format;
mod joint;
pub mod limits;
pub mod logger;
mod name;
pub mod overlay;
pub mod plan;
mod position;
pub mod replay;
pub mod scan;
pub mod superblock;
pub mod version;

pub use joint::{Joint, JointError, joint};
pub use name::{Name, NameError};
pub use position::LogPos;
