//! How a store is opened: configuration, the node's identity, and what can go wrong.

use crate::core::CoreOpenError;
use crate::store_error::SledError;
use mars_lamport::DEFAULT_MAX_AHEAD;
use mars_meta_model::{NodeId, Store, Write};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Name of the local record with the node's identity.
pub(crate) const NODE_ID: &str = "node-id";
/// Name of the local record that says, by `1`, that the next opening without a wanted identity makes a new one.
pub(crate) const RENUMBER: &str = "renumber";

/// The system clock in ns since the epoch, as a function.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// By how many seconds a daemon of a debug build takes the system clock to be ahead, for tests of wrong clocks.
#[cfg(debug_assertions)]
const SKEW_VARIABLE: &str = "MARS_TEST_CLOCK_SKEW_SECS";

#[cfg(debug_assertions)]
fn skew_ns() -> i64 {
    let secs = std::env::var(SKEW_VARIABLE).ok();
    let secs: Option<i64> = secs.and_then(|secs| secs.parse().ok());
    secs.unwrap_or(0).saturating_mul(1_000_000_000)
}

#[cfg(not(debug_assertions))]
const fn skew_ns() -> i64 {
    0
}

/// The system clock of this machine.
#[must_use]
pub fn system_clock() -> WallClock {
    let skew = skew_ns();
    Arc::new(move || {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        ns.saturating_add_signed(skew)
    })
}

/// A number for one life of the process.
#[must_use]
pub fn random_boot() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}

/// How a store is opened.
#[derive(Clone)]
pub struct MetaConfig {
    /// Folder of the store. It is made if it does not exist.
    pub path: PathBuf,
    /// Identity of the node; `None`: the one in the store, or a new random one for a new store.
    pub node: Option<NodeId>,
    /// Number of this life of the process, drawn anew at each start.
    pub boot: u64,
    /// How far received stamps may lie ahead of the system clock, in ns.
    pub max_ahead_ns: u64,
    /// The system clock.
    pub wall: WallClock,
}

impl MetaConfig {
    /// The usual: identity from the store, a random boot number, the default drift bound, the system clock.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            node: None,
            boot: random_boot(),
            max_ahead_ns: DEFAULT_MAX_AHEAD,
            wall: system_clock(),
        }
    }
}

impl fmt::Debug for MetaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetaConfig")
            .field("path", &self.path)
            .field("node", &self.node)
            .field("max_ahead_ns", &self.max_ahead_ns)
            .finish_non_exhaustive()
    }
}

/// Why a store was not taken into use. What is on disk stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum OpenError<E> {
    /// The backend does not open.
    #[error(transparent)]
    Backend(E),
    /// The store cannot be read.
    #[error(transparent)]
    Core(#[from] CoreOpenError<E>),
    /// The record of the node's identity is damaged.
    #[error(
        "the local record 'node-id' of the metadata store is damaged: it has {0} bytes, not 16"
    )]
    NodeId(usize),
    /// The store belongs to another node.
    #[error(
        "the metadata store belongs to node {stored}, not to {wanted}: every node needs a folder of its own"
    )]
    OtherNode {
        /// Identity in the store.
        stored: NodeId,
        /// Identity in the configuration.
        wanted: NodeId,
    },
    /// No thread for the writer.
    #[error("the writer of the metadata store cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

impl OpenError<SledError> {
    /// What happened, without any advice ([`SledError::fact`]).
    #[must_use]
    pub fn fact(&self) -> String {
        match self {
            Self::Backend(error) | Self::Core(CoreOpenError::Store(error)) => error.fact(),
            Self::OtherNode { stored, wanted } => {
                format!("the metadata store belongs to node {stored}, not to {wanted}")
            }
            other => other.to_string(),
        }
    }

    /// Whether the store is damaged ([`SledError::is_damage`]), so that only a new one, refilled, helps.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Backend(error) | Self::Core(CoreOpenError::Store(error)) => error.is_damage(),
            Self::Core(CoreOpenError::Ceiling(_) | CoreOpenError::Collection(_))
            | Self::NodeId(_) => true,
            Self::OtherNode { .. } | Self::Thread(_) => false,
        }
    }

    /// Whether this program cannot use what is on disk, however often it tries: damage, another node's store, or one of
    /// another version. Not so if it is in use, or if the system refuses.
    #[must_use]
    pub const fn is_unusable(&self) -> bool {
        match self {
            Self::Backend(error) | Self::Core(CoreOpenError::Store(error)) => {
                error.is_damage()
                    || matches!(error, SledError::Format { .. } | SledError::Record { .. })
            }
            Self::Core(CoreOpenError::Ceiling(_) | CoreOpenError::Collection(_))
            | Self::NodeId(_)
            | Self::OtherNode { .. } => true,
            Self::Thread(_) => false,
        }
    }
}

/// The identity in the store; made there if it has none, or is to have a new one and nobody wants the old one.
pub(crate) fn identity<S: Store>(
    store: &mut S,
    wanted: Option<NodeId>,
) -> Result<NodeId, OpenError<S::Error>> {
    let anew = store.local(RENUMBER).map_err(OpenError::Backend)?;
    let anew = wanted.is_none() && anew.as_deref() == Some(b"1");
    match store.local(NODE_ID).map_err(OpenError::Backend)? {
        Some(bytes) if !anew => {
            let len = bytes.len();
            let bytes = bytes.try_into().map_err(|_| OpenError::NodeId(len))?;
            let stored = NodeId(u128::from_le_bytes(bytes));
            match wanted {
                Some(wanted) if wanted != stored => Err(OpenError::OtherNode { stored, wanted }),
                _ => Ok(stored),
            }
        }
        _ => {
            let node = wanted.unwrap_or_else(|| NodeId(uuid::Uuid::new_v4().as_u128()));
            let id = node.0.to_le_bytes();
            let record = Write::Local {
                name: NODE_ID,
                value: &id,
            };
            let mut records = vec![record];
            if anew {
                let (name, value) = (RENUMBER, &b"0"[..]);
                records.push(Write::Local { name, value });
            }
            store.commit(&records).map_err(OpenError::Backend)?;
            Ok(node)
        }
    }
}
