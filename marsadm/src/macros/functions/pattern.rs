//! Regular expressions, substitution and splitting.

use crate::limits::{MACRO_REGEX_MAX, MACRO_STEPS_MAX, MACRO_TEXT_MAX};
use crate::macros::dialect::{Flags, LAST_NEWLINE, marked, translate};
use crate::macros::machine::{Machine, Stop, die};
use regex::bytes::{Captures, Regex, RegexBuilder};
use std::ops::Range;

/// A pattern, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern with options as in Perl; `g` is the caller's matter.
    pub(crate) fn new(pattern: &str, options: &str) -> Result<Self, Stop> {
        let mut flags = Flags::default();
        for option in options.chars() {
            match option {
                'm' => flags.lines = true,
                's' => flags.dot_all = true,
                'i' => flags.fold = true,
                'x' => flags.loose = true,
                'g' | 'o' => {}
                other => return die(format!("`{other}` is no option of a pattern")),
            }
        }
        let wrong = |why: String| Stop::Die(format!("the pattern `{pattern}` is wrong: {why}"));
        let translated = translate(pattern, flags).map_err(wrong)?;
        let regex = RegexBuilder::new(&translated)
            .unicode(false)
            .line_terminator(LAST_NEWLINE)
            .size_limit(MACRO_REGEX_MAX)
            .build();
        let regex = regex.map_err(|error| match error {
            // The message would show what nobody wrote.
            regex::Error::CompiledTooBig(limit) => {
                wrong(format!("it needs more than {limit} bytes"))
            }
            _ => wrong("its groups or repetitions are too deep".to_owned()),
        })?;
        Ok(Self(regex))
    }

    /// Whether a text matches.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(&marked(text))
    }

    /// The first match from `at` on, which may be empty at `at` only if `empty` says so. An empty match within a character
    /// is none.
    fn next<'h>(
        &self,
        (text, marked): (&str, &'h [u8]),
        at: usize,
        empty: bool,
    ) -> Option<(Range<usize>, Captures<'h>)> {
        let mut from = at;
        while from <= marked.len() {
            let found = self.0.captures_at(marked, from)?;
            let range = found.get(0)?.range();
            let good = text.is_char_boundary(range.start) && (empty || range.start > at);
            if !range.is_empty() || good {
                return Some((range, found));
            }
            from = range.start + 1;
        }
        None
    }
}

/// Replaces the first match, or all of them.
pub(super) fn substitute(
    machine: &mut Machine<'_>,
    text: &str,
    pattern: &Pattern,
    by: &str,
    all: bool,
) -> Result<String, Stop> {
    let by = replacement(by);
    let marked = marked(text);
    let bytes = text.as_bytes();
    let mut out: Vec<u8> = Vec::new();
    // Behind a match that was not empty, the next one may be empty at once; behind an empty one not.
    let (mut at, mut empty) = (0, true);
    while let Some((range, found)) = pattern.next((text, &marked), at, empty) {
        out.extend(&bytes[at..range.start]);
        for piece in &by {
            match piece {
                Piece::Text(text) => out.extend(text.as_bytes()),
                Piece::Group(group) => {
                    let group = found.get(*group).map(|group| group.range());
                    out.extend(group.map_or(&[][..], |range| &bytes[range]));
                }
            }
            if out.len() > MACRO_TEXT_MAX {
                return die("the macro produces too much text");
            }
        }
        at = range.end;
        empty = !range.is_empty();
        if !all {
            break;
        }
    }
    out.extend(&bytes[at..]);
    machine.charge(out.len())?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// A part of what a match is replaced by.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(usize),
}

/// Reads a replacement in Perl's form: `$1`, `${1}`, `\1`, `$&`; a backslash before any other sign takes its meaning away.
fn replacement(text: &str) -> Vec<Piece> {
    let mut out = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (group, length) = match c {
            '$' | '\\' => group(&rest[1..], c == '$'),
            _ => None,
        }
        .map_or((None, 0), |(group, length)| (Some(group), length));
        rest = &rest[c.len_utf8()..];
        match group {
            Some(group) => {
                out.push(Piece::Text(std::mem::take(&mut plain)));
                out.push(Piece::Group(group));
                rest = &rest[length..];
            }
            None if c == '\\' => {
                let sign = rest.chars().next();
                let sign = sign.filter(|sign| !sign.is_ascii_alphanumeric());
                plain.push(sign.unwrap_or('\\'));
                rest = &rest[sign.map_or(0, char::len_utf8)..];
            }
            None => plain.push(c),
        }
    }
    out.push(Piece::Text(plain));
    out
}

/// The group that stands behind a dollar or backslash, and how many bytes tell of it.
fn group(text: &str, dollar: bool) -> Option<(usize, usize)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let plain = digits(text);
    if plain > 0 {
        return Some((text[..plain].parse().unwrap_or(usize::MAX), plain));
    }
    if !dollar {
        return None;
    }
    if text.starts_with('&') {
        return Some((0, 1));
    }
    let inner = text.strip_prefix('{')?;
    let length = digits(inner);
    let closed = length > 0 && inner[length..].starts_with('}');
    closed.then(|| {
        (
            inner[..length].parse().unwrap_or(usize::MAX),
            length + "{}".len(),
        )
    })
}

/// Splits by a pattern; a single blank stands for any run of white space. What groups of the pattern keep are parts, too.
/// Empty parts at the end go.
pub(super) fn split(
    machine: &mut Machine<'_>,
    text: &str,
    delim: &str,
) -> Result<Vec<String>, Stop> {
    machine.charge(text.len())?;
    let mut parts: Vec<String> = if delim == " " {
        text.split([' ', '\t', '\n', '\r', '\u{b}', '\u{c}'])
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    } else {
        // Alone, `^` means the beginning of each line.
        let options = if delim == "^" { "m" } else { "" };
        let pattern = machine.regex(delim, options, text.len())?;
        cut(text, &pattern)?
    };
    while parts.last().is_some_and(String::is_empty) {
        parts.pop();
    }
    Ok(parts)
}

fn cut(text: &str, pattern: &Pattern) -> Result<Vec<String>, Stop> {
    let marked = marked(text);
    let part = |range: Range<usize>| String::from_utf8_lossy(&text.as_bytes()[range]).into_owned();
    let mut parts = Vec::new();
    let mut at = 0;
    while at < text.len()
        && let Some((range, found)) = pattern.next((text, &marked), at, false)
    {
        parts.push(part(at..range.start));
        let groups = found.iter().skip(1);
        parts.extend(groups.map(|group| group.map_or_else(String::new, |g| part(g.range()))));
        at = range.end;
        if u64::try_from(parts.len()).unwrap_or(u64::MAX) > MACRO_STEPS_MAX {
            return die(format!("a text has more than {MACRO_STEPS_MAX} parts"));
        }
    }
    parts.push(part(at..text.len()));
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacements() {
        let group = Piece::Group;
        let text = |text: &str| Piece::Text(text.to_owned());
        for (written, pieces) in [
            ("a$1b", vec![text("a"), group(1), text("b")]),
            ("${12}3", vec![text(""), group(12), text("3")]),
            (
                "\\2$&",
                vec![text(""), group(2), text(""), group(0), text("")],
            ),
            ("\\$1\\\\\\/", vec![text("$1\\/")]),
            ("$a$\\n${x}", vec![text("$a$\\n${x}")]),
            ("\u{e4}\\\u{e4}\\", vec![text("\u{e4}\u{e4}\\")]),
        ] {
            assert_eq!(replacement(written), pieces, "{written}");
        }
    }
}
