//! The two forms of a report: for humans and for programs.

use crate::report::{CellKind, KeyRow, Preview, Report, Source};
use serde::Serialize;
use std::fmt;

impl Report {
    /// The report for programs: one JSON object with the fields of this struct, in ASCII.
    ///
    /// # Errors
    /// Never for a report of this crate; the error is passed on rather than hidden.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        ascii_json(self)
    }
}

/// JSON in which everything but ASCII is escaped.
pub(crate) fn ascii_json(what: &impl Serialize) -> Result<String, serde_json::Error> {
    use fmt::Write as _;
    let json = serde_json::to_string_pretty(what)?;
    let mut ascii = String::with_capacity(json.len());
    // What JSON does not escape by itself only occurs within strings, where an escape means the same.
    for c in json.chars() {
        if c == '\n' || (c.is_ascii() && !c.is_ascii_control()) {
            ascii.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing into a String cannot fail.
            let _ = write!(ascii, "\\u{unit:04x}");
        }
    }
    Ok(ascii)
}

impl fmt::Display for KeyRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}",
            self.stamp,
            crate::show_bytes(self.key.as_str().as_bytes())
        )?;
        if self.kind == CellKind::Tombstone {
            f.write_str(" (deleted)")?;
        }
        match &self.source {
            Source::Link => {}
            Source::Marker(path) | Source::Request(path) | Source::OldPlace(path) => {
                write!(f, " from {path}")?;
            }
            Source::Derived(path) => write!(f, " because of {path}")?,
        }
        if let Some(from) = &self.clamped_from {
            write!(f, " (its stamp was {from})")?;
        }
        if self.preliminary {
            f.write_str(" (preliminary)")?;
        }
        if self.stamped_anew {
            f.write_str(" (stamped anew)")?;
        }
        if let Some(old) = self.newer_than {
            write!(f, " (newer than what is there, of {old})")?;
        }
        Ok(())
    }
}

/// The human form: numbers, warnings, what was left out and why, files. With `{:#}` every entry as well.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        writeln!(
            f,
            "found {} links, {} files, {} folders, {} others",
            c.links, c.files, c.folders, c.others
        )?;
        self.outcomes(f)?;
        if c.clamped + c.preliminary > 0 {
            writeln!(
                f,
                "{} stamps out of bounds were replaced, {} entries are preliminary",
                c.clamped, c.preliminary
            )?;
        }
        if c.stamped_anew > 0 {
            writeln!(
                f,
                "{} are older than deletions that the cluster has forgotten: they have new stamps, and the tree's \
                 beside them",
                c.stamped_anew
            )?;
        }
        section(f, "trees", &self.trees, |tree| {
            format!(
                "{}: {} links, {} of them newest",
                tree.tree, tree.links, tree.newest_links
            )
        })?;
        if !self.differences.is_empty() {
            let ties = self.differences.iter().filter(|d| d.tie).count();
            writeln!(
                f,
                "the trees differ in {} keys; the later stamp counts, {ties} have equal stamps",
                self.differences.len()
            )?;
        }
        section(f, "warnings", &self.warnings, |w| {
            about(&w.subject, &w.text)
        })?;
        section(f, "skipped", &self.skipped, |s| {
            format!("{}: {}", s.path, s.reason)
        })?;
        section(f, "files (listed, not stored)", &self.files, |file| {
            format!("{}: {} bytes, {}", file.path, file.size, file.mtime)
        })?;
        section(
            f,
            "refused: too far in the future",
            &self.refused,
            ToString::to_string,
        )?;
        if self.preview == Some(Preview::Store) && !f.alternate() {
            let newer = self.taken.iter().chain(&self.derived);
            let newer: Vec<&KeyRow> = newer.filter(|row| row.newer_than.is_some()).collect();
            section(f, "would replace", &newer, ToString::to_string)?;
        }
        if f.alternate() {
            section(f, "differences between the trees", &self.differences, |d| {
                let others: Vec<String> = d
                    .others
                    .iter()
                    .map(|o| format!("{} at {} in {}", o.value, o.stamp, o.tree))
                    .collect();
                let kept = &d.kept;
                format!(
                    "{}: {} at {} in {}, not {}",
                    d.path,
                    kept.value,
                    kept.stamp,
                    kept.tree,
                    others.join(", ")
                )
            })?;
            section(f, "taken", &self.taken, ToString::to_string)?;
            section(f, "derived", &self.derived, ToString::to_string)?;
            section(f, "there already", &self.known, ToString::to_string)?;
            section(
                f,
                "older than the store's",
                &self.older,
                ToString::to_string,
            )?;
        }
        Ok(())
    }
}

impl Report {
    /// What became of the entries, or would.
    fn outcomes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        let verb = match &self.preview {
            None => "taken",
            Some(Preview::Store) => {
                f.write_str(
                    "nothing was imported; compared with what this node's store holds now:\n",
                )?;
                "would take"
            }
            Some(Preview::Nothing { reason }) => {
                writeln!(
                    f,
                    "nothing was imported, and the tree could not be compared with a store: {reason}"
                )?;
                return writeln!(
                    f,
                    "has {} entries ({} values, {} tombstones), and {} derived; {} objects skipped",
                    c.taken, c.values, c.tombstones, c.derived, c.skipped
                );
            }
        };
        write!(
            f,
            "{verb} {} ({} values, {} tombstones), and {} derived",
            c.taken, c.values, c.tombstones, c.derived
        )?;
        if self.preview.is_some() {
            let new = c.taken + c.derived - c.newer;
            write!(f, ": {new} new, {} newer than the store's", c.newer)?;
        }
        writeln!(
            f,
            "; {} there already, {} older than the store's, {} refused; {} objects skipped",
            c.known, c.older, c.refused, c.skipped
        )
    }
}

/// `SUBJECT: TEXT`, or the text alone of what concerns the whole.
pub(crate) fn about(subject: &str, text: &str) -> String {
    if subject.is_empty() {
        text.to_owned()
    } else {
        format!("{subject}: {text}")
    }
}

pub(crate) fn section<T>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    rows: &[T],
    line: impl Fn(&T) -> String,
) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title}:")?;
    rows.iter()
        .try_for_each(|row| writeln!(f, "  {}", line(row)))
}
