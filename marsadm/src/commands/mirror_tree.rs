//! `mirror-tree`: a legacy tree and the store in step.

use super::import_tree::{batches, foreign, outcomes_of};
use crate::context::Ctx;
use crate::daemon::stop;
use crate::error::{Error, Kind, Result};
use crate::limits::{
    MIRROR_DELAY, MIRROR_DIRTY_MAX, MIRROR_PASSES_MAX, MIRROR_RESCAN, MIRROR_RETRY,
    MIRROR_SHOWN_MAX, POLL_INTERVAL,
};
use crate::wall::now_ns;
use mars_meta_api::{Client, EntryBytes, Overriding, Request, Watch, WatchEvent};
use mars_meta_model::{Entry, Key, Table};
use mars_migrations::export::WriteExportError;
use mars_migrations::mirror::{
    Answer, Changes, MirrorError, MirrorTree, PutOutcome, Related, Scope, Step, compare,
};
use mars_migrations::{
    ImportOptions, Outcome, Scan, SkippedRow, check_mirror, mirror_uuid_to_keep, plan_import,
};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// Carry changes of a legacy MARS tree of symlinks into the store, and changes of the store into the tree, as long as
/// both exist. The later stamp wins, deletions included.
///
/// Runs until it is ended with SIGTERM or Ctrl-C; it may be started again at any time and has no state of its own. DIR
/// is a legacy tree, or an empty folder. Logs and disks are not touched, nor are uuid and addresses exchanged.
///
/// Refused, with nothing done, is a tree with another uuid than the cluster and the trees that were imported before, and
/// a tree with a resource that has members here which it does not have. With --force: it is mirrored all the same.
///
/// What is in the tree and can be no key (a name that is not UTF-8, a folder that the original does not replicate) is named
/// once as skipped.
///
/// With --dry-run: only show what would be imported and written now, then end.
///
/// Example: marsadm mirror-tree /mars --once
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The legacy folder
    pub dir: PathBuf,
    /// Bring both in step once, then end
    #[arg(long)]
    pub once: bool,
}

/// Runs the command.
///
/// # Errors
/// If the folder cannot be mirrored, or is a tree of another cluster. A daemon that goes away is waited for, but not with `--once`.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let work = async {
        let tree = MirrorTree::open(&args.dir).map_err(failed)?;
        let wake = rustix::io::dup(tree.as_fd())
            .and_then(|fd| rustix::io::ioctl_fionbio(&fd, true).map(|()| fd))
            .map_err(|errno| Error::internal(std::io::Error::from(errno).to_string()))?;
        let mut mirror = Mirror {
            ctx,
            tree,
            table: Table::new(),
            dirty: Dirty::default(),
            belongs: false,
            told: BTreeSet::new(),
            skipped: BTreeSet::new(),
            unwritten: BTreeMap::new(),
            retry: None,
            imported: 0,
            written: 0,
        };
        // Without changes both sides never come in step: there is nothing to follow.
        if args.once || ctx.opts.dry_run {
            return mirror.once().await;
        }
        let wake = readable(wake).map_err(|error| {
            Error::internal(format!("changes of the tree cannot be waited for: {error}"))
        })?;
        let stop = stop::reasons(false)
            .map_err(|error| Error::internal(format!("signals cannot be received: {error}")))?;
        tokio::select! {
            result = mirror.forever(&wake) => result,
            () = stop => Ok(()),
        }
    };
    work.await
        .map_err(|error: Error| error.about(&format!("mirror-tree {}", args.dir.display())))
}

