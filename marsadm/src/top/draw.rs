//! Drawing: a pure function from what there is and what was chosen to a buffer of cells.

use super::{Mode, Screen, View};
use crate::shown::shown;
use crate::status::{
    Resource, Severity, Status, Style as TextStyle, ago, problem_lines, replica_line, risk,
    short_line,
};
use ratatui::Frame;
use ratatui::backend::TestBackend;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

const KEYS: &str = "[s]ort [/]filter [x]problems [Enter]detail [e]xplain [?]help [q]uit";

/// Draws one frame. With `colour` only, colours are used; they never say what letters do not.
pub fn draw(frame: &mut Frame<'_>, screen: &Screen, view: &View, colour: bool) {
    let area = frame.area();
    let lines = lines(screen, view, colour, usize::from(area.height));
    for (row, line) in (0..area.height).zip(lines) {
        let place = Rect {
            y: area.y + row,
            height: 1,
            ..area
        };
        frame.render_widget(Paragraph::new(line), place);
    }
}

/// One frame as text, without blanks at the ends of lines.
///
/// # Errors
/// If the system of the drawing library fails; the text says why.
pub fn frame_text(screen: &Screen, view: &View, width: u16, height: u16) -> Result<String, String> {
    let mut terminal = ratatui::Terminal::new(TestBackend::new(width, height))
        .map_err(|error| error.to_string())?;
    terminal
        .draw(|frame| draw(frame, screen, view, false))
        .map_err(|error| error.to_string())?;
    let buffer = terminal.backend().buffer();
    let mut out = String::new();
    for y in 0..height {
        let row: String = (0..width)
            .filter_map(|x| buffer.cell((x, y)))
            .map(|cell| cell.symbol())
            .collect();
        out.push_str(row.trim_end());
        out.push('\n');
    }
    Ok(out)
}

fn style(severity: Severity, colour: bool) -> Style {
    if !colour {
        return Style::new();
    }
    match severity {
        Severity::Ok => Style::new(),
        Severity::Info => Style::new().fg(Color::Cyan),
        Severity::Warning => Style::new().fg(Color::Yellow),
        Severity::Critical => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    }
}

fn lines(screen: &Screen, view: &View, colour: bool, height: usize) -> Vec<Line<'static>> {
    let Some(status) = &view.status else {
        let text = match &view.trouble {
            Some((why, _)) => format!("no state yet: {why}"),
            None => "asking ...".to_owned(),
        };
        return vec![Line::from(shown(&text).into_owned()), Line::from("[q]uit")];
    };
    let mut out = vec![head(status), second(status, view, colour), third(screen)];
    let room = height.saturating_sub(out.len());
    match screen.mode {
        Mode::List => out.extend(list(screen, status, colour, room)),
        Mode::Detail => out.extend(scrolled(screen, detail(screen, status, colour), room)),
        Mode::Explain => out.extend(scrolled(screen, causes(view), room)),
        Mode::Help => out.extend(help()),
    }
    out
}

fn head(status: &Status) -> Line<'static> {
    let nodes = || status.nodes.iter().filter(|node| !node.imported);
    let alive = nodes().filter(|node| node.alive || node.here).count();
    let cluster = status.cluster.as_deref().unwrap_or("no cluster yet");
    let text = format!(
        "{} | {cluster} | nodes {alive}/{} | resources {}",
        status.host,
        nodes().count(),
        status.summary.resources
    );
    Line::from(shown(&text).into_owned())
}

fn second(status: &Status, view: &View, colour: bool) -> Line<'static> {
    if let Some((why, seconds)) = &view.trouble {
        let text = format!("!! {} OLD: {why}", ago(*seconds));
        return Line::styled(shown(&text).into_owned(), style(Severity::Critical, colour));
    }
    let s = status.summary;
    let worst = s
        .worst_ok
        .map_or(String::new(), |secs| format!(" (at most {secs} s at risk)"));
    let plane = match (status.data_plane, status.data_plane_silent) {
        (true, _) => String::new(),
        (false, None) => "!! no data plane here; ".to_owned(),
        (false, Some(secs)) => format!("!! data plane here silent for {}; ", ago(secs)),
    };
    let text = format!(
        "{plane}critical {} | warning {} | in progress {} | ok {}{worst}",
        s.critical, s.warning, s.info, s.ok
    );
    Line::styled(text, style(status.severity, colour))
}

fn third(screen: &Screen) -> Line<'static> {
    if screen.typing {
        return Line::from(format!("filter: /{}_", screen.filter));
    }
    let filter = if screen.filter.is_empty() {
        String::new()
    } else {
        format!(" /{}", screen.filter)
    };
    let only = if screen.problems { " problems" } else { "" };
    Line::from(format!("{}{filter}{only}  {KEYS}", screen.sort.as_str()))
}

