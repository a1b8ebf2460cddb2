//! What templates ask, answered by the macro language of `view` from the state of this node.

use super::engine::Lookup;
use crate::macros::{MacroVars, Macros};
use crate::snapshot::Snapshot;
use std::path::PathBuf;

/// Variables and macros over a snapshot.
#[derive(Debug)]
pub(super) struct FromSnapshot<'a> {
    macros: Macros<'a>,
    vars: MacroVars,
}

impl Lookup for FromSnapshot<'_> {
    fn begin(&mut self, resource: Option<&str>) {
        self.vars = self.macros.vars(resource);
    }

    fn bind(&mut self, name: &str, value: &str) {
        self.vars.set(name, value);
    }

    fn var(&mut self, name: &str) -> Option<String> {
        self.vars.get(name)
    }

    fn eval(&mut self, text: &str) -> Result<String, String> {
        self.macros.eval(text, &mut self.vars)
    }
}

/// Runs `work` with a lookup over the snapshot, on a stack that is large enough for the macro language.
///
/// # Errors
/// A fault of the program.
pub(super) fn with_lookup<T: Send>(
    snapshot: &Snapshot,
    macro_dirs: &[PathBuf],
    work: impl FnOnce(&mut dyn Lookup) -> T + Send,
) -> Result<T, String> {
    crate::macros::with_macros(snapshot, macro_dirs, |mut macros| {
        let vars = macros.vars(None);
        work(&mut FromSnapshot { macros, vars })
    })
}
