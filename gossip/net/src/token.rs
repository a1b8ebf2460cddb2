//! Join tokens: what an operator carries from a member to a new machine.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::key::{KeyHash, sha256};
use crate::limits::{MAX_TOKEN_ADDRESSES, MAX_TOKEN_TEXT};
use crate::utc::Utc;

const PREFIX: &str = "mars";
const VERSION: u8 = 1;
const CHECK_LEN: usize = 4;
const CHECK_CONTEXT: &[u8] = b"mars join token";

/// By which the issuer finds the token. No secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub [u8; 8]);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

/// The secret of a token: wiped when dropped, never printed.
#[derive(Clone)]
pub struct TokenSecret(Zeroizing<[u8; 32]>);

impl TokenSecret {
    /// From its 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Its 32 bytes: for the issuer's store only.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(..)")
    }
}

/// Permission to join a cluster once, or as often as the issuer allows.
///
/// There is no `Display`: the text form holds the secret, see [`JoinToken::to_text`].
#[derive(Clone, Debug)]
pub struct JoinToken {
    /// The cluster to join.
    pub cluster: Uuid,
    /// Key hash of its authority: how the joiner knows that it talks to the right cluster.
    pub ca: KeyHash,
    /// Where to redeem it, in this order.
    pub issuers: Vec<SocketAddr>,
    /// How the issuer finds it.
    pub id: TokenId,
    /// How the joiner proves that it has it.
    pub secret: TokenSecret,
    /// Seconds since 1970; the issuer's clock decides.
    pub expires: u64,
}

/// A text is not a usable token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Something else altogether.
    #[error("this is not a join token; one looks like mars1.AbCd... and is made on a member")]
    NotAToken,
    /// A typo, or a part is missing.
    #[error("the join token is damaged ({0}); copy it again, all of it")]
    Damaged(&'static str),
    /// Made by a newer program.
    #[error("the join token is of version {0}, this program knows only 1; upgrade it")]
    UnsupportedVersion(String),
    /// Too late.
    #[error("the join token expired at {}, it is {} now; make a new one", Utc(*at), Utc(*now))]
    Expired {
        /// When.
        at: u64,
        /// By our clock.
        now: u64,
    },
    /// No address, or too many to write down.
    #[error("a join token needs 1 to {MAX_TOKEN_ADDRESSES} issuer addresses, not {0}")]
    Addresses(usize),
    /// The system has no randomness.
    #[error("cannot draw a secret: the system gives no randomness")]
    Randomness,
}

impl JoinToken {
    /// A token with a fresh id and secret. The issuer must keep id, secret and expiry.
    ///
    /// # Errors
    /// Without address or with too many; without randomness.
    pub fn generate(
        cluster: Uuid,
        ca: KeyHash,
        issuers: Vec<SocketAddr>,
        expires: u64,
    ) -> Result<Self, TokenError> {
        if issuers.is_empty() || issuers.len() > MAX_TOKEN_ADDRESSES {
            return Err(TokenError::Addresses(issuers.len()));
        }
        let rng = SystemRandom::new();
        let (mut id, mut secret) = ([0; 8], Zeroizing::new([0; 32]));
        rng.fill(&mut id).map_err(|_| TokenError::Randomness)?;
        rng.fill(secret.as_mut())
            .map_err(|_| TokenError::Randomness)?;
        let secret = TokenSecret(secret);
        Ok(Self {
            cluster,
            ca,
            issuers,
            id: TokenId(id),
            secret,
            expires,
        })
    }

    /// Whether it can still be redeemed by our clock (seconds since 1970).
    ///
    /// # Errors
    /// [`TokenError::Expired`].
    pub fn check_expiry(&self, now: u64) -> Result<(), TokenError> {
        if now >= self.expires {
            return Err(TokenError::Expired {
                at: self.expires,
                now,
            });
        }
        Ok(())
    }

