//! Generating systemd units from templates, starting and stopping them.

use super::each::resource_table;
use crate::context::{Changes, Ctx, set};
use crate::error::{Error, Result};
use crate::keys::{Res, resource_list};
use crate::systemd::{Activity, GLOBAL_TRIGGER, Pass, Report, follow, pass};

/// Generate the systemd units of this host anew, and let all hosts look again whether the units of RES, or of all
/// resources, shall run.
///
/// With --follow: do that whenever a key changes that decides about it, and start and stop the units of this host; until
/// stopped. This is what mars-systemd.service runs. --force removes also units of resources that are not known any more.
///
/// Example: marsadm systemd-trigger
/// Example: marsadm systemd-trigger --follow
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct TriggerArgs {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: Option<String>,
    /// Go on until stopped
    #[arg(long, conflicts_with = "resource")]
    pub follow: bool,
}

/// Generate the systemd units of this host; with RES also start or stop its units here, as the keys have it.
///
/// Example: marsadm systemd-trigger-extern mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ExternArgs {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: Option<String>,
}

/// Runs `systemd-trigger`.
///
/// # Errors
/// What prevented units; the others were generated.
pub async fn trigger(ctx: &Ctx, args: &TriggerArgs) -> Result<()> {
    let work = async {
        if is_off(ctx) {
            return Ok(());
        }
        if args.follow {
            return follow(ctx).await;
        }
        let host = ctx.local_host().await?;
        let named = match &args.resource {
            Some(text) => Some(existing(ctx, text, host).await?),
            None => None,
        };
        let report = generate(ctx, Activity::Generate).await?;
        let mut changes = Changes::new();
        match named {
            None => changes.push(set(GLOBAL_TRIGGER, host)?),
            Some(list) => {
                let table = ctx.table(&["directory/", "resource-"]).await?;
                for res in list {
                    // The same value again, with a new stamp.
                    if let Some(want) = Res::new(&table, &res).text("systemd-want") {
                        changes.push(set(&format!("resource-{res}/systemd-want"), want)?);
                    }
                }
            }
        }
        ctx.apply(changes).await?;
        judge(&report)
    };
    work.await.map_err(|error| error.about("systemd-trigger"))
}

/// Runs `systemd-trigger-extern`.
///
/// # Errors
/// What prevented units, or did not start or stop.
pub async fn trigger_extern(ctx: &Ctx, args: &ExternArgs) -> Result<()> {
    let work = async {
        if is_off(ctx) {
            return Ok(());
        }
        let activity = match &args.resource {
            None => Activity::Generate,
            Some(text) => {
                let host = ctx.local_host().await?;
                Activity::Of(existing(ctx, text, host).await?.into_iter().collect())
            }
        };
        let report = generate(ctx, activity).await?;
        judge(&report)
    };
    work.await
        .map_err(|error| error.about("systemd-trigger-extern"))
}

/// The resources that `text` names, all of which exist.
async fn existing(ctx: &Ctx, text: &str, host: &str) -> Result<Vec<String>> {
    let table = ctx.table(&["directory/"]).await?;
    let list = resource_list(text, &table, host)?;
    for res in &list {
        resource_table(ctx, res).await?;
    }
    Ok(list)
}

fn is_off(ctx: &Ctx) -> bool {
    if !ctx.systemd.enabled {
        ctx.ui.note("nothing was done: --systemd-enable=0");
    }
    !ctx.systemd.enabled
}

async fn generate(ctx: &Ctx, activity: Activity) -> Result<Report> {
    let work = Pass {
        activity,
        force: ctx.opts.force,
    };
    let report = pass(ctx, &work).await?;
    report.lines().iter().for_each(|line| ctx.ui.note(line));
    Ok(report)
}

fn judge(report: &Report) -> Result<()> {
    match report.problems.len() {
        0 => Ok(()),
        count => Err(Error::refused(format!("{count} of the steps failed"))
            .hint("the messages above say why; what succeeded stays done")),
    }
}
