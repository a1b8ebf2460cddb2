//! `log-rotate`, `log-delete` and `cron`: housekeeping of logs.

use super::each::{each, own_table};
use super::since::since;
use super::uptodate::ask_end;
use crate::context::{Changes, Ctx, set, unexpected};
use crate::error::Result;
use crate::keys::{LogPos, Res};
use crate::limits::{LOG_END_WAIT, LOG_ROTATE_BYTES, LOG_ROTATE_LOGS};
use mars_lamport::Timestamp;
use mars_meta_api::{Request, Response};
use mars_meta_model::{Key, View as _};

/// Begin the next log of a resource, on its primary. The data plane does so by itself when a log is long enough.
///
/// On a host that is not primary it warns and does nothing. Does nothing if the present log is empty, or if there are more than --thresh-logfiles older ones and it is shorter
/// than --thresh-logsize. --force also asks on a host that is not primary: it obeys when it is.
///
/// Example: marsadm log-rotate mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct RotateArgs {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
    /// When a new log is wanted.
    #[command(flatten)]
    pub thresholds: Thresholds,
}

/// When a new log is wanted.
#[derive(Debug, clap::Args)]
pub struct Thresholds {
    /// So many older logs are enough
    #[arg(long, value_name = "N", default_value_t = LOG_ROTATE_LOGS)]
    pub thresh_logfiles: usize,
    /// Unless the present one has so many GB (1000^3 bytes)
    #[arg(long, value_name = "GB", default_value_t = LOG_ROTATE_BYTES / 1_000_000_000)]
    pub thresh_logsize: u64,
}

/// Delete logs that every member has replayed. The data planes do so by themselves as long as all members tell their
/// positions; one that tells none does not count here.
///
/// The newest log stays, and everything from the first log on that is needed or was touched within twice --window
/// (--force: however new). Says which member keeps the rest.
///
/// Example: marsadm log-delete mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct DeleteArgs {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
}

/// Do all housekeeping: begin new logs where this host is primary, delete logs that nobody needs. May run at any time,
/// as often as wanted, on any node, several at once.
///
/// --autoclean also removes what hosts have left behind that are no longer in the cluster: their keys in the resources
/// named and, with all, elsewhere. Keys of logs stay: logs are deleted when nobody needs them.
///
/// Example: marsadm cron
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct CronArgs {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES", default_value = "all")]
    pub resource: String,
    /// When a new log is wanted.
    #[command(flatten)]
    pub thresholds: Thresholds,
    /// Also delete keys of hosts that the cluster does not know, if they are older than so many days [without a number: 30]
    #[arg(
        long,
        value_name = "DAYS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "30"
    )]
    pub autoclean: Option<u64>,
}

/// How many logs one call deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HowMany {
    /// The oldest one.
    One,
    /// All that nobody needs.
    All,
}

/// Runs `log-rotate`.
///
/// # Errors
/// If this host has no replica.
pub async fn rotate(ctx: &Ctx, args: &RotateArgs) -> Result<()> {
    each(ctx, "log-rotate", &args.resource, async |host, res| {
        let table = own_table(ctx, host, res).await?;
        let view = Res::new(&table, res);
        if !view.actual(host, "is-primary") && !ctx.opts.force {
            // No failure, as in the original: a list may have resources of both roles.
            ctx.ui.note(&format!(
                "warning: {host} is not the actual primary of resource {res}, {}: it writes no log",
                since(&view, &format!("actual-{host}/is-primary"))
            ));
            let next = match view.primary() {
                Some(primary) => format!("on {primary}: marsadm log-rotate {res}"),
                None => format!("marsadm primary {res}, where it shall be written"),
            };
            ctx.ui.note(&format!("  next: {next}"));
            return Ok(());
        }
        let mut end = view.version_end(host);
        let is_empty = |end: &LogPos| end.origin == host && end.pos == 0;
        if end.as_ref().is_some_and(is_empty) && !ctx.opts.dry_run {
            // Lengths are told at most once a second: what was written just now is known to the data plane only.
            end = ask_end(ctx, res, host, LOG_END_WAIT).await?.or(end);
        }
        match next_log(&view, end, host, &args.thresholds) {
            Ok(changes) => ctx.apply(changes?).await.map(|_| ()),
            Err(why) => {
                ctx.ui
                    .note(&format!("no new log for resource {res}: {why}"));
                Ok(())
            }
        }
    })
    .await
}

/// Runs the commands that delete logs.
///
/// # Errors
/// If this host has no replica.
pub async fn delete(ctx: &Ctx, args: &DeleteArgs, how_many: HowMany) -> Result<()> {
    let verb = match how_many {
        HowMany::One => "log-delete-one",
        HowMany::All => "log-delete-all",
    };
    each(ctx, verb, &args.resource, async |host, res| {
        delete_logs(ctx, host, res, how_many).await
    })
    .await
}

