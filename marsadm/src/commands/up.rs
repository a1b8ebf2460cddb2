//! `up`: everything on.

use super::each::{each, own_table};
use super::switches::{switch, sync_allowed, try_again, wait_attached};
use crate::context::{Changes, Ctx};
use crate::error::Result;
use crate::keys::Res;

/// Take the disk into use and switch fetch, sync and replay on; waits until the disk is attached (not with --force).
///
/// Example: marsadm up mydata
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
/// If the resource is not there, this host has no replica, or the disk does not come into use in time.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    each(ctx, "up", &args.resource, async |host, res| {
        up(ctx, host, res).await?;
        wait_attached(ctx, host, res).await.map_err(|error| {
            error.leaving(
                &format!(
                    "the switches of {res} stay on, and the disk is attached as soon as that can be"
                ),
                &format!("marsadm down {res}"),
            )
        })
    })
    .await
}

/// Switches on what is off; a sync without a source stays off with a message.
pub(super) async fn up(ctx: &Ctx, host: &str, res: &str) -> Result<()> {
    switch_on(
        ctx,
        host,
        res,
        &["attach", "connect", "sync", "allow-replay"],
    )
    .await
}

/// The same for some of the switches.
pub(super) async fn switch_on(ctx: &Ctx, host: &str, res: &str, names: &[&str]) -> Result<()> {
    let table = own_table(ctx, host, res).await?;
    let view = Res::new(&table, res);
    let mut changes = Changes::new();
    for name in names.iter().copied() {
        if view.todo(host, name) {
            continue;
        }
        if name == "sync"
            && let Err(error) = sync_allowed(&view, host)
        {
            ctx.ui.note(&format!("sync stays off: {error}"));
            continue;
        }
        changes.push(switch(res, host, name, true)?);
    }
    let started = !changes.is_empty();
    if names.contains(&"attach") {
        changes.extend(try_again(&view, host)?);
    }
    ctx.apply(changes).await?;
    if !started {
        ctx.ui
            .token(&format!("up on resource {res} is already activated"));
    } else {
        ctx.achieved(
            &format!("successfully started up on resource {res}"),
            &format!("start up on resource {res}"),
        );
    }
    Ok(())
}
