//! Raw keys. Macros see the state of one moment: nothing can be written or waited for.

use crate::macros::facts::natural;
use crate::macros::machine::{Machine, Scope, Stop, die};

pub(super) fn call(
    machine: &mut Machine<'_>,
    name: &str,
    args: &[String],
    scope: &mut Scope,
) -> Option<Result<String, Stop>> {
    Some(match name {
        "readlink" => machine.arg(args, 0, scope).map(|path| {
            let value = machine.facts.get(inside(&path));
            if value.is_none() {
                machine.warn(format!("there is no key `{path}`"));
            }
            value.unwrap_or_default()
        }),
        "setlink" => die(
            "`%setlink{}` would write a key, but here macros only read: nothing was written; on a node of the cluster: \
             marsadm set-link VALUE PATH"
                .to_owned(),
        ),
        "get-glob" | "get_glob" => get_glob(machine, args, scope),
        "foreach-glob" | "foreach_glob" => foreach_glob(machine, args, scope),
        "sleep" | "timeout" => machine.arg(args, 0, scope).map(|_| {
            machine.warn(format!(
                "`%{name}{{}}` does not wait: a macro sees the state of one moment"
            ));
            String::new()
        }),
        _ if name == "wait" || name.starts_with("wait-") => die(format!(
            "`%{name}{{}}` waits, but a macro sees the state of one moment; marsadm wait-resource and wait-cluster wait"
        )),
        _ => return None,
    })
}

/// The path of a key below `/mars`.
fn inside(path: &str) -> &str {
    path.strip_prefix("/mars/").unwrap_or(path)
}

fn found(machine: &mut Machine<'_>, pattern: &str) -> Result<Vec<String>, Stop> {
    machine.charge_ask()?;
    let absolute = pattern.starts_with("/mars/");
    let pattern = inside(pattern);
    let start = pattern.find(['*', '?', '[', '{']).unwrap_or(pattern.len());
    let mut out = Vec::new();
    for path in machine.facts.paths(&pattern[..start]) {
        machine.charge(path.len() / 8)?;
        if glob(pattern, path) {
            out.push(if absolute {
                format!("/mars/{path}")
            } else {
                path.to_owned()
            });
        }
    }
    out.sort_by_cached_key(|path| natural(path));
    Ok(out)
}

fn get_glob(machine: &mut Machine<'_>, args: &[String], scope: &mut Scope) -> Result<String, Stop> {
    let pattern = machine.arg(args, 0, scope)?;
    let delim = machine.arg(args, 2, scope)?;
    Ok(found(machine, &pattern)?.join(if delim.is_empty() { "\n" } else { &delim }))
}

fn foreach_glob(
    machine: &mut Machine<'_>,
    args: &[String],
    scope: &mut Scope,
) -> Result<String, Stop> {
    let pattern = machine.arg(args, 0, scope)?;
    let name = machine.arg(args, 1, scope)?;
    let mut out = String::new();
    for path in found(machine, &pattern)? {
        machine.assign(scope, name.clone(), path)?;
        match machine.arg(args, 2, scope) {
            Ok(text) | Err(Stop::Next(text)) => out.push_str(&text),
            Err(Stop::Last(text)) => {
                out.push_str(&text);
                break;
            }
            Err(stop) => return Err(stop),
        }
    }
    Ok(out)
}

/// Whether a path fits a pattern of the shell: `*`, `?`, `[..]`; none of them fits a slash.
fn glob(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) =
        (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern.iter().zip(&path).all(|(pattern, part)| {
            let pattern: Vec<char> = pattern.chars().collect();
            let part: Vec<char> = part.chars().collect();
            part_fits(&pattern, &part)
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
            Some('?') => Some((p + 1, t + 1)),
            Some('[') => class(&pattern[p..], part[t]).map(|length| (p + length, t + 1)),
            Some(c) if *c == part[t] => Some((p + 1, t + 1)),
            Some(_) => None,
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

/// The length of the bracket at the beginning if it fits a character.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let end = pattern.iter().skip(2).position(|x| *x == ']')? + 2;
    let mut inner = &pattern[1..end];
    let negated = matches!(inner.first(), Some('!' | '^'));
    if negated {
        inner = &inner[1..];
    }
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
        for (pattern, path, fits) in [
            ("ips/ip-*", "ips/ip-a", true),
            ("ips/*", "ips/ip/a", false),
            ("a*b*c", "axxbyybzc", true),
            ("a?[b-d]", "axc", true),
            ("a[!x]", "ax", false),
            ("*", "", true),
            ("a", "ab", false),
        ] {
            assert_eq!(glob(pattern, path), fits, "{pattern} {path}");
        }
    }
}
