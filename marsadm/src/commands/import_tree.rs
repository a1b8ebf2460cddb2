//! `import-tree`: take over the keys of a legacy `/mars` folder.

use crate::context::{Ctx, unexpected};
use crate::error::{Error, Kind, Result};
use crate::limits::PROGRESS_INTERVAL;
use crate::snapshot::scan_error;
use crate::wall::now_ns;
use mars_lamport::DEFAULT_MAX_AHEAD;
use mars_meta_api::limits::ENTRIES_BYTES_MAX;
use mars_meta_api::{EntryBytes, ImportOutcome, Overriding, Request, Response};
use mars_meta_model::limits::BATCH_LEN_MAX;
use mars_meta_model::{Entry, Table, encoded_len};
use mars_migrations::export::add_beside;
use mars_migrations::{
    ImportConflict, ImportOptions, MergedTrees, Outcome, Plan, Preview, Scan, ScanOptions, Tree,
    check_conflict, merge_trees, plan_import, scan_tree, uuid_to_keep,
};
use std::path::PathBuf;
use std::time::Instant;

/// Take over the keys of a legacy MARS tree of symlinks, with the stamps that the links have.
///
/// DIR is only read. What the store holds already with a newer stamp stays. May be repeated, also after an
/// interruption. With --dry-run: only show what would be taken: what is new, what is newer than what this node's store holds, there
/// already, older, or refused. Where no daemon runs it cannot be compared, and the report says so.
///
/// What export-tree has put beside a tree that it wrote (DIR.mars-extra) is read too: names that the original does not know.
///
/// Of several trees of one cluster (one of each host, or copies), the newest value of each key counts: that is the
/// cluster's true state. The report tells where they differ.
///
/// Refused are trees with different uuids, also if one of them was imported earlier (userspace/imported-uuid keeps the
/// first uuid), and trees with a resource that has members here that neither the tree has nor an import brought.
///
/// With --force: they are imported all the same.
///
/// Example: marsadm import-tree /mars /tmp/mars-of-hostb --dry-run
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The legacy folder or a copy of it; several of them are merged
    #[arg(required = true)]
    pub dir: Vec<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// If the tree cannot be read, the daemon refuses, or stamps lie too far in the future.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let work = async {
        let now_ns = now_ns()?;
        let mut merged = read(ctx, &args.dir)?;
        let scan = std::mem::take(&mut merged.scan);
        let mut plan = plan_import(&scan, &ImportOptions::at(now_ns));
        merged.add_to(&mut plan.report);
        drop(scan);
        if ctx.opts.dry_run {
            preview(ctx, &mut plan).await?;
        } else {
            let table = ctx.table(&[""]).await?;
            belongs(ctx, &plan, &table)?;
            keep_uuid(ctx, &plan, &table).await?;
            plan.settle(&table);
            plan.settle_members(&table);
            plan.warn_of_foreign(&ctx.node().await?.host, &table);
            let seen = plan.compare(&table, DEFAULT_MAX_AHEAD);
            drop(table);
            // What becomes of it the store decides.
            let told = send(ctx, &plan.entries).await?;
            let outcomes = told.into_iter().zip(seen).map(|both| match both {
                (Outcome::Older, Outcome::Known) => Outcome::Known,
                (told, _) => told,
            });
            let outcomes: Vec<Outcome> = outcomes.collect();
            apply(&mut plan, &outcomes)?;
        }
        let json = plan.report.to_json();
        let json = json.map_err(|error| Error::internal(error.to_string()))?;
        let text = if args.json {
            json.clone()
        } else {
            plan.report.to_string()
        };
        ctx.ui.raw_document("ImportReport", &json)?;
        ctx.ui.line(text.trim_end());
        if plan.report.refused.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Kind::Refused,
            format!(
                "{} entries were refused: their stamps lie too far in the future",
                plan.report.refused.len()
            ),
        )
        .hint("compare the system clocks of both machines, then repeat the import"))
    };
    work.await
        .map_err(|error| error.about(&format!("import-tree {}", shown(&args.dir))))
}

/// What an import would do now.
async fn preview(ctx: &Ctx, plan: &mut Plan) -> Result<()> {
    match ctx.table(&[""]).await {
        Ok(table) => {
            belongs(ctx, plan, &table)?;
            plan.settle(&table);
            plan.settle_members(&table);
            plan.warn_of_foreign(&ctx.node().await?.host, &table);
            let outcomes = plan.compare(&table, DEFAULT_MAX_AHEAD);
            apply(plan, &outcomes)?;
            plan.report.preview = Some(Preview::Store);
        }
        Err(error) => {
            let reason = error.to_string();
            plan.report.preview = Some(Preview::Nothing { reason });
        }
    }
    Ok(())
}

/// Refuses what belongs to another cluster.
fn belongs(ctx: &Ctx, plan: &Plan, held: &Table) -> Result<()> {
    if ctx.opts.force {
        return Ok(());
    }
    check_conflict(&plan.entries, held).map_err(|conflict| foreign(&conflict))
}

