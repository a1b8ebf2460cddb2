//! The place up to which a reader has seen the events: which daemon told them, and a digest of every fact as it was told.

use super::Fact;
use crate::error::{Error, Result};
use crate::limits::CURSOR_FACTS_MAX;
use std::collections::BTreeSet;
use std::path::Path;

/// Characters of a digest in the text form.
const DIGEST_LEN: usize = 8;
/// Bits of what a fact is about, and of how it is, each.
const HALF: u32 = 24;
/// What stands for the digests if there are too many.
const TOO_MANY: &str = "many";
/// As of RFC 4648, for addresses.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A place in the events of one daemon. Text form: `2-INSTANCE-DIGESTS`, 8 characters for each fact that exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Which run of the daemon told them; empty: nothing was seen yet.
    pub instance: String,
    /// Of each fact: what it is about in the upper half, and how it is in the lower.
    told: BTreeSet<u64>,
    /// Why it does not say what was told, if so.
    pub blind: Option<&'static str>,
}

fn about(fact: &Fact) -> u64 {
    // No name holds a NUL.
    let text = format!(
        "{:?}\0{}\0{}",
        fact.subject,
        fact.resource.as_deref().unwrap_or_default(),
        fact.host.as_deref().unwrap_or_default()
    );
    half(&[text.as_bytes()])
}

fn half(parts: &[&[u8]]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
        hasher.update(&[0]);
    }
    let digest = hasher.finalize();
    let [a, b, c, ..] = *digest.as_bytes();
    u64::from(u32::from_be_bytes([0, a, b, c]))
}

fn digest(fact: &Fact, text: &str) -> u64 {
    let about = about(fact);
    about << HALF | half(&[&about.to_be_bytes(), text.as_bytes()])
}

impl Cursor {
    /// A place at the beginning of what an instance tells.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        Self {
            instance: instance.to_owned(),
            ..Self::default()
        }
    }

    /// Takes note of how a fact was told; `None`: it is gone.
    pub fn tell(&mut self, fact: &Fact, text: Option<&str>) {
        let first = about(fact) << HALF;
        let old: Vec<u64> = self
            .told
            .range(first..first + (1 << HALF))
            .copied()
            .collect();
        for digest in old {
            self.told.remove(&digest);
        }
        self.told.extend(text.map(|text| digest(fact, text)));
    }

    /// Whether the reader knows that the fact is so.
    #[must_use]
    pub fn holds(&self, fact: &Fact, text: &str) -> bool {
        self.told.contains(&digest(fact, text))
    }

    /// Whether the reader was told anything of the fact.
    #[must_use]
    pub fn knows(&self, fact: &Fact) -> bool {
        let first = about(fact) << HALF;
        self.told.range(first..first + (1 << HALF)).next().is_some()
    }

    /// Whether the reader knows of facts that are not among these.
    #[must_use]
    pub fn knows_others<'f>(&self, facts: impl Iterator<Item = &'f Fact>) -> bool {
        let named: BTreeSet<u64> = facts.map(about).collect();
        self.told
            .iter()
            .any(|digest| !named.contains(&(digest >> HALF)))
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self> {
        Self::read(text).ok_or_else(|| {
            Error::usage(format!("'{text}' is no cursor")).hint(
                "take the field cursor of a line of marsadm events; without --cursor: a snapshot",
            )
        })
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let (version, instance, list) = (parts.next()?, parts.next()?, parts.next()?);
        if !instance.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let mut cursor = Self::new(instance);
        match version {
            "1" => cursor.blind = Some("the cursor is of an earlier version"),
            "2" if list == TOO_MANY => {
                cursor.blind = Some("there was more than a cursor tells");
            }
            "2" if list.len().is_multiple_of(DIGEST_LEN)
                && list.len() / DIGEST_LEN <= CURSOR_FACTS_MAX =>
            {
                for chars in list.as_bytes().chunks(DIGEST_LEN) {
                    let mut digest = 0_u64;
                    for char in chars {
                        let at = ALPHABET.iter().position(|known| known == char)?;
                        digest = digest << 6 | u64::try_from(at).ok()?;
                    }
                    cursor.told.insert(digest);
                }
            }
            _ => return None,
        }
        Some(cursor)
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "2-{}-", self.instance)?;
        if self.told.len() > CURSOR_FACTS_MAX {
            return f.write_str(TOO_MANY);
        }
        for digest in &self.told {
            for at in (0..DIGEST_LEN).rev() {
                let bits = digest >> (6 * at) & 63;
                let char = usize::try_from(bits)
                    .ok()
                    .and_then(|bits| ALPHABET.get(bits));
                write!(f, "{}", char::from(*char.unwrap_or(&b'?')))?;
            }
        }
        Ok(())
    }
}

