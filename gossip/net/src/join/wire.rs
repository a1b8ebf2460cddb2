//! Bodies of the join exchange: MessagePack maps with named fields, so that fields can be added.

use std::fmt;

use ring::hmac;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::connection::{Connection, ExportError};
use crate::key::sha256;
use crate::limits::{MAX_JOIN_REPLY, MAX_REFUSAL_TEXT};
use crate::token::{TokenId, TokenSecret};
use crate::utc::Utc;

/// Frame type: the joiner asks.
pub(super) const REQUEST: u8 = 1;
/// Frame type: the issuer says yes.
pub(super) const GRANTED: u8 = 2;
/// Frame type: the issuer says no.
pub(super) const REFUSED: u8 = 3;
/// Frame type: the joiner asks what it would join; body as of [`REQUEST`].
pub(super) const SURVEY: u8 = 4;

const EXPORT_LABEL: &[u8] = b"EXPORTER-mars-join-1";
const PROOF_LABEL: &[u8] = b"mars join proof 1";

/// Bytes that MessagePack writes as such and not as a list of numbers.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Blob(pub(super) Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

struct BlobVisitor;

impl<'de> Visitor<'de> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob(bytes.to_vec()))
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(Blob(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _seq: A) -> Result<Blob, A::Error> {
        Err(A::Error::custom("a list where bytes are due"))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BlobVisitor)
    }
}

/// Body of [`REQUEST`].
#[derive(Serialize, Deserialize)]
pub(super) struct RequestBody {
    pub(super) cluster: Uuid,
    pub(super) token: Blob,
    pub(super) proof: Blob,
    pub(super) node: Uuid,
    pub(super) name: String,
    pub(super) meta: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<String>,
    pub(super) csr: Blob,
}

/// Body of [`GRANTED`].
#[derive(Serialize, Deserialize)]
pub(super) struct GrantedBody {
    pub(super) ca: Blob,
    pub(super) cert: Blob,
    pub(super) payload: Blob,
}

/// Body of [`REFUSED`].
#[derive(Serialize, Deserialize)]
pub(super) struct RefusedBody {
    pub(super) code: u16,
    pub(super) text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<u64>,
}

/// Why a joiner is not admitted. Nothing was changed at the issuer, except where the text of
/// `Other` says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Unknown token, or the joiner does not know its secret: the joiner cannot tell which.
    #[error(
        "the issuer does not accept this token; make a new one, on the node that holds the authority now"
    )]
    Token,
    /// By the issuer's clock.
    #[error("the token expired at {} by the issuer's clock; make a new one", Utc(*at))]
    Expired {
        /// When, seconds since 1970.
        at: u64,
    },
    /// As often as it was good for.
    #[error("the token is used up; make a new one")]
    UsedUp,
    /// An administrator took it back, by the issuer's clock.
    #[error("the token was revoked at {} by the issuer's clock; make a new one", Utc(*at))]
    Revoked {
        /// When, seconds since 1970.
        at: u64,
    },
    /// Another node has that name.
    #[error("another node of the cluster has that name; choose another, or remove that node first")]
    NameTaken,
    /// Another key has that node number.
    #[error("that node number belongs to another key; let the joiner choose a new one")]
    NodeTaken,
    /// The token is of another cluster.
    #[error("the node asked is not of the token's cluster; check the address")]
    WrongCluster,
    /// The request makes no sense.
    #[error("the issuer does not understand the request: {0}")]
    BadRequest(String),
    /// The issuer cannot admit anybody now, e.g. because another node holds the authority.
    #[error("the issuer cannot admit nodes now: {0}")]
    Unavailable(String),
    /// Anything else, also of newer programs.
    #[error("refused ({code}): {text}")]
    Other {
        /// Number on the wire.
        code: u16,
        /// The issuer's words.
        text: String,
    },
}

