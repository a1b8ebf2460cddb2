//! The text form of a status. ASCII only; colour only adds.

use super::elsewhere::{level_line, lines as elsewhere_lines};
use super::{Node, Problem, Replica, Resource, Seconds, Severity, Status};
use crate::shown::shown;
use crate::size::human;

/// How texts may be decorated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether colours are used.
    pub colour: bool,
    /// Whether healthy resources are listed one by one too, with the replicas of all.
    pub all: bool,
}

/// Seconds as people read them: `5s`, `4m10s`, `9h20m`, `3d04h`.
#[must_use]
pub fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Seconds at risk: `3`, `>=312`, or `?` where no bound is known.
#[must_use]
pub fn risk(seconds: Seconds) -> String {
    match seconds {
        Seconds { seconds: None, .. } => "?".to_owned(),
        Seconds {
            seconds: Some(seconds),
            at_least: true,
        } => format!(">={seconds}"),
        Seconds {
            seconds: Some(seconds),
            at_least: false,
        } => seconds.to_string(),
    }
}

fn age(seconds: Seconds) -> String {
    match (seconds.seconds, seconds.at_least) {
        (None, _) => "never".to_owned(),
        (Some(seconds), true) => format!(">={}", ago(seconds)),
        (Some(seconds), false) => ago(seconds),
    }
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "OK",
        Severity::Info => "INFO",
        Severity::Warning => "WARNING",
        Severity::Critical => "CRITICAL",
    }
}

/// A sign that says the same as the colour.
const fn sign(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok | Severity::Info => ".",
        Severity::Warning => "!",
        Severity::Critical => "!!",
    }
}

