//! What `status`, `explain`, `check` and `top` say: one pure function from a snapshot to a [`Status`].

mod ages;
mod clocks;
mod codes;
mod elsewhere;
mod judge;
mod problems;
mod replica;
mod text;
mod told;

pub(crate) use clocks::clock_trouble;
pub use codes::{CODES, Code};
pub(crate) use elsewhere::{feature_level, in_one_line, level_line, short_line};
pub(crate) use judge::{WAY_BACK, exclusion, fresh_secs, resource, with_facts};
pub use judge::{Wanted, judge, outside_names};
pub(crate) use replica::Look;
pub use text::{Style, ago, lines, problem_lines, replica_line, risk};

use serde::Serialize;

/// How bad something is, by its consequence. The order is from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// All is well as far as is known, and enough is known.
    Ok,
    /// On its way to be well, by itself.
    Info,
    /// Data is at risk, or redundancy is missing.
    Warning,
    /// Applications wait, or data has diverged.
    Critical,
}

/// Seconds that are known exactly, or at least, or not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seconds {
    /// The seconds; nothing if no bound is known.
    pub seconds: Option<u64>,
    /// It may be more: what it was computed from is older than allowed, or missing.
    pub at_least: bool,
}

impl Seconds {
    /// Exactly so many.
    #[must_use]
    pub const fn exact(seconds: u64) -> Self {
        Self {
            seconds: Some(seconds),
            at_least: false,
        }
    }

    /// So many or more.
    #[must_use]
    pub const fn at_least(seconds: u64) -> Self {
        Self {
            seconds: Some(seconds),
            at_least: true,
        }
    }

    /// Nobody knows.
    #[must_use]
    pub const fn unknown() -> Self {
        Self {
            seconds: None,
            at_least: true,
        }
    }

    /// For the order in which problems are shown: the most that is known first, and of what is not known nothing is.
    #[must_use]
    pub fn urgency(self) -> (u64, bool) {
        (self.seconds.unwrap_or(0), self.at_least)
    }

    /// For comparing: what is not known is worst.
    #[must_use]
    pub fn weight(self) -> (u64, bool) {
        (self.seconds.unwrap_or(u64::MAX), self.at_least)
    }
}

/// The state of the cluster as one node sees it; its JSON form is `docs/schemas/Status.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The node whose view this is.
    pub host: String,
    /// Name of the cluster; nothing if the node belongs to none.
    pub cluster: Option<String>,
    /// System clock of the node, seconds since 1970.
    pub taken: u64,
    /// Whether the node's data plane runs.
    pub data_plane: bool,
    /// Seconds since its last sign of life, if its process is there and gives none: it hangs, or was stopped.
    pub data_plane_silent: Option<u64>,
    /// The worst of all.
    pub severity: Severity,
    /// Counts.
    pub summary: Summary,
    /// The nodes by name.
    pub nodes: Vec<Node>,
    /// The resources of this node, worst first; also others that were named.
    pub resources: Vec<Resource>,
    /// Resources of other nodes, as their members summarize them.
    pub elsewhere: Vec<Elsewhere>,
    /// What all nodes of the cluster understand; nothing if the daemon does not say.
    pub feature_level: Option<FeatureLevel>,
}

/// What all nodes of the cluster understand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FeatureLevel {
    /// The least level of all nodes.
    pub cluster: u64,
    /// That of this node.
    pub own: u64,
    /// The nodes that keep the cluster at its level, while others have a greater one.
    pub held_back_by: Vec<String>,
}

/// A resource that this node is no member of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Elsewhere {
    /// Name.
    pub name: String,
    /// Whether no summary tells of something that stands still or is broken.
    pub well: bool,
    /// Its storage members.
    pub replicas: Vec<Summarized>,
}

/// A replica as its host summarizes it. Nothing stands for what is not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summarized {
    /// Where it is.
    pub host: String,
    /// Whether the host's data plane runs.
    pub data_plane: Option<bool>,
    /// As [`Resource::role`].
    pub role: Option<&'static str>,
    /// `detached`, `failed`, `inconsistent`, `consistent`, `other`.
    pub disk: Option<&'static str>,
    /// `logging`, `emergency`, `following`, `behind`, `syncing`, `paused`, `stopped`, `split-brain`, `other`.
    pub replay: Option<&'static str>,
    /// Seconds since this was told. A summary is written when it changes, and at most once a minute.
    pub since: Option<u64>,
    /// Seconds since the last sign of life of the host.
    pub age: Seconds,
    /// What is wrong, as far as this tells.
    pub codes: Vec<Code>,
}

