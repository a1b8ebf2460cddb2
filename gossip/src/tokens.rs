//! Join tokens that this node has issued: secret, expiry, uses left, and who was admitted by which.
//!
//! File `tokens`: a line `mars-tokens 1`, then one line per token:
//! `ID SECRET EXPIRES USES [NODE:KEY[,NODE:KEY..]]`, numbers of bytes in hexadecimal, the others decimal. A token that was
//! revoked has no uses left, and `revoked=TIME` as its last field, behind a `-` if it admitted nobody; `void=TIME` if the
//! cluster knows of uses or revocations that this file does not. A line `number N` counts uses and revocations, `owed` says that some are to be added to it; the cluster
//! holds the same number (`token_ledger.rs`).

use crate::limits::{TOKENS_FILE_MAX, TOKENS_MAX};
use crate::state::{read_small, replace_private};
use mars_gossip_net::join::{Refusal, TokenState};
use mars_gossip_net::{JoinToken, KeyHash, TokenId, TokenSecret, Utc};
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

const HEADER: &str = "mars-tokens 1";
/// A line of the file: something was counted that the cluster was not told of.
const OWED: &str = "owed";

#[derive(Clone)]
struct Token {
    id: TokenId,
    secret: TokenSecret,
    expires: u64,
    uses: u32,
    admitted: Vec<(u128, KeyHash)>,
    /// When it was revoked.
    revoked: Option<u64>,
    /// It was not revoked by an administrator: more is known of it elsewhere than here.
    void: bool,
    /// It was in the file when this process started.
    early: bool,
}

/// The tokens, and how they stand beside what the cluster knows.
#[derive(Clone, Default)]
struct Book {
    tokens: Vec<Token>,
    /// Number of uses and revocations, as far as the cluster was told.
    number: u64,
    /// Whether the cluster was heard since the start, so that the number can be compared.
    heard: bool,
    /// Something was counted before that, and the cluster is still to be told.
    owed: bool,
}

impl Book {
    /// One more use or revocation; the number to tell the cluster now.
    fn count(&mut self) -> Option<u64> {
        if self.heard {
            self.number = self.number.saturating_add(1);
            Some(self.number)
        } else {
            // A number that was raised now could be that of a later state which this node has forgotten.
            self.owed = true;
            None
        }
    }
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
    /// What else keeps it from being used.
    pub(crate) note: Option<&'static str>,
}

const VOID: &str = "void: this node was put back to an earlier state, and the cluster knows of uses or revocations that it has forgotten";
const WAITS: &str =
    "waits: made before this node started, and it has not heard from the others yet";

/// The tokens, kept in a file that only the owner may read.
pub(crate) struct Tokens {
    path: PathBuf,
    book: Mutex<Book>,
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
        let mut book = Book::default();
        if !text.is_empty() && lines.next() != Some(HEADER) {
            tracing::warn!(path = %path.display(), "the file of join tokens is of another version; it is not used");
        } else {
            for line in lines {
                let number = line.strip_prefix("number ");
                if let Some(number) = number.and_then(|number| number.parse().ok()) {
                    book.number = number;
                    continue;
                }
                if line == OWED {
                    book.owed = true;
                    continue;
                }
                match parse(line) {
                    Some(token) if token.expires > now => book.tokens.push(token),
                    Some(_) => {}
                    None => {
                        tracing::warn!(path = %path.display(), "a damaged join token was left out");
                    }
                }
            }
        }
        Ok(Self {
            path,
            book: Mutex::new(book),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, book: &Book) -> io::Result<()> {
        let mut text = format!("{HEADER}\n");
        if book.number > 0 {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "number {}", book.number);
        }
        if book.owed {
            text.push_str(OWED);
            text.push('\n');
        }
        for token in &book.tokens {
            let id = hex(&token.id.0);
            let secret = hex(token.secret.expose());
            // As above.
            let _ = write!(text, "{id} {secret} {} {}", token.expires, token.uses);
            for (i, (node, key)) in token.admitted.iter().enumerate() {
                let before = if i == 0 { ' ' } else { ',' };
                let _ = write!(text, "{before}{node:032x}:{}", hex(key.as_bytes()));
            }
            if let Some(at) = token.revoked {
                let none = if token.admitted.is_empty() { " -" } else { "" };
                let word = if token.void { "void" } else { "revoked" };
                let _ = write!(text, "{none} {word}={at}");
            }
            text.push('\n');
        }
        replace_private(&self.path, text.as_bytes())
    }