/// Which run of which daemon listens at a socket: the machine's boot, the process, and when it started. Observations
/// live in its memory only, so another run cannot tell what changed before.
///
/// # Errors
/// If nobody listens.
pub async fn instance(socket: &Path) -> std::io::Result<String> {
    let stream = tokio::net::UnixStream::connect(socket).await?;
    let pid = stream.peer_cred()?.pid().unwrap_or_default();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let boot = read("/proc/sys/kernel/random/boot_id");
    let stat = read(&format!("/proc/{pid}/stat"));
    // Fields behind the name, which may hold anything: the start is the 20th of them.
    let started = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(19))
        .unwrap_or_default();
    let digest = blake3::hash(format!("{boot} {pid} {started}").as_bytes());
    Ok(digest.to_hex()[..16].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Subject;

    fn fact(host: &str) -> Fact {
        Fact {
            subject: Subject::Replica,
            resource: Some("r".to_owned()),
            host: Some(host.to_owned()),
        }
    }

    #[test]
    fn a_cursor_survives_its_text_form() {
        let mut cursor = Cursor::new("0123abcd");
        assert_eq!(Cursor::parse(&cursor.to_string()).unwrap(), cursor);
        for at in 0..100 {
            cursor.tell(&fact(&format!("h{at}")), Some("primary"));
        }
        let text = cursor.to_string();
        assert_eq!(text.len(), "2-0123abcd-".len() + 100 * DIGEST_LEN);
        assert_eq!(Cursor::parse(&text).unwrap(), cursor);
        for bad in [
            "",
            "1",
            "1--",
            "2-ab",
            "3-ab-",
            "2-xy-",
            "2-ab-1",
            "2-ab-AAAAAAA/",
        ] {
            assert!(Cursor::parse(bad).is_err() || bad == "1--", "{bad}");
        }
        assert!(Cursor::parse("1-ab-1:5").unwrap().blind.is_some());
    }

    #[test]
    fn it_knows_what_was_told_and_nothing_else() {
        let mut cursor = Cursor::new("ab");
        cursor.tell(&fact("a"), Some("primary"));
        cursor.tell(&fact("b"), Some("secondary"));
        assert!(cursor.holds(&fact("a"), "primary"));
        assert!(!cursor.holds(&fact("a"), "secondary"));
        assert!(!cursor.knows(&fact("c")));
        assert!(cursor.knows_others([&fact("a")].into_iter()));
        assert!(!cursor.knows_others([&fact("a"), &fact("b")].into_iter()));
        cursor.tell(&fact("a"), Some("secondary"));
        assert!(cursor.holds(&fact("a"), "secondary") && !cursor.holds(&fact("a"), "primary"));
        cursor.tell(&fact("a"), None);
        assert!(!cursor.knows(&fact("a")));
    }

    #[test]
    fn what_is_too_much_for_a_cursor_is_said() {
        let mut cursor = Cursor::new("ab");
        for at in 0..=CURSOR_FACTS_MAX {
            cursor.tell(&fact(&format!("h{at}")), Some("primary"));
        }
        assert!(Cursor::parse(&cursor.to_string()).unwrap().blind.is_some());
    }
}
