//! Whether two replicas' histories contradict each other.

use super::value::{Digest, LogEnd, VersionValue};
use crate::Name;

/// Outcome of [`compare_histories`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// One history is a prefix of the other, or both are equal.
    Agree,
    /// Both went on after a common point, or have none that is known.
    Split {
        /// The last place that both share, if the chains reach back to it.
        common: Option<LogEnd>,
    },
    /// The chains do not reach back far enough to tell: neither agreement nor split is shown.
    Unknown {
        /// Whose value is missing.
        host: Name,
        /// Predecessor of this log number could not be found.
        number: u64,
    },
}

/// One side of the walk.
struct Side<'a> {
    host: &'a Name,
    at: LogEnd,
    digest: Option<Digest>,
    depth: u32,
}

const fn known(digest: Digest) -> Option<Digest> {
    match u128::from_le_bytes(digest.0) {
        0 => None,
        _ => Some(digest),
    }
}

impl<'a> Side<'a> {
    fn new(
        (host, at): (&'a Name, &LogEnd),
        lookup: &impl Fn(&Name, u64) -> Option<VersionValue>,
    ) -> Self {
        let value = lookup(host, at.log.number).filter(|value| value.at == *at);
        let digest = value.and_then(|value| known(value.digest));
        Self {
            host,
            at: at.clone(),
            digest,
            depth: 0,
        }
    }

    /// Goes to the predecessor; `Err` with the outcome if it is not known.
    fn step(
        &mut self,
        lookup: &impl Fn(&Name, u64) -> Option<VersionValue>,
    ) -> Result<(), Comparison> {
        let number = self.at.log.number;
        let before = match lookup(self.host, number) {
            Some(value) => value.predecessor,
            None => number
                .checked_sub(1)
                .and_then(|before| lookup(self.host, before))
                .map(|value| (value.digest, value.at)),
        };
        match before.filter(|(_, at)| at.log.number < number) {
            Some((digest, at)) => {
                self.at = at;
                self.digest = known(digest);
                self.depth = self.depth.saturating_add(1);
                Ok(())
            }
            None => Err(Comparison::Unknown {
                host: self.host.clone(),
                number,
            }),
        }
    }
}

/// Walks two histories back from the replay positions of two hosts to where they meet.
///
/// `lookup(host, number)` gives the value of `version-NUMBER-HOST`. A missing value is bridged by the one
/// below it; two in a row end in [`Comparison::Unknown`], never in a claimed split. Equal places with
/// different digests have different pasts; an all-zero digest (root made by hand) says nothing.
#[must_use]
pub fn compare_histories(
    a: (&Name, &LogEnd),
    b: (&Name, &LogEnd),
    lookup: impl Fn(&Name, u64) -> Option<VersionValue>,
) -> Comparison {
    let mut a = Side::new(a, &lookup);
    let mut b = Side::new(b, &lookup);
    let mut split = false;
    loop {
        let stepped = if a.at.log.number > b.at.log.number {
            a.step(&lookup)
        } else if a.at.log.number < b.at.log.number {
            b.step(&lookup)
        } else if a.at.log.origin == b.at.log.origin && !pasts_differ(&a, &b) {
            let (low, both_left) = match a.at.position.cmp(&b.at.position) {
                std::cmp::Ordering::Less => (&a, a.depth > 0),
                std::cmp::Ordering::Greater => (&b, b.depth > 0),
                std::cmp::Ordering::Equal => (&a, a.depth > 0 && b.depth > 0),
            };
            return if split || both_left {
                Comparison::Split {
                    common: Some(low.at.clone()),
                }
            } else {
                Comparison::Agree
            };
        } else {
            split = true;
            a.step(&lookup).and_then(|()| b.step(&lookup))
        };
        match stepped {
            Ok(()) => {}
            Err(_) if split => return Comparison::Split { common: None },
            Err(unknown) => return unknown,
        }
    }
}

fn pasts_differ(a: &Side<'_>, b: &Side<'_>) -> bool {
    let digests = a.digest.zip(b.digest);
    a.at.position == b.at.position && digests.is_some_and(|(a, b)| a != b)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::version::{LogName, chain_value};

    /// One log of a chain: number, writer, length.
    type Log = (u64, &'static str, u64);

    /// Values of `version-NUMBER-HOST`.
    struct World(BTreeMap<(Name, u64), VersionValue>);

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn end(number: u64, writer: &str, position: u64) -> LogEnd {
        LogEnd {
            log: LogName {
                number,
                origin: name(writer),
            },
            position,
        }
    }

    impl World {
        fn new(hosts: &[(&str, &[Log])]) -> Self {
            let mut map = BTreeMap::new();
            for (host, logs) in hosts {
                let mut previous = String::new();
                for (number, writer, length) in *logs {
                    previous = chain_value(&end(*number, writer, *length), &previous);
                    map.insert((name(host), *number), previous.parse().unwrap());
                }
            }
            Self(map)
        }

        /// Compares both ways round; the outcome must not depend on it.
        fn compare(&self, a: (&str, LogEnd), b: (&str, LogEnd)) -> Comparison {
            let lookup = |host: &Name, number: u64| self.0.get(&(host.clone(), number)).cloned();
            let (ha, hb) = (name(a.0), name(b.0));
            let there = compare_histories((&ha, &a.1), (&hb, &b.1), lookup);
            let back = compare_histories((&hb, &b.1), (&ha, &a.1), lookup);
            match (&there, &back) {
                (Comparison::Unknown { .. }, Comparison::Unknown { .. }) => {}
                _ => assert_eq!(there, back),
            }
            there
        }
    }

    #[test]
    fn lagging_is_no_split() {
        let w = World::new(&[
            ("a", &[(1, "a", 100), (2, "a", 200), (3, "a", 50)]),
            ("b", &[(1, "a", 100), (2, "a", 120)]),
        ]);
        assert_eq!(
            w.compare(("a", end(3, "a", 50)), ("b", end(2, "a", 120))),
            Comparison::Agree
        );
        assert_eq!(
            w.compare(("a", end(3, "a", 50)), ("b", end(2, "a", 0))),
            Comparison::Agree
        );
        assert_eq!(
            w.compare(("a", end(3, "a", 50)), ("a", end(3, "a", 50))),
            Comparison::Agree
        );
    }

    #[test]
    fn two_writers_of_one_number_are_a_split() {
        let w = World::new(&[
            ("a", &[(1, "a", 100), (2, "a", 200), (3, "a", 50)]),
            ("b", &[(1, "a", 100), (2, "a", 120), (3, "b", 70)]),
        ]);
        let split = w.compare(("a", end(3, "a", 50)), ("b", end(3, "b", 70)));
        assert_eq!(
            split,
            Comparison::Split {
                common: Some(end(2, "a", 120))
            }
        );
    }

    #[test]
    fn going_on_from_a_shorter_end_is_a_split() {
        let w = World::new(&[
            ("a", &[(1, "a", 100), (2, "a", 200)]),
            ("b", &[(1, "a", 90), (2, "b", 7)]),
        ]);
        let split = w.compare(("a", end(1, "a", 100)), ("b", end(2, "b", 7)));
        assert_eq!(
            split,
            Comparison::Split {
                common: Some(end(1, "a", 90))
            }
        );
    }

    #[test]
    fn one_missing_value_is_bridged_two_are_unknown() {
        let logs: &[_] = &[(1, "a", 100), (2, "a", 200), (3, "a", 300), (4, "a", 50)];
        let mut w = World::new(&[("a", logs), ("b", &[(1, "a", 100)])]);
        w.0.remove(&(name("a"), 3));
        let (a, b) = (("a", end(4, "a", 50)), ("b", end(1, "a", 10)));
        assert_eq!(w.compare(a.clone(), b.clone()), Comparison::Agree);
        w.0.remove(&(name("a"), 2));
        assert_eq!(
            w.compare(a, b),
            Comparison::Unknown {
                host: name("a"),
                number: 3
            }
        );
    }

    #[test]
    fn no_common_root_is_a_split_without_a_point() {
        let w = World::new(&[("a", &[(1, "a", 100)]), ("b", &[(1, "b", 100)])]);
        let split = w.compare(("a", end(1, "a", 100)), ("b", end(1, "b", 100)));
        assert_eq!(split, Comparison::Split { common: None });
    }

    #[test]
    fn equal_places_with_different_pasts_are_a_split() {
        let w = World::new(&[
            ("a", &[(1, "a", 100), (2, "b", 200), (3, "c", 5)]),
            ("b", &[(1, "a", 80), (2, "b", 200), (3, "c", 5)]),
        ]);
        let split = w.compare(("a", end(3, "c", 5)), ("b", end(3, "c", 5)));
        assert_eq!(
            split,
            Comparison::Split {
                common: Some(end(1, "a", 80))
            }
        );
    }

    #[test]
    fn roots_made_by_hand_say_nothing_about_the_past() {
        let mut w = World::new(&[("a", &[(1, "a", 0)])]);
        let zero = format!("{},{}:", Digest::UNKNOWN, end(1, "a", 0));
        w.0.insert((name("b"), 1), zero.parse().unwrap());
        assert_eq!(
            w.compare(("a", end(1, "a", 0)), ("b", end(1, "a", 0))),
            Comparison::Agree
        );
    }

    #[test]
    fn a_chain_that_does_not_descend_ends_the_walk() {
        let mut w = World::new(&[("a", &[(1, "a", 9), (2, "a", 9)]), ("b", &[(1, "a", 9)])]);
        let this = end(2, "a", 9);
        let looped = format!("{0},{this}:{0},{this}", Digest::UNKNOWN);
        w.0.insert((name("a"), 2), looped.parse().unwrap());
        let outcome = w.compare(("a", this), ("b", end(1, "a", 9)));
        assert_eq!(
            outcome,
            Comparison::Unknown {
                host: name("a"),
                number: 2
            }
        );
    }
}
