//! systemd units of resources (`docs/systemd.md`).
//!
//! Pure: `name` (names of units), `template` (syntax) -> `guard` (what values may be) with `places` (where they may stand) -> `engine` (which units there
//! shall be). With the system: `lookup` (what templates ask), `folder` (templates), `install` (writing units),
//! `systemctl`, `apply` (one pass over all of it) with `activate`, `follow` (passes as keys change).

mod activate;
mod apply;
mod engine;
mod folder;
mod follow;
mod guard;
mod install;
mod lookup;
mod name;
mod places;
mod settings;
mod systemctl;
mod template;
mod wish;

pub use apply::{Activity, Pass, Report, check_templates, pass, regenerate, resolve};
pub use engine::{Fault, Generated, Lookup, Template, Unit, generate, keyword_units};
pub(crate) use follow::GLOBAL_TRIGGER;
pub use follow::follow;
pub use name::{UnitName, escape, escape_path};
pub use settings::Settings;
pub use wish::{UnitWish, status_key, wish};
