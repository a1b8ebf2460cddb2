//! Which protocol a connection speaks: the TLS application protocol names.

use std::fmt;

/// Protocol of a connection, agreed in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alpn {
    /// Metadata between daemons. Certificate needed.
    Gossip,
    /// Logs and disks between data planes. Certificate needed.
    Data,
    /// Redeeming a join token. The only one open to a peer without certificate.
    Join,
}

impl Alpn {
    /// The name on the wire.
    #[must_use]
    pub const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Gossip => b"mars-gossip/1",
            Self::Data => b"mars-data/1",
            Self::Join => b"mars-join/1",
        }
    }

    /// The protocol of that name, if it is one of ours.
    #[must_use]
    pub fn from_wire(name: &[u8]) -> Option<Self> {
        [Self::Gossip, Self::Data, Self::Join]
            .into_iter()
            .find(|a| a.as_bytes() == name)
    }

    /// Whether a peer must show a certificate of the cluster.
    #[must_use]
    pub const fn needs_certificate(self) -> bool {
        !matches!(self, Self::Join)
    }
}

impl fmt::Display for Alpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gossip => "mars-gossip/1",
            Self::Data => "mars-data/1",
            Self::Join => "mars-join/1",
        })
    }
}
