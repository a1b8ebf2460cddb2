//! `export-tree`: the way back, a legacy `/mars` folder of the keys of the store.

use super::since::since_key;
use crate::context::{Ctx, key};
use crate::error::{Error, Result};
use crate::outside::{resources_outside, tell};
use crate::wall::now_ns;
use mars_lamport::Timestamp;
use mars_meta_model::{
    Cell, Entry, Key, NodeId, Table, Value, View as _, check_host_name, members,
};
use mars_migrations::LEGACY_END;
use mars_migrations::export::{
    ExportOptions, ExportPlan, TargetState, WriteExportError, hand_back, inspect_target,
    plan_export, write_export,
};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Write the keys as a legacy MARS tree of symlinks, with their stamps.
///
/// DIR must be missing or empty; an export that was cut off is continued. Logs are not exported, because the original
/// cannot read them: its replicas need a full sync afterwards. With --dry-run: only show what would be written.
///
/// Of resources that this host has no part in, a member is asked for the keys; if none answers, a warning names the hosts
/// that have them. In the tree is only what the original knows. Names of this system are in a file beside it, DIR.mars-extra, for an import.
///
/// With --hand-back: each resource that is at rest gets a fresh, empty log of the original, in which all replicas stand
/// at the beginning, so that the original needs no full sync. At rest: marsadm secondary, then, once all replicas have
/// replayed all, marsadm down on every host. It is refused if a resource is not, unless --force is given. The logs are in
/// the trees of the hosts that have a replica.
///
/// With --force: renew an export that is complete already. Links with a later stamp are kept.
///
/// Example: marsadm export-tree /mnt/new-mars --dry-run
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The folder to make or to fill
    pub dir: PathBuf,
    /// Make the logs and positions that the original goes on from
    #[arg(long)]
    pub hand_back: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// What may be done with a resource that cannot be handed back.
const ALL_THE_SAME: &str =
    "without --hand-back, or with --force, it is exported as it is, and needs a full sync";

/// Runs the command.
///
/// # Errors
/// If the daemon does not answer, DIR is neither new nor empty, or cannot be written. What was written stays.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let work = async {
        let now_ns = now_ns()?;
        // Before the store is read: a wrong folder is a common mistake.
        let target = inspect_target(&args.dir).map_err(refused)?;
        if target == TargetState::Complete && !ctx.opts.force {
            return Err(refused(WriteExportError::Exists(args.dir.clone())));
        }
        let mut table = ctx.table(&[""]).await?;
        add_liveness(ctx, &mut table, now_ns).await?;
        let host = ctx.node().await?.host.clone();
        let elsewhere = ask_members(ctx, &host, &mut table).await?;
        let handed = if args.hand_back {
            hand_back(&mut table, &host, |res| !elsewhere.contains_key(res))
        } else {
            Vec::new()
        };
        let unready = handed.iter().find(|row| row.not_ready.is_some());
        if let Some(row) = unready.filter(|_| !ctx.opts.force) {
            let why = row.not_ready.as_deref().unwrap_or("it is not at rest");
            let since = row.not_ready_key.as_deref();
            let since = since.map(|key| format!("; {}", since_key(&table, key)));
            return Err(Error::refused(format!(
                "resource {} cannot be handed back: {why}{}",
                row.resource,
                since.unwrap_or_default()
            ))
            .hint(match &row.next {
                Some(next) => format!("{next}; {ALL_THE_SAME}"),
                None => ALL_THE_SAME.to_owned(),
            }));
        }
        let entries = table.iter().cloned();
        let mut plan = plan_export(entries, &ExportOptions::at(now_ns)).map_err(|error| {
            Error::refused(error.to_string())
                .hint("mend or delete that key, then run the command again")
        })?;
        for (res, (reason, hosts)) in elsewhere {
            plan.add_elsewhere(&res, &reason, &hosts);
        }
        plan.add_logs(handed);
        if !ctx.opts.dry_run {
            let written = write_export(&args.dir, &plan, ctx.opts.force);
            plan.written = Some(written.map_err(refused)?);
            forget_legacy_ends(ctx, &plan).await?;
        }
        let json = plan.to_json();
        let json = json.map_err(|error| Error::internal(error.to_string()))?;
        let text = if args.json {
            json.clone()
        } else {
            plan.to_string()
        };
        ctx.ui.raw_document("ExportReport", &json)?;
        ctx.ui.line(text.trim_end());
        Ok(())
    };
    work.await
        .map_err(|error| error.about(&format!("export-tree {}", args.dir.display())))
}

