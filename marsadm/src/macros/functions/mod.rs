//! The functions of the macro language, by family.

mod arithmetic;
mod control;
mod glob;
mod keys;
mod pattern;
mod text;
mod variables;

use super::machine::{Machine, Scope, Stop};

pub(crate) use pattern::Pattern;

/// A family: `None` if the name is not one of its functions.
type Family = fn(&mut Machine<'_>, &str, &[String], &mut Scope) -> Option<Result<String, Stop>>;

const FAMILIES: [Family; 5] = [
    variables::call,
    control::call,
    arithmetic::call,
    text::call,
    keys::call,
];

/// Calls a function of the language.
pub(crate) fn call(
    machine: &mut Machine<'_>,
    name: &str,
    args: &[String],
    scope: &mut Scope,
) -> Option<Result<String, Stop>> {
    FAMILIES
        .iter()
        .find_map(|family| family(machine, name, args, scope))
}

/// The truth values that functions print.
fn boolean(value: bool) -> String {
    if value { "1" } else { "" }.to_owned()
}
