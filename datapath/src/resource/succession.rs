//! Who goes on behind a closed log: the part of a driver that lasts longer than one decision (`docs/spec/log-format.md`,
//! *Successor*; ADR 0038).

use super::shared::Shared;
use mars_datapath_core::Name;
use mars_datapath_core::format::Successor;
use mars_datapath_core::plan::{Designated, Right, Target, Wish};
use mars_datapath_core::version::LogName;
use std::time::{Duration, Instant};

/// How long a host must have been designated to take a role that nobody handed to it by name. Within this time it hears of
/// another one that was designated at the same moment, and of one that took the role: observations are told once a second.
const DESIGNATION_SETTLED: Duration = Duration::from_secs(2);
/// Shortest time between two roles that are taken only to be passed on: two hosts whose views differ do it in turn, and each
/// time is a log.
const PASSING_ON_REST: Duration = Duration::from_secs(5);

/// What a driver remembers of designations, promises and roles that it passed on.
#[derive(Debug, Default)]
pub(super) struct Succession {
    /// Since when this host has been designated without a break.
    designated_since: Option<Instant>,
    /// Behind this log this host will not go on: its writer wants to.
    renounced: Option<LogName>,
    /// A recalled log behind which this host has gone on.
    kept: Option<LogName>,
    /// When this host took a role last only to pass it on.
    passed_on: Option<Instant>,
}

impl Succession {
    /// Notes whether this host is designated.
    pub(super) fn note_designation(&mut self, wish: &Wish) {
        if wish.designated == Some(Designated::Me) {
            self.designated_since.get_or_insert_with(Instant::now);
        } else {
            self.designated_since = None;
        }
    }

    /// Whether it has been for so long that it would have heard of another one.
    pub(super) fn is_settled(&self) -> bool {
        self.designated_since
            .is_some_and(|since| since.elapsed() >= DESIGNATION_SETTLED)
    }

    /// Notes that a role was taken for `wish`.
    pub(super) fn note_role(&mut self, wish: &Wish) {
        if wish.designated != Some(Designated::Me) {
            self.passed_on = Some(Instant::now());
        }
    }

    /// Whether it is long enough ago that a role was taken only to be passed on.
    pub(super) fn is_rested(&self) -> bool {
        self.passed_on
            .is_none_or(|at| at.elapsed() >= PASSING_ON_REST)
    }

    /// Gives back the right to go on behind a log whose writer recalls it, unless `host` is primary or has begun the next one.
    /// Told only once it is decided here, and heeded from this moment on: `wish` holds it, too.
    pub(super) fn renounce(
        &mut self,
        wish: &mut Wish,
        host: &Name,
        is_primary: bool,
        shared: &Shared,
    ) {
        let number = |log: &Option<LogName>| log.as_ref().map(|log| log.number);
        let told = wish.renounced.get(host.as_str()).cloned();
        if number(&told) > number(&self.renounced) {
            self.renounced = told;
        }
        let wanted = wish.recalled.iter().filter(|log| log.origin != *host);
        let wanted = wanted.max_by_key(|log| log.number).cloned();
        let newer = wanted.filter(|log| {
            Some(log.number) > number(&self.renounced) && self.kept.as_ref() != Some(log)
        });
        if let Some(log) = newer.filter(|_| !is_primary) {
            if has_begun_behind(&log, host, shared) {
                self.kept = Some(log);
            } else {
                tracing::info!(resource = %shared.name, %log, "will not go on behind this log: its writer wants to");
                self.renounced = Some(log);
            }
        }
        if let Some(log) = &self.renounced {
            wish.renounced.insert(host.as_str().to_owned(), log.clone());
        }
        let renounced = self.renounced.clone();
        shared.update(|status| status.renounced = renounced);
    }
}

/// Whether `host` has written a log behind `log`. What cannot be read may hold one.
fn has_begun_behind(log: &LogName, host: &Name, shared: &Shared) -> bool {
    let own = |name: &LogName| name.origin == *host && name.number > log.number;
    let names = shared.dir.list();
    names.map_or(true, |names| names.iter().any(own))
}

/// Whether the writer of a closed log wants the right behind it back, as it was handed to another one than is designated: to
/// go on itself, or to pass it on.
pub(super) fn recalls(right: &Right, wish: &Wish) -> bool {
    match (right, &wish.designated) {
        (Right::Of(_), Some(Designated::Me)) => true,
        (Right::Of(holder), Some(Designated::Other(other))) => holder != other,
        _ => false,
    }
}

/// Who is named to go on when the role is left for `target`.
pub(super) fn successor(wish: &Wish, target: &Target, host: &Name) -> Successor {
    let named = match &wish.designated {
        // A data plane of before would neither go on by name nor give the right back.
        Some(Designated::Other(other)) if wish.know_rights.contains(other) => other.parse().ok(),
        Some(Designated::Me) if !matches!(target, Target::Detached | Target::Depart) => {
            Some(host.clone())
        }
        _ => None,
    };
    named.map_or(Successor::Anyone, Successor::Host)
}
