//! Where the state that reading commands show comes from.

use super::{Item, Snapshot, TreeHeader, at_newest, read_tree, take_following, tree_host};
use crate::context::Ctx;
use crate::error::{Error, Result};
use crate::limits::BEAT_STALE_SECS;
use crate::wall;
use mars_lamport::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where reading commands look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The running node.
    #[default]
    Live,
    /// A snapshot in a file.
    Snapshot(PathBuf),
    /// A legacy tree in a file system.
    Tree {
        /// Its root, for example `/mars`.
        dir: PathBuf,
        /// As of when: `SECONDS.NANOSECONDS`, or `newest` for its newest heartbeat; now if nothing is said.
        at: Option<String>,
        /// Through whose eyes; this machine's if nothing is said.
        host: Option<String>,
    },
}

/// Where the original's kernel module shows its Lamport clock.
const LAMPORT_FILE: &str = "/proc/sys/mars/lamport_clock";

/// Reads the state from where the command line says.
///
/// # Errors
/// That of the origin: the daemon does not answer, or the file or tree cannot be read.
pub async fn read(ctx: &Ctx) -> Result<Snapshot> {
    read_following(ctx, &[]).await
}

/// [`read`], with all of the named resources that the running node is no member of: [`take_following`].
///
/// # Errors
/// As [`read`].
pub async fn read_following(ctx: &Ctx, names: &[String]) -> Result<Snapshot> {
    match &ctx.opts.origin {
        Origin::Live => take_following(ctx, names).await,
        origin => read_offline(origin),
    }
}

/// [`read_following`] for what only prints keys, which are the same through any host's eyes: a tree of several hosts needs
/// none to be named.
///
/// # Errors
/// As [`read`].
pub async fn read_keys(ctx: &Ctx) -> Result<Snapshot> {
    let Origin::Tree { dir, at, host } = &ctx.opts.origin else {
        return read(ctx).await;
    };
    read_tree(dir, |items| {
        let hosts = || items.keys().filter_map(|path| path.strip_prefix("ips/ip-"));
        let any = host.as_deref().or_else(|| hosts().next());
        header(dir, items, at.as_deref(), any)
    })
}

/// Reads the state from a file or tree.
///
/// # Errors
/// As [`read`]; also if the origin is the running node.
pub fn read_offline(origin: &Origin) -> Result<Snapshot> {
    match origin {
        Origin::Live => Err(Error::internal("the running node is not read offline")),
        Origin::Snapshot(file) => crate::macros::load(file),
        Origin::Tree { dir, at, host } => read_tree(dir, |items| {
            header(dir, items, at.as_deref(), host.as_deref())
        }),
    }
}

fn header(
    dir: &Path,
    items: &BTreeMap<String, Item>,
    at: Option<&str>,
    host: Option<&str>,
) -> Result<TreeHeader> {
    let machine = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let host = tree_host(items, host, &machine)?;
    if let Some(at) = at {
        let stamp = match at {
            "newest" => at_newest(items)
                .ok_or_else(|| Error::refused("the tree holds no heartbeat: say --at=SECONDS"))?,
            text => stamp(text)?,
        };
        // As of then, the module ran if it had just said so.
        let beat = items.get(&format!("actual-{host}/time"));
        let beat = beat.and_then(|item| std::str::from_utf8(item.live()?).ok()?.parse().ok());
        let daemon = beat.is_some_and(|beat: Timestamp| {
            stamp.secs().saturating_sub(beat.secs()) <= BEAT_STALE_SECS
        });
        return Ok(TreeHeader {
            host,
            wall: stamp,
            lamport: Some(stamp),
            daemon,
        });
    }
    // The module's clock counts for its own tree only.
    let module = std::fs::read_to_string(LAMPORT_FILE)
        .ok()
        .filter(|_| dir == Path::new("/mars"));
    let lamport = module.as_deref().and_then(lamport_of);
    Ok(TreeHeader {
        host,
        wall: wall::now(),
        lamport,
        daemon: module.is_some(),
    })
}

fn stamp(text: &str) -> Result<Timestamp> {
    let whole = if text.contains('.') {
        text.to_owned()
    } else {
        format!("{text}.000000000")
    };
    whole.parse().map_err(|_| {
        Error::usage(format!(
            "--at={text}: this is neither `newest` nor seconds since 1970"
        ))
    })
}

fn lamport_of(text: &str) -> Option<Timestamp> {
    let (_, rest) = text.split_once("lamport_now=")?;
    rest.split_whitespace().next()?.parse().ok()
}
