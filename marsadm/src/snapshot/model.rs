//! A snapshot in memory.

use crate::shown::shown;
use mars_lamport::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The format that is read and written.
pub const FORMAT: &str = "mars-snapshot/1";
/// The value that stands for a tombstone.
pub(super) const DELETED: &[u8] = b".deleted";

/// A backing disk of the snapshot's own host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Whether it could be opened as a disk.
    pub present: bool,
    /// Size in bytes, where known.
    pub size: Option<u64>,
}

/// An exported device of the snapshot's own host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Size in sectors of 512 bytes.
    pub sectors: Option<u64>,
    /// Where it is mounted.
    pub mountpoint: Option<String>,
    /// Type of the mounted filesystem.
    pub fstype: Option<String>,
    /// Its mount options.
    pub mountflags: Option<String>,
}

/// The first line.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The node whose view this is.
    pub host: String,
    /// System clock when taken.
    pub wall: Timestamp,
    /// Lamport clock when taken, if it could be asked.
    pub lamport: Option<Timestamp>,
    /// Whether the local data plane was running.
    pub daemon: bool,
    /// The program that kept the keys (`marsd VERSION`); absent in snapshots of the original.
    pub program: Option<String>,
    /// Backing disks of this host by path.
    pub disks: BTreeMap<String, Disk>,
    /// Exported devices of this host by path.
    pub devices: BTreeMap<String, Device>,
    /// Fields that this version does not know; kept on copying.
    pub extra: Map<String, Value>,
}

/// What a path holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A key's value; `.deleted` is a tombstone.
    Key(Vec<u8>),
    /// A regular file of which only the size was kept.
    Size(u64),
    /// A regular file with its content.
    Content(String),
    /// A directory of a legacy tree.
    Dir,
}

/// One path of the snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// When it was written.
    pub stamp: Timestamp,
    /// What it holds.
    pub body: Body,
    /// Fields that this version does not know; kept on copying.
    pub extra: Map<String, Value>,
}

impl Item {
    /// The value of a live key as bytes; nothing for tombstones, files and directories.
    #[must_use]
    pub fn live(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Key(value) if value != DELETED => Some(value),
            _ => None,
        }
    }

    /// Whether this is a tombstone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        matches!(&self.body, Body::Key(value) if value == DELETED)
    }
}

/// What one node knows at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The first line.
    pub header: Header,
    /// All keys, files and directories by their path relative to `/mars`.
    pub items: BTreeMap<String, Item>,
    /// Lines of unknown kinds, kept on copying.
    pub unknown: Vec<Map<String, Value>>,
}

impl Snapshot {
    /// The same with all texts as a terminal may get them: what would steer it is shown instead. For output on
    /// terminals only; the keys' paths change too where they hold such characters.
    #[must_use]
    pub fn for_terminal(mut self) -> Self {
        let items = std::mem::take(&mut self.items);
        for (path, mut item) in items {
            item.body = match item.body {
                Body::Key(value) => Body::Key(
                    shown(&String::from_utf8_lossy(&value))
                        .into_owned()
                        .into_bytes(),
                ),
                Body::Content(text) => {
                    let lines: Vec<_> = text.split('\n').map(shown).collect();
                    Body::Content(lines.join("\n"))
                }
                body => body,
            };
            self.items.insert(shown(&path).into_owned(), item);
        }
        let devices = std::mem::take(&mut self.header.devices);
        for (path, mut device) in devices {
            for text in [
                &mut device.mountpoint,
                &mut device.fstype,
                &mut device.mountflags,
            ] {
                *text = text.as_deref().map(|text| shown(text).into_owned());
            }
            self.header
                .devices
                .insert(shown(&path).into_owned(), device);
        }
        self
    }
}
