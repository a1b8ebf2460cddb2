//! The first message of a connection: who speaks, and which versions.

use mars_meta_model::escaped;
use serde::{Deserialize, Serialize};

/// Version of the wire format that this program speaks.
pub const WIRE_VERSION: u16 = 1;

/// Bit of [`Hello::features`]: the sender reads observations of links and short digests (types 9 and 10).
pub const FEATURE_OVERLAY: u64 = 1;
/// Bit of [`Hello::features`]: the sender reads compact comparisons (types 14 and 15).
pub const FEATURE_COMPACT: u64 = 2;
/// Bit of [`Hello::features`]: the sender reads watches of resources from outside (types 25 to 27).
pub const FEATURE_WATCH: u64 = 4;
/// Bit of [`Hello::features`]: the sender reads floors and marks that bear epochs (types 19 and 20, version 2 of a mark).
pub const FEATURE_EPOCH_MARKS: u64 = 8;
/// All abilities of this program.
pub const FEATURES: u64 = FEATURE_OVERLAY | FEATURE_COMPACT | FEATURE_WATCH | FEATURE_EPOCH_MARKS;

/// First message in both directions. Unknown fields of later versions are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest wire version spoken.
    pub wire_min: u16,
    /// Newest wire version spoken.
    pub wire_max: u16,
    /// Bits of optional abilities: [`FEATURES`].
    #[serde(default)]
    pub features: u64,
    /// Identity of the cluster as text.
    pub cluster: String,
    /// Host name.
    pub host: String,
    /// Node identity as text.
    pub node: String,
    /// Process life.
    pub boot: u64,
    /// System clock in ns since the epoch.
    pub wall: u64,
}

/// The peer cannot be talked to. Nothing was exchanged yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// No wire version in common.
    #[error(
        "{host} speaks wire versions {min} to {max}, this node {WIRE_VERSION}: upgrade the older one"
    )]
    Version {
        /// The peer.
        host: String,
        /// Its oldest.
        min: u16,
        /// Its newest.
        max: u16,
    },
    /// Another cluster.
    #[error("{host} belongs to cluster {theirs}, this node to {ours}")]
    Cluster {
        /// The peer.
        host: String,
        /// Its cluster.
        theirs: String,
        /// Our cluster.
        ours: String,
    },
    /// It calls itself otherwise than its certificate does.
    #[error("the peer calls itself '{said}', but its certificate says '{certified}'")]
    Name {
        /// In the message.
        said: String,
        /// In the certificate.
        certified: String,
    },
}

impl Hello {
    /// Checks a received greeting against our own and the certified name; returns the wire version to speak.
    ///
    /// # Errors
    /// [`HelloError`].
    pub fn check(&self, ours: &Self, certified: &str) -> Result<u16, HelloError> {
        if self.host != certified {
            return Err(HelloError::Name {
                said: escaped(&self.host),
                certified: certified.to_owned(),
            });
        }
        if self.cluster != ours.cluster {
            return Err(HelloError::Cluster {
                host: self.host.clone(),
                theirs: escaped(&self.cluster),
                ours: ours.cluster.clone(),
            });
        }
        let wire = self.wire_max.min(ours.wire_max);
        if wire < self.wire_min.max(ours.wire_min) {
            return Err(HelloError::Version {
                host: self.host.clone(),
                min: self.wire_min,
                max: self.wire_max,
            });
        }
        Ok(wire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(host: &str, cluster: &str, min: u16, max: u16) -> Hello {
        Hello {
            wire_min: min,
            wire_max: max,
            features: 0,
            cluster: cluster.into(),
            host: host.into(),
            node: String::new(),
            boot: 1,
            wall: 2,
        }
    }

    #[test]
    fn the_highest_common_version_is_spoken() {
        let ours = hello("a", "c", 1, 3);
        assert_eq!(hello("b", "c", 2, 9).check(&ours, "b"), Ok(3));
        assert_eq!(hello("b", "c", 1, 1).check(&ours, "b"), Ok(1));
        let error = hello("b", "c", 4, 9).check(&ours, "b").unwrap_err();
        assert!(matches!(error, HelloError::Version { .. }), "{error}");
    }

    #[test]
    fn another_cluster_and_another_name_are_refused() {
        let ours = hello("a", "c", 1, 1);
        let error = hello("b", "d", 1, 1).check(&ours, "b").unwrap_err();
        assert!(matches!(error, HelloError::Cluster { .. }), "{error}");
        let error = hello("b", "c", 1, 1).check(&ours, "x").unwrap_err();
        assert!(matches!(error, HelloError::Name { .. }), "{error}");
    }
}