fn paint(style: Style, severity: Severity, text: &str) -> String {
    let colour = match severity {
        Severity::Ok => "32",
        Severity::Info => "36",
        Severity::Warning => "33",
        Severity::Critical => "31;1",
    };
    if style.colour {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The whole status in lines.
#[must_use]
pub fn lines(status: &Status, style: Style) -> Vec<String> {
    let mut out = vec![head(status)];
    let runs = status.data_plane && status.data_plane_silent.is_none();
    if !runs && !status.resources.is_empty() {
        let what = match status.data_plane_silent {
            Some(secs) => format!("gives no sign of life here for {}", ago(secs)),
            None => "does not run here".to_owned(),
        };
        let text = format!("the data plane {what}: what is told of this host is the past");
        out.push(paint(style, Severity::Warning, &text));
    }
    for node in status.nodes.iter().filter(|node| {
        let silent = !(node.alive || node.here || node.imported);
        style.all || node.alarm.is_some() || node.clock.is_some() || silent
    }) {
        out.push(node_line(node));
        if let Some(alarm) = &node.alarm {
            let bad = node.alarm_severity().unwrap_or(Severity::Warning);
            let why = format!("  {} {}: {alarm}", sign(bad), node.host);
            out.push(paint(style, bad, &shown(&why)));
            out.push(shown(&format!("    next  {}", node.acknowledgement())).into_owned());
        }
        if let Some(clock) = &node.clock {
            let why = format!(
                "  {} {} {}: {}",
                sign(clock.severity),
                clock.code.as_str(),
                node.host,
                clock.reason
            );
            out.push(paint(style, clock.severity, &shown(&why)));
            out.push(shown(&format!("    next  {}", clock.next)).into_owned());
        }
    }
    out.extend(status.feature_level.as_ref().and_then(level_line));
    out.push(verdict(status, style));
    out.extend(elsewhere_lines(&status.elsewhere, style.all));
    let listed: Vec<&Resource> = status
        .resources
        .iter()
        .filter(|res| style.all || res.severity > Severity::Ok)
        .collect();
    if !listed.is_empty() {
        out.push(String::new());
        out.extend(table(&listed, style));
    }
    for res in listed {
        if style.all {
            out.push(String::new());
            out.push(shown(&format!("{}:", res.name)).into_owned());
            out.extend(res.replicas.iter().map(replica_line));
        }
        for problem in &res.problems {
            out.push(String::new());
            out.extend(problem_lines(&res.name, problem, style));
        }
    }
    out
}

fn head(status: &Status) -> String {
    let cluster = match &status.cluster {
        Some(cluster) => format!("cluster {cluster}"),
        None => "no cluster yet (create-cluster or join-cluster)".to_owned(),
    };
    let (imported, nodes): (Vec<&Node>, Vec<&Node>) =
        status.nodes.iter().partition(|node| node.imported);
    let alive = nodes.iter().filter(|node| node.alive || node.here).count();
    let mut nodes = format!("{alive}/{} nodes heard of", nodes.len());
    if !imported.is_empty() {
        let hosts: Vec<&str> = imported.iter().map(|node| node.host.as_str()).collect();
        nodes.push_str(&format!(", of the imported tree: {}", hosts.join(" ")));
    }
    shown(&format!("{cluster}, seen from {}, {nodes}", status.host)).into_owned()
}

fn verdict(status: &Status, style: Style) -> String {
    let summary = status.summary;
    let ok = plural(summary.ok, "resource ok", "resources ok");
    let worst = summary.worst_ok.filter(|_| summary.ok > 0);
    let worst = worst.map_or(String::new(), |secs| format!(", at most {secs} s at risk"));
    if status.severity == Severity::Ok {
        return paint(style, Severity::Ok, &format!("OK  {ok}{worst}"));
    }
    let bad = summary.resources - summary.ok;
    if bad == 0 {
        let what = if status.nodes.iter().any(|node| node.alarm.is_some()) {
            "a node reports an alarm"
        } else {
            "a system clock is wrong"
        };
        let text = format!("{}  {what}; {ok}{worst}", word(status.severity));
        return paint(style, status.severity, &text);
    }
    let verb = if bad == 1 { "needs" } else { "need" };
    let verdict = format!(
        "{}  {bad} of {} {verb} attention; {ok}{worst}",
        word(status.severity),
        plural(summary.resources, "resource", "resources")
    );
    paint(style, status.severity, &verdict)
}

fn node_line(node: &Node) -> String {
    let address = node.address.as_deref().unwrap_or("no address");
    let state = match (node.here, node.alive) {
        (true, _) => "this node".to_owned(),
        _ if node.imported => "of the imported tree, no node of this cluster".to_owned(),
        (false, true) if node.by_others => {
            format!(
                "alive, heard at most {} ago, by way of others",
                age(node.age)
            )
        }
        (false, true) => format!("alive, heard {} ago", age(node.age)),
        (false, false) if node.age.seconds.is_none() => "SILENT, never heard of here".to_owned(),
        (false, false) => format!("SILENT, heard {} ago", age(node.age)),
    };
    let rtt = node.rtt_us.map_or(String::new(), |us| {
        format!(", rtt {}.{:03} ms", us / 1000, us % 1000)
    });
    let error = node
        .error
        .as_ref()
        .map_or(String::new(), |error| format!(" ({error})"));
    shown(&format!(
        "  node {:<12} {address:<15} {state}{rtt}{error}",
        node.host
    ))
    .into_owned()
}

fn table(resources: &[&Resource], style: Style) -> Vec<String> {
    let mut rows = vec![[
        "RESOURCE".to_owned(),
        "ROLE".to_owned(),
        "GOOD".to_owned(),
        "AT RISK".to_owned(),
        "LOG FULL".to_owned(),
        "STATE".to_owned(),
    ]];
    for res in resources {
        let state = match res.problems.first() {
            Some(problem) => problem.code.as_str().to_owned(),
            None => "ok".to_owned(),
        };
        rows.push([
            shown(&res.name).into_owned(),
            res.role.to_owned(),
            format!("{}/{}", res.good, res.count),
            format!("{} s / {} s", risk(res.at_risk), res.target),
            res.log_full_in
                .map_or("-".to_owned(), |secs| format!("in {}", ago(secs))),
            state,
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..6).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        let line = line.trim_end().to_owned();
        out.push(match i.checked_sub(1).and_then(|i| resources.get(i)) {
            Some(res) => paint(style, res.severity, &line),
            None => line,
        });
    }
    out
}

/// A replica in one line.
#[must_use]
pub fn replica_line(replica: &Replica) -> String {
    let at_risk = replica
        .at_risk
        .map_or("source".to_owned(), |at| format!("{} s at risk", risk(at)));
    let mut parts = vec![at_risk];
    for (bytes, what) in [
        (replica.to_sync, "to copy"),
        (replica.to_fetch, "to fetch"),
        (replica.to_replay, "to replay"),
    ] {
        if bytes > 0 {
            parts.push(format!("{} {what}", human(bytes)));
        }
    }
    if let Some(secs) = replica.done_in {
        parts.push(format!("done in {}", ago(secs)));
    }
    if replica.age != Seconds::exact(0) {
        parts.push(format!("told {} ago", age(replica.age)));
    }
    let line = format!(
        "  {:<12} {:<16} {:<13} {}",
        replica.host,
        replica.role,
        replica.state,
        parts.join(", ")
    );
    shown(&line).into_owned()
}

/// A problem in lines: code, why, what to do.
#[must_use]
pub fn problem_lines(res: &str, problem: &Problem, style: Style) -> Vec<String> {
    let about = match &problem.host {
        Some(host) => format!("{res}@{host}"),
        None => res.to_owned(),
    };
    let since = problem
        .since
        .map_or(String::new(), |secs| format!("  since {}", ago(secs)));
    let head = format!(
        "{} {} {about}{since}",
        sign(problem.severity),
        problem.code.as_str()
    );
    vec![
        paint(style, problem.severity, &shown(&head)),
        shown(&format!("  why   {}", problem.reason)).into_owned(),
        shown(&format!("  next  {}", problem.next)).into_owned(),
    ]
}
