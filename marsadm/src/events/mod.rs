//! Events: what of the cluster's state people and programs want to hear about, and how it changed.

mod cursor;
mod facts;
mod health;

pub use cursor::{Cursor, instance};
pub use facts::{Fact, Known, Subject, facts, gone};

use serde::Serialize;

/// What a line of `marsadm events` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventType {
    /// How something is; part of a snapshot.
    State,
    /// Something changed.
    Change,
    /// All that was known when the command began was printed.
    Synced,
    /// What changed behind the cursor cannot be told: a snapshot follows.
    Gap,
}

/// One line (kind `Event`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// What the line says.
    pub r#type: EventType,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// The resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How it was; missing: not known, or it did not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How it is; missing: it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why there is a gap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When this was printed: system clock, seconds since 1970 with nine decimals.
    pub time: String,
    /// Where to go on: `--cursor CURSOR` prints what came behind this line.
    pub cursor: String,
}
