//! The terminal: colours, and one line on stderr that is refreshed while something is waited for.

use crate::limits::{STATUS_COLUMNS, STATUS_INTERVAL};
use std::io::Write as _;
use std::time::Instant;

/// Whether a stream may have colours.
#[must_use]
pub fn colors(is_terminal: bool) -> bool {
    let unset = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    is_terminal && unset && moves_cursor()
}

/// Whether the terminal understands more than lines.
fn moves_cursor() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// A line on stderr that is refreshed. Only for terminals.
#[derive(Debug, Default)]
pub struct StatusLine {
    shown: Option<Instant>,
}

impl StatusLine {
    /// Shows `text` in place of what is there; not more often than the eye can follow.
    pub fn show(&mut self, text: &str) {
        if !moves_cursor() || self.shown.is_some_and(|at| at.elapsed() < STATUS_INTERVAL) {
            return;
        }
        let line = fitting(text, columns());
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K{line}");
        self.shown = Some(Instant::now());
    }

    /// Takes the line away before something else is printed.
    pub fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn columns() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
        .unwrap_or(STATUS_COLUMNS)
}

/// As much of a text as stands in one line, without anything that moves the cursor.
fn fitting(text: &str, columns: usize) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let room = columns.saturating_sub(1);
    if text.chars().count() <= room {
        return plain.collect();
    }
    let cut: String = plain.take(room.saturating_sub(3)).collect();
    format!("{cut}...")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_never_needs_a_second_line() {
        assert_eq!(fitting("short", 80), "short");
        assert_eq!(fitting("0123456789", 9), "01234...");
        assert_eq!(fitting("a\nb\x1b[H", 80), "a b [H");
        assert_eq!(fitting("abc", 0), "...");
    }
}
