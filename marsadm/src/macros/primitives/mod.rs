//! The macros that ask the state, by family. Names are compared without `-` and `_`.

mod features;
mod links;
mod lists;
mod messages;
mod positions;
mod roles;
mod sizes;
mod states;
mod timestamps;

use super::facts::Facts;
use super::machine::{Machine, Scope, Stop};

/// What a primitive macro is asked.
pub(crate) struct Ask<'a, 'b> {
    /// The state.
    pub(crate) facts: Facts<'a>,
    /// Name without separators.
    pub(crate) name: &'b str,
    /// The resource.
    pub(crate) res: &'b str,
    /// The host whose view it is.
    pub(crate) me: &'b str,
    /// Arguments.
    pub(crate) args: &'b [String],
    /// What is to be told on stderr.
    pub(crate) warnings: Vec<String>,
}

impl Ask<'_, '_> {
    /// Argument `index`, if it is given and not empty.
    pub(crate) fn arg(&self, index: usize) -> Option<&str> {
        self.args
            .get(index)
            .map(String::as_str)
            .filter(|arg| !arg.is_empty())
    }

    /// The host that argument `index` names; by default the one whose view it is.
    pub(crate) fn host(&self, index: usize) -> String {
        self.arg(index).unwrap_or(self.me).to_owned()
    }

    /// A value that should be there: empty, with a warning, if it is not.
    pub(crate) fn wanted(&mut self, value: Option<String>, what: &str) -> String {
        if value.is_none() {
            self.warnings.push(format!("{what} is not known"));
        }
        value.unwrap_or_default()
    }
}

/// What a primitive macro answers: nothing if the family does not have it.
pub(crate) type Answer = Option<Result<String, Stop>>;

type Family = fn(&mut Ask<'_, '_>) -> Option<String>;

const FAMILIES: [Family; 9] = [
    states::call,
    roles::call,
    positions::call,
    sizes::call,
    timestamps::call,
    lists::call,
    messages::call,
    features::call,
    links::call,
];

/// The name of a primitive macro without the prefix that bypasses templates.
pub(crate) fn plain_name(name: &str) -> &str {
    ["primitive-", "primitive_"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}

/// Calls a primitive macro with values.
pub(crate) fn call(
    machine: &mut Machine<'_>,
    name: &str,
    values: &[String],
    scope: &Scope,
) -> Answer {
    if let Err(stop) = machine.charge_ask() {
        return Some(Err(stop));
    }
    let normal: String = name.chars().filter(|c| !matches!(c, '-' | '_')).collect();
    let mut ask = Ask {
        facts: machine.facts,
        name: &normal,
        res: scope.var("res"),
        me: scope.var("host"),
        args: values,
        warnings: Vec::new(),
    };
    let answer = FAMILIES.iter().find_map(|family| family(&mut ask));
    for warning in ask.warnings {
        machine.warn(warning);
    }
    answer.map(Ok)
}

/// Truth as primitive macros print it.
pub(crate) fn flag(value: bool) -> String {
    u8::from(value).to_string()
}
