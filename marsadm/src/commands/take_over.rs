//! `take-over`: a replica of the original goes on in the native format.

use super::each::{each, prefixes};
use super::switches::sync_allowed;
use super::take_over_log::{Reached, check_tree, replay_leg};
use crate::config::{Config, DEFAULT_PATH};
use crate::context::{Ctx, set};
use crate::error::{Error, Kind, Result};
use crate::keys::Res;
use crate::limits::POLL_INTERVAL;
use mars_datapath::{AdoptError, Adoption};
use mars_datapath_core::version::LogEnd;
use mars_datapath_core::{Joint, Name, joint};
use mars_meta_model::{Table, View as _};
use mars_migrations::{LEGACY_END, TakeOver, TakeOverError, plan_take_over};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the disk may be held by somebody else: the data plane looks at it every few seconds.
const BUSY_LIMIT: Duration = Duration::from_secs(10);

/// Replay the rest of the original's logs onto this host's disk, then put the disk into service.
///
/// Before that: stop the original on this host, and import the trees of all members (marsadm import-tree). The logs
/// are looked for in the folders resource-RES of each --from, and checked more strictly than the original does. The
/// disk then goes on from the end of the old history, as all other replicas that reached the same end: without a full
/// sync. Where logs are missing, what is there is replayed, and the message says what to copy; run the command again
/// then. An interrupted run is continued.
///
/// With --dry-run: check all logs, write nothing.
/// With --force: the end of the history is what this host has; writes that only other members know of are lost. So is
/// what follows damage, and a torn record at the end of the last log.
///
/// Example: marsadm take-over mydata --from /mars
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource
    #[arg(value_name = "RES")]
    pub resource: String,
    /// Legacy folder with the logs, or a copy of one; may be given several times
    #[arg(long, value_name = "DIR", required = true)]
    pub from: Vec<PathBuf>,
    /// Configuration file of this node's daemons
    #[arg(long, value_name = "PATH", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// If the replica cannot be taken over as things are. What was replayed stays, and is never replayed again.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    for tree in &args.from {
        check_tree(tree).map_err(|error| error.about("take-over"))?;
    }
    let config = Config::load(Some(&args.config))
        .map_err(|error| Error::usage(error.to_string()).about("take-over"))?;
    each(ctx, "take-over", &args.resource, async |host, res| {
        if config.host != host {
            return Err(Error::usage(format!(
                "configuration file {} belongs to host {}, the daemon to {host}",
                args.config.display(),
                config.host
            ))
            .hint("name the configuration file of this node with --config"));
        }
        let work = Work {
            ctx,
            host: name(host)?,
            res: name(res)?,
            trees: &args.from,
            log_dir: &config.data.log_dir,
        };
        work.run().await
    })
    .await
}

fn name(text: &str) -> Result<Name> {
    text.parse()
        .map_err(|error: mars_datapath_core::NameError| Error::usage(error.to_string()))
}

struct Work<'a> {
    ctx: &'a Ctx,
    host: Name,
    res: Name,
    trees: &'a [PathBuf],
    log_dir: &'a Path,
}

