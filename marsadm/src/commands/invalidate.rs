//! `invalidate`: a new copy of the primary's data.

use super::down::wait_idle;
use super::each::{each, own_table};
use super::planes;
use super::roles::check_not_primary;
use super::since::since;
use super::switches::{in_emergency, switch};
use crate::context::{Changes, Ctx, key, set};
use crate::error::{Error, Result};
use crate::keys::Res;
use crate::limits::PRIMARY_SILENT_MAX;
use crate::wall::now;
use std::time::Duration;

/// Throw this host's replica away and sync it anew from the primary. Resolves a split brain on the losing side.
///
/// Does not wait for the sync: see marsadm wait-resource RES is-consistent. --force does not wait for the replica to
/// come to rest first, allows it on the designated primary that does not act as one, and while no contact with the primary
/// is there.
///
/// Example: marsadm invalidate mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
}

/// Runs the command.
///
/// # Errors
/// If this host is primary, there is no other primary, or the replica does not come to rest in time (then it
/// stays switched off).
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    each(ctx, "invalidate", &args.resource, async |host, res| {
        let table = own_table(ctx, host, res).await?;
        let view = Res::new(&table, res);
        check_not_primary(ctx, &view, host)?;
        source(&view, host)?;
        check_source(ctx, &view).await?;
        if !ctx.opts.force {
            let so = format!("the replica of {res} could not be synced; it was left as it is");
            planes::need(ctx, host, &so).await?;
        }
        let off = ["allow-replay", "sync", "connect", "attach"]
            .into_iter()
            .map(|name| switch(res, host, name, false))
            .collect::<Result<Changes>>()?;
        ctx.apply(off).await?;
        if !ctx.opts.force && !ctx.opts.dry_run {
            let flags = ["is-attached", "is-replaying", "is-copying", "is-syncing"];
            let idle = wait_idle(ctx, host, res, &flags).await;
            idle.map_err(|error| {
                error.leaving(
                    &format!("the switches of {res} stay off, its data are as they were"),
                    &format!("marsadm up {res}"),
                )
            })?;
        }
        // The primary may have gone on, or changed, meanwhile.
        let table = own_table(ctx, host, res).await?;
        let view = Res::new(&table, res);
        let (nr, origin) = source(&view, host)?;
        let mut changes = Changes::new();
        changes.push(set(&format!("resource-{res}/syncstatus-{host}"), "0")?);
        changes.push((key(&format!("resource-{res}/syncpos-{host}"))?, None));
        for number in view.versions_of(host).into_keys().filter(|n| *n >= nr) {
            let version = format!("resource-{res}/version-{number:09}-{host}");
            changes.push((key(&version)?, None));
        }
        changes.push(set(
            &format!("resource-{res}/replay-{host}"),
            &format!("log-{nr:09}-{origin},0,0"),
        )?);
        for name in ["attach", "connect", "allow-replay", "sync"] {
            changes.push(switch(res, host, name, true)?);
        }
        ctx.apply(changes).await?;
        ctx.achieved(
            &format!("resource {res} gets synced anew: marsadm wait-resource {res} is-consistent"),
            &format!("sync resource {res} anew"),
        );
        Ok(())
    })
    .await
}

/// Whether the primary can be synced from now: this replica's consistent state is given up for it.
async fn check_source(ctx: &Ctx, view: &Res<'_>) -> Result<()> {
    let res = view.name;
    let Some(primary) = view.primary() else {
        return Ok(());
    };
    if in_emergency(view, primary) {
        ctx.ui.note(&format!(
            "WARNING: the primary {primary} of resource {res} is in emergency mode (its log storage is full): the sync goes \
             on when there is room again, marsadm status tells"
        ));
    }
    let peers = ctx.peers().await?;
    let silent = peers
        .iter()
        .find(|peer| peer.host == primary && !peer.connected)
        .and_then(|peer| peer.heard_ns)
        .map(|heard| Duration::from_nanos(now().as_nanos().saturating_sub(heard)))
        .filter(|age| *age > PRIMARY_SILENT_MAX.min(ctx.opts.window));
    if let Some(age) = silent.filter(|_| !ctx.opts.force) {
        return Err(Error::refused(format!(
            "the primary {primary} of resource {res} was last heard of {} s ago: this replica's consistent state would be \
             given up, and no sync could begin",
            age.as_secs()
        ))
        .hint("repair the connection (marsadm status tells of it); or --force"));
    }
    Ok(())
}

/// Number and writer of the log that the primary is at.
fn source(view: &Res<'_>, host: &str) -> Result<(u64, String)> {
    let res = view.name;
    let Some(primary) = view.primary().filter(|primary| *primary != host) else {
        return Err(Error::refused(format!(
            "resource {res} has no primary on another host to sync from, {}",
            since(view, "primary")
        ))
        .hint(format!("on a member with good data: marsadm primary {res}")));
    };
    let Some(replay) = view.replay(primary) else {
        return Err(Error::refused(format!(
            "the position of the primary {primary} of resource {res} is not known here"
        ))
        .hint("marsadm wait-cluster, then repeat the command"));
    };
    Ok((replay.at.nr, replay.at.origin))
}
