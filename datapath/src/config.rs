//! What the data plane is told at its start.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Settings of one node's data plane. Whoever reads the configuration file fills it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of this host, as in the roster.
    pub host: String,
    /// Socket of the metadata daemon's local API.
    pub socket: PathBuf,
    /// Folder with the node's identity (`identity/`).
    pub state_dir: PathBuf,
    /// Address that log and sync data are served at.
    pub listen: SocketAddr,
    /// Folder of logs and superblocks, one sub-folder per resource. All resources share its filesystem.
    pub log_dir: PathBuf,
    /// Unix socket of the NBD server.
    pub nbd_socket: PathBuf,
    /// TCP address of a second NBD server, loopback only; `None`: none.
    pub nbd_tcp: Option<SocketAddr>,
    /// Length in bytes after which a log segment is closed and the next one begun.
    pub segment_len: u64,
    /// Write the log with plain system calls even where the kernel has io_uring.
    pub without_io_uring: bool,
}
