//! The text of a unit while it is put together: what a template says stands as it is, what values say is held to rules
//! by which no value can become a line, a section, a directive, a command or an option.

use super::engine::is_keyword;
use super::places::{self, Own};
use crate::limits::UNIT_TEXT_MAX;
use std::ops::Range;

/// Directives whose value is free text: blanks are allowed in what is inserted.
const FREE_TEXT: [&str; 1] = ["Description"];

/// A word of a unit's text into which a value went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The directive that it belongs to.
    pub(crate) directive: String,
    /// The whole word.
    pub(crate) word: String,
    /// The line of the template where the directive begins, counted from 1.
    pub(crate) line: usize,
}

/// A unit's text so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    text: String,
    /// What may stand where other values may not.
    own: Own,
    /// The line that is being written, with those that it continues.
    logical: String,
    /// What of it values have brought.
    inserted: Vec<Range<usize>>,
    /// Words of earlier lines.
    chosen: Vec<Chosen>,
    /// The template's line that is at hand.
    line: usize,
}

impl Text {
    /// An empty text, in which these names and paths are known.
    pub(crate) fn of(own: Own) -> Self {
        Self {
            own,
            ..Self::default()
        }
    }

    /// What the template itself says.
    pub(crate) fn literal(&mut self, text: &str) -> Result<(), String> {
        for c in text.chars() {
            self.text.push(c);
            if c == '\n' {
                // An even number of them is escaped ones, and the line ends.
                let slashes = self.logical.chars().rev().take_while(|c| *c == '\\');
                if slashes.count() % 2 == 1 && !self.is_comment() {
                    self.logical.pop();
                    self.logical.push(' ');
                } else {
                    self.end_line()?;
                }
            } else {
                self.logical.push(c);
            }
        }
        self.check_size()
    }

    /// A value. `%` is doubled, as systemd expands it.
    pub(crate) fn insert(&mut self, value: &str) -> Result<(), String> {
        check_value(value)?;
        self.place(value)?;
        self.put(&value.replace('%', "%%"))
    }

    /// A value that was escaped for names of units.
    pub(crate) fn insert_escaped(&mut self, value: &str) -> Result<(), String> {
        // As the name of a unit: systemd undoes the escapes in commands, and nowhere else.
        self.place(value)?;
        self.put(value)
    }

    fn put(&mut self, value: &str) -> Result<(), String> {
        let begin = self.logical.len();
        self.text.push_str(value);
        self.logical.push_str(value);
        if !value.is_empty() {
            self.inserted.push(begin..self.logical.len());
        }
        self.check_size()
    }

    /// Says from which line of the template the next piece is.
    pub(crate) fn at(&mut self, line: usize) {
        self.line = line;
    }

    /// The whole text, and the words of directives that values have a part in.
    pub(crate) fn finish(mut self) -> Result<(String, Vec<Chosen>), String> {
        self.end_line()?;
        Ok((self.text, self.chosen))
    }

    fn end_line(&mut self) -> Result<(), String> {
        let is_comment = self.is_comment();
        let inserted = std::mem::take(&mut self.inserted);
        let logical = std::mem::take(&mut self.logical);
        if is_comment && !inserted.is_empty() && logical.strip_prefix("# ").is_some_and(is_keyword)
        {
            return Err(format!("a value would make the marker '{logical}'"));
        }
        let Some((directive, value)) = logical.split_once('=').filter(|_| !is_comment) else {
            return Ok(());
        };
        let mut from = logical.len() - value.len();
        for word in value.split(char::is_whitespace) {
            let to = from + word.len();
            if inserted
                .iter()
                .any(|part| part.start < to && from < part.end)
            {
                self.chosen.push(Chosen {
                    directive: directive.trim().to_owned(),
                    word: word.to_owned(),
                    line: self.line,
                });
            }
            // Blanks of any kind have one byte each here, or more in a value, which has none outside of free text.
            from = to
                + value[to - (logical.len() - value.len())..]
                    .chars()
                    .next()
                    .map_or(0, char::len_utf8);
        }
        Ok(())
    }

