//! What the local API needs from the daemon around the store.

use mars_meta_api::{ApiError, NodeInfo, PeerInfo, Secret};
use std::pin::Pin;

/// An answer that may take a while. It is dropped unfinished if the connection of the client fails meanwhile.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>>;

/// The daemon's part of the local API: identity, peers, membership and liveness.
pub trait Control: Send + Sync + 'static {
    /// What this node is.
    fn node(&self) -> Answer<'_, NodeInfo>;

    /// What is known of the nodes of the cluster.
    fn peers(&self) -> Answer<'_, Vec<PeerInfo>>;

    /// Makes this node the first of a new cluster.
    fn create_cluster(&self) -> Answer<'_, ()>;

    /// A token that lets `uses` nodes join within `ttl_secs` seconds.
    fn join_token(&self, ttl_secs: u64, uses: u32) -> Answer<'_, Secret>;

    /// Joins a cluster by token, at `addr` or at the address in the token.
    fn join_cluster(&self, addr: Option<String>, token: Secret) -> Answer<'_, ()>;

    /// System clock (ns since the epoch) when `host` was last heard of; `None`: not since this daemon started.
    /// Must not block.
    fn liveness(&self, host: &str) -> Option<u64>;

    /// All hosts for which [`Control::liveness`] may know something. Must not block.
    fn hosts(&self) -> Vec<String>;
}
