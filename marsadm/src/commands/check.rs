//! `check`: one line for Nagios and its kin.

use super::status::{named_resources, snapshot_following};
use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use crate::limits::{CHECK_LINES_MAX, CHECK_PERF_MAX, CHECK_TEXT_MAX};
use crate::shown::shown;
use crate::status::{Elsewhere, Node, Resource, Severity, Status, Wanted, judge, risk};
use crate::ui::Ui;
use std::cmp::Reverse;

/// Print one line for monitoring: the state, what is worst, and performance data. Exit codes are those of Nagios: 0 ok,
/// 1 warning, 2 critical, 3 unknown.
///
/// Seconds at risk beyond --warning-seconds are a warning, beyond --critical-seconds critical; so is what status calls
/// WARNING or CRITICAL, a node whose metadata store was set aside, until that is acknowledged, and a system clock that is
/// far off; that the cluster has removed this node is critical. What could not be asked is unknown.
///
/// A resource of other hosts that is named is asked for at a member. While none answers, its summary counts: a warning if
/// something stands still by it, else unknown.
///
/// Of several resources that are not well the first line tells the worst and how many; the others follow in lines of their
/// own. Of more than 20 resources the performance data tell sums and the worst.
///
/// Example: marsadm check --warning-seconds 30 --critical-seconds 300
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource, a list with commas; left out or all: all of this host
    #[arg(value_name = "RES", default_value = "all")]
    pub resource: String,
    /// Seconds at risk from which on it is a warning
    #[arg(long, value_name = "SECS", default_value_t = 30)]
    pub warning_seconds: u64,
    /// Seconds at risk from which on it is critical
    #[arg(long, value_name = "SECS", default_value_t = 300)]
    pub critical_seconds: u64,
}

const WORDS: [&str; 4] = ["OK", "WARNING", "CRITICAL", "UNKNOWN"];
const UNKNOWN: u8 = 3;

/// Runs the command.
///
/// # Errors
/// [`Kind::Monitoring`] with the exit code, unless all is well.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let status = assess(ctx, args).await;
    let status = status.map_err(|error| unknown(&ctx.ui, error))?;
    let (mut code, mut line) = report(&status, args);
    let named = args.resource != "all";
    if let Some(res) = outside(&status).filter(|_| named && code == 0) {
        code = if res.well { UNKNOWN } else { 1 };
        line = summarized(res, &status, args, code);
    }
    ctx.ui.line(&line);
    for line in more(&status, args) {
        ctx.ui.line(&line);
    }
    if code == 0 {
        return Ok(());
    }
    let word = WORDS.get(usize::from(code)).copied().unwrap_or("UNKNOWN");
    let error = Error::new(Kind::Monitoring(code), format!("the state is {word}"));
    Err(error.hint("marsadm status tells all of it").about("check"))
}

/// Prints the line of what could not be asked; the failure as monitoring knows it.
#[must_use]
pub fn unknown(ui: &Ui, error: Error) -> Error {
    ui.line(&format!("MARS UNKNOWN - {}", shown(&error.to_string())));
    Error {
        kind: Kind::Monitoring(UNKNOWN),
        code: None,
        ..error.about("check")
    }
}

async fn assess(ctx: &Ctx, args: &Args) -> Result<Status> {
    if args.warning_seconds > args.critical_seconds {
        return Err(
            Error::usage("--warning-seconds is above --critical-seconds")
                .hint("see marsadm check --help"),
        );
    }
    let snapshot = snapshot_following(ctx, &args.resource).await?;
    let wanted = Wanted {
        resources: named_resources(&snapshot, &args.resource)?,
        target: Some(args.warning_seconds),
        window: Some(ctx.opts.window.as_secs()),
    };
    let status = judge(&snapshot, &wanted);
    ctx.ui.document("Status", &status)?;
    Ok(status)
}

/// The worst resource of other nodes of which no member tells more than its summary now.
fn outside(status: &Status) -> Option<&Elsewhere> {
    let bad = status.elsewhere.iter().find(|res| !res.well);
    bad.or_else(|| status.elsewhere.first())
}

/// What the summaries of such a resource say: nobody can say by them that all is well.
fn summarized(res: &Elsewhere, status: &Status, args: &Args, code: u8) -> String {
    let word = WORDS.get(usize::from(code)).copied().unwrap_or("UNKNOWN");
    let replicas = res.replicas.iter().map(|replica| {
        let words = [replica.role, replica.disk, replica.replay];
        let codes = replica.codes.iter().map(|code| code.as_str());
        let words = words.into_iter().flatten().chain(codes);
        format!("{} {}", replica.host, words.collect::<Vec<_>>().join(" "))
    });
    let replicas: Vec<String> = replicas.collect();
    let text = format!(
        "{} is elsewhere, and no member tells more than its summary now: {}",
        res.name,
        replicas.join(", ")
    );
    line(word, &text, status, args)
}

