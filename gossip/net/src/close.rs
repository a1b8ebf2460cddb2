//! Why a connection was closed, as the number that travels.

use std::fmt;

use crate::limits::MAX_CLOSE_REASON;

/// QUIC application close code of this crate. Numbers from 1,000 on belong to the planes above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseCode {
    /// Done; nothing is wrong.
    Done,
    /// The protocol needs a certificate of the cluster and the peer showed none.
    NoCertificate,
    /// The certificate is of the cluster, but the peer is not (or no longer) allowed.
    NotAllowed,
    /// Too many connections; try later.
    Busy,
    /// The peer broke the protocol.
    Protocol,
    /// Both sides dialled at once; the other connection is the one to use.
    Duplicate,
    /// The daemon stops.
    Shutdown,
    /// A code of a plane, or of a newer version.
    Other(u32),
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::NoCertificate => 1,
            Self::NotAllowed => 2,
            Self::Busy => 3,
            Self::Protocol => 4,
            Self::Duplicate => 5,
            Self::Shutdown => 6,
            Self::Other(code) => code,
        }
    }

    /// The meaning of a number.
    #[must_use]
    pub const fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::NoCertificate,
            2 => Self::NotAllowed,
            3 => Self::Busy,
            4 => Self::Protocol,
            5 => Self::Duplicate,
            6 => Self::Shutdown,
            other => Self::Other(other),
        }
    }

    /// The code by which the *peer* closed, if it was the peer.
    #[must_use]
    pub fn of_peer(error: &quinn::ConnectionError) -> Option<Self> {
        match error {
            quinn::ConnectionError::ApplicationClosed(close) => {
                u32::try_from(close.error_code.into_inner())
                    .ok()
                    .map(Self::from_code)
            }
            _ => None,
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::NoCertificate => f.write_str("no certificate shown"),
            Self::NotAllowed => f.write_str("not allowed by the roster"),
            Self::Busy => f.write_str("too busy"),
            Self::Protocol => f.write_str("protocol error"),
            Self::Duplicate => f.write_str("duplicate connection"),
            Self::Shutdown => f.write_str("shutting down"),
            Self::Other(code) => write!(f, "code {code}"),
        }
    }
}

/// The first bytes of a reason that may travel, cut at a character boundary.
pub(crate) fn reason_bytes(reason: &str) -> &[u8] {
    let mut end = reason.len().min(MAX_CLOSE_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.as_bytes().get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for code in (0..10).chain([1_000, u32::MAX]) {
            assert_eq!(CloseCode::from_code(code).code(), code);
        }
    }

    #[test]
    fn long_reason_is_cut_between_characters() {
        let text = format!("{}ä", "x".repeat(MAX_CLOSE_REASON - 1));
        assert_eq!(reason_bytes(&text).len(), MAX_CLOSE_REASON - 1);
    }
}
