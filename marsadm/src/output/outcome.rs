//! What a command did: the keys it changed, what it waited for, and how each resource fared. Recorded while the command
//! runs, so that every command has a document without doing anything for it.

use crate::error::Error;
use crate::output::document::error_body;
use serde::Serialize;
use serde_json::Value;

/// One changed key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The key.
    pub key: String,
    /// Its value right before the command wrote it; none: there was no such key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// Its new value; none: deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// Whether the key belongs to another host, and was overridden.
    pub forced: bool,
}

/// How one of the command's resources fared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResourceOutcome {
    /// Its name.
    pub name: String,
    /// Whether the command did for it what it should.
    pub ok: bool,
    /// The failure, as in an error document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

impl ResourceOutcome {
    /// The outcome of a result.
    #[must_use]
    pub fn new(name: &str, failure: Option<&Error>) -> Self {
        Self {
            name: name.to_owned(),
            ok: failure.is_none(),
            error: failure.map(error_body),
        }
    }
}

/// The document of a command that has none of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Whether nothing was written, only shown.
    pub dry_run: bool,
    /// In the order in which they were stamped.
    pub changed: Vec<Change>,
    /// The last text of each wait that was not over at once.
    pub waited_for: Vec<String>,
    /// In the order in which they were worked on.
    pub resources: Vec<ResourceOutcome>,
    /// Messages for people.
    pub notes: Vec<String>,
    /// Lines that the command printed as text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

/// A stored value as text; bytes that are no UTF-8 are escaped.
#[must_use]
pub fn value_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}
