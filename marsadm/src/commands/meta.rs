//! `meta`: backup, restore and check of this node's metadata store.

use super::import_tree::batches;
use super::meta_belongs::{foreign, named, overwritten, refusal};
use crate::context::{Ctx, unexpected};
use crate::error::{Error, Kind, Result};
use crate::error_code::Code;
use crate::limits::{EXPORT_LEN_MAX, EXPORT_TRIES_MAX};
use crate::store_export::{StoreExport, decode_export, encode_export};
use mars_gossip::{FsckError, Salvage, StoreReport, Utc, replace_private};
use mars_lamport::DEFAULT_MAX_AHEAD;
use mars_meta_api::{EntryBytes, ImportOutcome, Request, Response};
use mars_meta_model::{Durability, EPOCH_PREFIX, Entry, classify, is_volatile};
use serde_json::json;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What can be done with the metadata store.
#[derive(Debug, clap::Subcommand)]
// A doc comment on a variant would replace the long help that stands with the command's arguments.
#[expect(missing_docs, reason = "the about text of each command documents it")]
pub enum Command {
    #[command(about = "Write all keys with stamps and deletions into a file")]
    Export(ExportArgs),
    #[command(about = "Merge the keys of such a file into the store")]
    Import(ImportArgs),
    #[command(about = "Check the folder of a store that is not in use")]
    Fsck(FsckArgs),
}

/// Write every key that this node knows into a file, with its stamp and its writer, deleted ones included: a backup, for
/// marsadm meta import. The file is readable to its owner only and replaced as a whole.
///
/// With --force: a file that exists is replaced.
///
/// With --store DIR: what a store holds that no daemon uses, such as one that was set aside (db.bad-SECONDS), as far as it
/// can be read; exit code 1 if some of it cannot. The folder is not changed.
///
/// Example: marsadm meta export /var/backups/mars-meta.exp
/// Example: marsadm meta export --store /var/lib/mars/db.bad-1795300000 /root/saved.exp
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ExportArgs {
    /// The file
    pub file: PathBuf,
    /// Folder of a store that no daemon uses
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
}

/// Merge what a file of marsadm meta export holds into the store of this node, with the stamps that it has. What is newer
/// here, deletions too, stays. The cluster forgets old deletions after some weeks: of what is not here and as old as those
/// it cannot be told whether it was deleted since the export. It is left out, and each such key is named. Where all stores
/// were lost, the deletions are too: then all is taken. Observed state and epochs of the clock are left out: they are told
/// anew. May be repeated. With --dry-run: check the file, and show what would become of its keys; where no daemon runs, only
/// the file is checked.
///
/// A file of another cluster is refused, with the keys that it would overwrite; --force takes it all the same.
///
/// With --bring-back: take also what may have been deleted, with a new stamp: it is a wish of today then, in the whole
/// cluster, old memberships and primaries too.
///
/// Example: marsadm meta import /var/backups/mars-meta.exp
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ImportArgs {
    /// The file
    pub file: PathBuf,
    /// Take also keys that may have been deleted since the export
    #[arg(long)]
    pub bring_back: bool,
}

/// Read every record of a store that no daemon uses (stop marsd first), and name those that are damaged. Nothing is
/// mended. Exit code 0: all records are good. 1: they are not.
///
/// Example: marsadm meta fsck /var/lib/mars/db
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct FsckArgs {
    /// Folder of the store, the state folder that it lies in, or one that was set aside (db.bad-SECONDS)
    #[arg(default_value = "/var/lib/mars/db")]
    pub dir: PathBuf,
}

/// What became of the entries of an import.
#[derive(Debug, Default)]
struct Counts {
    taken: u64,
    anew: u64,
    known: u64,
    older: u64,
    refused: u64,
    /// The keys that may have been deleted since the export.
    collected: Vec<String>,
}

impl Counts {
    fn add(&mut self, batch: &[Entry], outcomes: &[ImportOutcome]) {
        for (outcome, entry) in outcomes.iter().zip(batch) {
            match outcome {
                ImportOutcome::Taken => self.taken += 1,
                ImportOutcome::TakenAnew => self.anew += 1,
                ImportOutcome::Known => self.known += 1,
                ImportOutcome::Older => self.older += 1,
                ImportOutcome::TooFarAhead => self.refused += 1,
                ImportOutcome::Collected => self.collected.push(entry.key.as_str().to_owned()),
            }
        }
    }

