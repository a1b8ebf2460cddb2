//! The authority of the cluster: on which nodes its key lies, and how it gets to another one.

use crate::control::no_cluster;
use crate::daemon::Daemon;
use crate::guard::check_state;
use crate::roster::{CA_HOST, set};
use mars_gossip_net::ClusterCa;
use mars_meta::Change;
use mars_meta_api::{ApiError, ErrorCode, Secret};
use mars_meta_model::{Key, View};
use std::sync::{Arc, Mutex, PoisonError};

/// The authority, if it lies on this node. Shared with those who admit nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authority(Arc<Mutex<Option<Arc<ClusterCa>>>>);

impl Authority {
    pub(crate) fn get(&self) -> Option<Arc<ClusterCa>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set(&self, ca: Option<Arc<ClusterCa>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ca;
    }
}

/// Whether `host` admits nodes: another one that the cluster names as the holder of the authority has taken that over, also if
/// the key still lies here.
pub(crate) fn is_holder(view: &dyn View, host: &str) -> bool {
    let named = Key::parse(CA_HOST).ok();
    let named = named.and_then(|key| view.entry(&key)?.text());
    named.is_none_or(|named| named == host)
}

/// The authority, to admit nodes with it.
pub(crate) fn to_admit(daemon: &Daemon) -> Result<Arc<ClusterCa>, ApiError> {
    let host = daemon.config.host.as_str();
    let holder = daemon.meta.with_table(|table| is_holder(table, host));
    let ca = daemon.authority.get().filter(|_| holder);
    ca.ok_or_else(|| not_here(daemon))
}

/// The refusal of what only the holder of the authority can do.
pub(crate) fn not_here(daemon: &Daemon) -> ApiError {
    let holder = daemon
        .meta
        .with_table(|t| t.text(CA_HOST).map(str::to_owned));
    let holder = holder.unwrap_or_else(|| "the node that created the cluster".to_owned());
    let message = if daemon.authority.get().is_some() {
        "another node has taken over the authority of the cluster"
    } else {
        "this node does not hold the authority of the cluster"
    };
    ApiError::new(ErrorCode::Refused, message).with_hint(format!(
        "do it on {holder}; if that node is lost, restore the authority here: marsadm ca import FILE"
    ))
}

/// The private key, for a backup.
pub(crate) fn export(daemon: &Daemon) -> Result<Secret, ApiError> {
    daemon.identity().ok_or_else(no_cluster)?;
    let ca = daemon.authority.get().ok_or_else(|| not_here(daemon))?;
    let pem = ca
        .key_pem()
        .map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))?;
    Ok(Secret(pem.to_string()))
}

/// Takes the authority over: it is saved, tokens can be made here at once, and the cluster is told.
pub(crate) async fn import(daemon: &Daemon, key: Secret, insist: bool) -> Result<(), ApiError> {
    let _guard = daemon.membership.lock().await;
    let identity = daemon.identity().ok_or_else(no_cluster)?;
    let ca = ClusterCa::from_pem(&key.0, identity.ca_der()).map_err(|error| {
        ApiError::new(ErrorCode::BadRequest, error.to_string())
            .with_hint("give the file that marsadm ca export wrote on a node of this cluster")
    })?;
    let told: Vec<Change> = set(CA_HOST, &daemon.config.host).into_iter().collect();
    check_state(daemon, &told, insist)?;
    let saved = ca.save(&daemon.state.identity());
    saved.map_err(|error| ApiError::new(ErrorCode::Storage, error.to_string()))?;
    daemon.authority.set(Some(Arc::new(ca)));
    if !told.is_empty() {
        let written = daemon.meta.apply(told, false).await;
        written.map_err(|error| ApiError::new(ErrorCode::Storage, error.to_string()))?;
    }
    tracing::warn!(
        host = daemon.config.host,
        "this node holds the authority of the cluster now"
    );
    Ok(())
}
