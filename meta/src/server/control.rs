//! What the local API needs from the daemon around the store.

use crate::job::Change;
use mars_meta_api::{
    ApiError, ErrorCode, MergeInfo, NodeInfo, Overriding, PeerInfo, Secret, TokenInfo,
};
use mars_meta_model::Entry;
use std::pin::Pin;

/// An answer that may take a while. It is dropped unfinished if the connection of the client fails meanwhile.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>>;

/// News of a resource that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowEvent {
    /// Entries of a whole copy, or changes.
    Entries(Vec<Entry>),
    /// The copy is complete.
    Synced,
    /// What was told is not to be relied on: a new copy follows.
    Lagged,
    /// There is nothing more to be told.
    Ended(ApiError),
}

/// The next news.
pub type Following<'a> = Pin<Box<dyn Future<Output = FollowEvent> + Send + 'a>>;

/// A reader of a resource that this node is no member of. It ends when dropped.
pub trait Follow: Send {
    /// The next news. Safe to cancel.
    fn next(&mut self) -> Following<'_>;
}

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

    /// The join tokens that this node has issued and that have not expired.
    fn list_tokens(&self) -> Answer<'_, Vec<TokenInfo>> {
        Box::pin(async { Err(not_here()) })
    }

    /// Takes a join token back.
    fn revoke_token(&self, _id: String) -> Answer<'_, ()> {
        Box::pin(async { Err(not_here()) })
    }

    /// Joins a cluster by token, at `addr` or at the address in the token.
    fn join_cluster(&self, addr: Option<String>, token: Secret) -> Answer<'_, ()>;

    /// Gives this node's membership up.
    fn leave_cluster(&self, _force: bool) -> Answer<'_, ()> {
        Box::pin(async { Err(not_here()) })
    }

    /// Moves this node to another cluster, or (`check`) only tells what is in the way.
    fn merge_cluster(
        &self,
        _addr: Option<String>,
        _token: Secret,
        _check: bool,
    ) -> Answer<'_, MergeInfo> {
        Box::pin(async { Err(not_here()) })
    }

    /// The private key of the cluster's authority.
    fn export_authority(&self) -> Answer<'_, Secret> {
        Box::pin(async { Err(not_here()) })
    }

    /// Holds the authority of the cluster from now on; `insist`: also where the clock of this node or its standing forbids it.
    fn import_authority(&self, _key: Secret, _insist: bool) -> Answer<'_, ()> {
        Box::pin(async { Err(not_here()) })
    }

    /// Whether a local client may write this batch (owner rule, state of the clock, standing in the cluster), with what an
    /// administrator overrides. Must not block.
    ///
    /// # Errors
    /// Why not.
    fn check_write(&self, _changes: &[Change], _how: Overriding) -> Result<(), ApiError> {
        Ok(())
    }

    /// System clock (ns since the epoch) when `host` was last heard of; `None`: not since this daemon started.
    /// Must not block.
    fn liveness(&self, host: &str) -> Option<u64>;

    /// Follows a resource at one of its members; `None`: the store has all of it.
    ///
    /// # Errors
    /// There is no such resource, or too many are followed.
    fn follow(&self, _res: &str) -> Result<Option<Box<dyn Follow>>, ApiError> {
        Ok(None)
    }

    /// All hosts for which [`Control::liveness`] may know something. Must not block.
    fn hosts(&self) -> Vec<String>;
}

fn not_here() -> ApiError {
    ApiError::new(
        ErrorCode::Unsupported,
        "there is no cluster around this store",
    )
}