impl Refusal {
    const fn code(&self) -> u16 {
        match self {
            Self::Token => 1,
            Self::Expired { .. } => 2,
            Self::UsedUp => 3,
            Self::NameTaken => 4,
            Self::NodeTaken => 5,
            Self::WrongCluster => 6,
            Self::BadRequest(_) => 7,
            Self::Unavailable(_) => 8,
            Self::Revoked { .. } => 9,
            Self::Other { code, .. } => *code,
        }
    }

    pub(super) fn to_body(&self) -> RefusedBody {
        let text = match self {
            Self::BadRequest(text) | Self::Unavailable(text) | Self::Other { text, .. } => {
                text.chars().take(MAX_REFUSAL_TEXT / 4).collect()
            }
            other => other.to_string(),
        };
        let at = match self {
            Self::Expired { at } | Self::Revoked { at } => Some(*at),
            _ => None,
        };
        RefusedBody {
            code: self.code(),
            text,
            at,
        }
    }

    pub(super) fn from_body(body: RefusedBody) -> Self {
        let text = body
            .text
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_REFUSAL_TEXT)
            .collect();
        match (body.code, body.at) {
            (1, _) => Self::Token,
            (2, Some(at)) => Self::Expired { at },
            (3, _) => Self::UsedUp,
            (4, _) => Self::NameTaken,
            (5, _) => Self::NodeTaken,
            (6, _) => Self::WrongCluster,
            (7, _) => Self::BadRequest(text),
            (8, _) => Self::Unavailable(text),
            (9, Some(at)) => Self::Revoked { at },
            (code, _) => Self::Other { code, text },
        }
    }
}

/// What the proof is computed over: this session, this token, this key.
pub(super) struct Proven(Vec<u8>);

impl Proven {
    pub(super) fn new(
        connection: &Connection,
        cluster: Uuid,
        token: TokenId,
        csr: &[u8],
    ) -> Result<Self, ExportError> {
        let session = connection.export_keying_material(EXPORT_LABEL, &token.0)?;
        Ok(Self::of(&session, cluster, token, csr))
    }

    fn of(session: &[u8; 32], cluster: Uuid, token: TokenId, csr: &[u8]) -> Self {
        let (cluster, csr) = (cluster.as_bytes(), sha256(csr));
        Self([PROOF_LABEL, session, cluster, &token.0, &csr].concat())
    }

    pub(super) fn sign(&self, secret: &TokenSecret) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        hmac::sign(&key, &self.0).as_ref().to_vec()
    }

    /// In constant time.
    pub(super) fn verify(&self, secret: &TokenSecret, proof: &[u8]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        hmac::verify(&key, &self.0, proof).is_ok()
    }
}

/// A body of ours as bytes. The reply limit holds for all.
pub(super) fn encode<T: Serialize>(body: &T) -> Result<bytes::Bytes, String> {
    let bytes = rmp_serde::to_vec_named(body).map_err(|e| e.to_string())?;
    if u32::try_from(bytes.len()).is_ok_and(|len| len <= MAX_JOIN_REPLY) {
        Ok(bytes.into())
    } else {
        Err(format!("{} bytes are too many", bytes.len()))
    }
}

/// A body from the peer.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|e| e.to_string())
}

