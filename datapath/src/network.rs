//! The data plane's endpoint: open as long as the node has an identity, and under the one that it has now.

use crate::config::Config;
use crate::mirror::Mirror;
use crate::replicate::{Peers, RosterPolicy, serve};
use crate::resource::Registry;
use mars_gossip_net::{Endpoint, EndpointConfig, Identity};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often a missing identity is looked for.
const IDENTITY_RETRY: Duration = Duration::from_millis(200);
/// How often it is looked whether the identity is still the same: after `leave-cluster` and `join-cluster` or
/// `merge-cluster` it is not.
const IDENTITY_LOOK: Duration = Duration::from_secs(1);
/// Longest wait for the connections under an identity that was given up.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits for an identity, opens the endpoint, serves peers, and cuts off those who leave the roster. When the node's identity
/// is given up or another one, all of it begins anew.
pub(crate) async fn network(
    config: Config,
    mirror: Arc<Mirror>,
    peers: Arc<Peers>,
    registry: Arc<Registry>,
) {
    let dir = config.state_dir.join("identity");
    loop {
        let (endpoint, certificate) = open(&dir, &config, &mirror).await;
        tracing::info!(listen = %config.listen, "serving other data planes");
        peers.set_endpoint(endpoint.clone());
        let serving = serve(endpoint.clone(), Arc::clone(&registry), Arc::clone(&peers));
        let serving = tokio::spawn(serving);
        if !changed(&dir, &certificate, &mirror, &endpoint).await {
            // The store is no longer followed: the data plane ends.
            return;
        }
        tracing::warn!(
            "this node's identity is no longer the one of before: all connections to other data planes end, and begin anew \
             under the new one"
        );
        drop(endpoint);
        if tokio::time::timeout(CLOSE_TIMEOUT, peers.close())
            .await
            .is_err()
        {
            tracing::warn!("connections under the former identity do not end");
        }
        // The address is free when nobody accepts any more. It has ended by itself, unless it hangs.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, serving).await;
    }
}

/// The endpoint, as soon as there is an identity and the address is free, and the certificate of that identity.
async fn open(dir: &Path, config: &Config, mirror: &Arc<Mirror>) -> (Endpoint, Vec<u8>) {
    let mut told = String::new();
    loop {
        // Read before the identity: one that changes meanwhile is noticed.
        let certificate = certificate(dir);
        match bind(dir, config, mirror) {
            Ok(endpoint) => return (endpoint, certificate.unwrap_or_default()),
            Err(reason) if reason != told => {
                tracing::info!(reason, "waiting for an identity and an address");
                told = reason;
            }
            Err(_) => {}
        }
        tokio::time::sleep(IDENTITY_RETRY).await;
    }
}

/// Waits until the identity in the folder is another one than that of `before`; the policy follows the roster meanwhile.
/// `false`: the store is no longer followed.
async fn changed(dir: &Path, before: &[u8], mirror: &Mirror, endpoint: &Endpoint) -> bool {
    let mut changes = mirror.subscribe();
    let mut look = tokio::time::interval(IDENTITY_LOOK);
    loop {
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return false;
                }
                endpoint.enforce_policy();
            }
            _ = look.tick() => {
                if certificate(dir).as_deref() != Some(before) {
                    return true;
                }
            }
        }
    }
}

/// The file as it is; `None` if there is none, or it cannot be read. It is small, and on a local disk.
fn certificate(dir: &Path) -> Option<Vec<u8>> {
    std::fs::read(dir.join(Identity::CERT_FILE)).ok()
}

fn bind(dir: &Path, config: &Config, mirror: &Arc<Mirror>) -> Result<Endpoint, String> {
    let identity = Identity::load(dir).map_err(|error| error.to_string())?;
    let policy = Arc::new(RosterPolicy(Arc::clone(mirror)));
    Endpoint::bind(EndpointConfig::bulk(identity, config.listen, policy))
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_gossip_net::ClusterCa;
    use uuid::Uuid;

    fn join(dir: &Path, cluster: Uuid) {
        let ca = ClusterCa::create(cluster, "test").unwrap();
        let key = Identity::generate_key().unwrap();
        let id = Uuid::new_v4();
        let csr = key.csr(id, "hosta").unwrap();
        let cert = ca.sign_csr(&csr, id, "hosta").unwrap();
        let identity = Identity::new(key, &cert, ca.cert_der()).unwrap();
        std::fs::create_dir_all(dir).unwrap();
        identity.save(dir).unwrap();
    }

    async fn under(peers: &Peers, cluster: Option<Uuid>) {
        let look = async {
            while peers.cluster() != cluster {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(30), look).await;
        assert!(found.is_ok(), "{cluster:?}");
    }

    #[tokio::test]
    async fn the_endpoint_follows_the_identity() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("identity");
        let config = Config {
            host: "hosta".to_owned(),
            socket: folder.path().join("none"),
            state_dir: folder.path().to_owned(),
            listen: free_addr(),
            log_dir: folder.path().join("log"),
            nbd_socket: folder.path().join("nbd"),
            nbd_tcp: None,
            segment_len: 1 << 20,
            without_io_uring: true,
        };
        let mirror = Mirror::start(config.socket.clone());
        let peers = Arc::new(Peers::new(Arc::clone(&mirror)));
        let task = tokio::spawn(network(
            config,
            Arc::clone(&mirror),
            Arc::clone(&peers),
            Arc::default(),
        ));
        let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
        join(&dir, first);
        under(&peers, Some(first)).await;
        // As leave-cluster does it, certificate first; then join-cluster, at the same address.
        std::fs::remove_file(dir.join(Identity::CERT_FILE)).unwrap();
        under(&peers, None).await;
        join(&dir, second);
        under(&peers, Some(second)).await;
        task.abort();
        mirror.stop();
    }

    fn free_addr() -> std::net::SocketAddr {
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        std::net::UdpSocket::bind(any)
            .unwrap()
            .local_addr()
            .unwrap()
    }
}
