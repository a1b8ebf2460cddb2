//! What a check of a store tells beyond its records: how old it is beside its witness, what the next start would do with it,
//! and what damaged stores are kept. Reads only; for the rules see `docs/spec/store.md`, "Opening".

use crate::{roster_copy, witness};
use mars_gossip_net::Identity;
use mars_meta::{Aside, Fsck, FsckError, fsck, list_aside};
use std::path::Path;

/// What the daemon would do with the store at its next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStart {
    /// It is no daemon's store as it lies there: another folder than `db` in a state folder.
    NoStart,
    /// It would be used as it is.
    Used,
    /// It would be used with an alarm, a copy of it kept, and what is newer taken from the peers.
    Refilled,
    /// It would be set aside with an alarm, and a new one filled from the peers.
    SetAside,
    /// The daemon would refuse to start: there are no peers to refill from.
    Refused,
}

impl NextStart {
    /// One word for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoStart => "none",
            Self::Used => "used",
            Self::Refilled => "refilled",
            Self::SetAside => "set-aside",
            Self::Refused => "refused",
        }
    }

    /// A sentence for people.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NoStart => {
                "no daemon would start with it: it is not the folder db of a state folder"
            }
            Self::Used => "at its next start the daemon would use it as it is",
            Self::Refilled => {
                "at its next start the daemon would raise an alarm, keep a copy as db.bad-SECONDS, use it, and take what is newer from its peers"
            }
            Self::SetAside => {
                "at its next start the daemon would raise an alarm, keep it as db.bad-SECONDS, and fill a new one from its peers"
            }
            Self::Refused => {
                "at its next start the daemon would refuse to run: this node has no peers to refill from"
            }
        }
    }
}

/// What [`check_store`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreReport {
    /// Its records.
    pub found: Fsck,
    /// Number of the last testimony by the witness beside it, if there is one that can be read.
    pub witness: Option<u64>,
    /// Why it is not this node's store, if it is not.
    pub foreign: Option<String>,
    /// What the next start would do.
    pub next: NextStart,
    /// Damaged stores that are kept beside it, oldest first.
    pub aside: Vec<Aside>,
}

impl StoreReport {
    /// Whether it holds less than it did: it is damaged in a way that its records do not show, or an old copy.
    #[must_use]
    pub fn is_older(&self) -> bool {
        // What cannot be read has no age.
        self.found.unreadable.is_none() && self.witness > Some(self.found.witness.unwrap_or(0))
    }
}

/// Checks the store in the folder `path` as [`fsck`] does, and compares it with what lies beside it. Blocks.
///
/// # Errors
/// [`FsckError`]: it could not be checked. Damage is no error but part of the answer.
pub fn check_store(path: &Path) -> Result<StoreReport, FsckError> {
    let found = fsck(path)?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let root = absolute.parent().unwrap_or(Path::new("/"));
    let is_a_daemons = absolute.ends_with("db") && root.join("identity").is_dir();
    let mut report = StoreReport {
        found,
        witness: None,
        foreign: None,
        next: NextStart::NoStart,
        aside: Vec::new(),
    };
    if !is_a_daemons {
        return Ok(report);
    }
    report.aside = list_aside(&absolute).unwrap_or_default();
    report.witness = witness::read(&root.join("store-witness")).map(|witness| witness.number);
    let identity = Identity::load(&root.join("identity")).ok();
    report.foreign = identity
        .as_ref()
        .and_then(|own| foreign(own, &report.found));
    let has_peers = |own: &Identity| roster_copy::names_a_peer(&root.join("roster"), own.name());
    let refills = identity.as_ref().is_some_and(has_peers);
    let unusable = !report.found.is_good() || report.foreign.is_some();
    // A node without a cluster asks no witness.
    let older = identity.is_some() && report.is_older();
    report.next = match (unusable, older, refills) {
        (true, _, true) => NextStart::SetAside,
        (false, true, true) => NextStart::Refilled,
        (true, _, false) | (false, true, false) => NextStart::Refused,
        (false, false, _) => NextStart::Used,
    };
    Ok(report)
}

/// Why the store is not that of the node `own`.
fn foreign(own: &Identity, found: &Fsck) -> Option<String> {
    let node = own.node_uuid();
    if let Some(other) = found.node.filter(|other| *other != node.as_u128()) {
        let other = uuid::Uuid::from_u128(other);
        return Some(format!("it is the store of node {other}, this is {node}"));
    }
    let cluster = own.cluster().to_string();
    let other = found
        .cluster
        .as_deref()
        .filter(|other| !other.is_empty() && *other != cluster)?;
    Some(format!(
        "it belongs to cluster {other}, this node to {cluster}"
    ))
}