/// Reads the body of a frame of the join exchange and writes it anew; `None` if it is none. For tests with hostile bytes:
/// these bodies are read of peers that are no members yet.
#[must_use]
pub fn reread(kind: u8, body: &[u8]) -> Option<Vec<u8>> {
    let again = match kind {
        REQUEST | SURVEY => encode(&decode::<RequestBody>(body).ok()?),
        GRANTED => encode(&decode::<GrantedBody>(body).ok()?),
        REFUSED => encode(&Refusal::from_body(decode(body).ok()?).to_body()),
        _ => return None,
    };
    again.ok().map(|bytes| bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The worked examples of docs/spec/identity.md.
    #[test]
    fn golden_bytes() {
        let spec: String = include_str!("../../../../docs/spec/identity.md")
            .split_whitespace()
            .collect();
        let hex = |bytes: &[u8]| {
            assert!(spec.contains(&hex(bytes)), "not in the specification");
            hex(bytes)
        };
        let request = RequestBody {
            cluster: Uuid::from_bytes([0xc1; 16]),
            token: Blob(vec![1, 2, 3, 4, 5, 6, 7, 8]),
            proof: Blob(vec![0xaa; 32]),
            node: Uuid::from_bytes([0x0d; 16]),
            name: "host-b".to_owned(),
            meta: "192.0.2.8:7900".to_owned(),
            data: None,
            csr: Blob(vec![0x30, 0x00]),
        };
        assert_eq!(
            hex(&encode(&request).unwrap()),
            "87a7636c7573746572c410c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1a5746f6b656ec4080102030405060708a570726f6f66c420aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa46e6f6465c4100d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0da46e616d65a6686f73742d62a46d657461ae3139322e302e322e383a37393030a3637372c4023000"
        );
        let refused = Refusal::Expired { at: 1_800_000_000 }.to_body();
        assert_eq!(
            hex(&encode(&RefusedBody {
                text: "late".into(),
                ..refused
            })
            .unwrap()),
            "83a4636f646502a474657874a46c617465a26174ce6b49d200"
        );
        let (cluster, token) = (
            Uuid::from_bytes([0xc1; 16]),
            TokenId([1, 2, 3, 4, 5, 6, 7, 8]),
        );
        let proven = Proven::of(&[0x11; 32], cluster, token, &[0x30, 0x00]);
        let secret = TokenSecret::from_bytes([0x5e; 32]);
        assert_eq!(
            hex(&proven.sign(&secret)),
            "dd7da14d847369ce16dd67039a49a346a0500e2b4c51e1d9f9bbdfef79d0c3a8"
        );
    }

    #[test]
    fn refusals_round_trip() {
        for refusal in [
            Refusal::Token,
            Refusal::Expired { at: 7 },
            Refusal::Revoked { at: 8 },
            Refusal::UsedUp,
            Refusal::NameTaken,
            Refusal::NodeTaken,
            Refusal::WrongCluster,
            Refusal::BadRequest("x".to_owned()),
            Refusal::Unavailable("y".to_owned()),
            Refusal::Other {
                code: 99,
                text: "z".to_owned(),
            },
        ] {
            let bytes = encode(&refusal.to_body()).unwrap();
            assert_eq!(Refusal::from_body(decode(&bytes).unwrap()), refusal);
        }
    }

    #[test]
    fn a_newer_peer_may_add_fields() {
        #[derive(Serialize)]
        struct Newer {
            future: Vec<u32>,
            code: u16,
            text: String,
        }
        let newer = Newer {
            future: vec![1, 2],
            code: 3,
            text: String::new(),
        };
        let bytes = rmp_serde::to_vec_named(&newer).unwrap();
        assert_eq!(Refusal::from_body(decode(&bytes).unwrap()), Refusal::UsedUp);
    }

    #[test]
    fn long_texts_are_cut() {
        let refusal = Refusal::Unavailable("ä".repeat(10_000));
        assert!(refusal.to_body().text.len() <= MAX_REFUSAL_TEXT);
    }

    #[test]
    fn proof_depends_on_all_its_parts() {
        let secret = TokenSecret::from_bytes([7; 32]);
        let (c, t) = (Uuid::from_u128(1), TokenId([1; 8]));
        let proof = Proven::of(&[1; 32], c, t, b"csr").sign(&secret);
        assert!(Proven::of(&[1; 32], c, t, b"csr").verify(&secret, &proof));
        for other in [
            Proven::of(&[2; 32], c, t, b"csr"),
            Proven::of(&[1; 32], Uuid::from_u128(2), t, b"csr"),
            Proven::of(&[1; 32], c, TokenId([2; 8]), b"csr"),
            Proven::of(&[1; 32], c, t, b"CSR"),
        ] {
            assert!(!other.verify(&secret, &proof));
        }
        let wrong = TokenSecret::from_bytes([8; 32]);
        assert!(!Proven::of(&[1; 32], c, t, b"csr").verify(&wrong, &proof));
        assert!(!Proven::of(&[1; 32], c, t, b"csr").verify(&secret, &proof[..31]));
    }
}
