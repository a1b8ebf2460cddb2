//! The two forms of an export's report: for humans and for programs.

use super::{
    ExportCounts, ExportLink, ExportPlan, ExportWarning, HandBackRow, LeftOut, LeftOutRow, Written,
};
use crate::form::{about, ascii_json, section};
use crate::report::CellKind;
use crate::show_bytes;
use mars_meta_model::Cell;
use serde::{Serialize, Serializer};
use std::fmt;

impl Serialize for ExportLink {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row<'l> {
            key: &'l str,
            kind: CellKind,
            stamp: String,
        }
        let row = Row {
            key: self.key.as_str(),
            kind: match self.cell {
                Cell::Live(_) => CellKind::Value,
                Cell::Tombstone => CellKind::Tombstone,
            },
            stamp: self.stamp.to_string(),
        };
        row.serialize(serializer)
    }
}

impl Serialize for LeftOutRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row<'r> {
            key: &'r str,
            #[serde(flatten)]
            reason: &'r LeftOut,
            text: String,
        }
        let row = Row {
            key: &self.key,
            reason: &self.reason,
            text: self.reason.to_string(),
        };
        row.serialize(serializer)
    }
}

impl ExportPlan {
    /// The report for programs: one JSON object, in ASCII.
    ///
    /// # Errors
    /// Never for a plan of this crate; the error is passed on rather than hidden.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        #[derive(Serialize)]
        struct Form<'p> {
            counts: &'p ExportCounts,
            written: &'p Option<Written>,
            links: &'p [ExportLink],
            left_out: &'p [LeftOutRow],
            warnings: &'p [ExportWarning],
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            handed_back: &'p [HandBackRow],
        }
        ascii_json(&Form {
            counts: &self.counts,
            written: &self.written,
            links: &self.links,
            left_out: &self.left_out,
            warnings: &self.warnings,
            handed_back: &self.handed_back,
        })
    }
}

/// The human form: numbers, warnings, what was left out and why. With `{:#}` every link as well.
impl fmt::Display for ExportPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        writeln!(
            f,
            "found {} keys: {} links ({} values, {} tombstones), {} left out",
            c.entries, c.links, c.values, c.tombstones, c.left_out
        )?;
        if let Some(w) = &self.written {
            writeln!(
                f,
                "made {} folders and {} links, replaced {}; {} there already, {} newer in the tree and kept",
                w.folders,
                w.made,
                w.replaced,
                w.known,
                w.newer.len()
            )?;
        }
        if !self.beside.is_empty() {
            writeln!(
                f,
                "{} names of this system are in a file beside the tree (.mars-extra), for an import only",
                self.beside.len()
            )?;
        }
        if self.handed_back.is_empty() {
            writeln!(f, "transaction logs are not exported")?;
        }
        section(f, "handed back", &self.handed_back, |row| {
            match (&row.log, &row.not_ready) {
                (Some(log), _) => {
                    let here = if row.replica {
                        ""
                    } else {
                        ", which is no log of this host"
                    };
                    format!(
                        "{}: all replicas at the beginning of {log}{here}",
                        row.resource
                    )
                }
                (None, why) => format!(
                    "{}: not, a full sync will be needed: {}",
                    row.resource,
                    why.as_deref().unwrap_or("not at rest")
                ),
            }
        })?;
        section(f, "warnings", &self.warnings, |w| {
            about(&w.subject, &w.text)
        })?;
        if let Some(w) = &self.written {
            section(f, "newer in the tree, kept", &w.newer, Clone::clone)?;
        }
        section(f, "left out", &self.left_out, |row| {
            format!("{}: {}", row.key, row.reason)
        })?;
        if f.alternate() {
            section(f, "links", &self.links, |link| {
                let key = show_bytes(link.key.as_str().as_bytes());
                let deleted = if link.cell == Cell::Tombstone {
                    " (deleted)"
                } else {
                    ""
                };
                format!("{} {key}{deleted}", link.stamp)
            })?;
        }
        Ok(())
    }
}
