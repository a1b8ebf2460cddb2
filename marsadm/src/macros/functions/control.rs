//! Decisions, loops, and calls of other macros.

use super::pattern::split;
use crate::macros::facts::truth;
use crate::macros::machine::{Machine, Scope, Stop};
use crate::macros::number::Num;

pub(super) fn call(
    machine: &mut Machine<'_>,
    name: &str,
    args: &[String],
    scope: &mut Scope,
) -> Option<Result<String, Stop>> {
    Some(match name {
        "if" | "unless" => condition(machine, name == "if", args, scope),
        "elsif" | "elseif" => chain(machine, true, args, scope),
        "elsunless" => chain(machine, false, args, scope),
        "while" | "until" => repeat(machine, name == "while", args, scope),
        "for" => for_loop(machine, args, scope),
        "foreach" => foreach(machine, args, scope),
        "next" => Err(Stop::Next(String::new())),
        "last" => Err(Stop::Last(String::new())),
        "return" => Err(Stop::Return(String::new())),
        "abort" | "stop-eval" | "stop_eval" => Err(Stop::Abort(String::new())),
        "protect" => Ok(args.first().cloned().unwrap_or_default()),
        "eval" => eval(machine, args, scope),
        "eval-down" | "eval_down" => eval_down(machine, args, scope),
        "tmp" => machine.copy(scope).and_then(|mut copy| {
            let text = args.first().map(String::as_str).unwrap_or_default();
            machine.expand(text, &mut copy)
        }),
        "call" | "include" => invoke(machine, name == "call", args, scope),
        _ => return None,
    })
}

fn condition(
    machine: &mut Machine<'_>,
    wanted: bool,
    args: &[String],
    scope: &mut Scope,
) -> Result<String, Stop> {
    let holds = truth(&machine.arg(args, 0, scope)?) == wanted;
    machine.arg(args, if holds { 1 } else { 2 }, scope)
}

fn chain(
    machine: &mut Machine<'_>,
    wanted: bool,
    args: &[String],
    scope: &mut Scope,
) -> Result<String, Stop> {
    let mut at = 0;
    while at + 1 < args.len() {
        if truth(&machine.arg(args, at, scope)?) == wanted {
            return machine.arg(args, at + 1, scope);
        }
        at += 2;
    }
    machine.arg(args, at, scope)
}

/// Whether a loop goes on after a turn, and what the turn produced.
fn turn(result: Result<String, Stop>, out: &mut String) -> Result<bool, Stop> {
    match result {
        Ok(text) | Err(Stop::Next(text)) => {
            out.push_str(&text);
            Ok(true)
        }
        Err(Stop::Last(text)) => {
            out.push_str(&text);
            Ok(false)
        }
        Err(Stop::Return(text)) => Err(Stop::Return(std::mem::take(out) + &text)),
        Err(Stop::Abort(text)) => Err(Stop::Abort(std::mem::take(out) + &text)),
        Err(die @ Stop::Die(_)) => Err(die),
    }
}

fn repeat(
    machine: &mut Machine<'_>,
    wanted: bool,
    args: &[String],
    scope: &mut Scope,
) -> Result<String, Stop> {
    let mut out = String::new();
    while truth(&machine.arg(args, 0, scope)?) == wanted {
        machine.charge(out.len() / 64)?;
        let result = machine.arg(args, 1, scope);
        if !turn(result, &mut out)? {
            break;
        }
    }
    Ok(out)
}

fn for_loop(machine: &mut Machine<'_>, args: &[String], scope: &mut Scope) -> Result<String, Stop> {
    let mut out = String::new();
    machine.arg(args, 0, scope)?;
    while truth(&machine.arg(args, 1, scope)?) {
        machine.charge(out.len() / 64)?;
        let result = machine.arg(args, 3, scope);
        if !turn(result, &mut out)? {
            break;
        }
        machine.arg(args, 2, scope)?;
    }
    Ok(out)
}

fn foreach(machine: &mut Machine<'_>, args: &[String], scope: &mut Scope) -> Result<String, Stop> {
    let name = machine.arg(args, 0, scope)?;
    let text = machine.arg(args, 1, scope)?;
    let delim = machine.arg(args, 2, scope)?;
    let mut out = String::new();
    for part in split(machine, &text, &delim)? {
        machine.charge(out.len() / 64)?;
        machine.assign(scope, name.clone(), part)?;
        let result = machine.arg(args, 3, scope);
        if !turn(result, &mut out)? {
            break;
        }
    }
    Ok(out)
}

fn eval(machine: &mut Machine<'_>, args: &[String], scope: &mut Scope) -> Result<String, Stop> {
    let times = Num::read(&machine.arg(args, 0, scope)?).int();
    let mut text = args.get(1).cloned().unwrap_or_default();
    for _ in 0..times.max(0) {
        text = machine.expand(&text, scope)?;
    }
    Ok(text)
}

fn eval_down(
    machine: &mut Machine<'_>,
    args: &[String],
    scope: &mut Scope,
) -> Result<String, Stop> {
    let mut text = args.first().cloned().unwrap_or_default();
    loop {
        let next = machine.expand(&text, scope)?;
        if next == text {
            return Ok(text);
        }
        text = next;
    }
}

fn invoke(
    machine: &mut Machine<'_>,
    copied: bool,
    args: &[String],
    scope: &mut Scope,
) -> Result<String, Stop> {
    let name = machine.arg(args, 0, scope)?;
    let values = machine.values(args, 1, scope)?;
    let text = match machine.library.source(&name).map_err(Stop::Die)? {
        Some(text) => text,
        None => {
            let given: String = (1..=values.len().max(1))
                .map(|i| format!("{{%{{{i}}}}}"))
                .collect();
            format!("%primitive-{name}{given}")
        }
    };
    if copied {
        let mut inner = machine.copy(scope)?;
        return machine.enter(&name, &text, &values, &mut inner);
    }
    let is_argument = |key: &String| key.bytes().all(|b| b.is_ascii_digit());
    let kept: Vec<(String, String)> = scope
        .vars
        .iter()
        .filter(|(key, _)| is_argument(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let result = machine.enter(&name, &text, &values, scope);
    scope.vars.retain(|key, _| !is_argument(key));
    scope.vars.extend(kept);
    result
}
