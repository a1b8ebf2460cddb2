//! How an endpoint is set up.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::{ControllerFactory, CubicConfig};
use quinn::{
    AckFrequencyConfig, AsyncUdpSocket, IdleTimeout, MtuDiscoveryConfig, Runtime, TransportConfig,
    VarInt,
};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

use crate::alpn::Alpn;
use crate::endpoint::BindError;
use crate::identity::Identity;
use crate::limits::{
    HANDSHAKE_TIMEOUT, METADATA_INITIAL_WINDOW, STRANGER_STREAMS, STRANGER_WINDOW,
};
use crate::policy::{AllowMembers, PeerPolicy};

/// Memory one authenticated connection may take, and streams it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Unread bytes of one stream.
    pub stream_receive: u32,
    /// Unread bytes of all streams together.
    pub receive: u32,
    /// Written bytes that the peer has not acknowledged.
    pub send: u32,
    /// One-way streams the peer may have open.
    pub uni_streams: u32,
    /// Two-way streams the peer may have open.
    pub bidi_streams: u32,
    /// Bytes of datagrams not yet read.
    pub datagram_receive: u32,
    /// Bytes of datagrams not yet sent.
    pub datagram_send: u32,
}

impl Windows {
    /// For metadata: one stream of small messages, and datagrams of some ten bytes. A node has some ten to thirty such
    /// connections, whatever the size of the cluster.
    pub const METADATA: Self = Self {
        stream_receive: 256 << 10,
        receive: 312 << 10,
        send: 312 << 10,
        uni_streams: 4,
        bidi_streams: 4,
        datagram_receive: 4 << 10,
        datagram_send: 4 << 10,
    };

    /// The most that one connection can hold: what the peer sent and nobody read, and what was written and not
    /// acknowledged.
    #[must_use]
    pub const fn bytes(&self) -> u32 {
        self.receive + self.send + self.datagram_receive + self.datagram_send
    }
}

/// What [`Endpoint::bind`](crate::Endpoint::bind) needs. Made by one of the profiles, then adapted.
#[derive(Clone)]
pub struct EndpointConfig {
    /// Who we are; without it the endpoint can only redeem a join token.
    pub identity: Option<Identity>,
    /// Local address; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Protocols served to others, and those we may dial.
    pub alpns: Vec<Alpn>,
    /// Who may talk to us.
    pub policy: Arc<dyn PeerPolicy>,
    /// A connection silent for so long is dead; the smaller one of both sides counts.
    pub idle_timeout: Duration,
    /// Sends something after so much silence; well below the idle timeout. `None` when the plane
    /// above sends often enough itself; one side is enough.
    pub keep_alive: Option<Duration>,
    /// Round trip assumed before the first measurement.
    pub initial_rtt: Duration,
    /// A handshake that takes longer is given up.
    pub handshake_timeout: Duration,
    /// Memory and streams per connection.
    pub windows: Windows,
    /// Looks for packets larger than 1,200 bytes: worth it for bulk data only.
    pub mtu_discovery: bool,
    /// Packets overtaken before one is taken for lost.
    pub packet_threshold: u32,
    /// Round trips waited before a packet is taken for lost.
    pub time_threshold: f32,
    /// Longest time for which the peer may keep an acknowledgement back, if it knows how to be told so: a lost packet is
    /// sent again that much earlier. `None`: as the peer likes (25 ms).
    pub ack_delay: Option<Duration>,
    /// Another congestion control than the library's own.
    pub congestion: Option<Arc<dyn ControllerFactory + Send + Sync>>,
}

/// Within a resource a change takes one way only; when its packet is lost, the next try is this much later than needed.
const ACK_DELAY: Duration = Duration::from_millis(5);

impl EndpointConfig {
    /// For metadata: small messages, small memory; serves gossip and joining.
    #[must_use]
    pub fn metadata(identity: Identity, listen: SocketAddr, policy: Arc<dyn PeerPolicy>) -> Self {
        Self {
            identity: Some(identity),
            listen,
            alpns: vec![Alpn::Gossip, Alpn::Join],
            policy,
            idle_timeout: Duration::from_secs(30),
            keep_alive: None,
            initial_rtt: Duration::from_millis(100),
            handshake_timeout: HANDSHAKE_TIMEOUT,
            windows: Windows::METADATA,
            mtu_discovery: false,
            packet_threshold: 3,
            time_threshold: 9.0 / 8.0,
            ack_delay: Some(ACK_DELAY),
            congestion: Some(Arc::new(eager())),
        }
    }

