//! Positions and version records of replicas: reading them, checking their digests, and the walk back through
//! two histories that finds a split brain.

use md5::{Digest, Md5};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A place in the history of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// Number of the log.
    pub(crate) nr: u64,
    /// Host that wrote the log.
    pub(crate) writer: String,
    /// Bytes from its beginning.
    pub(crate) offset: u64,
}

/// `log-NUMBER-HOST`, as number and host.
pub(crate) fn parse_log_name(text: &str) -> Option<(u64, &str)> {
    let (nr, host) = text.strip_prefix("log-")?.split_once('-')?;
    let ok = !nr.is_empty() && nr.bytes().all(|b| b.is_ascii_digit()) && !host.is_empty();
    Some((nr.parse().ok().filter(|_| ok)?, host))
}

/// `log-NUMBER-HOST,OFFSET`.
fn parse_position(text: &str) -> Option<Position> {
    let (name, offset) = text.split_once(',')?;
    let (nr, writer) = parse_log_name(name)?;
    let offset = offset.parse().ok()?;
    Some(Position {
        nr,
        writer: writer.to_owned(),
        offset,
    })
}

/// `log-NUMBER-HOST,APPLIED,REST`: the position applied.
pub(crate) fn parse_replay(text: &str) -> Option<Position> {
    let (position, rest) = text.rsplit_once(',')?;
    rest.parse::<u64>().ok()?;
    parse_position(position)
}

/// A version record: `DIGEST,LOG,OFFSET:[DIGEST,LOG,OFFSET]`.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    text: String,
    digest: String,
    head: Position,
    tail: Option<Position>,
}

impl Version {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let half = |text: &str| {
            let (digest, position) = text.split_once(',')?;
            let ok = digest.len() == 32 && digest.bytes().all(|b| b.is_ascii_hexdigit());
            Some((digest.to_owned(), parse_position(position).filter(|_| ok)?))
        };
        let (head, tail) = text.split_once(':')?;
        let (digest, head) = half(head)?;
        let tail = if tail.is_empty() {
            None
        } else {
            Some(half(tail)?.1)
        };
        Some(Self {
            text: text.to_owned(),
            digest,
            head,
            tail,
        })
    }

    /// Whether the digest fits the record and its predecessor; `None` if that cannot be told, because the
    /// predecessor is missing or the record was written by hand (all zeros).
    fn digest_fits(&self, previous: Option<&Self>) -> Option<bool> {
        if self.digest.bytes().all(|b| b == b'0') {
            return None;
        }
        let previous = match previous {
            _ if self.head.nr <= 1 => "",
            Some(previous) => &previous.text,
            None => return None,
        };
        let head = &self.head;
        let input = format!("{},{},{}:{previous}", head.nr, head.writer, head.offset);
        let mut hex = String::with_capacity(32);
        for byte in Md5::digest(input.as_bytes()) {
            // Writing into a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Some(hex == self.digest)
    }
}

/// What one replica knows of the history.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replica {
    /// Position applied, if it is known.
    pub(crate) replay: Option<Position>,
    /// Version records by log number.
    pub(crate) versions: BTreeMap<u64, Version>,
}

/// What a walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// One history is the beginning of the other.
    Fits,
    /// They contradict each other; the last common place, if it is known.
    Split(Option<Position>),
    /// A record is missing.
    Unknown,
}

impl Replica {
    /// Log numbers of records whose digest does not fit.
    pub(crate) fn bad_digests(&self) -> impl Iterator<Item = u64> {
        self.versions.iter().filter_map(|(nr, version)| {
            let previous = nr.checked_sub(1).and_then(|nr| self.versions.get(&nr));
            (version.digest_fits(previous) == Some(false)).then_some(*nr)
        })
    }

    fn predecessor(&self, of: &Position) -> Option<Position> {
        let found = match self.versions.get(&of.nr) {
            Some(version) => version.tail.clone(),
            None => self
                .versions
                .get(&of.nr.checked_sub(1)?)
                .map(|version| version.head.clone()),
        };
        found.filter(|found| found.nr < of.nr)
    }