/// Runs `cron`.
///
/// # Errors
/// How many resources failed; the others were done.
pub async fn cron(ctx: &Ctx, args: &CronArgs) -> Result<()> {
    each(ctx, "cron", &args.resource, async |host, res| {
        let table = match own_table(ctx, host, res).await {
            Ok(table) => table,
            // A guest has no logs.
            Err(_) if args.resource == "all" => return Ok(()),
            Err(error) => return Err(error),
        };
        let view = Res::new(&table, res);
        if view.actual(host, "is-primary")
            && let Ok(changes) = next_log(&view, view.version_end(host), host, &args.thresholds)
        {
            ctx.apply(changes?).await?;
        }
        delete_logs(ctx, host, res, HowMany::All).await
    })
    .await?;
    if let Some(days) = args.autoclean.filter(|days| *days > 0) {
        let clean = super::autoclean::run(ctx, &args.resource, days).await;
        clean.map_err(|error| error.about("cron --autoclean"))?;
    }
    let host = ctx.host().await?;
    let version = env!("CARGO_PKG_VERSION");
    let (key, value) = set(&format!("actual-{host}/marsadm-version"), version)?;
    let known = ctx.get(&key).await?;
    if known.is_none_or(|entry| entry.text() != Some(version)) {
        ctx.apply(vec![(key, value)]).await?;
    }
    Ok(())
}

/// What begins the next log; or why none is wanted.
fn next_log(
    view: &Res<'_>,
    end: Option<LogPos>,
    host: &str,
    when: &Thresholds,
) -> Result<Result<Changes>, String> {
    let end = end.ok_or_else(|| format!("{host} tells no end of its log"))?;
    if end.origin != host {
        return Err(format!("{host} has written none yet"));
    }
    if end.pos == 0 {
        return Err(format!("log {} is empty", end.nr));
    }
    let own = view.logs();
    let older = own
        .iter()
        .filter(|log| log.origin == host && log.nr < end.nr);
    let (older, limit) = (
        older.count(),
        when.thresh_logsize.saturating_mul(1_000_000_000),
    );
    if older >= when.thresh_logfiles && end.pos < limit {
        return Err(format!("{older} older logs wait for their deletion"));
    }
    let next = end.nr + 1;
    if own.iter().any(|log| log.origin == host && log.nr == next) {
        return Err(format!("log {next} was asked for already"));
    }
    let keys = || {
        Ok(vec![
            set(&format!("resource-{}/log-{next:09}-{host}", view.name), "0")?,
            set(&format!("resource-{}/maxnr", view.name), &next.to_string())?,
        ])
    };
    Ok(keys())
}

async fn delete_logs(ctx: &Ctx, host: &str, res: &str, how_many: HowMany) -> Result<()> {
    let table = own_table(ctx, host, res).await?;
    let view = Res::new(&table, res);
    let grace = ctx.opts.window.as_nanos().saturating_mul(2);
    let grace = u64::try_from(grace).unwrap_or(u64::MAX);
    let now = lamport(ctx).await?;
    let is_recent = |key: &Key| {
        let entry = table.entry(key);
        !ctx.opts.force && entry.is_some_and(|entry| now.nanos_since(entry.stamp) < grace)
    };
    let logs = view.logs();
    let Some(newest) = logs.last().map(|log| log.nr) else {
        ctx.ui.detail(&format!("resource {res} tells of no logs"));
        return Ok(());
    };
    let needed = least_needed(&view);
    let below = needed.as_ref().map_or(0, |(nr, _)| *nr).min(newest);
    let mut changes = Changes::new();
    for log in &logs {
        let key = crate::context::key(&format!("resource-{res}/log-{:09}-{}", log.nr, log.origin))?;
        if log.nr >= below {
            if let Some((_, who)) = needed.as_ref().filter(|(nr, _)| *nr < newest) {
                ctx.ui
                    .note(&format!("logs of {res} from {} on are kept: {who}", log.nr));
            }
            break;
        }
        if is_recent(&key) {
            ctx.ui.note(&format!(
                "logs of {res} from {} on are kept: it was touched {}",
                log.nr,
                since(&view, &format!("log-{:09}-{}", log.nr, log.origin))
            ));
            break;
        }
        changes.push((key, None));
        if how_many == HowMany::One {
            break;
        }
    }
    for key in old_versions(&view, below) {
        if is_recent(&key) || how_many == HowMany::One {
            break;
        }
        changes.push((key, None));
    }
    ctx.apply(changes).await?;
    Ok(())
}

/// Versions of logs that are gone, but for the last one: the chain of those that are left begins with it.
fn old_versions(view: &Res<'_>, below: u64) -> Vec<Key> {
    let prefix = format!("resource-{}/version-", view.name);
    let entries = view.table.scan(&prefix);
    entries
        .filter(|entry| !entry.is_tombstone())
        .filter_map(|entry| {
            let (nr, _) = entry.key.as_str().strip_prefix(&prefix)?.split_once('-')?;
            let nr: u64 = nr.parse().ok()?;
            (nr.saturating_add(1) < below).then(|| entry.key.clone())
        })
        .collect()
}

/// The lowest log that a replica stands in, and which.
fn least_needed(view: &Res<'_>) -> Option<(u64, String)> {
    let prefix = format!("resource-{}/replay-", view.name);
    view.table
        .scan(&prefix)
        .filter_map(|entry| {
            let host = entry.key.as_str().strip_prefix(&prefix)?;
            let nr = view.replay(host)?.at.nr;
            let leaf = format!("replay-{host}");
            Some((nr, format!("{host} is at log {nr}, {}", since(view, &leaf))))
        })
        .min()
}

pub(super) async fn lamport(ctx: &Ctx) -> Result<Timestamp> {
    match ctx.call(Request::Clock).await? {
        Response::Clock { lamport, .. } => Ok(Timestamp::from_nanos(lamport)),
        other => Err(unexpected(&other)),
    }
}
