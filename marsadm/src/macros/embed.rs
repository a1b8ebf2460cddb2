//! The macro language for others than `view`: texts are evaluated one by one, variables live from one to the next.

use super::facts::{Facts, Options, Sets};
use super::library::Library;
use super::machine::{Machine, Scope, Stop};
use crate::snapshot::Snapshot;
use std::path::PathBuf;

/// Stack of an evaluation: enough for the deepest nesting that the limits allow.
const STACK_BYTES: usize = 64 << 20;

/// The macros, and the state that they ask.
#[derive(Debug)]
pub(crate) struct Macros<'a> {
    facts: Facts<'a>,
    library: Library,
}

/// Variables.
#[derive(Clone, Debug, Default)]
pub(crate) struct MacroVars(Scope);

impl MacroVars {
    /// Sets one.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.vars.insert(name.to_owned(), value.to_owned());
    }

    /// The value of one.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.0.vars.get(name).cloned()
    }
}

impl Macros<'_> {
    /// The variables with which a text about `resource` begins.
    pub(crate) fn vars(&mut self, resource: Option<&str>) -> MacroVars {
        let machine = Machine::new(self.facts, &mut self.library);
        let mut scope = machine.scope("systemd", resource.unwrap_or_default(), &[]);
        if resource.is_none() {
            scope.vars.remove("res");
            scope.vars.remove("resdir");
        }
        MacroVars(scope)
    }

    /// What a text comes to.
    ///
    /// # Errors
    /// Why the evaluation failed.
    pub(crate) fn eval(&mut self, text: &str, vars: &mut MacroVars) -> Result<String, String> {
        let mut machine = Machine::new(self.facts, &mut self.library);
        let result = machine.run(text, &mut vars.0);
        let warnings = self.library.take_warnings();
        result.map_err(|stop| match stop {
            // Only the first can come: the others end within.
            Stop::Die(why)
            | Stop::Next(why)
            | Stop::Last(why)
            | Stop::Return(why)
            | Stop::Abort(why) => [vec![why], warnings].concat().join("; "),
        })
    }
}

/// Runs `work` with the macros over a snapshot, through the eyes of its host.
///
/// # Errors
/// A fault of the program.
pub(crate) fn with_macros<T: Send>(
    snapshot: &Snapshot,
    dirs: &[PathBuf],
    work: impl FnOnce(Macros<'_>) -> T + Send,
) -> Result<T, String> {
    let run = || {
        let sets = Sets::new(snapshot);
        let opts = Options::of(&snapshot.header.host);
        let facts = Facts {
            snap: snapshot,
            opts: &opts,
            sets: &sets,
        };
        work(Macros {
            facts,
            library: Library::new(dirs.to_vec()),
        })
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    std::thread::scope(|scope| {
        let handle = thread
            .spawn_scoped(scope, run)
            .map_err(|error| format!("a thread could not be started: {error}"))?;
        handle
            .join()
            .map_err(|_| "the evaluation ended by a fault of the program".to_owned())
    })
}
