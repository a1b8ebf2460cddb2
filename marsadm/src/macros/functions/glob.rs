//! Paths of keys, and patterns for them as those of the shell.

use crate::macros::machine::{Machine, Stop};

/// The key that a path means: what follows `/mars/` once `.`, `..` and doubled slashes are resolved. A path that does not
/// begin with a slash is one below `/mars`. Nothing if it leads out of the tree.
pub(super) fn key_of(path: &str) -> Option<String> {
    let start = if path.starts_with('/') { "" } else { "/mars/" };
    let mut parts: Vec<&str> = Vec::new();
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let (top, parts) = parts.split_first()?;
    (*top == "mars").then(|| parts.join("/"))
}

/// The alternatives of a pattern's braces: `a{b,c}` is `ab` and `ac`. A pair of braces with nothing in it, and a brace
/// without another one, stand for themselves.
pub(super) fn alternatives(machine: &mut Machine<'_>, pattern: &str) -> Result<Vec<String>, Stop> {
    let mut done = Vec::new();
    let mut open = vec![(String::new(), pattern.to_owned())];
    while let Some((before, rest)) = open.pop() {
        machine.charge_ask()?;
        machine.charge(before.len() + rest.len())?;
        let Some((start, parts, end)) = braces(&rest) else {
            done.push(before + &rest);
            continue;
        };
        // The last one first: they are taken from the end.
        for part in parts.iter().rev() {
            let inner = format!("{part}{}", &rest[end..]);
            open.push((format!("{before}{}", &rest[..start]), inner));
        }
    }
    Ok(done)
}

/// The first pair of braces: where it begins, its alternatives, and where it ends.
fn braces(text: &str) -> Option<(usize, Vec<&str>, usize)> {
    let mut start = None;
    let mut cuts = Vec::new();
    let mut depth = 0_usize;
    let mut skip = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if skip => skip = false,
            b'\\' => skip = true,
            b'{' if depth > 0 || !text[at..].starts_with("{}") => {
                depth += 1;
                start = start.or(Some(at));
            }
            b',' if depth == 1 => cuts.push(at),
            b'}' if depth == 1 => {
                let start = start?;
                cuts.push(at);
                let mut from = start + 1;
                let mut parts = Vec::new();
                for cut in cuts {
                    parts.push(&text[from..cut]);
                    from = cut + 1;
                }
                return Some((start, parts, at + 1));
            }
            b'}' if depth > 1 => depth -= 1,
            _ => {}
        }
    }
    None
}

/// How much of a pattern is the same in all paths that fit.
pub(super) fn fixed(pattern: &str) -> &str {
    let end = pattern.find(['*', '?', '[', '\\']);
    &pattern[..end.unwrap_or(pattern.len())]
}

/// Whether a path fits a pattern of the shell: `*`, `?`, `[..]`; none of them fits a slash, nor a dot at the beginning of a
/// name.
pub(super) fn fits(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) =
        (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern.iter().zip(&path).all(|(pattern, part)| {
            let hidden =
                part.starts_with('.') && !pattern.trim_start_matches('\\').starts_with('.');
            let pattern: Vec<char> = pattern.chars().collect();
            let part: Vec<char> = part.chars().collect();
            !hidden && part_fits(&pattern, &part)
        })
}

fn part_fits(pattern: &[char], part: &[char]) -> bool {
    // Only the last star needs another try: what came before it fits already.
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            None if t == part.len() => return true,
            None => None,
            Some('*') => {
                retry = Some((p + 1, t));
                Some((p + 1, t))
            }
            Some(_) if t == part.len() => None,
            Some(c) => one(&pattern[p..], *c, part[t]).map(|length| (p + length, t + 1)),
        };
        match (step, retry) {
            (Some((next_p, next_t)), _) => (p, t) = (next_p, next_t),
            (None, Some((again, from))) if from < part.len() => {
                retry = Some((again, from + 1));
                (p, t) = (again, from + 1);
            }
            _ => return false,
        }
    }
}

/// How long what the pattern begins with is, if it fits a character.
fn one(pattern: &[char], first: char, c: char) -> Option<usize> {
    match (first, pattern.get(1)) {
        ('?', _) => Some(1),
        ('[', _) => class(pattern, c),
        ('\\', Some(next)) => (*next == c).then_some(2),
        (first, _) => (first == c).then_some(1),
    }
}

/// The length of the bracket at the beginning if it fits a character; a bracket without an end stands for itself.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let negated = pattern.get(1) == Some(&'!');
    let from = 1 + usize::from(negated);
    let more = pattern.iter().skip(from + 1);
    let Some(length) = more.clone().position(|x| *x == ']') else {
        return (c == '[').then_some(1);
    };
    let end = from + 1 + length;
    let inner = &pattern[from..end];
    let mut fits = false;
    let mut at = 0;
    while let Some(from) = inner.get(at) {
        if inner.get(at + 1) == Some(&'-') && at + 2 < inner.len() {
            fits |= (*from..=inner[at + 2]).contains(&c);
            at += 3;
        } else {
            fits |= *from == c;
            at += 1;
        }
    }
    (fits != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, path, expected) in [
            ("ips/ip-*", "ips/ip-a", true),
            ("ips/*", "ips/ip/a", false),
            ("a*b*c", "axxbyybzc", true),
            ("a?[b-d]", "axc", true),
            ("a[!x]", "ax", false),
            ("a[!x]", "ay", true),
            ("a[]x]", "a]", true),
            ("[^a]x", "ax", true),
            ("[x", "[x", true),
            ("[]x", "[]x", true),
            ("[[]x", "[x", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("*", ".a", false),
            ("?a", ".a", false),
            ("[.]a", ".a", false),
            (".*", ".a", true),
            ("a*", "a.b", true),
            ("*/.a", "b/.a", true),
            ("*/*", "b/.a", false),
            ("*", "", true),
            ("a", "ab", false),
        ] {
            assert_eq!(fits(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn pairs_of_braces() {
        for (text, start, parts, end) in [
            ("x{a,b}y", 1, vec!["a", "b"], 6),
            ("{,b}", 0, vec!["", "b"], 4),
            ("{}{a}", 2, vec!["a"], 5),
            ("{a{x,y},b}", 0, vec!["a{x,y}", "b"], 10),
            ("\\{{a}", 2, vec!["a"], 5),
        ] {
            assert_eq!(braces(text), Some((start, parts, end)), "{text}");
        }
        for text in ["", "a", "{}", "{a", "a}", "\\{a}", "{a{b}"] {
            assert_eq!(braces(text), None, "{text}");
        }
    }

    #[test]
    fn paths_of_keys() {
        for (path, key) in [
            ("ips/a", Some("ips/a")),
            ("/mars/ips/a", Some("ips/a")),
            ("/mars//ips/./a", Some("ips/a")),
            ("./ips//b/../a", Some("ips/a")),
            ("../mars/ips/a", Some("ips/a")),
            ("/../mars/ips/a", Some("ips/a")),
            ("/mars/../etc/passwd", None),
            ("../ips/a", None),
            ("/etc/mars/ips/a", None),
            ("/marsh/ips/a", None),
            ("/", None),
            ("/mars", Some("")),
        ] {
            assert_eq!(key_of(path).as_deref(), key, "{path}");
        }
    }
}
