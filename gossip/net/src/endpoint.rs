//! The endpoint: one UDP socket for both roles.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::{Runtime, TokioRuntime, TransportConfig, VarInt};
use rustls::time_provider::TimeProvider;
use tokio::sync::{Mutex, mpsc};

use crate::acceptor::{Gate, accept_all};
use crate::alpn::Alpn;
use crate::close::{CloseCode, reason_bytes};
use crate::config::{EndpointConfig, Seed, Simulated, system_time};
use crate::connection::{Connection, Registry};
use crate::identity::Identity;
use crate::limits::{
    ACCEPT_BACKLOG, INCOMING_BUFFER, INCOMING_BUFFER_TOTAL, MAX_HANDSHAKES, SOCKET_RECEIVE_BUFFER,
};
use crate::restart;
use crate::seeded::{self, WallClock};
use crate::tls::{self, TlsError};

/// One UDP socket that dials and accepts. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone)]
pub struct Endpoint(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) quic: quinn::Endpoint,
    pub(crate) identity: Option<Identity>,
    pub(crate) alpns: Vec<Alpn>,
    pub(crate) transport: Arc<TransportConfig>,
    pub(crate) time: Arc<dyn TimeProvider>,
    pub(crate) gate: Gate,
    accepted: Mutex<mpsc::Receiver<Connection>>,
}

/// The endpoint could not be set up; nothing is bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A setting makes no sense.
    #[error("endpoint settings: {0}")]
    Config(&'static str),
    /// The socket.
    #[error("cannot bind UDP {addr}: {source}; is the address one of this machine, and free?")]
    Socket {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Endpoint {
    /// Binds the configured address. Needs a tokio runtime with IO and time.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(config: EndpointConfig) -> Result<Self, BindError> {
        let addr = config.listen;
        let failed = |source| BindError::Socket { addr, source };
        let socket = UdpSocket::bind(addr).map_err(failed)?;
        enlarge_receive_buffer(&socket, addr);
        let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime);
        let socket = runtime.wrap_udp_socket(socket).map_err(failed)?;
        Self::start(config, socket, runtime, system_time(), None)
    }

    /// The same in a simulated world: no system call, no clock but the given ones.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn with_socket(config: EndpointConfig, world: Simulated) -> Result<Self, BindError> {
        let Simulated {
            socket,
            runtime,
            time,
            seed,
        } = world;
        Self::start(config, socket, runtime, time, Some(seed))
    }

    fn start(
        config: EndpointConfig,
        socket: Arc<dyn quinn::AsyncUdpSocket>,
        runtime: Arc<dyn Runtime>,
        time: Arc<dyn TimeProvider>,
        seed: Option<Seed>,
    ) -> Result<Self, BindError> {
        let transport = config.dialing()?;
        let server = server_config(&config, &time, seed.as_ref())?;
        let serves = server.is_some();
        let settings = match (&seed, &config.identity) {
            (Some(seed), _) => seeded::endpoint_config(seed),
            (None, Some(identity)) => restart::endpoint_config(identity.key(), &config.alpns),
            (None, None) => quinn::EndpointConfig::default(),
        };
        let addr = config.listen;
        let quic =
            quinn::Endpoint::new_with_abstract_socket(settings, server, socket, runtime.clone())
                .map_err(|source| BindError::Socket { addr, source })?;
        let gate = Gate {
            registry: Registry::default(),
            policy: config.policy,
            cluster: config.identity.as_ref().map(Identity::cluster),
            windows: config.windows,
            handshake_timeout: config.handshake_timeout,
            refused: Arc::default(),
        };
        let (tx, rx) = mpsc::channel(ACCEPT_BACKLOG);
        if serves {
            let accepting = accept_all(quic.clone(), gate.clone(), runtime.clone(), tx);
            runtime.spawn(Box::pin(accepting));
        }
        Ok(Self(Arc::new(Shared {
            quic,
            identity: config.identity,
            alpns: config.alpns,
            transport,
            time,
            gate,
            accepted: Mutex::new(rx),
        })))
    }

    /// The address bound, with the real port.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.quic.local_addr()
    }

    /// Who we are, unless only joining.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.0.identity.as_ref()
    }

    /// Seconds since 1970 by the endpoint's wall clock; 0 if it has none.
    #[must_use]
    pub fn unix_time(&self) -> u64 {
        self.0.time.current_time().map_or(0, |t| t.as_secs())
    }

    /// The next peer that dialled us, through the handshake and allowed; `None` when closed, and
    /// at once for an endpoint without identity.
    pub async fn accept(&self) -> Option<Connection> {
        self.0.accepted.lock().await.recv().await
    }

    /// Connections alive now, oldest first.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        self.0.gate.registry.all()
    }

    /// Asks the policy again about each live connection and closes those not allowed any more.
    /// Call it when the roster has changed. Returns how many were closed.
    pub fn enforce_policy(&self) -> usize {
        let mut closed = 0;
        for connection in self.connections() {
            if connection.close_reason().is_none() && !self.0.gate.allowed(&connection) {
                tracing::info!(
                    peer = connection.peer().map(ToString::to_string),
                    "peer dropped"
                );
                connection.close(CloseCode::NotAllowed, "your node left our roster");
                closed += 1;
            }
        }
        closed
    }

    /// Closes all connections and takes no more.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.0
            .quic
            .close(VarInt::from_u32(code.code()), reason_bytes(reason));
    }

    /// Waits until the peers know of the close, or time is up for them.
    pub async fn wait_idle(&self) {
        self.0.quic.wait_idle().await;
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The accepting task holds a handle too; it ends by this.
        self.quic
            .close(VarInt::from_u32(CloseCode::Done.code()), b"");
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("local", &self.0.quic.local_addr().ok())
            .field("identity", &self.0.identity)
            .field("alpns", &self.0.alpns)
            .finish_non_exhaustive()
    }
}

fn server_config(
    config: &EndpointConfig,
    time: &Arc<dyn TimeProvider>,
    seed: Option<&Seed>,
) -> Result<Option<quinn::ServerConfig>, BindError> {
    let Some(identity) = &config.identity else {
        return Ok(None);
    };
    let crypto = Arc::new(tls::server(identity, &config.alpns, Arc::clone(time))?);
    let mut server = match seed {
        Some(seed) => quinn::ServerConfig::new(crypto, seeded::token_key(seed)),
        None => quinn::ServerConfig::with_crypto(crypto),
    };
    let mut tokens = quinn::ValidationTokenConfig::default();
    tokens.sent(0);
    server
        .transport_config(config.accepting()?)
        .max_incoming(MAX_HANDSHAKES)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER_TOTAL)
        .validation_token_config(tokens)
        .time_source(Arc::new(WallClock(Arc::clone(time))));
    Ok(Some(server))
}

/// Best effort: with a small buffer a burst is lost and sent again, nothing worse.
fn enlarge_receive_buffer(socket: &UdpSocket, addr: SocketAddr) {
    use rustix::net::sockopt;
    let want = SOCKET_RECEIVE_BUFFER;
    let forced = sockopt::set_socket_recv_buffer_size_force(socket, want);
    let set = forced.or_else(|_| sockopt::set_socket_recv_buffer_size(socket, want));
    let have = sockopt::socket_recv_buffer_size(socket).unwrap_or(0);
    if set.is_err() || have < want {
        tracing::warn!(
            %addr, have, want,
            "small UDP receive buffer: bursts may be lost; raise net.core.rmem_max"
        );
    }
}