/// Replaces what lies here of resources that this host has no part in, which is of when it last had, by what a member
/// tells. Of those of which no member does, the reason and the members.
async fn ask_members(
    ctx: &Ctx,
    host: &str,
    table: &mut Table,
) -> Result<BTreeMap<String, (String, Vec<String>)>> {
    let mut untold = BTreeMap::new();
    for res in resources_outside(table, host) {
        let own = format!("resource-{res}/");
        let old: Vec<Key> = table.scan(&own).map(|entry| entry.key.clone()).collect();
        for key in old {
            table.remove(&key);
        }
        match tell(ctx, &res).await {
            Ok(told) => told.iter().for_each(|entry| {
                table.merge(entry.clone());
            }),
            Err(reason) => {
                let hosts = members(table, &res).into_keys().collect();
                untold.insert(res, (reason, hosts));
            }
        }
    }
    Ok(untold)
}

/// A later way over shall not begin where an earlier one did.
async fn forget_legacy_ends(ctx: &Ctx, plan: &ExportPlan) -> Result<()> {
    let mut changes = Vec::new();
    for row in plan.handed_back.iter().filter(|row| row.has_log()) {
        let key = key(&format!("resource-{}/{LEGACY_END}", row.resource))?;
        if ctx
            .get(&key)
            .await?
            .is_some_and(|entry| !entry.is_tombstone())
        {
            changes.push((key, None));
        }
    }
    ctx.apply(changes).await.map(|_| ())
}

fn refused(error: WriteExportError) -> Error {
    use crate::error::Kind;
    let kind = match &error {
        WriteExportError::Io { source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Kind::Denied
        }
        WriteExportError::Io { .. } => Kind::Internal,
        _ => Kind::Refused,
    };
    let hint = match kind {
        _ if matches!(error, WriteExportError::Exists(_)) => {
            "name a folder that is new or empty; --force renews this export"
        }
        Kind::Denied => "run marsadm as root, or name a folder that you may write",
        Kind::Internal => "check the file system of the folder, then run the command again",
        _ => {
            "name a folder that is new or empty: nothing but an export is written into, not with --force either"
        }
    };
    Error::new(kind, error.to_string()).hint(hint)
}

/// When each host was last heard of, where an import has left an older record of it.
async fn add_liveness(ctx: &Ctx, table: &mut Table, now_ns: u64) -> Result<()> {
    for peer in ctx.peers().await? {
        let Some(heard) = peer
            .heard_ns
            .filter(|_| check_host_name(&peer.host).is_ok())
        else {
            continue;
        };
        let stamp = Timestamp::from_nanos(heard);
        let window = u64::try_from(ctx.opts.window.as_nanos()).unwrap_or(u64::MAX);
        let alive = if now_ns.saturating_sub(heard) <= window {
            "1"
        } else {
            "0"
        };
        for (leaf, text) in [("alive", alive.to_owned()), ("time", stamp.to_string())] {
            let key = Key::parse(&format!("actual-{}/{leaf}", peer.host));
            if let (Ok(key), Ok(value)) = (key, Value::text(&text)) {
                table.merge(Entry {
                    key,
                    cell: Cell::Live(value),
                    epoch: 0,
                    stamp,
                    origin: NodeId::IMPORTED,
                    boot: 0,
                    forced: false,
                    ext: Box::default(),
                });
            }
        }
    }
    Ok(())
}
