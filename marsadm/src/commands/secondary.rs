//! `secondary`: no primary at all.

use super::down::wait_idle;
use super::each::{each, resource_table};
use super::roles::old_primary;
use super::since::since;
use super::systemd::{is_managed, wait_closed, wanting};
use crate::context::{Ctx, set};
use crate::error::{Error, Result};
use crate::error_code::Code;
use crate::keys::Res;

/// Leave the resource without a primary. Only for taking a resource down for good: to move it, use primary on the
/// other host. Refused while the device is in use (--force skips that check); where systemd units use it, they are
/// stopped.
///
/// Example: marsadm secondary mydata
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
/// If the device is in use, or this host does not leave the role in time.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    each(ctx, "secondary", &args.resource, async |host, res| {
        let table = resource_table(ctx, res).await?;
        let view = Res::new(&table, res);
        let old = old_primary(&view);
        if is_managed(ctx, &view) {
            ctx.apply(wanting(res, "(none)", old)?).await?;
            if let Some(old) = old.filter(|_| !ctx.opts.force && !ctx.opts.dry_run) {
                let closed = wait_closed(ctx, res, old).await;
                closed.map_err(|error| {
                    error.leaving(
                        &format!("{old} stays primary of {res}, but its units are still to stop"),
                        &format!("marsadm set-systemd-want {res} {old}"),
                    )
                })?;
            }
        } else if let Some(old) = old
            && view
                .number(&format!("actual-{old}/open-count"))
                .unwrap_or(0)
                > 0
            && !ctx.opts.force
        {
            return Err(Error::of(
                Code::DeviceInUse,
                format!(
                    "the device of {res} is in use on {old}, {}",
                    since(&view, &format!("actual-{old}/open-count"))
                ),
            )
            .hint(format!(
                "first umount or close the device (on host '{old}')"
            )));
        }
        ctx.apply(vec![set(&format!("resource-{res}/primary"), "(none)")?])
            .await?;
        if !ctx.opts.dry_run && !ctx.opts.force {
            let idle = wait_idle(ctx, host, res, &["is-primary", "if-on"]).await;
            idle.map_err(|error| {
                error.leaving(
                    &format!("resource {res} stays without a designated primary"),
                    &format!("marsadm primary {res} on {}", old.unwrap_or("HOST")),
                )
            })?;
        }
        ctx.achieved(
            &format!("resource {res} has no designated primary now"),
            &format!("leave resource {res} without a designated primary"),
        );
        Ok(())
    })
    .await
}
