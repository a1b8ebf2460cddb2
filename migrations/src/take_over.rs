//! What is left to do before a replica of the original may go on in the native format: pure
//! (`docs/spec/take-over.md`).

use mars_datapath_core::Name;
use mars_datapath_core::version::{
    Comparison, LogEnd, LogName, ReplayValue, VersionValue, chain_value, compare_histories,
};
use mars_meta_model::{Key, NodeId, View};
use std::collections::BTreeMap;

/// Leaf of the key that names the end of the old history once a first replica was taken over.
pub const LEGACY_END: &str = "legacy-end";

/// A piece of a log of the original that a disk lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The log.
    pub log: LogName,
    /// First byte that may be missing on the disk.
    pub from: u64,
    /// End of the log in the history.
    pub to: u64,
}

/// What a replica lacks up to the end of the old history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeOver {
    /// Logical size of the resource in bytes.
    pub size: u64,
    /// Path of the disk.
    pub disk: String,
    /// Logs to replay, in order; the last one ends where the history ends. Their pieces may be empty.
    pub legs: Vec<Leg>,
    /// Complete `version-*` value of the end of the history.
    pub version: String,
    /// Complete `version-*` value of the log before the last one; empty if it is not known.
    pub previous: String,
    /// The end was fixed by a replica that was taken over before.
    pub fixed: bool,
}

/// Why a replica cannot be taken over as the store describes it. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeOverError {
    /// A key is missing or not understood.
    #[error("the store has no usable {0}: import the tree of this host first")]
    Missing(String),
    /// The position was not imported.
    #[error("{0} was not imported from a legacy tree: there is nothing to take over")]
    NotImported(String),
    /// The first full copy was not finished.
    #[error(
        "the disk was never fully synced ({synced} of {size} bytes): a full sync is needed (marsadm invalidate)"
    )]
    NotSynced {
        /// Bytes that were copied.
        synced: String,
        /// Size of the resource.
        size: u64,
    },
    /// A member was primary when its tree was read.
    #[error(
        "host {0} was primary when its tree was imported: run 'marsadm secondary' of the original there, wait until all is replayed, and import its tree again"
    )]
    StillPrimary(String),
    /// Two replicas went different ways.
    #[error("split brain: the histories of {one} and {other} contradict each other{}", .common.as_ref().map(|at| format!(" behind {at}")).unwrap_or_default())]
    Split {
        /// One host.
        one: String,
        /// The other one.
        other: String,
        /// Where they parted.
        common: Option<LogEnd>,
    },
    /// A chain cannot be followed.
    #[error(
        "the history behind log {number} of {host} is not known: import the trees of all members"
    )]
    Unknown {
        /// Whose value is missing.
        host: String,
        /// Log whose predecessor is not known.
        number: u64,
    },
    /// The others went on without this one.
    #[error(
        "{host} stands at {at}, behind {end}, from where the others went on: its last writes are in no other replica (marsadm invalidate throws them away)"
    )]
    WentOn {
        /// The host.
        host: String,
        /// Where it stands.
        at: LogEnd,
        /// The end that was agreed on.
        end: LogEnd,
    },
}

struct Versions {
    /// Complete values with their parsed forms, by host and number.
    map: BTreeMap<(Name, u64), (String, VersionValue)>,
}

impl Versions {
    fn read(view: &(impl View + ?Sized), resource: &str, up_to: Option<u64>) -> Self {
        let prefix = format!("resource-{resource}/version-");
        let mut map = BTreeMap::new();
        for entry in view.scan(&prefix) {
            let rest = entry.key.as_str().get(prefix.len()..).unwrap_or_default();
            let Some((number, host)) = rest.split_once('-') else {
                continue;
            };
            let (Ok(number), Ok(host)) = (number.parse::<u64>(), host.parse::<Name>()) else {
                continue;
            };
            let Some(text) = entry.text() else { continue };
            let Ok(value) = text.parse::<VersionValue>() else {
                continue;
            };
            let wanted = value.at.log.number == number
                && up_to.map_or(entry.origin == NodeId::IMPORTED, |last| number <= last);
            if wanted {
                map.insert((host, number), (text.to_owned(), value));
            }
        }
        Self { map }
    }