    fn report(&self, ctx: &Ctx, total: usize, left_out: usize, path: &Path) -> Result<()> {
        let Self {
            taken,
            anew,
            known,
            older,
            refused,
            collected,
        } = self;
        let dry_run = ctx.opts.dry_run;
        let be = if dry_run { "would be " } else { "" };
        ctx.ui.document(
            "StoreImport",
            &json!({
                "entries": total, "taken": taken, "taken_anew": anew, "known": known, "older": older, "refused": refused,
                "maybe_deleted": collected, "left_out": left_out, "dry_run": dry_run,
            }),
        )?;
        ctx.ui.line(&format!(
            "{total} keys: {taken} {be}taken, {anew} {be}taken with a new stamp, {known} known, {older} older than here, \
             {refused} {be}refused, {} maybe deleted, {left_out} {be}left out",
            collected.len()
        ));
        for key in collected {
            ctx.ui.line(&format!("maybe deleted: {key}"));
        }
        if !collected.is_empty() {
            ctx.ui.note(&format!(
                "{} keys are not here, and as old as deletions that the cluster has forgotten: they may have been deleted \
                 since the export, and {left} left out. Write again what is missed, or take all of them: marsadm meta import \
                 --bring-back {}",
                collected.len(),
                path.display(),
                left = if dry_run { "would be" } else { "were" }
            ));
        }
        if *anew > 0 {
            ctx.ui.note(&format!(
                "{anew} keys were not here and are as old as deletions that the cluster has forgotten: they may have been \
                 deleted since the export, and {back}, in the whole cluster",
                back = if dry_run { "would come back" } else { "are back now" }
            ));
        }
        Ok(())
    }
}

/// Runs the command.
///
/// # Errors
/// Those of the sub-command.
pub async fn run(ctx: &Ctx, command: &Command) -> Result<()> {
    let (verb, path, result) = match command {
        Command::Export(args) => (
            "export",
            &args.file,
            export(ctx, &args.file, args.store.as_deref()).await,
        ),
        Command::Import(args) => (
            "import",
            &args.file,
            import(ctx, &args.file, args.bring_back).await,
        ),
        Command::Fsck(args) => ("fsck", &args.dir, fsck(ctx, &args.dir).await),
    };
    result.map_err(|error| error.about(&format!("meta {verb} {}", path.display())))
}

fn failed(error: &io::Error) -> Error {
    let kind = Kind::of_io(error);
    Error::new(kind, format!("the file cannot be read or written: {error}"))
}

/// All that a store holds that nobody uses, and why that may not be all.
async fn saved(ctx: &Ctx, dir: &Path) -> Result<(Vec<Entry>, Option<Error>)> {
    let folder = store_folder(dir);
    let shown = folder.display().to_string();
    let read = tokio::task::spawn_blocking(move || mars_gossip::salvage(&folder)).await;
    let read = read.map_err(|error| Error::internal(error.to_string()))?;
    let Salvage { entries, found } = read.map_err(unchecked)?;
    for bad in &found.named {
        ctx.ui.note(&format!("{}: {}", bad.record, bad.reason));
    }
    let lacks = match found.unreadable {
        Some(reason) => format!("not all records of {shown} can be read: {reason}"),
        None if found.damaged > 0 => format!("{} records of {shown} are damaged", found.damaged),
        None => return Ok((entries, None)),
    };
    if entries.is_empty() {
        return Err(
            Error::new(Kind::Negative, format!("{lacks}; no key was found")).hint(
                "sled reads none of it, with its snapshots and without: take another store that was set aside, a copy of the folder \
                 of earlier days, or an earlier file of marsadm meta export",
            ),
        );
    }
    let error = Error::new(Kind::Negative, lacks).hint(
        "the file holds what could be read; a key that was changed in a damaged record is in it as it was before, or not at all",
    );
    Ok((entries, Some(error)))
}

async fn export(ctx: &Ctx, path: &Path, store: Option<&Path>) -> Result<()> {
    if path.is_dir() || (path.exists() && !ctx.opts.force) {
        return Err(Error::refused("it exists").hint("name another file, or add --force"));
    }
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (entries, lacks) = match store {
        Some(dir) => saved(ctx, dir).await?,
        None => (listing(ctx).await?, None),
    };
    let export = StoreExport {
        wall_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
        entries,
    };
    let bytes = encode_export(&export);
    let total = export.entries.len();
    let deleted = export.entries.iter().filter(|e| e.is_tombstone()).count();
    if !ctx.opts.dry_run {
        replace_private(path, &bytes).map_err(|error| failed(&error))?;
    }
    let counts = json!({ "entries": total, "deleted": deleted, "bytes": bytes.len() });
    ctx.ui.document("StoreExport", &counts)?;
    ctx.ui.line(&format!(
        "{total} keys, {deleted} of them deleted, {} bytes",
        bytes.len()
    ));
    lacks.map_or(Ok(()), Err)
}

