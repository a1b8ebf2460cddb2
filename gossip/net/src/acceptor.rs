//! What happens to a connection between its first packet and the plane above.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::HandshakeData;
use quinn::{Incoming, Runtime, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::alpn::Alpn;
use crate::cert::{self, PeerIdentity};
use crate::close::{CloseCode, reason_bytes};
use crate::config::Windows;
use crate::connection::{Connection, Registry};
use crate::limits::MAX_STRANGERS;
use crate::policy::PeerPolicy;
use crate::refused::Refused;
use crate::unfinished::{Reception, Unfinished};

/// A peer that passed TLS is not one we talk to. The connection is closed with that code.
#[derive(Clone, Debug)]
pub(crate) struct Unwelcome {
    pub(crate) code: CloseCode,
    pub(crate) reason: String,
    pub(crate) peer: Option<PeerIdentity>,
}

impl Unwelcome {
    fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            peer: None,
        }
    }
}

/// The check behind each handshake, the same for both sides.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) registry: Registry,
    pub(crate) policy: Arc<dyn PeerPolicy>,
    pub(crate) cluster: Option<Uuid>,
    pub(crate) windows: Windows,
    pub(crate) handshake_timeout: Duration,
    pub(crate) refused: Arc<Refused>,
}

impl Gate {
    /// Lets the connection in, or closes it before any byte of a stream was read or written.
    pub(crate) fn admit(&self, quic: quinn::Connection) -> Result<Connection, Unwelcome> {
        self.check(quic.clone()).inspect_err(|no| {
            quic.close(VarInt::from_u32(no.code.code()), reason_bytes(&no.reason));
        })
    }

    fn check(&self, quic: quinn::Connection) -> Result<Connection, Unwelcome> {
        let alpn = agreed(&quic)
            .ok_or_else(|| Unwelcome::new(CloseCode::Protocol, "no protocol agreed"))?;
        let peer = match leaf(&quic) {
            Some(der) => Some(
                cert::read_node(&der)
                    .map_err(|e| Unwelcome::new(CloseCode::NotAllowed, e.to_string()))?,
            ),
            None => None,
        };
        if peer.is_none() && alpn.needs_certificate() {
            let reason = format!("{alpn} needs a certificate of the cluster; join first");
            return Err(Unwelcome::new(CloseCode::NoCertificate, reason));
        }
        // In the register first: a roster change between check and entry must not be missed.
        let connection = self.registry.enter(quic.clone(), alpn, peer);
        if connection.peer().is_none() && self.registry.strangers() > MAX_STRANGERS {
            return Err(Unwelcome::new(CloseCode::Busy, "too many joins at once"));
        }
        if !self.allowed(&connection) {
            let reason = "your node is not in our roster, or not with this key";
            let peer = connection.peer().cloned();
            return Err(Unwelcome {
                peer,
                ..Unwelcome::new(CloseCode::NotAllowed, reason)
            });
        }
        if alpn.needs_certificate() {
            quic.set_receive_window(VarInt::from_u32(self.windows.receive));
            quic.set_max_concurrent_bi_streams(VarInt::from_u32(self.windows.bidi_streams));
            quic.set_max_concurrent_uni_streams(VarInt::from_u32(self.windows.uni_streams));
        }
        Ok(connection)
    }

    /// Whether the connection may go on.
    pub(crate) fn allowed(&self, connection: &Connection) -> bool {
        match connection.peer() {
            Some(peer) if connection.alpn().needs_certificate() => {
                self.cluster == Some(peer.cluster) && self.policy.allows(peer)
            }
            _ => !connection.alpn().needs_certificate(),
        }
    }
}

fn agreed(quic: &quinn::Connection) -> Option<Alpn> {
    let data = quic.handshake_data()?.downcast::<HandshakeData>().ok()?;
    Alpn::from_wire(data.protocol.as_deref()?)
}

fn leaf(quic: &quinn::Connection) -> Option<CertificateDer<'static>> {
    let chain = quic
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    chain.into_iter().next()
}

/// Accepts until the endpoint is closed. Each handshake is a task of its own, so that a slow one
/// holds up nobody.
pub(crate) async fn accept_all(
    endpoint: quinn::Endpoint,
    gate: Gate,
    runtime: Arc<dyn Runtime>,
    accepted: mpsc::Sender<Connection>,
) {
    let unfinished = Unfinished::default();
    while let Some(incoming) = endpoint.accept().await {
        let from = incoming.remote_address();
        match unfinished.reception(from, incoming.may_retry()) {
            Reception::Refuse => incoming.refuse(),
            Reception::ProveAddress => {
                // Refused only when the address is proven already, which `may_retry` excludes.
                let _proven = incoming.retry();
            }
            Reception::ShakeHands => {
                let (gate, accepted) = (gate.clone(), accepted.clone());
                let mut place = unfinished.begin(from);
                runtime.spawn(Box::pin(async move {
                    tokio::select! {
                        biased;
                        () = shake_hands(gate, incoming, accepted) => {}
                        () = place.is_cut() => tracing::debug!(%from, "handshake cut off: too many of this source"),
                    }
                }));
            }
        }
    }
}

async fn shake_hands(gate: Gate, incoming: Incoming, accepted: mpsc::Sender<Connection>) {
    let from: SocketAddr = incoming.remote_address();
    let quic = match timeout(gate.handshake_timeout, incoming).await {
        Ok(Ok(quic)) => quic,
        Ok(Err(error)) => {
            tracing::debug!(%from, %error, "handshake failed");
            return;
        }
        Err(_) => {
            tracing::debug!(%from, "handshake took too long");
            return;
        }
    };
    match gate.admit(quic) {
        Ok(connection) => {
            if let Err(full) = accepted.try_send(connection) {
                full.into_inner()
                    .close(CloseCode::Busy, "too many new connections");
            }
        }
        Err(no) => {
            let peer = no.peer.as_ref().map(ToString::to_string);
            let who = peer.clone().unwrap_or_else(|| from.ip().to_string());
            if let Some(count) = gate.refused.note(&who, Instant::now()) {
                tracing::info!(%from, peer, code = %no.code, reason = no.reason, count, "peer refused");
            }
        }
    }
}
