//! Values of `version-*`, `replay-*` and `syncpos-*` keys, log file names, and the chain's digest.

use std::fmt;
use std::str::FromStr;

use md5::{Digest as _, Md5};

use crate::limits::MAX_CHAIN_VALUE;
use crate::{LogPos, Name};

/// Digest of a history: MD5, as the original defines the chain. Text form: 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The digest that stands for "not computed": the root of a history that was created by hand.
    pub const UNKNOWN: Self = Self([0; 16]);

    /// Digest of a history that ends `at`, behind the complete previous value `previous` (empty for none).
    #[must_use]
    pub fn chain(at: &LogEnd, previous: &str) -> Self {
        let mut md5 = Md5::new();
        md5.update(format!(
            "{},{},{}:{previous}",
            at.log.number, at.log.origin, at.position
        ));
        Self(md5.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a text is no value of the version chain. Nothing was taken from it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no {what}")]
pub struct ChainError {
    /// What was expected.
    what: &'static str,
    /// The text, cut to the longest value that is possible.
    text: String,
}

impl ChainError {
    fn new(what: &'static str, text: &str) -> Self {
        Self {
            what,
            text: text.chars().take(MAX_CHAIN_VALUE).collect(),
        }
    }
}

impl FromStr for Digest {
    type Err = ChainError;

    fn from_str(text: &str) -> Result<Self, ChainError> {
        let error = || ChainError::new("digest (32 lower-case hex digits)", text);
        let digit = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        if text.len() != 32 {
            return Err(error());
        }
        let mut out = [0; 16];
        for (slot, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [high, low] = [0, 1].map(|i| pair.get(i).copied().and_then(digit));
            let (Some(high), Some(low)) = (high, low) else {
                return Err(error());
            };
            *slot = high << 4 | low;
        }
        Ok(Self(out))
    }
}

/// A decimal number without sign and needless zeros.
fn decimal(text: &str) -> Option<u64> {
    let plain = text == "0" || !text.starts_with('0');
    (plain && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Name of a log file: `log-%09d-ORIGIN`; numbers of more than nine digits are longer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName {
    /// Number of the segment.
    pub number: u64,
    /// The host that writes it.
    pub origin: Name,
}

impl LogName {
    /// The log that the same host writes after this one; `None` behind the last number.
    #[must_use]
    pub fn successor(&self) -> Option<Self> {
        Some(Self {
            number: self.number.checked_add(1)?,
            origin: self.origin.clone(),
        })
    }

    /// Where it begins.
    #[must_use]
    pub fn begin(self) -> LogEnd {
        LogEnd {
            log: self,
            position: 0,
        }
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log-{:09}-{}", self.number, self.origin)
    }
}

impl FromStr for LogName {
    type Err = ChainError;

    fn from_str(text: &str) -> Result<Self, ChainError> {
        let parse = || {
            let (digits, origin) = text.strip_prefix("log-")?.split_once('-')?;
            let plain = digits.bytes().all(|b| b.is_ascii_digit());
            let canonical = digits.len() == 9 || (digits.len() > 9 && !digits.starts_with('0'));
            let number = digits.parse().ok().filter(|_| plain && canonical)?;
            Some(Self {
                number,
                origin: origin.parse().ok()?,
            })
        };
        parse().ok_or_else(|| ChainError::new("log name (log-NNNNNNNNN-HOST)", text))
    }
}

/// A log and a position in it: `log-%09d-ORIGIN,POS`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogEnd {
    /// The log.
    pub log: LogName,
    /// Bytes of it.
    pub position: u64,
}

impl LogEnd {
    /// The place without the origin.
    #[must_use]
    pub const fn pos(&self) -> LogPos {
        LogPos::new(self.log.number, self.position)
    }
}

impl fmt::Display for LogEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.log, self.position)
    }
}

impl FromStr for LogEnd {
    type Err = ChainError;

    fn from_str(text: &str) -> Result<Self, ChainError> {
        let parse = || {
            let (log, position) = text.split_once(',')?;
            Some(Self {
                log: log.parse().ok()?,
                position: decimal(position)?,
            })
        };
        parse().ok_or_else(|| ChainError::new("log position (log-NNNNNNNNN-HOST,POS)", text))
    }
}

/// Value of `version-%09d-HOST`: HOST's view of the history up to one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionValue {
    /// Digest over this log's place and the complete value of the log before.
    pub digest: Digest,
    /// The log, its writer and how much of it is known.
    pub at: LogEnd,
    /// Head of the value of the log before; absent at the root of a history.
    pub predecessor: Option<(Digest, LogEnd)>,
}

impl VersionValue {
    /// The part in front of the first `:`, which the successor's value repeats.
    #[must_use]
    pub fn head(&self) -> String {
        format!("{},{}", self.digest, self.at)
    }
}

impl fmt::Display for VersionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}:", self.digest, self.at)?;
        match &self.predecessor {
            Some((digest, at)) => write!(f, "{digest},{at}"),
            None => Ok(()),
        }
    }
}