    /// Puts a new token in force; on stable storage when this returns.
    pub(crate) fn add(&self, token: &JoinToken, uses: u32, now: u64) -> Result<(), TokensError> {
        let mut book = self.lock();
        let mut new = book.clone();
        new.tokens.retain(|token| token.expires > now);
        if new.tokens.len() >= TOKENS_MAX {
            return Err(TokensError::TooMany);
        }
        new.tokens.push(Token {
            id: token.id,
            secret: token.secret.clone(),
            expires: token.expires,
            uses,
            admitted: Vec::new(),
            revoked: None,
            void: false,
            early: false,
        });
        self.save(&new)?;
        *book = new;
        Ok(())
    }

    /// What the issuer's side of the exchange needs to know of a token.
    pub(crate) fn lookup(&self, id: TokenId) -> Option<TokenState> {
        let book = self.lock();
        let token = book.tokens.iter().find(|token| token.id == id)?;
        Some(TokenState {
            secret: token.secret.clone(),
            expires: token.expires,
            revoked: token.revoked,
        })
    }

    /// The tokens that have not expired, the oldest first.
    pub(crate) fn list(&self, now: u64) -> Vec<Issued> {
        let book = self.lock();
        let valid = book.tokens.iter().filter(|token| token.expires > now);
        let note = |token: &Token| {
            let waits = token.early && !book.heard && token.revoked.is_none();
            token.void.then_some(VOID).or(waits.then_some(WAITS))
        };
        let shown = valid.map(|token| Issued {
            note: note(token),
            id: token.id,
            expires: token.expires,
            uses_left: token.uses,
            admitted: token.admitted.iter().map(|(node, _)| *node).collect(),
            revoked: token.revoked,
        });
        shown.collect()
    }

    /// Takes a token back: from now on nobody is admitted by it. It is remembered until it expires, to say so. On stable
    /// storage when this returns. The number that the cluster is to be told, if it is to be told now.
    pub(crate) fn revoke(&self, id: &str, now: u64) -> Result<Option<u64>, TokensError> {
        let unknown = || {
            TokensError::Unknown(mars_meta_model::escaped(
                &id.chars().take(40).collect::<String>(),
            ))
        };
        let wanted = TokenId(unhex(id).ok_or_else(unknown)?);
        let mut book = self.lock();
        let mut new = book.clone();
        let mut valid = new.tokens.iter_mut().filter(|token| token.expires > now);
        let token = valid.find(|token| token.id == wanted).ok_or_else(unknown)?;
        if let Some(at) = token.revoked {
            return Err(TokensError::Revoked { id: wanted, at });
        }
        token.uses = 0;
        token.revoked = Some(now);
        let counted = new.count();
        self.save(&new)?;
        *book = new;
        Ok(counted)
    }

