//! Raw keys. Macros see the state of one moment: nothing can be written or waited for.

use super::glob;
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
            let key = glob::key_of(&path);
            let value = key.and_then(|key| machine.facts.get(&key));
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

/// The live keys that fit one of the patterns, which are separated by white space; keys that fit several come again.
fn found(machine: &mut Machine<'_>, patterns: &str) -> Result<Vec<String>, Stop> {
    let mut out = Vec::new();
    for pattern in patterns.split_ascii_whitespace() {
        for pattern in glob::alternatives(machine, pattern)? {
            fitting(machine, &pattern, &mut out)?;
        }
    }
    out.sort_by_cached_key(|path| natural(path));
    Ok(out)
}

fn fitting(machine: &mut Machine<'_>, pattern: &str, out: &mut Vec<String>) -> Result<(), Stop> {
    machine.charge_ask()?;
    let start = if pattern.starts_with('/') {
        "/mars/"
    } else {
        ""
    };
    // Keys are no folders.
    let Some(key) = glob::key_of(pattern).filter(|_| !pattern.ends_with('/')) else {
        return Ok(());
    };
    for path in machine.facts.paths(glob::fixed(&key)) {
        machine.charge(path.len() / 8)?;
        if glob::fits(&key, path) {
            out.push(format!("{start}{path}"));
        }
    }
    Ok(())
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