/// How bad a resource is for monitoring: 0, 1 or 2.
fn grade(res: &Resource, args: &Args) -> u8 {
    let told = match res.severity {
        Severity::Ok | Severity::Info => 0,
        Severity::Warning => 1,
        Severity::Critical => 2,
    };
    let seconds = res.at_risk.seconds;
    let risk = match seconds {
        Some(seconds) if seconds > args.critical_seconds => 2,
        Some(seconds) if seconds > args.warning_seconds => 1,
        _ => 0,
    };
    told.max(risk)
}

/// What monitoring calls something that is wrong.
fn weight(severity: Severity) -> u8 {
    match severity {
        Severity::Critical => 2,
        _ => 1,
    }
}

/// Exit code and line.
fn report(status: &Status, args: &Args) -> (u8, String) {
    let worst = status.nodes.iter().filter_map(Node::alarm_severity).max();
    let alarmed = status.nodes.iter();
    let alarmed = alarmed.filter(|node| node.alarm_severity() == worst);
    let alarmed = alarmed.into_iter().find(|node| node.alarm.is_some());
    let clocks = status.nodes.iter().filter_map(|node| node.clock.as_ref());
    let clock = clocks.max_by_key(|clock| clock.severity);
    let code = status
        .resources
        .iter()
        .map(|res| grade(res, args))
        .chain(alarmed.and_then(Node::alarm_severity).map(weight))
        .chain(clock.map(|clock| weight(clock.severity)))
        .max()
        .unwrap_or(0);
    let word = WORDS.get(usize::from(code)).copied().unwrap_or("UNKNOWN");
    let summary = status.summary;
    let text = if code == 0 {
        format!(
            "{} resources, {} ok, {} in progress",
            summary.resources, summary.ok, summary.info
        )
    } else {
        let worst = status
            .resources
            .iter()
            .rev()
            .max_by_key(|res| (grade(res, args), res.urgency()));
        let worst = worst.map_or(String::new(), |res| format!("; {}", what(res)));
        let bad = status
            .resources
            .iter()
            .filter(|res| grade(res, args) > 0)
            .count();
        if let Some(clock) = clock.filter(|_| bad == 0) {
            let host = clock.host.as_deref().unwrap_or_default();
            let text = format!("node {host} {}: {}", clock.code.as_str(), clock.reason);
            return (code, line(word, &text, status, args));
        }
        match alarmed.and_then(|node| Some((&node.host, node.alarm.as_ref()?))) {
            Some((host, alarm)) if bad == 0 => format!("node {host}: {alarm}"),
            Some((host, _)) => {
                format!(
                    "{bad} of {} resources{worst}; alarm of node {host}",
                    summary.resources
                )
            }
            None => format!("{bad} of {} resources{worst}", summary.resources),
        }
    };
    (code, line(word, &text, status, args))
}

/// What is wrong with a resource, in a few words.
fn what(res: &Resource) -> String {
    let Some(problem) = res.problems.first() else {
        return format!("{}: {} s at risk", res.name, risk(res.at_risk));
    };
    let host = problem.host.as_ref();
    let host = host.map_or(String::new(), |host| format!("@{host}"));
    let code = problem.code.as_str();
    format!("{}{host} {code}: {}", res.name, problem.reason)
}

/// The lines behind the first one: each resource that is not well, where there are several.
fn more(status: &Status, args: &Args) -> Vec<String> {
    let mut bad: Vec<&Resource> = status.resources.iter().collect();
    bad.retain(|res| grade(res, args) > 0);
    if bad.len() < 2 {
        return Vec::new();
    }
    bad.sort_by_key(|res| Reverse((grade(res, args), res.at_risk.weight())));
    let told = bad.iter().take(CHECK_LINES_MAX).map(|res| {
        let word = WORDS.get(usize::from(grade(res, args)));
        let line = format!("{} {}", word.copied().unwrap_or("UNKNOWN"), what(res));
        shown(&short(line.replace('|', "/"))).into_owned()
    });
    let mut lines: Vec<String> = told.collect();
    let left = bad.len() - lines.len();
    if left > 0 {
        lines.push(format!("and {left} more: marsadm status tells all of them"));
    }
    lines
}

/// At most so much of a text as monitoring shows.
fn short(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(CHECK_TEXT_MAX) {
        text.truncate(at);
        text.push_str("...");
    }
    text
}

