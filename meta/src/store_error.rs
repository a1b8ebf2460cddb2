//! What can go wrong with the durable backend.

use crate::record::{BodyError, FORMAT};
use std::io;
use std::path::{Path, PathBuf};

/// Why the backend could not be opened, read or written. What is on disk stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum SledError {
    /// Another process holds the store.
    #[error("the metadata store {0} is in use by another process: stop that one first")]
    InUse(PathBuf),
    /// The folder cannot be created, opened or synced.
    #[error("the metadata store {path}: {error}: check the file system and its permissions")]
    Io {
        /// The folder.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// sled does not accept what is in the folder, or fails on it.
    #[error(
        "the metadata store {path} does not open: {reason}: set it aside and let the node refill from its \
         peers, or restore a backup"
    )]
    Broken {
        /// The folder.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The folder exists, but it holds no store, or one that lost its contents.
    #[error(
        "the metadata store {0} has no format record: it is no store, or has lost its contents: set it aside \
         and let the node refill from its peers, or restore a backup"
    )]
    NoFormat(PathBuf),
    /// Written by a later version.
    #[error("the metadata store {path} has format '{found}', this program reads '{expected}': upgrade it", expected = FORMAT)]
    Format {
        /// The folder.
        path: PathBuf,
        /// The format found.
        found: String,
    },
    /// One record is damaged, or of a later version.
    #[error(
        "the record '{record}' of the metadata store {path} cannot be used: {reason}: set the store aside and \
         let the node refill from its peers, or restore a backup"
    )]
    Record {
        /// The folder.
        path: PathBuf,
        /// The record's key.
        record: String,
        /// The reason.
        reason: String,
        /// It is of a later version, as far as can be told: an upgrade reads it.
        later: bool,
    },
    /// A write or sync failed; whether it is on disk is known after opening again.
    #[error("the metadata store {path} could not be written: {reason}")]
    Write {
        /// The folder.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}

impl SledError {
    /// What happened, without the advice that stands behind it in the text of the error: for alarms, which outlive it.
    #[must_use]
    pub fn fact(&self) -> String {
        let text = self.to_string();
        let advice = match self {
            Self::InUse(_) => ": stop that one first",
            Self::Io { .. } => ": check the file system",
            Self::Broken { .. } | Self::NoFormat(_) => ": set it aside",
            Self::Format { .. } => ": upgrade it",
            Self::Record { .. } => ": set the store aside",
            Self::Write { .. } => return text,
        };
        let end = text.rfind(advice).unwrap_or(text.len());
        let fact = text[..end].trim_end_matches(": upgrade it");
        fact.to_owned()
    }

    /// Whether the store is damaged: no other program reads it either, and waiting or mending the machine does not
    /// help. Not so if it is in use, of a later version, or if the file system refuses.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::NoFormat(_) => true,
            Self::Record { later, .. } => !*later,
            Self::InUse(_) | Self::Io { .. } | Self::Format { .. } | Self::Write { .. } => false,
        }
    }
}

/// The error of the folder `path`.
pub(crate) fn io_error(path: &Path, error: io::Error) -> SledError {
    SledError::Io {
        path: path.to_owned(),
        error,
    }
}

/// The record `key` of the store in `path` cannot be used.
pub(crate) fn bad_record(path: &Path, key: &[u8], error: &BodyError) -> SledError {
    SledError::Record {
        path: path.to_owned(),
        record: key.escape_ascii().to_string(),
        reason: error.to_string(),
        later: error.is_later(),
    }
}

/// The store has another format than this program writes.
pub(crate) fn other_format(path: &Path, found: &[u8]) -> SledError {
    SledError::Format {
        path: path.to_owned(),
        found: found.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_holds_no_advice() {
        let path = || PathBuf::from("/var/lib/marsd/db");
        let later = BodyError::Record(crate::record::RecordError::Version(9));
        let all = [
            SledError::InUse(path()),
            io_error(&path(), io::Error::other("no room")),
            SledError::Broken {
                path: path(),
                reason: "a page is torn".to_owned(),
            },
            SledError::NoFormat(path()),
            other_format(&path(), b"x"),
            bad_record(&path(), b"k", &later),
        ];
        for error in all {
            let (text, fact) = (error.to_string(), error.fact());
            assert!(text.starts_with(&fact) && text.len() > fact.len(), "{text}");
            for word in ["aside", "upgrade", "check", "stop", "restore"] {
                assert!(!fact.contains(word), "{fact}");
            }
            assert!(fact.contains("/var/lib/marsd/db"), "{fact}");
        }
    }
}