    fn is_comment(&self) -> bool {
        self.logical.trim_start().starts_with(['#', ';'])
    }

    fn check_size(&self) -> Result<(), String> {
        if self.text.len() > UNIT_TEXT_MAX {
            return Err(format!("the unit has more than {UNIT_TEXT_MAX} bytes"));
        }
        Ok(())
    }

    /// Whether a value may stand here.
    fn place(&self, value: &str) -> Result<(), String> {
        if self.is_comment() {
            return Ok(());
        }
        let Some((directive, before)) = self.logical.split_once('=') else {
            // A line that only computes variables.
            if value.is_empty() {
                return Ok(());
            }
            return Err(
                "a value stands before any =, where it would choose a section or a directive"
                    .to_owned(),
            );
        };
        let directive = directive.trim();
        if FREE_TEXT.contains(&directive) {
            return Ok(());
        }
        if value.chars().any(char::is_whitespace) {
            return Err(format!(
                "the value '{}' has blanks, and {directive}= would take it for several words",
                mars_meta_model::escaped(value)
            ));
        }
        places::check(&self.own, directive, before, value)
    }
}

/// The value without its `\xNN`.
fn without_escapes(value: &str) -> String {
    let mut parts = value.split("\\x");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..2) {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
                // Not nothing, so that what stands around does not come together.
                out.push('x');
                out.push_str(&part[2..]);
            }
            _ => {
                out.push('\\');
                out.push_str(part);
            }
        }
    }
    out
}

