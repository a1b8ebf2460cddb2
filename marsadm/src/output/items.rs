//! Documents that several commands hand out.

use crate::output::value_text;
use mars_meta_model::Entry;
use serde::Serialize;

/// A key of the store (kind `Key`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyItem {
    /// The key.
    pub key: String,
    /// Its value; none: the key was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whether the key was deleted.
    pub deleted: bool,
    /// When it was written, in seconds of the Lamport clock with nine decimals.
    pub stamp: String,
    /// Number of the node that wrote it.
    pub origin: String,
    /// Whether an administrator of another host than the owner wrote it.
    pub forced: bool,
}

impl From<&Entry> for KeyItem {
    fn from(entry: &Entry) -> Self {
        Self {
            key: entry.key.to_string(),
            value: entry.value().map(|value| value_text(value.as_bytes())),
            deleted: entry.is_tombstone(),
            stamp: entry.stamp.to_string(),
            origin: entry.origin.to_string(),
            forced: entry.forced,
        }
    }
}