impl Work<'_> {
    fn key(&self, leaf: &str) -> String {
        format!("resource-{}/{leaf}", self.res)
    }

    async fn run(&self) -> Result<()> {
        let prefixes = prefixes(self.res.as_str());
        let table = self
            .ctx
            .table(&[prefixes[0].as_str(), prefixes[1].as_str()])
            .await?;
        let plan = |at: Option<&LogEnd>| {
            let alone = self.ctx.opts.force;
            plan_take_over(&table, self.res.as_str(), &self.host, at, alone)
        };
        let first = match plan(None) {
            Err(TakeOverError::NotImported(_)) if table.text(&self.key(LEGACY_END)).is_some() => {
                self.ctx
                    .ui
                    .line(&format!("{}: in service already", self.res));
                self.say_switches(&table);
                return Ok(());
            }
            first => first.map_err(refused)?,
        };
        let adoption = self.open(&first).await?;
        if let Some(done) = self.already_done(&adoption, &first)? {
            return self.write_keys(&table, &first, &done).await;
        }
        let progress = adoption.progress().map_err(adopt_failed)?;
        let plan = plan(progress.as_ref()).map_err(refused)?;
        let end = self.replay(&adoption, &plan)?;
        if self.ctx.opts.dry_run {
            self.ctx
                .ui
                .line(&format!("{}: all logs up to {end} are good", self.res));
            return Ok(());
        }
        let version = self.final_version(&plan, &end)?;
        let done = adoption.finish(&version).map_err(adopt_failed)?;
        self.write_keys(&table, &plan, &done).await
    }

    /// The end of the history as a complete value; another one than planned if the rest of the last log is given up.
    fn final_version(&self, plan: &TakeOver, end: &LogEnd) -> Result<String> {
        let planned = plan.legs.last();
        if planned.is_some_and(|leg| leg.log == end.log && leg.to == end.position) {
            return Ok(plan.version.clone());
        }
        plan.shortened(end.position)
            .ok_or_else(|| Error::internal("the plan has no log"))
    }

    /// Opens the disk; waits a little for the data plane to let go of it.
    async fn open(&self, plan: &TakeOver) -> Result<Adoption> {
        let started = tokio::time::Instant::now();
        loop {
            let disk = Path::new(&plan.disk);
            match Adoption::open(self.log_dir, &self.res, disk, plan.size) {
                Err(AdoptError::Busy(_)) if started.elapsed() < BUSY_LIMIT => {
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
                Err(error @ AdoptError::Busy(_)) => {
                    return Err(Error::refused(error.to_string()).hint(
                        "stop the original on this host (marsadm down, rmmod mars), or marsadm detach here",
                    ));
                }
                other => return other.map_err(adopt_failed),
            }
        }
    }

    /// The joint, if an earlier run had come so far; an error if the disk is in service elsewhere in history.
    fn already_done(&self, adoption: &Adoption, plan: &TakeOver) -> Result<Option<Joint>> {
        let Some(at) = adoption.stands_at() else {
            return Ok(None);
        };
        let old = plan.legs.last().map_or(0, |leg| leg.log.number);
        if at.log.number <= old {
            self.ctx.ui.note(&format!(
                "{}: an earlier life of this disk ended at {at}; the original has gone on from there",
                self.res
            ));
            return Ok(None);
        }
        let done = adoption
            .came_from()
            .and_then(|version| joint(&self.res, version).ok())
            .filter(|joint| joint.name == at.log);
        done.map(Some).ok_or_else(|| {
            Error::refused(format!(
                "the disk is in service at {at}, behind the old history"
            ))
            .hint("nothing is to be taken over: marsadm up")
        })
    }

    /// Replays all that is missing; returns the end.
    fn replay(&self, adoption: &Adoption, plan: &TakeOver) -> Result<LogEnd> {
        let ui = &self.ctx.ui;
        let dry = self.ctx.opts.dry_run;
        let mut end = None;
        for (i, leg) in plan.legs.iter().enumerate() {
            let last = i + 1 == plan.legs.len();
            let sink = (!dry).then_some(adoption);
            let reached = replay_leg(self.trees, &self.res, leg, plan.size, sink, &|at| {
                ui.progress(&format!("{}: replayed up to {at}", self.res));
            })?;
            let Reached { at, records, tried } = reached;
            ui.detail(&format!("{}: {records} records, up to {at}", self.res));
            if at.position < leg.to && !(last && self.ctx.opts.force && !plan.fixed) {
                let verb = if dry { "good" } else { "replayed" };
                return Err(Error::refused(format!(
                    "{verb} up to {at}, but the history goes on to {}: {}",
                    leg.to,
                    tried.join("; ")
                ))
                .hint(format!(
                    "copy {} of host {} into a folder resource-{} and name the folder around that with one more --from",
                    leg.log, leg.log.origin, self.res
                )));
            }
            end = Some(at);
        }
        end.ok_or_else(|| Error::internal("the plan has no log"))
    }

    async fn write_keys(&self, table: &Table, plan: &TakeOver, done: &Joint) -> Result<()> {
        let (ctx, host) = (self.ctx, &self.host);
        let mut changes = Vec::new();
        if table.text(&self.key(LEGACY_END)).is_none() {
            changes.push(set(&self.key(LEGACY_END), &done.before_version)?);
        }
        let number = done.before.log.number;
        let versions = [
            (number, done.before_version.clone()),
            (done.name.number, done.version()),
        ];
        for (number, value) in versions {
            changes.push(set(
                &self.key(&format!("version-{number:09}-{host}")),
                &value,
            )?);
        }
        changes.push(set(
            &self.key(&format!("replay-{host}")),
            &format!("{},0", done.end),
        )?);
        if table.text(&self.key(&format!("actual-{host}/is-primary"))) == Some("1") {
            changes.push(set(&self.key(&format!("actual-{host}/is-primary")), "0")?);
        }
        ctx.apply(changes).await?;
        ctx.ui.line(&format!(
            "{}: in service behind {}, disk {}",
            self.res, done.before, plan.disk
        ));
        self.say_switches(table);
        Ok(())
    }

    /// Says which switches are off, as the original's `down` leaves them: only an administrator knows whether it was meant to
    /// last.
    fn say_switches(&self, table: &Table) {
        let view = Res::new(table, self.res.as_str());
        let off = switched_off(&view, self.host.as_str());
        if !off.is_empty() {
            self.ctx.ui.note(&format!(
                "{}: switched off here: {}; next: marsadm up {}",
                self.res,
                off.join(", "),
                self.res
            ));
        }
    }
}

/// The switches that `up` would switch on. Without a primary it leaves that of the sync as it is: there is nothing to sync from.
fn switched_off(view: &Res<'_>, host: &str) -> Vec<&'static str> {
    ["attach", "connect", "sync", "allow-replay"]
        .into_iter()
        .filter(|name| !view.todo(host, name))
        .filter(|name| *name != "sync" || sync_allowed(view, host).is_ok())
        .collect()
}

fn refused(error: TakeOverError) -> Error {
    let kind = match &error {
        TakeOverError::Missing(_) => Kind::NotFound,
        _ => Kind::Refused,
    };
    Error::new(kind, error.to_string())
}

/// An error of the disk or of the files beside it.
pub(super) fn adopt_failed(error: AdoptError) -> Error {
    let kind = match &error {
        AdoptError::File { error, .. } if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Kind::Denied
        }
        AdoptError::File { .. } => Kind::Internal,
        _ => Kind::Refused,
    };
    Error::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    #[test]
    fn the_sync_is_named_only_where_up_would_switch_it_on() {
        let mut table = Table::new();
        table.merge(entry("resource-r/todo-a/attach", Some("1"), 1, 1));
        let off = |table: &Table| switched_off(&Res::new(table, "r"), "a");
        assert_eq!(off(&table), ["connect", "allow-replay"]);
        table.merge(entry("resource-r/primary", Some("b"), 2, 1));
        assert_eq!(off(&table), ["connect", "sync", "allow-replay"]);
        table.merge(entry("resource-r/primary", Some("(none)"), 3, 1));
        for name in ["connect", "allow-replay"] {
            let key = format!("resource-r/todo-a/{name}");
            table.merge(entry(&key, Some("1"), 4, 1));
        }
        assert_eq!(off(&table), [""; 0]);
    }
}
