//! Texts from elsewhere, as people may see them: the one way in which everything here escapes what cannot be printed.

use std::borrow::Cow;

/// A text as a terminal or a message may get it. What would steer the terminal (control characters) or deceive its reader (marks
/// that turn writing around, invisible separators) is an escape: `\n`, `\r`, `\t`, else `\x1b` below U+0100, `\u{202e}` above.
///
/// Quotes and the backslash stay, so the escape of a text may be that of another one: it is for eyes, not for programs.
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

/// [`shown`], as a text of its own.
#[must_use]
pub fn escaped(text: &str) -> String {
    shown(text).into_owned()
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown() {
        assert_eq!(shown("a\x1b[31mb\u{9b}2J\x07"), "a\\x1b[31mb\\x9b2J\\x07");
        assert_eq!(shown("x\n\r\t\x7f\0"), "x\\n\\r\\t\\x7f\\x00");
        assert_eq!(escaped("safe\u{202e}exe"), "safe\\u{202e}exe");
        assert!(matches!(
            shown("gr\u{fc}n, 'it\"s' 100 % \\ ok"),
            Cow::Borrowed(_)
        ));
    }
}