    fn lookup(&self, host: &Name, number: u64) -> Option<VersionValue> {
        let (_, value) = self.map.get(&(host.clone(), number))?;
        Some(value.clone())
    }

    /// The newest place that a host knows of.
    fn newest(&self, host: &Name) -> Option<&(String, VersionValue)> {
        let from = (host.clone(), 0);
        let to = (host.clone(), u64::MAX);
        self.map.range(from..=to).next_back().map(|(_, v)| v)
    }

    /// The place before the log of `at`, as any host knows it.
    fn before(&self, at: &LogEnd) -> Option<LogEnd> {
        let number = at.log.number;
        let own = self
            .map
            .iter()
            .filter(|((_, n), (_, value))| *n == number && value.at.log == at.log)
            .find_map(|(_, (_, value))| value.predecessor.clone());
        own.map(|(_, before)| before)
            .filter(|before| before.log.number < number)
    }

    /// The complete value for a place, as any host has it.
    fn text(&self, at: &LogEnd) -> Option<&str> {
        self.map
            .values()
            .find(|(_, value)| value.at == *at)
            .map(|(text, _)| text.as_str())
    }
}

struct Reader<'v, V: View + ?Sized> {
    view: &'v V,
    resource: &'v str,
}

impl<V: View + ?Sized> Reader<'_, V> {
    fn key(&self, leaf: &str) -> String {
        format!("resource-{}/{leaf}", self.resource)
    }

    fn text(&self, leaf: &str) -> Result<&str, TakeOverError> {
        let key = self.key(leaf);
        self.view
            .text(&key)
            .ok_or(TakeOverError::Missing(format!("key {key}")))
    }

    fn imported(&self, leaf: &str) -> bool {
        Key::parse(&self.key(leaf))
            .ok()
            .and_then(|key| self.view.entry(&key))
            .is_some_and(|entry| entry.origin == NodeId::IMPORTED)
    }

    /// Hosts with a disk.
    fn members(&self) -> Vec<Name> {
        let prefix = self.key("data-");
        self.view
            .scan(&prefix)
            .filter(|entry| entry.value().is_some())
            .filter_map(|entry| entry.key.as_str().strip_prefix(&prefix)?.parse().ok())
            .collect()
    }
}

/// Finds out what the replica of `host` lacks.
///
/// `at` is how far an interrupted take-over came. With `alone`, what other members know is left aside, unless one of
/// them was taken over already.
///
/// # Errors
/// [`TakeOverError`].
pub fn plan_take_over(
    view: &(impl View + ?Sized),
    resource: &str,
    host: &Name,
    at: Option<&LogEnd>,
    alone: bool,
) -> Result<TakeOver, TakeOverError> {
    let reader = Reader { view, resource };
    let missing = |leaf: &str| TakeOverError::Missing(format!("key {}", reader.key(leaf)));
    let size: u64 = reader.text("size")?.parse().map_err(|_| missing("size"))?;
    let disk = reader.text(&format!("data-{host}"))?.to_owned();
    let leaf = format!("replay-{host}");
    let replay: ReplayValue = reader.text(&leaf)?.parse().map_err(|_| missing(&leaf))?;
    if !reader.imported(&leaf) {
        return Err(TakeOverError::NotImported(reader.key(&leaf)));
    }
    let synced = reader.text(&format!("syncstatus-{host}"))?;
    if synced.parse() != Ok(size) {
        return Err(TakeOverError::NotSynced {
            synced: synced.to_owned(),
            size,
        });
    }
    let members = reader.members();
    if !alone {
        let primary = |member: &&Name| {
            let leaf = format!("actual-{member}/is-primary");
            reader.imported(&leaf) && reader.text(&leaf) == Ok("1")
        };
        if let Some(member) = members.iter().find(primary) {
            return Err(TakeOverError::StillPrimary(member.to_string()));
        }
    }
    let fixed = reader.text(LEGACY_END).ok().map(str::to_owned);
    let (versions, version) = match &fixed {
        Some(text) => {
            let value: VersionValue = text.parse().map_err(|_| missing(LEGACY_END))?;
            let versions = Versions::read(view, resource, Some(value.at.log.number));
            check_fixed(&Versions::read(view, resource, None), host, &value.at)?;
            (versions, text.clone())
        }
        None => {
            let versions = Versions::read(view, resource, None);
            let text = choose(&versions, host, &members, alone)?;
            (versions, text)
        }
    };
    let end = version
        .parse::<VersionValue>()
        .map_err(|_| missing(LEGACY_END))?
        .at;
    let start = at.filter(|at| at.pos() > replay.applied.pos());
    let legs = match legs(&versions, host, start.unwrap_or(&replay.applied), &end) {
        // Progress that does not fit the history is not used.
        Err(_) if start.is_some() => legs(&versions, host, &replay.applied, &end)?,
        legs => legs?,
    };
    let previous = versions
        .before(&end)
        .and_then(|before| versions.text(&before));
    Ok(TakeOver {
        size,
        disk,
        legs,
        previous: previous.unwrap_or_default().to_owned(),
        version,
        fixed: fixed.is_some(),
    })
}