/// What no value may contain, wherever it stands.
fn check_value(given: &str) -> Result<(), String> {
    let odd = |c: char| {
        c.is_control() || "\"'`\\;$".contains(c) || matches!(c, '\u{2028}' | '\u{2029}' | '\u{85}')
    };
    // What names of units contain in place of other characters.
    let value = without_escapes(given);
    if let Some(c) = value.chars().find(|c| odd(*c)) {
        return Err(format!(
            "the value '{}' contains '{}', which systemd could take for more than text",
            mars_meta_model::escaped(given),
            mars_meta_model::escaped(&c.to_string())
        ));
    }
    if value.split('/').any(|part| part == "..") {
        return Err(format!("the value '{value}' leads out of a folder by .."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(before: &str, value: &str) -> Result<String, String> {
        let mut text = Text::default();
        text.literal(before)?;
        text.insert(value)?;
        Ok(text.finish()?.0)
    }

    #[test]
    fn values_stand_where_they_do_no_harm() {
        for (before, value, result) in [
            ("[Mount]\nWhat=/dev/", "r", "[Mount]\nWhat=/dev/r"),
            ("Description=", "a b 100%", "Description=a b 100%%"),
            ("ExecStart=/bin/x ", "r", "ExecStart=/bin/x r"),
            ("ExecStart=/bin/x --res=", "-r", "ExecStart=/bin/x --res=-r"),
            ("ExecStart=/bin/x \\\n  ", "r", "ExecStart=/bin/x \\\n  r"),
            ("# ", "a b", "# a b"),
            ("After=", "a\\x2db", "After=a\\x2db"),
            ("\n", "", "\n"),
        ] {
            assert_eq!(with(before, value).unwrap(), result);
        }
    }

    #[test]
    fn hostile_values_are_refused_by_name() {
        for (before, value, why) in [
            ("What=", "x\nExecStart=/bin/sh", "contains '\\n'"),
            ("What=", "x\rExecStart=/bin/sh", "contains '\\r'"),
            ("# ", "x\nExecStart=/bin/sh", "contains '\\n'"),
            ("What=", "x\u{0}", "contains"),
            ("What=", "x\\", "contains '\\'"),
            ("What=", "\"", "contains"),
            ("What=", "/a/../../etc", "leads out"),
            ("What=", "a b", "several words"),
            ("", "[Service]", "before any ="),
            ("", "ExecStart=/bin/sh", "before any ="),
            ("Exec", "Start=/bin/sh", "before any ="),
            ("ExecStart=", "/bin/sh", "choose the program"),
            ("ExecStart=-", "/bin/sh", "choose the program"),
            ("ExecStart=/bin/", "sh", "choose the program"),
            ("ExecStart=\\\n", "sh", "choose the program"),
            ("ExecStart=/bin/x ", "-rf", "would be an option"),
            ("ExecStart=/bin/x ", "", "is empty"),
            ("ExecStart=/bin/x ", ";", "contains"),
            ("ExecStart=/bin/x ", "$HOME", "contains"),
            ("ExecStart=/bin/x ", "\\x2e\\x2e", "another character"),
            ("What=", "\\x2", "contains '\\'"),
            ("What=", "\\n", "contains '\\'"),
            ("ExecStartPre=/bin/x ", "a b", "several words"),
        ] {
            let error = with(before, value).unwrap_err();
            assert!(error.contains(why), "{before:?} {value:?}: {error}");
        }
    }

    #[test]
    fn words_that_values_have_a_part_in_are_known() {
        let mut text = Text::default();
        for (line, literal, value) in [
            (1, "[Unit]\n# Wants=", "a"),
            (2, "\nRequires = x.service \\\n y-", "b"),
            (3, ".service z.service ", "c.mount"),
            (4, "\nAfter=d.service\nWants=", ""),
            (5, "e.service\nDescription=f ", "g h"),
        ] {
            text.at(line);
            text.literal(literal).unwrap();
            text.insert(value).unwrap();
        }
        let (_, chosen) = text.finish().unwrap();
        let words: Vec<(&str, &str)> = chosen
            .iter()
            .map(|c| (c.directive.as_str(), c.word.as_str()))
            .collect();
        let wanted = [
            ("Requires", "y-b.service"),
            ("Requires", "c.mount"),
            ("Description", "g"),
            ("Description", "h"),
        ];
        assert_eq!(words, wanted);
    }

    const TEMPLATE: [&str; 6] = [
        "[Unit]\nDescription=of ",
        "\n# note ",
        "\nAfter=x-",
        ".service\n[Service]\nExecStart=/bin/true --for=",
        " ",
        "\nWorkingDirectory=/srv/",
    ];

    proptest! {
        /// Whatever the values are: the unit is refused, or has the template's lines, each with the template's
        /// beginning, and as many words in its commands.
        #[test]
        fn no_value_makes_a_line_a_section_or_a_command(
            values in proptest::collection::vec("\\PC*|(?s).*|(\\n|=|\\[|\\]|Exec|Start|\\\\|%|-| |a)*", 6)
        ) {
            let mut text = Text::default();
            for (literal, value) in TEMPLATE.iter().zip(&values) {
                text.literal(literal).unwrap();
                // What is refused left nothing behind.
                if text.insert(value).is_err() {
                    text.insert("a").unwrap();
                }
            }
            let (unit, _) = text.finish().unwrap();
            let lines: Vec<&str> = unit.lines().collect();
            let begin = [
                "[Unit]", "Description=of ", "# note ", "After=x-", "[Service]",
                "ExecStart=/bin/true --for=", "WorkingDirectory=/srv/",
            ];
            prop_assert_eq!(lines.len(), begin.len(), "{}", &unit);
            for (line, begin) in lines.iter().zip(begin) {
                prop_assert!(line.starts_with(begin), "{}", &unit);
                prop_assert!(!line.ends_with('\\'), "{}", &unit);
            }
            prop_assert_eq!(unit.matches("\nExecStart=").count(), 1);
            prop_assert_eq!(lines[5].split_whitespace().count(), 3, "{}", &unit);
            prop_assert_eq!(unit.split('\n').filter(|line| line.starts_with('[')).count(), 2);
        }
    }
}
