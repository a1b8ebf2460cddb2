//! How far the store had come, written beside it: `docs/spec/store.md`, "Witness".
//!
//! sled takes what is damaged for a write that was cut off, and drops it with all that follows: such a store opens, and has
//! lost some or all of its contents. The same is true of a copy of earlier days. Both are older than their witness.

use crate::limits::WITNESS_INTERVAL;
use crate::state::{StateDir, read_small, replace_private};
use mars_lamport::Timestamp;
use mars_meta::{Meta, WriteError};
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// Local record of the store: the number of the last testimony, as text.
const RECORD: &str = "witness";
/// First word of the file.
const MAGIC: &str = "mars-witness-1";
/// Longest file that is read, in bytes.
const LEN_MAX: u64 = 100;

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Witness {
    /// Number of the testimony; each start and each interval has one.
    pub(crate) number: u64,
    /// Reading of the Lamport clock then.
    pub(crate) stamp: Timestamp,
}

impl Witness {
    fn text(self) -> String {
        format!("{MAGIC} {} {}\n", self.number, self.stamp.as_nanos())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let number = |word: Option<&str>| word?.parse::<u64>().ok();
        let found = words.next() == Some(MAGIC);
        let witness = Self {
            number: number(words.next())?,
            stamp: Timestamp::from_nanos(number(words.next())?),
        };
        (found && words.next().is_none()).then_some(witness)
    }
}

/// Reads the file; one that cannot be read is told and taken for none.
pub(crate) fn read(path: &Path) -> Option<Witness> {
    match read_small(path, LEN_MAX) {
        Ok(None) => None,
        Ok(Some(text)) => {
            let witness = Witness::parse(&text);
            if witness.is_none() {
                tracing::error!(path = %path.display(), "the store's witness cannot be read, so its age is not known");
            }
            witness
        }
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "the store's witness cannot be read");
            None
        }
    }
}

async fn number(meta: &Meta) -> Result<u64, WriteError> {
    let found = meta.local(RECORD).await?.unwrap_or_default();
    let text = String::from_utf8(found).unwrap_or_default();
    Ok(text.parse().unwrap_or(0))
}

/// Whether the store has lost what was written before this testimony.
pub(crate) async fn is_older(meta: &Meta, witness: Witness) -> Result<bool, WriteError> {
    Ok(number(meta).await? < witness.number)
}

/// Gives testimony: first in the store, then beside it, so that the file is never ahead of a store that lost nothing.
pub(crate) async fn testify(state: &StateDir, meta: &Meta) -> Result<(), WriteError> {
    let path = state.witness();
    write(&path, meta).await
}

async fn write(path: &Path, meta: &Meta) -> Result<(), WriteError> {
    let held = read(path).unwrap_or_default().number;
    let next = number(meta).await?.max(held).saturating_add(1);
    meta.put_local(RECORD, next.to_string().as_bytes()).await?;
    let witness = Witness {
        number: next,
        stamp: meta.clock().1,
    };
    if let Err(error) = replace_private(path, witness.text().as_bytes()) {
        tracing::error!(path = %path.display(), %error, "the store's witness is not up to date");
    }
    Ok(())
}

/// Gives testimony again and again, until `stopped` says so.
pub(crate) async fn follow(path: PathBuf, meta: Meta, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(WITNESS_INTERVAL) => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        // A store that fails is reported by whoever writes into it.
        if write(&path, &meta).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_one_line() {
        let witness = Witness {
            number: 7,
            stamp: Timestamp::from_nanos(9),
        };
        assert_eq!(witness.text(), "mars-witness-1 7 9\n");
        assert_eq!(Witness::parse(&witness.text()), Some(witness));
        for bad in [
            "",
            "mars-witness-1 7 9",
            "mars-witness-2 7 9\n",
            "mars-witness-1 7\n",
            "mars-witness-1 7 9 1\n",
        ] {
            assert_eq!(Witness::parse(bad), None, "{bad}");
        }
    }
}