/// One character for ten hundredths of the target, at most eight.
fn bar(res: &Resource) -> String {
    let Some(seconds) = res.at_risk.seconds else {
        return "?".repeat(8);
    };
    let tenths = seconds.saturating_mul(4) / res.target.max(1);
    let full = usize::try_from(tenths.min(8)).unwrap_or(8);
    format!("{}{}", "#".repeat(full), ".".repeat(8 - full))
}

fn list(screen: &Screen, status: &Status, colour: bool, room: usize) -> Vec<Line<'static>> {
    let listed = screen.listed(status);
    let mut out = vec![Line::from(format!(
        "  {:<14} {:<9} {:>5} {:>8} {:<8} {:>8} {}",
        "RESOURCE", "ROLE", "GOOD", "AT RISK", "TARGET", "LOG FULL", "STATE"
    ))];
    let summaries = screen.summarized(status);
    if listed.is_empty() && summaries.is_empty() {
        let text = if status.resources.is_empty() && status.elsewhere.is_empty() {
            "  there is no resource"
        } else {
            "  no resource is like that"
        };
        out.push(Line::from(text));
        return out;
    }
    let chosen = screen.chosen(status).map(|res| res.name.clone());
    let at = listed
        .iter()
        .position(|res| Some(&res.name) == chosen.as_ref())
        .unwrap_or(0);
    let rows = room.saturating_sub(1).max(1);
    let first = at.saturating_sub(rows - 1);
    let rest = rows.saturating_sub(listed.len());
    for res in listed.into_iter().skip(first).take(rows) {
        let picked = Some(&res.name) == chosen.as_ref();
        let state = match res.problems.first() {
            Some(problem) => match &problem.host {
                Some(host) => format!("{} {host}", problem.code.as_str()),
                None => problem.code.as_str().to_owned(),
            },
            None => "ok".to_owned(),
        };
        let text = format!(
            "{} {:<14} {:<9} {:>5} {:>8} {:<8} {:>8} {state}",
            if picked { ">" } else { " " },
            res.name,
            res.role.strip_suffix("-primary").unwrap_or(res.role),
            format!("{}/{}", res.good, res.count),
            format!("{} s", risk(res.at_risk)),
            bar(res),
            res.log_full_in.map_or("-".to_owned(), ago),
        );
        let mut row = style(res.severity, colour);
        if picked && colour {
            row = row.add_modifier(Modifier::REVERSED);
        }
        out.push(Line::styled(shown(&text).into_owned(), row));
    }
    for res in summaries.into_iter().take(rest) {
        let text = format!("  {:<14} summary   {}", res.name, short_line(res));
        let severity = if res.well {
            Severity::Ok
        } else {
            Severity::Warning
        };
        out.push(Line::styled(
            shown(&text).into_owned(),
            style(severity, colour),
        ));
    }
    out
}

fn detail(screen: &Screen, status: &Status, colour: bool) -> Vec<Line<'static>> {
    let Some(res) = screen.chosen(status) else {
        return vec![Line::from("  nothing is chosen")];
    };
    let size = res
        .size
        .map_or("size not known".to_owned(), crate::size::human);
    let head = format!(
        "{}: {size}, {} of {} replicas good, {} s at risk, {} s allowed",
        res.name,
        res.good,
        res.count,
        risk(res.at_risk),
        res.target
    );
    let mut out = vec![Line::from(shown(&head).into_owned())];
    out.extend(
        res.replicas
            .iter()
            .map(|replica| Line::from(replica_line(replica))),
    );
    for problem in &res.problems {
        out.push(Line::from(""));
        let style = style(problem.severity, colour);
        let text = problem_lines(&res.name, problem, TextStyle::default());
        out.extend(text.into_iter().map(|line| Line::styled(line, style)));
    }
    out
}

fn causes(view: &View) -> Vec<Line<'static>> {
    match &view.explanation {
        Some(told) => crate::explain::lines(told)
            .into_iter()
            .map(Line::from)
            .collect(),
        None => vec![Line::from("  nothing tells more of it: choose another one")],
    }
}

fn scrolled(screen: &Screen, lines: Vec<Line<'static>>, room: usize) -> Vec<Line<'static>> {
    let most = lines.len().saturating_sub(room.max(1));
    lines.into_iter().skip(screen.scrolled.min(most)).collect()
}

fn help() -> Vec<Line<'static>> {
    [
        "up/down j/k   choose a resource, or scroll",
        "Enter         replicas and problems of the chosen resource",
        "e             why its replicas are as they are:  marsadm explain RES",
        "s             order: severity, risk, name",
        "/             only names that contain a text; Escape ends it",
        "x             only resources with problems:  marsadm status -x",
        "r             ask at once",
        "Escape        back",
        "q             end",
        "",
        "AT RISK: seconds of data that the worst secondary lacks; >= where it may be",
        "more because it was told too long ago, ? where no bound is known.",
        "Role outside: this host has no part in it; a member tells it, summary: not (yet).",
        "TARGET: #### is all that is allowed, ######## twice that or more.",
    ]
    .into_iter()
    .map(Line::from)
    .collect()
}
