//! QUIC endpoint with mutual TLS identity.
//!
//! Who a peer is, is proven by its certificate; whether it may talk to us is decided by a
//! [`PeerPolicy`] above this crate (the roster). This crate moves frames, raw bytes and datagrams
//! between two such peers and knows no message of either plane. A machine without a certificate
//! can do one thing only: redeem a join token ([`join`]).
//!
//! Formats: `docs/spec/identity.md`.
#![forbid(unsafe_code)]

mod acceptor;
mod alpn;
mod ca;
mod cert;
mod close;
mod config;
mod connection;
mod dial;
mod endpoint;
mod files;
mod frame;
mod identity;
pub mod join;
mod key;
pub mod limits;
mod policy;
mod refused;
mod restart;
mod seeded;
mod tls;
mod token;
mod unfinished;
mod utc;
mod verify;

pub use alpn::Alpn;
pub use ca::{CaError, ClusterCa, SignError};
pub use cert::{CertError, PeerIdentity};
pub use close::CloseCode;
pub use config::{EndpointConfig, Seed, Simulated, Windows};
pub use connection::{Connection, DatagramError, ExportError};
pub use dial::ConnectError;
pub use endpoint::{BindError, Endpoint};
pub use files::SaveError;
pub use frame::{Frame, FrameReceiver, FrameSender, ReadFrameError, SendFrameError};
pub use identity::{Identity, IdentityError};
pub use key::{BadKeyHash, KeyError, KeyHash, NodeKey};
pub use policy::{AllowMembers, PeerPolicy};
pub use tls::TlsError;
pub use token::{JoinToken, TokenError, TokenId, TokenSecret};
pub use utc::Utc;