/// Counts of resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// All that were looked at.
    pub resources: usize,
    /// Of them without any problem.
    pub ok: usize,
    /// Of them on their way.
    pub info: usize,
    /// Of them at risk.
    pub warning: usize,
    /// Of them frozen or diverged.
    pub critical: usize,
    /// The most seconds at risk among those without problem.
    pub worst_ok: Option<u64>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Name.
    pub host: String,
    /// Address, if known.
    pub address: Option<String>,
    /// Whether it is the node whose view this is.
    pub here: bool,
    /// Whether a sign of life is recent enough.
    pub alive: bool,
    /// Seconds since the last sign of life.
    pub age: Seconds,
    /// It is heard of by way of other nodes: `age` is the most that it may be, since one that died shows so only when
    /// its neighbours have missed it.
    pub by_others: bool,
    /// Round trip in microseconds, where measured.
    pub rtt_us: Option<u64>,
    /// Why there is no connection.
    pub error: Option<String>,
    /// What its metadata daemon reports until somebody acknowledges it: its store could not be used and was set aside (why),
    /// or was older than it had been. Or, of this node, that it is no longer in the cluster (`REMOVED ..`). The fact only;
    /// what to do is told by [`Node::acknowledgement`].
    pub alarm: Option<String>,
    /// What is wrong with its system clock.
    pub clock: Option<Problem>,
    /// It is a host of a tree that was imported, and no node of this cluster: nothing is expected of it.
    pub imported: bool,
}

/// What the alarm of a node begins with that its cluster has removed.
pub(crate) const REMOVED: &str = "REMOVED";
/// What the alarm of a node begins with whose metadata store was lost, with nobody there to refill it from.
pub(crate) const LOST: &str = "LOST";

impl Node {
    /// How bad its alarm is.
    #[must_use]
    pub fn alarm_severity(&self) -> Option<Severity> {
        let alarm = self.alarm.as_ref()?;
        let critical = alarm.starts_with(REMOVED) || alarm.starts_with(LOST);
        Some(if critical {
            Severity::Critical
        } else {
            Severity::Warning
        })
    }

    fn alarm_is(&self, word: &str) -> bool {
        let alarm = self.alarm.as_ref();
        alarm.is_some_and(|alarm| alarm.starts_with(word))
    }

    /// The command that acknowledges its alarm, or ends it.
    #[must_use]
    pub fn acknowledgement(&self) -> String {
        if self.alarm_is(LOST) {
            return format!(
                "start the nodes that are down; else, on a node with a db.bad-SECONDS in its state folder (STATE, by default \
                 /var/lib/mars): marsadm meta export --store STATE/db.bad-SECONDS FILE, marsadm meta import FILE; then \
                 marsadm delete-file --force actual-{}/msg-store-lost",
                self.host
            );
        }
        if self.alarm_is(REMOVED) {
            return "marsadm leave-cluster --force, then marsadm join-cluster with a new token"
                .to_owned();
        }
        format!(
            "marsadm delete-file --force actual-{}/msg-store-set-aside",
            self.host
        )
    }
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resource {
    /// Name.
    pub name: String,
    /// Logical size in bytes.
    pub size: Option<u64>,
    /// The worst of its problems.
    pub severity: Severity,
    /// Designated primary.
    pub primary: Option<String>,
    /// What this node is: `primary`, `becoming-primary`, `remains-primary`, `secondary`, `guest`, or `outside`.
    pub role: &'static str,
    /// Replicas, the primary's among them, that are complete up to the target.
    pub good: usize,
    /// All replicas.
    pub count: usize,
    /// Seconds of data that the worst secondary lacks: what is lost if it takes over now.
    pub at_risk: Seconds,
    /// The same of the best secondary.
    pub at_risk_best: Seconds,
    /// Seconds that are allowed to be at risk.
    pub target: u64,
    /// Seconds until the log file system of the primary is full at the present pace.
    pub log_full_in: Option<u64>,
    /// The replicas by host.
    pub replicas: Vec<Replica>,
    /// What is wrong, worst first.
    pub problems: Vec<Problem>,
}

impl Resource {
    /// For the order of resources, the greatest first: how bad it is; whether applications stand still; the seconds that
    /// are known to be at risk; and only then that nobody knows how many.
    #[must_use]
    pub fn urgency(&self) -> (Severity, bool, u64, bool) {
        let stopped = self.problems.iter().any(|problem| {
            let stops = problem.severity == Severity::Critical;
            stops && problem.host.is_some() && problem.host == self.primary
        });
        let (known, unknown) = self.at_risk.urgency();
        (self.severity, stopped, known, unknown)
    }
}

/// A replica of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replica {
    /// Where it is.
    pub host: String,
    /// As [`Resource::role`].
    pub role: &'static str,
    /// One word for its state.
    pub state: &'static str,
    /// Whether it is complete up to the target, as far as is known now.
    pub good: bool,
    /// Age of all that is told about it here; 0 on its own host.
    pub age: Seconds,
    /// Seconds of data that it lacks; nothing on the primary.
    pub at_risk: Option<Seconds>,
    /// Bytes of log that it lacks, as far as is known.
    pub to_fetch: u64,
    /// Bytes of log that it holds and has not applied.
    pub to_replay: u64,
    /// Bytes of the first copy that are left.
    pub to_sync: u64,
    /// Hundredths of the first copy that are done, rounded down; nothing if it is complete.
    pub synced_percent: Option<u8>,
    /// Seconds until it is complete at the present pace.
    pub done_in: Option<u64>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Stable code.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// The host that it is about.
    pub host: Option<String>,
    /// Why.
    pub reason: String,
    /// Since how many seconds, where known.
    pub since: Option<u64>,
    /// What to do.
    pub next: String,
}

#[cfg(test)]
mod tests;