    /// For logs and disks: windows for 1 Gbit/s over 250 ms, tolerant of reordering.
    #[must_use]
    pub fn bulk(identity: Identity, listen: SocketAddr, policy: Arc<dyn PeerPolicy>) -> Self {
        let mut config = Self::metadata(identity, listen, policy);
        config.alpns = vec![Alpn::Data];
        // A silent fetch shall notice soon that its source was restarted.
        config.keep_alive = Some(Duration::from_secs(2));
        config.idle_timeout = Duration::from_secs(15);
        config.windows = Windows {
            stream_receive: 32 << 20,
            receive: 64 << 20,
            send: 32 << 20,
            uni_streams: 64,
            bidi_streams: 64,
            datagram_receive: 64 << 10,
            datagram_send: 64 << 10,
        };
        config.mtu_discovery = true;
        config.packet_threshold = 16;
        config.time_threshold = 2.0;
        config.ack_delay = None;
        config.congestion = None;
        config
    }

    /// For a machine that is no member yet: dials to join, serves nothing.
    #[must_use]
    pub fn joining(listen: SocketAddr) -> Self {
        Self {
            identity: None,
            listen,
            alpns: vec![Alpn::Join],
            policy: Arc::new(AllowMembers),
            idle_timeout: Duration::from_secs(30),
            keep_alive: None,
            initial_rtt: Duration::from_millis(100),
            handshake_timeout: HANDSHAKE_TIMEOUT,
            windows: Windows {
                stream_receive: 256 << 10,
                receive: 256 << 10,
                send: 64 << 10,
                uni_streams: 0,
                bidi_streams: 0,
                datagram_receive: 4 << 10,
                datagram_send: 4 << 10,
            },
            mtu_discovery: false,
            packet_threshold: 3,
            time_threshold: 9.0 / 8.0,
            ack_delay: None,
            congestion: None,
        }
    }

    fn transport(&self) -> Result<TransportConfig, BindError> {
        let idle = IdleTimeout::try_from(self.idle_timeout)
            .map_err(|_| BindError::Config("the idle timeout is too long"))?;
        let w = self.windows;
        let bytes = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let mut t = TransportConfig::default();
        t.max_idle_timeout(Some(idle))
            .keep_alive_interval(self.keep_alive)
            .initial_rtt(self.initial_rtt)
            .stream_receive_window(VarInt::from_u32(w.stream_receive))
            .receive_window(VarInt::from_u32(w.receive))
            .send_window(u64::from(w.send))
            .max_concurrent_uni_streams(VarInt::from_u32(w.uni_streams))
            .max_concurrent_bidi_streams(VarInt::from_u32(w.bidi_streams))
            .datagram_receive_buffer_size(Some(bytes(w.datagram_receive)))
            .datagram_send_buffer_size(bytes(w.datagram_send))
            .packet_threshold(self.packet_threshold)
            .time_threshold(self.time_threshold)
            .ack_frequency_config(self.ack_delay.map(ack_frequency))
            .mtu_discovery_config(self.mtu_discovery.then(MtuDiscoveryConfig::default));
        if let Some(factory) = &self.congestion {
            t.congestion_controller_factory(Arc::clone(factory));
        }
        Ok(t)
    }

    /// For connections we dial: the peer is authenticated when the handshake ends.
    pub(crate) fn dialing(&self) -> Result<Arc<TransportConfig>, BindError> {
        self.transport().map(Arc::new)
    }

    /// For connections we accept: little, until the peer is known. See [`Windows`] for the rest.
    pub(crate) fn accepting(&self) -> Result<Arc<TransportConfig>, BindError> {
        let mut t = self.transport()?;
        t.receive_window(VarInt::from_u32(STRANGER_WINDOW.min(self.windows.receive)))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .max_concurrent_bidi_streams(VarInt::from_u32(STRANGER_STREAMS));
        Ok(Arc::new(t))
    }
}

/// The library's own congestion control, with a larger first window.
fn eager() -> CubicConfig {
    let mut config = CubicConfig::default();
    config.initial_window(METADATA_INITIAL_WINDOW);
    config
}

fn ack_frequency(delay: Duration) -> AckFrequencyConfig {
    let mut config = AckFrequencyConfig::default();
    config.max_ack_delay(Some(delay));
    config
}

impl fmt::Debug for EndpointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointConfig")
            .field("identity", &self.identity)
            .field("listen", &self.listen)
            .field("alpns", &self.alpns)
            .field("idle_timeout", &self.idle_timeout)
            .field("keep_alive", &self.keep_alive)
            .field("windows", &self.windows)
            .finish_non_exhaustive()
    }
}

/// Seed of what the QUIC layer draws at random. Only for simulations: it makes connection ids and
/// address tokens predictable.
pub type Seed = [u8; 32];

/// The world of a simulated endpoint, in place of the system's socket, tasks and clocks.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// Where packets go and come from.
    pub socket: Arc<dyn AsyncUdpSocket>,
    /// Spawns tasks and tells the monotonic time; tokio timers must agree with it.
    pub runtime: Arc<dyn Runtime>,
    /// Wall clock, for the validity of certificates and tokens.
    pub time: Arc<dyn TimeProvider>,
    /// Makes lengths and timing repeatable. Random bytes inside TLS remain random, but their
    /// number does not vary.
    pub seed: Seed,
}

pub(crate) fn system_time() -> Arc<dyn TimeProvider> {
    Arc::new(DefaultTimeProvider)
}