#[expect(
    deprecated,
    reason = "unsound only for types that may change their descriptor, which an OwnedFd cannot"
)]
fn readable(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

fn no_answer() -> Error {
    Error::new(Kind::Unreachable, "the metadata daemon did not answer")
}

fn failed(error: MirrorError) -> Error {
    let kind = match &error {
        MirrorError::Tree(WriteExportError::Io { source, .. }) => Kind::of_io(source),
        _ => Kind::Refused,
    };
    let hint = match kind {
        Kind::NotFound => {
            "name the root of a legacy tree, for example /mars, or make an empty folder"
        }
        Kind::Denied => "run marsadm as root, or as the owner of the tree",
        Kind::Internal => "check the file system of the folder, then run the command again",
        _ => "name the root of a legacy tree or an empty folder; docs/migrate.md",
    };
    Error::new(kind, error.to_string()).hint(hint)
}

#[derive(Default)]
struct Dirty {
    paths: BTreeSet<Vec<u8>>,
    all: bool,
    since: Option<Instant>,
}

impl Dirty {
    fn touch(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    fn add(&mut self, changes: Changes) {
        self.all |= changes.all;
        self.paths.extend(changes.paths);
        if self.paths.len() > MIRROR_DIRTY_MAX {
            self.all = true;
            self.paths.clear();
        }
        if self.all || !self.paths.is_empty() {
            self.touch();
        }
    }

    fn key(&mut self, key: &Key) {
        self.add(Changes {
            paths: BTreeSet::from([key.as_str().as_bytes().to_vec()]),
            all: false,
        });
    }
}

struct Mirror<'c> {
    ctx: &'c Ctx,
    tree: MirrorTree,
    /// The store as it was last seen.
    table: Table,
    dirty: Dirty,
    /// Whether the tree was found to be one of this cluster.
    belongs: bool,
    /// What was reported to stay as it is.
    told: BTreeSet<(Key, Answer)>,
    /// Objects of the tree, escaped, that were reported to be skipped.
    skipped: BTreeSet<String>,
    /// Links that could not be written, with the reason that was told.
    unwritten: BTreeMap<Key, String>,
    /// When they are tried again.
    retry: Option<Instant>,
    imported: u64,
    written: u64,
}

impl Mirror<'_> {
    async fn once(&mut self) -> Result<()> {
        let client = self.ctx.client().await?;
        for _ in 0..MIRROR_PASSES_MAX {
            self.table = self.ctx.table(&[""]).await?;
            let scan = self.tree.scan().map_err(failed)?;
            let done = self.pass(client, &scan, None).await?;
            if done == 0 || self.ctx.opts.dry_run {
                break;
            }
        }
        let more = (self.imported + self.written).saturating_sub(MIRROR_SHOWN_MAX);
        if self.ctx.opts.dry_run && more > 0 {
            let text = format!("{more} more steps are named with --verbose only");
            self.ctx.ui.note(&text);
        }
        let (imported, written, kept) = (self.imported, self.written, self.told.len());
        let skipped = self.skipped.len();
        self.ctx.ui.line(&if self.ctx.opts.dry_run {
            format!(
                "{imported} entries would be imported, {written} links would be written, {kept} keys kept different, {skipped} objects skipped"
            )
        } else {
            format!(
                "{imported} entries imported, {written} links written, {kept} keys kept different, {skipped} objects skipped"
            )
        });
        let missing = self.unwritten.len();
        match self.unwritten.first_key_value() {
            None => Ok(()),
            Some((key, why)) => Err(Error::refused(format!(
                "{missing} links could not be written: {key}: {why}"
            ))
            .hint("let their folders be written to, then run the command again")),
        }
    }

    /// Follows both sides; comes back only with an error of the tree.
    async fn forever(&mut self, wake: &AsyncFd<OwnedFd>) -> Result<()> {
        let mut lost = false;
        loop {
            let (outcome, connected) = match self.ctx.connect().await {
                Ok(client) => (self.follow(&client, wake).await, true),
                Err(error) => (Err(error), false),
            };
            match outcome {
                // One that hangs is waited for as one that is away.
                Err(error)
                    if error.kind == Kind::Unreachable
                        || (error.kind == Kind::Timeout && !connected) =>
                {
                    if !lost {
                        self.ctx
                            .ui
                            .note(&format!("waiting for the metadata daemon: {error}"));
                    }
                    lost = true;
                }
                other => return other,
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// One connection to the daemon.
    async fn follow(&mut self, client: &Client, wake: &AsyncFd<OwnedFd>) -> Result<()> {
        let mut watch = client.watch(&[""]).await?;
        self.table = snapshot(&mut watch).await?;
        self.dirty.all = true;
        self.dirty.touch();
        let mut rescan = Instant::now() + MIRROR_RESCAN;
        loop {
            let due = self
                .dirty
                .since
                .map_or(rescan, |since| since + MIRROR_DELAY);
            let due = self.retry.map_or(due, |retry| retry.min(due));
            tokio::select! {
                event = watch.next() => match event? {
                    WatchEvent::Entries(entries) => {
                        for entry in entries {
                            self.dirty.key(&entry.key);
                            self.table.merge(entry);
                        }
                    }
                    WatchEvent::Synced => {}
                    WatchEvent::Lagged => {
                        self.table = snapshot(&mut watch).await?;
                        self.dirty.all = true;
                        self.dirty.touch();
                    }
                },
                ready = wake.readable() => {
                    let mut ready = ready.map_err(|e| Error::internal(e.to_string()))?;
                    ready.clear_ready();
                    let changes = self.tree.changes().map_err(failed)?;
                    self.dirty.add(changes);
                }
                () = tokio::time::sleep_until(due) => {
                    if Instant::now() >= rescan {
                        self.dirty.all = true;
                        rescan = Instant::now() + MIRROR_RESCAN;
                    }
                    if self.retry.take_if(|at| *at <= Instant::now()).is_some() {
                        self.unwritten.keys().for_each(|key| self.dirty.key(key));
                    }
                    self.turn(client).await?;
                }
            }
        }
    }

    /// Compares what has changed.
    async fn turn(&mut self, client: &Client) -> Result<()> {
        let dirty = std::mem::take(&mut self.dirty);
        if dirty.all {
            let scan = self.tree.scan().map_err(failed)?;
            self.pass(client, &scan, None).await?;
            return Ok(());
        }
        let mut related = Related::default();
        for path in &dirty.paths {
            related.add(&self.tree, path);
        }
        let scan = self.tree.look_at(&related.paths);
        self.pass(client, &scan, Some(&related.keys)).await?;
        Ok(())
    }

    /// One comparison and what follows from it; the number of things done.
    async fn pass(
        &mut self,
        client: &Client,
        scan: &Scan,
        keys: Option<&BTreeSet<Key>>,
    ) -> Result<u64> {
        let options = ImportOptions::at(now_ns()?);
        if !self.belongs && keys.is_none() {
            self.admit(client, scan, &options).await?;
        }
        let scope = keys.map_or(Scope::All, Scope::Keys);
        let compared = compare(scan, &self.table, &scope, &options);
        for (key, answer) in compared.kept {
            self.tell(key, answer);
        }
        for row in compared.skipped {
            self.skip(row);
        }
        self.still_unwritten(keys, &compared.steps);
        let mut imports = Vec::new();
        let mut done = 0;
        for step in compared.steps {
            if self.ctx.opts.dry_run {
                self.would(&step);
                continue;
            }
            self.ctx.ui.detail(&show(&step));
            match step {
                Step::Import(entry) => imports.push(entry),
                Step::Link { ref key, .. } => {
                    let put = self.tree.put(&step);
                    if put.is_ok() {
                        self.unwritten.remove(key);
                    }
                    match put {
                        Ok(PutOutcome::Written) if is_heartbeat(key) => {}
                        Ok(PutOutcome::Written) => {
                            self.written += 1;
                            done += 1;
                        }
                        Ok(PutOutcome::Raced) => self.dirty.key(key),
                        Ok(PutOutcome::InTheWay) => self.tell(key.clone(), Answer::InTheWay),
                        // One folder that cannot be written keeps nothing else from being in step.
                        Err(error) => self.cannot_write(key, &error),
                    }
                }
            }
        }
        Ok(done + self.import(client, imports).await?)
    }

    /// Refuses a tree of another cluster, and keeps the uuid of one that is taken, so that another one is known.
    async fn admit(&mut self, client: &Client, scan: &Scan, options: &ImportOptions) -> Result<()> {
        let entries = plan_import(scan, options).entries;
        if !self.ctx.opts.force {
            check_mirror(&entries, &self.table).map_err(|conflict| foreign(&conflict))?;
        }
        if !self.ctx.opts.dry_run
            && let Some((key, value)) = mirror_uuid_to_keep(&entries, &self.table)
        {
            let how = Overriding {
                forced: false,
                insist: self.ctx.opts.force,
            };
            let written = client.apply_as(vec![(key, Some(value))], how);
            tokio::time::timeout(self.ctx.opts.timeout, written)
                .await
                .map_err(|_| no_answer())??;
        }
        self.belongs = true;
        Ok(())
    }

    /// Counts and shows a step that is not taken.
    fn would(&mut self, step: &Step) {
        let text = match step {
            Step::Link { key, .. } if is_heartbeat(key) => return,
            Step::Link { key, stamp, .. } => {
                self.written += 1;
                format!("would write: {key} ({stamp})")
            }
            Step::Import(entry) => {
                self.imported += 1;
                format!("would import: {} ({})", entry.key, entry.stamp)
            }
        };
        let ui = &self.ctx.ui;
        if self.imported + self.written > MIRROR_SHOWN_MAX {
            ui.detail(&text);
        } else {
            ui.note(&text);
        }
    }

    async fn import(&mut self, client: &Client, entries: Vec<Entry>) -> Result<u64> {
        let mut taken = 0;
        for batch in batches(&entries) {
            let request = Request::Import {
                entries: EntryBytes::pack(batch),
                insist: self.ctx.opts.force,
            };
            let answer = tokio::time::timeout(self.ctx.opts.timeout, client.call(request))
                .await
                .map_err(|_| no_answer())??;
            for (entry, outcome) in batch.iter().zip(outcomes_of(answer)?) {
                match outcome {
                    // A new stamp comes with the watch.
                    Outcome::Taken | Outcome::TakenAnew => {
                        self.table.merge(entry.clone());
                        taken += 1;
                    }
                    // What is newer there comes with the watch.
                    Outcome::Known | Outcome::Older => {}
                    Outcome::Refused => self.ctx.ui.note(&format!(
                        "{}: refused, its stamp {} lies too far in the future",
                        entry.key, entry.stamp
                    )),
                }
            }
        }
        self.imported += taken;
        Ok(taken)
    }

    /// Names an object of the tree that can be no key, once.
    fn skip(&mut self, row: SkippedRow) {
        let text = format!("{}: skipped: {}", row.path, row.reason);
        if !self.skipped.insert(row.path) {
            return;
        }
        let ui = &self.ctx.ui;
        if self.skipped.len() as u64 > MIRROR_SHOWN_MAX {
            ui.detail(&text);
        } else {
            ui.note(&text);
        }
    }

    /// Forgets links that there is nothing to write of any more, of the keys that were compared (`None`: all).
    fn still_unwritten(&mut self, keys: Option<&BTreeSet<Key>>, steps: &[Step]) {
        let links = steps.iter().filter_map(|step| match step {
            Step::Link { key, .. } => Some(key),
            Step::Import(_) => None,
        });
        let links: BTreeSet<&Key> = links.collect();
        let is_compared = |key: &Key| keys.is_none_or(|keys| keys.contains(key));
        self.unwritten
            .retain(|key, _| links.contains(key) || !is_compared(key));
    }

    /// Remembers a link for the next try, and says once for what reason it is not there.
    fn cannot_write(&mut self, key: &Key, error: &MirrorError) {
        self.retry = Some(Instant::now() + MIRROR_RETRY);
        let why = error.to_string();
        if self.unwritten.get(key) == Some(&why) {
            return;
        }
        let text = format!("{key}: the link cannot be written, and is tried again: {why}");
        self.unwritten.insert(key.clone(), why);
        if self.unwritten.len() as u64 > MIRROR_SHOWN_MAX {
            self.ctx.ui.detail(&text);
        } else {
            self.ctx.ui.note(&text);
        }
    }

    fn tell(&mut self, key: Key, answer: Answer) {
        let why = match answer {
            Answer::Newer => "the store's value is of a later clock epoch, the link stays",
            Answer::InTheWay => "there is no link in its place in the tree, that stays",
            Answer::TooDeep => {
                "nested deeper than the original looks, and the tree has no folder for it: no link is made"
            }
            Answer::NoPlace => {
                "no link of this name is ever written, the one in the tree stays as it is"
            }
        };
        let text = format!("{key}: {why}");
        if !self.told.insert((key, answer)) {
            return;
        }
        if self.told.len() as u64 > MIRROR_SHOWN_MAX {
            self.ctx.ui.detail(&text);
        } else {
            self.ctx.ui.note(&text);
        }
    }
}

/// What the daemon makes anew whenever it is asked: never at rest.
fn is_heartbeat(key: &Key) -> bool {
    key.as_str().starts_with("actual-")
        && matches!(key.parts().nth(1), Some("alive" | "time"))
        && key.parts().count() == 2
}

async fn snapshot(watch: &mut Watch) -> Result<Table> {
    let mut table = Table::new();
    loop {
        match watch.next().await? {
            WatchEvent::Entries(entries) => {
                for entry in entries {
                    table.merge(entry);
                }
            }
            WatchEvent::Synced => return Ok(table),
            WatchEvent::Lagged => table = Table::new(),
        }
    }
}

fn show(step: &Step) -> String {
    match step {
        Step::Import(entry) => format!("import {} {}", entry.stamp, entry.key),
        Step::Link { key, stamp, .. } => format!("link {stamp} {key}"),
    }
}
