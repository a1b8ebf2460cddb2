//! Whether the histories of the replicas have parted.

use super::Facts;
use super::positions::log_name;
use std::collections::BTreeSet;

/// A point in a history: log number, writer, position.
type Point = (u64, String, u64);

/// How many logs a walk goes back at most.
const WALK_MAX: usize = 100_000;

/// A split brain that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// The replicas that disagree.
    pub(crate) hosts: Vec<String>,
    /// Up to where they agree, if known.
    pub(crate) point: Option<String>,
}

impl Split {
    /// A sentence for whoever has to mend it.
    pub(crate) fn report(&self, res: &str) -> String {
        let hosts = match self.hosts.as_slice() {
            [] => String::new(),
            hosts => format!(" between {}", hosts.join(" and ")),
        };
        match &self.point {
            Some(point) => format!("split brain of resource `{res}`{hosts} after `{point}`"),
            None => format!("split brain of resource `{res}`{hosts}: no common past is known"),
        }
    }
}

/// Which replicas have the same history, where not all have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Histories {
    /// The hosts of one history each; that of the designated primary comes first. None if only the logs disagree.
    pub(crate) groups: Vec<Vec<String>>,
    /// The designated primary, if it has a history: the first group is that of its data.
    pub(crate) kept: Option<String>,
    /// Up to where those agree that were found first, if known.
    pub(crate) point: Option<String>,
}

impl Histories {
    /// The hosts whose data are not those of the designated primary; all hosts if there is none.
    pub(crate) fn differing(&self) -> Vec<String> {
        let skip = usize::from(self.kept.is_some());
        self.groups.iter().skip(skip).flatten().cloned().collect()
    }

    /// Who differs from whom, in words.
    pub(crate) fn words(&self) -> String {
        let after = self.point.as_ref().map_or(String::new(), |point| {
            format!(", which agree up to {point}")
        });
        let sides: Vec<String> = self.groups.iter().map(|hosts| hosts.join(" ")).collect();
        match &sides[..] {
            [] => format!("different logs of the same number{after}"),
            [only] => format!("different data on {only}{after}"),
            sides => format!("different data on {}{after}", sides.join(" and on ")),
        }
    }

    /// What mends it.
    pub(crate) fn next(&self, res: &str) -> String {
        let differing = self.differing().join(", ");
        match &self.kept {
            Some(kept) if !differing.is_empty() => format!(
                "decide whose data to keep; if {kept}'s: marsadm invalidate {res} on {differing}"
            ),
            _ => format!(
                "decide whose data to keep: marsadm primary {res} there, then marsadm invalidate {res} on the others"
            ),
        }
    }
}

enum Walk {
    Same,
    Parted(Option<String>),
}

