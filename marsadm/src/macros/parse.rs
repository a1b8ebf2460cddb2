//! The macro language's syntax: text with calls `%name{argument}{argument}...`.

use crate::limits::MACRO_BRACES_MAX;

/// A piece of a macro's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// Text as it is printed.
    Text(String),
    /// A call; the arguments are not yet read.
    Call {
        /// Name; empty for a variable.
        name: String,
        /// The texts between the braces.
        args: Vec<String>,
    },
}

/// Reads a text. `warn` is told of what has no meaning.
///
/// # Errors
/// What is wrong with the braces.
pub(crate) fn parse(text: &str, warn: &mut dyn FnMut(String)) -> Result<Vec<Node>, String> {
    let chars: Vec<char> = text.chars().collect();
    let mut nodes = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while let Some(c) = chars.get(at) {
        match c {
            '\\' => {
                let next = chars.get(at + 1).copied();
                plain.push(escape(next, warn));
                at += if next.is_some() { 2 } else { 1 };
            }
            '%' => match call(&chars, at)? {
                Some((name, args, end)) => {
                    if !plain.is_empty() {
                        nodes.push(Node::Text(std::mem::take(&mut plain)));
                    }
                    nodes.push(Node::Call { name, args });
                    at = end;
                }
                None => {
                    plain.push('%');
                    at += 1;
                }
            },
            _ => {
                plain.push(*c);
                at += 1;
            }
        }
    }
    if !plain.is_empty() {
        nodes.push(Node::Text(plain));
    }
    Ok(nodes)
}

fn escape(c: Option<char>, warn: &mut dyn FnMut(String)) -> char {
    match c {
        Some('n') => '\n',
        Some('t') => '\t',
        Some('r') => '\r',
        Some('f') => '\u{c}',
        Some('b') => '\u{8}',
        Some('a') => '\u{7}',
        Some('e') => '\u{1b}',
        Some(c) if c.is_ascii_alphabetic() => {
            warn(format!("the escape \\{c} is reserved"));
            c
        }
        Some(c) => c,
        None => '\\',
    }
}

type Call = (String, Vec<String>, usize);

/// The call that begins at the `%` at `start`, and where it ends; none if no brace group follows the name.
fn call(chars: &[char], start: usize) -> Result<Option<Call>, String> {
    let mut at = start + 1;
    while chars
        .get(at)
        .is_some_and(|c| !c.is_whitespace() && !"\\{}[]()".contains(*c))
    {
        at += 1;
    }
    if chars.get(at) != Some(&'{') {
        return Ok(None);
    }
    let name: String = chars[start + 1..at].iter().collect();
    let mut args = Vec::new();
    while chars.get(at) == Some(&'{') {
        let end =
            group(chars, at).map_err(|why| format!("in the arguments of `%{name}`: {why}"))?;
        args.push(chars[at + 1..end].iter().collect());
        at = end + 1;
    }
    Ok(Some((name, args, at)))
}

/// Where the brace group that opens at `start` closes.
fn group(chars: &[char], start: usize) -> Result<usize, String> {
    let mut depth = 0;
    let mut at = start;
    while let Some(c) = chars.get(at) {
        match c {
            '\\' => at += 1,
            '{' => {
                depth += 1;
                if depth > MACRO_BRACES_MAX {
                    return Err(format!("more than {MACRO_BRACES_MAX} braces in each other"));
                }
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Ok(at);
                }
            }
            _ => {}
        }
        at += 1;
    }
    Err("a brace is not closed".to_owned())
}

/// Removes comments, and newlines that a backslash takes back.
///
/// `file` says that the text comes from a file, where `\n` in two characters is a newline.
pub(crate) fn strip(text: &str, file: bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    let ends = |pair: &[char]| pair == ['*', '/'];
    // Where a comment may begin at the latest: its end does not share the star.
    let last_end = chars
        .windows(2)
        .rposition(ends)
        .map_or(0, |end| end.saturating_sub(1));
    let mut out = String::new();
    let mut at = 0;
    while let Some(c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        match (c, next) {
            ('\\', Some('\n')) => {
                at += 2;
                while matches!(chars.get(at), Some(' ' | '\t')) {
                    at += 1;
                }
            }
            ('\\', Some('n')) if file => {
                out.push('\n');
                at += 2;
            }
            ('\\', Some(next)) => {
                out.push('\\');
                out.push(next);
                at += 2;
            }
            // Without an end it is no comment, but the end of a pattern such as `/mars/ips/*`.
            ('/', Some('*')) if at < last_end => {
                at += 2;
                while !(chars[at] == '*' && chars.get(at + 1) == Some(&'/')) {
                    at += 1;
                }
                at += 2;
            }
            ('/', Some('/')) if matches!(chars.get(at + 2), Some(' ' | '\t')) => {
                at = line_end(&chars, at);
            }
            ('#', _) => at = line_end(&chars, at),
            _ => {
                out.push(*c);
                at += 1;
            }
        }
    }
    out
}

fn line_end(chars: &[char], mut at: usize) -> usize {
    while chars.get(at).is_some_and(|c| *c != '\n') {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(text: &str) -> Vec<Node> {
        parse(text, &mut |_| {}).unwrap()
    }

    fn node(name: &str, args: &[&str]) -> Node {
        Node::Call {
            name: name.to_owned(),
            args: args.iter().map(|a| (*a).to_owned()).collect(),
        }
    }

    #[test]
    fn calls_take_all_groups_that_follow() {
        assert_eq!(
            nodes("a%if{%{x}}{\\}b}c"),
            [
                Node::Text("a".to_owned()),
                node("if", &["%{x}", "\\}b"]),
                Node::Text("c".to_owned())
            ]
        );
        assert_eq!(nodes("%+{1}{2}"), [node("+", &["1", "2"])]);
        assert_eq!(nodes("5 % {x}"), [Node::Text("5 % {x}".to_owned())]);
        assert_eq!(nodes("\\%{x}\\n"), [Node::Text("%{x}\n".to_owned())]);
    }

    #[test]
    fn braces_must_close() {
        let error = parse("%if{a", &mut |_| {}).unwrap_err();
        assert_eq!(error, "in the arguments of `%if`: a brace is not closed");
        let deep = format!("%a{}{}", "{".repeat(30), "}".repeat(30));
        assert!(parse(&deep, &mut |_| {}).is_err());
    }

    #[test]
    fn comments_go() {
        assert_eq!(
            strip("a # b\nc /* d */e // f\nhttp://g\\\n  h\\#i", false),
            "a \nc e \nhttp://gh\\#i"
        );
        assert_eq!(strip("a\\nb", true), "a\nb");
        assert_eq!(strip("a /* b", false), "a /* b");
        assert_eq!(strip("/*/ /*x*/y/ips/*", false), "y/ips/*");
        assert_eq!(strip("/**/a/*/", false), "a/*/");
    }
}
