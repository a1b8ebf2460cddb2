//! Regular expressions and splitting.

use crate::limits::MACRO_REGEX_MAX;
use crate::macros::machine::{Machine, Stop, die};
use regex::{Regex, RegexBuilder};

/// Compiles a pattern with options as in Perl; `g` is the caller's matter.
pub(crate) fn compile(pattern: &str, options: &str) -> Result<Regex, Stop> {
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(MACRO_REGEX_MAX);
    for option in options.chars() {
        match option {
            'm' => builder.multi_line(true),
            's' => builder.dot_matches_new_line(true),
            'i' => builder.case_insensitive(true),
            'x' => builder.ignore_whitespace(true),
            'g' | 'o' => &mut builder,
            other => return die(format!("`{other}` is no option of a pattern")),
        };
    }
    builder
        .build()
        .map_err(|error| Stop::Die(format!("the pattern `{pattern}` is wrong: {error}")))
}

/// Splits by a pattern; a single blank stands for any run of white space, any other single character for itself. Empty
/// parts at the end go.
pub(crate) fn split(
    machine: &mut Machine<'_>,
    text: &str,
    delim: &str,
) -> Result<Vec<String>, Stop> {
    machine.charge(text.len())?;
    let mut parts: Vec<String> = if delim == " " {
        text.split_whitespace().map(str::to_owned).collect()
    } else if delim.chars().count() == 1 {
        // As a pattern, `|` or `.` alone would be of no use.
        text.split(delim).map(str::to_owned).collect()
    } else if delim.is_empty() {
        text.chars().map(String::from).collect()
    } else {
        let pattern = machine.regex(delim, "m", text.len())?;
        pattern.split(text).map(str::to_owned).collect()
    };
    while parts.last().is_some_and(String::is_empty) {
        parts.pop();
    }
    Ok(parts)
}

/// A replacement in Perl's form (`$1`, `\1`) in that of the library.
pub(crate) fn replacement(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let digit = chars.peek().copied().filter(char::is_ascii_digit);
        match (c, digit) {
            ('$' | '\\', Some(_)) => {
                out.push_str("${");
                while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                    out.push(digit);
                }
                out.push('}');
            }
            ('$', None) if chars.peek() == Some(&'{') => out.push('$'),
            ('$', None) => out.push_str("$$"),
            _ => out.push(c),
        }
    }
    out
}
