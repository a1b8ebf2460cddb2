//! Variables.

use super::pattern::split;
use crate::macros::machine::{Machine, Scope, Stop, die};
use crate::macros::number::Num;

pub(super) fn call(
    machine: &mut Machine<'_>,
    name: &str,
    args: &[String],
    scope: &mut Scope,
) -> Option<Result<String, Stop>> {
    Some(match name {
        "" => read(machine, args, scope),
        "let" | "append" => store(machine, name == "append", args, scope),
        "set" => set(machine, args, scope),
        "dump-vars" | "dump_vars" => {
            for (name, value) in &scope.vars {
                let line = format!("variable {name}='{value}'");
                machine.warn(line);
            }
            Ok(String::new())
        }
        "callstack" => Ok(scope.stack.join(",")),
        _ => return None,
    })
}

fn read(machine: &mut Machine<'_>, args: &[String], scope: &mut Scope) -> Result<String, Stop> {
    let values = machine.values(args, 0, scope)?;
    let value = |i: usize| values.get(i).map(String::as_str).unwrap_or_default();
    let step = |text: &str| match text {
        "++" => Some(1),
        "--" => Some(-1),
        _ => None,
    };
    if let Some(by) = step(value(0)) {
        let new = change(machine, scope, value(1), by)?.1;
        return Ok(new);
    }
    if let (Some(by), 2) = (step(value(1)), values.len()) {
        let old = change(machine, scope, value(0), by)?.0;
        return Ok(old);
    }
    let text = scope.var(value(0)).to_owned();
    if values.len() < 2 {
        return Ok(text);
    }
    let parts = split(machine, &text, value(1))?;
    let index = match value(2) {
        "" | "*" => parts.len().checked_sub(1),
        index => usize::try_from(Num::read(index).int()).ok(),
    };
    match index.and_then(|index| parts.get(index)) {
        Some(part) => Ok(part.clone()),
        None => die(format!(
            "variable `{}` has {} parts, no part `{}`",
            value(0),
            parts.len(),
            value(2)
        )),
    }
}

/// Adds to a variable; returns what it was and what it is.
fn change(
    machine: &mut Machine<'_>,
    scope: &mut Scope,
    name: &str,
    by: i64,
) -> Result<(String, String), Stop> {
    let old = Num::read(scope.var(name));
    let Some(new) = old.apply('+', Num::from(by)) else {
        return die(format!("variable `{name}` cannot be counted"));
    };
    machine.assign(scope, name.to_owned(), new.to_string())?;
    Ok((old.to_string(), new.to_string()))
}

fn store(
    machine: &mut Machine<'_>,
    append: bool,
    args: &[String],
    scope: &mut Scope,
) -> Result<String, Stop> {
    let name = machine.arg(args, 0, scope)?;
    let mut value = machine.arg(args, 1, scope)?;
    if append {
        value = scope.var(&name).to_owned() + &value;
    }
    machine.assign(scope, name, value)?;
    Ok(String::new())
}

fn set(machine: &mut Machine<'_>, args: &[String], scope: &mut Scope) -> Result<String, Stop> {
    let name = machine.arg(args, 0, scope)?;
    let delim = machine.arg(args, 1, scope)?;
    let index = machine.arg(args, 2, scope)?;
    let value = machine.arg(args, 3, scope)?;
    let mut parts = split(machine, scope.var(&name), &delim)?;
    if matches!(index.as_str(), "" | "*") {
        parts.push(value);
    } else {
        let count = parts.len();
        let place = usize::try_from(Num::read(&index).int())
            .ok()
            .and_then(|index| parts.get_mut(index));
        match place {
            Some(place) => *place = value,
            None => {
                return die(format!(
                    "variable `{name}` has {count} parts, no part `{index}`"
                ));
            }
        }
    }
    // The delimiter is a pattern; what it stands for is joined with as it is written.
    let joined = parts.join(&delim.replace('\\', ""));
    machine.assign(scope, name, joined)?;
    Ok(String::new())
}
