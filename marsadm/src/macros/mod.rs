//! The macro language of `view`, and the reading commands answered from a snapshot (`docs/macros.md`).
//!
//! The language: `parse` -> `machine` with `functions`; what macros ask: `facts` -> `primitives`; what is printed by
//! default: `templates/*.tpl` in the `library`; the commands: `command`.

mod command;
mod dialect;
mod embed;
pub(crate) mod errno;
pub(crate) mod facts;
mod functions;
mod library;
mod machine;
mod names;
mod number;
mod parse;
mod places;
mod primitives;
mod process;
mod sprintf;
mod time;

pub use command::{Answer, answer};
pub(crate) use embed::{MacroVars, Macros, with_macros};
pub(crate) use errno::errno_text;
pub(crate) use names::macro_names;
pub(crate) use number::human as human_number;
pub use places::template_dirs;
pub use process::{answer_from, conclude, execute, load, main, print};
pub(crate) use time::local_times;