/// All that is stored, as of one moment: if two listings one behind the other are equal in what lasts, the store was like
/// this between them.
async fn listing(ctx: &Ctx) -> Result<Vec<Entry>> {
    let lasting = |entries: &[Entry]| -> Vec<Entry> {
        let lasting = entries.iter().filter(|entry| !is_volatile(entry));
        lasting.cloned().collect()
    };
    let mut before: Option<Vec<Entry>> = None;
    for _ in 0..EXPORT_TRIES_MAX {
        let list = ctx.client().await?.list("", true);
        let mut entries = ctx
            .bounded("the metadata daemon did not list its keys", list)
            .await??;
        // Made up at each reading, see the local API.
        entries.retain(|entry| classify(&entry.key).0.durability != Durability::Liveness);
        let now = lasting(&entries);
        if before.as_ref() == Some(&now) {
            return Ok(entries);
        }
        before = Some(now);
    }
    Err(Error::new(
        Kind::Conflict,
        "the keys change faster than they can be listed",
    )
    .hint("run it again"))
}

async fn import(ctx: &Ctx, path: &Path, bring_back: bool) -> Result<()> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| failed(&error))?;
    file.take(EXPORT_LEN_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    let export = decode_export(&bytes).map_err(|error| Error::refused(error.to_string()))?;
    let total = export.entries.len();
    let entries: Vec<Entry> = export
        .entries
        .into_iter()
        .filter(|entry| !is_volatile(entry) && !entry.key.as_str().starts_with(EPOCH_PREFIX))
        .collect();
    let mut counts = Counts::default();
    let belongs = belongs(ctx, &entries).await;
    if ctx.opts.dry_run {
        let seen = match belongs {
            Ok(()) => preview(ctx, &entries, bring_back).await,
            Err(error) => Err(error),
        };
        match seen {
            Ok(seen) => counts = seen,
            Err(error) if is_no_answer(&error) => ctx.ui.note(&format!(
                "only the file was checked, not what would become of its keys: {error}"
            )),
            Err(error) => return Err(error),
        }
    } else {
        belongs?;
        for batch in batches(&entries) {
            let packed = EntryBytes::pack(batch);
            let request = if bring_back {
                Request::Import {
                    entries: packed,
                    insist: ctx.opts.force,
                }
            } else {
                Request::Restore {
                    entries: packed,
                    insist: ctx.opts.force,
                }
            };
            match ctx.call(request).await? {
                Response::Imported(outcomes) => counts.add(batch, &outcomes),
                other => return Err(unexpected(&other)),
            }
        }
    }
    counts.report(ctx, total, total - entries.len(), path)?;
    let refused = counts.refused;
    if refused == 0 {
        return Ok(());
    }
    let be = if ctx.opts.dry_run { "would be" } else { "were" };
    Err(Error::refused(format!(
        "{refused} keys {be} refused: their stamps lie too far in the future, or in an epoch of the clock that is not known here"
    ))
    .hint("compare the system clocks (marsadm clock) and repeat the import; docs/clock.md tells of epochs"))
}

/// Refuses what is of another cluster; with `--force` what it overwrites is named only.
async fn belongs(ctx: &Ctx, entries: &[Entry]) -> Result<()> {
    let node = ctx.node().await?;
    if node.cluster.is_none() {
        return Ok(());
    }
    let held = ctx.table(&[""]).await?;
    let Some(foreign) = foreign(entries, &held, node.node_id.parse().ok()) else {
        return Ok(());
    };
    let keys = overwritten(entries, &held);
    if !ctx.opts.force {
        return Err(refusal(&foreign, &keys));
    }
    ctx.ui
        .note(&format!("{foreign}; it overwrites {}", named(&keys)));
    Ok(())
}

/// Whether nobody is there who could tell what would become of an entry.
fn is_no_answer(error: &Error) -> bool {
    error.kind == Kind::Unreachable || error.code() == Code::VersionSkew
}

/// What would become of the entries now.
async fn preview(ctx: &Ctx, entries: &[Entry], bring_back: bool) -> Result<Counts> {
    let epoch = ctx.node().await?.epoch;
    let wall = match ctx.call(Request::Clock).await? {
        Response::Clock { wall, .. } => wall,
        other => return Err(unexpected(&other)),
    };
    let limit = wall.saturating_add(DEFAULT_MAX_AHEAD);
    let mut counts = Counts::default();
    for batch in batches(entries) {
        let entries = EntryBytes::pack(batch);
        let mut outcomes = match ctx.call(Request::RestorePreview { entries }).await? {
            Response::Imported(outcomes) => outcomes,
            other => return Err(unexpected(&other)),
        };
        for (outcome, entry) in outcomes.iter_mut().zip(batch) {
            if entry.epoch > epoch || entry.epoch == epoch && entry.stamp.as_nanos() > limit {
                *outcome = ImportOutcome::TooFarAhead;
            } else if bring_back && *outcome == ImportOutcome::Collected {
                *outcome = ImportOutcome::TakenAnew;
            }
        }
        counts.add(batch, &outcomes);
    }
    Ok(counts)
}

