//! Getting connections: accepting and dialling, up to the greetings.

use crate::link::{Greeted, Spawner, greet};
use crate::{Backend, JoinHandler};
use mars_gossip_net::{Alpn, CloseCode, ConnectError, Endpoint, KeyHash};
use mars_gossip_proto::{Dialect, Hello};
use mars_lamport::Timestamp;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};

/// News of connections.
#[derive(Debug)]
pub(crate) enum Fresh {
    /// Greetings were exchanged.
    Greeted(Box<Greeted>),
    /// A dial came to nothing.
    DialFailed {
        /// Whom we dialled.
        host: String,
        /// Why.
        reason: String,
        /// The peer's roster does not name this node.
        refused: bool,
    },
}

/// What is needed to greet peers that dialled us.
pub(crate) struct Greeter<B> {
    pub(crate) backend: B,
    pub(crate) hello: Hello,
    pub(crate) spawner: Spawner,
    pub(crate) dialect: Dialect,
    pub(crate) to_driver: mpsc::Sender<Fresh>,
}

/// Until the endpoint is closed.
pub(crate) async fn accept_all<B: Backend>(
    endpoint: Endpoint,
    joins: Option<Arc<dyn JoinHandler>>,
    greeter: Greeter<B>,
) {
    let joining = Arc::new(Semaphore::new(crate::limits::JOINS_MAX));
    while let Some(connection) = endpoint.accept().await {
        match (connection.alpn(), &joins) {
            (Alpn::Gossip, _) => {
                let (mut hello, to_driver) = (greeter.hello.clone(), greeter.to_driver.clone());
                let (wall, stamp) = greeter.backend.clock();
                hello.wall = wall;
                let dialect = greeter.dialect;
                (greeter.spawner)(Box::pin(async move {
                    let from = connection.remote_addr();
                    match greet(connection, (&hello, dialect), stamp).await {
                        // The driver may be gone.
                        Ok(greeted) => {
                            let _ = to_driver.send(Fresh::Greeted(Box::new(greeted))).await;
                        }
                        Err((reason, _)) => tracing::debug!(%from, reason, "no greeting"),
                    }
                }));
            }
            (Alpn::Join, Some(joins)) => match Arc::clone(&joining).try_acquire_owned() {
                Ok(permit) => {
                    let serving = joins.serve(connection);
                    (greeter.spawner)(Box::pin(async move {
                        serving.await;
                        drop(permit);
                    }));
                }
                Err(_) => connection.close(CloseCode::Busy, "too many nodes are joining"),
            },
            _ => connection.close(CloseCode::NotAllowed, "not served here"),
        }
    }
}

/// Whom to dial.
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) key: [u8; 32],
    pub(crate) dialect: Dialect,
}

/// Tries all addresses of a peer once.
pub(crate) async fn dial(
    endpoint: Endpoint,
    (hello, stamp): (Hello, Timestamp),
    target: Target,
    to_driver: mpsc::Sender<Fresh>,
) {
    let mut reason = "the roster names no address of it".to_owned();
    let mut refused = false;
    for addr in &target.addrs {
        let expected = Some(KeyHash::from_bytes(target.key));
        match endpoint.connect(*addr, Alpn::Gossip, expected).await {
            Ok(connection) => match greet(connection, (&hello, target.dialect), stamp).await {
                Ok(greeted) => {
                    // The driver may be gone.
                    let _ = to_driver.send(Fresh::Greeted(Box::new(greeted))).await;
                    return;
                }
                Err((error, not_allowed)) => {
                    reason = format!("{addr}: {error}");
                    refused |= not_allowed;
                }
            },
            Err(error) => {
                let not_allowed = CloseCode::NotAllowed;
                refused |=
                    matches!(error, ConnectError::Refused { code, .. } if code == not_allowed);
                reason = error.to_string();
            }
        }
    }
    let host = target.host;
    let failed = Fresh::DialFailed {
        host,
        reason,
        refused,
    };
    let _ = to_driver.send(failed).await;
}
