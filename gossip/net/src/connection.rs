//! A connection to a peer that passed the handshake.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use quinn::{ConnectionError, SendDatagramError, Side, VarInt};

use crate::alpn::Alpn;
use crate::cert::PeerIdentity;
use crate::close::{CloseCode, reason_bytes};
use crate::frame::{FrameReceiver, FrameSender};
use crate::limits::MAX_DATAGRAM;

/// A connection to a peer that passed the handshake. Cheap to clone; closed when the last clone
/// and the last of its streams are dropped.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

/// What a stream holds on to.
pub(crate) type Keep = Arc<Inner>;

pub(crate) struct Inner {
    quic: quinn::Connection,
    alpn: Alpn,
    peer: Option<PeerIdentity>,
    registered: Option<(Registry, u64)>,
}

/// A datagram was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// Longer than what every path carries.
    #[error("a datagram of {0} bytes is longer than the {MAX_DATAGRAM} that every path carries")]
    TooLarge(usize),
    /// The peer takes none.
    #[error("the peer takes no datagrams")]
    Unsupported,
    /// The connection is gone.
    #[error("connection lost: {0}")]
    Lost(ConnectionError),
}

impl Connection {
    /// Who the peer is. `None` only for [`Alpn::Join`].
    #[must_use]
    pub fn peer(&self) -> Option<&PeerIdentity> {
        self.0.peer.as_ref()
    }

    /// The protocol agreed.
    #[must_use]
    pub fn alpn(&self) -> Alpn {
        self.0.alpn
    }

    /// Whether we dialled.
    #[must_use]
    pub fn is_outgoing(&self) -> bool {
        self.0.quic.side() == Side::Client
    }

    /// Where the peer's packets come from now.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.0.quic.remote_address()
    }

    /// A number that tells this connection from all others of the endpoint.
    #[must_use]
    pub fn stable_id(&self) -> usize {
        self.0.quic.stable_id()
    }

    /// Opens a stream for both directions; the peer sees it with the first bytes. Frames read
    /// from it may have bodies of at most `limit` bytes.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn open_bi(
        &self,
        limit: u32,
    ) -> Result<(FrameSender, FrameReceiver), ConnectionError> {
        let (tx, rx) = self.0.quic.open_bi().await?;
        Ok(self.pair(tx, rx, limit))
    }

    /// The next stream for both directions that the peer opened.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn accept_bi(
        &self,
        limit: u32,
    ) -> Result<(FrameSender, FrameReceiver), ConnectionError> {
        let (tx, rx) = self.0.quic.accept_bi().await?;
        Ok(self.pair(tx, rx, limit))
    }

    fn pair(
        &self,
        tx: quinn::SendStream,
        rx: quinn::RecvStream,
        limit: u32,
    ) -> (FrameSender, FrameReceiver) {
        let keep = || Arc::clone(&self.0);
        (
            FrameSender::new(tx, keep()),
            FrameReceiver::new(rx, limit, keep()),
        )
    }

    /// Opens a stream towards the peer.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn open_uni(&self) -> Result<FrameSender, ConnectionError> {
        let tx = self.0.quic.open_uni().await?;
        Ok(FrameSender::new(tx, Arc::clone(&self.0)))
    }

    /// The next stream from the peer.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn accept_uni(&self, limit: u32) -> Result<FrameReceiver, ConnectionError> {
        let rx = self.0.quic.accept_uni().await?;
        Ok(FrameReceiver::new(rx, limit, Arc::clone(&self.0)))
    }

    /// Sends a datagram that may get lost. When too many wait, the oldest is thrown away.
    ///
    /// # Errors
    /// Too large, not taken by the peer, or the connection is lost.
    pub fn send_datagram(&self, data: Bytes) -> Result<(), DatagramError> {
        let len = data.len();
        if len > MAX_DATAGRAM {
            return Err(DatagramError::TooLarge(len));
        }
        self.0.quic.send_datagram(data).map_err(|e| match e {
            SendDatagramError::TooLarge => DatagramError::TooLarge(len),
            SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled => {
                DatagramError::Unsupported
            }
            SendDatagramError::ConnectionLost(e) => DatagramError::Lost(e),
        })
    }

    /// The next datagram. Cancel safe.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn read_datagram(&self) -> Result<Bytes, ConnectionError> {
        self.0.quic.read_datagram().await
    }

    /// Closes at once; what is not delivered yet is lost. The peer learns code and reason.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.0
            .quic
            .close(VarInt::from_u32(code.code()), reason_bytes(reason));
    }

    /// Waits until the connection is closed by whomever, and says why.
    pub async fn closed(&self) -> ConnectionError {
        self.0.quic.closed().await
    }

    /// Why it is closed, if it is.
    #[must_use]
    pub fn close_reason(&self) -> Option<ConnectionError> {
        self.0.quic.close_reason()
    }

    /// Round trip, smoothed.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.0.quic.rtt()
    }

    /// Counters of the transport: packets, losses, congestion window.
    #[must_use]
    pub fn stats(&self) -> quinn::ConnectionStats {
        self.0.quic.stats()
    }

    /// 32 bytes that only the two ends of this connection know (RFC 5705).
    ///
    /// # Errors
    /// When TLS refuses the label.
    pub fn export_keying_material(
        &self,
        label: &[u8],
        context: &[u8],
    ) -> Result<[u8; 32], ExportError> {
        let mut out = [0; 32];
        match self.0.quic.export_keying_material(&mut out, label, context) {
            Ok(()) => Ok(out),
            Err(_) => Err(ExportError),
        }
    }
}

/// TLS gave no key material.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("TLS exports no key material")]
pub struct ExportError;

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("alpn", &self.alpn)
            .field("peer", &self.peer)
            .field("remote", &self.quic.remote_address())
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some((registry, number)) = &self.registered {
            registry.lock().live.remove(number);
        }
    }
}

/// The live connections of an endpoint.
#[derive(Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<Live>>);

#[derive(Default)]
struct Live {
    next: u64,
    live: BTreeMap<u64, Weak<Inner>>,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Live> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in; it leaves by itself.
    pub(crate) fn enter(
        &self,
        quic: quinn::Connection,
        alpn: Alpn,
        peer: Option<PeerIdentity>,
    ) -> Connection {
        let mut live = self.lock();
        let number = live.next;
        live.next += 1;
        let registered = Some((self.clone(), number));
        let inner = Arc::new(Inner {
            quic,
            alpn,
            peer,
            registered,
        });
        live.live.insert(number, Arc::downgrade(&inner));
        Connection(inner)
    }

    /// Those alive now, oldest first.
    pub(crate) fn all(&self) -> Vec<Connection> {
        // Collected before the lock is let go: dropping the last handle takes it again.
        let live = self.lock();
        live.live
            .values()
            .filter_map(Weak::upgrade)
            .map(Connection)
            .collect()
    }

    /// Peers without a certificate.
    pub(crate) fn strangers(&self) -> usize {
        self.all()
            .iter()
            .filter(|c| c.peer().is_none() && c.close_reason().is_none())
            .count()
    }
}
