//! Times: when something was last heard of or written, how old that is, and how far behind.

use super::{Ask, flag};
use crate::macros::number::Num;

pub(super) fn call(ask: &mut Ask<'_, '_>) -> Option<String> {
    let facts = ask.facts;
    let name = ask.name;
    Some(match name {
        "time" => facts.time(),
        "realtime" => facts.real_time().to_string(),
        "isalive" => {
            let me = ask.res.is_empty().then(|| ask.me.to_owned());
            let host = watched(ask).or(me);
            flag(host.is_some_and(|host| facts.is_alive(&host)))
        }
        "devicecompletionstamp" => completion(ask),
        "devicecompletionage" => {
            let stamp = completion(ask);
            if Num::read(&stamp).float() <= 0.0 {
                "0".to_owned()
            } else {
                Num::Float(facts.now_float() - Num::read(&stamp).float()).to_string()
            }
        }
        _ => {
            let (what, kind) = ["timestamp", "age", "lag"]
                .iter()
                .find_map(|kind| Some((name.strip_suffix(kind)?, *kind)))?;
            let host = if what == "alive" {
                watched(ask)
            } else {
                Some(ask.host(0))
            };
            let stamp = host.as_deref().map(|host| stamp(ask, what, host));
            let stamp = match stamp {
                Some(stamp) => stamp?,
                None => "-1".to_owned(),
            };
            match kind {
                "timestamp" => stamp,
                "age" => age(ask, &stamp),
                _ => lag(ask, what, &stamp)?,
            }
        }
    })
}

/// The host whose signs of life count: the one named, else the designated primary.
fn watched(ask: &Ask<'_, '_>) -> Option<String> {
    ask.arg(0)
        .map(str::to_owned)
        .or_else(|| ask.facts.primary(ask.res))
}

fn completion(ask: &Ask<'_, '_>) -> String {
    let host = ask.host(0);
    let stamp = ask.facts.actual(ask.res, &host, "if-completion-stamp");
    stamp
        .filter(|stamp| !stamp.is_empty())
        .unwrap_or_else(|| "0".to_owned())
}

/// The stamp of `host`; -1 if there is none.
fn stamp(ask: &Ask<'_, '_>, what: &str, host: &str) -> Option<String> {
    let (facts, res) = (ask.facts, ask.res);
    let number = |stamp: Option<i64>| stamp.unwrap_or(-1).to_string();
    Some(match what {
        "alive" => facts.alive_time(host).unwrap_or_else(|| "-1".to_owned()),
        "fetch" => number(facts.fetch_stamp(res, host)),
        "replay" => facts.replay_stamp(res, host).unwrap_or(0).to_string(),
        "work" => {
            let replay = facts.replay_stamp(res, host).unwrap_or(0);
            number(facts.fetch_stamp(res, host).max(Some(replay)))
        }
        _ => return None,
    })
}

fn age(ask: &Ask<'_, '_>, stamp: &str) -> String {
    let stamp = Num::read(stamp);
    if stamp.float() <= 0.0 {
        return "-1".to_owned();
    }
    let age = Num::from(ask.facts.now()).apply('-', stamp);
    age.map(|age| age.to_string()).unwrap_or_default()
}

/// How far the stamp is from the primary's.
fn lag(ask: &Ask<'_, '_>, what: &str, own: &str) -> Option<String> {
    let Some(primary) = ask.facts.primary(ask.res) else {
        return Some("-1".to_owned());
    };
    let own = Num::read(own);
    if own.float() <= 0.0 {
        return Some("-1".to_owned());
    }
    let other = Num::read(&stamp(ask, what, &primary)?);
    let lag = own.apply('-', other)?;
    Some(if lag.float() < 0.0 {
        "0".to_owned()
    } else {
        lag.to_string()
    })
}
