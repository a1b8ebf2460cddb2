//! Frames of the screen, from recorded states.

use super::*;
use crate::macros::load;
use crate::snapshot::Snapshot;
use crate::status::{Elsewhere, Severity, Summarized, Wanted, judge};
use std::path::Path;

fn golden(case: &str) -> Snapshot {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
    load(&folder.join(format!("{case}.snapshot.jsonl"))).unwrap()
}

/// Three resources: one well, one behind, one split.
fn view() -> View {
    let strict = Wanted {
        target: Some(5),
        ..Wanted::default()
    };
    let mut status = judge(&golden("lagging.hostb"), &strict);
    let mut split = judge(&golden("split-brain.hostb"), &Wanted::default()).resources;
    let mut well = judge(&golden("healthy.hostb"), &Wanted::default()).resources;
    well[0].name = "calm".to_owned();
    split[0].name = "torn".to_owned();
    status.resources.insert(0, split.remove(0));
    status.resources.push(well.remove(0));
    View {
        status: Some(status),
        ..View::default()
    }
}

fn shown(screen: &Screen, view: &View) -> String {
    frame_text(screen, view, 80, 24).unwrap()
}

fn rows(text: &str) -> Vec<String> {
    let names = text.lines().skip(4).filter_map(|line| {
        let name = line.trim_start_matches(['>', ' ']).split(' ').next()?;
        (!name.is_empty()).then(|| name.to_owned())
    });
    names.collect()
}

#[test]
fn the_list_fits_a_small_terminal() {
    let text = shown(&Screen::default(), &view());
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    assert_eq!(rows(&text), ["torn", "mydata", "calm"]);
    let first = text.lines().nth(4).unwrap();
    assert!(
        first.starts_with("> torn") && first.contains("SPLIT_BRAIN"),
        "{text}"
    );
    assert!(text.contains("[q]uit"));
}

#[test]
fn keys_sort_filter_choose_and_open() {
    let view = view();
    let status = view.status.as_ref();
    let mut screen = Screen::default();
    screen.press(Press::Char('s'), status);
    screen.press(Press::Char('s'), status);
    assert_eq!(screen.sort, Sort::Name);
    assert_eq!(rows(&shown(&screen, &view)), ["calm", "mydata", "torn"]);
    screen.press(Press::Char('x'), status);
    assert_eq!(rows(&shown(&screen, &view)), ["mydata", "torn"]);
    screen.press(Press::Char('x'), status);
    for press in "/to".chars().map(Press::Char) {
        assert_eq!(screen.press(press, status), Act::Draw);
    }
    assert!(shown(&screen, &view).contains("filter: /to_"));
    screen.press(Press::Char('q'), status);
    screen.press(Press::Backspace, status);
    screen.press(Press::Enter, status);
    assert_eq!((screen.filter.as_str(), screen.typing), ("to", false));
    assert_eq!(rows(&shown(&screen, &view)), ["torn"]);
    screen.press(Press::Char('/'), status);
    screen.press(Press::Escape, status);
    assert_eq!(screen.filter, "");
    screen.press(Press::Down, status);
    screen.press(Press::Char('j'), status);
    screen.press(Press::Down, status);
    assert_eq!(
        screen.chosen.as_deref(),
        Some("torn"),
        "the last one stays chosen"
    );
    screen.press(Press::Up, status);
    screen.press(Press::Enter, status);
    let text = shown(&screen, &view);
    assert!(
        text.contains("mydata: ") && text.contains("hostb"),
        "{text}"
    );
    assert_eq!(screen.press(Press::Char('e'), status), Act::Refresh);
    assert_eq!(screen.press(Press::Escape, status), Act::Draw);
    assert_eq!(screen.press(Press::Char('q'), status), Act::Quit);
    assert_eq!(screen.press(Press::Escape, status), Act::Quit);
}

