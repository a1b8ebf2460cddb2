//! Numbers, comparisons and logic.

use super::boolean;
use crate::macros::facts::truth;
use crate::macros::machine::{Machine, Scope, Stop, die};
use crate::macros::number::Num;
use std::cmp::Ordering;

pub(super) fn call(
    machine: &mut Machine<'_>,
    name: &str,
    args: &[String],
    scope: &mut Scope,
) -> Option<Result<String, Stop>> {
    Some(match name {
        "+" | "-" | "*" | "/" | "%" => fold(machine, name, args, scope),
        "&" | "|" | "^" | "<<" | ">>" => bits(machine, name, args, scope),
        "min" | "max" => extreme(machine, name == "min", args, scope),
        "<" | ">" | "<=" | ">=" | "==" | "!=" => compare(machine, name, args, scope),
        "lt" | "gt" | "le" | "ge" | "eq" | "ne" => compare_text(machine, name, args, scope),
        "=~" | "match" => matches(machine, args, scope),
        "&&" | "and" | "||" | "or" => logic(machine, matches!(name, "&&" | "and"), args, scope),
        "!" | "not" => machine
            .arg(args, 0, scope)
            .map(|value| boolean(!truth(&value))),
        "~" => machine
            .arg(args, 0, scope)
            .map(|value| (!Num::read(&value).word()).to_string()),
        _ => return None,
    })
}

fn fold(
    machine: &mut Machine<'_>,
    op: &str,
    args: &[String],
    scope: &mut Scope,
) -> Result<String, Stop> {
    let op = op.chars().next().unwrap_or('+');
    let mut values = machine.values(args, 0, scope)?.into_iter();
    let mut sum = Num::read(&values.next().unwrap_or_default());
    let mut calculated = false;
    for value in values {
        let left = if calculated { sum.settled() } else { sum };
        sum = match left.apply(op, Num::read(&value)) {
            Some(sum) => sum,
            None => return die(format!("`%{op}{{}}`: division of {sum} by {value}")),
        };
        calculated = true;
    }
    Ok(sum.to_string())
}

fn bits(
    machine: &mut Machine<'_>,
    op: &str,
    args: &[String],
    scope: &mut Scope,
) -> Result<String, Stop> {
    let values = machine.values(args, 0, scope)?;
    let mut numbers = values.iter().map(|value| Num::read(value).word());
    let mut sum = numbers.next().unwrap_or(0);
    for number in numbers {
        let shift = u32::try_from(number).unwrap_or(u32::MAX);
        sum = match op {
            "&" => sum & number,
            "|" => sum | number,
            "^" => sum ^ number,
            "<<" => sum.checked_shl(shift).unwrap_or(0),
            _ => sum.checked_shr(shift).unwrap_or(0),
        };
    }
    Ok(sum.to_string())
}

fn extreme(
    machine: &mut Machine<'_>,
    smallest: bool,
    args: &[String],
    scope: &mut Scope,
) -> Result<String, Stop> {
    let wanted = if smallest {
        Ordering::Less
    } else {
        Ordering::Greater
    };
    let values = machine.values(args, 0, scope)?;
    let found = values
        .iter()
        .map(|value| Num::read(value))
        .reduce(|best, n| {
            if n.compare(best) == Some(wanted) {
                n
            } else {
                best
            }
        });
    Ok(found.map(|n| n.to_string()).unwrap_or_default())
}

fn compare(
    machine: &mut Machine<'_>,
    op: &str,
    args: &[String],
    scope: &mut Scope,
) -> Result<String, Stop> {
    let a = Num::read(&machine.arg(args, 0, scope)?);
    let b = Num::read(&machine.arg(args, 1, scope)?);
    let order = a.compare(b);
    Ok(boolean(match op {
        "<" => order == Some(Ordering::Less),
        ">" => order == Some(Ordering::Greater),
        "<=" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        ">=" => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        "==" => order == Some(Ordering::Equal),
        _ => order != Some(Ordering::Equal),
    }))
}

fn compare_text(
    machine: &mut Machine<'_>,
    op: &str,
    args: &[String],
    scope: &mut Scope,
) -> Result<String, Stop> {
    let a = machine.arg(args, 0, scope)?;
    let b = machine.arg(args, 1, scope)?;
    Ok(boolean(match op {
        "lt" => a < b,
        "gt" => a > b,
        "le" => a <= b,
        "ge" => a >= b,
        "eq" => a == b,
        _ => a != b,
    }))
}

fn matches(machine: &mut Machine<'_>, args: &[String], scope: &mut Scope) -> Result<String, Stop> {
    let text = machine.arg(args, 0, scope)?;
    let pattern = machine.arg(args, 1, scope)?;
    let options = match args.len() {
        0..=2 => "m".to_owned(),
        _ => machine.arg(args, 2, scope)?,
    };
    Ok(boolean(
        machine
            .regex(&pattern, &options, text.len())?
            .is_match(&text),
    ))
}

fn logic(
    machine: &mut Machine<'_>,
    and: bool,
    args: &[String],
    scope: &mut Scope,
) -> Result<String, Stop> {
    let mut last = String::new();
    for (i, _) in args.iter().enumerate() {
        last = machine.arg(args, i, scope)?;
        if truth(&last) != and && i + 1 < args.len() {
            return Ok(if and { "0" } else { "1" }.to_owned());
        }
    }
    Ok(last)
}
