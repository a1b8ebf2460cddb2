//! Causes as lines for people.

use super::{Explanation, Other, Step};
use crate::limits::HEARD_NOW_SECS;
use crate::shown::shown;
use crate::status::{ago, level_line};

/// The text form: all of the first replica, what is wrong with the others, and which of them are well.
#[must_use]
pub fn lines(told: &Explanation) -> Vec<String> {
    let mut out = vec![format!(
        "{} on {}, as {} knows it",
        told.resource, told.host, told.seen_from
    )];
    told.steps
        .iter()
        .for_each(|step| step_lines(step, &mut out));
    for other in told.others.iter().filter(|other| !other.ok) {
        out.push(format!(
            "{} on {} ({}, {}): marsadm explain {} --of {} tells all",
            told.resource, other.host, other.role, other.state, told.resource, other.host
        ));
        let wrong = other.steps.iter().filter(|step| !step.ok);
        wrong.for_each(|step| step_lines(step, &mut out));
    }
    let well = told.others.iter().filter(|other| other.ok);
    let well: Vec<String> = well.map(well_host).collect();
    if !well.is_empty() {
        out.push(format!(
            "{}: nothing is wrong on {}",
            told.resource,
            well.join(" ")
        ));
    }
    out.extend(told.feature_level.as_ref().and_then(level_line));
    out.into_iter()
        .map(|line| shown(&line).into_owned())
        .collect()
}

/// A host with which nothing is wrong, as far as is known; with the age of that, where it is no more of now.
fn well_host(other: &Other) -> String {
    match other.age.seconds {
        Some(secs) if secs >= HEARD_NOW_SECS => {
            format!("{} (heard {} ago)", other.host, ago(secs))
        }
        _ => other.host.clone(),
    }
}

fn step_lines(step: &Step, out: &mut Vec<String>) {
    let sign = if step.ok { "ok" } else { "NO" };
    out.push(format!("  [{sign}] {}  {}", step.question, step.finding));
    for evidence in &step.evidence {
        let value = evidence.value.as_deref().unwrap_or("(none)");
        let age = evidence
            .age
            .map_or(String::new(), |secs| format!("  ({} old)", ago(secs)));
        out.push(format!("         {} = {value}{age}", evidence.key));
    }
    if let Some(next) = &step.next {
        out.push(format!("       next: {next}"));
    }
}