impl FromStr for VersionValue {
    type Err = ChainError;

    fn from_str(text: &str) -> Result<Self, ChainError> {
        let half = |part: &str| {
            let (digest, at) = part.split_once(',')?;
            Some((digest.parse::<Digest>().ok()?, at.parse::<LogEnd>().ok()?))
        };
        let parse = || {
            let (head, tail) = text.split_once(':')?;
            let (digest, at) = half(head)?;
            let predecessor = if tail.is_empty() {
                None
            } else {
                Some(half(tail)?)
            };
            Some(Self {
                digest,
                at,
                predecessor,
            })
        };
        parse().ok_or_else(|| ChainError::new("version value (MD5,LOG,POS:[MD5,LOG,POS])", text))
    }
}

/// The value of `version-N-HOST` for a history that ends `at`, from HOST's complete value for N - 1.
///
/// `previous` is the raw text of that value, empty if there is none; for log 1 it is not looked at.
#[must_use]
pub fn chain_value(at: &LogEnd, previous: &str) -> String {
    let previous = if at.log.number <= 1 { "" } else { previous };
    let head = previous.split(':').next().unwrap_or_default();
    format!("{},{at}:{head}", Digest::chain(at, previous))
}

/// Value of `replay-HOST`: `log-%09d-ORIGIN,APPLIED,DIRTY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayValue {
    /// HOST's disk contains everything up to here.
    pub applied: LogEnd,
    /// Bytes behind it that are in work.
    pub dirty: u64,
}

/// Value of `syncpos-HOST`: same form; replay must have reached it before the replica is consistent.
pub type SyncPos = ReplayValue;

impl fmt::Display for ReplayValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.applied, self.dirty)
    }
}

impl FromStr for ReplayValue {
    type Err = ChainError;

    fn from_str(text: &str) -> Result<Self, ChainError> {
        let parse = || {
            let (applied, dirty) = text.rsplit_once(',')?;
            Some(Self {
                applied: applied.parse().ok()?,
                dirty: decimal(dirty)?,
            })
        };
        parse().ok_or_else(|| ChainError::new("replay value (log-NNNNNNNNN-HOST,POS,DIRTY)", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "istore-test-bs7";

    fn end(number: u64, position: u64) -> LogEnd {
        LogEnd {
            log: LogName {
                number,
                origin: HOST.parse().unwrap(),
            },
            position,
        }
    }

    #[test]
    fn published_vectors_are_met() {
        let one = chain_value(&end(1, 69_872_880), "not looked at");
        assert_eq!(
            one,
            "7208f7b776ce4801c1a0da69e8bc635d,log-000000001-istore-test-bs7,69872880:"
        );
        let two = chain_value(&end(2, 0), &one);
        assert!(
            two.starts_with("e01d67655265eb5853501277ecd89d13,"),
            "{two}"
        );
        let later = chain_value(&end(2, 279_483_160), &one);
        assert_eq!(
            later,
            "8728a48cf769fd147be6683e3b8d6d59,log-000000002-istore-test-bs7,279483160:\
             7208f7b776ce4801c1a0da69e8bc635d,log-000000001-istore-test-bs7,69872880"
        );
        let three = chain_value(&end(3, 0), &later);
        assert!(
            three.starts_with("a64424bd50695f2557c1b83bbd317cb5,"),
            "{three}"
        );
        for value in [&one, &two, &later, &three] {
            let parsed: VersionValue = value.parse().unwrap();
            assert_eq!(&parsed.to_string(), value);
            assert!(value.starts_with(&format!("{}:", parsed.head())));
        }
    }

    #[test]
    fn names_and_values_round_trip_or_are_refused() {
        for good in ["log-000000001-a", "log-999999999-a-b", "log-1234567890-h"] {
            assert_eq!(good.parse::<LogName>().unwrap().to_string(), good);
        }
        for bad in [
            "log-1-a",
            "log-0123456789-a",
            "log-00000000x-a",
            "log-000000001-",
            "log-000000001",
            "log-+00000001-a",
            "log-99999999999999999999-a",
            "log-000000001-a/b",
        ] {
            assert!(bad.parse::<LogName>().is_err(), "{bad}");
        }
        let replay = "log-000000002-istore-test-bs7,279483160,17";
        assert_eq!(replay.parse::<ReplayValue>().unwrap().to_string(), replay);
        for bad in [
            "",
            "log-000000002-h,1",
            "log-000000002-h,1,",
            "log-000000002-h,-1,0",
            "log-000000002-h,01,0",
            "log-000000002-h,1,0,0",
        ] {
            assert!(bad.parse::<ReplayValue>().is_err(), "{bad}");
        }
        let zero = "00000000000000000000000000000000,log-000000000-h,0:";
        assert_eq!(
            zero.parse::<VersionValue>().unwrap().digest,
            Digest::UNKNOWN
        );
        assert!(zero.to_uppercase().parse::<VersionValue>().is_err());
        assert!(zero.trim_end_matches(':').parse::<VersionValue>().is_err());
    }
}
