//! `check`: one line for Nagios and its kin.

use super::status::{snapshot_of, wanted_resources};
use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use crate::shown::shown;
use crate::status::{Node, Resource, Severity, Status, Wanted, judge, risk};
use crate::ui::Ui;

/// Print one line for monitoring: the state, what is worst, and performance data. Exit codes are those of Nagios: 0 ok,
/// 1 warning, 2 critical, 3 unknown.
///
/// Seconds at risk beyond --warning-seconds are a warning, beyond --critical-seconds critical; so is what status calls
/// WARNING or CRITICAL, a node whose metadata store was set aside, until that is acknowledged, and a system clock that is
/// far off; that the cluster has removed this node is critical. What could not be asked is unknown.
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
    let (code, line) = match assess(ctx, args).await {
        Ok(status) => report(&status, args),
        Err(error) => return Err(unknown(&ctx.ui, error)),
    };
    ctx.ui.line(&line);
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
    let snapshot = snapshot_of(ctx).await?;
    let wanted = Wanted {
        resources: wanted_resources(&snapshot, &args.resource)?,
        target: Some(args.warning_seconds),
        window: Some(ctx.opts.window.as_secs()),
    };
    let status = judge(&snapshot, &wanted);
    ctx.ui.document("Status", &status)?;
    Ok(status)
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
    let alarmed = status.nodes.iter().find(|node| node.alarm.is_some());
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
            .max_by_key(|res| (grade(res, args), res.at_risk.weight()));
        let worst = worst.map_or(String::new(), |res| {
            let what = match res.problems.first() {
                Some(problem) => {
                    let host = problem
                        .host
                        .as_ref()
                        .map_or(String::new(), |host| format!("@{host}"));
                    format!(
                        "{}{host} {}: {}",
                        res.name,
                        problem.code.as_str(),
                        problem.reason
                    )
                }
                None => format!("{}: {} s at risk", res.name, risk(res.at_risk)),
            };
            format!("; {what}")
        });
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

/// The text with its performance data.
fn line(word: &str, text: &str, status: &Status, args: &Args) -> String {
    let summary = status.summary;
    let limits = format!("{};{};0", args.warning_seconds, args.critical_seconds);
    let mut perf = vec![
        format!("resources={};;;0", summary.resources),
        format!("ok={};;;0;{}", summary.ok, summary.resources),
    ];
    for res in &status.resources {
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
    let text = text.replace('|', "/");
    let line = format!("MARS {word} - {text} | {}", perf.join(" "));
    shown(&line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::parse;

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
}