impl Facts<'_> {
    /// The first split between two replicas, or two logs of one number.
    pub(crate) fn split(&self, res: &str) -> Option<Split> {
        let hosts: Vec<&str> = self
            .names(&format!("resource-{res}/replay-"))
            .into_iter()
            .filter(|host| self.start(res, host).is_some())
            .collect();
        for (i, a) in hosts.iter().enumerate() {
            for b in &hosts[i + 1..] {
                if let Walk::Parted(point) = self.walk(res, a, b) {
                    return Some(Split {
                        hosts: vec![(*a).to_owned(), (*b).to_owned()],
                        point,
                    });
                }
            }
        }
        self.twin_logs(res).or_else(|| self.told_split(res))
    }

    /// The histories of the replicas, if they are not all one.
    pub(crate) fn histories(&self, res: &str) -> Option<Histories> {
        let split = self.split(res)?;
        let mut hosts: Vec<String> = self
            .names(&format!("resource-{res}/replay-"))
            .into_iter()
            .filter(|host| self.start(res, host).is_some() && !self.is_deleted_peer(host))
            .map(str::to_owned)
            .collect();
        let kept = self.primary(res).filter(|host| hosts.contains(host));
        hosts.sort_by_key(|host| Some(host) != kept.as_ref());
        let mut point = None;
        let mut groups: Vec<Vec<String>> = Vec::new();
        for host in hosts {
            let mut same = None;
            for (at, group) in groups.iter().enumerate() {
                let parted = group
                    .iter()
                    .find_map(|other| match self.walk(res, other, &host) {
                        Walk::Same => None,
                        Walk::Parted(at) => Some(at),
                    });
                match parted {
                    Some(found) => point = point.or(found),
                    None => {
                        same = Some(at);
                        break;
                    }
                }
            }
            match same.and_then(|at| groups.get_mut(at)) {
                Some(group) => group.push(host),
                None => groups.push(vec![host]),
            }
        }
        self.set_apart(res, kept.as_ref(), &mut groups);
        if groups.len() < 2 {
            // Two logs of one number, or what hosts tell that have no history.
            groups = split.hosts.iter().map(|host| vec![host.clone()]).collect();
            groups.sort_by_key(|group| group.first() != kept.as_ref());
            point = split.point;
        }
        let kept = kept.filter(|kept| groups.first().is_some_and(|group| group.contains(kept)));
        Some(Histories {
            groups,
            kept,
            point,
        })
    }

    /// Hosts whose data plane found that they differ from the primary, where the keys do not show it.
    fn set_apart(&self, res: &str, kept: Option<&String>, groups: &mut Vec<Vec<String>>) {
        let Some((kept, told)) = kept.zip(self.told_split(res)) else {
            return;
        };
        let Some(first) = groups.first_mut() else {
            return;
        };
        let apart = |host: &String| host != kept && told.hosts.contains(host);
        let others: Vec<String> = first.iter().filter(|host| apart(host)).cloned().collect();
        first.retain(|host| !apart(host));
        groups.extend(others.into_iter().map(|host| vec![host]));
    }

    /// What a data plane of ours found by itself, also where the keys no longer show it.
    fn told_split(&self, res: &str) -> Option<Split> {
        let told = |host: &String| {
            let message = self.actual(res, host, "msg-err-splitbrain-detected");
            self.is_native() && message.is_some_and(|text| text != "OK")
        };
        let mut hosts = self.peers_of(res, super::Part::Member);
        hosts.retain(told);
        if hosts.is_empty() {
            return None;
        }
        let primary = self.primary(res).filter(|primary| !hosts.contains(primary));
        hosts.extend(primary);
        Some(Split { hosts, point: None })
    }

    /// Two log files of the same number.
    fn twin_logs(&self, res: &str) -> Option<Split> {
        let mut seen = BTreeSet::new();
        for name in self.names(&format!("resource-{res}/log-")) {
            let name = format!("log-{name}");
            let is_file = self.file_size(&format!("resource-{res}/{name}")).is_some();
            if let Some((nr, _)) = log_name(&name).filter(|_| is_file)
                && !seen.insert(nr)
            {
                return Some(Split {
                    hosts: Vec::new(),
                    point: Some(format!("duplicate log number {nr}")),
                });
            }
        }
        None
    }

    fn start(&self, res: &str, host: &str) -> Option<Point> {
        let replay = self.replay(res, host)?;
        Some((replay.nr, replay.producer, replay.pos))
    }

    fn walk(&self, res: &str, a: &str, b: &str) -> Walk {
        let (Some(mut pa), Some(mut pb)) = (self.start(res, a), self.start(res, b)) else {
            return Walk::Same;
        };
        let (mut da, mut db) = (0_usize, 0_usize);
        let mut parted = false;
        for _ in 0..WALK_MAX {
            if pa == pb {
                let differ = self.versions_differ(res, a, b, pa.0);
                let split = parted || differ || (da > 0 && db > 0);
                return if split {
                    Walk::Parted(Some(show(&pa)))
                } else {
                    Walk::Same
                };
            }
            if pa.0 == pb.0 && pa.1 == pb.1 {
                let (shorter, depth) = if pa.2 < pb.2 { (&pa, da) } else { (&pb, db) };
                return if parted || depth > 0 {
                    Walk::Parted(Some(show(shorter)))
                } else {
                    Walk::Same
                };
            }
            parted |= pa.0 == pb.0;
            let (back_a, back_b) = (pa.0 >= pb.0, pb.0 >= pa.0);
            if back_a {
                match self.before(res, a, pa.0) {
                    Some(point) => pa = point,
                    None => return self.unknown(parted),
                }
                da += 1;
            }
            if back_b {
                match self.before(res, b, pb.0) {
                    Some(point) => pb = point,
                    None => return self.unknown(parted),
                }
                db += 1;
            }
        }
        Walk::Parted(None)
    }

    /// Whether two replicas at one point of one log tell different digests of what is before it. Ours part at the
    /// digests of the positions themselves, and publish versions and positions one after the other.
    fn versions_differ(&self, res: &str, a: &str, b: &str, nr: u64) -> bool {
        let version = |host: &str| self.of(res, &format!("version-{nr:09}-{host}"));
        !self.is_native() && matches!((version(a), version(b)), (Some(a), Some(b)) if a != b)
    }

    /// A history that cannot be followed: the original calls that a split. Our daemons forget old versions in
    /// order, so that it says nothing.
    fn unknown(&self, parted: bool) -> Walk {
        if self.is_native() && !parted {
            Walk::Same
        } else {
            Walk::Parted(None)
        }
    }

    /// Where a log's predecessor ended, as `host` tells it.
    fn before(&self, res: &str, host: &str, nr: u64) -> Option<Point> {
        if let Some(value) = self.of(res, &format!("version-{nr:09}-{host}")) {
            return point(value.split_once(':')?.1);
        }
        let previous = nr.checked_sub(1)?;
        let value = self.of(res, &format!("version-{previous:09}-{host}"))?;
        point(value.split(':').next()?)
    }
}

/// The point in one half of a version key.
fn point(half: &str) -> Option<Point> {
    let mut parts = half.split(',').skip(1);
    let (nr, producer) = log_name(parts.next()?)?;
    let pos = parts.next()?.parse().ok()?;
    Some((nr, producer.to_owned(), pos))
}

fn show(point: &Point) -> String {
    format!("log-{:09}-{},{}", point.0, point.1, point.2)
}
