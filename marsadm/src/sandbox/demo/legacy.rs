//! Import of a tree of the original, read back key by key.

use super::stage::{Stage, io, wrong};
use crate::context::key;
use crate::error::{Error, Result};
use mars_meta_model::{Scope, scope_of};
use serde::Deserialize;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Three nodes, two resources, a split brain: the listing of a tree as the original leaves it.
const TREE: &str =
    include_str!("../../../../migrations/tests/data/tree3-three-nodes-splitbrain.tsv");
/// How many keys are also read with the command line.
const BY_COMMAND: usize = 5;

/// What is used of the report of an import.
#[derive(Debug, Deserialize)]
struct Report {
    taken: Vec<Row>,
    derived: Vec<Row>,
    known: Vec<Row>,
    older: Vec<Row>,
    refused: Vec<Row>,
    skipped: Vec<serde_json::Value>,
    warnings: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Row {
    key: String,
    kind: String,
    source: String,
}

/// Imports on hosta, reads all keys back there and the global ones on hostc, and imports again.
pub(super) fn import(stage: &mut Stage) -> Result<()> {
    let tree = stage.work.join("legacy");
    mars_migrations::testing::materialize(TREE, &tree)
        .map_err(|error| Error::internal(format!("the legacy tree cannot be made: {error}")))?;
    stage.say(&format!(
        "a legacy tree of {} links, files and folders",
        TREE.lines().count()
    ));
    let report = run(stage, &tree)?;
    stage.say(&format!(
        "report: {} taken, {} derived, {} known, {} older, {} refused, {} skipped, {} warnings",
        report.taken.len(),
        report.derived.len(),
        report.known.len(),
        report.older.len(),
        report.refused.len(),
        report.skipped.len(),
        report.warnings.len()
    ));
    if report.taken.is_empty() {
        return Err(wrong("the import takes keys", "some", "none"));
    }
    let rows: Vec<&Row> = report.taken.iter().chain(&report.derived).collect();
    let wrong_ones = compare(stage, "hosta", &tree, &rows)?;
    if let Some(first) = wrong_ones.first() {
        return Err(wrong(
            "every key that was taken is read back on hosta",
            "values of the links",
            format!("{} differ, first {first}", wrong_ones.len()),
        ));
    }
    let from_links = rows.iter().filter(|row| row.source == "link").count();
    stage.compared_keys(rows.len());
    stage.ok(format!(
        "all {} taken and derived keys are read back on hosta, {from_links} of them compared with their links",
        rows.len()
    ));
    let live = |row: &&&Row| row.kind == "value" && row.source == "link";
    for row in rows.iter().filter(live).step_by(37).take(BY_COMMAND) {
        let value = stage.on("hosta", &["get-link", &row.key])?;
        let expected = std::fs::read_link(tree.join(&row.key)).map_err(io("link"))?;
        if value != expected.to_string_lossy() {
            let check = format!("marsadm get-link {}", row.key);
            return Err(wrong(&check, expected.to_string_lossy(), value));
        }
    }
    let mut global = Vec::new();
    for row in rows {
        if scope_of(&key(&row.key)?) == Scope::Global {
            global.push(row);
        }
    }
    stage.wait("the global keys of the import reach hostc", || {
        Ok(compare(stage, "hostc", &tree, &global)?
            .is_empty()
            .then_some(()))
    })?;
    stage.compared_keys(global.len());
    stage.ok(format!(
        "all {} keys of global scope have reached hostc",
        global.len()
    ));
    let again = run(stage, &tree)?;
    let (taken, known) = (again.taken.len() + again.derived.len(), again.known.len());
    if taken + again.refused.len() > 0 {
        return Err(wrong(
            "a second import takes nothing",
            "0 taken",
            format!("{taken} taken, {} refused", again.refused.len()),
        ));
    }
    stage.ok(format!("a second import takes nothing ({known} known)"));
    Ok(())
}

fn run(stage: &Stage, tree: &Path) -> Result<Report> {
    let text = stage.on("hosta", &["import-tree", "--json", &tree.to_string_lossy()])?;
    serde_json::from_str(&text).map_err(|error| {
        wrong(
            "import-tree --json prints a report",
            "JSON",
            error.to_string(),
        )
    })
}

/// The keys that a node does not have as the tree says.
fn compare(stage: &Stage, host: &str, tree: &Path, rows: &[&Row]) -> Result<Vec<String>> {
    stage.api(host, async |ctx| {
        let mut differ = Vec::new();
        for row in rows {
            let entry = ctx.get(&key(&row.key)?).await?;
            let fits = match (&entry, row.kind.as_str(), row.source.as_str()) {
                (Some(entry), "value", "link") => {
                    let link = std::fs::read_link(tree.join(&row.key)).map_err(io("link"))?;
                    let value = entry.value().map(|value| value.as_bytes().to_vec());
                    value.as_deref() == Some(link.as_os_str().as_bytes())
                }
                (Some(entry), kind, _) => (kind == "value") == entry.value().is_some(),
                (None, ..) => false,
            };
            if !fits {
                let found = entry.map_or_else(|| "no such key".to_owned(), |e| format!("{e:?}"));
                differ.push(format!("{}: {found}", row.key));
            }
        }
        Ok(differ)
    })
}
