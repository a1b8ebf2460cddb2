//! Founding a cluster.

use crate::control::already_in_cluster;
use crate::daemon::Daemon;
use crate::roster::founding;
use mars_gossip_net::{ClusterCa, Identity, NodeKey};
use mars_meta_api::{ApiError, ErrorCode};
use std::sync::Arc;
use uuid::Uuid;

fn failed(error: impl std::fmt::Display) -> ApiError {
    let message = format!("the cluster could not be created: {error}");
    ApiError::new(ErrorCode::Internal, message)
}

/// Makes authority, certificate and the first entries.
///
/// The identity is saved before the entries are written: if the daemon ends in between, the next start writes them,
/// except for the cluster's name, which no function depends on.
pub(crate) async fn create_cluster(daemon: &Arc<Daemon>) -> Result<(), ApiError> {
    let _guard = daemon.membership.lock().await;
    already_in_cluster(daemon)?;
    if daemon.config.advertise.ip().is_unspecified() {
        let message = "this node's own address is not configured, so others could not reach it";
        return Err(ApiError::new(ErrorCode::Refused, message).with_hint(
            "set the address to advertise in the configuration and restart the daemon",
        ));
    }
    let host = &daemon.config.host;
    let dir = daemon.state.identity();
    let authority = ClusterCa::create(Uuid::new_v4(), host).map_err(failed)?;
    let key = own_key(daemon)?;
    let node = Uuid::from_u128(daemon.meta.node().0);
    let request = key.csr(node, host).map_err(failed)?;
    let cert = authority.sign_csr(&request, node, host).map_err(failed)?;
    let identity = Identity::new(key, &cert, authority.cert_der()).map_err(failed)?;
    authority.save(&dir).map_err(failed)?;
    identity.save(&dir).map_err(failed)?;
    let first = founding(host, daemon.meta.clock().0);
    daemon.start(identity, first).await.map_err(failed)?;
    tracing::info!(host, "cluster created");
    Ok(())
}

/// The key of an earlier try, or a new one, which is kept: a join whose answer was lost is repeated with it.
pub(crate) fn own_key(daemon: &Daemon) -> Result<NodeKey, ApiError> {
    let dir = daemon.state.identity();
    if dir.join(NodeKey::FILE).exists() {
        return NodeKey::load(&dir).map_err(failed);
    }
    let key = Identity::generate_key().map_err(failed)?;
    key.save(&dir).map_err(failed)?;
    Ok(key)
}