/// The text with its performance data.
fn line(word: &str, text: &str, status: &Status, args: &Args) -> String {
    let summary = status.summary;
    let limits = format!("{};{};0", args.warning_seconds, args.critical_seconds);
    let mut perf = vec![
        format!("resources={};;;0", summary.resources),
        format!("ok={};;;0;{}", summary.ok, summary.resources),
    ];
    let many = status.resources.len() > CHECK_PERF_MAX;
    if many {
        let worst = status.resources.iter().map(|res| res.at_risk.weight().0);
        let worst = worst.max().filter(|secs| *secs < u64::MAX);
        let worst = worst.map_or("U".to_owned(), |secs| format!("{secs}s"));
        let all: usize = status.resources.iter().map(|res| res.count).sum();
        let good: usize = status.resources.iter().map(|res| res.good).sum();
        perf.push(format!("worst_at_risk={worst};{limits}"));
        perf.push(format!("good={good};;;0;{all}"));
    }
    for res in status.resources.iter().filter(|_| !many) {
        // `U` is what plugins say where nothing is known.
        let seconds = res
            .at_risk
            .seconds
            .map_or("U".to_owned(), |seconds| format!("{seconds}s"));
        perf.push(format!("'{}_at_risk'={seconds};{limits}", res.name));
        perf.push(format!(
            "'{}_good'={};;;0;{}",
            res.name, res.good, res.count
        ));
    }
    // The bar divides the text from the data.
    let text = short(text.replace('|', "/"));
    let line = format!("MARS {word} - {text} | {}", perf.join(" "));
    shown(&line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::parse;

    #[test]
    fn many_resources_make_a_short_first_line() {
        let mut text = String::from(
            r#"{"format":"mars-snapshot/1","host":"a","wall":"5000.000000000","lamport":"5000.000000000","daemon":true,"program":"marsd 1"}"#,
        );
        for nr in 0..401 {
            for (leaf, value) in [
                ("data-a", "/dev/x"),
                ("size", "4096"),
                ("primary", "b"),
                ("actual-a/is-attached", "0"),
            ] {
                text.push_str(&format!(
                    "\n{{\"key\":\"resource-r{nr}/{leaf}\",\"value\":\"{value}\",\"stamp\":\"4000.000000000\"}}"
                ));
            }
        }
        let status = judge(&parse(&text).unwrap(), &Wanted::default());
        assert_eq!(status.resources.len(), 401);
        let args = Args {
            resource: "all".to_owned(),
            warning_seconds: 30,
            critical_seconds: 300,
        };
        let (code, line) = report(&status, &args);
        assert!(code > 0, "{line}");
        assert!(line.contains("401 of 401 resources"), "{line}");
        assert!(line.chars().count() < 2 * CHECK_TEXT_MAX, "{line}");
        assert!(line.contains(" worst_at_risk=U;30;300;0 good=0;"), "{line}");
        let lines = more(&status, &args);
        assert_eq!(lines.len(), CHECK_LINES_MAX + 1);
        assert!(lines[0].contains(" r"), "{lines:?}");
        assert!(lines[CHECK_LINES_MAX].contains("351 more"), "{lines:?}");
    }

    #[test]
    fn a_wrong_clock_is_no_good_state_even_without_resources() {
        let line = |state: &str| {
            let header = format!(
                r#"{{"format":"mars-snapshot/1","host":"a","wall":"5.000000000","daemon":true,"program":"marsd 1","clock":{{"state":"{state}","neighbours_ahead_ns":-120000000000}}}}"#
            );
            let status = judge(&parse(&header).unwrap(), &Wanted::default());
            let args = Args {
                resource: "all".to_owned(),
                warning_seconds: 30,
                critical_seconds: 300,
            };
            report(&status, &args)
        };
        assert_eq!(line("good").0, 0);
        assert_eq!(line("warn").0, 1);
        let (code, text) = line("insane");
        assert_eq!(code, 2);
        assert!(
            text.starts_with("MARS CRITICAL - node a CLOCK_INSANE: "),
            "{text}"
        );
        assert!(text.contains("120 s ahead"), "{text}");
    }

    #[test]
    fn summaries_alone_are_a_warning_or_nothing_known() {
        let state = |replay: &str| {
            let text = format!(
                r#"{{"format":"mars-snapshot/1","host":"a","wall":"5.000000000","daemon":true,"program":"marsd 1"}}
{{"key":"directory/q/member-b","value":"storage","stamp":"4.000000000"}}
{{"key":"directory/q/summary-b","value":"v1 plane=up role=secondary disk=consistent replay={replay}","stamp":"4.000000000"}}"#
            );
            let snapshot = parse(&text).unwrap();
            let wanted = Wanted {
                resources: named_resources(&snapshot, "q").unwrap(),
                ..Wanted::default()
            };
            judge(&snapshot, &wanted)
        };
        let args = Args {
            resource: "q".to_owned(),
            warning_seconds: 30,
            critical_seconds: 300,
        };
        let well = state("following");
        let line =
            |status: &Status, code| summarized(outside(status).unwrap(), status, &args, code);
        let text = line(&well, UNKNOWN);
        assert!(outside(&well).unwrap().well, "{text}");
        assert!(text.starts_with("MARS UNKNOWN - q is elsewhere"), "{text}");
        assert!(text.contains("b secondary consistent following"), "{text}");
        let ill = state("split-brain");
        assert!(!outside(&ill).unwrap().well, "{}", line(&ill, 1));
    }
}
