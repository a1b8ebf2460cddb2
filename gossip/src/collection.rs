//! How far tombstones were collected, and who holds it up: lines for displays.

use mars_meta_api::HELD_UP;
use mars_meta_model::collect::{
    Blocker, Mark, Paces, Position, Progress, global_voters, is_collectable, progress, voters,
};
use mars_meta_model::{
    Epochs, NodeId, Scope, Table, View as _, resources, scope_includes, scope_of,
};
use std::collections::BTreeMap;

/// A tombstone that could have gone so many quanta ago is worth a word in `view`.
const LATE_QUANTA: u64 = 3;

/// One line for each scope that this node takes part in.
pub(crate) fn lines(table: &Table, own: (&str, NodeId), paces: &Paces, wall: u64) -> Vec<String> {
    let (host, node) = own;
    // Number, and the oldest.
    let mut counts: BTreeMap<Scope, (usize, Position)> = BTreeMap::new();
    for entry in table.iter().filter(|e| is_collectable(e)) {
        let held = counts.entry(scope_of(&entry.key));
        let held = held.or_insert((0, Position::of(entry)));
        *held = (held.0 + 1, held.1.min(Position::of(entry)));
    }
    let mut scopes = vec![Scope::Global];
    let all = resources(table)
        .into_iter()
        .map(|res| Scope::Resource(res.into()));
    scopes.extend(all.filter(|scope| scope_includes(table, scope, host)));
    let global = global_voters(table);
    let none = Mark::default();
    let epochs = Epochs::read(table);
    let line = |scope: &Scope| {
        let mark = table.ledger().and_then(|ledger| ledger.mark(scope));
        let voters = voters(table, scope, &global);
        let mark = mark.unwrap_or(&none);
        let (count, oldest) = counts.get(scope).copied().unwrap_or_default();
        let allowed = epochs.position(paces.of(scope).level(wall));
        // Nobody is waited for while nothing is to be collected.
        let level = if count > 0 && oldest <= allowed {
            allowed
        } else {
            mark.floor
        };
        let progress = progress(mark, &voters, node, level);
        let late = paces.of(scope).quantum.saturating_mul(LATE_QUANTA);
        let line = describe(scope, count, &progress, (&epochs, wall));
        let waits = epochs.time(level).saturating_sub(epochs.time(oldest));
        let behind = waits > late && level > mark.floor;
        if behind && !progress.blockers.is_empty() {
            format!("{HELD_UP}{line}")
        } else {
            line
        }
    };
    scopes.iter().map(line).collect()
}

fn describe(scope: &Scope, count: usize, progress: &Progress, now: (&Epochs, u64)) -> String {
    let name = match scope {
        Scope::Global => "cluster",
        Scope::Resource(res) => res,
    };
    let (epochs, wall) = now;
    let floor = match epochs.time(progress.floor) {
        0 => "nothing collected yet".to_owned(),
        floor => format!("collected up to {}", ago(wall, floor)),
    };
    let reasons: Vec<String> = progress.blockers.iter().map(|b| reason(b, now)).collect();
    let waits = if reasons.is_empty() {
        String::new()
    } else {
        format!(", waits: {}", reasons.join(", "))
    };
    format!("{name}: {count} tombstones, {floor}{waits}")
}

fn reason(blocker: &Blocker, (epochs, wall): (&Epochs, u64)) -> String {
    let at = |since: Position| ago(wall, epochs.time(since));
    match blocker {
        Blocker::Silent { host } => format!("{host} has said nothing yet"),
        Blocker::Behind { host, since } => {
            format!("{host} was last heard {}", at(*since))
        }
        Blocker::Disagrees { host, since } => {
            format!("{host} is not known to have the same ({})", at(*since))
        }
        Blocker::NoMajority => "more than half of the members are parked".to_owned(),
        Blocker::NoVoter => "this node is parked, or no member".to_owned(),
    }
}

pub(crate) fn ago(wall: u64, then: u64) -> String {
    let secs = wall.saturating_sub(then) / 1_000_000_000;
    match secs {
        0..120 => format!("{secs} s ago"),
        120..7200 => format!("{} min ago", secs / 60),
        7200..172_800 => format!("{} h ago", secs / 3600),
        _ => format!("{} d ago", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    #[test]
    fn who_blocks_is_named() {
        let mut table = Table::new();
        for (host, id) in [("hosta", 1), ("hostb", 2)] {
            let line = format!(
                "v1 id={} key={} meta= data= state=active",
                NodeId(id),
                "00".repeat(32)
            );
            table.merge(entry(&format!("roster/{host}"), Some(&line), 1, 1));
        }
        table.merge(entry("userspace/x", None, 5, 1));
        let day = 86_400_000_000_000;
        let told = lines(&table, ("hosta", NodeId(1)), &Paces::default(), 100 * day);
        assert_eq!(
            told,
            [
                "held up: cluster: 1 tombstones, nothing collected yet, waits: hosta has said nothing yet, \
              hostb has said nothing yet"
            ]
        );
        let off = Paces {
            global: mars_meta_model::collect::Pace {
                quantum: day,
                retention: 200 * day,
            },
            ..Paces::default()
        };
        let told = lines(&table, ("hosta", NodeId(1)), &off, 100 * day);
        assert_eq!(told, ["cluster: 1 tombstones, nothing collected yet"]);
    }
}
