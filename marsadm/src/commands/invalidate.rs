//! `invalidate`: a new copy of the primary's data.

use super::down::wait_idle;
use super::each::{each, own_table};
use super::roles::check_not_primary;
use super::switches::switch;
use crate::context::{Changes, Ctx, key, set};
use crate::error::{Error, Result};
use crate::keys::Res;

/// Throw this host's replica away and sync it anew from the primary. Resolves a split brain on the losing side.
///
/// Does not wait for the sync: see marsadm wait-resource RES is-uptodate. --force does not wait for the replica to
/// come to rest first, and allows it on the designated primary that does not act as one.
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
        let off = ["allow-replay", "sync", "connect", "attach"]
            .into_iter()
            .map(|name| switch(res, host, name, false))
            .collect::<Result<Changes>>()?;
        ctx.apply(off).await?;
        if !ctx.opts.force && !ctx.opts.dry_run {
            let flags = ["is-attached", "is-replaying", "is-copying", "is-syncing"];
            wait_idle(ctx, host, res, &flags).await?;
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
        ctx.done(
            &format!("resource {res} gets synced anew: marsadm wait-resource {res} is-uptodate"),
            &format!("sync resource {res} anew"),
        );
        Ok(())
    })
    .await
}

/// Number and writer of the log that the primary is at.
fn source(view: &Res<'_>, host: &str) -> Result<(u64, String)> {
    let res = view.name;
    let Some(primary) = view.primary().filter(|primary| *primary != host) else {
        return Err(Error::refused(format!(
            "resource {res} has no primary on another host to sync from"
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