#[test]
fn causes_scroll_and_help_is_there() {
    let snapshot = golden("lagging.hostb");
    let mut view = view();
    view.explanation =
        Some(crate::explain::explain(&snapshot, &Wanted::default(), "mydata", None).unwrap());
    let mut screen = Screen {
        mode: Mode::Explain,
        ..Screen::default()
    };
    let top = shown(&screen, &view);
    assert!(top.contains("does the host run?"), "{top}");
    for _ in 0..500 {
        screen.press(Press::Down, None);
    }
    let end = shown(&screen, &view);
    assert!(
        end.contains("could it take over now?") && !end.contains("does the host run?"),
        "{end}"
    );
    screen.press(Press::Char('?'), None);
    assert!(shown(&screen, &view).contains("marsadm status -x"));
}

#[test]
fn trouble_is_told_over_what_is_old() {
    let mut view = view();
    view.trouble = Some(("marsd does not answer".to_owned(), 75));
    let text = shown(&Screen::default(), &view);
    assert!(
        text.contains("!! 1m15s OLD: marsd does not answer"),
        "{text}"
    );
    assert!(text.contains("torn"));
    let nothing = View {
        trouble: view.trouble.clone(),
        ..View::default()
    };
    assert!(shown(&Screen::default(), &nothing).contains("no state yet: marsd"));
    for (width, height) in [(1, 1), (10, 2), (200, 3)] {
        frame_text(&Screen::default(), &view, width, height).unwrap();
    }
}

#[test]
fn colours_say_nothing_that_letters_do_not() {
    let view = view();
    let plain = shown(&Screen::default(), &view);
    let mut terminal = ratatui::Terminal::new(ratatui::backend::TestBackend::new(80, 24)).unwrap();
    terminal
        .draw(|frame| draw(frame, &Screen::default(), &view, true))
        .unwrap();
    let buffer = terminal.backend().buffer().clone();
    let text: Vec<String> = (0..24)
        .map(|y| {
            let row: String = (0..80)
                .map(|x| buffer[(x, y)].symbol().to_owned())
                .collect();
            row.trim_end().to_owned()
        })
        .collect();
    assert_eq!(text.join("\n") + "\n", plain);
    assert_ne!(buffer[(2, 4)].style().fg, buffer[(2, 6)].style().fg);
    assert_eq!(view.status.unwrap().severity, Severity::Warning);
}

#[test]
fn resources_elsewhere_are_listed_and_watched_within_bounds() {
    let elsewhere = |name: &str, well| Elsewhere {
        name: name.to_owned(),
        well,
        replicas: vec![Summarized {
            host: "hostx".to_owned(),
            data_plane: Some(true),
            role: Some("primary"),
            disk: Some("consistent"),
            replay: Some(if well { "logging" } else { "emergency" }),
            since: Some(60),
            codes: Vec::new(),
            age: crate::status::Seconds::exact(1),
        }],
    };
    let mut view = view();
    let status = view.status.as_mut().unwrap();
    status.elsewhere = (0..20)
        .map(|at| elsewhere(&format!("far-{at:02}"), at != 17))
        .collect();
    // One that a member tells.
    let mut told = status.resources[2].clone();
    (told.name, told.role) = ("near".to_owned(), "outside");
    status.resources.push(told);
    let status = status.clone();
    let mut screen = Screen::default();
    let watched = screen.watched(&status, 8);
    assert_eq!(watched.len(), 8);
    assert!(
        watched.contains("near") && watched.contains("far-17"),
        "{watched:?}"
    );
    let text = shown(&screen, &view);
    assert!(
        text.contains("far-00") && text.contains("primary consistent logging"),
        "{text}"
    );
    assert!(text.lines().count() <= 24, "{text}");
    screen.filter = "far-03".to_owned();
    let only: Vec<String> = screen.watched(&status, 8).into_iter().collect();
    assert_eq!(only, ["far-03"]);
    screen.filter.clear();
    screen.problems = true;
    let text = shown(&screen, &view);
    assert!(
        text.contains("far-17") && !text.contains("far-00"),
        "{text}"
    );
}
