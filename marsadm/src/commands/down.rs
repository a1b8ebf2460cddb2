//! `down` and `detach`: release the disk.

use super::each::{data_plane_hint, each, own_table, prefixes};
use super::planes;
use super::since::since;
use super::switches::switch;
use super::systemd::{is_managed, wait_closed};
use crate::context::{Changes, Ctx, set};
use crate::error::{Error, Kind, Result};
use crate::error_code::Code;
use crate::keys::Res;
use crate::limits::CLOSING_GRACE;
use crate::systemd::status_key;
use crate::wait::Step;
use tokio::time::Instant;

/// Release the disk; waits until that is done. Refused while the device is in use; where systemd units use it, they are
/// stopped. --force skips check and wait.
///
/// down also switches replay, sync and fetch off; detach leaves them as they are.
///
/// Example: marsadm down mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// All switches.
    Down,
    /// Only the disk.
    Detach,
}

/// Runs the command.
///
/// # Errors
/// If the device is in use, or the disk is not released in time.
pub async fn run(ctx: &Ctx, args: &Args, verb: Verb) -> Result<()> {
    let word = match verb {
        Verb::Down => "down",
        Verb::Detach => "detach",
    };
    each(ctx, word, &args.resource, async |host, res| {
        let table = own_table(ctx, host, res).await?;
        // Units that run here are stopped because the disk shall be released.
        let view = Res::new(&table, res);
        let managed = is_managed(ctx, &view) && view.text("systemd-want") == Some(host);
        if !ctx.opts.force && !managed {
            grace_for_closing(ctx, host, res).await?;
        }
        let table = own_table(ctx, host, res).await?;
        let opened = Res::new(&table, res)
            .number(&format!("actual-{host}/open-count"))
            .unwrap_or(0);
        if opened > 0 && !ctx.opts.force && !managed {
            let since = since(&Res::new(&table, res), &format!("actual-{host}/open-count"));
            return Err(Error::of(
                Code::DeviceInUse,
                format!("the device of resource {res} is in use on {host}, {since}"),
            )
            .hint("first umount or close the device"));
        }
        let mut changes = Changes::new();
        if verb == Verb::Down {
            for name in ["allow-replay", "sync", "connect"] {
                changes.push(switch(res, host, name, false)?);
            }
        }
        changes.push(switch(res, host, "attach", false)?);
        if managed {
            changes.push(set(&status_key(res, "stop", host), "0")?);
        }
        ctx.apply(changes).await?;
        ctx.achieved(
            &format!("successfully started {word} on resource {res}"),
            &format!("start {word} on resource {res}"),
        );
        if !ctx.opts.force && !ctx.opts.dry_run {
            let back = match verb {
                Verb::Down => "up",
                Verb::Detach => "attach",
            };
            let released = released(ctx, host, res, managed).await;
            released.map_err(|error| {
                error.leaving(
                    &format!("the switches of {res} stay off, and the disk is released as soon as that can be"),
                    &format!("marsadm {back} {res}"),
                )
            })?;
        }
        Ok(())
    })
    .await
}

async fn released(ctx: &Ctx, host: &str, res: &str, managed: bool) -> Result<()> {
    if managed {
        wait_closed(ctx, res, host).await?;
    }
    let flags = ["is-attached", "if-on", "is-replaying", "is-syncing"];
    wait_idle(ctx, host, res, &flags).await
}

/// Gives a device that was closed just now the time to be reported as closed.
pub(super) async fn grace_for_closing(ctx: &Ctx, host: &str, res: &str) -> Result<()> {
    let own = format!("resource-{res}/actual-{host}/");
    let prefixes = [own.as_str()];
    let closed = ctx.wait_for(&prefixes, |table| {
        let opened = Res::new(table, res)
            .number(&format!("actual-{host}/open-count"))
            .unwrap_or(0);
        if opened == 0 {
            Step::Ready(())
        } else {
            Step::Waiting(format!("for the device of {res} on {host} to be closed"))
        }
    });
    // With a short --timeout there must be time left to look again.
    let left = ctx.deadline.saturating_duration_since(Instant::now());
    match tokio::time::timeout(CLOSING_GRACE.min(left / 2), closed).await {
        Ok(result) => result,
        // The caller looks again and refuses with a reason.
        Err(_) => Ok(()),
    }
}

/// Waits until none of the observed flags is set. Where no data plane runs nothing is in use, whatever was told last.
pub(super) async fn wait_idle(ctx: &Ctx, host: &str, res: &str, flags: &[&str]) -> Result<()> {
    if planes::is_absent(ctx, host, &format!("nothing of {res} is in use there")).await? {
        return Ok(());
    }
    let [directory, own] = prefixes(res);
    ctx.wait_told(&[host], &[&directory, &own], |table| {
        let view = Res::new(table, res);
        let on: Vec<&str> = flags
            .iter()
            .copied()
            .filter(|flag| view.actual(host, flag))
            .collect();
        if on.is_empty() {
            Step::Ready(())
        } else {
            Step::Waiting(format!("until {} of {res} on {host} is off", on.join(", ")))
        }
    })
    .await
    .inspect(|()| {
        for flag in flags {
            let path = format!("/mars/resource-{res}/actual-{host}/{flag}");
            ctx.ui.token(&format!("OK at {host}: '{path}' is '0'"));
        }
    })
    .map_err(|error| match error.kind {
        Kind::Timeout => error.hint(data_plane_hint(host)),
        _ => error,
    })
}