/// The refusal of a tree of another cluster.
pub(super) fn foreign(conflict: &ImportConflict) -> Error {
    let hint = match conflict {
        ImportConflict::Uuid { .. } => {
            "found a cluster of its own for it (docs/migrate.md, step 1); --force takes it here all the same"
        }
        ImportConflict::Resources(_) => {
            "found a cluster of its own for it (docs/migrate.md, step 1), or let those members go with leave-resource \
             and delete-resource before; --force mixes both resources"
        }
    };
    Error::refused(conflict.to_string()).hint(hint)
}

/// Keeps the uuid of the first import, before anything of it is stored: an import that is cut off is remembered too.
async fn keep_uuid(ctx: &Ctx, plan: &Plan, held: &Table) -> Result<()> {
    if let Some((key, value)) = uuid_to_keep(&plan.entries, held) {
        let client = ctx.client().await?;
        let how = Overriding {
            forced: false,
            insist: ctx.opts.force,
        };
        let written = client.apply_as(vec![(key, Some(value))], how);
        ctx.bounded("the metadata daemon did not answer", written)
            .await??;
    }
    Ok(())
}

fn apply(plan: &mut Plan, outcomes: &[Outcome]) -> Result<()> {
    let applied = plan.report.apply_outcomes(outcomes);
    applied.map_err(|error| Error::internal(error.to_string()))
}

fn shown(dirs: &[PathBuf]) -> String {
    let all: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    all.join(" ")
}

/// Lists all trees and makes one of them.
fn read(ctx: &Ctx, dirs: &[PathBuf]) -> Result<MergedTrees> {
    let mut trees = Vec::new();
    for dir in dirs {
        let scan = scan_tree(dir, &ScanOptions::default());
        let mut scan = scan.map_err(|error| scan_error(&error))?;
        if !ctx.opts.force && !is_tree(&scan) {
            let why = format!(
                "{} is no tree of the original: it has neither uuid nor ips",
                dir.display()
            );
            return Err(Error::refused(why)
                .hint("name the root of the tree or of a copy, for example /mars; --force takes it all the same"));
        }
        match add_beside(dir, &mut scan) {
            Ok(_) => {}
            Err(error) if ctx.opts.force => ctx.ui.note(&format!("left out: {error}")),
            Err(error) => {
                let hint = "remove it, or put back the one that export-tree wrote; --force goes without it";
                return Err(Error::refused(error.to_string()).hint(hint));
            }
        }
        let name = dir.display().to_string();
        ctx.ui
            .progress(&format!("{name}: {} objects", scan.objects.len()));
        trees.push(Tree { name, scan });
    }
    merge_trees(trees, ctx.opts.force)
        .map_err(|error| Error::refused(error.to_string()).hint("--force merges them all the same"))
}

/// Whether a folder has what every tree of the original has.
fn is_tree(scan: &Scan) -> bool {
    scan.objects
        .iter()
        .any(|object| object.path == b"uuid" || object.path.starts_with(b"ips/ip-"))
}

async fn send(ctx: &Ctx, entries: &[Entry]) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    let mut told = Instant::now();
    for batch in batches(entries) {
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            ctx.ui.progress(&format!(
                "{} of {} entries are stored",
                outcomes.len(),
                entries.len()
            ));
        }
        let request = Request::Import {
            entries: EntryBytes::pack(batch),
            insist: ctx.opts.force,
        };
        outcomes.extend(outcomes_of(ctx.call(request).await?)?);
    }
    Ok(outcomes)
}

/// The answer to an import.
pub(super) fn outcomes_of(response: Response) -> Result<Vec<Outcome>> {
    match response {
        Response::Imported(list) => Ok(list
            .into_iter()
            .map(|one| match one {
                ImportOutcome::Taken => Outcome::Taken,
                ImportOutcome::TakenAnew => Outcome::TakenAnew,
                ImportOutcome::Known => Outcome::Known,
                ImportOutcome::Older | ImportOutcome::Collected => Outcome::Older,
                ImportOutcome::TooFarAhead => Outcome::Refused,
            })
            .collect()),
        other => Err(unexpected(&other)),
    }
}

/// Cuts the entries into batches that fit into a frame.
pub(super) fn batches(entries: &[Entry]) -> Vec<&[Entry]> {
    let mut out = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (i, entry) in entries.iter().enumerate() {
        let len = encoded_len(entry);
        if i > from && (bytes + len > ENTRIES_BYTES_MAX || i - from >= BATCH_LEN_MAX) {
            out.push(&entries[from..i]);
            (from, bytes) = (i, 0);
        }
        bytes += len;
    }
    if from < entries.len() {
        out.push(&entries[from..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    #[test]
    fn batches_respect_both_limits_and_lose_nothing() {
        let big = "x".repeat(4095);
        let mut entries: Vec<Entry> = (0..200)
            .map(|i| entry(&format!("k{i}"), Some(&big), 1, 1))
            .collect();
        entries.extend((0..9000).map(|i| entry(&format!("s{i}"), Some("x"), 1, 1)));
        let cut = batches(&entries);
        assert_eq!(cut.concat(), entries);
        for batch in cut {
            assert!(batch.len() <= BATCH_LEN_MAX);
            assert!(batch.iter().map(encoded_len).sum::<usize>() <= ENTRIES_BYTES_MAX);
        }
        assert!(batches(&[]).is_empty());
    }
}
