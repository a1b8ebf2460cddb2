//! Texts and the forms in which numbers are shown.

use super::pattern;
use crate::limits::MACRO_WIDTH_MAX;
use crate::macros::errno::errno_text;
use crate::macros::facts::Series;
use crate::macros::machine::{Machine, Scope, Stop, die};
use crate::macros::number::{Num, bar, float, human, seconds};
use crate::macros::sprintf::sprintf;

pub(super) fn call(
    machine: &mut Machine<'_>,
    name: &str,
    args: &[String],
    scope: &mut Scope,
) -> Option<Result<String, Stop>> {
    let value = match name {
        "length" | "toupper" | "tolower" | "human-seconds" | "human_seconds" | "errno-text"
        | "errno_text" | "warn" | "die" => machine.arg(args, 0, scope),
        "sprintf" | "printf" => {
            let format = args.first().map(String::as_str).unwrap_or_default();
            return Some(
                machine
                    .values(args, 1, scope)
                    .map(|values| sprintf(format, &values)),
            );
        }
        "subst" => return Some(subst(machine, args, scope)),
        "human-numbers" | "human-number" | "human_numbers" | "human_number" => {
            return Some(numbers(machine, args, scope));
        }
        "progress" => return Some(progress(machine, args, scope)),
        _ => return None,
    };
    let value = match value {
        Ok(value) => value,
        Err(stop) => return Some(Err(stop)),
    };
    Some(Ok(match name {
        "length" => value.len().to_string(),
        "toupper" => value.to_ascii_uppercase(),
        "tolower" => value.to_ascii_lowercase(),
        "human-seconds" | "human_seconds" => seconds(&value),
        "errno-text" | "errno_text" => errno_text(&value),
        "warn" => {
            machine.warn(value);
            String::new()
        }
        _ => return Some(die(value)),
    }))
}

fn subst(machine: &mut Machine<'_>, args: &[String], scope: &mut Scope) -> Result<String, Stop> {
    let text = machine.arg(args, 0, scope)?;
    let pattern = machine.arg(args, 1, scope)?;
    let by = machine.arg(args, 2, scope)?;
    let options = match args.len() {
        0..=3 => "m".to_owned(),
        _ => machine.arg(args, 3, scope)?,
    };
    let regex = machine.regex(&pattern, &options, text.len())?;
    pattern::substitute(machine, &text, &regex, &by, options.contains('g'))
}

fn numbers(machine: &mut Machine<'_>, args: &[String], scope: &mut Scope) -> Result<String, Stop> {
    let values = machine.values(args, 0, scope)?;
    let text = |i: usize| values.get(i).map(String::as_str).unwrap_or_default();
    let numbers: Vec<f64> = values
        .iter()
        .skip(3)
        .map(|value| Num::read(value).float())
        .collect();
    Ok(human(text(0), text(1), text(2), &numbers))
}

fn progress(machine: &mut Machine<'_>, args: &[String], scope: &mut Scope) -> Result<String, Stop> {
    let values = machine.values(args, 0, scope)?;
    let number = |i: usize| values.get(i).map(|value| Num::read(value));
    let width = number(0).map_or(0, Num::int);
    let width = usize::try_from(width).unwrap_or(0).min(MACRO_WIDTH_MAX);
    let given = |i: usize| number(i).map(Num::float);
    let (min, mid, max) = match (given(1), given(2), given(3)) {
        (Some(min), Some(mid), Some(max)) => (min, mid, max),
        _ => {
            let (res, host) = (scope.var("res"), scope.var("host"));
            let (back, fetched) = machine.facts.progress(res, host, Series::Replay);
            let (_, known) = machine.facts.progress(res, host, Series::Fetch);
            (float(back), float(fetched), float(known))
        }
    };
    Ok(bar(width, min, mid, max))
}