    /// Whether it can be told that a token was not used up or revoked meanwhile: not so for those from before the start,
    /// before the cluster was heard, for this may be a copy of earlier days.
    pub(crate) fn check_heard(&self, id: TokenId) -> Result<(), Refusal> {
        let book = self.lock();
        let waits = |token: &&Token| token.id == id && token.early && !book.heard;
        if book.tokens.iter().any(|token| waits(&token)) {
            return Err(Refusal::Unavailable(
                "it has not heard from the other nodes yet since its start; a token that is made there now would do"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// The cluster holds the number `known`, or (`forgotten`) this node has admitted somebody whom it does not know: if the
    /// file is behind that, its tokens from before the start are void.
    pub(crate) fn compare(&self, known: u64, forgotten: bool, now: u64) {
        let mut book = self.lock();
        let behind = known > book.number;
        let good = |token: &Token| token.early && token.revoked.is_none();
        let ends = forgotten && book.tokens.iter().any(good);
        if !behind && !ends {
            return;
        }
        let mut new = book.clone();
        let mut ended = 0_u32;
        for token in new.tokens.iter_mut().filter(|token| good(token)) {
            (token.uses, token.revoked, token.void) = (0, Some(now), true);
            ended += 1;
        }
        new.number = new.number.max(known);
        if ended > 0 {
            tracing::error!(
                tokens = ended,
                number = book.number,
                known,
                "this node was put back to an earlier state: the cluster knows of uses or revocations of join tokens that it \
                 has forgotten; its tokens from before are void, make new ones"
            );
        }
        if let Err(error) = self.save(&new) {
            tracing::error!(%error, "the file of join tokens cannot be written");
        }
        // Also if it is not written: the next start compares again.
        *book = new;
    }

    /// The cluster was heard, and holds the number `known`: from now on tokens from before the start count, and so does what
    /// happens to them. The number that the cluster is to be told.
    pub(crate) fn settle(&self, known: u64) -> Option<u64> {
        let mut book = self.lock();
        if book.heard {
            return None;
        }
        let mut new = book.clone();
        new.heard = true;
        new.number = new.number.max(known);
        if std::mem::take(&mut new.owed) {
            new.count();
        }
        if (new.number, new.owed) != (book.number, book.owed)
            && let Err(error) = self.save(&new)
        {
            tracing::error!(%error, "the file of join tokens cannot be written");
            (new.number, new.owed) = (book.number, book.owed);
        }
        *book = new;
        (book.number > known).then_some(book.number)
    }

    /// Uses a token up by one for this node and key; a node that was admitted by it before costs nothing more.
    /// On stable storage when this returns. The number that the cluster is to be told, if it is to be told now.
    pub(crate) fn admit(
        &self,
        id: TokenId,
        node: u128,
        key: KeyHash,
    ) -> Result<Option<u64>, Refusal> {
        self.check_heard(id)?;
        let mut book = self.lock();
        let mut new = book.clone();
        let Some(token) = new.tokens.iter_mut().find(|token| token.id == id) else {
            return Err(Refusal::Token);
        };
        if let Some(at) = token.revoked {
            return Err(Refusal::Revoked { at });
        }
        if token.admitted.contains(&(node, key)) {
            return Ok(None);
        }
        if token.uses == 0 {
            return Err(Refusal::UsedUp);
        }
        token.uses -= 1;
        token.admitted.push((node, key));
        let counted = new.count();
        if let Err(error) = self.save(&new) {
            tracing::error!(%error, "the file of join tokens cannot be written");
            return Err(Refusal::Unavailable("the issuer's disk failed".to_owned()));
        }
        *book = new;
        Ok(counted)
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
    let ended = fields.next().and_then(|field| field.split_once('='));
    let (revoked, void) = match ended {
        Some((word @ ("revoked" | "void"), at)) => (Some(at.parse().ok()?), word == "void"),
        _ => (None, false),
    };
    Some(Token {
        id,
        secret,
        expires,
        uses,
        admitted,
        revoked,
        void,
        early: true,
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

    /// As after a start, when the cluster was heard and knows no more than the file.
    fn heard(path: PathBuf, now: u64) -> Tokens {
        let tokens = Tokens::load(path, now).unwrap();
        let number = tokens.lock().number;
        tokens.settle(number);
        tokens
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
        assert_eq!(tokens.admit(good.id, 1, key(1)), Ok(None));

        let tokens = heard(path.clone(), 60);
        assert!(tokens.lookup(old.id).is_none(), "expired");
        let state = tokens.lookup(good.id).unwrap();
        assert_eq!(state.secret.expose(), good.secret.expose());
        assert_eq!(tokens.admit(good.id, 1, key(1)), Ok(None), "again");
        assert_eq!(tokens.admit(good.id, 2, key(2)), Ok(Some(2)));
        assert_eq!(tokens.admit(good.id, 3, key(3)), Err(Refusal::UsedUp));
        assert_eq!(tokens.admit(good.id, 1, key(9)), Err(Refusal::UsedUp));
        assert_eq!(tokens.admit(old.id, 1, key(1)), Err(Refusal::Token));

        let tokens = heard(path, 60);
        assert_eq!(tokens.admit(good.id, 2, key(2)), Ok(None));
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
        let tokens = heard(path.clone(), 40);
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
    fn a_file_of_earlier_days_is_void_as_soon_as_the_cluster_is_heard() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("tokens"), dir.path().join("old"));
        let key = |n| KeyHash::from_bytes([n; 32]);
        let [used, revoked, fresh] = [token(100), token(100), token(100)];
        let tokens = heard(path.clone(), 10);
        tokens.add(&used, 1, 10).unwrap();
        tokens.add(&revoked, 5, 10).unwrap();
        std::fs::copy(&path, &old).unwrap();
        assert_eq!(tokens.admit(used.id, 1, key(1)), Ok(Some(1)));
        assert_eq!(tokens.revoke(&revoked.id.to_string(), 20).unwrap(), Some(2));
        drop(tokens);

        // The copy is put back. Nobody was heard: what is old waits, what is new is good.
        let tokens = Tokens::load(old.clone(), 30).unwrap();
        let waits = |id| matches!(tokens.admit(id, 7, key(7)), Err(Refusal::Unavailable(_)));
        assert!(waits(used.id) && waits(revoked.id));
        assert!(tokens.check_heard(used.id).is_err());
        tokens.add(&fresh, 3, 30).unwrap();
        assert_eq!(tokens.admit(fresh.id, 8, key(8)), Ok(None));
        assert_eq!(tokens.admit(fresh.id, 9, key(9)), Ok(None));
        let notes: Vec<_> = tokens.list(30).iter().map(|token| token.note).collect();
        assert_eq!(notes, [Some(WAITS), Some(WAITS), None]);
        // The cluster knows of two uses. That this life has counted two makes it not equal.
        tokens.compare(2, false, 40);
        assert_eq!(tokens.settle(2), Some(3));
        for id in [used.id, revoked.id] {
            assert_eq!(
                tokens.admit(id, 7, key(7)),
                Err(Refusal::Revoked { at: 40 })
            );
        }
        assert_eq!(tokens.admit(fresh.id, 10, key(10)), Ok(Some(4)));
        let listed = tokens.list(50);
        let notes: Vec<_> = listed.iter().map(|token| token.note).collect();
        assert_eq!(notes, [Some(VOID), Some(VOID), None]);
        assert_eq!(heard(old.clone(), 50).list(50), listed, "and in the file");
        // Somebody whom this node admitted and does not know says the same.
        tokens.compare(4, true, 60);
        assert_eq!(tokens.list(60), listed, "what is of this life stays");
        let again = heard(old.clone(), 60);
        again.compare(4, true, 60);
        assert_eq!(
            again.admit(fresh.id, 11, key(11)),
            Err(Refusal::Revoked { at: 60 })
        );
        // What was counted before anybody was heard is owed over a restart.
        let tokens = Tokens::load(old.clone(), 65).unwrap();
        let last = token(100);
        tokens.add(&last, 1, 65).unwrap();
        assert_eq!(tokens.admit(last.id, 1, key(1)), Ok(None));
        let again = Tokens::load(old.clone(), 65).unwrap();
        assert_eq!((again.settle(4), again.settle(4)), (Some(5), None));
        // A file that is ahead, as the commit of the number was cut off, tells it again.
        let ahead = Tokens::load(old, 70).unwrap();
        assert_eq!(ahead.settle(1), Some(5));
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
        assert_eq!(tokens.lock().tokens.len(), 1);
    }
}
