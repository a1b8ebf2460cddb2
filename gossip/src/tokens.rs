//! Join tokens that this node has issued: secret, expiry, uses left, and who was admitted by which.
//!
//! File `tokens`: a line `mars-tokens 1`, then one line per token:
//! `ID SECRET EXPIRES USES [NODE:KEY[,NODE:KEY..]]`, numbers of bytes in hexadecimal, the others decimal. A token that was
//! revoked has no uses left, and `revoked=TIME` as its last field, behind a `-` if it admitted nobody.

use crate::limits::{TOKENS_FILE_MAX, TOKENS_MAX};
use crate::state::{read_small, replace_private};
use mars_gossip_net::join::{Refusal, TokenState};
use mars_gossip_net::{JoinToken, KeyHash, TokenId, TokenSecret, Utc};
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

const HEADER: &str = "mars-tokens 1";

#[derive(Clone)]
struct Token {
    id: TokenId,
    secret: TokenSecret,
    expires: u64,
    uses: u32,
    admitted: Vec<(u128, KeyHash)>,
    /// When it was revoked.
    revoked: Option<u64>,
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issued {
    pub(crate) id: TokenId,
    pub(crate) expires: u64,
    pub(crate) uses_left: u32,
    /// The numbers of the nodes that it admitted.
    pub(crate) admitted: Vec<u128>,
    pub(crate) revoked: Option<u64>,
}

/// The tokens, kept in a file that only the owner may read.
pub(crate) struct Tokens {
    path: PathBuf,
    tokens: Mutex<Vec<Token>>,
}

/// A token could not be kept; it is not in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokensError {
    #[error("the file of join tokens cannot be written: {0}")]
    Io(#[from] io::Error),
    #[error("{TOKENS_MAX} join tokens are in force: wait until some have expired")]
    TooMany,
    #[error("this node has issued no join token {0} that has not expired")]
    Unknown(String),
    #[error("the join token {id} was revoked at {}", Utc(*at))]
    Revoked { id: TokenId, at: u64 },
}

impl Tokens {
    /// Reads the file; lines that are damaged are left out, and tokens that have expired.
    pub(crate) fn load(path: PathBuf, now: u64) -> io::Result<Self> {
        let text = read_small(&path, TOKENS_FILE_MAX)?.unwrap_or_default();
        let mut lines = text.lines();
        let mut tokens = Vec::new();
        if !text.is_empty() && lines.next() != Some(HEADER) {
            tracing::warn!(path = %path.display(), "the file of join tokens is of another version; it is not used");
        } else {
            for line in lines {
                match parse(line) {
                    Some(token) if token.expires > now => tokens.push(token),
                    Some(_) => {}
                    None => {
                        tracing::warn!(path = %path.display(), "a damaged join token was left out");
                    }
                }
            }
        }
        Ok(Self {
            path,
            tokens: Mutex::new(tokens),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, tokens: &[Token]) -> io::Result<()> {
        let mut text = format!("{HEADER}\n");
        for token in tokens {
            let id = hex(&token.id.0);
            let secret = hex(token.secret.expose());
            // Writing into a string cannot fail.
            let _ = write!(text, "{id} {secret} {} {}", token.expires, token.uses);
            for (i, (node, key)) in token.admitted.iter().enumerate() {
                let before = if i == 0 { ' ' } else { ',' };
                let _ = write!(text, "{before}{node:032x}:{}", hex(key.as_bytes()));
            }
            if let Some(at) = token.revoked {
                let none = if token.admitted.is_empty() { " -" } else { "" };
                let _ = write!(text, "{none} revoked={at}");
            }
            text.push('\n');
        }
        replace_private(&self.path, text.as_bytes())
    }

    /// Puts a new token in force; on stable storage when this returns.
    pub(crate) fn add(&self, token: &JoinToken, uses: u32, now: u64) -> Result<(), TokensError> {
        let mut tokens = self.lock();
        let mut new = tokens.clone();
        new.retain(|token| token.expires > now);
        if new.len() >= TOKENS_MAX {
            return Err(TokensError::TooMany);
        }
        new.push(Token {
            id: token.id,
            secret: token.secret.clone(),
            expires: token.expires,
            uses,
            admitted: Vec::new(),
            revoked: None,
        });
        self.save(&new)?;
        *tokens = new;
        Ok(())
    }

    /// What the issuer's side of the exchange needs to know of a token.
    pub(crate) fn lookup(&self, id: TokenId) -> Option<TokenState> {
        let tokens = self.lock();
        let token = tokens.iter().find(|token| token.id == id)?;
        Some(TokenState {
            secret: token.secret.clone(),
            expires: token.expires,
            revoked: token.revoked,
        })
    }

    /// The tokens that have not expired, the oldest first.
    pub(crate) fn list(&self, now: u64) -> Vec<Issued> {
        let tokens = self.lock();
        let valid = tokens.iter().filter(|token| token.expires > now);
        let shown = valid.map(|token| Issued {
            id: token.id,
            expires: token.expires,
            uses_left: token.uses,
            admitted: token.admitted.iter().map(|(node, _)| *node).collect(),
            revoked: token.revoked,
        });
        shown.collect()
    }

    /// Takes a token back: from now on nobody is admitted by it. It is remembered until it expires, to say so. On stable
    /// storage when this returns.
    pub(crate) fn revoke(&self, id: &str, now: u64) -> Result<(), TokensError> {
        let unknown = || {
            TokensError::Unknown(mars_meta_model::escaped(
                &id.chars().take(40).collect::<String>(),
            ))
        };
        let wanted = TokenId(unhex(id).ok_or_else(unknown)?);
        let mut tokens = self.lock();
        let mut new = tokens.clone();
        let mut valid = new.iter_mut().filter(|token| token.expires > now);
        let token = valid.find(|token| token.id == wanted).ok_or_else(unknown)?;
        if let Some(at) = token.revoked {
            return Err(TokensError::Revoked { id: wanted, at });
        }
        token.uses = 0;
        token.revoked = Some(now);
        self.save(&new)?;
        *tokens = new;
        Ok(())
    }

    /// Uses a token up by one for this node and key; a node that was admitted by it before costs nothing more.
    /// On stable storage when this returns.
    pub(crate) fn admit(&self, id: TokenId, node: u128, key: KeyHash) -> Result<(), Refusal> {
        let mut tokens = self.lock();
        let mut new = tokens.clone();
        let Some(token) = new.iter_mut().find(|token| token.id == id) else {
            return Err(Refusal::Token);
        };
        if let Some(at) = token.revoked {
            return Err(Refusal::Revoked { at });
        }
        if token.admitted.contains(&(node, key)) {
            return Ok(());
        }
        if token.uses == 0 {
            return Err(Refusal::UsedUp);
        }
        token.uses -= 1;
        token.admitted.push((node, key));
        if let Err(error) = self.save(&new) {
            tracing::error!(%error, "the file of join tokens cannot be written");
            return Err(Refusal::Unavailable("the issuer's disk failed".to_owned()));
        }
        *tokens = new;
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn parse(line: &str) -> Option<Token> {
    let mut fields = line.split(' ');
    let id = TokenId(unhex(fields.next()?)?);
    let secret = TokenSecret::from_bytes(unhex(fields.next()?)?);
    let expires = fields.next()?.parse().ok()?;
    let uses = fields.next()?.parse().ok()?;
    let mut admitted = Vec::new();
    let list = fields.next().filter(|list| *list != "-");
    for pair in list.into_iter().flat_map(|list| list.split(',')) {
        let (node, key) = pair.split_once(':')?;
        let node = u128::from_be_bytes(unhex(node)?);
        admitted.push((node, KeyHash::from_bytes(unhex(key)?)));
    }
    let revoked = fields
        .next()
        .and_then(|field| field.strip_prefix("revoked="));
    let revoked = match revoked {
        Some(at) => Some(at.parse().ok()?),
        None => None,
    };
    Some(Token {
        id,
        secret,
        expires,
        uses,
        admitted,
        revoked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn token(expires: u64) -> JoinToken {
        let ca = KeyHash::from_bytes([1; 32]);
        let addr = "127.0.0.1:1".parse().unwrap();
        JoinToken::generate(Uuid::from_u128(1), ca, vec![addr], expires).unwrap()
    }

    #[test]
    fn uses_are_counted_over_restarts_and_a_repeated_join_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let key = |n| KeyHash::from_bytes([n; 32]);
        let (good, old) = (token(100), token(50));
        let tokens = Tokens::load(path.clone(), 10).unwrap();
        tokens.add(&old, 1, 10).unwrap();
        tokens.add(&good, 2, 10).unwrap();
        assert_eq!(tokens.admit(good.id, 1, key(1)), Ok(()));

        let tokens = Tokens::load(path.clone(), 60).unwrap();
        assert!(tokens.lookup(old.id).is_none(), "expired");
        let state = tokens.lookup(good.id).unwrap();
        assert_eq!(state.secret.expose(), good.secret.expose());
        assert_eq!(tokens.admit(good.id, 1, key(1)), Ok(()), "again");
        assert_eq!(tokens.admit(good.id, 2, key(2)), Ok(()));
        assert_eq!(tokens.admit(good.id, 3, key(3)), Err(Refusal::UsedUp));
        assert_eq!(tokens.admit(good.id, 1, key(9)), Err(Refusal::UsedUp));
        assert_eq!(tokens.admit(old.id, 1, key(1)), Err(Refusal::Token));

        let tokens = Tokens::load(path, 60).unwrap();
        assert_eq!(tokens.admit(good.id, 2, key(2)), Ok(()));
        assert_eq!(tokens.admit(good.id, 4, key(4)), Err(Refusal::UsedUp));
    }

    #[test]
    fn a_revoked_token_admits_nobody_and_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let key = |n| KeyHash::from_bytes([n; 32]);
        let (used, fresh) = (token(100), token(100));
        let tokens = Tokens::load(path.clone(), 10).unwrap();
        tokens.add(&used, 3, 10).unwrap();
        tokens.add(&fresh, 3, 10).unwrap();
        tokens.admit(used.id, 1, key(1)).unwrap();
        for id in [used.id, fresh.id] {
            tokens.revoke(&id.to_string(), 20).unwrap();
        }
        let again = tokens.revoke(&used.id.to_string(), 30).unwrap_err();
        assert!(
            again
                .to_string()
                .contains("revoked at 1970-01-01 00:00:20 UTC"),
            "{again}"
        );
        for bad in ["", "zz", "0123456789abcdef"] {
            assert!(matches!(
                tokens.revoke(bad, 30),
                Err(TokensError::Unknown(_))
            ));
        }
        let listed = tokens.list(30);
        assert_eq!(listed.len(), 2);
        assert_eq!((listed[0].admitted.len(), listed[0].uses_left), (1, 0));
        // It stays so over a restart.
        let tokens = Tokens::load(path.clone(), 40).unwrap();
        assert_eq!(tokens.list(40), listed);
        for id in [used.id, fresh.id] {
            assert_eq!(tokens.lookup(id).unwrap().revoked, Some(20));
            let refused = tokens.admit(id, 1, key(1));
            assert_eq!(refused, Err(Refusal::Revoked { at: 20 }));
        }
        assert_eq!(tokens.list(100), []);
        assert!(matches!(
            tokens.revoke(&fresh.id.to_string(), 100),
            Err(TokensError::Unknown(_))
        ));
    }

    #[test]
    fn damage_costs_the_damaged_line_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let good = token(100);
        Tokens::load(path.clone(), 10)
            .unwrap()
            .add(&good, 1, 10)
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}nonsense\n00 11 22\n")).unwrap();
        let tokens = Tokens::load(path, 10).unwrap();
        assert!(tokens.lookup(good.id).is_some());
        assert_eq!(tokens.lock().len(), 1);
    }
}
