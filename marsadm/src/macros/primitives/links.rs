//! Keys as they are.

use super::Ask;

pub(super) fn call(ask: &mut Ask<'_, '_>) -> Option<String> {
    let facts = ask.facts;
    let res = ask.res;
    Some(match ask.name {
        "uuid" => facts.get("uuid").unwrap_or_default(),
        "systemdunit" => {
            let start = facts.of(res, "systemd-start-unit").unwrap_or_default();
            let stop = facts.of(res, "systemd-stop-unit").unwrap_or_default();
            let both = [start, stop].into_iter().filter(|unit| !unit.is_empty());
            both.collect::<Vec<_>>().join(" ")
        }
        "systemdwant" => facts.of(res, "systemd-want").unwrap_or_default(),
        _ => return None,
    })
}
