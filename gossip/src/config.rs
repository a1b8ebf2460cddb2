//! What a daemon is told, and why it ends.

use crate::SummaryPaces;
use crate::driver::DriverError;
use mars_gossip_net::{BindError, IdentityError};
use mars_lamport::DEFAULT_MAX_AHEAD;
use mars_meta::SledError;
use mars_meta_model::NameError;
use mars_meta_model::collect::Paces;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// How a metadata daemon is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of this host.
    pub host: String,
    /// Folder of its state; made if it does not exist. One daemon per folder.
    pub state_dir: PathBuf,
    /// Unix socket of the local API.
    pub socket: PathBuf,
    /// Permission bits of the socket.
    pub socket_mode: u32,
    /// User ids that may use the local API besides root and the daemon's own.
    pub allow_uids: Vec<u32>,
    /// Where the daemon listens for other nodes (UDP).
    pub listen: SocketAddr,
    /// Where other nodes reach the daemon; port 0 stands for the port bound.
    pub advertise: SocketAddr,
    /// Where other nodes reach the data plane of this host.
    pub data_advertise: SocketAddr,
    /// How far received stamps may lie ahead of the system clock, in ns.
    pub max_ahead_ns: u64,
    /// How fast tombstones go; `None`: never.
    pub collect: Option<Paces>,
    /// How often all nodes are told what this host's replicas are.
    pub summaries: SummaryPaces,
}

impl Config {
    /// The usual settings for the four things that have no default.
    #[must_use]
    pub fn new(host: &str, state_dir: PathBuf, socket: PathBuf, listen: SocketAddr) -> Self {
        Self {
            host: host.to_owned(),
            state_dir,
            socket,
            socket_mode: 0o600,
            allow_uids: Vec::new(),
            listen,
            advertise: listen,
            data_advertise: listen,
            max_ahead_ns: DEFAULT_MAX_AHEAD,
            collect: Some(Paces::default()),
            summaries: SummaryPaces::default(),
        }
    }
}

/// Why the daemon did not start, or ended by itself. What was acknowledged is on disk.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The host name breaks a rule.
    #[error(transparent)]
    Host(#[from] NameError),
    /// The state folder cannot be used.
    #[error("the state folder {path} cannot be used: {error}")]
    StateDir {
        /// The folder.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// Another daemon uses the folder.
    #[error(
        "another daemon uses the state folder {0}: stop it first, or give this one a folder of its own"
    )]
    Locked(PathBuf),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] mars_meta::OpenError<SledError>),
    /// The store was written in another cluster, and there is no peer to refill from. It is where it was.
    #[error(
        "the metadata store {path} belongs to cluster {found}, this node to {wanted}, and it knows no peer to refill \
         from: put the right store there, or move the folder away"
    )]
    OtherCluster {
        /// The folder.
        path: PathBuf,
        /// What the store says.
        found: String,
        /// What the identity says.
        wanted: String,
    },
    /// The store opened, but has lost what was written last, and there is no peer to refill from.
    #[error(
        "the metadata store {store} is older than it was: it is damaged, or an old copy, and this node knows no peer to \
         refill from: if it was put there on purpose, remove {witness} and start again; else move the folder away, start \
         the daemon, and read the newest file of marsadm meta export with marsadm meta import"
    )]
    OlderAlone {
        /// The folder.
        store: PathBuf,
        /// The file that says how far it was.
        witness: PathBuf,
    },
    /// The store cannot be used, and the file system has no room for a new one beside it. It is where it was.
    #[error(
        "{reason}; there is no room to fill a new store from the peers: {free} bytes are free beside {path}, {needed} are \
         needed: make room (what was set aside earlier, {path}.bad-SECONDS, may go when nobody needs it) and start again"
    )]
    NoRoom {
        /// The folder.
        path: PathBuf,
        /// What is wrong with the store.
        reason: String,
        /// Bytes that are free.
        free: u64,
        /// Bytes that have to be.
        needed: u64,
    },
    /// The store is damaged, and there is no peer to refill from. It is where it was.
    #[error(
        "{0}; this node knows no peer to refill from: move the folder away, start the daemon, and read the newest \
         file of marsadm meta export with marsadm meta import"
    )]
    DamagedAlone(#[source] mars_meta::OpenError<SledError>),
    /// The socket of the local API.
    #[error(transparent)]
    Socket(#[from] mars_meta::BindError),
    /// Key and certificate do not open.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The state folder belongs to another host.
    #[error(
        "the identity in the state folder is for host '{found}', but this host is called '{host}': \
         set the host name back, or use another state folder"
    )]
    OtherHost {
        /// Name in the certificate.
        found: String,
        /// Configured name.
        host: String,
    },
    /// The authority of the cluster, which lies on this node.
    #[error(transparent)]
    Authority(#[from] mars_gossip_net::CaError),
    /// The address to listen on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A task of the daemon ended; the store failed, most likely.
    #[error(transparent)]
    Driver(#[from] DriverError),
}