    /// The text to carry. It holds the secret: show it to the operator, write it to no log.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut raw = Zeroizing::new(Vec::with_capacity(MAX_TOKEN_TEXT));
        raw.extend_from_slice(self.cluster.as_bytes());
        raw.extend_from_slice(self.ca.as_bytes());
        raw.extend_from_slice(&self.id.0);
        raw.extend_from_slice(self.secret.expose());
        raw.extend_from_slice(&self.expires.to_le_bytes());
        let count = self.issuers.len().min(MAX_TOKEN_ADDRESSES);
        raw.push(u8::try_from(count).unwrap_or(0));
        for addr in self.issuers.iter().take(count) {
            match addr.ip() {
                IpAddr::V4(ip) => {
                    raw.push(4);
                    raw.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    raw.push(6);
                    raw.extend_from_slice(&ip.octets());
                }
            }
            raw.extend_from_slice(&addr.port().to_le_bytes());
        }
        let check = check(VERSION, &raw);
        raw.extend_from_slice(&check);
        let mut text = Zeroizing::new(String::with_capacity(MAX_TOKEN_TEXT));
        text.push_str(PREFIX);
        text.push_str(&VERSION.to_string());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(raw.as_slice(), &mut text);
        text
    }
}

/// The first bytes of a hash: a typo is seen before anybody is asked.
fn check(version: u8, raw: &[u8]) -> [u8; CHECK_LEN] {
    let mut all = Zeroizing::new(Vec::with_capacity(CHECK_CONTEXT.len() + 1 + raw.len()));
    all.extend_from_slice(CHECK_CONTEXT);
    all.push(version);
    all.extend_from_slice(raw);
    let [a, b, c, d, ..] = sha256(&all);
    [a, b, c, d]
}

impl FromStr for JoinToken {
    type Err = TokenError;

    /// Reads the text form; white space anywhere in it, as a terminal's line break makes it, does
    /// not matter. Expiry is not looked at.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut kept = Zeroizing::new(String::with_capacity(text.len().min(MAX_TOKEN_TEXT)));
        for c in text.chars().filter(|c| !c.is_ascii_whitespace()) {
            if kept.len() >= MAX_TOKEN_TEXT {
                return Err(TokenError::NotAToken);
            }
            kept.push(c);
        }
        let rest = kept.strip_prefix(PREFIX).ok_or(TokenError::NotAToken)?;
        let (version, body) = rest.split_once('.').ok_or(TokenError::NotAToken)?;
        let digits =
            (1..=3).contains(&version.len()) && version.bytes().all(|b| b.is_ascii_digit());
        if !digits {
            return Err(TokenError::NotAToken);
        }
        if version != VERSION.to_string() {
            return Err(TokenError::UnsupportedVersion(version.to_owned()));
        }
        let raw = URL_SAFE_NO_PAD
            .decode(body)
            .map(Zeroizing::new)
            .map_err(|_| TokenError::Damaged("a character or the end is wrong"))?;
        let (body, sum) = raw
            .len()
            .checked_sub(CHECK_LEN)
            .and_then(|at| raw.split_at_checked(at))
            .ok_or(TokenError::Damaged("too short"))?;
        if sum != check(VERSION, body) {
            return Err(TokenError::Damaged("its checksum does not fit"));
        }
        parse_body(body).ok_or(TokenError::Damaged("its content makes no sense"))
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn parse_body(mut rest: &[u8]) -> Option<JoinToken> {
    let r = &mut rest;
    let cluster = Uuid::from_bytes(take(r)?);
    let ca = KeyHash::from_bytes(take(r)?);
    let id = TokenId(take(r)?);
    let secret = TokenSecret::from_bytes(take(r)?);
    let expires = u64::from_le_bytes(take(r)?);
    let [count] = take(r)?;
    if count == 0 || usize::from(count) > MAX_TOKEN_ADDRESSES {
        return None;
    }
    let mut issuers = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let ip = match take(r)? {
            [4] => IpAddr::from(take::<4>(r)?),
            [6] => IpAddr::from(take::<16>(r)?),
            _ => return None,
        };
        issuers.push(SocketAddr::new(ip, u16::from_le_bytes(take(r)?)));
    }
    let token = JoinToken {
        cluster,
        ca,
        issuers,
        id,
        secret,
        expires,
    };
    rest.is_empty().then_some(token)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> JoinToken {
        JoinToken {
            cluster: Uuid::from_bytes(*b"cluster-0123456\x01"),
            ca: KeyHash::from_bytes([0xca; 32]),
            issuers: vec![
                "192.0.2.7:7900".parse().unwrap(),
                "[2001:db8::7]:7900".parse().unwrap(),
            ],
            id: TokenId([1, 2, 3, 4, 5, 6, 7, 8]),
            secret: TokenSecret::from_bytes([0x5e; 32]),
            expires: 1_800_000_000,
        }
    }