/// The folder itself, or the store in it if it is the state folder of a daemon.
fn store_folder(dir: &Path) -> PathBuf {
    let inner = dir.join("db");
    if !dir.join("conf").exists() && inner.is_dir() {
        inner
    } else {
        dir.to_owned()
    }
}

async fn fsck(ctx: &Ctx, dir: &Path) -> Result<()> {
    let folder = store_folder(dir);
    if folder != dir {
        ctx.ui.note(&format!(
            "{} is a state folder: checking the store in it, {}",
            dir.display(),
            folder.display()
        ));
    }
    let checked = tokio::task::spawn_blocking(move || mars_gossip::check_store(&folder)).await;
    let checked = checked.map_err(|error| Error::internal(error.to_string()))?;
    let report = checked.map_err(unchecked)?;
    show_check(ctx, &report)?;
    let why = match (&report.found.unreadable, &report.foreign) {
        (Some(reason), _) => format!("not all records can be read: {reason}"),
        (None, _) if report.found.damaged > 0 => {
            format!("{} records are damaged", report.found.damaged)
        }
        (None, Some(reason)) => reason.clone(),
        (None, None) if report.is_older() => {
            "the store is older than its witness: damaged, or an old copy".to_owned()
        }
        (None, None) => return Ok(()),
    };
    Err(Error::new(Kind::Negative, why).hint(
        "a node with peers keeps such a store as db.bad-SECONDS at its next start and refills; else use a file of marsadm meta \
         export, or what can be read of this one: marsadm meta export --store",
    ))
}

/// A store that could not be looked at.
fn unchecked(error: FsckError) -> Error {
    match error {
        FsckError::NoStore(_) => Error::new(Kind::NotFound, error.to_string()),
        FsckError::Store(_) => Error::refused(error.to_string()),
    }
}

fn show_check(ctx: &Ctx, report: &StoreReport) -> Result<()> {
    let found = &report.found;
    let named: Vec<_> = found
        .named
        .iter()
        .map(|bad| json!({ "record": bad.record, "reason": bad.reason }))
        .collect();
    let aside: Vec<_> = report
        .aside
        .iter()
        .map(|aside| json!({ "path": aside.path.display().to_string(), "since": aside.since, "bytes": aside.bytes }))
        .collect();
    // What cannot be read cannot be counted, and has no age.
    let unreadable = found.unreadable.is_some();
    let known = |count: u64| (!unreadable).then_some(count);
    ctx.ui.document(
        "StoreCheck",
        &json!({
            "live": known(found.live), "deleted": known(found.tombstones), "local": known(found.local),
            "damaged": known(found.damaged),
            "named": named, "unreadable": found.unreadable, "witness": report.witness, "testimony": found.witness,
            "foreign": report.foreign, "next_start": report.next.word(), "aside": aside,
        }),
    )?;
    match &found.unreadable {
        Some(reason) => ctx
            .ui
            .line(&format!("not all records can be read: {reason}")),
        None => ctx.ui.line(&format!(
            "{} keys, {} deleted ones, {} local records, {} damaged",
            found.live, found.tombstones, found.local, found.damaged
        )),
    }
    for bad in &found.named {
        ctx.ui.line(&format!("{}: {}", bad.record, bad.reason));
    }
    if let Some(reason) = &report.foreign {
        ctx.ui.line(reason);
    }
    match (report.witness, found.witness.unwrap_or(0)) {
        _ if unreadable => {}
        (None, _) => ctx
            .ui
            .line("no witness lies beside it: how old it is cannot be told"),
        (Some(witness), held) if held < witness => ctx.ui.line(&format!(
            "older than its witness: it was at {witness} once and is at {held}"
        )),
        (Some(_), held) => ctx
            .ui
            .line(&format!("as far as its witness says, at {held}")),
    }
    ctx.ui.line(report.next.sentence());
    for aside in &report.aside {
        let since = Utc(aside.since);
        ctx.ui.line(&format!(
            "kept: {} of {since}, {} bytes; when nobody needs it any more: rm -r {0}",
            aside.path.display(),
            aside.bytes
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_stands_for_the_store_in_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(store_folder(dir.path()), dir.path());
        let db = dir.path().join("db");
        std::fs::create_dir(&db).unwrap();
        assert_eq!(store_folder(dir.path()), db);
        // A store has a file of this name, and one of its settings.
        std::fs::write(db.join("db"), "").unwrap();
        std::fs::write(db.join("conf"), "").unwrap();
        assert_eq!(store_folder(&db), db);
    }
}