/// Holds a host's imported history against the end from where others went on.
fn check_fixed(imported: &Versions, host: &Name, end: &LogEnd) -> Result<(), TakeOverError> {
    match imported.newest(host) {
        Some((_, value)) if value.at.pos() > end.pos() => Err(TakeOverError::WentOn {
            host: host.to_string(),
            at: value.at.clone(),
            end: end.clone(),
        }),
        _ => Ok(()),
    }
}

/// The end of the old history: the newest place that any member knows of. All must agree.
fn choose(
    versions: &Versions,
    host: &Name,
    members: &[Name],
    alone: bool,
) -> Result<String, TakeOverError> {
    let own = versions
        .newest(host)
        .ok_or_else(|| TakeOverError::Missing(format!("version record of host {host}")))?;
    if alone {
        return Ok(own.0.clone());
    }
    let mut best = (host, own);
    for member in members {
        if let Some(newest) = versions.newest(member)
            && newest.1.at.pos() > best.1.1.at.pos()
        {
            best = (member, newest);
        }
    }
    let (owner, (text, value)) = best;
    for member in members {
        let Some((_, theirs)) = versions.newest(member) else {
            continue;
        };
        let lookup = |host: &Name, number: u64| versions.lookup(host, number);
        match compare_histories((member, &theirs.at), (owner, &value.at), lookup) {
            Comparison::Agree => {}
            Comparison::Split { common } => {
                return Err(TakeOverError::Split {
                    one: member.to_string(),
                    other: owner.to_string(),
                    common,
                });
            }
            Comparison::Unknown { host, number } => {
                return Err(TakeOverError::Unknown {
                    host: host.to_string(),
                    number,
                });
            }
        }
    }
    Ok(text.clone())
}

/// The logs from `start` to `end`.
fn legs(
    versions: &Versions,
    host: &Name,
    start: &LogEnd,
    end: &LogEnd,
) -> Result<Vec<Leg>, TakeOverError> {
    let mut path = vec![end.clone()];
    while let Some(at) = path.last().filter(|at| at.log.number > start.log.number) {
        let before = versions.before(at).ok_or_else(|| TakeOverError::Unknown {
            host: host.to_string(),
            number: at.log.number,
        })?;
        path.push(before);
    }
    path.reverse();
    let first = path.first().filter(|first| first.log == start.log);
    let Some(first) = first else {
        return Err(TakeOverError::Split {
            one: host.to_string(),
            other: end.log.origin.to_string(),
            common: None,
        });
    };
    if start.position > first.position {
        return Err(TakeOverError::WentOn {
            host: host.to_string(),
            at: start.clone(),
            end: first.clone(),
        });
    }
    let mut from = start.position;
    Ok(path
        .into_iter()
        .map(|at| Leg {
            from: std::mem::take(&mut from),
            to: at.position,
            log: at.log,
        })
        .collect())
}

impl TakeOver {
    /// The complete value if the last log ends at `position` already, because the rest of it was lost.
    #[must_use]
    pub fn shortened(&self, position: u64) -> Option<String> {
        let log = self.legs.last()?.log.clone();
        let end = LogEnd { log, position };
        Some(chain_value(&end, &self.previous))
    }
}