    fn same(a: &JoinToken, b: &JoinToken) -> bool {
        a.to_text() == b.to_text()
            && (a.cluster, a.ca, a.id, a.expires) == (b.cluster, b.ca, b.id, b.expires)
            && a.issuers == b.issuers
            && a.secret.expose() == b.secret.expose()
    }

    /// The worked example of docs/spec/identity.md.
    const GOLDEN: &str = "mars1.Y2x1c3Rlci0wMTIzNDU2AcrKysrKysrKysrKysrKysrKysrKysrKysrKysrKysrKAQIDBAUGBwheXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXgDSSWsAAAAAAgTAAAIH3B4GIAENuAAAAAAAAAAAAAAAB9weFSUoZQ";

    #[test]
    fn golden_text() {
        assert_eq!(*sample().to_text(), GOLDEN);
        assert!(include_str!("../../../docs/spec/identity.md").contains(GOLDEN));
    }

    #[test]
    fn round_trip_with_line_breaks() {
        let token = sample();
        let text = token.to_text();
        assert!(same(&text.parse().unwrap(), &token));
        let (a, b) = text.split_at(80);
        assert!(same(&format!(" {a}\r\n  {b}\n").parse().unwrap(), &token));
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let text = sample().to_text();
        let err = |t: &str| t.parse::<JoinToken>().unwrap_err();
        assert_eq!(err(""), TokenError::NotAToken);
        assert_eq!(err("K10abc::server:xyz"), TokenError::NotAToken);
        assert_eq!(err("marsmallow.x"), TokenError::NotAToken);
        assert_eq!(err(&"m".repeat(1 << 20)), TokenError::NotAToken);
        assert_eq!(
            err(&text.replace("mars1.", "mars2.")),
            TokenError::UnsupportedVersion("2".into())
        );
        assert!(matches!(err("mars1."), TokenError::Damaged(_)));
        assert!(matches!(
            err(&text[..text.len() - 1]),
            TokenError::Damaged(_)
        ));
        assert!(matches!(
            err(&format!("{}A", *text)),
            TokenError::Damaged(_)
        ));
    }

    #[test]
    fn each_changed_character_is_noticed() {
        let text = sample().to_text();
        for at in "mars1.".len()..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let wrong = String::from_utf8(bytes).unwrap();
            assert!(
                matches!(wrong.parse::<JoinToken>(), Err(TokenError::Damaged(_))),
                "at {at}"
            );
        }
    }

    #[test]
    fn expiry_says_when() {
        let token = sample();
        assert_eq!(token.check_expiry(1_799_999_999), Ok(()));
        let expired = TokenError::Expired {
            at: 1_800_000_000,
            now: 1_800_000_000,
        };
        assert_eq!(token.check_expiry(1_800_000_000), Err(expired));
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", sample());
        assert!(
            shown.contains("TokenSecret(..)") && !shown.contains("5e5e") && !shown.contains("94")
        );
    }

    #[test]
    fn addresses_are_bounded() {
        let make = |n: usize| {
            let addrs = vec!["192.0.2.7:1".parse().unwrap(); n];
            JoinToken::generate(Uuid::nil(), KeyHash::from_bytes([0; 32]), addrs, 1)
        };
        assert_eq!(make(0).unwrap_err(), TokenError::Addresses(0));
        assert_eq!(make(9).unwrap_err(), TokenError::Addresses(9));
        let full = make(8).unwrap();
        assert!(same(&full.to_text().parse().unwrap(), &full));
    }

    proptest! {
        #[test]
        fn any_text_is_answered_without_panic(text in ".{0,200}") {
            prop_assert!(text.parse::<JoinToken>().is_err());
        }

        #[test]
        fn any_body_is_answered_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            // A body that parses is one that we would have written.
            if let Some(token) = parse_body(&body) {
                let text = token.to_text();
                let raw = URL_SAFE_NO_PAD.decode(&text["mars1.".len()..]).unwrap();
                prop_assert_eq!(&raw[..raw.len() - CHECK_LEN], &body[..]);
            }
        }
    }
}
