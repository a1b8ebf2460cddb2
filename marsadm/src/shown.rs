//! Texts from elsewhere on their way to a terminal.

use std::borrow::Cow;

/// A text as a terminal may get it. What would steer the terminal (control characters) or deceive its reader (marks
/// that turn writing around, invisible separators) is shown as an escape: `\x1b`, `\n`, `\u{202e}`.
///
/// The backslash itself stays, so the escape of a text may be that of another one: it is for eyes, not for programs.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.extend(c.escape_default()),
            c if steers(c) && u32::from(c) < 0x100 => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c if steers(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::Ui;

    #[test]
    fn what_steers_a_terminal_is_shown() {
        assert_eq!(shown("a\x1b[31mb\u{9b}2J\x07"), "a\\x1b[31mb\\x9b2J\\x07");
        assert_eq!(shown("x\n\r\t\x7f"), "x\\n\\r\\t\\x7f");
        assert_eq!(shown("safe\u{202e}exe"), "safe\\u{202e}exe");
        assert!(matches!(shown("gr\u{fc}n, 100 % \\ ok"), Cow::Borrowed(_)));
    }

    #[test]
    fn messages_never_steer_a_terminal() {
        let (ui, out) = Ui::captured();
        ui.note("a\x1b]0;x\x07\nb");
        ui.error(
            "marsadm",
            &crate::error::Error::refused("c\x1b[2J").hint("d\u{9b}"),
        );
        ui.detail("e\x07");
        let said = out.stderr();
        assert_eq!(said.matches('\n').count(), 4, "{said:?}");
        assert!(
            !said.replace('\n', "").chars().any(char::is_control),
            "{said:?}"
        );
        let (ui, out) = Ui::captured_terminal();
        ui.line("one\x1b[2J\ttwo\nthree");
        assert_eq!(out.stdout(), "one\\x1b[2J\ttwo\nthree\n");
        let (ui, out) = Ui::captured();
        ui.line("one\x1b[2J");
        assert_eq!(out.stdout(), "one\x1b[2J\n");
    }

    #[test]
    fn only_terminals_get_escapes() {
        let (ui, out) = Ui::captured();
        ui.value(b"a\x1b[0m\xff");
        assert_eq!(out.out.lock().unwrap().as_slice(), b"a\x1b[0m\xff\n");
        let (ui, out) = Ui::captured_terminal();
        ui.value(b"a\x1b[0m\xff");
        assert_eq!(out.stdout(), "a\\x1b[0m\u{fffd}\n");
    }
}
