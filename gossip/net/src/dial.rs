//! Dialling a peer.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quinn::{ClientConfig, ConnectionError};
use tokio::time::timeout;
use uuid::Uuid;

use crate::acceptor::Unwelcome;
use crate::alpn::Alpn;
use crate::cert::PeerIdentity;
use crate::close::CloseCode;
use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::key::KeyHash;
use crate::tls::{self, SERVER_NAME, TlsError};
use crate::verify::{Distrust, Trust, Verdict};

/// No connection came about; nothing of ours was sent but the handshake.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint does not speak that protocol, or has no certificate for it.
    #[error("this endpoint cannot dial {0}: it is not set up for it, or has no identity yet")]
    NotOurs(Alpn),
    /// Our own settings.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The dial could not even start.
    #[error("cannot dial {addr}: {source}")]
    Start {
        /// Whom we dialled.
        addr: SocketAddr,
        /// Why not.
        source: quinn::ConnectError,
    },
    /// No answer.
    #[error("{addr} did not answer within {after:?}; is it up, and is UDP let through?")]
    Timeout {
        /// Whom we dialled.
        addr: SocketAddr,
        /// How long we waited.
        after: Duration,
    },
    /// Somebody else's cluster, or no node at all.
    #[error("{addr} is not a node of our cluster: {reason}")]
    Foreign {
        /// Whom we dialled.
        addr: SocketAddr,
        /// What was wrong with its certificate.
        reason: String,
    },
    /// A node of our cluster, but another one.
    #[error("{addr} is {found} with key {}, not the node with key {expected}", found.key)]
    OtherKey {
        /// Whom we dialled.
        addr: SocketAddr,
        /// The key expected.
        expected: KeyHash,
        /// Who answered.
        found: PeerIdentity,
    },
    /// Our own policy says no.
    #[error("{addr} is not allowed here: {reason}")]
    NotAllowed {
        /// Whom we dialled.
        addr: SocketAddr,
        /// Who answered.
        found: Option<PeerIdentity>,
        /// Why not.
        reason: String,
    },
    /// The peer closed already.
    #[error("{addr} refused the connection ({code}): {reason}")]
    Refused {
        /// Whom we dialled.
        addr: SocketAddr,
        /// Its code.
        code: CloseCode,
        /// Its words.
        reason: String,
    },
    /// Anything else on the way.
    #[error("connecting to {addr} failed: {source}")]
    Lost {
        /// Whom we dialled.
        addr: SocketAddr,
        /// What happened.
        source: ConnectionError,
    },
}

impl Endpoint {
    /// Dials a member of our cluster; with `expected`, only the one with that key.
    ///
    /// The peer checks us after our side of the handshake is done: a refusal by the peer shows
    /// as a close with [`CloseCode::NotAllowed`] on the connection returned.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(
        &self,
        addr: SocketAddr,
        alpn: Alpn,
        expected: Option<KeyHash>,
    ) -> Result<Connection, ConnectError> {
        let identity = self
            .0
            .identity
            .as_ref()
            .ok_or(ConnectError::NotOurs(alpn))?;
        if !self.0.alpns.contains(&alpn) {
            return Err(ConnectError::NotOurs(alpn));
        }
        let roots = tls::roots(identity.ca_der())?;
        let trust = Trust::Members {
            roots,
            cluster: identity.cluster(),
            expected,
        };
        self.dial(addr, alpn, trust, expected).await
    }

    /// Dials a node of a cluster that we know by a token only, showing no certificate.
    pub(crate) async fn connect_pinned(
        &self,
        addr: SocketAddr,
        ca: KeyHash,
        cluster: Uuid,
    ) -> Result<Connection, ConnectError> {
        self.dial(addr, Alpn::Join, Trust::Pinned { ca, cluster }, None)
            .await
    }

    async fn dial(
        &self,
        addr: SocketAddr,
        alpn: Alpn,
        trust: Trust,
        expected: Option<KeyHash>,
    ) -> Result<Connection, ConnectError> {
        let verdict = Verdict::new(OnceLock::new());
        let time = Arc::clone(&self.0.time);
        let identity = self.0.identity.as_ref();
        let crypto = tls::client(identity, alpn, trust, time, Arc::clone(&verdict))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::clone(&self.0.transport));
        let connecting = self
            .0
            .quic
            .connect_with(config, addr, SERVER_NAME)
            .map_err(|source| ConnectError::Start { addr, source })?;
        let after = self.0.gate.handshake_timeout;
        match timeout(after, connecting).await {
            Err(_) => Err(ConnectError::Timeout { addr, after }),
            Ok(Err(source)) => Err(explain(addr, source, &verdict, expected, after)),
            Ok(Ok(quic)) => self.0.gate.admit(quic).map_err(|no| {
                let Unwelcome {
                    reason,
                    peer: found,
                    ..
                } = no;
                ConnectError::NotAllowed {
                    addr,
                    found,
                    reason,
                }
            }),
        }
    }
}

fn explain(
    addr: SocketAddr,
    source: ConnectionError,
    verdict: &Verdict,
    expected: Option<KeyHash>,
    after: Duration,
) -> ConnectError {
    match (verdict.get(), expected) {
        (Some(Distrust::Foreign(reason)), _) => {
            return ConnectError::Foreign {
                addr,
                reason: reason.clone(),
            };
        }
        (Some(Distrust::OtherKey(found)), Some(expected)) => {
            return ConnectError::OtherKey {
                addr,
                expected,
                found: found.clone(),
            };
        }
        _ => {}
    }
    match source {
        ConnectionError::TimedOut => ConnectError::Timeout { addr, after },
        ConnectionError::ApplicationClosed(close) => ConnectError::Refused {
            addr,
            code: u32::try_from(close.error_code.into_inner())
                .map_or(CloseCode::Other(u32::MAX), CloseCode::from_code),
            reason: String::from_utf8_lossy(&close.reason).into_owned(),
        },
        source => ConnectError::Lost { addr, source },
    }
}