    /// Compares two histories, walking back from the positions applied.
    pub(crate) fn compare(&self, other: &Self) -> Verdict {
        let (Some(mut a), Some(mut b)) = (self.replay.clone(), other.replay.clone()) else {
            return Verdict::Unknown;
        };
        let (mut a_back, mut b_back, mut split) = (false, false, false);
        // Ends: every step lowers a number, and needs a record.
        loop {
            let (step_a, step_b) = (a.nr >= b.nr, b.nr >= a.nr);
            if step_a && step_b {
                if a.writer == b.writer {
                    let (offset, behind) = match a.offset.cmp(&b.offset) {
                        std::cmp::Ordering::Less => (a.offset, a_back),
                        std::cmp::Ordering::Greater => (b.offset, b_back),
                        std::cmp::Ordering::Equal => (a.offset, a_back && b_back),
                    };
                    return if split || behind {
                        Verdict::Split(Some(Position { offset, ..a }))
                    } else {
                        Verdict::Fits
                    };
                }
                split = true;
            }
            let next_a = if step_a {
                self.predecessor(&a)
            } else {
                Some(a)
            };
            let next_b = if step_b {
                other.predecessor(&b)
            } else {
                Some(b)
            };
            match (next_a, next_b) {
                (Some(next_a), Some(next_b)) => (a, b) = (next_a, next_b),
                _ if split => return Verdict::Split(None),
                _ => return Verdict::Unknown,
            }
            a_back |= step_a;
            b_back |= step_b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "7208f7b776ce4801c1a0da69e8bc635d,log-000000001-istore-test-bs7,69872880:";
    const V2: &str = "8728a48cf769fd147be6683e3b8d6d59,log-000000002-istore-test-bs7,279483160:\
                      7208f7b776ce4801c1a0da69e8bc635d,log-000000001-istore-test-bs7,69872880";
    const V3: &str = "a64424bd50695f2557c1b83bbd317cb5,log-000000003-istore-test-bs7,0:\
                      8728a48cf769fd147be6683e3b8d6d59,log-000000002-istore-test-bs7,279483160";

    fn replica(replay: &str, versions: &[&str]) -> Replica {
        let versions = versions.iter().map(|text| Version::parse(text).unwrap());
        Replica {
            replay: parse_replay(replay),
            versions: versions.map(|v| (v.head.nr, v)).collect(),
        }
    }

    #[test]
    fn published_digests_fit_and_others_do_not() {
        let good = replica("", &[V1, V2, V3]);
        assert_eq!(good.bad_digests().count(), 0);
        let bad = replica("", &[V1, &V2.replace("279483160", "279483161"), V3]);
        assert_eq!(bad.bad_digests().collect::<Vec<_>>(), [2, 3]);
        let gap = replica("", &[V1, V3]);
        assert_eq!(
            gap.bad_digests().count(),
            0,
            "without a predecessor nothing is told"
        );
    }

    #[test]
    fn lagging_is_no_split() {
        let host = "istore-test-bs7";
        let ahead = replica(&format!("log-000000003-{host},0,0"), &[V1, V2, V3]);
        let lag = replica(&format!("log-000000002-{host},1000,5"), &[V1, V2]);
        assert_eq!(ahead.compare(&lag), Verdict::Fits);
        assert_eq!(lag.compare(&ahead), Verdict::Fits);
        let beyond = replica(&format!("log-000000002-{host},999999999,0"), &[V1, V2]);
        assert!(
            matches!(ahead.compare(&beyond), Verdict::Split(Some(p)) if p.offset == 279_483_160)
        );
        let nothing = replica(&format!("log-000000009-{host},0,0"), &[]);
        assert_eq!(ahead.compare(&nothing), Verdict::Unknown);
    }

    #[test]
    fn two_writers_of_one_number_are_a_split() {
        let a = replica("log-000000003-a,10,0", &[V1, V2, V3]);
        let b = replica("log-000000003-b,10,0", &[V1, V2, V3]);
        assert!(matches!(a.compare(&b), Verdict::Split(Some(p)) if p.nr == 2));
    }

    #[test]
    fn hostile_records_end_the_walk() {
        let loops = V3.replace("log-000000002", "log-000000003");
        let a = replica("log-000000003-a,10,0", &[&loops]);
        let b = replica("log-000000003-b,10,0", &[&loops]);
        assert_eq!(a.compare(&b), Verdict::Split(None));
        for bad in [
            "",
            ":",
            "x,log-1-h,0:",
            "7208f7b776ce4801c1a0da69e8bc635d,log-1-,0:",
            V1.trim_end_matches(':'),
        ] {
            assert!(Version::parse(bad).is_none(), "{bad}");
        }
        assert!(parse_replay("log-99999999999999999999999-h,1,1").is_none());
    }
}
